"""The hex view: bytes of a large, living address space in rows, with what changed glowing and fading."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from imgui_bundle import imgui

from app.output import format_byte_count
from app.theme import Rgba, Theme, u32
from app.widgets.byte_source import DEFAULT_UNMAPPED, ByteSource, ReadBytes
from app.widgets.byte_values import COPY_FORMS, MAX_COPY_BYTES, copy_text, interpretations
from app.widgets.follow import FollowedAddress
from app.widgets.format import address_digits, format_address
from app.widgets.hex_model import ChangeTracker, HexModel
from app.widgets.mono import MonoGrid, mono_grid
from app.widgets.presence import Presence
from app.widgets.row_scroll import RowScrollbar, scrollbar_width

WHEEL_ROWS = 3
GROUP = 8  # bytes between wider gaps
_HEX = tuple(f"{byte:02x}" for byte in range(256))
_GLYPH = tuple(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in range(256))
# The kinds of byte that are coloured apart: 0 zero, 1 printable, 2 other below 0x80, 3 from 0x80 on.
_KIND = tuple(0 if b == 0 else 1 if 0x20 <= b < 0x7F else 2 if b < 0x80 else 3 for b in range(256))


@dataclass(frozen=True, slots=True)
class HexEvent:
    """What the user did: `select` bytes, or `go` to an address (double click, Enter)."""

    kind: Literal["select", "go"]
    address: int
    length: int = 1


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where columns lie, in cells."""

    digits: int
    row_bytes: int

    @property
    def hex_start(self) -> int:
        return self.digits + 2

    def hex_column(self, index: int) -> int:
        return self.hex_start + index * 3 + index // GROUP

    @property
    def text_start(self) -> int:
        return self.hex_column(self.row_bytes - 1) + 4

    @property
    def columns(self) -> int:
        return self.text_start + self.row_bytes

    def byte_at(self, column: float) -> int | None:
        """Return the index of the byte drawn at a cell column, in either half."""
        if self.text_start <= column < self.columns:
            return int(column) - self.text_start
        for index in range(self.row_bytes):
            start = self.hex_column(index)
            if start - 0.5 <= column < start + 2.5 + (index % GROUP == GROUP - 1):
                return index
        return None

    def nearest(self, column: float) -> int:
        """Return the byte nearest to a cell column, for drags that leave the text."""
        if column >= self.text_start - 1:
            return min(max(int(column) - self.text_start, 0), self.row_bytes - 1)
        return min(range(self.row_bytes), key=lambda index: abs(self.hex_column(index) + 1 - column))


def fitting_layout(columns: int, digits: int) -> _Layout:
    """Return the layout with the most bytes a row (8, 16, 32) that fits into `columns` cells; 8 always "fits"."""
    layouts = [_Layout(digits, row_bytes) for row_bytes in (32, 16, 8)]
    return next((layout for layout in layouts if layout.columns <= columns), layouts[-1])


@lru_cache(maxsize=8192)
def _row_texts(data: bytes, layout: _Layout) -> tuple[tuple[int, str], ...]:
    """Return (kind, text) for each kind of byte in a row: hex and characters at their columns, blanks elsewhere.

    One text a kind, each from the row's left edge, keeps a row at five draw calls whatever it holds.
    """
    texts: list[tuple[int, str]] = []
    for kind in sorted({_KIND[byte] for byte in data}):
        cells = [" "] * layout.columns
        for index, byte in enumerate(data):
            if _KIND[byte] == kind:
                column = layout.hex_column(index)
                cells[column : column + 2] = _HEX[byte]
                cells[layout.text_start + index] = _GLYPH[byte]
        texts.append((kind, "".join(cells).rstrip()))
    return tuple(texts)


@lru_cache(maxsize=64)
def _unmapped_text(count: int, layout: _Layout) -> str:
    cells = [" "] * layout.columns
    for index in range(count):
        column = layout.hex_column(index)
        cells[column : column + 2] = "··"
        cells[layout.text_start + index] = "·"
    return "".join(cells).rstrip()


