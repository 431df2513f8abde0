"""Frames: `struct page` of every page of RAM as arrays, in the order of the RAM file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bridge.kernel.errors import NotMapped
from bridge.kernel.kernel import Kernel
from bridge.kernel.lists import column
from bridge.kernel.page_types import PageLayout

U64 = npt.NDArray[np.uint64]
U32 = npt.NDArray[np.uint32]
Mask = npt.NDArray[np.bool_]

_VMEMMAP_4_LEVELS, _VMEMMAP_5_LEVELS = 0xFFFF_EA00_0000_0000, 0xFFD4_0000_0000_0000
"""Where it is when the kernel does not move it (Documentation/arch/x86/x86_64/mm.rst)."""


@dataclass(frozen=True, slots=True)
class Frames:
    """Parallel arrays (n_pages,) by page of the RAM file. Pages that have no `struct page` are zero and not `known`."""

    pfns: U64
    """Guest-physical address >> 12; all ones where the file's page has no address."""
    known: Mask
    flags: U64
    heads: npt.NDArray[np.int64]
    """The file page of the compound page's head, which is the page itself if it is not a tail."""
    mapping: U64
    index: U64
    private: U64
    page_type: U32
    refcount: npt.NDArray[np.int32]
    slab_cache: U64
    backing: npt.NDArray[np.int64]
    """(m,) file pages that hold the array of `struct page` itself."""

    def flag(self, layout: PageLayout, name: str) -> Mask:
        """(n_pages,) whether a flag is set; False where the kernel has no such flag."""
        bit = layout.bits.get(name)
        if bit is None:
            return np.zeros(len(self.flags), np.bool_)
        found: Mask = (self.flags >> np.uint64(bit)) & np.uint64(1) != 0
        return found


def pfns_of_file(kernel: Kernel) -> U64:
    """(n_pages,) page frame number of each page of the RAM file; all ones where it has no physical address."""
    n_pages = kernel.reader.ram.size_bytes >> 12
    pfns = np.full(n_pages, np.uint64(2**64 - 1))
    for region in kernel.reader.ram.physical_map.regions:
        first, count = region.offset >> 12, region.size_bytes >> 12
        pfns[first : first + count] = np.arange(count, dtype=np.uint64) + np.uint64(region.paddr >> 12)
    return pfns


def vmemmap_base(kernel: Kernel) -> int:
    """Where the array of `struct page` begins."""
    if kernel.info is not None and "vmemmap" in kernel.info.symbols:
        return kernel.info.symbols["vmemmap"]
    place = kernel.symbols.find("vmemmap_base")
    if place is not None:
        return kernel.space.word(place)
    return _VMEMMAP_4_LEVELS if kernel.levels == 4 else _VMEMMAP_5_LEVELS


def read_frames(kernel: Kernel, layout: PageLayout) -> Frames:
    """Read all of them at once. Raises NotMapped where the kernel has no such array."""
    reader, size = kernel.reader, layout.page_bytes
    pfns = pfns_of_file(kernel)
    n_pages = len(pfns)
    base = vmemmap_base(kernel)
    rows = np.zeros((n_pages, size), np.uint8)
    known = np.zeros(n_pages, np.bool_)
    backing = []
    for region in reader.ram.physical_map.regions:
        first, count = region.offset >> 12, region.size_bytes >> 12
        start = base + (region.paddr >> 12) * size
        pages = np.arange(start >> 12, (start + count * size + 4095) >> 12, dtype=np.uint64) << np.uint64(12)
        paddrs, mapped = kernel.space.translate(pages)
        held, ok = reader.rows(paddrs, 4096)
        mapped &= ok
        held[~mapped] = 0
        inside = start & 4095
        rows[first : first + count] = held.reshape(-1)[inside : inside + count * size].reshape(count, size)
        place = np.arange(count) * size + inside
        known[first : first + count] = mapped[place >> 12] & mapped[(place + size - 1) >> 12]
        offsets, held_by_ram = reader.offsets(paddrs[mapped])
        backing.append((offsets[held_by_ram] >> np.uint64(12)).astype(np.int64))
    if not known.any():
        raise NotMapped(base, "the array of struct page is not there")
    words = {
        name: column(rows, getattr(layout, name), "<u8").astype(np.uint64)
        for name in ("flags", "compound_head", "mapping", "index", "private", "slab_cache")
    }
    return Frames(
        pfns=pfns,
        known=known,
        flags=words["flags"],
        heads=_heads(kernel, words["compound_head"], base, size, n_pages),
        mapping=words["mapping"],
        index=words["index"],
        private=words["private"],
        page_type=column(rows, layout.page_type, "<u4").astype(np.uint32),
        refcount=column(rows, layout.refcount, "<i4").astype(np.int32),
        slab_cache=words["slab_cache"],
        backing=np.unique(np.concatenate(backing)),
    )


def _heads(kernel: Kernel, links: U64, base: int, size: int, n_pages: int) -> npt.NDArray[np.int64]:
    """File page of each page's head. A tail's link is the head's address plus one."""
    heads = np.arange(n_pages)
    tails = np.flatnonzero(links & np.uint64(1))
    if not len(tails):
        return heads
    places = links[tails] - np.uint64(1) - np.uint64(base)
    offsets, ok = kernel.reader.offsets((places // np.uint64(size)) << np.uint64(12))
    good = ok & (places % np.uint64(size) == 0)
    heads[tails[good]] = (offsets[good] >> np.uint64(12)).astype(np.int64)
    return heads
