"""Slab caches and their objects, as the SLUB allocator keeps them.

A slab is a compound page cut into slots of one size. Free slots are linked through themselves, the links scrambled with
a secret of the cache where the kernel is hardened (mm/slub.c). Slots that a processor keeps for itself are on lists of
its own, or in arrays ("sheaves", since v6.18).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

import drgn
import numpy as np

from bridge.kernel.drgn_engine.program import KernelProgram, Unreadable, reading
from bridge.kernel.drgn_engine.slab_counts import NodeCounter
from bridge.kernel.errors import MissingType, NotMapped
from bridge.kernel.frames import vmemmap_base
from bridge.kernel.page_classes import PageClassifier
from bridge.kernel.records import SlabCache, SlabObject

_MAX_CACHES = 16_384
_MAX_NODES = 1024
"""MAX_NUMNODES of the largest configuration."""
_MAX_ALIASES = 65_536
_NAME_BYTES = 256
_OBJECTS_MASK = 0xFFFF
"""`kmem_cache.oo`: the order of a slab above, its objects below (OO_SHIFT in mm/slub.c)."""
_MAX_SHEAF = 4096


class Slabs:
    """Reads the slab caches of one kernel. Raises MissingType for one whose allocator is not SLUB."""

    def __init__(self, program: KernelProgram, pages: PageClassifier) -> None:
        types = program.types
        if not types.has("kmem_cache", "oo"):
            raise MissingType("member kmem_cache.oo: its slab allocator is not SLUB")
        self._program = program
        self._pages = pages
        # Linux commit d122019bf061 ("mm: Split slab into its own type", in v5.17).
        self._slab = "slab" if types.has("slab", "slab_cache") else "page"
        self._vmemmap = vmemmap_base(program.kernel)
        # Linux commit 8c846c879e22 ("mm: rework compound_head() for power-of-2 sizeof(struct page)", in v7.1).
        page_bytes = pages.layout.page_bytes
        self._link_is_mask = not page_bytes & (page_bytes - 1) and types.has("zone", "vmemmap_tails")

    # ----- caches

    def caches(self) -> tuple[SlabCache, ...]:
        """Every cache, by name. Raises KernelError."""
        with reading("the list of slab caches"):
            aliases = self._aliases()
            head = self._program.kernel.symbols.address("slab_caches")
            caches = self._program.entries(head, "kmem_cache", "list", _MAX_CACHES)
            nodes = [[node.value_() for node in self._nodes(cache)] for cache in caches]
            counts = self._counter.count([node for group in nodes for node in group])
            ends = np.cumsum([len(group) for group in nodes])
            found = []
            for cache, group, end in zip(caches, nodes, ends.tolist(), strict=True):
                slabs, objects, free, torn = (int(values[end - len(group) : end].sum()) for values in counts)
                row = self._cache(cache, slabs, objects, objects - free, aliases.get(cache.value_(), ()))
                found.append(replace(row, complete=not torn))
            return tuple(sorted(found, key=lambda row: row.name))

    @cached_property
    def _counter(self) -> NodeCounter:
        return NodeCounter(self._program, self._pages.layout, self._slab)

    def name(self, cache: drgn.Object) -> str:
        """The name of a ``struct kmem_cache *``."""
        return self._program.string(cache.name.value_(), _NAME_BYTES)

    def _cache(self, cache: drgn.Object, slabs: int, objects: int, active: int, aliases: tuple[str, ...]) -> SlabCache:
        name = self.name(cache)
        return SlabCache(
            name=name,
            address=cache.value_(),
            object_bytes=cache.object_size.value_(),
            slot_bytes=cache.size.value_(),
            objects_a_slab=cache.oo.x.value_() & _OBJECTS_MASK,
            slabs=slabs,
            objects=objects,
            active=active,
            aliases=tuple(sorted(alias for alias in aliases if alias != name)),
        )

    def _nodes(self, cache: drgn.Object) -> Iterator[drgn.Object]:
        """``struct kmem_cache_node *`` of each NUMA node."""
        for owner in self._of_nodes(cache):
            # Linux commit 5ba6bc27b1f9 ("slab: decouple pointer to barn from kmem_cache_node", in v7.1).
            node = owner.node.read_() if hasattr(cache, "per_node") else owner.read_()
            if node.value_():
                yield node

    def _of_nodes(self, cache: drgn.Object) -> Iterator[drgn.Object]:
        """What a cache holds for each NUMA node: a ``struct kmem_cache_per_node_ptrs`` or ``kmem_cache_node *``.

        The array has as many elements as there are nodes, whatever its type says.
        """
        nodes = cache.per_node if hasattr(cache, "per_node") else cache.node
        for index in range(self._node_count):
            yield nodes[index]

    @cached_property
    def _node_count(self) -> int:
        """How many NUMA nodes there are, which does not change."""
        place = self._program.kernel.symbols.find("nr_node_ids")
        if place is None:
            return 1
        return min(int.from_bytes(self._program.kernel.space.read(place, 4), "little"), _MAX_NODES)

    def _aliases(self) -> dict[int, tuple[str, ...]]:
        """Names that were merged into each cache (its address): links in /sys/kernel/slab, whether mounted or not."""
        program = self._program
        place, link = program.kernel.symbols.find("slab_kset"), program.types.enumerator("KERNFS_LINK")
        if place is None or link is None or not program.types.has("kmem_cache", "kobj"):
            return {}  # built without CONFIG_SYSFS: which caches were merged is not kept
        offset, node_offset = program.types.offset("kmem_cache", "kobj"), program.types.offset("kernfs_node", "rb")
        found: dict[int, list[str]] = {}
        directory = program.program["slab_kset"].kobj.sd.dir.children.rb_node.value_()
        for address in program.tree(directory, _MAX_ALIASES):
            child = program.at("kernfs_node", address - node_offset)
            if child.flags.value_() & link:
                cache = child.symlink.target_kn.priv.value_() - offset
                found.setdefault(cache, []).append(program.string(child.name.value_(), _NAME_BYTES))
        return {cache: tuple(names) for cache, names in found.items()}

    # ----- objects

    def object_at(self, vaddr: int) -> SlabObject | None:
        """The object that holds an address of the direct map, or None where there is no slab.

        `allocated` is False only for a slot that was found on a list of free ones. Raises KernelError.
        """
        with reading(f"the slab at {vaddr:#x}"):
            slab, start = self._slab_of(vaddr)
            if slab is None:
                return None
            cache = slab.slab_cache.read_()
            slot_bytes, count = cache.size.value_(), slab.objects.value_()
            if not 8 <= slot_bytes <= 1 << 30:
                raise Unreadable(f"The slab cache at {cache.value_():#x} has slots of {slot_bytes:,} bytes.")
            first = start + (cache.red_left_pad.value_() if hasattr(cache, "red_left_pad") else 0)
            index = (vaddr - first) // slot_bytes
            if not 0 <= index < count:
                return None  # between the last slot and the end of the slab
            address = first + index * slot_bytes
            free = self._free_in(slab, cache, first, slot_bytes, count)
            return SlabObject(self.name(cache), address, cache.object_size.value_(), address not in free)

    def _slab_of(self, vaddr: int) -> tuple[drgn.Object | None, int]:
        """``struct slab *`` that holds an address, and where its memory begins."""
        space, layout = self._program.kernel.space, self._pages.layout
        paddr = vaddr - (space.direct_map or 0)
        if space.direct_map is None or not 0 <= paddr < space.reader.end_paddr:
            return None, 0
        peek = self._program.peek
        try:
            page = self._vmemmap + (paddr >> 12) * layout.page_bytes
            link = peek(page + layout.compound_head)
            if link & 1:
                page = page & link if self._link_is_mask else link - 1
            index, rest = divmod(page - self._vmemmap, layout.page_bytes)
            if rest or not 0 <= index < 1 << 40 or not self._is_slab(page):
                return None, 0
        except NotMapped:
            return None, 0
        return self._program.at(self._slab, page), space.direct_map + (index << 12)

    def _is_slab(self, page: int) -> bool:
        layout, peek = self._pages.layout, self._program.peek
        bit = layout.bits.get("slab")
        if bit is not None and peek(page + layout.flags) >> bit & 1:
            return True
        word = peek(page + layout.page_type & ~7) >> (8 * ((page + layout.page_type) & 7))
        return bool(self._pages.types.test("slab", np.array([word & 0xFFFF_FFFF], np.uint32))[0])

    def _free_in(self, slab: drgn.Object, cache: drgn.Object, first: int, slot_bytes: int, count: int) -> set[int]:
        """The free slots of one slab: on its own list, on a processor's, or in a processor's arrays."""
        end = first + slot_bytes * count
        free: set[int] = set()
        for head in [slab.freelist.value_(), *self._processor_lists(slab, cache)]:
            self._follow(head, cache, (first, end, slot_bytes), free)
        free.update(address for address in self._kept(cache) if first <= address < end)
        return free

    def _follow(self, head: int, cache: drgn.Object, slots: tuple[int, int, int], free: set[int]) -> None:
        """Add the slots on one list to `free`. It ends at the first that is no slot, or that was there before."""
        first, end, slot_bytes = slots
        offset = cache.offset.value_()
        secret = cache.random.value_() if hasattr(cache, "random") else None
        while first <= head < end and (head - first) % slot_bytes == 0 and head not in free:
            free.add(head)
            place = head + offset
            head = self._program.program.read_u64(place)
            if secret is not None:
                # Linux commit 1ad53d9fa3f6 ("slub: improve bit diffusion for freelist ptr obfuscation", in v5.7).
                head ^= secret ^ int.from_bytes(place.to_bytes(8, "little"), "big")

    def _processor_lists(self, slab: drgn.Object, cache: drgn.Object) -> Iterator[int]:
        """Heads of the lists of processors whose active slab this is (until v7.0)."""
        if not hasattr(cache, "cpu_slab") or not cache.cpu_slab.value_():
            return
        own = "slab" if self._slab == "slab" else "page"
        for offset in self._program.cpu_offsets:
            place = (cache.cpu_slab.value_() + offset) & (1 << 64) - 1
            active = self._program.at("kmem_cache_cpu", place)
            if getattr(active, own).value_() == slab.value_():
                yield active.freelist.value_()

    def _kept(self, cache: drgn.Object) -> Iterator[int]:
        """Free slots in sheaves: of processors, and full ones of nodes (since v6.18)."""
        if not hasattr(cache, "cpu_sheaves") or not cache.cpu_sheaves.value_():
            return
        for offset in self._program.cpu_offsets:
            sheaves = self._program.at("slub_percpu_sheaves", (cache.cpu_sheaves.value_() + offset) & (1 << 64) - 1)
            for sheaf in (sheaves.main.read_(), sheaves.spare.read_()):
                if sheaf.value_():
                    yield from self._sheaf(sheaf)
        for barn in self._barns(cache):
            head = barn.sheaves_full.address_of_().value_()
            for sheaf in self._program.entries(head, "slab_sheaf", "barn_list", _MAX_SHEAF):
                yield from self._sheaf(sheaf)

    def _barns(self, cache: drgn.Object) -> Iterator[drgn.Object]:
        """``struct node_barn *`` of each NUMA node that has one."""
        for owner in self._of_nodes(cache):
            if not hasattr(cache, "per_node") and not owner.value_():
                continue
            barn = owner.barn.read_()
            if barn.value_():
                yield barn

    def _sheaf(self, sheaf: drgn.Object) -> Iterator[int]:
        size = min(sheaf.size.value_(), _MAX_SHEAF)
        place = sheaf.objects.address_of_().value_()
        yield from np.frombuffer(self._program.kernel.space.read(place, 8 * size), "<u8").tolist()
