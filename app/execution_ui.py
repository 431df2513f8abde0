"""What the Execution panel shows now: which of its views, over how long, what is chosen in it, and what it holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from imgui_bundle import icons_fontawesome_6 as icons

from app.flame import Box, Path
from app.trace_looks import Shown
from app.widgets.record_model import Column, RecordModel, Tone
from app.widgets.record_table import RecordTable
from bridge.trace.modes import Mode

if TYPE_CHECKING:
    from app.hot_rows import HotRow
    from app.place import Place
    from app.state import AppState
    from app.trace_looks import Look
    from app.tracing import Tracer

BLOCKS, FLAME, CODE, LINES = VIEWS = ("Blocks", "Flame", "Code", "Time lines")
SPANS_S = (5, 20, 60)
WANTED_S = 20.0
"""What a script asked for is made for so long, shown or not."""


def _tone(row: HotRow) -> Tone:
    return "text" if row.symbol else "faint"


def _loops(row: HotRow) -> str:
    begins = f"{icons.ICON_FA_ARROW_ROTATE_LEFT}  " if row.heads_loop else ""
    return f"{begins}{row.loop_depth}" if row.loop_depth else ""


COLUMNS = (
    Column["HotRow"](
        "Time",
        lambda row: row.share,
        lambda row: f"{row.share:.1%}",
        14,
        right=True,
        descends=True,
        share=lambda row: row.share,
        tip="Of the time in which the guest ran",
        searched=False,
    ),
    Column["HotRow"](
        "Last minute",
        lambda row: max(row.spark),
        lambda _row: "",
        20,
        descends=True,
        spark=lambda row: row.spark,
        tip="Its share over the last minute",
        searched=False,
    ),
    Column["HotRow"]("Symbol", lambda row: row.symbol, lambda row: row.symbol or f"{row.pc:#x}", tone=_tone),
    Column["HotRow"]("Process", lambda row: row.process, width=34, tone="dim", tip="The one whose task ran in it most"),
    Column["HotRow"](
        "Entered", lambda row: row.count, width=22, right=True, descends=True, tip="How often", searched=False
    ),
    Column["HotRow"](
        "Loops",
        lambda row: row.loop_depth,
        _loops,
        width=15,
        right=True,
        descends=True,
        tone=lambda row: "warn" if row.heads_loop else "dim",
        tip="It is in so many; with an arrow: one begins with it",
        searched=False,
    ),
    Column["HotRow"]("Class", lambda row: str(row.kind), width=18, tone="dim", tip="What it mostly does"),
    Column["HotRow"]("PC", lambda row: row.pc, lambda row: f"{row.pc:#x}", 42, mono=True, tone="dim"),
)


def _table() -> RecordTable[HotRow]:
    return RecordTable("hot blocks", RecordModel(COLUMNS, lambda row: row.number, sort=0))


@dataclass(slots=True)
class ExecutionUi:
    """The panel's state on the main thread."""

    view: str = BLOCKS
    span_s: int = 5
    machine: str = ""
    """Which machine what follows is of."""
    chosen: int = 0
    """The block that is listed, by its number; 0: none."""
    held: Look | None = None
    """What is shown instead of the newest look; None: that."""
    zoom: Path = ()
    table: RecordTable[HotRow] = field(default_factory=_table)
    visible: bool = False
    """Whether the panel was seen in the last frame."""
    wanted_s: float = -1e9
    """When a script asked for what the panel shows."""
    drawn: tuple[Box, ...] = ()
    """The flame graph as it was drawn last …"""
    drawn_of: tuple[object, ...] = ()
    """… and what from."""
    drawn_at: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    """Its x, y, width, and the height of a level."""
    followed: Place | None = None
    """The selected byte when the table looked for it last."""
    listed: int = 0
    """The block that the listing was scrolled to last."""

    def forget(self, machine: str) -> None:
        """Begin anew with another machine, or when it is not traced any more."""
        self.machine, self.chosen, self.held, self.zoom = machine, 0, None, ()
        self.table.selected = None


def told(value: float) -> str:
    """A figure with three digits that mean something: `312 M`."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            part = value / (size if letter != "k" else 1e3)
            digits = 2 if part < 10 else 1 if part < 100 else 0
            return f"{part:,.{digits}f} {letter}"
    return f"{value:,.0f}"


def tracer_of(state: AppState) -> Tracer | None:
    """The tracer of the machine that is shown; None where it is a dump, or there is none."""
    return state.tracers.of(state.current)


def why_nothing_runs(state: AppState, machine: str | None = None) -> str:
    """Why a machine's execution cannot be seen at all; empty where it can. None: that of the shown one."""
    tracer = state.tracers.of(machine or state.current)
    if tracer is not None:
        return tracer.why_not
    return "No machine runs here" if state.machine(machine) is None else "Nothing runs in a dump"


def follow(state: AppState) -> None:
    """Have the tracer make what is shown, and no more; begin anew with another machine."""
    ui, tracer = state.execution, tracer_of(state)
    state.flow.reach.follow(state.current, tracer)
    name = "" if tracer is None or tracer.mode is Mode.OFF else tracer.machine.name
    if ui.machine != name:
        ui.forget(name)
    if tracer is None:
        return
    blocks = (state.settings.show_execution and ui.visible) or state.now_s - ui.wanted_s < WANTED_S
    wanted = Shown(float(ui.span_s), blocks, ui.chosen)
    if tracer.shown != wanted:
        tracer.shown = wanted


def look_of(state: AppState) -> Look | None:
    """What is shown: the look that is held, or the newest."""
    tracer = tracer_of(state)
    if tracer is None or tracer.mode is Mode.OFF:
        return None
    return state.execution.held or tracer.latest()


def describe(state: AppState) -> dict[str, object] | None:
    """How the shown machine is traced, as JSON values; None for what cannot run."""
    tracer = tracer_of(state)
    if tracer is None:
        return None
    look, switched = tracer.latest(), tracer.switched
    return {
        "machine": tracer.machine.name,
        "mode": str(tracer.mode),
        "state": str(tracer.state),
        "problem": tracer.problem or tracer.why_not,
        "pending": look is not None and look.pending,
        "switch_ms": None if switched is None else round(switched.took_s * 1000, 3),
        "lost": 0 if look is None else look.lost,
        "view": state.execution.view,
        "held": state.execution.held is not None,
    }
