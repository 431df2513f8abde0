"""Actions on flow graphs: what code leads to the chosen block, and where that leads."""

from __future__ import annotations

from typing import Any

from imgui_bundle import icons_fontawesome_6 as icons

from app.actions import Action, BadArguments, Param
from app.execution_ui import look_of, tracer_of
from app.flow_graphs import FlowGraph
from app.flow_ui import make
from app.jobs import Job
from app.layout import FLOW
from app.session import Session

CATEGORY = "Execution"
LIMIT_S = 60.0


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
        state.execution.chosen = state.execution.table.selected = number
        session.kept.change(show_flow=True)
        state.focus_panel = FLOW
        made = make(state, tracer, number)

        def told(_job: Job) -> dict[str, Any] | None:
            made.wait(LIMIT_S)
            return _document(made.result)

        return state.jobs.start("Flow graph", told, quiet=True)

    return [
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
        )
    ]


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
