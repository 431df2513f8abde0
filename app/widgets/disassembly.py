"""The disassembly view: x86 instructions around an address, following the memory as it changes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from imgui_bundle import imgui

from app.theme import Theme, u32
from app.widgets.annotations import Annotation, CodeNames, annotate
from app.widgets.byte_source import DEFAULT_UNMAPPED, ByteSource, ReadBytes
from app.widgets.disassembly_model import DisassemblyModel
from app.widgets.follow import FollowedAddress
from app.widgets.format import address_digits, format_address
from app.widgets.jump_lanes import MAX_LANES, jump_lanes
from app.widgets.mono import MonoGrid, mono_grid
from app.widgets.presence import Presence
from app.widgets.record_table import MenuEntry
from app.widgets.row_scroll import RowScrollbar, scrollbar_width
from app.widgets.x86_decode import MODES, Bits, Instruction

WHEEL_ROWS = 3
MNEMONIC_CELLS = 8
VIRTUAL_CELLS = 18
_TOKEN = re.compile(
    r"(?P<number>-?\b(?:0x[0-9a-f]+|\d+)\b)|(?P<size>\b(?:[a-z]*word|t?byte) ptr\b)"
    r"|(?P<name>[a-z]\w*)|(?P<mark>[^\w\s])"
)
_RIP_OPERAND = re.compile(r"\[rip[^\]]*\]")
_NAME, _NUMBER, _SIZE, _MARK = range(4)
_TOKEN_CLASS = {"number": _NUMBER, "size": _SIZE, "name": _NAME, "mark": _MARK}


@dataclass(frozen=True, slots=True)
class DisassemblyEvent:
    """What the user did: `select` an instruction, or `go` to an address (double click or Enter: a jump's target)."""

    kind: Literal["select", "go"]
    address: int
    length: int = 1
    vaddr: int | None = None
    """Of what it goes to, where that is known."""


@lru_cache(maxsize=8192)
def operand_runs(operands: str) -> tuple[tuple[int, str], ...]:
    """Return (class, text) for each class of token in an operand text, each padded from the text's start."""
    texts: dict[int, str] = {}
    for token in _TOKEN.finditer(operands):
        kind = _TOKEN_CLASS[token.lastgroup or "name"]
        texts[kind] = texts.get(kind, "").ljust(token.start()) + token.group()
    return tuple(texts.items())


def _operand_column(line: Instruction) -> int:
    """Return the cell, from the mnemonic's first, at which the operands begin."""
    return max(MNEMONIC_CELLS, len(line.mnemonic) + 1)


def shown_operands(line: Instruction, note: Annotation | None) -> str:
    """Return the operands as they are shown: what they lead to by its name, or where it runs, not where it lies."""
    if note is None or note.leads is None:
        return line.operands
    if line.target is not None:
        return note.name or f"{note.leads:#x}"
    named = f"[{note.name}]"
    return _RIP_OPERAND.sub(lambda _: named, line.operands) if note.name else line.operands


class DisassemblyView:
    """A disassembly; `unmapped` are the errors by which `read` says that there is no memory.

    `bits` is the decoding width; the user can change it in the view's header.
    """

    def __init__(self, bits: Bits = 64, unmapped: tuple[type[Exception], ...] = DEFAULT_UNMAPPED) -> None:
        self.bits: Bits = bits
        self.model = DisassemblyModel()
        self._presence = Presence()
        self._focused = False
        self._unmapped = unmapped
        self._scrollbar = RowScrollbar()
        self._followed = FollowedAddress()
        self._wheel = 0.0
        self._menu_instruction: Instruction | None = None
        self._names: CodeNames | None = None
        self._entries: Callable[[int], Sequence[MenuEntry]] | None = None
        self._shows_virtual = False

    @property
    def animating(self) -> bool:
        """Whether changed bytes on the screen still fade, so that another frame is wanted soon."""
        return self.model.animating and self._presence.here

    def draw(
        self,
        theme: Theme,
        read: ReadBytes,
        address: int,
        *,
        base: int = 0,
        size_bytes: int = 1 << 64,
        size: tuple[float, float] | None = None,
        names: CodeNames | None = None,
        entries: Callable[[int], Sequence[MenuEntry]] | None = None,
    ) -> DisassemblyEvent | None:
        """Draw the instructions around `address` within [base, base + size_bytes); return what the user did.

        `names` says where the code runs and what its operands lead to; `entries` what else an instruction's menu has.
        When `address` is another than in the frame before, the view goes there.
        """
        source = ByteSource(read, self._unmapped)
        self._names, self._entries = names, entries
        available = imgui.get_content_region_avail()
        width, height = size or (available.x, available.y)
        flags = (
            imgui.WindowFlags_.no_scrollbar
            | imgui.WindowFlags_.no_scroll_with_mouse
            | imgui.WindowFlags_.no_nav
            | imgui.WindowFlags_.no_move
        )
        imgui.push_style_var(imgui.StyleVar_.window_padding, imgui.ImVec2(0, 0))
        shown = imgui.begin_child("##disassembly", imgui.ImVec2(max(width, 1), max(height, 1)), 0, flags)
        imgui.pop_style_var()
        self._presence.mark()
        self._focused = imgui.is_window_focused()
        event = None
        if shown:
            event = self._draw_inside(theme, source, address, base, base + size_bytes, width, height)
        imgui.end_child()
        return event

    def _draw_inside(
        self, theme: Theme, source: ByteSource, address: int, base: int, end: int, width: float, height: float
    ) -> DisassemblyEvent | None:
        model = self.model
        grid = mono_grid(theme, row_units=5)
        corner = imgui.get_cursor_screen_pos()
        bar = scrollbar_width(theme)
        gutter = theme.px(2) + MAX_LANES * theme.px(1.5)
        x, y = corner.x + gutter, corner.y + grid.row + theme.unit
        rows_height = max(height - (y - corner.y), grid.row)
        now_s = imgui.get_time()

        model.set_view(base, end, self.bits, max(int(rows_height / grid.row), 1))
        if (news := self._followed.news(address)) is not None:
            model.show(source, news)
        top = base + self._scrollbar.draw(
            theme,
            imgui.ImVec2(corner.x + width - bar, y),
            rows_height,
            max(end - base, 1),
            max(model.shown_bytes, 1),
            min(max(model.top - base, 0), max(end - base - 1, 0)),
        )
        if top != model.top and self._scrollbar.held:
            model.top = top
        imgui.set_cursor_screen_pos(imgui.ImVec2(corner.x, y))
        imgui.invisible_button(
            "##instructions",
            imgui.ImVec2(max(width - bar, 1), rows_height),
            imgui.ButtonFlags_.mouse_button_left | imgui.ButtonFlags_.mouse_button_right,
        )
        hovered = imgui.is_item_hovered()
        if hovered and imgui.get_io().mouse_wheel:
            self._wheel -= imgui.get_io().mouse_wheel * WHEEL_ROWS
            rows = int(self._wheel)
            self._wheel -= rows
            model.scroll(source, rows)
        event = None
        if self._focused and not imgui.is_popup_open("##instruction-menu"):
            event = self._keyboard(source)
        lines = model.lines(source, now_s)
        under = None
        if hovered:
            row = int((imgui.get_io().mouse_pos.y - y) // grid.row)
            under = lines[row] if 0 <= row < len(lines) else None
            event = self._mouse(under) or event

        draw_list = imgui.get_window_draw_list()
        draw_list.push_clip_rect(corner, imgui.ImVec2(corner.x + width, corner.y + height), True)
        columns = int((width - gutter - bar) / grid.cell)
        named = self._names is not None
        self._shows_virtual = named and columns >= self._digits() + 2 + VIRTUAL_CELLS + MNEMONIC_CELLS + 32
        byte_cells = self._byte_cells(columns - (VIRTUAL_CELLS if self._shows_virtual else 0))
        self._draw_header(draw_list, theme, x, corner, width - bar, grid, byte_cells)
        for index, line in enumerate(lines):
            self._draw_line(
                draw_list, theme, corner.x, x, y + index * grid.row, width - bar, grid, line, byte_cells, under, now_s
            )
        self._draw_lanes(draw_list, theme, x, y, grid, lines, under)
        if under is not None and not imgui.is_popup_open("##instruction-menu"):
            self._explain(theme, under)
        draw_list.pop_clip_rect()
        self._draw_modes(theme, corner, width - bar)
        self._menu()
        return event

    # Drawing.

    def _digits(self) -> int:
        return address_digits(min(self.model.end, 1 << 48) if self.model.end == 1 << 64 else self.model.end)

    def _byte_cells(self, columns: int) -> int:
        """Return the cells for instruction bytes that leave room for the text: 8 bytes, 5, or none."""
        text = self._digits() + 2 + MNEMONIC_CELLS + 24
        return next((count * 3 + 1 for count in (8, 5) if text + count * 3 + 1 <= columns), 0)

    def _draw_header(
        self,
        draw_list: imgui.ImDrawList,
        theme: Theme,
        x: float,
        corner: imgui.ImVec2,
        width: float,
        grid: MonoGrid,
        byte_cells: int,
    ) -> None:
        faint = u32(theme.text_faint)
        at = x + (self._digits() + 2) * grid.cell
        grid.text(draw_list, x, corner.y, faint, "address")
        if self._shows_virtual:
            grid.text(draw_list, at, corner.y, faint, "virtual")
            at += VIRTUAL_CELLS * grid.cell
        if byte_cells:
            grid.text(draw_list, at, corner.y, faint, "bytes")
        grid.text(draw_list, at + byte_cells * grid.cell, corner.y, faint, "instruction")
        line_y = corner.y + grid.row + theme.px(0.5)
        draw_list.add_rect_filled((corner.x, line_y), (corner.x + width, line_y + 1), u32(theme.border))

    def _draw_modes(self, theme: Theme, corner: imgui.ImVec2, width: float) -> None:
        """The decoding width, as three small buttons in the header."""
        imgui.push_font(theme.ui_font, theme.small_size)
        button = imgui.ImVec2(imgui.calc_text_size("64").x + theme.px(2), imgui.get_text_line_height() + theme.px(0.5))
        imgui.push_style_var(imgui.StyleVar_.frame_padding, imgui.ImVec2(0, 0))
        for index, bits in enumerate(MODES):
            imgui.set_cursor_screen_pos(
                imgui.ImVec2(corner.x + width - (len(MODES) - index) * (button.x + theme.px(0.5)), corner.y)
            )
            on = bits == self.bits
            imgui.push_style_color(imgui.Col_.button, u32(theme.active if on else theme.surface))
            imgui.push_style_color(imgui.Col_.text, u32(theme.accent if on else theme.text_faint))
            if imgui.button(f"{bits}##bits", button):
                self.bits = bits
            imgui.pop_style_color(2)
            imgui.set_item_tooltip(f"Decode as {bits}-bit code")
        imgui.pop_style_var()
        imgui.pop_font()

    def _draw_line(
        self,
        draw_list: imgui.ImDrawList,
        theme: Theme,
        left: float,
        x: float,
        y: float,
        width: float,
        grid: MonoGrid,
        line: Instruction,
        byte_cells: int,
        under: Instruction | None,
        now_s: float,
    ) -> None:
        model = self.model
        selected = line.address <= model.selected < line.end
        if selected:
            draw_list.add_rect_filled((left, y), (left + width, y + grid.row), u32(theme.accent.alpha(0.14)))
            draw_list.add_rect_filled((left, y), (left + 2, y + grid.row), u32(theme.accent))
        elif under is not None and under.address == line.address:
            draw_list.add_rect_filled((left, y), (left + width, y + grid.row), u32(theme.text.alpha(0.05)))
        digits = self._digits()
        bytes_x = x + (digits + 2 + (VIRTUAL_CELLS if self._shows_virtual else 0)) * grid.cell
        text_x = bytes_x + byte_cells * grid.cell
        note = annotate(line, self._names)
        heat = model.heat(line, now_s)
        if heat > 0:
            from_x = bytes_x if byte_cells else text_x
            to_x = text_x + (_operand_column(line) + len(shown_operands(line, note))) * grid.cell
            ground = u32(theme.changed.alpha(0.4 * heat**1.5))
            draw_list.add_rect_filled((from_x - 3, y + 1), (to_x + 3, y + grid.row - 1), ground, 2.0)
        address = f"{line.address:0{digits}x}"
        zeros = min(len(address) - len(address.lstrip("0")), digits - 1)
        faint = u32(theme.text_faint.mix(theme.surface, 0.45))
        if zeros:
            grid.text(draw_list, x, y, faint, address[:zeros])
        grid.text(draw_list, x, y, u32(theme.accent if selected else theme.text_dim), " " * zeros + address[zeros:])
        if self._shows_virtual and note is not None:
            ink = u32(theme.text_faint.mix(theme.text_dim, 0.3))
            grid.text(draw_list, x + (digits + 2) * grid.cell, y, ink, f"{note.vaddr:016x}")
        if byte_cells:
            room = byte_cells // 3
            shown = line.data if len(line.data) <= room else line.data[: room - 1]
            text = shown.hex(" ") + (" …" if len(shown) < len(line.data) else "")
            grid.text(draw_list, bytes_x, y, u32(theme.text_faint), text)
        self._draw_text(draw_list, theme, text_x, y, grid, line, faint, note, left + width)

    def _draw_text(
        self,
        draw_list: imgui.ImDrawList,
        theme: Theme,
        x: float,
        y: float,
        grid: MonoGrid,
        line: Instruction,
        faint: int,
        note: Annotation | None,
        right: float,
    ) -> None:
        if line.kind in ("invalid", "unmapped"):
            grid.text(draw_list, x, y, faint, f"{line.mnemonic:<{MNEMONIC_CELLS}}{line.operands}")
            return
        flow = {"jump": theme.accent, "branch": theme.accent, "call": theme.ansi[5], "return": theme.ansi[5]}
        grid.text(draw_list, x, y, u32(flow.get(line.kind, theme.text)), line.mnemonic)
        start = x + _operand_column(line) * grid.cell
        operands = shown_operands(line, note)
        end = start + (len(operands) + 2) * grid.cell
        colours = (theme.text.mix(theme.text_dim, 0.35), theme.ansi[2], theme.text_faint, theme.text_faint)
        if line.target is not None:
            grid.text(draw_list, start, y, u32(flow[line.kind]), operands)
        else:
            for kind, text in operand_runs(operands):
                grid.text(draw_list, start, y, u32(colours[kind]), text)
        if line.refers is not None:
            leads = line.refers if note is None or note.leads is None else note.leads
            grid.text(draw_list, end, y, u32(theme.text_faint), f"→ {leads:#x}")
            end += (len(f"→ {leads:#x}") + 2) * grid.cell
        if note is not None and note.starts:
            at = right - (len(note.starts) + 1) * grid.cell
            draw_list.add_line((x - grid.cell, y), (right - grid.cell, y), u32(theme.border_strong), 1.0)
            if at > end:
                grid.text(draw_list, at, y, u32(theme.text_faint), note.starts)

    def _draw_lanes(
        self,
        draw_list: imgui.ImDrawList,
        theme: Theme,
        x: float,
        y: float,
        grid: MonoGrid,
        lines: list[Instruction],
        under: Instruction | None,
    ) -> None:
        """Draw the jumps between visible lines in the gutter."""
        step = theme.px(1.5)
        right = x - theme.unit
        for lane in jump_lanes(lines):
            source = lines[lane.source]
            strong = source.address <= self.model.selected < source.end or (under is not None and under == source)
            colour = u32(theme.accent if strong else theme.border_strong)
            at = right - (lane.lane + 1) * step
            from_y = y + (lane.source + 0.5) * grid.row
            to_y = y + (lane.target + 0.5) * grid.row
            from_y, to_y = float(round(from_y)) + 0.5, float(round(to_y)) + 0.5
            for x0, y0, x1, y1 in ((right, from_y, at, from_y), (at, from_y, at, to_y), (at, to_y, right, to_y)):
                draw_list.add_line((x0, y0), (x1, y1), colour, 1.0)
            draw_list.add_triangle_filled((right + 1, to_y), (right - 4, to_y - 3), (right - 4, to_y + 3), colour)

    def _explain(self, theme: Theme, line: Instruction) -> None:
        """Say of the instruction under the pointer where it runs and where it leads, with names and numbers."""
        note = annotate(line, self._names)
        if note is None or self._names is None or imgui.get_io().mouse_down[0]:
            return
        if not imgui.is_item_hovered(imgui.HoveredFlags_.for_tooltip) or not imgui.begin_tooltip():
            return
        rows = [("Runs at", note.vaddr, self._names.name(note.vaddr))]
        if note.leads is not None:
            rows.append(("Leads to", note.leads, note.name))
        for title, vaddr, name in rows:
            imgui.push_style_color(imgui.Col_.text, u32(theme.text_dim))
            imgui.text_unformatted(title)
            imgui.pop_style_color()
            imgui.same_line(theme.px(20))
            imgui.push_font(theme.mono_font, theme.mono_size * 0.9)
            imgui.text_unformatted(f"{vaddr:#x}  {name}".rstrip())
            imgui.pop_font()
        imgui.end_tooltip()

    # Mouse, menu and keys.

    def _mouse(self, under: Instruction | None) -> DisassemblyEvent | None:
        if under is None or under.kind == "unmapped":
            return None
        if imgui.is_mouse_double_clicked(0):
            return self._go(under)
        if imgui.is_mouse_clicked(0) or imgui.is_mouse_released(1):
            if imgui.is_mouse_released(1):
                self._menu_instruction = under
                imgui.open_popup("##instruction-menu")
            return self._select(under)
        if under.target is not None or under.refers is not None:
            imgui.set_mouse_cursor(imgui.MouseCursor_.hand)
        return None

    def _select(self, line: Instruction) -> DisassemblyEvent:
        self.model.select(line)
        self._followed.emit(line.address)
        return DisassemblyEvent("select", line.address, max(len(line.data), 1))

    def _go(self, line: Instruction) -> DisassemblyEvent:
        leads = line.target if line.target is not None else line.refers
        note = annotate(line, self._names)
        return DisassemblyEvent("go", line.address if leads is None else leads, 1, None if note is None else note.leads)

    def _menu(self) -> None:
        if not imgui.begin_popup("##instruction-menu"):
            return
        line = self._menu_instruction
        if line is not None:
            leads = line.target if line.target is not None else line.refers
            items = [
                ("Copy address", format_address(line.address)),
                ("Copy instruction", line.text),
                ("Copy bytes", line.data.hex(" ")),
            ]
            note = annotate(line, self._names)
            if note is not None:
                items.append((f"Copy virtual address {note.vaddr:#x}", format_address(note.vaddr)))
                leads = note.leads
            if leads is not None:
                items.append((f"Copy {leads:#x}", format_address(leads)))
            for label, text in items:
                if imgui.menu_item(label, "", False)[0]:
                    imgui.set_clipboard_text(text)
            entries = () if self._entries is None else self._entries(line.address)
            if entries:
                imgui.separator()
            for entry in entries:
                if imgui.menu_item(entry.label, "", False, not entry.why_not)[0]:
                    entry.run()
                if entry.why_not:
                    imgui.set_item_tooltip(entry.why_not)
        imgui.end_popup()

    def _keyboard(self, source: ByteSource) -> DisassemblyEvent | None:
        model = self.model
        page = max(model.rows - 1, 1)
        for key, step in (
            (imgui.Key.up_arrow, -1),
            (imgui.Key.down_arrow, 1),
            (imgui.Key.page_up, -page),
            (imgui.Key.page_down, page),
        ):
            if imgui.is_key_pressed(key):
                line = model.step(source, step)
                return None if line is None else self._select(line)
        current = model.current()
        if current is not None and imgui.is_key_pressed(imgui.Key.enter, False):
            return self._go(current)
        if current is not None and imgui.get_io().key_ctrl and imgui.is_key_pressed(imgui.Key.c, False):
            imgui.set_clipboard_text(f"{format_address(current.address)}  {current.text}")
        return None
