"""Pixel CPU panel: a program as pixels and text, stepped through to and fro, with a lane's registers and flags."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app.layout import PIXEL_CPU
from app.panels.learning_sides import draw_pixels
from app.pixel_cpu import MACHINE
from app.theme import u32
from app.ui import fit_text
from app.widgets.plain_text import plain
from bridge.pixelcpu.isa import FLAG_BITS, FLAGS, N_REGISTERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.pixel_cpu import PixelCpu
    from app.state import AppState
    from app.ui import Ui
    from bridge.pixelcpu.stepper import Access, Stepper

ROW_UNITS = 5.0
CELL_UNITS = 41.0
"""Of a register: its name and sixteen digits."""
FIELD_UNITS = 20.0
"""Of a field for a number of lanes."""
LIST_SHARE, LIST_LEAST, LIST_MOST = 0.4, 60.0, 120.0
FLAG_TIPS = {"O": "Overflow", "S": "Sign", "Z": "Zero", "A": "Auxiliary carry", "P": "Parity", "C": "Carry"}
_OPEN, _EDIT = "open program", "edit register"


def draw(state: AppState, ui: Ui) -> None:
    """Draw the panel."""
    flags = imgui.WindowFlags_.no_scrollbar | imgui.WindowFlags_.no_scroll_with_mouse
    with ui.panel(PIXEL_CPU, flags=flags, padding=(ui.theme.px(3), ui.theme.px(2))) as visible:
        if not visible:
            return
        cpu = state.pixel_cpu
        _bar(ui, cpu)
        if cpu.stepper is None:
            ui.absence(
                icons.ICON_FA_MICROCHIP,
                "Open a program, a PNG or assembly text; or choose “Step through its microcode” of a loop in Learning",
            )
            return
        _body(ui, cpu, cpu.stepper)


# The bar above


def _bar(ui: Ui, cpu: PixelCpu) -> None:
    theme, stepper = ui.theme, cpu.stepper
    room, corner = imgui.get_content_region_avail().x, imgui.get_cursor_screen_pos()
    line = imgui.get_cursor_pos_y()
    with ui.style(item_spacing=(theme.px(1), theme.px(1))):
        if ui.button(f"{icons.ICON_FA_FOLDER_OPEN}  Open…", kind="plain" if stepper is not None else "primary"):
            imgui.open_popup(_OPEN)
        _open_popup(ui, cpu)
        if stepper is None:
            ui.gap(0.5)
            return
        for action in ("pixel.reset", "pixel.back", "pixel.step", "pixel.run"):
            imgui.same_line(0, theme.px(1))
            imgui.set_cursor_pos_y(line)
            ui.action_icon(action, {}, colour=theme.accent if action == "pixel.step" else None)
        fields = 2 * theme.px(FIELD_UNITS) + theme.px(5) + imgui.calc_text_size("Lane").x + imgui.calc_text_size("of").x
        said, colour = _said(cpu, stepper), theme.bad if stepper.fault else theme.text_dim
        left = room - (imgui.get_item_rect_max().x - corner.x) - fields - theme.px(6)
        if left > theme.px(20):
            imgui.same_line(0, theme.px(3))
            imgui.set_cursor_pos_y(line)
            imgui.align_text_to_frame_padding()
            ui.elided(said, left, colour)
        ui.right(fields)
        _number(ui, "Lane", cpu.lane, lambda value: ui.run("pixel.lane", number=value), line)
        imgui.same_line(0, theme.px(2))
        _number(ui, "of", stepper.n_lanes, lambda value: ui.run("pixel.lanes", count=value), line)
    ui.gap(0.5)


def _number(ui: Ui, label: str, value: int, put: Callable[[int], object], line: float) -> None:
    theme = ui.theme
    imgui.set_cursor_pos_y(line)
    imgui.align_text_to_frame_padding()
    ui.dim(label)
    imgui.same_line(0, theme.px(1.5))
    imgui.set_cursor_pos_y(line)
    imgui.set_next_item_width(theme.px(FIELD_UNITS))
    changed, typed = imgui.input_int(f"##{label}", value, 0, 0, imgui.InputTextFlags_.enter_returns_true)
    if changed and typed != value:
        put(typed)


def _said(cpu: PixelCpu, stepper: Stepper) -> str:
    title = plain(cpu.picture.title, 80) if cpu.picture is not None else ""
    count = len(stepper.program.instructions)
    where = stepper.fault or ("at its end" if stepper.at_end else f"{stepper.place} of {count} done")
    return f"{title}  ·  {where}" if title else where


def _open_popup(ui: Ui, cpu: PixelCpu) -> None:
    theme = ui.theme
    with ui.style(window_padding=(theme.px(3), theme.px(3)), item_spacing=(theme.px(2), theme.px(2))):
        if not imgui.begin_popup(_OPEN):
            return
        ui.dim("A PNG, assembly text, or what `pixel prove --json` printed")
        if imgui.is_window_appearing():
            imgui.set_keyboard_focus_here()
        imgui.set_next_item_width(theme.px(110))
        entered, cpu.typed_path = imgui.input_text_with_hint(
            "##program", "Path of a program", cpu.typed_path, imgui.InputTextFlags_.enter_returns_true
        )
        imgui.same_line()
        opens = ui.button("Open", kind="primary", enabled=bool(cpu.typed_path.strip()))
        if opens or entered:
            ui.run("pixel.open", path=cpu.typed_path)
            imgui.close_current_popup()
        imgui.end_popup()


# The program, and the registers


def _body(ui: Ui, cpu: PixelCpu, stepper: Stepper) -> None:
    theme = ui.theme
    room = imgui.get_content_region_avail()
    wide = min(max(room.x * LIST_SHARE, theme.px(LIST_LEAST)), theme.px(LIST_MOST), room.x * 0.6)
    with ui.style(window_padding=(0.0, 0.0), item_spacing=(0.0, 0.0)):
        if imgui.begin_child("##program", imgui.ImVec2(round(wide), 0)):
            _program(ui, cpu, stepper)
        imgui.end_child()
        imgui.same_line(0, theme.px(4))
        if imgui.begin_child("##registers", imgui.ImVec2(0, 0)):
            _state(ui, cpu, stepper)
        imgui.end_child()


def _program(ui: Ui, cpu: PixelCpu, stepper: Stepper) -> None:
    theme, height = ui.theme, ui.theme.px(ROW_UNITS)
    most = max(map(len, cpu.pixels), default=1)
    if cpu.followed != stepper.place:
        cpu.followed = stepper.place
        above = math.ceil(imgui.get_window_height() * 0.4 / height)
        imgui.set_scroll_y(max(0, stepper.place - above) * height)
    with ui.mono(theme.mono_size * 0.9):
        clipper = imgui.ListClipper()
        clipper.begin(len(cpu.lines), height)
        while clipper.step():
            for at in range(clipper.display_start, clipper.display_end):
                imgui.push_id(at)
                _instruction(ui, cpu, stepper, at, most)
                imgui.pop_id()


def _instruction(ui: Ui, cpu: PixelCpu, stepper: Stepper, at: int, most: int) -> None:
    theme, draw_list, pixels = ui.theme, imgui.get_window_draw_list(), cpu.pixels[at]
    height, room = theme.px(ROW_UNITS), imgui.get_content_region_avail().x
    corner = imgui.get_cursor_screen_pos()
    pressed = imgui.invisible_button("##instruction", imgui.ImVec2(max(room, 1.0), height))
    hovered = imgui.is_item_hovered()
    is_next = at == stepper.place
    high = imgui.ImVec2(corner.x + room, corner.y + height)
    if is_next or hovered:
        tint = (theme.bad if stepper.fault else theme.accent).alpha(0.14) if is_next else theme.text.alpha(0.05)
        draw_list.add_rect_filled(corner, high, u32(tint))
    if is_next:
        draw_list.add_rect_filled(
            corner, imgui.ImVec2(corner.x + 2, high.y), u32(theme.bad if stepper.fault else theme.accent)
        )
    middle = corner.y + (height - imgui.get_text_line_height()) / 2
    x = corner.x + theme.px(2)
    x += draw_pixels(ui, imgui.ImVec2(x, corner.y), height, pixels, most)
    ink = theme.text_dim if at < stepper.place else theme.text
    draw_list.add_text(imgui.ImVec2(x, middle), u32(ink), fit_text(cpu.lines[at], max(1.0, high.x - x)))
    if hovered:
        words = " ".join("".join(f"{part:02x}" for part in pixel) for pixel in pixels)
        with ui.font(theme.ui_font, theme.ui_size):
            says = stepper.program.instructions[at].row.says
            ui.tooltip(cpu.lines[at], note=f"{says}\nAs pixels, RGBA: {words}\nA click goes there")
    if pressed and at != stepper.place:
        if at < stepper.place:
            ui.run("pixel.reset")
        if at:
            ui.run("pixel.step", count=at - stepper.place)


def _state(ui: Ui, cpu: PixelCpu, stepper: Stepper) -> None:
    theme = ui.theme
    room = imgui.get_content_region_avail().x
    _flags(ui, stepper.flags(cpu.lane))
    imgui.same_line(0, theme.px(6))
    with ui.small():
        _access(ui, cpu, stepper.access, room)
    ui.gap(1)
    columns = max(1, int(room // theme.px(CELL_UNITS)))
    width = room / columns
    corner = imgui.get_cursor_pos()
    with ui.mono(theme.mono_size * 0.9):
        shown = sorted(range(N_REGISTERS), key=lambda number: (number not in cpu.used, number))
        for place, number in enumerate(shown):
            imgui.set_cursor_pos(
                imgui.ImVec2(corner.x + place % columns * width, corner.y + place // columns * theme.px(ROW_UNITS + 1))
            )
            _register(ui, cpu, stepper, number, width, is_used=number in cpu.used)
    _edit_popup(ui, cpu)


def _flags(ui: Ui, flags: int) -> None:
    theme = ui.theme
    for flag in reversed(FLAGS):
        is_set = bool(flags >> FLAG_BITS[flag] & 1)
        with ui.bold(theme.small_size):
            ui.text(f"{flag}F", theme.accent if is_set else theme.text_faint.alpha(0.6))
        ui.tooltip(FLAG_TIPS[flag], note="Set" if is_set else "Not set")
        imgui.same_line(0, theme.px(2))


def _access(ui: Ui, cpu: PixelCpu, access: Access | None, room: float) -> None:
    theme = ui.theme
    if access is None or not len(access.addresses):
        ui.faint("No access to memory" if access is None else "No lane made its access")
        return
    mine = access.addresses[access.lanes == cpu.lane]
    verb = "Stored" if access.is_store else "Loaded"
    size = f"{access.size} byte{'s' if access.size != 1 else ''}"
    here = f" at {int(mine[0]):#x}" if len(mine) else ", not in this lane"
    first, last = int(access.addresses.min()), int(access.addresses.max())
    others = f"  ·  {len(access.lanes):,} lanes, {first:#x} to {last + access.size - 1:#x}"
    ui.elided(f"{verb} {size}{here}{others}", max(theme.px(10), room - theme.px(44)), theme.text)
    if len(mine) and imgui.is_item_clicked():
        ui.run("view.go_to", address=int(mine[0]), machine=MACHINE)


def _register(ui: Ui, cpu: PixelCpu, stepper: Stepper, number: int, width: float, *, is_used: bool) -> None:
    theme, draw_list = ui.theme, imgui.get_window_draw_list()
    value = stepper.register(number, cpu.lane)
    corner = imgui.get_cursor_screen_pos()
    name = plain(cpu.names[number], 12)
    imgui.push_id(number)
    if imgui.invisible_button("##register", imgui.ImVec2(max(1.0, width - theme.px(3)), theme.px(ROW_UNITS))):
        cpu.editing, cpu.typed_value = number, f"{int(stepper.initial[number]):#x}"
        cpu.asks = True
    hovered = imgui.is_item_hovered()
    imgui.pop_id()
    changed = number in stepper.changed
    if changed or hovered:
        tint = theme.changed.alpha(0.13) if changed else theme.text.alpha(0.05)
        draw_list.add_rect_filled(
            corner,
            imgui.ImVec2(corner.x + width - theme.px(3), corner.y + theme.px(ROW_UNITS)),
            u32(tint),
            theme.px(0.75),
        )
    middle = corner.y + (theme.px(ROW_UNITS) - imgui.get_text_line_height()) / 2
    digits = f"{value:016x}"
    zeros = len(digits) - len(digits.lstrip("0"))
    ink = theme.changed if changed else theme.text if is_used else theme.text_faint
    step = imgui.calc_text_size("0").x
    x = corner.x + theme.px(1)
    draw_list.add_text(imgui.ImVec2(x, middle), u32(theme.text_dim if is_used else theme.text_faint), f"{name:>6}")
    x += 7 * step
    draw_list.add_text(imgui.ImVec2(x, middle), u32(theme.text_faint.alpha(0.55)), digits[:zeros])
    draw_list.add_text(imgui.ImVec2(x + zeros * step, middle), u32(ink), digits[zeros:])
    if hovered:
        signed = value - (1 << 64) if value >> 63 else value
        with ui.font(theme.ui_font, theme.ui_size):
            ui.tooltip(f"{name} = {value:,}", note=f"{signed:,} signed\nA click sets what it begins with")


def _edit_popup(ui: Ui, cpu: PixelCpu) -> None:
    theme = ui.theme
    if cpu.asks:
        imgui.open_popup(_EDIT)
        cpu.asks = False
    with ui.style(window_padding=(theme.px(3), theme.px(3)), item_spacing=(theme.px(2), theme.px(2))):
        if not imgui.begin_popup(_EDIT):
            return
        ui.dim(f"What {plain(cpu.names[cpu.editing], 12)} begins with")
        if imgui.is_window_appearing():
            imgui.set_keyboard_focus_here()
        imgui.set_next_item_width(theme.px(48))
        flags = imgui.InputTextFlags_.enter_returns_true | imgui.InputTextFlags_.auto_select_all
        entered, cpu.typed_value = imgui.input_text("##value", cpu.typed_value, flags)
        imgui.same_line()
        if ui.button("Set", kind="primary") or entered:
            ui.run("pixel.set", register=cpu.names[cpu.editing], value=cpu.typed_value)
            imgui.close_current_popup()
        imgui.end_popup()
