"""What can be reached, in the Flow panel: the graph with the way in it, and a list of its steps, or of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app.execution_ui import look_of
from app.flow_graphs import FlowCard
from app.panels.flow_canvas import choose, draw_graph
from app.reach_ui import ALL, GRAPH, WAY
from app.widgets.plain_text import plain
from app.widgets.record_table import OWN_KEYS, MenuEntry
from bridge.trace.pointers import Kind
from bridge.trace.reaching import BLOCK, Row

if TYPE_CHECKING:
    from app.reach_ui import WayStep
    from app.reaching import Asked, Found
    from app.state import AppState
    from app.ui import Ui

LIST_UNITS, LEAST_GRAPH_UNITS = 96.0, 60.0
"""How wide the list is, and how much room the graph keeps; with less it takes turns with the list."""
LIST_TIPS = {
    GRAPH: "What follows what",
    WAY: "The steps of a shortest way",
    ALL: "All of it, the nearest first",
}
RECORD_S = 2


def draw(state: AppState, ui: Ui) -> None:
    """Draw the answer, or why there is none yet."""
    shown, theme = state.flow.reach, ui.theme
    asked, found = shown.asked, shown.found
    if asked is None:
        return
    _head(state, ui, asked, found)
    if found is None or shown.problem:
        ui.absence(icons.ICON_FA_ROUTE, shown.problem or "Looking for what can be reached")
        return
    room = imgui.get_content_region_avail()
    wide = theme.px(LIST_UNITS)
    graph_room = room.x - wide - theme.px(3)
    at = imgui.get_cursor_pos()
    beside = graph_room >= theme.px(LEAST_GRAPH_UNITS)
    if not beside:
        wide, graph_room = room.x, room.x
        _choose_list(state, ui, [GRAPH, *([WAY] if shown.steps else []), ALL])
        room, at = imgui.get_content_region_avail(), imgui.get_cursor_pos()
    if beside or shown.listed == GRAPH:
        size = imgui.ImVec2(graph_room, max(room.y, 1.0))
        draw_graph(state, ui, found.graph, look_of(state), size, lambda card: _card_menu(ui, found, card))
        if not beside:
            return
        imgui.set_cursor_pos(imgui.ImVec2(at.x + graph_room + theme.px(3), at.y))
    if imgui.begin_child("##reach list", imgui.ImVec2(max(wide, 1.0), max(room.y, 1.0))):
        if beside and shown.steps:
            _choose_list(state, ui, [WAY, ALL])
        _list(state, ui, found)
    imgui.end_child()


def _head(state: AppState, ui: Ui, asked: Asked, found: Found | None) -> None:
    """What is shown, how much it is, and what else can be asked."""
    theme = ui.theme
    busy = state.flow.reach.job is not None
    over_code = found is not None and found.over_code
    record = f"Record for {RECORD_S} s what follows what, and look again"
    buttons = [
        (icons.ICON_FA_RIGHT_LEFT, "What leads there instead" if not asked.back else "Where it leads instead", "turn"),
        (icons.ICON_FA_EXPAND, "Bring all of it into view", "fit"),
        (icons.ICON_FA_ROTATE, "Look again", "again"),
        *([(icons.ICON_FA_CIRCLE_DOT, record, "record")] if over_code else []),
        (icons.ICON_FA_XMARK, "Show it no more", "leave"),
    ]
    with ui.small():
        line = imgui.get_cursor_pos_y()
        words = "" if found is None else found.words
        tools = len(buttons) * (imgui.get_frame_height() + theme.px(0.5)) + theme.px(2)
        wide = imgui.calc_text_size(words).x
        imgui.align_text_to_frame_padding()
        room = imgui.get_content_region_avail().x - wide - tools - theme.px(6)
        ui.elided(title_of(asked, found), max(room, theme.px(16)), theme.text_dim if busy else theme.text)
        if found is not None and found.over_code:
            ui.tooltip(
                "Each step was seen" if found.measured else "Steps are what the code says",
                note="" if found.measured else "Indirect jumps and calls are not among them: record to see those",
            )
        ui.right(wide + tools)
        imgui.set_cursor_pos_y(line)
        imgui.align_text_to_frame_padding()
        ui.dim(words)
    imgui.same_line(0, theme.px(2))
    for icon, tip, name in buttons:
        imgui.set_cursor_pos_y(line)
        if ui.icon_button(icon, tip, id_=f"reach {name}"):
            _press(state, ui, asked, name)
        imgui.same_line(0, theme.px(0.5))
    imgui.new_line()


def _press(state: AppState, ui: Ui, asked: Asked, name: str) -> None:
    if name == "fit":
        state.flow.fits = True
    elif name == "leave":
        ui.run("flow.leave")
    elif name == "turn":
        again(ui, replace(asked, back=not asked.back, target=""))
    else:
        again(ui, asked, record_s=RECORD_S if name == "record" else 0, anew=True)


def again(ui: Ui, asked: Asked, *, record_s: int = 0, anew: bool = False, fly: bool = False) -> None:
    """Ask a question like the one that is shown."""
    named: dict[str, object] = {"from": asked.origin, "machine": asked.machine, "back": asked.back}
    named |= {"returns": asked.returns, "record": record_s, "anew": anew, "fly": fly}
    if asked.target:
        named["to"] = asked.target
    ui.run("flow.reach", **named)


def title_of(asked: Asked, found: Found | None) -> str:
    """What is asked, in words."""
    origin = plain(found.origin if found is not None else asked.origin, 120)
    target = plain(found.target if found is not None else asked.target, 120)
    if asked.target and found is not None and not found.told.path:
        ends = (target, origin) if asked.back else (origin, target)
        return f"No way from {ends[0]} to {ends[1]}"
    if asked.target:
        return f"{target} → {origin}" if asked.back else f"{origin} → {target}"
    return f"What leads to {origin}" if asked.back else f"What can be reached from {origin}"


def _choose_list(state: AppState, ui: Ui, names: Sequence[str]) -> None:
    shown = state.flow.reach
    for name in names:
        chosen = shown.listed == name or (shown.listed not in names and name == names[0])
        if ui.button(f"{name}##reach", kind="plain" if chosen else "quiet", small=True):
            shown.listed = name
        ui.tooltip(LIST_TIPS[name])
        imgui.same_line(0, ui.theme.px(0.5))
    imgui.new_line()


def _list(state: AppState, ui: Ui, found: Found) -> None:
    theme, shown = ui.theme, state.flow.reach
    room = imgui.get_content_region_avail()
    size = room.x, room.y
    if shown.listed != ALL and shown.steps:
        hidden = [] if found.measured and found.over_code else ["Times"]
        if not found.over_code:
            hidden.append("Process")
        event = shown.steps_table.draw(theme, shown.steps, size=size, hidden=hidden)
        if event is not None:
            _step(state, ui, found, event.row)
    else:
        hidden = [] if found.over_code else ["Process"]
        event_ = shown.rows_table.draw(
            theme, found.told.rows, size=size, hidden=hidden, menu=lambda row: _row_menu(ui, found, row)
        )
        if event_ is not None:
            again(ui, replace(found.asked, target=place_of(event_.row)))
    if shown.steps_table.focused or shown.rows_table.focused:
        state.own_keys |= OWN_KEYS


def _step(state: AppState, ui: Ui, found: Found, row: WayStep) -> None:
    """Show a step in the graph, and select what it is."""
    place = found.graph.card_of(row.step.number if row.step.kind == BLOCK else -1 - row.step.number)
    if place is None:
        return
    state.flow.reach.focus = place
    choose(ui, found.graph.cards[place])


def place_of(row: Row) -> str:
    """A row as an end of a way."""
    if row.kind == BLOCK:
        return f"block:{row.number}"
    return f"{row.kind}:{row.address:#x}"


def reach_entries(ui: Ui, place: str, machine: str | None = None, why_not: str = "") -> tuple[MenuEntry, ...]:
    """What can be asked of a place, for menus."""
    here: dict[str, Any] = {"from": place} | ({} if machine is None else {"machine": machine})
    ask = partial(ui.run, "flow.reach", **here)
    return (
        MenuEntry("What can be reached from here", icons.ICON_FA_ROUTE, ask, why_not),
        MenuEntry("What leads here", "", partial(ask, back=True), why_not),
    )


def _card_menu(ui: Ui, found: Found, card: FlowCard) -> Sequence[MenuEntry]:
    number = card.number if card.number > 0 else -1 - card.number
    if card.number > 0:
        place = f"block:{number}"
    elif card.kind is None and card.physical is not None:
        place = f"{Kind.PAGE}:{card.physical:#x}"
    else:
        row = next((row for row in found.told.rows if row.number == number), None)
        place = "" if row is None else place_of(row)
    if not place:
        return ()
    word = "Way from here" if found.asked.back else "Way to here"
    way = MenuEntry(word, icons.ICON_FA_ROUTE, lambda: again(ui, replace(found.asked, target=place)))
    return (way, *reach_entries(ui, place))


def _row_menu(ui: Ui, found: Found, row: Row) -> Sequence[MenuEntry]:
    place = place_of(row)
    word = "Show the way from it" if found.asked.back else "Show the way to it"
    way = MenuEntry(word, icons.ICON_FA_ROUTE, lambda: again(ui, replace(found.asked, target=place)))
    return (way, *reach_entries(ui, place))
