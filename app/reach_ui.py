"""What the Flow panel shows of a reach: the question, its answer, the job that finds it; its light in the volume."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from app.actions import ActionError
from app.jobs import Job, JobState
from app.reach_places import pointer_of
from app.reaching import Asked, Found, KnownCode, NothingRan, over_code, over_memory, recorded
from app.widgets.record_model import Column, RecordModel
from app.widgets.record_table import RecordTable
from bridge.trace.modes import Mode
from bridge.trace.program import Program
from bridge.trace.reaching import Row, Step

if TYPE_CHECKING:
    from app.session import Session
    from app.tracing import Tracer
    from bridge.trace.session import TraceSession

REACH_COLOUR, WAY_COLOUR = "#3da5d9", "#f0944d"
"""In the volume: of all that can be reached, and of the way in it."""
ASKED_BY = "flow.reach"
"""What the highlights of an answer say of where they come from."""
FRESH_S = 60.0
"""So long a program answers further questions; then it is read anew."""
LIMIT_S = 30.0
GRAPH, WAY, ALL = "Graph", "Way", "All"

ROW_COLUMNS = (
    Column[Row]("Steps", lambda row: row.steps, width=13, right=True, tone="dim", searched=False),
    Column[Row]("Place", lambda row: row.name, lambda row: row.name.partition(" of ")[0] or f"{row.address:#x}"),
    Column[Row]("Process", lambda row: row.process, width=30, tone="dim"),
    Column[Row](
        "Size",
        lambda row: row.blocks or row.pages,
        lambda row: f"{row.blocks or row.pages:,}" if row.blocks or row.pages else "",
        14,
        right=True,
        tone="dim",
        descends=True,
        tip="Blocks of code, or pages",
        searched=False,
    ),
)


@dataclass(frozen=True, slots=True)
class WayStep:
    """A row of the list of a way."""

    number: int
    step: Step


STEP_COLUMNS = (
    Column[WayStep]("Step", lambda one: one.number, width=12, right=True, tone="dim", searched=False),
    Column[WayStep]("Place", lambda one: one.step.name, lambda one: one.step.name or f"{one.step.address:#x}"),
    Column[WayStep]("Process", lambda one: one.step.process, width=30, tone="dim"),
    Column[WayStep](
        "Times",
        lambda one: one.step.count or 0,
        lambda one: "" if one.step.count is None else f"{one.step.count:,}",
        16,
        right=True,
        tone="dim",
        tip="How often it was gone there from the step before",
        searched=False,
    ),
)


@dataclass(slots=True)
class ReachUi:
    """Of the window."""

    asked: Asked | None = None
    """What was asked last."""
    found: Found | None = None
    job: Job | None = None
    problem: str = ""
    """Why there is no answer."""
    listed: str = ALL
    tracer: Tracer | None = None
    """Of the code that is known; block numbers mean nothing to another one."""
    code: KnownCode | None = None
    steps: tuple[WayStep, ...] = ()
    focus: int | None = None
    """A card that is to be brought into the middle, by its place."""
    rows_table: RecordTable[Row] = field(
        default_factory=lambda: RecordTable("reached", RecordModel(ROW_COLUMNS, lambda row: (row.kind, row.number)))
    )
    steps_table: RecordTable[WayStep] = field(
        default_factory=lambda: RecordTable("way", RecordModel(STEP_COLUMNS, lambda one: one.number))
    )

    @property
    def shown(self) -> bool:
        """Whether the panel is about a reach."""
        return self.asked is not None

    def forget(self) -> None:
        """Show none any more."""
        if self.job is not None:
            self.job.cancel()
        self.asked = self.found = self.job = self.focus = None
        self.problem, self.steps = "", ()

    def follow(self, machine: str | None, tracer: Tracer | None) -> None:
        """Let go of what is of another machine, or of one that was started anew."""
        if self.code is not None and self.tracer is not tracer:
            self.code = self.tracer = None
            if self.found is not None and self.found.over_code:
                self.forget()
        if self.asked is not None and self.asked.machine != machine:
            self.forget()


def ask(session: Session, asked: Asked, *, record_s: float = 0.0, fly: bool = True) -> Job:
    """Find what can be reached, in a thread; the job's result is a Found. `record_s`: first record edges for so long.

    When it is found it is shown, and lit up in the place of what was found before.
    """
    state = session.state
    ui, tracer = state.flow.reach, state.tracers.of(asked.machine)
    over_pointers = pointer_of(asked.origin) is not None
    inquire = partial(state.kernels.inquire, asked.machine)
    known = ui.code
    if record_s or known is None or ui.tracer is not tracer or time.monotonic() - known.made_s > FRESH_S:
        known = None
    making = None
    if not over_pointers and known is None and tracer is not None:

        def program(traced: TraceSession) -> Callable[[], Program]:
            if record_s:
                measured = recorded(traced, record_s)
                return lambda: measured
            counts, code_of = traced.counts(), traced.code_of
            return lambda: Program.from_counts(counts, code_of)  # takes a while: not on the tracer's thread

        making = tracer.run(program)

    def work(_job: Job) -> tuple[Found, KnownCode | None]:
        if over_pointers:
            return over_memory(inquire, asked), None
        code = known
        if code is None:
            if making is None:
                raise NothingRan("Nothing runs here.")
            code = KnownCode(making.result(LIMIT_S + record_s)(), inquire)
        return over_code(code, asked), code

    def end(job: Job) -> None:
        if ui.job is not job:
            return
        ui.job = None
        if job.state is JobState.CANCELLED:
            return
        if job.state is not JobState.DONE:
            ended = tracer is not None and tracer.machine.info.state.ended
            said = "The machine has ended." if ended else str(job.error)
            ui.found, ui.problem = None, said or type(job.error).__name__
            return
        found, code = job.result
        job.result = found
        if code is not None:
            ui.code, ui.tracer = code, tracer
        ui.found, ui.problem = found, ""
        ui.steps = tuple(WayStep(number, step) for number, step in enumerate(found.told.path))
        ui.listed = WAY if ui.steps else ALL
        ui.rows_table.selected = ui.steps_table.selected = None
        state.flow.fits = True
        light(session, found, fly=fly)

    if ui.job is not None:
        ui.job.cancel()
    ui.asked, ui.problem = asked, ""
    title = f"Recording what follows what for {record_s:g} s" if record_s else "Looking for what can be reached"
    ui.job = state.jobs.start(title, work, on_end=end, quiet=not record_s)
    return ui.job


def light(session: Session, found: Found, *, fly: bool) -> None:
    """Light up all that is reached, and the way in a colour of its own."""
    word = "Leads to" if found.asked.back else "Reached from"
    new = [(f"{word} {found.origin}", _ranges(found.told.ranges), REACH_COLOUR)]
    if len(found.told.path_ranges):
        new.append((f"Way to {found.target}", _ranges(found.told.path_ranges), WAY_COLOUR))
    kept = [(name, ranges, colour) for name, ranges, colour in new if ranges]
    try:
        session.highlights.relight(found.asked.machine, ASKED_BY, kept, fly=fly)
    except ActionError as error:  # the graph is shown all the same
        session.notices.report(error, "What can be reached is not lit in the volume")


def _ranges(ranges: NDArray[np.int64]) -> tuple[tuple[int, int], ...]:
    return tuple((start, length) for start, length in ranges.tolist())


def leave(session: Session) -> None:
    """Show no reach any more, and let its lights go out."""
    ui = session.state.flow.reach
    machine = None if ui.asked is None else ui.asked.machine
    ui.forget()
    if machine is not None:
        with contextlib.suppress(ActionError):  # its memory is not shown any more
            session.highlights.relight(machine, ASKED_BY, [])


def why_not_code(tracer: Tracer | None) -> str | None:
    """Why nothing is known of a machine's code; None where something is."""
    if tracer is None:
        return "Nothing runs here"
    if tracer.why_not:
        return tracer.why_not
    return "Nothing is traced: choose a mode first" if tracer.mode is Mode.OFF else None
