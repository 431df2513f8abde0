"""Flow panel: the chosen block of code among those that it follows and that follow it, with how often each was run."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app.execution_ui import look_of, told, tracer_of
from app.flow_graphs import HEAD_LINES, FlowCard, FlowGraph
from app.flow_ui import make
from app.layout import FLOW
from app.theme import u32
from app.ui import fit_text
from app.widgets.plain_text import plain
from bridge.trace.instructions import BlockClass
from bridge.trace.modes import Mode

if TYPE_CHECKING:
    from app.state import AppState
    from app.theme import Rgba
    from app.trace_looks import Look
    from app.tracing import Tracer
    from app.ui import Ui

READABLE, LEAST_TEXT = 0.8, 0.4
"""Graphs are brought into view no smaller than the first; smaller than the second, cards show no instructions."""
WHEEL = 1.15
KIND_WORDS = {
    BlockClass.ALU: "computes",
    BlockClass.MEMORY: "mostly memory",
    BlockClass.BRANCHY: "mostly branches",
    BlockClass.VECTOR: "vector",
    BlockClass.PRIVILEGED: "privileged",
    BlockClass.IO: "devices",
}


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
        _canvas(state, ui, shown.graph, look_of(state))


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
    loops = len({arrow.target for arrow in graph.arrows if arrow.loops})
    words = f"{len(graph.cards)} blocks  ·  {loops} loop{'s' if loops != 1 else ''}{more}"
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


class _Scale:
    """From the graph's characters and lines to pixels of the screen."""

    def __init__(self, at: imgui.ImVec2, pan: tuple[float, float], zoom: float, letter: imgui.ImVec2) -> None:
        self.across, self.down = letter.x * zoom, letter.y * zoom
        self._left, self._top = at.x + pan[0], at.y + pan[1]

    def point(self, x: float, y: float) -> imgui.ImVec2:
        return imgui.ImVec2(self._left + x * self.across, self._top + y * self.down)


def _canvas(state: AppState, ui: Ui, graph: FlowGraph, look: Look | None) -> None:
    theme, shown = ui.theme, state.flow
    at, room = imgui.get_cursor_screen_pos(), imgui.get_content_region_avail()
    size = imgui.ImVec2(max(room.x, 1.0), max(room.y, 1.0))
    with ui.mono(theme.mono_size * 0.9):
        letter = imgui.ImVec2(imgui.calc_text_size("0").x, imgui.get_text_line_height() * 1.18)
    if shown.fits:
        _fit(state, graph, size, letter)
    imgui.invisible_button("##canvas", size)
    hovered = imgui.is_item_hovered()
    mouse = imgui.get_mouse_pos()
    io = imgui.get_io()
    if imgui.is_item_activated():
        shown.moved = False
    if imgui.is_item_active() and imgui.is_mouse_dragging(imgui.MouseButton_.left):
        shown.moved = True
        shown.pan = (shown.pan[0] + io.mouse_delta.x, shown.pan[1] + io.mouse_delta.y)
    if hovered and io.mouse_wheel:
        shown.zoom_by(WHEEL**io.mouse_wheel, mouse.x - at.x, mouse.y - at.y)
    scale = _Scale(at, shown.pan, shown.zoom, letter)
    draw_list = imgui.get_window_draw_list()
    draw_list.push_clip_rect(at, imgui.ImVec2(at.x + size.x, at.y + size.y), True)
    counts = _counts(graph, look)
    most = max(counts, default=0)
    under = _under(graph, scale, mouse) if hovered else None
    for number, arrow in enumerate(graph.arrows):
        weight = _weight(min(counts[arrow.source], counts[arrow.target]), most)
        near = under in (arrow.source, arrow.target)
        _arrow(ui, graph, number, scale, weight, near=near)
    for number, card in enumerate(graph.cards):
        low = scale.point(*graph.placed.corners[number])
        high = imgui.ImVec2(low.x + graph.sizes[number][0] * scale.across, low.y + graph.sizes[number][1] * scale.down)
        if high.x < at.x or low.x > at.x + size.x or high.y < at.y or low.y > at.y + size.y:
            continue
        chosen = card.number == state.execution.chosen
        _card(ui, card, (low, high), scale, counts[number], most, chosen=chosen, hovered=number == under)
    draw_list.pop_clip_rect()
    if under is None:
        return
    _tip(ui, graph.cards[under], counts[under], look)
    if imgui.is_item_deactivated() and not shown.moved:
        ui.run("trace.choose", block=graph.cards[under].number)


