"""Canvas of the Flow panel: cards of code or of the kernel's records, arrows between them, loops framed, a way lit."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from imgui_bundle import imgui

from app.execution_ui import told
from app.flow_graphs import HEAD_LINES, FlowCard, FlowGraph, FlowLoop
from app.theme import u32
from app.ui import fit_text
from app.widgets.plain_text import plain
from app.widgets.record_table import MenuEntry
from bridge.trace.instructions import BlockClass

if TYPE_CHECKING:
    from app.state import AppState
    from app.theme import Rgba
    from app.trace_looks import Look
    from app.ui import Ui

READABLE, SMALL, LEAST_TEXT = 0.8, 0.55, 0.4
"""Graphs are brought into view no smaller than the first, or in a low room than the second, so that a whole card is
seen; smaller than the third, cards show no instructions."""
WIDE = 2.0
"""In a room that is so much wider than it is high graphs go from left to right."""
WHEEL = 1.15
MARGIN, NESTED = 0.7, 0.5
"""Between a loop's frame and its cards, in lines, and how much farther out each outer one stands."""
UPPER = 0.3
"""How far down, or to the right, a way begins, of the panel: it leads on from there."""
ASIDE = 0.32
"""How much is left of what is not on the way that is shown."""
KIND_WORDS = {
    BlockClass.ALU: "computes",
    BlockClass.MEMORY: "mostly memory",
    BlockClass.BRANCHY: "mostly branches",
    BlockClass.VECTOR: "vector",
    BlockClass.PRIVILEGED: "privileged",
    BlockClass.IO: "devices",
}


class _Scale:
    """From the graph's characters and lines to pixels of the screen."""

    def __init__(self, at: imgui.ImVec2, pan: tuple[float, float], zoom: float, letter: imgui.ImVec2) -> None:
        self.across, self.down = letter.x * zoom, letter.y * zoom
        self._left, self._top = at.x + pan[0], at.y + pan[1]

    def point(self, x: float, y: float) -> imgui.ImVec2:
        return imgui.ImVec2(self._left + x * self.across, self._top + y * self.down)


Menu = Callable[[FlowCard], Sequence[MenuEntry]]


def draw_graph(state: AppState, ui: Ui, graph: FlowGraph, look: Look | None, size: imgui.ImVec2, menu: Menu) -> None:
    """Draw the graph in so much room; a click chooses a card, a right click offers its menu."""
    theme, shown = ui.theme, state.flow
    at = imgui.get_cursor_screen_pos()
    with ui.mono(theme.mono_size * 0.9):
        letter = imgui.ImVec2(imgui.calc_text_size("0").x, imgui.get_text_line_height() * 1.18)
    rightwards = size.x > WIDE * size.y
    if rightwards:
        graph = graph.turned()
    # In another room what was in the middle is there again.
    shown.pan = shown.pan[0] + (size.x - shown.room[0]) / 2, shown.pan[1] + (size.y - shown.room[1]) / 2
    shown.room = size.x, size.y
    shown.fits, shown.rightwards = shown.fits or shown.rightwards != rightwards, rightwards
    if shown.fits:
        _fit(state, graph, size, letter)
    if shown.reach.focus is not None:
        _focus(state, graph, shown.reach.focus, size, letter)
    imgui.invisible_button("##canvas", size)
    hovered = imgui.is_item_hovered()
    _move(state, at, hovered=hovered)
    scale = _Scale(at, shown.pan, shown.zoom, letter)
    draw_list = imgui.get_window_draw_list()
    draw_list.push_clip_rect(at, imgui.ImVec2(at.x + size.x, at.y + size.y), True)
    counts = _counts(graph, look)
    most = max(counts, default=0)
    under = _under(graph, scale, imgui.get_mouse_pos()) if hovered else None
    on_way = frozenset(graph.way)
    steps = frozenset(pairwise(graph.way))
    for loop in graph.loops:
        _frame(ui, graph, loop, scale, aside=bool(on_way) and not on_way & loop.cards)
    # What the way goes over lies above all else.
    order = sorted(range(len(graph.arrows)), key=lambda number: _ends(graph, number) in steps)
    for number in order:
        arrow = graph.arrows[number]
        weight = _weight(arrow.count or min(counts[arrow.source], counts[arrow.target]), most)
        on = _ends(graph, number) in steps
        near = under in (arrow.source, arrow.target)
        _arrow(ui, graph, number, scale, weight, near=near, on_way=on, aside=bool(on_way) and not on)
    for number, card in enumerate(graph.cards):
        low = scale.point(*graph.placed.corners[number])
        high = imgui.ImVec2(low.x + graph.sizes[number][0] * scale.across, low.y + graph.sizes[number][1] * scale.down)
        if high.x < at.x or low.x > at.x + size.x or high.y < at.y or low.y > at.y + size.y:
            continue
        looks = _Looks(
            chosen=card.number == state.execution.chosen,
            hovered=number == under,
            on_way=number in on_way,
            aside=(bool(on_way) and number not in on_way) or number in graph.beside,
        )
        _card(ui, card, (low, high), scale, counts[number], most, looks)
    draw_list.pop_clip_rect()
    _act(state, ui, graph, look, counts, under, menu)


