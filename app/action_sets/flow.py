"""Actions on flow graphs: what code leads to the chosen block, and where that leads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from imgui_bundle import icons_fontawesome_6 as icons

from app.actions import Action, ActionDisabled, BadArguments, Param
from app.execution_ui import look_of, tracer_of
from app.flow_graphs import FlowGraph
from app.flow_ui import make
from app.jobs import Job
from app.layout import FLOW
from app.reach_places import POINTER_HINT, BadPlace, pointer_of
from app.reach_ui import ask, leave, why_not_code
from app.reaching import Asked, Found
from app.session import Session

if TYPE_CHECKING:
    from app.state import AppState

CATEGORY = "Execution"
LIMIT_S = 60.0
MOST_RECORDED_S = 10


def flow_actions(session: Session) -> list[Action]:
    """Return the actions."""
    state = session.state

    def why_not() -> str | None:
        tracer = tracer_of(state)
        if tracer is None:
            return "Nothing runs here"
        return tracer.why_not or (None if look_of(state) is not None else "Nothing is traced: choose a mode first")

    def flow(block: int | None = None) -> Job:
        tracer, number = tracer_of(state), state.execution.chosen if block is None else block
        if tracer is None or not number:
            raise BadArguments("no block is chosen; name one by its number")
        leave(session)
        state.execution.chosen = state.execution.table.selected = number
        session.kept.change(show_flow=True)
        state.focus_panel = FLOW
        state.flow.fits = True
        made = make(state, tracer, number)

        def told(_job: Job) -> dict[str, Any] | None:
            made.wait(LIMIT_S)
            return _document(made.result)

        return state.jobs.start("Flow graph", told, quiet=True)

    def reach(**named: Any) -> Job:
        origin, target = named.get("from"), named.get("to") or ""
        machine = named.get("machine") or state.current or ""
        record_s = named.get("record", 0)
        if not origin:
            origin = _here(state, machine)
        try:
            ends = [pointer_of(end) for end in (origin, target) if end]
        except BadPlace as error:
            raise BadArguments(str(error)) from None
        if len(ends) == 2 and (ends[0] is None) != (ends[1] is None):
            raise BadArguments(f"one end is code and the other one memory: {POINTER_HINT} are memory")
        if not 0 <= record_s <= MOST_RECORDED_S:
            raise BadArguments(f"record: it lies between 0 and {MOST_RECORDED_S} seconds")
        if ends[0] is None:
            tracer = state.tracers.of(machine)
            if (reason := why_not_code(tracer)) is not None:
                raise ActionDisabled(reason)
        elif state.kernels.sighting(machine) is None:
            raise ActionDisabled("No kernel is known there")
        if named.get("anew"):
            state.flow.reach.code = None
        session.kept.change(show_flow=True)
        state.focus_panel = FLOW
        flags = named.get("back", False), named.get("returns", False)
        made = ask(session, Asked(machine, origin, target, *flags), record_s=record_s, fly=named.get("fly", True))

        def told(_job: Job) -> dict[str, Any]:
            made.wait(LIMIT_S)
            if isinstance(made.error, Exception):
                raise made.error
            return made.result.document() if isinstance(made.result, Found) else {}

        return state.jobs.start("What can be reached", told, quiet=True)

    machine = Param("machine", "choice", choices=lambda: [m.name for m in state.manager.machines()])
    return [
        Action(
            id="flow.reach",
            title="Show what can be reached from…",
            category=CATEGORY,
            run=reach,
            icon=icons.ICON_FA_ROUTE,
            params=(
                Param("from", help=f"an address or a symbol of code, block:NUMBER, or {POINTER_HINT}; the chosen one"),
                Param("to", help="also show a shortest way to there"),
                Param("back", "flag", help="what leads there instead"),
                Param("returns", "flag", help="of code: over returns and interrupts, too"),
                Param(
                    "record",
                    "integer",
                    help=f"seconds to record first what follows what; at most {MOST_RECORDED_S}",
                ),
                Param("anew", "flag", help="look at the code anew"),
                Param("fly", "flag", help="fly there; on unless it is said"),
                machine,
            ),
            why_not=lambda: None if state.machine() is not None else "No machine is here",
            help="Over code, or over the kernel's pointers: shown as a graph with the way, lit in the volume",
            keywords="path graph call who leads task mm vma page reachability",
        ),
        Action(
            id="flow.leave",
            title="Show no more what can be reached",
            category=CATEGORY,
            run=lambda: leave(session),
            icon=icons.ICON_FA_XMARK,
            why_not=lambda: None if state.flow.reach.shown else "Nothing of it is shown",
        ),
        Action(
            id="trace.flow",
            title="Show the flow graph",
            category=CATEGORY,
            run=flow,
            icon=icons.ICON_FA_DIAGRAM_PROJECT,
            params=(Param("block", "integer", help="its number; the chosen one's"),),
            why_not=why_not,
            help="The chosen block of code among those that lead to it and those that it leads to",
            keywords="cfg control graph loops edges function",
        ),
    ]


def _here(state: AppState, machine: str) -> str:
    """The chosen block, or the page of the selected byte."""
    if state.execution.chosen and state.execution.machine == machine:
        return f"block:{state.execution.chosen}"
    place = state.selection
    address = None if place is None or place.machine != machine else state.stage.paddr(place)
    if address is None:
        raise BadArguments("nothing is chosen; name a place")
    return f"page:{address:#x}"


def _document(graph: FlowGraph | None) -> dict[str, Any] | None:
    """A graph as JSON values."""
    if graph is None:
        return None
    numbers = [card.number for card in graph.cards]
    return {
        "block": graph.chosen,
        "left_out": graph.left_out,
        "blocks": [
            {
                "block": card.number,
                "pc": card.start,
                "physical": card.physical,
                "symbol": card.title,
                "process": card.process,
                "loop_depth": card.loop_depth,
                "class": str(card.kind),
                "disassembly": list(card.lines),
            }
            for card in graph.cards
        ],
        "edges": [
            {"source": numbers[arrow.source], "target": numbers[arrow.target], "back": arrow.loops}
            for arrow in graph.arrows
        ],
    }