def _fit(state: AppState, graph: FlowGraph, size: imgui.ImVec2, letter: imgui.ImVec2) -> None:
    """All of it where that can be read; else the chosen block in the middle."""
    shown = state.flow
    shown.fits = False
    wide, high = graph.placed.width * letter.x, graph.placed.height * letter.y
    shown.zoom = min(max(min(size.x / max(wide, 1.0), size.y / max(high, 1.0)) * 0.96, READABLE), 1.0)
    place = graph.card_of(state.execution.chosen) or 0
    x, y = graph.placed.corners[place]
    middle = (
        (x + graph.sizes[place][0] / 2) * letter.x * shown.zoom,
        (y + graph.sizes[place][1] / 2) * letter.y * shown.zoom,
    )
    all_x, all_y = wide * shown.zoom <= size.x, high * shown.zoom <= size.y
    shown.pan = (
        (size.x - wide * shown.zoom) / 2 if all_x else size.x / 2 - middle[0],
        (size.y - high * shown.zoom) / 2 if all_y else size.y / 2 - middle[1],
    )


def _counts(graph: FlowGraph, look: Look | None) -> list[int]:
    """How often each block was entered within the span that the Execution panel is over."""
    if look is None:
        return [0] * len(graph.cards)
    entered = look.span.entered
    return [int(entered[card.number]) if card.number < len(entered) else 0 for card in graph.cards]


def _weight(count: int, most: int) -> float:
    """0 to 1, by orders of magnitude."""
    return math.log1p(count) / math.log1p(most) if most else 0.0


def _under(graph: FlowGraph, scale: _Scale, mouse: imgui.ImVec2) -> int | None:
    """The card under the pointer."""
    for number, (corner, size) in enumerate(zip(graph.placed.corners, graph.sizes, strict=True)):
        low, high = scale.point(*corner), scale.point(corner[0] + size[0], corner[1] + size[1])
        if low.x <= mouse.x < high.x and low.y <= mouse.y < high.y:
            return number
    return None


def _arrow(ui: Ui, graph: FlowGraph, number: int, scale: _Scale, weight: float, *, near: bool) -> None:
    theme, draw_list = ui.theme, imgui.get_window_draw_list()
    arrow, path = graph.arrows[number], graph.placed.paths[number]
    ink: Rgba = theme.warn if arrow.loops else theme.text_dim
    colour = u32(theme.text if near else ink.alpha(0.35 + 0.6 * weight))
    thick = (1.0 + 1.4 * weight) * max(0.6, min(1.0, scale.across / 7))
    if not path:  # to itself: a loop at the card's right side
        x, y = graph.placed.corners[arrow.source]
        w, h = graph.sizes[arrow.source]
        right, top, low = x + w, y + min(1.2, h / 3), y + h - min(1.2, h / 3)
        draw_list.add_bezier_cubic(
            scale.point(right, low), scale.point(right + 4, low + 0.6), scale.point(right + 4, top - 0.6),
            scale.point(right, top), colour, thick,
        )  # fmt: skip
        _tip_of_arrow(scale.point(right, top), (-1.0, 0.0), scale, colour)
        return
    points = [scale.point(*point) for point in path]
    for before, after in pairwise(points):
        bend = (after.y - before.y) * 0.5
        draw_list.add_bezier_cubic(
            before, imgui.ImVec2(before.x, before.y + bend), imgui.ImVec2(after.x, after.y - bend), after, colour, thick
        )
    _tip_of_arrow(points[-1], (0.0, 1.0 if points[-1].y >= points[-2].y else -1.0), scale, colour)