def _ends(graph: FlowGraph, number: int) -> tuple[int, int]:
    return graph.arrows[number].source, graph.arrows[number].target


def _move(state: AppState, at: imgui.ImVec2, *, hovered: bool) -> None:
    """Follow the pointer that drags, and the wheel."""
    shown, io, mouse = state.flow, imgui.get_io(), imgui.get_mouse_pos()
    if imgui.is_item_activated():
        shown.moved = False
    if imgui.is_item_active() and imgui.is_mouse_dragging(imgui.MouseButton_.left):
        shown.moved = True
        shown.pan = (shown.pan[0] + io.mouse_delta.x, shown.pan[1] + io.mouse_delta.y)
    if hovered and io.mouse_wheel:
        shown.zoom_by(WHEEL**io.mouse_wheel, mouse.x - at.x, mouse.y - at.y)


def _act(
    state: AppState,
    ui: Ui,
    graph: FlowGraph,
    look: Look | None,
    counts: Sequence[int],
    under: int | None,
    menu: Menu,
) -> None:
    """Explain what is under the pointer, choose what was clicked, offer what can be done with it."""
    theme, shown = ui.theme, state.flow
    if under is not None:
        _tip(ui, graph.cards[under], counts[under], look)
        if imgui.is_item_deactivated() and not shown.moved:
            choose(ui, graph.cards[under])
        if imgui.is_mouse_released(imgui.MouseButton_.right):
            shown.menu_of = under
            imgui.open_popup("##card")
    with ui.style(window_padding=(theme.px(2), theme.px(2)), item_spacing=(theme.px(2), theme.px(2))):
        if not imgui.begin_popup("##card"):
            return
        if shown.menu_of is not None and shown.menu_of < len(graph.cards):
            for entry in menu(graph.cards[shown.menu_of]):
                if imgui.internal.menu_item_ex(entry.label, entry.icon, "", False, not entry.why_not):
                    entry.run()
                if entry.why_not:
                    imgui.set_item_tooltip(entry.why_not)
        imgui.end_popup()


def choose(ui: Ui, card: FlowCard) -> None:
    """Select what a card is, wherever it is shown."""
    if card.number > 0:
        ui.run("trace.choose", block=card.number)
    elif card.lights is not None:
        ui.run("choose.pages_of", kind=card.lights[0], key=card.lights[1])
    elif card.physical is not None:
        ui.run("view.go_to", address=card.physical)


@dataclass(frozen=True, slots=True)
class _Looks:
    """How a card stands out."""

    chosen: bool
    hovered: bool
    on_way: bool
    aside: bool


def _focus(state: AppState, graph: FlowGraph, place: int, size: imgui.ImVec2, letter: imgui.ImVec2) -> None:
    """Bring a card into the middle."""
    shown = state.flow
    shown.reach.focus = None
    if place < len(graph.cards):
        shown.zoom = max(shown.zoom, READABLE)
        x, y = _middle(graph, place, letter, shown.zoom)
        shown.pan = (size.x / 2 - x, size.y / 2 - y)


def _middle(graph: FlowGraph, place: int, letter: imgui.ImVec2, zoom: float) -> tuple[float, float]:
    (x, y), (wide, high) = graph.placed.corners[place], graph.sizes[place]
    return (x + wide / 2) * letter.x * zoom, (y + high / 2) * letter.y * zoom


