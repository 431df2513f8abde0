"""Writers in a narrow panel: two lines each, so that nothing of a function, an instruction or a process is cut off."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

from imgui_bundle import imgui

from app.theme import u32
from app.ui import fit_text
from app.widgets.plain_text import plain
from app.widgets.record_table import MenuEntry, TableEvent
from app.writer_rows import WriterRow, told_age, told_value

if TYPE_CHECKING:
    from app.theme import Theme
    from app.ui import Ui

ROW_UNITS, AGE_UNITS = 11.0, 15.0
_MENU = "##writer"


def draw(
    ui: Ui, rows: Sequence[WriterRow], size: tuple[float, float], menu: Callable[[WriterRow], Sequence[MenuEntry]]
) -> TableEvent[WriterRow] | None:
    """Draw the rows, the newest first; return what the user did with one."""
    theme, event = ui.theme, None
    height = theme.px(ROW_UNITS)
    with ui.style(item_spacing=(0.0, 0.0), window_padding=(0.0, 0.0)):
        whole = max(1, int(size[1] // height)) * height  # no row is cut off below
        shown = imgui.begin_child("##writers list", imgui.ImVec2(max(size[0], 1.0), whole))
        if shown:
            clipper = imgui.ListClipper()
            clipper.begin(len(rows), height)
            while clipper.step():
                for at in range(clipper.display_start, clipper.display_end):
                    imgui.push_id(at)
                    event = _row(ui, rows[at], height, menu) or event
                    imgui.pop_id()
        imgui.end_child()
    return event


def _row(
    ui: Ui, row: WriterRow, height: float, menu: Callable[[WriterRow], Sequence[MenuEntry]]
) -> TableEvent[WriterRow] | None:
    theme, draw_list = ui.theme, imgui.get_window_draw_list()
    at, room = imgui.get_cursor_screen_pos(), imgui.get_content_region_avail().x
    flags = imgui.ButtonFlags_.mouse_button_left | imgui.ButtonFlags_.mouse_button_right
    imgui.invisible_button("##row", imgui.ImVec2(max(room, 1.0), height), flags)
    low, high = at, imgui.ImVec2(at.x + room, at.y + height)
    hovered = imgui.is_item_hovered()
    if hovered:
        draw_list.add_rect_filled(low, high, u32(theme.text.alpha(0.05)))
    draw_list.add_line(imgui.ImVec2(low.x, high.y), high, u32(theme.border))
    left, right = at.x + theme.px(AGE_UNITS + 2), high.x - theme.px(1)
    first = at.y + theme.px(0.75)
    age = told_age(row.age_s)
    draw_list.add_text(
        imgui.ImVec2(at.x + theme.px(AGE_UNITS) - imgui.calc_text_size(age).x, first), u32(theme.text_dim), age
    )
    symbol = plain(row.symbol, 160) or f"{row.access.pc:#x}"
    draw_list.add_text(imgui.ImVec2(left, first), u32(theme.accent), fit_text(symbol, max(1.0, right - left)))
    second = first + imgui.get_text_line_height() + theme.px(0.25)
    process = plain(row.process, 60)
    with ui.small():
        wide = min(imgui.calc_text_size(process).x, (right - left) * 0.45)
        draw_list.add_text(imgui.ImVec2(right - wide, second), u32(theme.text_faint), fit_text(process, wide + 1))
    with ui.mono(theme.small_size * 0.95):
        text_room = max(1.0, right - wide - theme.px(2) - left)
        draw_list.add_text(imgui.ImVec2(left, second), u32(theme.text_dim), fit_text(_instruction(row), text_room))
    if hovered:
        _tip(ui, theme, row)
    found: Literal["choose", "open"] | None = None
    if hovered and imgui.is_mouse_double_clicked(0):
        found = "open"
    elif imgui.is_item_activated():
        found = "choose"
    _popup(ui, row, menu, hovered=hovered)
    return None if found is None else TableEvent[WriterRow](found, row)


def _instruction(row: WriterRow) -> str:
    """Without the widths of operands, which the value's own width tells."""
    text = plain(row.access.text, 160) or "?"
    for word in ("qword ptr ", "dword ptr ", "word ptr ", "byte ptr ", "xmmword ptr ", "ymmword ptr "):
        text = text.replace(word, "")
    return text


def _tip(ui: Ui, theme: Theme, row: WriterRow) -> None:
    value = told_value(row.access)
    wrote = f"\nWrote {value} to {row.access.physical:#x}" if value else f"\nWrote to {row.access.physical:#x}"
    with ui.font(theme.ui_font, theme.ui_size):
        title = f"{plain(row.symbol, 200) or hex(row.access.pc)}\n{plain(row.access.text, 200) or '?'}"
        ui.tooltip(title, note=f"{plain(row.process, 120) or 'Process not known'}, {told_age(row.age_s)} ago{wrote}")


def _popup(ui: Ui, row: WriterRow, menu: Callable[[WriterRow], Sequence[MenuEntry]], *, hovered: bool) -> None:
    theme = ui.theme
    if hovered and imgui.is_mouse_released(imgui.MouseButton_.right):
        imgui.open_popup(_MENU)
    with ui.style(window_padding=(theme.px(2), theme.px(2)), item_spacing=(theme.px(2), theme.px(2))):
        if not imgui.begin_popup(_MENU):
            return
        for entry in menu(row):
            if imgui.internal.menu_item_ex(entry.label, entry.icon, "", False, not entry.why_not):
                entry.run()
            if entry.why_not:
                imgui.set_item_tooltip(entry.why_not)
        imgui.end_popup()
