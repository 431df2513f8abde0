"""Callouts: what the pointer does with the names beside a volume, and what a hovered byte is lit up for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from imgui_bundle import imgui

from app.chosen import PAGE_BYTES
from app.highlights import Highlight, holding, holds
from app.lighting import CHOSEN_KEY, callout_key
from app.panels.highlights import rgba_of
from app.theme import Rgba, u32

if TYPE_CHECKING:
    from app.pane import Pane
    from app.place import Place
    from app.state import AppState
    from app.ui import Ui

MOST_NAMED = 4


def keep_clear(state: AppState, pane: Pane, cards: Sequence[tuple[float, float, float, float] | None]) -> None:
    """Let no name stand where cards lie, rectangles in logical pixels of the window."""
    ratio, (x, y, *_) = state.stage.screen.pixel_ratio, pane.rect
    pane.view.names.reserved = [
        ((left - x) * ratio, (top - y) * ratio, (right - x) * ratio, (bottom - y) * ratio)
        for left, top, right, bottom in (card for card in cards if card is not None)
    ]


def named_at(state: AppState, pane: Pane, x: float, y: float) -> Highlight | str | None:
    """The highlight whose name is at a point of a pane's picture, in logical pixels; CHOSEN_KEY for what is chosen."""
    ratio = state.stage.screen.pixel_ratio
    for callout in pane.view.names.placed:
        left, top, right, bottom = callout.rect
        if left <= x * ratio < right and top <= y * ratio < bottom:
            if callout.key == CHOSEN_KEY:
                return CHOSEN_KEY if state.chosen is not None else None
            return next((one for one in state.highlights if callout_key(one) == callout.key), None)
    return None


def point_at(state: AppState, ui: Ui, found: Highlight | str) -> None:
    """Say of a name under the pointer what it is of; a click flies there."""
    imgui.set_mouse_cursor(imgui.MouseCursor_.hand)
    told = found.told if isinstance(found, Highlight) else "" if state.chosen is None else state.chosen.told
    theme = ui.theme
    with ui.style(window_padding=(theme.px(2.5), theme.px(2))):
        if imgui.begin_tooltip():
            ui.text(told)
            with ui.small():
                ui.dim("Click: fly there")
            imgui.end_tooltip()


def go(ui: Ui, found: Highlight | str) -> None:
    """Fly to what a name is of."""
    if isinstance(found, Highlight):
        ui.run("highlight.fly", name=found.name, machine=found.machine)
    else:
        ui.run("choose.fly")


def tell_lit(state: AppState, ui: Ui, place: Place) -> None:
    """Name what a byte is lit up for, in its tooltip: the smallest highlight first."""
    page = place.offset // PAGE_BYTES
    rows: list[tuple[Rgba, str]] = []
    chosen = state.chosen
    if chosen is not None and holds(chosen, place.machine, page):
        rows.append((ui.theme.accent, chosen.title))
    rows += [(rgba_of(one.colour), one.name) for one in holding(state.highlights, place.machine, page)]
    for colour, name in rows[:MOST_NAMED]:
        _row(ui, colour, name)
    if len(rows) > MOST_NAMED:
        with ui.small():
            ui.faint(f"and {len(rows) - MOST_NAMED:,} more")


def _row(ui: Ui, colour: Rgba, name: str) -> None:
    theme = ui.theme
    with ui.small():
        at, height = imgui.get_cursor_screen_pos(), imgui.get_text_line_height()
        side = theme.px(2)
        top = round(at.y + (height - side) / 2)
        imgui.get_window_draw_list().add_rect_filled(
            imgui.ImVec2(at.x, top), imgui.ImVec2(at.x + side, top + side), u32(colour), theme.px(0.5)
        )
        imgui.dummy(imgui.ImVec2(side, height))
        imgui.same_line(0, theme.px(1.5))
        ui.text(name)