def _fit(state: AppState, graph: FlowGraph, size: imgui.ImVec2, letter: imgui.ImVec2) -> None:
    """All of it where that can be read; else the chosen block, or where the way begins, in the middle."""
    shown = state.flow
    shown.fits = False
    wide, high = graph.placed.width * letter.x, graph.placed.height * letter.y
    place = graph.card_of(state.execution.chosen)
    if graph.way or place is None:
        place = graph.way[0] if graph.way else graph.card_of(graph.chosen) or 0
    card = (graph.sizes[place][1] if graph.cards else 0.0) + 2 * MARGIN
    least = min(READABLE, max(SMALL, size.y / (card * letter.y)))
    shown.zoom = min(max(min(size.x / max(wide, 1.0), size.y / max(high, 1.0)) * 0.96, least), 1.0)
    middle = _middle(graph, place, letter, shown.zoom) if graph.cards else (0.0, 0.0)
    all_x, all_y = wide * shown.zoom <= size.x, high * shown.zoom <= size.y
    along = UPPER if graph.way else 0.5
    shown.pan = (
        (size.x - wide * shown.zoom) / 2 if all_x else size.x * (along if graph.rightwards else 0.5) - middle[0],
        (size.y - high * shown.zoom) / 2 if all_y else size.y * (0.5 if graph.rightwards else along) - middle[1],
    )


def _counts(graph: FlowGraph, look: Look | None) -> list[int]:
    """How often each block was entered within the span that the Execution panel is over."""
    if look is None:
        return [0] * len(graph.cards)
    entered = look.span.entered
    return [int(entered[card.number]) if 0 < card.number < len(entered) else 0 for card in graph.cards]


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


def _frame(ui: Ui, graph: FlowGraph, loop: FlowLoop, scale: _Scale, *, aside: bool) -> None:
    """Draw a loop's ground: one around all of its blocks, or around each where others stand between them."""
    theme, draw_list = ui.theme, imgui.get_window_draw_list()
    deepest = max(other.depth for other in graph.loops)
    margin = MARGIN + NESTED * (deepest - loop.depth)
    boxes = [(graph.placed.corners[at], graph.sizes[at]) for at in loop.cards]
    low = min(x for (x, _), _ in boxes), min(y for (_, y), _ in boxes)
    high = max(x + w for (x, _), (w, _) in boxes), max(y + h for (_, y), (_, h) in boxes)
    alone = not any(
        at not in loop.cards and x < high[0] and x + w > low[0] and y < high[1] and y + h > low[1]
        for at, ((x, y), (w, h)) in enumerate(zip(graph.placed.corners, graph.sizes, strict=True))
    )
    framed = [(low, high)] if alone else [((x, y), (x + w, y + h)) for (x, y), (w, h) in boxes]
    ink = theme.warn.mix(theme.surface, 1 - ASIDE) if aside else theme.warn
    for (left, top), (right, bottom) in framed:
        # As far on all sides: a letter is about half as wide as a line is high.
        corner = scale.point(left - 2 * margin, top - margin), scale.point(right + 2 * margin, bottom + margin)
        draw_list.add_rect_filled(*corner, u32(ink.alpha(0.045)), scale.across)
        draw_list.add_rect(*corner, u32(ink.alpha(0.3)), scale.across)


