"""Trace looks: what a tracer's thread makes of counts and samples for the panels to show, time after time."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from app.hot_rows import (
    Decoder,
    HotRow,
    Leaf,
    Listing,
    LoopsOf,
    hot_rows,
    hottest_numbers,
    leaves_of,
    listing_of,
    loops_among,
    neighbours,
    physical_of,
)
from app.trace_history import Heat, History, Span
from bridge.trace.instructions import Decoded
from bridge.trace.modes import Mode

if TYPE_CHECKING:
    from app.tracing import Told
    from bridge.kernel.desk import Answer
    from bridge.kernel.watcher import KernelWatcher
    from bridge.trace.session import TraceSession

NAMES_EVERY_S = 1.0
FORGET_NAMES_S = 10.0
"""Whose a page is changes: names are asked for anew after so long."""
LOOPS_EVERY_S = 2.0


@dataclass(frozen=True, slots=True)
class Shown:
    """What of a look is wanted: the rest is not made."""

    span_s: float = 5.0
    blocks: bool = False
    """The table, the flame graph and the listing."""
    chosen: int = 0
    """The block that is listed."""


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen last. Nobody writes to its arrays."""

    mode: Mode
    number: int
    """One more with each look."""
    pending: bool
    """The machine is paused: the mode begins when it runs."""
    span: Span
    times_s: NDArray[np.float64]
    """(n,) seconds before this look, from the oldest."""
    lines: NDArray[np.float64]
    """(n, len(LINES))"""
    rows: tuple[HotRow, ...]
    leaves: tuple[Leaf, ...]
    listing: Listing | None
    lost: int
    """Samples that were overwritten before they were read, and hits that had no room."""
    refused_blocks: int
    """That had no room in the table: they are not counted."""
    named: bool
    """Whether a kernel tells what code is."""


class LookMaker:
    """Of one session. For the tracer's thread."""

    def __init__(self, session: TraceSession) -> None:
        self._session = session
        self._history = History()
        self._decoder = Decoder()
        self._number = 0
        self._lost = 0
        self._places: dict[int, tuple[str, str]] = {}
        self._places_s = 0.0
        self._asked: tuple[KernelWatcher, int, tuple[int, ...]] | None = None
        self._asked_s = 0.0
        self._words: tuple[KernelWatcher, int] | None = None
        self._watcher: KernelWatcher | None = None
        self._loops = LoopsOf()
        self._loops_s = 0.0

    def look(self, mode: Mode, shown: Shown, told: Told) -> Look:
        """Look once more. Raises TraceError."""
        session, memory = self._session, self._session.memory
        counts = session.counts()
        samples, lost = session.samples()
        self._lost += lost
        heat = records = None
        if mode is Mode.HEAT:
            heat = Heat(
                memory.heat["loads"].sum(axis=0, dtype=np.uint32), memory.heat["stores"].sum(axis=0, dtype=np.uint32)
            )
        if mode is Mode.TRACE:
            records = int(memory.plugin["rings"]["head"].sum())
        self._history.take(counts, samples, heat, records)
        self._history.name(told.process_of)
        span = self._history.over(shown.span_s)
        self._number += 1
        rows: tuple[HotRow, ...] = ()
        leaves: tuple[Leaf, ...] = ()
        listing: Listing | None = None
        if shown.blocks:
            numbers = hottest_numbers(span)
            self._follow_names(span, numbers, told)
            rows = hot_rows(
                self._history,
                span,
                numbers,
                lambda number: self._decoded(span, number),
                self._follow_loops(span, numbers),
                self._places,
            )
            leaves = leaves_of(span, self._places)
            if shown.chosen:
                depths = self._loops.depths
                listing = listing_of(span, shown.chosen, lambda number: self._decoded(span, number), depths)
        times, lines = self._history.lines()
        request, done = int(memory.reader["request"]), int(memory.plugin["done"])
        return Look(
            mode,
            self._number,
            request != done,
            span,
            times,
            lines,
            rows,
            leaves,
            listing,
            self._lost + int(memory.plugin["hit_dropped"]),
            int(memory.plugin["refused_blocks"]),
            told.watcher is not None,
        )

    def _decoded(self, span: Span, number: int) -> Decoded:
        return self._decoder.decoded(number, span.blocks[number], self._session.code_of)

    def _follow_loops(self, span: Span, numbers: NDArray[np.int64]) -> LoopsOf:
        """Loops, now and then: they change with the code that runs, not with every look."""
        now_s = time.monotonic()
        if now_s - self._loops_s >= LOOPS_EVERY_S or not self._loops.depths:
            self._loops_s = now_s
            around = [*dict.fromkeys([*numbers.tolist(), *neighbours(span, numbers)])]
            self._loops = loops_among(span, around, lambda number: self._decoded(span, number))
        return self._loops

    # Names: the kernel's own process is asked, and never waited for

    def forget(self) -> None:
        """Begin anew: nothing that was seen until now is shown later."""
        self._history = History()

    def follow_kernel(self, told: Told) -> None:
        """Have samples tell tasks, once the kernel says where they are named; and forget what another one said."""
        if told.watcher is not self._watcher:
            self._watcher, self._words, self._asked = told.watcher, None, None
            self._places = {}
            if told.watcher is not None:
                self._words = (told.watcher, told.watcher.ask("task_words", self._session.memory.vcpus))
        if self._words is not None and (answer := self._words[0].answer(self._words[1])) is not None:
            self._words = None
            if not answer.problem:
                self._session.follow_tasks(list(answer.value))

    def _follow_names(self, span: Span, numbers: NDArray[np.int64], told: Told) -> None:
        now_s = time.monotonic()
        if self._asked is not None:
            watcher, number, asked = self._asked
            answer: Answer | None = watcher.answer(number)
            if answer is not None:
                self._asked = None
                if not answer.problem:
                    self._places.update(zip(asked, answer.value, strict=False))
        if told.watcher is None or self._asked is not None or now_s - self._asked_s < NAMES_EVERY_S:
            return
        stale = now_s - self._places_s >= FORGET_NAMES_S
        wanted = tuple(number for number in self._worth_a_name(span, numbers) if stale or number not in self._places)
        if stale:
            self._places_s = now_s
        if wanted:
            self._asked_s = now_s
            where = tuple((physical_of(span.blocks[n]), int(span.blocks[n]["virtual_first"])) for n in wanted)
            self._asked = (told.watcher, told.watcher.ask("code_places", where), wanted)

    def _worth_a_name(self, span: Span, numbers: NDArray[np.int64]) -> list[int]:
        """The blocks of the table and of the flame graph."""
        leaves = leaves_of(span, {})
        return [*dict.fromkeys([*numbers.tolist(), *(leaf.block for leaf in leaves if leaf.block)])]
