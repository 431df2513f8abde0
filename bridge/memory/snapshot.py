"""Copies all of a guest's RAM at memory speed, and says whether the copy is one state that RAM was in.

After the copy every page is compared again. When nothing differs, each page held its copied value before and after the
moment at which the comparison began: the copy is RAM at that moment. (A page that changed and changed back in between
cannot be told from one that did not.) What differs is copied anew and compared again. A busy guest never holds still
that long; then it takes a pause, which lasts as long as one comparison.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
import numpy.typing as npt

from bridge.memory.physical_map import PAGE_BYTES


class MappedRam(Protocol):
    """What is copied: `bridge.memory.ram.GuestRam`, which takes its snapshots here."""

    @property
    def bytes(self) -> npt.NDArray[np.uint8]: ...
    @property
    def n_pages(self) -> int: ...
    @property
    def size_bytes(self) -> int: ...
    def check_intact(self) -> object: ...
    def allocated_extents(self) -> list[tuple[int, int]]: ...


_PIECE_BYTES = 8 << 20
_HUGE_PAGE_BYTES = 2 << 20
_MOST_THREADS = 4


class Consistency(StrEnum):
    """How a snapshot came to be consistent, or not."""

    STILL = "still"  # nothing changed while it was copied
    RETRIED = "retried"  # what had changed was copied anew, until nothing changed any more
    PAUSED = "paused"  # the guest was stopped for the last comparison
    TORN = "torn"  # the guest changed faster than it could be copied


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A copy of RAM."""

    data: npt.NDArray[np.uint8]  # (size_bytes,) by offset in the RAM file, read-only
    how: Consistency
    changed_pages: npt.NDArray[np.uint32]  # pages that changed while it was taken, in order
    passes: int  # comparisons
    copied_bytes: int  # what is not a hole
    duration_s: float
    paused_s: float

    @property
    def consistent(self) -> bool:
        """True when all bytes are of one instant."""
        return self.how is not Consistency.TORN

    @property
    def bytes_per_s(self) -> float:
        """RAM captured per second."""
        return len(self.data) / self.duration_s


def take_snapshot(
    ram: MappedRam, *, pause: contextlib.AbstractContextManager[object] | None = None, retries: int = 3
) -> Snapshot:
    """Copies `ram`. With `pause`, the guest is stopped (by entering it) for the last comparison; without, up to
    `retries` more comparisons are made."""
    start_s = time.perf_counter()
    words = ram.bytes.view(np.uint64)
    memory = mmap.mmap(-1, ram.size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    copy = np.frombuffer(memory, np.uint8)
    changed = np.zeros(ram.n_pages, np.uint8)
    threads = min(_MOST_THREADS, len(os.sched_getaffinity(0)))
    with ThreadPoolExecutor(threads, "snapshot") as pool:
        extents = _allocated(ram)
        _ask_for_huge_pages(memory, extents)
        _copy(pool, ram.bytes, copy, extents)

        compared = copy.view(np.uint64)
        passes, paused_s, how = 0, 0.0, Consistency.TORN
        while how is Consistency.TORN and passes <= retries and pause is None:
            passes += 1
            extents, n_changed = _bring_up_to_date(pool, ram, words, compared, extents, changed)
            if n_changed == 0:
                how = Consistency.STILL if passes == 1 else Consistency.RETRIED
        if pause is not None:
            with pause:
                pause_start_s = time.perf_counter()
                passes += 1
                extents, _ = _bring_up_to_date(pool, ram, words, compared, extents, changed)
                how = Consistency.PAUSED
                paused_s = time.perf_counter() - pause_start_s
    copy.flags.writeable = False
    return Snapshot(
        data=copy,
        how=how,
        changed_pages=np.flatnonzero(changed).astype(np.uint32),
        passes=passes,
        copied_bytes=sum(length for _, length in extents),
        duration_s=time.perf_counter() - start_s,
        paused_s=paused_s,
    )


def _allocated(ram: MappedRam) -> list[tuple[int, int]]:
    ram.check_intact()
    return ram.allocated_extents()


def _ask_for_huge_pages(memory: mmap.mmap, extents: list[tuple[int, int]]) -> None:
    for start, length in extents:
        # Only where all of a huge page will be filled: a hole stays free.
        first = -(-start // _HUGE_PAGE_BYTES) * _HUGE_PAGE_BYTES
        stop = (start + length) // _HUGE_PAGE_BYTES * _HUGE_PAGE_BYTES
        if stop > first:
            # A kernel without huge pages refuses; then the copy is slower, not wrong.
            with contextlib.suppress(OSError):
                memory.madvise(mmap.MADV_HUGEPAGE, first, stop - first)


def _copy(
    pool: ThreadPoolExecutor, source: npt.NDArray[np.uint8], copy: npt.NDArray[np.uint8], extents: list[tuple[int, int]]
) -> None:
    def copy_piece(piece: tuple[int, int]) -> None:
        start, stop = piece
        np.copyto(copy[start:stop], source[start:stop])

    list(pool.map(copy_piece, _pieces(extents)))


def _bring_up_to_date(
    pool: ThreadPoolExecutor,
    ram: MappedRam,
    words: npt.NDArray[np.uint64],
    copy: npt.NDArray[np.uint64],
    known: list[tuple[int, int]],
    changed: npt.NDArray[np.uint8],
) -> tuple[list[tuple[int, int]], int]:
    """Makes the copy equal to RAM; gives RAM's extents, and how many pages were not equal."""
    from bridge.memory.scan import copy_changed  # here, since it loads the compiler

    extents = _allocated(ram)
    n_changed = 0
    if extents != known:
        # What has become a hole is zero, and must not be read.
        holes = np.ones(ram.n_pages, np.bool_)
        for start, length in extents:
            holes[start // PAGE_BYTES : (start + length) // PAGE_BYTES] = False
        for start, length in known:
            for page in range(start // PAGE_BYTES, (start + length) // PAGE_BYTES):
                page_words = copy[page * PAGE_BYTES // 8 : (page + 1) * PAGE_BYTES // 8]
                if holes[page] and page_words.any():
                    page_words[:] = 0
                    changed[page] = 1
                    n_changed += 1

    def compare_piece(piece: tuple[int, int]) -> int:
        return copy_changed(words, copy, piece[0] // PAGE_BYTES, piece[1] // PAGE_BYTES, changed)

    return extents, n_changed + sum(pool.map(compare_piece, _pieces(extents)))


def _pieces(extents: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """(start, stop) of about equal parts, for the threads."""
    return [
        (piece, min(piece + _PIECE_BYTES, start + length))
        for start, length in extents
        for piece in range(start, start + length, _PIECE_BYTES)
    ]