def _tip_of_arrow(at: imgui.ImVec2, way: tuple[float, float], scale: _Scale, colour: int) -> None:
    side = min(max(scale.across * 0.7, 2.5), 6.0)
    back = imgui.ImVec2(at.x - way[0] * side * 1.6, at.y - way[1] * side * 1.6)
    across = (way[1] * side * 0.8, way[0] * side * 0.8)
    imgui.get_window_draw_list().add_triangle_filled(
        at,
        imgui.ImVec2(back.x + across[0], back.y + across[1]),
        imgui.ImVec2(back.x - across[0], back.y - across[1]),
        colour,
    )


def _card(
    ui: Ui,
    card: FlowCard,
    box: tuple[imgui.ImVec2, imgui.ImVec2],
    scale: _Scale,
    count: int,
    most: int,
    *,
    chosen: bool,
    hovered: bool,
) -> None:
    theme, draw_list = ui.theme, imgui.get_window_draw_list()
    low, high = box
    rounding = min(theme.px(1.5), scale.across)
    weight = _weight(count, most)
    ground = theme.raised.mix(theme.warn, 0.02 + 0.2 * weight**2) if count else theme.surface
    draw_list.add_rect_filled(low, high, u32(ground.mix(theme.text, 0.06) if hovered else ground), rounding)
    edge = theme.accent if chosen else theme.border_strong
    draw_list.add_rect(low, high, u32(edge), rounding, thickness=2.0 if chosen else 1.0)
    zoom = ui.state.flow.zoom
    left, right = low.x + 1.5 * scale.across, high.x - 1.5 * scale.across
    with ui.mono(theme.mono_size * 0.9 * zoom):
        tall = imgui.get_text_line_height()
        y = low.y + (HEAD_LINES * scale.down - tall) / 2
        often = told(count) if count else ""
        wide = imgui.calc_text_size(often).x
        draw_list.add_text(imgui.ImVec2(right - wide, y), u32(theme.warn if weight > 0.5 else theme.text_dim), often)
        ink = theme.text if count else theme.text_faint
        title = fit_text(plain(card.title, 120), max(1.0, right - wide - left - scale.across))
        draw_list.add_text(imgui.ImVec2(left, y), u32(theme.accent if chosen else ink), title)
        rule = low.y + HEAD_LINES * scale.down
        draw_list.add_line(imgui.ImVec2(low.x, rule), imgui.ImVec2(high.x, rule), u32(theme.border))
        if zoom < LEAST_TEXT:
            return
        for number, line in enumerate(card.lines):
            mnemonic, _, operands = line.partition(" ")
            y = rule + (0.3 + number) * scale.down
            head = mnemonic.ljust(7) if operands and len(mnemonic) < 7 else f"{mnemonic} "
            draw_list.add_text(imgui.ImVec2(left, y), u32(ink), head)
            x = left + imgui.calc_text_size(head).x
            draw_list.add_text(imgui.ImVec2(x, y), u32(theme.text_dim if count else theme.text_faint), operands)


def _tip(ui: Ui, card: FlowCard, count: int, look: Look | None) -> None:
    where = f"{card.start:#x}" + (f", physical {card.physical:#x}" if card.physical is not None else "")
    seconds = 0.0 if look is None else look.span.seconds
    often = f"Entered {count:,} times in {seconds:.0f} s"
    loops = f"  ·  in {card.loop_depth} loop{'s' if card.loop_depth != 1 else ''}" if card.loop_depth else ""
    process = f"\n{plain(card.process, 120)}" if card.process else ""
    ui.tooltip(f"{plain(card.title, 200)}{process}", note=f"{where}\n{often}{loops}  ·  {KIND_WORDS[card.kind]}")