class HexView:
    """A hex view; `unmapped` are the errors by which `read` says that there is no memory."""

    def __init__(self, unmapped: tuple[type[Exception], ...] = DEFAULT_UNMAPPED) -> None:
        self._unmapped = unmapped
        self.model = HexModel()
        self._presence = Presence()
        self._focused = False
        self._tracker = ChangeTracker()
        self._scrollbar = RowScrollbar()
        self._followed = FollowedAddress()
        self._layout = _Layout(8, 16)
        self._dragging = False
        self._wheel = 0.0
        self._menu_bytes: bytes | None = None

    @property
    def animating(self) -> bool:
        """Whether changed bytes on the screen still fade, so that another frame is wanted soon."""
        return self._tracker.animating and self._presence.here

    def draw(
        self,
        theme: Theme,
        read: ReadBytes,
        *,
        base: int,
        size_bytes: int,
        selected: int | None = None,
        size: tuple[float, float] | None = None,
    ) -> HexEvent | None:
        """Draw the bytes of [base, base + size_bytes) into the current window; return what the user did.

        When `selected` is another address than in the frame before, the view goes there.
        """
        source = ByteSource(read, self._unmapped)
        available = imgui.get_content_region_avail()
        width, height = size or (available.x, available.y)
        flags = (
            imgui.WindowFlags_.no_scrollbar
            | imgui.WindowFlags_.no_scroll_with_mouse
            | imgui.WindowFlags_.no_nav
            | imgui.WindowFlags_.no_move
        )
        imgui.push_style_var(imgui.StyleVar_.window_padding, imgui.ImVec2(0, 0))
        shown = imgui.begin_child("##hex", imgui.ImVec2(max(width, 1), max(height, 1)), 0, flags)
        imgui.pop_style_var()
        self._presence.mark()
        self._focused = imgui.is_window_focused()
        event = None
        if shown:
            event = self._draw_inside(theme, source, base, base + size_bytes, selected, width, height)
        imgui.end_child()
        return event

    def _draw_inside(
        self,
        theme: Theme,
        source: ByteSource,
        base: int,
        end: int,
        selected: int | None,
        width: float,
        height: float,
    ) -> HexEvent | None:
        model = self.model
        grid = mono_grid(theme, row_units=5)
        pad = theme.px(2)
        bar = scrollbar_width(theme)
        corner = imgui.get_cursor_screen_pos()
        x, header_y = corner.x + pad, corner.y
        y = header_y + grid.row + theme.unit
        rows_height = max(height - (y - corner.y), grid.row)

        layout = fitting_layout(int((width - pad - bar) / grid.cell), address_digits(end))
        if layout != self._layout:
            self._tracker.clear()
            self._layout = layout
        model.set_range(base, end)
        model.set_layout(layout.row_bytes, int(rows_height / grid.row))
        if (news := self._followed.news(selected)) is not None:
            model.reveal(news)

        model.scroll_to(
            self._scrollbar.draw(
                theme,
                imgui.ImVec2(corner.x + width - bar, y),
                rows_height,
                model.total_rows,
                model.visible_rows,
                model.top_row,
            )
        )
        imgui.set_cursor_screen_pos(imgui.ImVec2(corner.x, y))
        imgui.invisible_button(
            "##bytes",
            imgui.ImVec2(max(width - bar, 1), rows_height),
            imgui.ButtonFlags_.mouse_button_left | imgui.ButtonFlags_.mouse_button_right,
        )
        hovered = imgui.is_item_hovered()
        event = self._mouse(hovered, imgui.is_item_active(), x, y, grid)
        if self._focused and not imgui.is_popup_open("##hex-menu"):
            event = self._keyboard(source) or event

        now_s = imgui.get_time()
        top = model.address_of_row(model.top_row)
        # One row more than fits is drawn in part; the first row may begin before `base`.
        rows = source.rows(top, layout.row_bytes, model.visible_rows + 1, end) if end > base else []
        mapped = {top + i * layout.row_bytes: row for i, row in enumerate(rows) if row is not None}
        self._tracker.observe(mapped, now_s)

        hover = self._byte_under_mouse(x, y, grid) if hovered else None
        draw_list = imgui.get_window_draw_list()
        draw_list.push_clip_rect(corner, imgui.ImVec2(corner.x + width, corner.y + height), True)
        self._draw_header(draw_list, theme, x, header_y, width - bar, grid, hover)
        for index, data in enumerate(rows):
            address = top + index * layout.row_bytes
            self._draw_row(draw_list, theme, x, y + index * grid.row, grid, address, data, end, hover, now_s)
        draw_list.pop_clip_rect()
        if hover is not None and not self._dragging and not imgui.is_popup_open("##hex-menu"):
            self._tooltip(theme, source, hover, end)
        self._menu(source)
        return event

    # Drawing.

    def _kind_colours(self, theme: Theme) -> tuple[int, int, int, int]:
        return (
            u32(theme.text_faint.mix(theme.surface, 0.45)),
            u32(theme.text),
            u32(theme.text_dim),
            u32(theme.text_dim.mix(theme.accent, 0.45)),
        )

    def _draw_header(
        self,
        draw_list: imgui.ImDrawList,
        theme: Theme,
        x: float,
        y: float,
        width: float,
        grid: MonoGrid,
        hover: int | None,
    ) -> None:
        layout = self._layout
        grid.text(draw_list, x, y, u32(theme.text_faint), "address")
        lit = None if hover is None else hover % layout.row_bytes
        cursor = self.model.cursor % layout.row_bytes
        for index in range(layout.row_bytes):
            colour = theme.text if index == lit else theme.accent if index == cursor else theme.text_faint
            grid.text(draw_list, x + layout.hex_column(index) * grid.cell, y, u32(colour), f"{index:02x}")
        if layout.row_bytes >= 8:
            grid.text(draw_list, x + layout.text_start * grid.cell, y, u32(theme.text_faint), "text")
        line_y = y + grid.row + theme.px(0.5)
        draw_list.add_rect_filled((x - theme.px(2), line_y), (x - theme.px(2) + width, line_y + 1), u32(theme.border))

    def _draw_row(
        self,
        draw_list: imgui.ImDrawList,
        theme: Theme,
        x: float,
        y: float,
        grid: MonoGrid,
        address: int,
        data: bytes | None,
        end: int,
        hover: int | None,
        now_s: float,
    ) -> None:
        layout = self._layout
        last = min(address + layout.row_bytes, end) - 1
        self._draw_grounds(draw_list, theme, x, y, grid, address, last, hover, now_s)
        digits = f"{address:0{layout.digits}x}"
        zeros = min(len(digits) - len(digits.lstrip("0")), layout.digits - 1)
        cursor_row = address <= self.model.cursor <= last
        lit = cursor_row or (hover is not None and address <= hover <= last)
        if zeros:
            grid.text(draw_list, x, y, u32(theme.text_faint.mix(theme.surface, 0.5)), digits[:zeros])
        colour = theme.accent if cursor_row else theme.text if lit else theme.text_dim
        grid.text(draw_list, x, y, u32(colour), " " * zeros + digits[zeros:])
        if data is None:
            faint = u32(theme.text_faint.mix(theme.surface, 0.5))
            grid.text(draw_list, x, y, faint, _unmapped_text(last - address + 1, layout))
            return
        colours = self._kind_colours(theme)
        for kind, text in _row_texts(data, layout):
            grid.text(draw_list, x, y, colours[kind], text)

    def _draw_grounds(
        self,
        draw_list: imgui.ImDrawList,
        theme: Theme,
        x: float,
        y: float,
        grid: MonoGrid,
        address: int,
        last: int,
        hover: int | None,
        now_s: float,
    ) -> None:
        """Draw what lies under a row's text: selection, changes, the byte under the pointer, the cursor."""
        start, length = self.model.selection
        if length > 1 and start <= last and start + length > address:
            first, final = max(start, address) - address, min(start + length - 1, last) - address
            self._span(draw_list, x, y, grid, first, final, theme.accent.alpha(0.24))
        heat = self._tracker.heat(address, now_s)
        if heat is not None:
            index = 0
            while index < len(heat):
                stop = index
                while stop + 1 < len(heat) and heat[stop + 1] == heat[index]:
                    stop += 1
                if heat[index] > 0:
                    self._span(
                        draw_list, x, y, grid, index, stop, theme.changed.alpha(0.55 * float(heat[index]) ** 1.5)
                    )
                index = stop + 1
        if hover is not None and address <= hover <= last:
            self._span(draw_list, x, y, grid, hover - address, hover - address, theme.text.alpha(0.12))
        if address <= self.model.cursor <= last:
            index = self.model.cursor - address
            colour = theme.accent if self._focused else theme.accent.alpha(0.55)
            for x0, x1 in self._boxes(x, grid, index, index):
                draw_list.add_rect((x0 + 0.5, y + 1.5), (x1 - 0.5, y + grid.row - 1.5), u32(colour), 2.0)

    def _boxes(
        self, x: float, grid: MonoGrid, first: int, last: int
    ) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return the horizontal extents of bytes first..last, as hex and as text."""
        layout, cell = self._layout, grid.cell
        margin = min(3.0, cell / 2)
        return (
            (x + layout.hex_column(first) * cell - margin, x + (layout.hex_column(last) + 2) * cell + margin),
            (x + (layout.text_start + first) * cell - 0.5, x + (layout.text_start + last + 1) * cell + 0.5),
        )

    def _span(
        self, draw_list: imgui.ImDrawList, x: float, y: float, grid: MonoGrid, first: int, last: int, colour: Rgba
    ) -> None:
        packed = u32(colour)
        for x0, x1 in self._boxes(x, grid, first, last):
            draw_list.add_rect_filled((x0, y + 1), (x1, y + grid.row - 1), packed, 2.0)

    def _tooltip(self, theme: Theme, source: ByteSource, address: int, end: int) -> None:
        available = min(8, end - address)
        data = next((d for n in (available, 4, 2, 1) if n <= available and (d := source.piece(address, n))), None)
        if not imgui.begin_item_tooltip():
            return
        imgui.push_font(theme.mono_font, theme.mono_size)
        imgui.push_style_var(imgui.StyleVar_.item_spacing, imgui.ImVec2(0, theme.px(0.5)))
        imgui.text_colored(theme.accent, format_address(address, self._layout.digits))
        if data is None:
            imgui.text_colored(theme.text_dim, "No memory is mapped here")
        else:
            for kind, value in interpretations(data):
                imgui.text_colored(theme.text_faint, f"{kind:<8}")
                imgui.same_line(0, 0)
                imgui.text_colored(theme.text, value)
        imgui.pop_style_var()
        imgui.pop_font()
        imgui.end_tooltip()

    # Mouse, menu and keys.

    def _byte_under_mouse(self, x: float, y: float, grid: MonoGrid) -> int | None:
        mouse = imgui.get_io().mouse_pos
        index = self._layout.byte_at((mouse.x - x) / grid.cell)
        row = int((mouse.y - y) // grid.row)
        if index is None or row < 0:
            return None
        address = self.model.address_of_row(self.model.top_row + row) + index
        return address if self.model.base <= address < self.model.end else None

    def _mouse(self, hovered: bool, active: bool, x: float, y: float, grid: MonoGrid) -> HexEvent | None:
        io, model = imgui.get_io(), self.model
        if hovered and io.mouse_wheel:
            self._wheel -= io.mouse_wheel * WHEEL_ROWS
            rows = int(self._wheel)
            self._wheel -= rows
            model.scroll_to(model.top_row + rows)
        under = self._byte_under_mouse(x, y, grid) if hovered else None
        if under is not None and imgui.is_mouse_double_clicked(0):
            self._dragging = False
            return HexEvent("go", under)
        if under is not None and imgui.is_mouse_clicked(0):
            model.move_to(under, extend=io.key_shift)
            self._dragging = True
        elif self._dragging and active:
            row = int((io.mouse_pos.y - y) // grid.row)
            index = self._layout.nearest((io.mouse_pos.x - x) / grid.cell)
            target = model.address_of_row(model.top_row + row) + index
            if target != model.cursor and imgui.is_mouse_dragging(0, 2.0):
                model.move_to(target, extend=True)
        elif self._dragging:
            self._dragging = False
            return self._selected()
        if under is not None and imgui.is_mouse_released(1):
            start, length = model.selection
            event = None
            if not start <= under < start + length:
                model.move_to(under)
                event = self._selected()
            self._menu_bytes = None
            imgui.open_popup("##hex-menu")
            return event
        return None

    def _selected(self) -> HexEvent:
        start, length = self.model.selection
        self._followed.emit(start)
        return HexEvent("select", start, length)

    def _selected_bytes(self, source: ByteSource) -> bytes | None:
        """Return the selected bytes, or None when they are too many or not all mapped."""
        start, length = self.model.selection
        if length > MAX_COPY_BYTES:
            return None
        rows = source.rows(start, 4096, -(-length // 4096), start + length)
        return None if any(row is None for row in rows) else b"".join(row for row in rows if row is not None)

    def _menu(self, source: ByteSource) -> None:
        if not imgui.begin_popup("##hex-menu"):
            return
        start, length = self.model.selection
        if imgui.menu_item("Copy address", "", False)[0]:
            imgui.set_clipboard_text(format_address(start, self._layout.digits))
        if imgui.is_window_appearing():
            self._menu_bytes = self._selected_bytes(source)
        data = self._menu_bytes
        for form in COPY_FORMS:
            shortcut = "Ctrl+C" if form == "hex" else ""
            if (
                imgui.menu_item(f"Copy {format_byte_count(length)} as {form}", shortcut, False, data is not None)[0]
                and data
            ):
                imgui.set_clipboard_text(copy_text(data, form))
        if data is None:
            why = f"more than {format_byte_count(MAX_COPY_BYTES)}" if length > MAX_COPY_BYTES else "partly not mapped"
            imgui.text_disabled(f"The selection is {why}")
        imgui.end_popup()

    def _keyboard(self, source: ByteSource) -> HexEvent | None:
        io, model = imgui.get_io(), self.model
        before = (model.anchor, model.cursor)
        shift, row = io.key_shift, model.row_bytes
        if io.key_ctrl:
            if imgui.is_key_pressed(imgui.Key.c, False) and (data := self._selected_bytes(source)):
                imgui.set_clipboard_text(copy_text(data, "hex"))
            for key, target in ((imgui.Key.home, model.base), (imgui.Key.end, model.end - 1)):
                if imgui.is_key_pressed(key):
                    model.move_to(target, extend=shift)
        else:
            page = max(model.visible_rows - 1, 1) * row
            for key, step in (
                (imgui.Key.left_arrow, -1),
                (imgui.Key.right_arrow, 1),
                (imgui.Key.up_arrow, -row),
                (imgui.Key.down_arrow, row),
                (imgui.Key.page_up, -page),
                (imgui.Key.page_down, page),
                (imgui.Key.home, -(model.cursor % row)),
                (imgui.Key.end, row - 1 - model.cursor % row),
            ):
                if imgui.is_key_pressed(key):
                    model.move_by(step, extend=shift)
            if imgui.is_key_pressed(imgui.Key.enter, False):
                return HexEvent("go", model.cursor)
        return self._selected() if (model.anchor, model.cursor) != before else None
