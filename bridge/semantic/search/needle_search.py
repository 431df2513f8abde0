"""Searching for needles, in several threads: each takes a few MiB at a time, and all is handed over in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bridge.semantic.search.found import Cancelled, Found, SearchCancelled
from bridge.semantic.search.needles import Needle, PackedNeedles, pack_needles
from bridge.semantic.search.places import I64, Places
from bridge.semantic.search.source import Source

TASK_BYTES = 8 << 20
_LISTEN_S = 0.01
_SAMPLES = 64
_SAMPLE_BYTES = 1024
_ROOM = 4096
_AHEAD = 8
"""Tasks a thread: on a busy machine it takes a while until this one is woken, and nobody should wait for it."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """What one task found, and what of it lies beyond the file's end."""

    positions: I64
    needles: npt.NDArray[np.int32]
    missing_bytes: int


class NeedleSearch:
    """One search. Of several needles that match with one length at one place, the first counts."""

    def __init__(self, source: Source, places: Places, needles: tuple[Needle, ...], most: int, threads: int) -> None:
        """`most`: how many matches are wanted."""
        self.names = tuple(needle.name for needle in needles)
        self.notes: tuple[str, ...] = ()
        self._source, self._places, self._most, self._threads = source, places, most, threads
        self._packed: PackedNeedles = pack_needles(needles, _sample(source, places))
        self._lengths = self._packed.lengths.astype(np.uint32)
        self._stopped = np.zeros(1, np.uint32)

    def found(self, cancelled: Cancelled) -> Generator[Found]:
        """Matches as they are found, each checked once more. Raises SearchCancelled."""
        n_bytes = self._places.n_bytes
        ahead = _AHEAD * self._threads
        waiting: deque[tuple[int, Future[_Piece]]] = deque()
        firsts = iter(range(0, n_bytes, TASK_BYTES))
        pool = ThreadPoolExecutor(self._threads, "search")
        try:
            while True:
                while len(waiting) < ahead and (first := next(firsts, None)) is not None:
                    stop = min(first + TASK_BYTES, n_bytes)
                    waiting.append((stop, pool.submit(self._search, first, stop)))
                if not waiting:
                    return
                stop, future = waiting.popleft()
                yield self._checked(_result(future, cancelled), stop)
        finally:
            self._stopped[0] = 1
            pool.shutdown(cancel_futures=True)

    def _checked(self, piece: _Piece, searched: int) -> Found:
        from bridge.semantic.search import loops

        packed, places = self._packed, self._places
        there = np.zeros(len(piece.positions), np.uint8)
        loops.still_there(
            self._source.fd,
            self._source.address,
            places.offsets,
            places.starts,
            packed.values,
            packed.masks,
            packed.bounds,
            piece.positions,
            piece.needles,
            np.zeros(packed.longest, np.uint8),
            there,
        )
        kept = np.flatnonzero(there)
        which = piece.needles[kept]
        return Found(
            piece.positions[kept], self._lengths[which], which, searched, piece.missing_bytes, len(there) - len(kept)
        )

    def _search(self, first: int, stop: int) -> _Piece:
        """Finds what begins in a span of positions; not many more than are wanted."""
        from bridge.semantic.search import loops  # here, since it loads the compiler

        packed, places = self._packed, self._places
        buffer = np.empty(loops.BUFFER_BYTES + loops.SPARE_BYTES + packed.longest, np.uint8)
        room = max(_ROOM, loops.LANES * len(self.names))
        positions, needles = np.empty(room, np.int64), np.empty(room, np.int32)
        state = np.zeros(loops.N_STATE, np.int64)
        state[loops.POSITION] = first
        found: list[tuple[I64, npt.NDArray[np.int32]]] = []
        n_found, missing = 0, 0
        # One more than wanted says that there are more; and one may be told twice, by needles of one length.
        enough = self._most + 1 if len(self.names) == 1 else (self._most + 1) * len(self.names)
        while state[loops.POSITION] < stop and n_found < enough and not self._stopped[0]:
            loops.find_needles(
                self._source.fd,
                self._source.address,
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
                self._stopped,
            )
            n = int(state[loops.FOUND])
            missing += int(state[loops.MISSING_BYTES])
            if n:
                found.append((positions[:n].copy(), needles[:n].copy()))
                n_found += n
        if not found:
            return _Piece(np.zeros(0, np.int64), np.zeros(0, np.int32), missing)
        at, which = (np.concatenate(parts) for parts in zip(*found, strict=True))
        if len(self.names) > 1:
            at, which = self._sorted(at, which)
        return _Piece(at[: self._most + 1], which[: self._most + 1], missing)

    def _sorted(self, at: I64, which: npt.NDArray[np.int32]) -> tuple[I64, npt.NDArray[np.int32]]:
        """By place and length, each once: within 64 places they come needle by needle."""
        lengths = self._packed.lengths[which]
        order = np.lexsort((which, lengths, at))
        at, which, lengths = at[order], which[order], lengths[order]
        new = np.ones(len(at), np.bool_)
        new[1:] = (np.diff(at) != 0) | (np.diff(lengths) != 0)
        return at[new], which[new]


def _result(future: Future[_Piece], cancelled: Cancelled) -> _Piece:
    while True:
        if cancelled():
            raise SearchCancelled
        try:
            return future.result(_LISTEN_S)
        except NotYet:
            continue


def _sample(source: Source, places: Places) -> npt.NDArray[np.uint8]:
    """Some of the memory, from all over it."""
    step = max(places.n_bytes // _SAMPLES, 1)
    starts = range(step // 2, places.n_bytes, step)
    return np.frombuffer(b"".join(source.read(places, at, _SAMPLE_BYTES) for at in starts), np.uint8)
