"""What the Learning panel shows now: the table of loops, which is chosen, and which of its sides is looked at."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from app.execution_ui import why_nothing_runs
from app.learning import MachineLearner
from app.loop_documents import kind_of
from app.pixel_cpu import pixels_of
from app.pixel_programs import names_of
from app.widgets.record_model import Column, RecordModel, Tone
from app.widgets.record_table import RecordTable
from bridge.pixelcpu.learned import State

if TYPE_CHECKING:
    from app.learning import Learnt
    from app.state import AppState
    from bridge.pixelcpu.learned import Learned
    from bridge.pixelcpu.learning import Entry

Listing = tuple[tuple[str, tuple[tuple[int, ...], ...]], ...]
"""Each instruction of a microcode: its text, and its pixels as RGBA."""
LOOPS, CODE, PROOF, LOG = SIDES = ("Loops", "Code", "Proof", "Log")
_ORDER = (State.LIVE, State.TESTED, State.PROVED, State.SYNTHESISED, State.LIFTED, State.TRACED, State.QEMU_ONLY)
_TONES: dict[State, Tone] = {State.LIVE: "good", State.TESTED: "accent", State.QEMU_ONLY: "faint"}


def place_of(one: Entry) -> str:
    """How a loop is called: by its symbol, or its address."""
    return one.candidate.symbol or f"{one.candidate.address:#x}"


def speed_of(one: Entry) -> tuple[float, str]:
    """By how much its kernel is faster than QEMU: as measured where it is live, else as estimated; 0 where unknown."""
    if one.told is not None and one.told.speed_up:
        return one.told.speed_up, f"{one.told.speed_up:.1f} x"
    if one.estimate is not None and not one.reason:
        return one.estimate, f"~ {one.estimate:.0f} x" if one.estimate >= 10 else f"~ {one.estimate:.1f} x"
    return 0.0, ""


COLUMNS = (
    Column["Entry"](
        "State",
        lambda one: _ORDER.index(one.state),
        lambda one: str(one.state),
        18,
        tone=lambda one: _TONES.get(one.state, "text"),
        tip="How far it has come: traced, lifted, synthesised, proved, tested, live",
        note=lambda one: one.reason,
    ),
    Column["Entry"]("Loop", place_of, width=34, tone=lambda one: "text" if one.candidate.symbol else "dim"),
    Column["Entry"]("Process", lambda one: one.candidate.process, width=26, tone="dim"),
    Column["Entry"](
        "Kind",
        lambda one: kind_of(one) or str(one.candidate.kind),
        width=19,
        tone="dim",
        tip="What its rounds do together, or what its code does",
    ),
    Column["Entry"](
        "Time",
        lambda one: one.candidate.time_share,
        lambda one: f"{one.candidate.time_share:.1%}",
        14,
        right=True,
        descends=True,
        tip="Of the time in which the guest ran under QEMU",
        searched=False,
    ),
    Column["Entry"](
        "Done",
        lambda one: one.taken,
        lambda one: f"{one.taken:.1%}" if one.taken else "",
        15,
        right=True,
        descends=True,
        share=lambda one: one.taken,
        tip="Of all instructions of the last seconds, those that its kernel did",
        searched=False,
    ),
    Column["Entry"](
        "By",
        lambda one: one.back_end if one.rounds else "",
        width=12,
        tone=lambda one: "accent" if one.back_end == "GPU" else "dim",
        tip="Who did most of the rounds that its kernel could do: this computer's processor, or its GPU",
        note=lambda one: one.no_gpu if one.back_end != "GPU" else "",
        searched=False,
    ),
    Column["Entry"](
        "Faster",
        lambda one: speed_of(one)[0],
        lambda one: speed_of(one)[1],
        15,
        right=True,
        descends=True,
        tone=lambda one: "good" if one.told is not None and one.told.speed_up >= 1 else "dim",
        tip="Than QEMU, whole calls counted; with ~ before it runs, by what was measured of each alone",
        searched=False,
    ),
    Column["Entry"]("Why it is left to QEMU", lambda one: one.reason, tone="dim"),
)
_LEAVES_FIRST = ("Process", "Why it is left to QEMU", "Time", "By", "Kind", "Done", "Faster")
_WHY_LEAST, _CELL_PADDING, _BESIDE = 30.0, 3.0, 4.0
"""Of a reason, so many steps of the grid can be read; what each cell has on its sides; the table's own sides."""


