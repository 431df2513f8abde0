"""An address as people meet it everywhere: monospaced hex that can be clicked and copied."""

from __future__ import annotations

from imgui_bundle import imgui

from app.theme import Theme, u32
from app.widgets.format import format_address


def address_label(theme: Theme, address: int, *, digits: int = 0, tooltip: str = "") -> bool:
    """Draw an address as a link; return True when it was clicked. A right click offers to copy it."""
    text = format_address(address, digits)
    imgui.push_font(theme.mono_font, theme.mono_size)
    size = imgui.calc_text_size(text)
    corner = imgui.get_cursor_screen_pos()
    imgui.push_id(text)
    clicked = imgui.invisible_button("##address", size)
    hovered = imgui.is_item_hovered() or imgui.is_item_focused()
    colour = u32(theme.accent if hovered else theme.text)
    draw_list = imgui.get_window_draw_list()
    draw_list.add_text(corner, colour, text)
    imgui.pop_font()
    if hovered:
        below = corner.y + size.y
        draw_list.add_line(imgui.ImVec2(corner.x, below), imgui.ImVec2(corner.x + size.x, below), colour)
        imgui.set_mouse_cursor(imgui.MouseCursor_.hand)
        if tooltip:
            imgui.set_item_tooltip(tooltip)
    if imgui.begin_popup_context_item("##address-menu"):
        if imgui.menu_item("Copy address", "", False)[0]:
            imgui.set_clipboard_text(text)
        imgui.end_popup()
    imgui.pop_id()
    return clicked
