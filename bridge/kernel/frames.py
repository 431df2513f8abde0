"""Frames: `struct page` of every page of RAM as arrays, in the order of the RAM file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from bridge.kernel.errors import NotMapped
from bridge.kernel.kernel import Kernel
from bridge.kernel.lists import column
from bridge.kernel.page_types import PageLayout
from bridge.kernel.paging import Mappings

U64 = npt.NDArray[np.uint64]
U32 = npt.NDArray[np.uint32]
Mask = npt.NDArray[np.bool_]
T = TypeVar("T", bound=np.generic)

_VMEMMAP_4_LEVELS, _VMEMMAP_5_LEVELS = 0xFFFF_EA00_0000_0000, 0xFFD4_0000_0000_0000
"""Where it is when the kernel does not move it (Documentation/arch/x86/x86_64/mm.rst)."""
_MASK_BITS = 30
"""A compound page of 1 GiB has 2^18 frames of 2^6 bytes: no mask takes more bits away. The array of `struct page` lies
far below the last GiB of the address space.
"""


@dataclass(frozen=True, slots=True)
class Frames:
    """Parallel arrays (n_pages,) by page of the RAM file. Pages that have no `struct page` are zero and not `known`.

    What is asked of few pages only is read from the records when it is.
    """

    layout: PageLayout
    records: npt.NDArray[np.uint8]
    """(n_pages, page_bytes) `struct page` of each page."""
    known: Mask
    flags: U64
    heads: npt.NDArray[np.int64]
    """The file page of the compound page's head, which is the page itself if it is not a tail."""
    tails: npt.NDArray[np.int64]
    """(k,) the pages that have another one for a head."""
    mapping: U64
    page_type: U32
    refcount: npt.NDArray[np.int32]
    backing: npt.NDArray[np.int64]
    """(m,) file pages that hold the array of `struct page` itself."""

    def __len__(self) -> int:
        return len(self.records)

    def flag(self, name: str) -> Mask:
        """(n_pages,) whether a flag is set; False where the kernel has no such flag."""
        bit = self.layout.bits.get(name)
        if bit is None:
            return np.zeros(len(self.flags), np.bool_)
        found: Mask = self.flags & np.uint64(1 << bit) != 0
        return found

    def of_heads(self, values: npt.NDArray[T]) -> npt.NDArray[T]:
        """(n_pages,) what each page's head has; `values` (n_pages,) is what each page has itself."""
        found = values.copy()
        found[self.tails] = values[self.heads[self.tails]]
        return found

    def word(self, name: str, pages: npt.NDArray[np.int64]) -> U64:
        """(m,) a member of the records of some pages: "index", "private" or "slab_cache"."""
        offset = getattr(self.layout, name)
        words: U64 = self.records[pages, offset : offset + 8].view("<u8").reshape(-1)
        return words


def vmemmap_base(kernel: Kernel) -> int:
    """Where the array of `struct page` begins."""
    if kernel.info is not None and "vmemmap" in kernel.info.symbols:
        return kernel.info.symbols["vmemmap"]
    place = kernel.symbols.find("vmemmap_base")
    if place is not None:
        return kernel.space.word(place)
    return _VMEMMAP_4_LEVELS if kernel.levels == 4 else _VMEMMAP_5_LEVELS


def read_frames(kernel: Kernel, layout: PageLayout, mappings: Mappings) -> Frames:
    """Read all of them at once. `mappings` are the kernel's.

    Raises NotMapped where the kernel has no such array.
    """
    size, n_pages = layout.page_bytes, kernel.reader.ram.size_bytes >> 12
    where = _where(kernel, layout, mappings)
    records = np.zeros((n_pages, size), np.uint8)
    held = records.reshape(-1)
    for low, high, source in where.pieces.tolist():
        held[low:high] = kernel.reader.bytes[source : source + high - low]
    heads, tails = _heads(kernel, _column(records, layout.compound_head, "<u8"), where.base, size, n_pages)
    return Frames(
        layout=layout,
        records=records,
        known=where.known,
        flags=_column(records, layout.flags, "<u8"),
        heads=heads,
        tails=tails,
        mapping=_column(records, layout.mapping, "<u8"),
        page_type=_column(records, layout.page_type, "<u4"),
        refcount=_column(records, layout.refcount, "<i4"),
        backing=where.backing,
    )


