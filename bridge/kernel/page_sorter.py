"""The page sorter: classes of all pages by compiled code, and what they belong to, again and again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bridge.kernel import page_loops
from bridge.kernel.frames import Frames
from bridge.kernel.kernel import Kernel
from bridge.kernel.page_types import PageLayout, PageTypes

U8 = npt.NDArray[np.uint8]
I32 = npt.NDArray[np.int32]
U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]
Pages = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Claims = Iterable[tuple[int, Pages]]

_NEVER = (0, 1)
"""Mask and value that no page type fits."""
_LEAST_SLOTS = 1 << 10


@dataclass(frozen=True, slots=True)
class SortedPages:
    """What every page of the RAM file is, and what it belongs to."""

    classes: U8
    orders: npt.NDArray[np.int8]
    which: I32
    """(n_pages,) number of its slab cache or, for pages of files, of its address space; -1 for others."""
    caches: U64
    """(c,) `struct kmem_cache *` of the numbers."""
    spaces: U64
    """(s,) `struct address_space *` of the numbers."""
    used: Mask
    """(s,) whether any page is of that one."""


class PageSorter:
    """Sorts the pages of one kernel."""

    def __init__(self, kernel: Kernel, layout: PageLayout) -> None:
        self._levels = kernel.levels
        self._layout = layout
        bits = layout.bits
        # Where no flag says that a page is the head of several, the highest one, which no kernel has.
        masks = (1 << bits["slab"] if "slab" in bits else 0, 1 << bits.get("reserved", 64) & (1 << 64) - 1)
        self._bits = np.array([*masks, 1 << bits.get("head", 63)], np.uint64)
        self._is_plain = not any(
            place % 8 for place in (layout.page_bytes, layout.private, layout.slab_cache, layout.index)
        )
        self._edges: I32 = np.zeros(0, np.int32)
        self._claims: tuple[U8, U8] = np.zeros(0, np.uint8), np.zeros(0, np.uint8)
        self._is_tail: tuple[Pages, Mask] | None = None
        self._slots = _LEAST_SLOTS

    def can_sort(self, frames: Frames) -> bool:
        """Whether records lie in a way that is provided for."""
        return self._is_plain and frames.records.flags.c_contiguous

    def sort(
        self, frames: Frames, types: PageTypes, early: Claims, late: Claims, kinds_of: Callable[[U64], U8]
    ) -> SortedPages:
        """Tell everything. `early`, `late`: classes of some pages by what points to them, the surest first, those that
        come before or after what the records say; `kinds_of` tells the class of pages in address spaces (n,).
        """
        n, layout = len(frames), self._layout
        if len(self._edges) != n + 1:
            self._edges = np.zeros(n + 1, np.int32)
            self._claims = np.zeros(n, np.uint8), np.zeros(n, np.uint8)
        for claims, room in zip((early, late), self._claims, strict=True):
            room[:] = 0
            for page_class, pages in reversed(list(claims)):
                room[pages] = page_class
        marks = [types.values.get(name, _NEVER) for name in ("buddy", "slab", "table", "large_kmalloc")]
        classes, orders, which = np.empty(n, np.uint8), np.empty(n, np.int8), np.empty(n, np.int32)
        while True:
            caches, spaces = np.empty(self._slots, np.uint64), np.empty(self._slots, np.uint64)
            n_caches, n_spaces = page_loops.classify(
                frames.known,
                frames.records.view("<u8"),
                frames.flags,
                frames.heads,
                self._tails(frames),
                frames.mapping,
                frames.page_type,
                frames.refcount,
                *self._claims,
                np.array(marks, np.uint32),
                self._bits,
                np.array([layout.private // 8, layout.slab_cache // 8], np.int64),
                self._levels,
                self._edges,
                classes,
                orders,
                which,
                caches,
                np.full(self._slots, -1, np.int32),
                spaces,
                np.full(self._slots, -1, np.int32),
            )
            if n_caches >= 0:
                break
            self._slots *= 2
        found = spaces[:n_spaces].copy()
        used = np.zeros(n_spaces, np.bool_)
        page_loops.settle(which, kinds_of(found), classes, used)
        return SortedPages(classes, orders, which, caches[:n_caches].copy(), found, used)

    def _tails(self, frames: Frames) -> Mask:
        known = self._is_tail
        if known is None or known[0] is not frames.tails:
            mask = np.zeros(len(frames), np.bool_)
            mask[frames.tails] = True
            known = self._is_tail = frames.tails, mask
        return known[1]


def tell(frames: Frames, pages: SortedPages, of_caches: I32, of_spaces: I32) -> tuple[I32, U32]:
    """(n_pages,) subjects and places of slabs, files and free pages, by the subject of each cache and each space; -1
    and 0 for others.
    """
    n = len(pages.classes)
    subjects, places = np.empty(n, np.int32), np.empty(n, np.uint32)
    page_loops.tell(
        frames.records.view("<u8"),
        frames.layout.index // 8,
        frames.heads,
        pages.classes,
        pages.orders,
        pages.which,
        of_caches,
        of_spaces,
        subjects,
        places,
    )
    return subjects, places
