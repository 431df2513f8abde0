"""How many slabs, objects and free slots the slab caches have on each NUMA node, at one instant.

Slabs with free slots are on lists that run through `struct page` and change all the time. So the array of all records
is copied first, with the heads of all lists, which takes a millisecond or two; lists are followed in the copy. The few
that changed even so are looked up in another copy.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bridge.kernel.drgn_engine.program import KernelProgram
from bridge.kernel.errors import NotMapped
from bridge.kernel.frames import vmemmap_base
from bridge.kernel.lists import column
from bridge.kernel.page_types import PageLayout

I64 = npt.NDArray[np.int64]

_COPIES = 8
"""A list of a busy cache was seen torn in one copy of a hundred."""


class NodeCounter:
    """Counts for the `struct kmem_cache_node`s of one kernel. Raises MissingType for one that does not count slabs."""

    def __init__(self, program: KernelProgram, layout: PageLayout, slab: str) -> None:
        types = program.types
        self._program = program
        self._layout = layout
        self._node_bytes = types.struct_size("kmem_cache_node")
        self._slabs, self._objects = (  # CONFIG_SLUB_DEBUG
            types.offset("kmem_cache_node", f"{name}.counter") for name in ("nr_slabs", "total_objects")
        )
        self._partial = types.offset("kmem_cache_node", "partial")
        self._list = types.offset(slab, "slab_list")
        self._inuse, self._capacity = (_Bits.of(program, slab, name) for name in ("inuse", "objects"))

    def count(self, nodes: list[int]) -> tuple[I64, I64, I64, I64]:
        """(n,) slabs, slots and free slots of each node (its address); free are only those that no processor keeps.

        Also (n,) whether a list was torn in every copy: then free are those up to where it was. Raises NotMapped.
        """
        slabs, objects, free = (np.zeros(len(nodes), np.int64) for _ in range(3))
        addresses = np.array(nodes, np.uint64)
        left = np.arange(len(nodes))
        for _ in range(_COPIES):
            rows, ok = self._program.kernel.space.rows(addresses[left], self._node_bytes)
            records = _Records(self._program, self._layout)
            if not ok.all():
                raise NotMapped(int(addresses[left][np.argmin(ok)]))
            slabs[left] = column(rows, self._slabs, "<i8").astype(np.int64)
            objects[left] = column(rows, self._objects, "<i8").astype(np.int64)
            first, last = (column(rows, self._partial + 8 * i, "<u8").tolist() for i in range(2))
            torn = []
            n_slabs = 0
            for i, index in enumerate(left.tolist()):
                limit = self._program.kernel.reader.n_pages - n_slabs  # no two slabs share a page
                head = nodes[index] + self._partial
                count, free[index], whole = self._follow(records, head, first[i], last[i], limit)
                n_slabs += count
                if not whole:
                    torn.append(index)
            left = np.array(torn, np.int64)
            if not torn:
                break
        incomplete = np.zeros(len(nodes), np.int64)
        incomplete[left] = 1
        return slabs, objects, free, incomplete

    def _follow(self, records: _Records, head: int, first: int, last: int, limit: int) -> tuple[int, int, bool]:
        """(slabs, free slots) on one list of slabs that have some, and whether it is whole."""
        before, node = head, first
        count = free = 0
        try:
            while node != head:
                if node & 7 or count >= limit or records.word(node + 8) != before:
                    return count, free, False
                slab = node - self._list
                free += max(self._capacity.of_slab(records, slab) - self._inuse.of_slab(records, slab), 0)
                count += 1
                before, node = node, records.word(node)
        except NotMapped:
            return count, free, False
        return count, free, before == last


class _Records:
    """A copy of `struct page` of all pages, read by virtual address."""

    def __init__(self, program: KernelProgram, layout: PageLayout) -> None:
        kernel, size = program.kernel, layout.page_bytes
        base = vmemmap_base(kernel)
        self._pieces: list[tuple[int, int, memoryview]] = []
        for region in kernel.reader.ram.physical_map.regions:
            start = base + (region.paddr >> 12) * size & ~4095
            end = base + (region.paddr_end >> 12) * size
            pages = np.arange(start, end, 4096, dtype=np.uint64)
            rows, _ = kernel.space.rows(pages, 4096)
            self._pieces.append((start, rows.size, np.ascontiguousarray(rows).reshape(-1).data.cast("Q")))

    def word(self, vaddr: int) -> int:
        """The word at an address. Raises NotMapped for what is no record of a page of RAM."""
        for start, length, words in self._pieces:
            if 0 <= vaddr - start < length and not vaddr & 7:
                return int(words[(vaddr - start) >> 3])
        raise NotMapped(vaddr & (1 << 64) - 1, "it is no record of a page")


class _Bits:
    """A counter of a slab, some bits of one word."""

    def __init__(self, offset: int, shift: int, mask: int) -> None:
        self.offset, self.shift, self.mask = offset, shift, mask

    @classmethod
    def of(cls, program: KernelProgram, slab: str, name: str) -> _Bits:
        """Raises MissingType."""
        member = program.types.member(slab, name)
        word = member.bit_offset // 64
        return cls(8 * word, member.bit_offset - 64 * word, (1 << (member.bit_size or 16)) - 1)

    def of_slab(self, records: _Records, slab: int) -> int:
        """What a slab has."""
        return records.word(slab + self.offset) >> self.shift & self.mask