def hidden_columns(units: float, *, only_learns: bool) -> list[str]:
    """The titles of the columns for which a table of so many steps of the grid has no room: each is whole, or gone.

    `only_learns`: no kernel does anything, so that nothing is to be said of who does how much.
    """
    hidden = ["Done", "By"] if only_learns else []
    for title in _LEAVES_FIRST:
        shown = [column for column in COLUMNS if column.title not in hidden]
        if sum((column.width or _WHY_LEAST) + _CELL_PADDING for column in shown) + _BESIDE <= units:
            break
        if title not in hidden:
            hidden.append(title)
    return hidden


def _table() -> RecordTable[Entry]:
    return RecordTable("learned loops", RecordModel(COLUMNS, lambda one: one.candidate.x86_hash))


@dataclass(slots=True)
class LearningUi:
    """The panel's state on the main thread."""

    table: RecordTable[Entry] = field(default_factory=_table)
    machine: str = ""
    """Which machine what follows is of."""
    chosen: str = ""
    """The loop whose sides are shown, by the hash of its code."""
    side: str = LOOPS
    seen: int = 0
    """So many events were there when the log was drawn last."""

    _listed: tuple[Learned | None, Listing] = (None, ())

    def listing(self, learned: Learned) -> Listing:
        """The microcode of a loop's kernel, or of its round where it has none."""
        if self._listed[0] is not learned:
            self._listed = (learned, _listing(learned))
        return self._listed[1]

    def forget(self, machine: str) -> None:
        """Begin anew with another machine."""
        self.machine, self.chosen, self.seen = machine, "", 0
        self.table.selected = None


def learner_of(state: AppState) -> MachineLearner | None:
    """The learner of the machine that is shown; None where it is a dump, or there is none."""
    return state.learners.of(state.current)


def why_not_learned(state: AppState, machine: str | None = None) -> str:
    """Why nothing can be learned of a machine; empty where it can. None: of the shown one."""
    if reason := why_nothing_runs(state, machine):
        return reason
    return "" if state.learners.of(machine or state.current) is not None else "Its memory is not shown yet"


def chosen_of(ui: LearningUi, learnt: Learnt) -> Entry | None:
    """The chosen loop, or the heaviest while none is."""
    entries = learnt.look.entries
    return next((one for one in entries if one.candidate.x86_hash == ui.chosen), entries[0] if entries else None)


def _listing(learned: Learned) -> Listing:
    from bridge.pixelcpu.assembly import disassemble

    if learned.translation is None:
        return ()
    program = learned.rounds or learned.translation.program
    lines = disassemble(program, names_of(learned.translation)).splitlines()
    return tuple(zip(lines, pixels_of(program), strict=True))


def describe(state: AppState) -> dict[str, Any] | None:
    """What is done with the shown machine's loops, as JSON values; None for what cannot run."""
    learner = learner_of(state)
    if learner is None:
        return None
    learnt = learner.latest()
    document: dict[str, Any] = {
        "machine": learner.machine.name,
        "way": str(learner.way),
        "state": str(learner.state),
        "problem": learner.problem,
        "loops": 0,
        "live": 0,
    }
    if learnt is not None:
        look = learnt.look
        document |= {
            "settled": look.settled,
            "by": learnt.by or None,
            "loops": len(look.entries),
            "live": sum(one.state is State.LIVE for one in look.entries),
            "taken_over": round(look.taken, 6),
            "saved_s": round(look.saved_s, 3),
            "speed_up": round(learnt.speed_up, 3),
        }
    return document
