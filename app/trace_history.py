"""Trace history: what a guest's execution was in the last minutes, from one look at its counts to the next."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.trace.hot import LEAST_SAMPLES
from bridge.trace.layout import layout
from bridge.trace.session import Counts

LINES_S = 300.0
"""How far back the time lines go …"""
BLOCKS_S = 60.0
"""… and what is known block by block."""
SPARK_BUCKETS, SPARK_BUCKET_S = 30, 2.0
_SPREAD_NS = 1_000_000_000
"""Distinct pages are those of about a second: of a longer while they would be more."""
_PAGE_SHIFT = 12
YOUNG_NS = 2_000_000_000
"""So long after a sample a process that is seen to have its task had it then, too."""
NO_TASK, NO_PROCESS = 0, 1
MOST_PROCESSES = 4096
LINES = ("instructions", "blocks", "code_pages", "loads", "stores", "touched_pages", "records")
"""What there is a line of: a second each, but for pages, which are distinct ones within about a second."""


@dataclass(frozen=True, slots=True)
class Heat:
    """Accesses to each page of the RAM file since the machine was started, by all vCPUs; they wrap."""

    loads: NDArray[np.uint32]
    stores: NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Slice:
    """What ran between two looks."""

    at_ns: int
    seconds: float
    ids: NDArray[np.int32]
    """(n,) the blocks that were entered, each once …"""
    entered: NDArray[np.int64]
    """… and how often."""
    blocks: NDArray[np.uint32]
    """(m,) the block of each sample; 0: the vCPU was idle."""
    tasks: NDArray[np.uint64]
    """(m,) the word that names the task; 0: not known."""
    whose: NDArray[np.int32]
    """(m,) the process of that, in the history's `processes`; NO_TASK, or NO_PROCESS where none had it so far."""


@dataclass(frozen=True, slots=True)
class Span:
    """What ran within the last seconds."""

    seconds: float
    blocks: NDArray[Any]
    """(n,) of `block`."""
    entered: NDArray[np.int64]
    """(n,)"""
    busy: NDArray[np.uint32]
    """(m,) the block of each sample in which a vCPU was in one …"""
    whose: NDArray[np.int32]
    """… and the process that it ran, in `processes`."""
    processes: tuple[str, ...]
    samples: int
    """With those that found a vCPU idle."""

    @property
    def by_samples(self) -> bool:
        """Whether there are enough samples to tell time by; else it is estimated by the instructions that ran."""
        return len(self.busy) >= LEAST_SAMPLES

    @property
    def idle_share(self) -> float:
        """Of the samples, in which the vCPU was in no block."""
        return 1.0 - len(self.busy) / self.samples if self.samples else 0.0

    def weights(self) -> NDArray[np.float64]:
        """(n,) how much of the time each block took, in samples or instructions."""
        if self.by_samples:
            return np.bincount(self.busy, minlength=len(self.blocks)).astype(np.float64)
        ran: NDArray[np.float64] = self.entered.astype(np.float64) * self.blocks["instructions"]
        return ran


