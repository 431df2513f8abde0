"""What the Flow panel shows now: which graph, and from where it is looked at; and the job that makes the next one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from app.flow_graphs import FlowGraph, Spot, flow_graph
from app.jobs import Job, JobState
from app.reach_ui import ReachUi
from bridge.kernel.errors import KernelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.state import AppState
    from app.tracing import Tracer

NEAREST, FARTHEST = 1.6, 0.12
LIMIT_S = 10.0


@dataclass(slots=True)
class FlowUi:
    """The panel's state on the main thread."""

    machine: str = ""
    """Which machine the graph is of."""
    graph: FlowGraph | None = None
    job: Job | None = None
    wanted: int = 0
    """The block whose graph is shown or made."""
    problem: str = ""
    """Why there is none."""
    zoom: float = 1.0
    pan: tuple[float, float] = (0.0, 0.0)
    """Where the graph's upper left corner lies in the panel, in pixels."""
    moved: bool = False
    """Whether the button that is down has moved it: then letting go is no click."""
    fits: bool = True
    """Whether it is to be brought into view as soon as it is drawn."""
    room: tuple[float, float] = (0.0, 0.0)
    """How large the panel was when it was drawn last, in pixels."""
    rightwards: bool = False
    """How it was drawn last: from left to right."""
    menu_of: int | None = None
    """The card whose menu is open, by its place."""
    reach: ReachUi = field(default_factory=ReachUi)
    """What can be reached, where that is shown instead."""

    def forget(self, machine: str) -> None:
        """Begin anew with another machine, or when it is not traced any more."""
        if self.job is not None:
            self.job.cancel()
        self.machine, self.graph, self.job, self.wanted, self.problem = machine, None, None, 0, ""

    def zoom_by(self, factor: float, x: float, y: float) -> None:
        """Come closer or go away; what is at a point of the panel stays there."""
        zoom = min(max(self.zoom * factor, FARTHEST), NEAREST)
        ratio = zoom / self.zoom
        self.pan = (x - (x - self.pan[0]) * ratio, y - (y - self.pan[1]) * ratio)
        self.zoom = zoom


def make(state: AppState, tracer: Tracer, number: int) -> Job:
    """Have the graph around a block made, in a thread; the job's result is a FlowGraph. Waits for nothing."""
    ui, name = state.flow, tracer.machine.name
    counts = tracer.run(lambda session: (session.counts(), session.code_of))

    def names(spots: tuple[Spot, ...]) -> Sequence[tuple[str, str]]:
        sighting = state.kernels.sighting(name)
        if sighting is None or sighting.problem:
            return ()
        try:
            found: Sequence[tuple[str, str]] = state.kernels.inquire(name, "code_places", spots)
        except KernelError:
            return ()
        return found

    def work(_job: Job) -> FlowGraph | None:
        seen, code_of = counts.result(LIMIT_S)
        return flow_graph(seen, code_of, number, names)

    def end(job: Job) -> None:
        if ui.job is not job:
            return
        ui.job = None
        if job.state is JobState.DONE and job.result is not None:
            ui.fits = ui.fits or ui.graph is None or ui.graph.card_of(number) is None
            ui.graph, ui.problem = job.result, ""
        elif job.state is not JobState.CANCELLED:
            ui.graph, ui.problem = None, str(job.error) if job.error else "That block is not known any more."

    if ui.job is not None:
        ui.job.cancel()
    ui.machine, ui.wanted, ui.problem = name, number, ""
    ui.job = state.jobs.start(f"Flow graph around block {number}", work, on_end=end, quiet=True)
    return ui.job