def _arrow(
    ui: Ui,
    graph: FlowGraph,
    number: int,
    scale: _Scale,
    weight: float,
    *,
    near: bool,
    on_way: bool,
    aside: bool,
) -> None:
    theme, draw_list = ui.theme, imgui.get_window_draw_list()
    arrow, path = graph.arrows[number], graph.placed.paths[number]
    ink: Rgba = theme.accent if on_way else theme.warn if arrow.loops else theme.text_dim
    if aside:
        ink = ink.mix(theme.surface, 1 - ASIDE)
    colour = u32(theme.text if near else ink if on_way else ink.alpha(0.35 + 0.6 * weight))
    thick = (2.6 if on_way else 1.0 + 1.4 * weight) * max(0.6, min(1.0, scale.across / 7))
    if not path and graph.rightwards:  # to itself: a loop below the card
        x, y = graph.placed.corners[arrow.source]
        w, h = graph.sizes[arrow.source]
        left, right, low = x + w / 2 - min(4, w / 4), x + w / 2 + min(4, w / 4), y + h
        draw_list.add_bezier_cubic(
            scale.point(right, low), scale.point(right + 1, low + 1.8), scale.point(left - 1, low + 1.8),
            scale.point(left, low), colour, thick,
        )  # fmt: skip
        _tip_of_arrow(scale.point(left, low), (0.0, -1.0), scale, colour)
        return
    if not path:  # at the card's right side
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
        bend = imgui.ImVec2(0.0, (after.y - before.y) * 0.5)
        if graph.rightwards:
            bend = imgui.ImVec2((after.x - before.x) * 0.5, 0.0)
        draw_list.add_bezier_cubic(before, before + bend, after - bend, after, colour, thick)
    last, before = points[-1], points[-2]
    way = (0.0, 1.0 if last.y >= before.y else -1.0)
    if graph.rightwards:
        way = (1.0 if last.x >= before.x else -1.0, 0.0)
    _tip_of_arrow(last, way, scale, colour)


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
    looks: _Looks,
) -> None:
    theme, draw_list = ui.theme, imgui.get_window_draw_list()
    low, high = box
    rounding = min(theme.px(1.5), scale.across)
    weight = _weight(count, most)
    lit = bool(count) or card.number < 0  # the kernel's records are not run
    ground = theme.raised.mix(theme.warn, 0.02 + 0.2 * weight**2) if lit else theme.surface
    ground = theme.raised.mix(theme.accent, 0.14) if looks.on_way else ground

    def ink(colour: Rgba) -> Rgba:
        return colour.mix(theme.surface, 1 - ASIDE) if looks.aside and not looks.hovered else colour

    draw_list.add_rect_filled(low, high, u32(ink(ground.mix(theme.text, 0.06) if looks.hovered else ground)), rounding)
    edge = theme.accent if looks.chosen or looks.on_way else theme.border_strong
    draw_list.add_rect(low, high, u32(ink(edge)), rounding, thickness=2.0 if looks.chosen or looks.on_way else 1.0)
    zoom = ui.state.flow.zoom
    left, right = low.x + 1.5 * scale.across, high.x - 1.5 * scale.across
    with ui.mono(theme.mono_size * 0.9 * zoom):
        tall = imgui.get_text_line_height()
        y = low.y + (HEAD_LINES * scale.down - tall) / 2
        often = told(count) if count else ""
        wide = imgui.calc_text_size(often).x
        draw_list.add_text(
            imgui.ImVec2(right - wide, y), u32(ink(theme.warn if weight > 0.5 else theme.text_dim)), often
        )
        body = theme.text if lit else theme.text_faint
        title = fit_text(plain(card.title, 120), max(1.0, right - wide - left - scale.across))
        draw_list.add_text(imgui.ImVec2(left, y), u32(ink(theme.accent if looks.chosen else body)), title)
        rule = low.y + HEAD_LINES * scale.down
        draw_list.add_line(imgui.ImVec2(low.x, rule), imgui.ImVec2(high.x, rule), u32(ink(theme.border)))
        if zoom < LEAST_TEXT:
            return
        for number, line in enumerate(card.lines):
            mnemonic, _, operands = plain(line, 120).partition(" ")
            y = rule + (0.3 + number) * scale.down
            if card.number < 0:
                draw_list.add_text(
                    imgui.ImVec2(left, y), u32(ink(theme.text_dim)), fit_text(plain(line, 120), right - left)
                )
                continue
            head = mnemonic.ljust(7) if operands and len(mnemonic) < 7 else f"{mnemonic} "
            draw_list.add_text(imgui.ImVec2(left, y), u32(ink(body)), head)
            x = left + imgui.calc_text_size(head).x
            dim = theme.text_dim if lit else theme.text_faint
            # Small letters are wider than in proportion: whole pixels.
            told_operands = fit_text(operands, max(1.0, right + scale.across - x))
            draw_list.add_text(imgui.ImVec2(x, y), u32(ink(dim)), told_operands)


def _tip(ui: Ui, card: FlowCard, count: int, look: Look | None) -> None:
    process = f"\n{plain(card.process, 120)}" if card.process else ""
    title = f"{plain(card.title, 200)}{process}"
    if card.kind is None:
        ui.tooltip(title, note="\n".join(plain(line, 120) for line in card.lines))
        return
    where = f"{card.start:#x}" + (f", physical {card.physical:#x}" if card.physical is not None else "")
    often = "" if look is None else f"Entered {count:,} times in {look.span.seconds:.0f} s  ·  "
    loops = f"in {card.loop_depth} loop{'s' if card.loop_depth != 1 else ''}  ·  " if card.loop_depth else ""
    ui.tooltip(title, note=f"{where}\n{often}{loops}{KIND_WORDS[card.kind]}")
