"""Flow panel: the chosen block of code among those that it follows and that follow it; or what can be reached."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app.execution_ui import look_of, tracer_of
from app.flow_graphs import FlowCard, FlowGraph
from app.flow_ui import make
from app.layout import FLOW
from app.panels import flow_reach
from app.panels.flow_canvas import draw_graph
from app.panels.flow_reach import reach_entries
from app.widgets.plain_text import plain
from app.widgets.record_table import MenuEntry
from bridge.trace.modes import Mode

if TYPE_CHECKING:
    from app.state import AppState
    from app.tracing import Tracer
    from app.ui import Ui


def draw(state: AppState, ui: Ui) -> None:
    """Draw the panel."""
    flags = imgui.WindowFlags_.no_scrollbar | imgui.WindowFlags_.no_scroll_with_mouse
    with ui.panel(FLOW, flags=flags, padding=(ui.theme.px(3), ui.theme.px(2))) as visible:
        if not visible:
            return
        tracer, shown = tracer_of(state), state.flow
        name = "" if tracer is None or tracer.mode is Mode.OFF else tracer.machine.name
        if shown.machine != name:
            shown.forget(name)
        if shown.reach.shown:
            flow_reach.draw(state, ui)
            return
        if tracer is None or tracer.why_not:
            ui.absence(icons.ICON_FA_DIAGRAM_PROJECT, tracer.why_not if tracer is not None else "Nothing runs here")
            return
        if tracer.mode is Mode.OFF:
            ui.absence(icons.ICON_FA_DIAGRAM_PROJECT, "Code's flow is shown once blocks are counted (Execution)")
            return
        _follow(state, tracer)
        if shown.graph is None:
            ui.absence(icons.ICON_FA_DIAGRAM_PROJECT, _reason(state))
            return
        _head(state, ui, tracer, shown.graph)
        room = imgui.get_content_region_avail()
        size = imgui.ImVec2(max(room.x, 1.0), max(room.y, 1.0))
        draw_graph(state, ui, shown.graph, look_of(state), size, lambda card: _menu(ui, card))


def _menu(ui: Ui, card: FlowCard) -> Sequence[MenuEntry]:
    unknown = "" if card.physical is not None else "It does not lie in RAM"
    go = MenuEntry(
        "Go to its bytes, and show its code",
        icons.ICON_FA_LOCATION_CROSSHAIRS,
        lambda: ui.run("trace.choose", block=card.number, go=True),
        unknown,
    )
    return (go, *reach_entries(ui, f"block:{card.number}"))


def _follow(state: AppState, tracer: Tracer) -> None:
    """Have the graph of the chosen block made, unless it is in the one that is shown."""
    shown, chosen = state.flow, state.execution.chosen
    if not chosen or chosen == shown.wanted:
        return
    if shown.graph is not None and shown.graph.card_of(chosen) is not None:
        shown.wanted = chosen
        return
    if tracer.latest() is not None:
        make(state, tracer, chosen)


def _reason(state: AppState) -> str:
    if state.flow.problem:
        return state.flow.problem
    if state.flow.job is not None:
        return "Reading the code"
    return "Choose a block of code to see where it comes from and where it goes"


def _head(state: AppState, ui: Ui, tracer: Tracer, graph: FlowGraph) -> None:
    theme = ui.theme
    card = graph.cards[graph.card_of(state.execution.chosen) or 0]
    more = f"  ·  {graph.left_out:,} more are left out" if graph.left_out else ""
    loops = len(graph.loops)
    deep = max((loop.depth for loop in graph.loops), default=0)
    nested = f", {deep} deep" if deep > 1 else ""
    words = f"{len(graph.cards)} blocks  ·  {loops} loop{'s' if loops != 1 else ''}{nested}{more}"
    with ui.small():
        room = imgui.get_content_region_avail().x - imgui.calc_text_size(words).x - theme.px(26)
        line = imgui.get_cursor_pos_y()
        imgui.align_text_to_frame_padding()
        ui.elided(plain(card.title, 200), max(room, theme.px(12)), theme.text)
        ui.right(imgui.calc_text_size(words).x + theme.px(20))
        imgui.set_cursor_pos_y(line)
        imgui.align_text_to_frame_padding()
        ui.dim(words)
    imgui.same_line(0, theme.px(2))
    imgui.set_cursor_pos_y(line)
    if ui.icon_button(icons.ICON_FA_EXPAND, "Bring all of it into view", id_="flow fit"):
        state.flow.fits = True
    imgui.same_line(0, theme.px(0.5))
    imgui.set_cursor_pos_y(line)
    if ui.icon_button(icons.ICON_FA_ROTATE, "Look for blocks that ran since", id_="flow again"):
        make(state, tracer, state.execution.chosen or graph.chosen)