class History:
    """Of one machine, while it is traced. For one thread."""

    def __init__(self) -> None:
        self.slices: deque[Slice] = deque()
        self._blocks: NDArray[Any] = np.zeros(1, layout()["block"])
        self._total: NDArray[np.int64] | None = None
        self._at_ns = 0
        self._heats: deque[tuple[int, Heat]] = deque()
        self._records: int | None = None
        self._pages: deque[tuple[int, NDArray[np.uint64]]] = deque()
        self._times: deque[int] = deque()
        self._lines: deque[tuple[float, ...]] = deque()
        self._processes: dict[str, int] = {"": NO_TASK, "?": NO_PROCESS}

    def take(self, counts: Counts, samples: NDArray[Any], heat: Heat | None = None, records: int | None = None) -> None:
        """Take in a look. The first one only begins; `heat`, `records`: where the mode tells of them."""
        total = counts.total.astype(np.int64)
        before, self._total, self._blocks = self._total, total, counts.blocks
        seconds = (counts.at_ns - self._at_ns) / 1e9
        self._at_ns = counts.at_ns
        if before is None or seconds <= 0:
            self._loads_and_stores(heat)
            self._records = records
            return
        entered = total.copy()
        known = min(len(before), len(entered))
        entered[:known] -= before[:known]
        entered[entered < 0] = 0  # the machine was started anew
        ids = np.flatnonzero(entered).astype(np.int32)
        seen = samples[samples["block"] < len(counts.blocks)]
        blocks, tasks = seen["block"].astype(np.uint32), seen["task"].astype(np.uint64)
        whose = np.where(tasks == 0, NO_TASK, NO_PROCESS).astype(np.int32)
        self.slices.append(Slice(counts.at_ns, seconds, ids, entered[ids], blocks, tasks, whose))
        while self.slices and counts.at_ns - self.slices[0].at_ns > BLOCKS_S * 1e9:
            self.slices.popleft()
        ran = counts.blocks[ids]
        loads, stores, touched = self._loads_and_stores(heat)
        new_records = 0 if records is None or self._records is None else max(0, records - self._records)
        self._records = records
        instructions = float((entered[ids] * ran["instructions"].astype(np.int64)).sum())
        self._times.append(counts.at_ns)
        self._lines.append(
            (
                instructions / seconds,
                float(entered[ids].sum()) / seconds,
                float(self._code_pages(ran["physical"])),
                loads / seconds,
                stores / seconds,
                float(touched),
                new_records / seconds,
            )
        )
        while counts.at_ns - self._times[0] > LINES_S * 1e9:
            self._times.popleft()
            self._lines.popleft()

    def name(self, process_of: Callable[[int], str]) -> None:
        """Say which process has which task now: for what was sampled lately, and had none so far.

        Not for all: a task's place is taken by another process sooner or later.
        """
        if len(self._processes) > MOST_PROCESSES:
            self._forget_processes()
        for one in reversed(self.slices):
            if self._at_ns - one.at_ns > YOUNG_NS:
                break
            for task in np.unique(one.tasks[one.whose == NO_PROCESS]).tolist():
                if process := process_of(task):
                    number = self._processes.setdefault(process, len(self._processes))
                    one.whose[one.tasks == np.uint64(task)] = number

    def _forget_processes(self) -> None:
        """Keep the names that are still needed."""
        needed = np.unique(np.concatenate([np.array([NO_TASK, NO_PROCESS]), *(one.whose for one in self.slices)]))
        names = list(self._processes)
        self._processes = {names[number]: place for place, number in enumerate(needed.tolist())}
        for one in self.slices:
            one.whose[:] = np.searchsorted(needed, one.whose)

    def _code_pages(self, physical: NDArray[np.uint64]) -> int:
        """How many pages code ran in within about the last second."""
        inside = physical[physical != np.uint64(layout().constants["NONE"])]
        self._pages.append((self._at_ns, np.unique(inside >> np.uint64(_PAGE_SHIFT))))
        while self._at_ns - self._pages[0][0] > _SPREAD_NS:
            self._pages.popleft()
        return len(np.unique(np.concatenate([pages for _, pages in self._pages])))

    def _loads_and_stores(self, heat: Heat | None) -> tuple[float, float, int]:
        """How many since the last look, and of how many distinct pages within about the last second."""
        if heat is None:
            self._heats.clear()
            return 0.0, 0.0, 0
        self._heats.append((self._at_ns, heat))
        if len(self._heats) < 2:
            return 0.0, 0.0, 0
        while len(self._heats) > 2 and self._at_ns - self._heats[1][0] >= _SPREAD_NS:
            self._heats.popleft()
        oldest, last = self._heats[0][1], self._heats[-2][1]
        loads = float((heat.loads - last.loads).sum(dtype=np.uint64))
        stores = float((heat.stores - last.stores).sum(dtype=np.uint64))
        touched = np.count_nonzero((heat.loads != oldest.loads) | (heat.stores != oldest.stores))
        return loads, stores, int(touched)

    def lines(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The time lines: (n,) seconds before the last look, from the oldest, and (n, len(LINES)) values."""
        times = np.array(self._times, np.float64)
        values = np.array(self._lines, np.float64).reshape(len(times), len(LINES))
        return (times - self._at_ns) / 1e9, values

    def over(self, seconds: float) -> Span:
        """What ran in the last `seconds`, at most BLOCKS_S."""
        chosen = [one for one in self.slices if self._at_ns - one.at_ns < seconds * 1e9]
        entered = np.zeros(len(self._blocks), np.int64)
        for one in chosen:
            entered[one.ids] += one.entered
        blocks = np.concatenate([np.zeros(0, np.uint32), *(one.blocks for one in chosen)])
        whose = np.concatenate([np.zeros(0, np.int32), *(one.whose for one in chosen)])
        busy = blocks != layout().constants["NO_BLOCK"]
        return Span(
            sum(one.seconds for one in chosen),
            self._blocks,
            entered,
            blocks[busy],
            whose[busy],
            tuple(self._processes),
            len(blocks),
        )

    def sparks(self, numbers: NDArray[np.int64], *, by_samples: bool) -> NDArray[np.float64]:
        """(len(numbers), SPARK_BUCKETS): each block's share of the time in the last buckets, the newest last."""
        row_of = np.full(len(self._blocks), -1, np.int64)
        row_of[numbers] = np.arange(len(numbers))
        amounts = np.zeros((len(numbers) + 1, SPARK_BUCKETS))  # the last row: all others
        size = round(SPARK_BUCKET_S * 1e9)
        for one in self.slices:  # buckets stand still in time: a line moves by whole ones
            bucket = SPARK_BUCKETS - 1 - (self._at_ns // size - one.at_ns // size)
            if bucket < 0:
                continue
            if by_samples:
                rows = row_of[one.blocks[one.blocks != 0]]
                amounts[:, bucket] += np.bincount(rows[rows >= 0], minlength=len(numbers) + 1)
                amounts[-1, bucket] += np.count_nonzero(rows < 0)
            else:
                rows = row_of[one.ids]
                ran = one.entered * self._blocks["instructions"][one.ids].astype(np.float64)
                amounts[:, bucket] += np.bincount(rows[rows >= 0], ran[rows >= 0], minlength=len(numbers) + 1)
                amounts[-1, bucket] += ran[rows < 0].sum()
        whole = amounts.sum(axis=0)
        shares: NDArray[np.float64] = amounts[:-1] / np.where(whole > 0, whole, 1.0)
        return shares
