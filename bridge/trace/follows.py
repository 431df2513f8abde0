"""Follows: which block came after which on one vCPU, counted from trace records as they come, with bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.trace.layout import layout

MOST_EDGES = 1 << 22
"""That are kept. A system has about as many as it has blocks; who has more keeps the ones that were taken most."""
MOST_TASKS = 1 << 12
"""That are told apart; a recording may claim any number."""
_CHUNK = 1 << 20
_PENDING = 1 << 22
_LONGEST_S = 1e-3
"""That a block is believed to have taken: what is longer was waiting, for an interrupt or for the records' reader."""


@dataclass(frozen=True, slots=True)
class Edges:
    """Which block went on to which, by source, then target. Parallel arrays (m,)."""

    sources: NDArray[np.int64]
    targets: NDArray[np.int64]
    counts: NDArray[np.int64]
    """How often it was seen; 0 throughout where it was not measured."""
    measured: bool
    """Seen in records; otherwise what the blocks' last instructions say."""

    def __len__(self) -> int:
        return len(self.sources)


@dataclass(slots=True)
class _Last:
    """Where the records of a vCPU stopped."""

    sequence: int
    block: int
    at: float


class _Tally:
    """Counts numbers of 64 bits as they come in pieces, each with how often it was in it."""

    def __init__(self) -> None:
        self.keys, self.counts = np.empty(0, np.uint64), np.empty(0, np.int64)
        self._pending: list[tuple[NDArray[np.uint64], NDArray[np.int64]]] = []
        self._length = 0

    def add(self, keys: NDArray[np.uint64], counts: NDArray[np.int64]) -> None:
        """Take numbers, each once."""
        if self._length + len(keys) > _PENDING:
            self.merge()
        self._pending.append((keys, counts))
        self._length += len(keys)

    def merge(self) -> None:
        """Have all of them in `keys`, ascending, and `counts`."""
        keys = np.concatenate([self.keys, *(one for one, _ in self._pending)])
        counts = np.concatenate([self.counts, *(one for _, one in self._pending)])
        self._pending, self._length = [], 0
        self.keys, place = np.unique(keys, return_inverse=True)
        self.counts = np.zeros(len(self.keys), np.int64)
        np.add.at(self.counts, place, counts)
        if len(self.keys) > MOST_EDGES:
            kept = np.sort(np.argsort(-self.counts, kind="stable")[:MOST_EDGES])
            self.keys, self.counts = self.keys[kept], self.counts[kept]


class TasksOfBlocks(Mapping[int, Counter[int]]):
    """By block: the words of the tasks that entered it, and how often."""

    def __init__(self, keys: NDArray[np.uint64], counts: NDArray[np.int64], words: Sequence[int]) -> None:
        """`keys`, ascending: block and, in the lower half, which of the words."""
        self._blocks, self._first = np.unique(keys >> np.uint64(32), return_index=True)
        self._ends = np.append(self._first[1:], len(keys))
        self._keys, self._counts, self._words = keys, counts, words

    def __getitem__(self, block: int) -> Counter[int]:
        at = int(np.searchsorted(self._blocks, np.uint64(block)))
        if at == len(self._blocks) or int(self._blocks[at]) != block:
            raise KeyError(block)
        part = slice(int(self._first[at]), int(self._ends[at]))
        numbers = (self._keys[part] & np.uint64(0xFFFFFFFF)).tolist()
        words = [self._words[number] for number in numbers]
        return Counter(dict(zip(words, self._counts[part].tolist(), strict=True)))

    def __iter__(self) -> Iterator[int]:
        return iter(self._blocks.tolist())

    def __len__(self) -> int:
        return len(self._blocks)


