"""Toasts: drawn over everything at the lower right, newest lowest, each with its way out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app.panels.status import HEIGHT_UNITS
from app.theme import Rgba, u32
from app.toasts import Toast, ToastLevel

if TYPE_CHECKING:
    from app.state import AppState
    from app.ui import Ui

WIDTH_UNITS = 92
_FLAGS = (
    imgui.WindowFlags_.no_decoration
    | imgui.WindowFlags_.no_docking
    | imgui.WindowFlags_.no_saved_settings
    | imgui.WindowFlags_.no_move
    | imgui.WindowFlags_.no_focus_on_appearing
    | imgui.WindowFlags_.no_nav
    | imgui.WindowFlags_.always_auto_resize
)


def draw(state: AppState, ui: Ui) -> None:
    """Draw the toasts that are up."""
    theme = ui.theme
    size = imgui.get_io().display_size
    bottom = size.y - theme.px(HEIGHT_UNITS) - theme.px(3)
    for toast in reversed(state.toasts.shown()):
        bottom = _toast(state, ui, toast, size.x - theme.px(3), bottom) - theme.px(2)
    if hidden := state.toasts.hidden_count():
        text = f"{hidden} more"
        draw_list = imgui.get_foreground_draw_list()
        draw_list.add_text(
            imgui.ImVec2(size.x - theme.px(3) - imgui.calc_text_size(text).x, bottom - theme.px(4)),
            u32(theme.text_dim),
            text,
        )


def level_look(ui: Ui, level: ToastLevel) -> tuple[str, Rgba]:
    """Return the icon and colour of a level."""
    theme = ui.theme
    return {
        ToastLevel.INFO: (icons.ICON_FA_CIRCLE_INFO, theme.accent),
        ToastLevel.GOOD: (icons.ICON_FA_CIRCLE_CHECK, theme.good),
        ToastLevel.WARN: (icons.ICON_FA_TRIANGLE_EXCLAMATION, theme.warn),
        ToastLevel.ERROR: (icons.ICON_FA_CIRCLE_EXCLAMATION, theme.bad),
    }[level]


def _toast(state: AppState, ui: Ui, toast: Toast, right: float, bottom: float) -> float:
    """Draw one toast with its lower right corner there; returns its upper edge."""
    theme = ui.theme
    width = min(theme.px(WIDTH_UNITS), imgui.get_io().display_size.x - theme.px(6))
    imgui.set_next_window_pos(imgui.ImVec2(right, bottom), 0, imgui.ImVec2(1, 1))
    imgui.set_next_window_size_constraints(imgui.ImVec2(width, 0), imgui.ImVec2(width, imgui.get_io().display_size.y))
    icon, colour = level_look(ui, toast.level)
    with (
        ui.style(
            alpha=max(0.02, toast.opacity(state.now_s)),
            window_padding=(theme.px(4), theme.px(3)),
            window_rounding=theme.px(2),
            item_spacing=(theme.px(2), theme.px(1.5)),
        ),
        ui.colours(window_bg=theme.overlay, border=theme.border_strong),
    ):
        imgui.begin(f"##toast{toast.number}", None, _FLAGS)
        imgui.internal.bring_window_to_display_front(imgui.internal.get_current_window())
        at, extent = imgui.get_window_pos(), imgui.get_window_size()
        imgui.get_window_draw_list().add_rect_filled(
            imgui.ImVec2(at.x, at.y + theme.px(2)),
            imgui.ImVec2(at.x + theme.px(0.75), at.y + extent.y - theme.px(2)),
            u32(colour),
        )
        ui.text(icon, colour)
        imgui.same_line(0, theme.px(2))
        left = imgui.get_cursor_pos_x()
        close = theme.px(6)
        title = toast.title if toast.count == 1 else f"{toast.title}  ({toast.count} times)"
        with ui.bold():
            ui.wrapped(title, width=width - left - close - theme.px(4))
        imgui.same_line(width - theme.px(4) - theme.px(4))
        with ui.colours(button=theme.overlay, text=theme.text_faint):
            if imgui.small_button(f"{icons.ICON_FA_XMARK}##close{toast.number}"):
                state.toasts.dismiss(toast.number)
        if toast.detail:
            imgui.set_cursor_pos_x(left)
            with ui.small():
                ui.wrapped(toast.detail, theme.text_dim, width=width - left - theme.px(4))
        if toast.ways:
            imgui.set_cursor_pos_x(left)
            for index, way in enumerate(toast.ways):
                if index:
                    imgui.same_line()
                if ui.button(f"{way.label}##{toast.number}.{index}", small=True):
                    state.toasts.dismiss(toast.number)
                    state.run(way.action, way.args)
        if imgui.is_window_hovered(imgui.HoveredFlags_.root_and_child_windows):
            state.toasts.keep(toast.number)
        top = imgui.get_window_pos().y
        imgui.end()
    return top
