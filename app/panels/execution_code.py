"""Code in the Execution panel: the chosen block and those around it that ran, each line with how often it did."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app.execution_ui import told
from app.theme import u32
from app.ui import fit_text
from app.widgets.plain_text import plain

if TYPE_CHECKING:
    from app.hot_rows import ListedLine, Listing
    from app.state import AppState
    from app.trace_looks import Look
    from app.ui import Ui

ROW_UNITS = 5.0
COUNT_UNITS = 16.0
LOOP_UNITS, MOST_LOOPS = 1.5, 4
"""How far what is in a loop is indented, and for how many loops."""


def draw(state: AppState, ui: Ui, look: Look, size: tuple[float, float]) -> None:
    """Draw the listing."""
    shown, listing = state.execution, look.listing
    if not shown.chosen:
        ui.absence(icons.ICON_FA_CODE, "Choose a block of code to see its instructions, and how often each was run")
        return
    if listing is None or listing.block != shown.chosen:
        held = shown.held is not None
        ui.absence(icons.ICON_FA_CODE, "What is held was seen without this code" if held else "Reading the code")
        return
    _head(ui, look, listing, size[0])
    flags = imgui.WindowFlags_.no_nav
    if imgui.begin_child("##lines", imgui.ImVec2(0, 0), 0, flags):
        _lines(state, ui, listing)
    imgui.end_child()


def _head(ui: Ui, look: Look, listing: Listing, width: float) -> None:
    theme = ui.theme
    row = next((row for row in look.rows if row.number == listing.block), None)
    with ui.small():
        if row is None:
            ui.faint("It did not run lately")
            return
        count = f"{row.share:.1%}  ·  {row.count:,} times"
        wide = imgui.calc_text_size(count).x
        ui.elided(plain(row.symbol or f"{row.pc:#x}", 200), max(theme.px(10), width - wide - theme.px(4)), theme.text)
        if row.process:
            ui.tooltip(plain(row.process, 200))
        ui.right(wide)
        ui.dim(count)


def _lines(state: AppState, ui: Ui, listing: Listing) -> None:
    theme, shown = ui.theme, state.execution
    height = theme.px(ROW_UNITS)
    most = max((line.count for line in listing.lines), default=1) or 1
    first = next((at for at, line in enumerate(listing.lines) if line.block == listing.block), 0)
    with ui.mono(theme.mono_size * 0.9), ui.style(item_spacing=(0.0, 0.0)):
        if shown.listed != listing.block:
            shown.listed = listing.block
            imgui.set_scroll_y(max(0.0, first * height - imgui.get_window_height() * 0.3))
        clipper = imgui.ListClipper()
        clipper.begin(len(listing.lines), height)
        while clipper.step():
            for at in range(clipper.display_start, clipper.display_end):
                imgui.push_id(at)
                _line(ui, listing.lines[at], height, most, chosen=listing.lines[at].block == listing.block)
                imgui.pop_id()


def _line(ui: Ui, line: ListedLine, height: float, most: int, *, chosen: bool) -> None:
    theme, draw_list = ui.theme, imgui.get_window_draw_list()
    at, room = imgui.get_cursor_screen_pos(), imgui.get_content_region_avail().x
    pressed = imgui.invisible_button("##line", imgui.ImVec2(max(room, 1.0), height))
    low, high = at, imgui.ImVec2(at.x + room, at.y + height)
    hovered = imgui.is_item_hovered()
    if chosen or hovered:
        draw_list.add_rect_filled(low, high, u32(theme.accent.alpha(0.1) if chosen else theme.text.alpha(0.05)))
    if chosen:
        draw_list.add_rect_filled(low, imgui.ImVec2(at.x + 2, high.y), u32(theme.accent))
    if line.gap:
        draw_list.add_line(low, imgui.ImVec2(high.x, at.y), u32(theme.border_strong))
    count_at, wide = at.x + theme.px(2), theme.px(COUNT_UNITS)
    share = line.count / most
    top, bottom = at.y + theme.px(0.5), high.y - theme.px(0.5)
    left = count_at + wide * (1 - share)
    draw_list.add_rect_filled(
        imgui.ImVec2(left, top), imgui.ImVec2(count_at + wide, bottom), u32(theme.warn.alpha(0.1 + 0.25 * share))
    )
    middle = at.y + (height - imgui.get_text_line_height()) / 2
    count = told(line.count)
    ink = theme.text if line.count else theme.text_faint
    x = count_at + wide - imgui.calc_text_size(count).x - theme.px(1)
    draw_list.add_text(imgui.ImVec2(x, middle), u32(ink), count)
    x = count_at + wide + theme.px(2)
    for level in range(min(line.loop_depth, MOST_LOOPS)):  # loops stand as bars beside what they hold
        left = count_at + wide + theme.px(1 + level * LOOP_UNITS)
        ink_of_loop = u32(theme.warn.alpha(0.75))
        draw_list.add_rect_filled(imgui.ImVec2(left, at.y), imgui.ImVec2(left + 2, high.y), ink_of_loop)
    x += theme.px(LOOP_UNITS * min(line.loop_depth, MOST_LOOPS))
    address = f"{line.address:x}"
    text_at = x + imgui.calc_text_size(address).x + theme.px(3)
    if text_at < at.x + room * 0.62:
        draw_list.add_text(imgui.ImVec2(x, middle), u32(theme.text_faint), address)
    else:
        text_at = x
    mnemonic, _, operands = line.text.partition(" ")
    head = fit_text(mnemonic.ljust(8 if len(mnemonic) < 8 else len(mnemonic) + 1), max(1.0, high.x - text_at))
    draw_list.add_text(imgui.ImVec2(text_at, middle), u32(theme.accent if chosen else theme.text), head)
    text_at += imgui.calc_text_size("0" * max(8, len(mnemonic) + 1)).x
    if text_at < high.x - theme.px(4):
        draw_list.add_text(imgui.ImVec2(text_at, middle), u32(theme.text_dim), fit_text(operands, high.x - text_at))
    if hovered:
        _tip(ui, line)
    if pressed:
        ui.run("view.select", address=line.physical)


def _tip(ui: Ui, line: ListedLine) -> None:
    note = f"Run {line.count:,} times  ·  physical address {line.physical:#x}"
    loops = f"  ·  in {line.loop_depth} loop{'s' if line.loop_depth != 1 else ''}" if line.loop_depth else ""
    gap = f"\n{line.gap:,} bytes before it were not run" if line.gap else ""
    with ui.font(ui.theme.ui_font, ui.theme.ui_size):
        ui.tooltip(line.text, note=note + loops + gap)
