"""Hints: three lines over the volume at the first start that say how to move, then fade away."""

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
STAY_S = 11.0


def opacity(age_s: float, index: int) -> float:
    """Return 0..1 for hint `index`: they come one after the other and leave together."""
    coming = (age_s - 0.5 - index * STAGGER_S) / FADE_S
    leaving = (STAY_S - age_s) / FADE_S
    return max(0.0, min(1.0, coming, leaving))


def active(state: AppState) -> bool:
    """Return whether hints are shown, so that frames must go on."""
    return state.hints.born_s is not None and state.now_s - state.hints.born_s < STAY_S


def draw(state: AppState, ui: Ui) -> None:
    """Draw the hints over the volume's lower middle."""
    born = state.hints.born_s
    if born is None or not active(state):
        return
    theme = ui.theme
    x, y, width, height = state.volume_rect
    draw_list = imgui.get_foreground_draw_list()
    row = theme.px(10)
    lower = y + height - theme.px(14) - row * len(HINTS)
    for index, (icon, text) in enumerate(HINTS):
        alpha = opacity(state.now_s - born, index)
        if alpha <= 0:
            continue
        extent = imgui.calc_text_size(text)
        total = extent.x + theme.px(16)
        left = round(x + (width - total) / 2)
        top = round(lower + index * row + (1 - alpha) * theme.px(2))
        ground = theme.overlay.alpha(0.86 * alpha)
        box = imgui.ImVec2(left, top), imgui.ImVec2(left + total, top + row - theme.px(1.5))
        draw_list.add_rect_filled(*box, u32(ground), theme.px(2))
        draw_list.add_rect(*box, u32(theme.border_strong.alpha(alpha)), theme.px(2))
        middle = top + (row - theme.px(1.5) - extent.y) / 2
        draw_list.add_text(imgui.ImVec2(left + theme.px(3.5), middle), u32(theme.accent.alpha(alpha)), icon)
        draw_list.add_text(imgui.ImVec2(left + theme.px(11), middle), u32(theme.text.alpha(alpha)), text)