class FollowCounter:
    """Takes records in any pieces; of each vCPU in their order."""

    def __init__(self, blocks: int) -> None:
        """Of block numbers below `blocks`; others are as if nobody knew what ran."""
        self._blocks = blocks
        self._last: dict[int, _Last] = {}
        self._edges, self._tasks = _Tally(), _Tally()
        self._task_numbers: dict[int, int] = {}
        self.entered = np.zeros(blocks, np.int64)
        """(blocks,): records of each."""
        self.seconds = np.zeros(blocks)
        """(blocks,): from each one's records until the next block's, on the same vCPU."""
        self.records = 0
        """Of blocks, that were taken."""

    def feed(self, records: NDArray[Any], tsc_hz: int = 0) -> None:
        """Take (n,) of `record`, as a ring has them. Without `tsc_hz` times are not told."""
        known = layout().constants
        per_s = float(tsc_hz) if tsc_hz else np.inf
        for first in range(0, len(records), _CHUNK):
            part = records[first : first + _CHUNK]
            lost = (part["flags"] & known["FLAG_LOST"]) != 0
            kinds = part["kind"] == known["RECORD_BLOCK"]
            # The words of a registers' record lie where others have their time.
            self._take(part["vcpu"], part["sequence"], kinds, part["block"], part["tsc"], per_s, lost)
            self._note_tasks(part["block"][kinds], part["value"][kinds])

    def feed_columns(
        self,
        vcpus: NDArray[Any],
        are_blocks: NDArray[np.bool_],
        blocks: NDArray[Any],
        ns: NDArray[Any],
        breaks: NDArray[np.bool_],
        tasks: NDArray[Any],
    ) -> None:
        """Take (n,) records as columns, as recordings have them. At those in `breaks` something is missing; `tasks` are
        the words of the tasks that entered blocks, 0 where not known.
        """
        for first in range(0, len(vcpus), _CHUNK):
            part = slice(first, first + _CHUNK)
            self._take(vcpus[part], None, are_blocks[part], blocks[part], ns[part], 1e9, breaks[part])
            self._note_tasks(blocks[part][are_blocks[part]], tasks[part][are_blocks[part]])

    def _note_tasks(self, blocks: NDArray[Any], tasks: NDArray[Any]) -> None:
        if not len(tasks) or not tasks.any():
            return
        # A task runs for many blocks, so that the places where they change are few.
        begins = np.concatenate([[0], np.flatnonzero(tasks[1:] != tasks[:-1]) + 1])
        numbers = [self._task_number(task) for task in tasks[begins].tolist()]
        number = np.repeat(np.array(numbers, np.uint64), np.diff(np.append(begins, len(tasks))))
        known = (blocks < self._blocks) & (number < MOST_TASKS) & (tasks != 0)
        keys, counts = np.unique((blocks[known].astype(np.uint64) << np.uint64(32)) | number[known], return_counts=True)
        self._tasks.add(keys, counts)

    def _task_number(self, task: int) -> int:
        if len(self._task_numbers) < MOST_TASKS:
            return self._task_numbers.setdefault(task, len(self._task_numbers))
        return self._task_numbers.get(task, MOST_TASKS)

    def tasks(self) -> TasksOfBlocks:
        """Who entered what until now."""
        self._tasks.merge()
        return TasksOfBlocks(self._tasks.keys, self._tasks.counts, list(self._task_numbers))

    def _take(
        self,
        vcpus: NDArray[Any],
        sequences: NDArray[Any] | None,
        are_blocks: NDArray[np.bool_],
        blocks: NDArray[Any],
        times: NDArray[Any],
        per_s: float,
        breaks: NDArray[np.bool_],
    ) -> None:
        one = len(vcpus) > 0 and bool((vcpus == vcpus[0]).all())
        for vcpu in [int(vcpus[0])] if one else np.unique(vcpus).tolist():
            chosen: Any = slice(None) if one else np.flatnonzero(vcpus == vcpu)
            numbers = None if sequences is None else sequences[chosen]
            self._take_one(vcpu, numbers, are_blocks[chosen], blocks[chosen], times[chosen], per_s, breaks[chosen])

    def _take_one(
        self,
        vcpu: int,
        sequences: NDArray[Any] | None,
        are_blocks: NDArray[np.bool_],
        blocks: NDArray[Any],
        times: NDArray[Any],
        per_s: float,
        breaks: NDArray[np.bool_],
    ) -> None:
        last = self._last.get(vcpu)
        sequence = 0
        if sequences is not None:
            sequences = sequences.astype(np.uint64)
            before = np.empty_like(sequences)
            before[1:] = sequences[:-1]
            before[0] = (int(sequences[0]) - 1) % (1 << 64) if last is None else last.sequence
            breaks = breaks | (sequences - before != 1)
            sequence = int(sequences[-1])
        piece = np.cumsum(breaks)  # between records of one piece nothing is missing
        places = np.flatnonzero(are_blocks)
        numbers = blocks[places].astype(np.uint64)
        numbers[numbers >= self._blocks] = 0
        when, pieces = times[places].astype(float), piece[places]
        if last is not None:
            numbers = np.concatenate([np.array([last.block], np.uint64), numbers])
            when, pieces = np.concatenate([[last.at], when]), np.concatenate([[0], pieces])
        self.records += len(places)
        self.entered += np.bincount(blocks[places][blocks[places] < self._blocks], minlength=self._blocks)
        follows = np.flatnonzero((pieces[1:] == pieces[:-1]) & (numbers[1:] != 0) & (numbers[:-1] != 0))
        from_, to = numbers[follows], numbers[follows + 1]
        self._keep(from_, to)
        if np.isfinite(per_s):
            took = np.clip((when[follows + 1] - when[follows]) / per_s, 0.0, _LONGEST_S)
            self.seconds += np.bincount(from_.astype(np.int64), took, self._blocks)
        whole = len(numbers) > 0 and pieces[-1] == piece[-1]
        self._last[vcpu] = _Last(sequence, int(numbers[-1]) if whole else 0, float(when[-1]) if whole else 0.0)

    def _keep(self, from_: NDArray[np.uint64], to: NDArray[np.uint64]) -> None:
        if self._blocks <= 1 << 16:  # half as wide is sorted in half the time
            packed, counts = np.unique(((from_ << np.uint64(16)) | to).astype(np.uint32), return_counts=True)
            found = ((packed >> np.uint32(16)).astype(np.uint64) << np.uint64(32)) | (packed & np.uint32(0xFFFF))
        else:
            found, counts = np.unique((from_ << np.uint64(32)) | to, return_counts=True)
        self._edges.add(found, counts)

    def edges(self) -> Edges:
        """What followed what until now."""
        self._edges.merge()
        sources = (self._edges.keys >> np.uint64(32)).astype(np.int64)
        targets = (self._edges.keys & np.uint64(0xFFFFFFFF)).astype(np.int64)
        return Edges(sources, targets, self._edges.counts.copy(), True)
