"""The searcher: finds a pattern in RAM, in several threads, and delivers what it finds as it goes."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from bridge.memory.physical import HoldsRam
from bridge.semantic.search.needles import Needle, PackedNeedles, pack_needles
from bridge.semantic.search.pattern import BadPattern, Pattern, PatternKind
from bridge.semantic.search.places import I64, Mask, Places, VirtualPages, physical_places, virtual_places
from bridge.semantic.search.results import Hits, SearchResult, hits_at, joined_hits
from bridge.semantic.search.source import Source, open_source

DEFAULT_LIMIT = 10_000
MAX_LIMIT = 1_000_000
_MOST_THREADS = 4
_TASK_BYTES = 4 << 20
_LISTEN_S = 0.01
"""How long it may take until somebody who cancels is listened to."""
_SAMPLES = 64
_SAMPLE_BYTES = 1024

Progress = Callable[[float], None]
"""Takes the share that was searched, 0 to 1."""


@dataclass(frozen=True, slots=True)
class _Listeners:
    limit: int
    cancelled: Callable[[], bool]
    progress: Progress
    found: Callable[[Hits], None]


class Searcher:
    """Searches one machine's RAM, or a dump. Safe to use from several threads."""

    def __init__(self, ram: HoldsRam, *, threads: int | None = None) -> None:
        self._ram = ram
        self._threads = threads or min(_MOST_THREADS, len(os.sched_getaffinity(0)))

    def search(
        self,
        pattern: Pattern,
        pages: Mask | VirtualPages | None = None,
        *,
        limit: int = DEFAULT_LIMIT,
        cancelled: Callable[[], bool] = lambda: False,
        progress: Progress = lambda _share: None,
        found: Callable[[Hits], None] = lambda _hits: None,
    ) -> SearchResult:
        """Looks for a pattern in all RAM, in the pages of a mask (n_pages,), or in an address space's order.

        What is found is given to `found` in batches, in order, checked once more just before; then all of it is
        returned, at most `limit`. All three functions are called in this thread, some hundred times a second.
        Raises BadPattern, GuestMemoryError.
        """
        started_s = time.monotonic()
        if not 0 < limit <= MAX_LIMIT:
            raise BadPattern(f"A search gives 1 to {MAX_LIMIT:,} matches, not {limit:,}.")
        places = self._places(pages)
        listeners = _Listeners(limit, cancelled, progress, found)
        with open_source(self._ram) as source:
            if pattern.kind not in (PatternKind.BYTES, PatternKind.TEXT):
                raise BadPattern(f"Searching for a {pattern.kind} is not possible here.")
            return _search_needles(source, places, pattern.needles(), listeners, self._threads, started_s)

    def _places(self, pages: Mask | VirtualPages | None) -> Places:
        if isinstance(pages, VirtualPages):
            return virtual_places(pages, self._ram.size_bytes // 4096)
        return physical_places(self._ram.physical_map, self._ram.size_bytes, pages)


@dataclass(slots=True)
class _Piece:
    """What one task found."""

    positions: I64
    needles: npt.NDArray[np.int32]
    missing_bytes: int


def _search_needles(
    source: Source,
    places: Places,
    needles: tuple[Needle, ...],
    listeners: _Listeners,
    threads: int,
    started_s: float,
) -> SearchResult:
    from bridge.semantic.search import loops  # here, since it loads the compiler

    packed = pack_needles(needles, _sample(source, places))
    stopped = np.zeros(1, np.uint32)

    def search_piece(first: int) -> _Piece:
        return _search_piece(
            source, places, packed, (first, min(first + _TASK_BYTES, places.n_bytes)), listeners.limit, stopped
        )

    lengths = packed.lengths.astype(np.uint32)
    batches: list[Hits] = []
    n_found, gone, missing, searched, problem = 0, 0, 0, 0, ""
    scratch = np.zeros(packed.longest, np.uint8)
    pool = ThreadPoolExecutor(threads, "search")
    try:
        for first, piece in _in_order(
            pool, search_piece, range(0, places.n_bytes, _TASK_BYTES), 2 * threads, listeners
        ):
            if piece is None:
                problem = "It was cancelled."
                break
            searched = min(first + _TASK_BYTES, places.n_bytes)
            missing += piece.missing_bytes
            if len(piece.positions):
                there = np.zeros(len(piece.positions), np.uint8)
                loops.still_there(
                    source.fd,
                    source.address,
                    places.offsets,
                    places.starts,
                    packed.values,
                    packed.masks,
                    packed.bounds,
                    piece.positions,
                    piece.needles,
                    scratch,
                    there,
                )
                kept = np.flatnonzero(there)
                gone += len(there) - len(kept)
                over = n_found + len(kept) > listeners.limit
                kept = kept[: listeners.limit - n_found]
                which = piece.needles[kept]
                if len(kept):
                    batch = hits_at(places, piece.positions[kept], lengths[which], which)
                    batches.append(batch)
                    n_found += len(kept)
                    listeners.found(batch)
                if over:
                    problem = f"These are the first {listeners.limit:,}; there are more."
                    break
            listeners.progress(searched / places.n_bytes)
    finally:
        stopped[0] = 1
        pool.shutdown(cancel_futures=True)
    if missing and not problem:
        problem = f"The RAM file has become shorter: {missing:,} bytes are no longer there."
    hits = joined_hits(places, batches, listeners.limit)
    return SearchResult(
        **{field.name: getattr(hits, field.name) for field in fields(hits)},
        names=tuple(needle.name for needle in needles),
        complete=not problem,
        problem=problem,
        searched_bytes=searched,
        total_bytes=places.n_bytes,
        gone=gone,
        elapsed_s=time.monotonic() - started_s,
    )


def _in_order(
    pool: ThreadPoolExecutor, task: Callable[[int], _Piece], firsts: range, ahead: int, listeners: _Listeners
) -> Iterator[tuple[int, _Piece | None]]:
    """Each task's result, in order, while others run ahead; None once it is cancelled."""
    waiting: deque[tuple[int, Future[_Piece]]] = deque()
    rest = iter(firsts)
    while True:
        while len(waiting) < ahead and (first := next(rest, None)) is not None:
            waiting.append((first, pool.submit(task, first)))
        if not waiting:
            return
        first, future = waiting.popleft()
        while True:
            if listeners.cancelled():
                yield first, None
                return
            try:
                piece = future.result(_LISTEN_S)
                break
            except NotYet:
                continue
        yield first, piece


def _search_piece(
    source: Source,
    places: Places,
    packed: PackedNeedles,
    span: tuple[int, int],
    limit: int,
    stopped: npt.NDArray[np.uint32],
) -> _Piece:
    """Finds up to limit + 1 matches that begin in a span of positions."""
    from bridge.semantic.search import loops

    n_needles = len(packed.bounds) - 1
    buffer = np.empty(loops.BUFFER_BYTES + loops.SPARE_BYTES + packed.longest, np.uint8)
    room = max(4096, loops.LANES * n_needles)
    positions, needles = np.empty(room, np.int64), np.empty(room, np.int32)
    state = np.zeros(loops.N_STATE, np.int64)
    state[loops.POSITION], stop = span
    found: list[tuple[I64, npt.NDArray[np.int32]]] = []
    n_found, missing = 0, 0
    while state[loops.POSITION] < stop and n_found <= limit and not stopped[0]:
        loops.find_needles(
            source.fd,
            source.address,
            places.offsets,
            places.starts,
            places.joined,
            packed.values,
            packed.masks,
            packed.bounds,
            packed.anchors,
            packed.longest,
            int(state[loops.POSITION]),
            stop,
            buffer,
            positions,
            needles,
            state,
            stopped,
        )
        n = int(state[loops.FOUND])
        missing += int(state[loops.MISSING_BYTES])
        if n:
            batch = positions[:n].copy(), needles[:n].copy()
            found.append(batch)
            n_found += n
    if not found:
        return _Piece(np.zeros(0, np.int64), np.zeros(0, np.int32), missing)
    at, which = (np.concatenate(parts) for parts in zip(*found, strict=True))
    if n_needles > 1:
        # Within a group of places they come by needle; the same bytes may match two.
        order = np.lexsort((which, packed.lengths[which], at))
        at, which = at[order], which[order]
        new = np.ones(len(at), np.bool_)
        new[1:] = (np.diff(at) != 0) | (np.diff(packed.lengths[which]) != 0)
        at, which = at[new], which[new]
    return _Piece(at[: limit + 1], which[: limit + 1], missing)


def _sample(source: Source, places: Places) -> npt.NDArray[np.uint8]:
    """Some of the memory, from all over it."""
    step = max(places.n_bytes // _SAMPLES, 1)
    starts = range(step // 2, places.n_bytes, step)
    return np.frombuffer(b"".join(source.read(places, at, _SAMPLE_BYTES) for at in starts), np.uint8)
