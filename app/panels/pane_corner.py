"""Pane corner: the small buttons in a view's upper right, and the line around the view that keys are about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app.theme import u32

if TYPE_CHECKING:
    from app.pane import Pane
    from app.state import AppState
    from app.ui import Ui

BUTTON_UNITS = 7
MARGIN_UNITS = 2
NARROWEST_UNITS = 40


def draw(state: AppState, ui: Ui, pane: Pane, *, hovered: bool) -> None:
    """Draw the buttons over the picture, which must allow items over it; where there is one view, only on hover."""
    theme, several = ui.theme, len(state.stage.panes) > 1
    x, y, width, height = pane.rect
    if several and pane is state.stage.active:
        edge = imgui.ImVec2(x + 0.5, y + 0.5), imgui.ImVec2(x + width - 0.5, y + height - 0.5)
        imgui.get_window_draw_list().add_rect(*edge, u32(theme.accent.alpha(0.7)), 0.0)
    inside = imgui.is_mouse_hovering_rect(imgui.ImVec2(x, y), imgui.ImVec2(x + width, y + height))
    if width < theme.px(NARROWEST_UNITS) or not state.stage.feeds or not (several or hovered or inside):
        return
    buttons = ["split", *(["link"] if several else []), *(["close"] if pane is not state.stage.panes[0] else [])]
    side, gap = theme.px(BUTTON_UNITS), theme.px(0.5)
    pad = theme.px(0.5)
    left = x + width - theme.px(MARGIN_UNITS) - len(buttons) * (side + gap) + gap
    top = y + theme.px(MARGIN_UNITS)
    imgui.get_window_draw_list().add_rect_filled(
        imgui.ImVec2(left - pad, top - pad),
        imgui.ImVec2(x + width - theme.px(MARGIN_UNITS) + pad, top + side + pad),
        u32(theme.overlay.alpha(0.72)),
        theme.px(1.5),
    )
    imgui.set_cursor_screen_pos(imgui.ImVec2(left, top))
    with ui.style(item_spacing=(gap, gap)):
        for index, name in enumerate(buttons):
            if index:
                imgui.same_line()
            _button(state, ui, pane, name)


def _button(state: AppState, ui: Ui, pane: Pane, name: str) -> None:
    theme = ui.theme
    if name == "split":
        why_not = state.actions.get("view.split").why_not()
        if ui.icon_button(
            icons.ICON_FA_TABLE_COLUMNS,
            "Open another view",
            id_=f"split{pane.name}",
            enabled=why_not is None,
            note=why_not or "The same memory with a look and a camera of its own",
            shortcut="V",
        ):
            ui.run("view.split", view=pane.name)
    elif name == "link":
        tip = "Let this camera go" if pane.linked else "Link this camera"
        note = "Linked cameras move as one"
        colour = theme.accent if pane.linked else None
        icon = icons.ICON_FA_LINK if pane.linked else icons.ICON_FA_LINK_SLASH
        if ui.icon_button(icon, tip, id_=f"link{pane.name}", colour=colour, note=note, shortcut="L"):
            ui.run("view.link", view=pane.name)
    elif ui.icon_button(icons.ICON_FA_XMARK, "Close this view", id_=f"close{pane.name}", shortcut="Shift+V"):
        ui.run("view.close", view=pane.name)