def empty_frames(layout: PageLayout, n_pages: int) -> Frames:
    """Pages without records, each with memory of its own to be written over."""
    return Frames(
        layout=layout,
        records=np.zeros((n_pages, layout.page_bytes), np.uint8),
        known=np.zeros(n_pages, np.bool_),
        flags=np.zeros(n_pages, np.uint64),
        heads=np.arange(n_pages),
        tails=np.zeros(0, np.int64),
        mapping=np.zeros(n_pages, np.uint64),
        page_type=np.zeros(n_pages, np.uint32),
        refcount=np.zeros(n_pages, np.int32),
        backing=np.zeros(0, np.int64),
    )


class FrameReader:
    """As `read_frames`, again and again, with compiled code: records are compared, and only those that changed taken.

    What it gives out is written over by the next reading.
    """

    def __init__(self, kernel: Kernel, layout: PageLayout) -> None:
        from bridge.kernel import frame_loops  # not above: it loads a compiler

        self._loops = frame_loops
        self._kernel = kernel
        self.layout = layout
        members = [layout.flags, layout.compound_head, layout.mapping]
        halves = [layout.page_type, layout.refcount]
        self._is_plain = (
            layout.page_bytes == 8 * self._loops.RECORD_WORDS
            and kernel.reader.is_aligned
            and not any(place % 8 for place in members)
            and not any(place % 4 for place in halves)
        )
        self._places = np.array([place // 8 for place in members] + [place // 4 for place in halves], np.int64)
        self._mappings: Mappings | None = None
        self._where: _Where | None = None
        self._frames: Frames | None = None
        self._links: U64 = np.zeros(0, np.uint64)

    def read(self, mappings: Mappings) -> Frames:
        """What `read_frames` says. Raises NotMapped."""
        kernel, layout = self._kernel, self.layout
        where = self._where
        if where is None or self._mappings is not mappings or where.base != vmemmap_base(kernel):
            where, self._mappings = _where(kernel, layout, mappings), mappings
        if not self._is_plain or (where.pieces % layout.page_bytes).any():
            return read_frames(kernel, layout, mappings)
        frames = self._frames
        if frames is None or self._where is None or not self._where.is_that_of(where):
            n_pages = kernel.reader.ram.size_bytes >> 12
            frames = replace(empty_frames(layout, n_pages), known=where.known, backing=where.backing)
            self._where, self._links = where, np.zeros(n_pages, np.uint64)
        if self.update(where.pieces // np.array([layout.page_bytes, layout.page_bytes, 8]), frames, self._links):
            heads, tails = _heads(kernel, self._links, where.base, layout.page_bytes, len(frames))
            frames = replace(frames, heads=heads, tails=tails)
        self._frames = frames
        return frames

    def update(self, pieces: npt.NDArray[np.int64], frames: Frames, links: U64) -> bool:
        """Bring records and columns up to date, and `links` (n_pages,); whether any link is another. `pieces` (r, 3):
        first record, the one behind the last, and the word of RAM where they lie.
        """
        _, other_links = self._loops.update(
            self._kernel.reader.all_words,
            pieces,
            self._places,
            frames.records.view("<u8"),
            frames.flags,
            links,
            frames.mapping,
            frames.page_type,
            frames.refcount,
        )
        return other_links


@dataclass(frozen=True, slots=True)
class _Where:
    """Where the array of `struct page` lies."""

    base: int
    pieces: npt.NDArray[np.int64]
    """(r, 3): first byte, the one behind the last, of the array in the order of the RAM file; where that is in RAM."""
    known: Mask
    backing: npt.NDArray[np.int64]

    def is_that_of(self, other: _Where) -> bool:
        """Whether both say the same."""
        return self.base == other.base and all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name in ("pieces", "known", "backing")
        )


def _where(kernel: Kernel, layout: PageLayout, mappings: Mappings) -> _Where:
    """Raises NotMapped where the kernel has no such array."""
    reader, size = kernel.reader, layout.page_bytes
    n_pages = reader.ram.size_bytes >> 12
    base = vmemmap_base(kernel)
    known = np.zeros(n_pages, np.bool_)
    backing, pieces = [], []
    for region in reader.ram.physical_map.regions:
        first, count = region.offset >> 12, region.size_bytes >> 12
        start = base + (region.paddr >> 12) * size
        pages = np.arange(start >> 12, (start + count * size + 4095) >> 12, dtype=np.uint64) << np.uint64(12)
        paddrs, mapped = mappings.translate(pages)
        offsets, ok = reader.offsets(paddrs, 4096)
        mapped &= ok
        inside = start & 4095
        # The array is mapped by large pages: a few pieces, each copied at once.
        for begin, end in _runs(offsets, mapped):
            low, high = max(begin * 4096 - inside, 0), min(end * 4096 - inside, count * size)
            source = int(offsets[begin]) + (inside if not begin else 0)
            pieces.append((first * size + low, first * size + high, source))
        place = np.arange(count, dtype=np.int64) * size + inside
        known[first : first + count] = mapped[place >> 12] & mapped[(place + size - 1) >> 12]
        backing.append((offsets[mapped] >> np.uint64(12)).astype(np.int64))
    if not known.any():
        raise NotMapped(base, "the array of struct page is not there")
    rows = np.array(pieces, np.int64).reshape(-1, 3)
    return _Where(base, rows, known, np.unique(np.concatenate(backing)))


def _runs(offsets: U64, mapped: Mask) -> list[tuple[int, int]]:
    """The pieces in which pages at `offsets` (n,) follow each other: (first, behind the last)."""
    follows = np.zeros(len(offsets), np.bool_)
    follows[1:] = mapped[1:] & mapped[:-1] & (np.diff(offsets) == 4096)
    starts = np.flatnonzero(~follows)
    ends = np.append(starts[1:], len(offsets))
    return [
        (a, b) for a, b, there in zip(starts.tolist(), ends.tolist(), mapped[starts].tolist(), strict=True) if there
    ]


def _column(records: npt.NDArray[np.uint8], offset: int, dtype: str) -> npt.NDArray[Any]:
    """(n,) a member of all records."""
    kind = np.dtype(dtype)
    if offset % kind.itemsize or records.shape[1] % kind.itemsize:
        return column(records, offset, dtype)
    found: npt.NDArray[Any] = np.ascontiguousarray(records.view(kind)[:, offset // kind.itemsize])
    return found


def _heads(
    kernel: Kernel, links: U64, base: int, size: int, n_pages: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """File page of each page's head, and the pages that are not their own. A tail's link is the head's address plus
    one; or, since v7.1 where `struct page` has a power of two of bytes, a mask plus one, which makes the head's address
    of the tail's (`compound_info`). An address lies in the array of `struct page`; a mask has all its upper bits set.
    """
    heads = np.arange(n_pages)
    tails = np.flatnonzero(links & np.uint64(1))
    wanted = links[tails] - np.uint64(1)
    masks = np.flatnonzero(wanted >> np.uint64(_MASK_BITS) == np.uint64((1 << (64 - _MASK_BITS)) - 1))
    if len(masks):
        wanted[masks] &= np.uint64(base) + _pfns(kernel, tails[masks]) * np.uint64(size)
    places = wanted - np.uint64(base)
    offsets, ok = kernel.reader.offsets((places // np.uint64(size)) << np.uint64(12))
    good = ok & (places % np.uint64(size) == 0)
    heads[tails[good]] = (offsets[good] >> np.uint64(12)).astype(np.int64)
    return heads, tails[good]


def _pfns(kernel: Kernel, pages: npt.NDArray[np.int64]) -> U64:
    """(m,) page frame number of some pages of the RAM file; zero for those that have no physical address."""
    pfns = np.zeros(len(pages), np.uint64)
    for region in kernel.reader.ram.physical_map.regions:
        first, count = region.offset >> 12, region.size_bytes >> 12
        inside = (pages >= first) & (pages < first + count)
        pfns[inside] = (pages[inside] - first + (region.paddr >> 12)).astype(np.uint64)
    return pfns
