"""Hints: three lines below the volume at the first start that say how to move, then fade away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app.theme import u32

if TYPE_CHECKING:
    from app.state import AppState
    from app.ui import Ui

HINTS = (
    (icons.ICON_FA_ARROWS_ROTATE, "Drag to orbit, wheel to zoom, right-drag to pan"),
    (icons.ICON_FA_CROSSHAIRS, "Click a voxel to see the byte and the code around it"),
    (icons.ICON_FA_MAGNIFYING_GLASS, "Ctrl+K finds every action and goes to any address"),
)
STAGGER_S = 0.9
FADE_S = 0.8
STAY_S = 13.0
ROW_UNITS = 8
MARGIN_UNITS = 3


def opacity(age_s: float, index: int) -> float:
    """Return 0..1 for hint `index` where there is room for all: they come one after the other and leave together."""
    coming = (age_s - 0.5 - index * STAGGER_S) / FADE_S
    leaving = (STAY_S - age_s) / FADE_S
    return max(0.0, min(1.0, coming, leaving))


def opacity_in_turn(age_s: float, index: int) -> float:
    """Return 0..1 for hint `index` where there is room for one: each makes room for the next."""
    turn_s = STAY_S / len(HINTS)
    since = age_s - index * turn_s
    return max(0.0, min(1.0, since / FADE_S, (turn_s - since) / FADE_S))


def active(state: AppState) -> bool:
    """Return whether hints are shown, so that frames must go on."""
    return state.hints.born_s is not None and state.now_s - state.hints.born_s < STAY_S


def draw(state: AppState, ui: Ui) -> None:
    """Draw the hints along the volume's lower edge, in one line: what there is to see lies above it."""
    born = state.hints.born_s
    if born is None or not active(state):
        return
    theme = ui.theme
    x, y, width, height = state.volume_rect
    age_s, gap = state.now_s - born, theme.px(2)
    with ui.small():
        widths = [imgui.calc_text_size(text).x + theme.px(12) for _, text in HINTS]
        top = round(y + height - theme.px(MARGIN_UNITS + ROW_UNITS))
        total = sum(widths) + gap * (len(HINTS) - 1)
        if total <= width - 2 * theme.px(MARGIN_UNITS):
            left = x + (width - total) / 2
            for index, across in enumerate(widths):
                _draw(ui, index, (round(left), top), across, opacity(age_s, index))
                left += across + gap
        else:
            for index, across in enumerate(widths):
                # At the right: the legend has the left.
                left = round(x + width - theme.px(MARGIN_UNITS) - across)
                _draw(ui, index, (left, top), across, opacity_in_turn(age_s, index))


def _draw(ui: Ui, index: int, at: tuple[float, float], width: float, alpha: float) -> None:
    if alpha <= 0:
        return
    theme, draw_list = ui.theme, imgui.get_foreground_draw_list()
    icon, text = HINTS[index]
    left, top = at[0], at[1] + round((1 - alpha) * theme.px(2))
    height = theme.px(ROW_UNITS)
    box = imgui.ImVec2(left, top), imgui.ImVec2(left + width, top + height)
    draw_list.add_rect_filled(*box, u32(theme.overlay.alpha(0.86 * alpha)), theme.px(2))
    draw_list.add_rect(*box, u32(theme.border_strong.alpha(alpha)), theme.px(2))
    middle = top + (height - imgui.calc_text_size(text).y) / 2
    draw_list.add_text(imgui.ImVec2(left + theme.px(2.5), middle), u32(theme.accent.alpha(alpha)), icon)
    draw_list.add_text(imgui.ImVec2(left + theme.px(8.5), middle), u32(theme.text.alpha(alpha)), text)
