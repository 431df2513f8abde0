"""The terminal widget: a guest's serial console with scroll-back, selection, keyboard and mouse, drawn in a theme."""

from __future__ import annotations

import time
from collections.abc import Callable

from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app.theme import Theme, u32
from app.widgets.mono import MonoGrid, mono_grid
from app.widgets.presence import Presence
from app.widgets.row_scroll import RowScrollbar, scrollbar_width
from app.widgets.terminal_cells import DIM, ITALIC, Style
from app.widgets.terminal_keys import (
    SPECIAL_KEYS,
    TYPED_KEYS,
    encode_mouse,
    encode_paste,
    encode_special,
    encode_text,
    encode_typed,
)
from app.widgets.terminal_palette import TerminalPalette
from app.widgets.terminal_rows import draw_line
from app.widgets.terminal_screen import TerminalScreen
from app.widgets.terminal_selection import BY_CHARACTER, BY_LINE, Selection

FEED_BYTES = 4_096  # a piece; the clock is read between pieces
FEED_BUDGET_S = 0.004  # a quarter of a frame
BACKLOG_BYTES = 1 << 20  # more waiting than this: the guest prints faster than it can be shown
KEPT_BYTES = 64 * 1024  # of such a backlog; some screens full
BLINK_S = 0.53  # half a period, as desktops have it
BLINK_FOR_S = 10.0  # a cursor that nobody uses comes to rest
RESIZE_AFTER_S = 0.12  # a panel's edge being dragged does not wrap 5,000 lines in every frame
BELL_S = 0.2
WHEEL_ROWS = 3
OWNED_KEYS = (*SPECIAL_KEYS, imgui.Key.space, imgui.Key.mod_alt, imgui.Key.left_alt, imgui.Key.right_alt)


class TerminalWidget:
    """A terminal over two callables.

    `read_since(position)` returns (new position, bytes since the old one that are still kept), quickly; `write(data)`
    sends what is typed. Neither may raise.
    """

    def __init__(
        self,
        read_since: Callable[[int], tuple[int, bytes]],
        write: Callable[[bytes], None],
        columns: int = 80,
        rows: int = 24,
    ) -> None:
        self._read_since, self._write = read_since, write
        self.screen = TerminalScreen(columns, rows)
        self._presence = Presence()
        self._focused = False
        self._wait_s: float | None = None
        self.skipped_bytes = 0
        self._position = 0
        self._pending = memoryview(b"")
        self._palette: TerminalPalette | None = None
        self._scrollbar = RowScrollbar()
        self._top: int | None = None  # first line shown while scrolled back; None: follow the end
        self._selection: Selection | None = None
        self._selecting = False
        self._focus_next = False
        self._was_focused = False
        self._last_input_s = 0.0
        self._bells_seen = 0
        self._bell_s = -BELL_S
        self._wanted_size = (columns, rows)
        self._wanted_since_s = 0.0
        self._sized = False
        self._mouse_cell = (-1, -1)
        self._wheel = 0.0

    # What a panel may ask for.

    @property
    def wants_keyboard(self) -> bool:
        """Whether typing belongs to the guest: then no shortcut of the program may fire."""
        return self._focused and self._presence.here

    @property
    def next_redraw_s(self) -> float | None:
        """In how many seconds after the last frame another is wanted although nothing happens; None: never."""
        return self._wait_s if self._presence.here else None

    @property
    def title(self) -> str:
        """The title that the guest set; printable, short, and not to be trusted."""
        return self.screen.title

    def focus(self) -> None:
        """Take the keyboard at the next `draw`."""
        self._focus_next = True

    def selected_text(self) -> str:
        return "" if self._selection is None or self._selection.empty else self._selection.text(self.screen)

    def copy(self) -> None:
        """Put the selected text on the clipboard."""
        if text := self.selected_text():
            imgui.set_clipboard_text(text)

    def paste(self) -> None:
        """Send the clipboard's text."""
        text = imgui.get_clipboard_text()
        if text:
            self._send(encode_paste(text, bracketed=self.screen.modes.bracketed_paste))

    def tell_size(self) -> None:
        """Type the command that tells the guest's shell how large this terminal is: a serial line cannot say it."""
        self._send(f"stty rows {self.screen.rows} cols {self.screen.columns}\r".encode())

    def pump(self, budget_s: float = FEED_BUDGET_S) -> bool:
        """Take what the guest printed, for at most about `budget_s`; say whether more is waiting."""
        position, fresh = self._read_since(self._position)
        lost = position - self._position - len(fresh) if self._position else 0
        self._position = position
        if fresh:
            if lost > 0:
                self._skip(lost + len(self._pending))
                self._pending = memoryview(fresh)
            else:
                self._pending = memoryview(bytes(self._pending) + fresh) if self._pending else memoryview(fresh)
            if len(self._pending) > BACKLOG_BYTES:
                self._skip(len(self._pending) - KEPT_BYTES)
                self._pending = self._pending[-KEPT_BYTES:]
        until_s = time.perf_counter() + budget_s
        while self._pending:
            self.screen.feed(bytes(self._pending[:FEED_BYTES]))
            self._pending = self._pending[FEED_BYTES:]
            if time.perf_counter() >= until_s:
                break
        if replies := self.screen.take_replies():
            self._write(replies)
        return bool(self._pending)

    def _skip(self, count: int) -> None:
        self.skipped_bytes += count
        self.screen.note(f"… {count:,} bytes skipped: printed faster than can be shown", Style(flags=DIM | ITALIC))

    def _send(self, data: bytes) -> None:
        if data:
            self._write(data)
            self._top = None
            self._last_input_s = imgui.get_time()

    # Drawing.

    def draw(self, theme: Theme, size: tuple[float, float] | None = None) -> None:
        """Draw the terminal into the current window, in `size` or in what is left of it."""
        more = self.pump()
        available = imgui.get_content_region_avail()
        width, height = size or (available.x, available.y)
        if self._palette is None or self._palette.key != (theme.name, theme.scale, self.screen.modes.reverse_screen):
            self._palette = TerminalPalette(theme, reverse_screen=self.screen.modes.reverse_screen)
        grid = mono_grid(theme, row_units=4.5)
        flags = (
            imgui.WindowFlags_.no_scrollbar
            | imgui.WindowFlags_.no_scroll_with_mouse
            | imgui.WindowFlags_.no_nav
            | imgui.WindowFlags_.no_move
        )
        if self._focus_next:
            imgui.set_next_window_focus()
        self._focus_next = False
        imgui.push_style_var(imgui.StyleVar_.window_padding, imgui.ImVec2(0, 0))
        shown = imgui.begin_child("##terminal", imgui.ImVec2(max(width, 1), max(height, 1)), 0, flags)
        imgui.pop_style_var()
        self._presence.mark()
        self._focused = imgui.is_window_focused()
        if shown:
            self._draw_inside(theme, grid, width, height)
        imgui.end_child()
        self._wait_s = 0.0 if more else self._next_wait_s()

    def _draw_inside(self, theme: Theme, grid: MonoGrid, width: float, height: float) -> None:
        corner = imgui.get_cursor_screen_pos()
        pad = theme.px(1)
        x, y = corner.x + pad, corner.y + pad
        bar = scrollbar_width(theme)
        self._fit(int((width - 2 * pad - bar) / grid.cell), int((height - 2 * pad) / grid.row))
        screen = self.screen

        first, last_first = screen.first_line, screen.screen_line
        top = last_first if self._top is None else min(max(self._top, first), last_first)
        top = first + self._scrollbar.draw(
            theme,
            imgui.ImVec2(corner.x + width - bar, y),
            height - 2 * pad,
            screen.end_line - first,
            screen.rows,
            top - first,
        )
        imgui.set_cursor_screen_pos(corner)
        imgui.set_next_item_allow_overlap()
        imgui.invisible_button(
            "##cells",
            imgui.ImVec2(max(width - bar, 1), max(height, 1)),
            imgui.ButtonFlags_.mouse_button_left
            | imgui.ButtonFlags_.mouse_button_right
            | imgui.ButtonFlags_.mouse_button_middle,
        )
        hovered, active = imgui.is_item_hovered(), imgui.is_item_active()
        if hovered:
            imgui.set_mouse_cursor(imgui.MouseCursor_.text_input)
        self._top = None if top >= last_first else top
        self._mouse(hovered, active, x, y, grid)
        if self.wants_keyboard and not imgui.is_popup_open("##terminal-menu"):
            self._keyboard()
        self._report_focus()
        top = last_first if self._top is None else min(max(self._top, first), last_first)

        draw_list = imgui.get_window_draw_list()
        draw_list.push_clip_rect(corner, imgui.ImVec2(corner.x + width, corner.y + height), True)
        assert self._palette is not None
        if screen.modes.reverse_screen:
            draw_list.add_rect_filled(corner, imgui.ImVec2(corner.x + width, corner.y + height), self._palette.ground)
        selected_colour = u32(theme.accent.alpha(0.32))
        for row in range(screen.rows):
            line = screen.line(top + row)
            if line is not None:
                selected = self._selected_on(top + row, selected_colour)
                draw_line(draw_list, line, x, y + row * grid.row, grid, self._palette, selected)
        self._draw_cursor(draw_list, theme, top, x, y, grid)
        self._draw_bell(draw_list, theme, corner, width, height)
        draw_list.pop_clip_rect()
        if self._top is not None:
            self._draw_jump(theme, corner, width, height, last_first - top)
        self._menu()

    def _fit(self, columns: int, rows: int) -> None:
        """Follow the panel's size once it rests."""
        if columns < 2 or rows < 1:
            return
        now_s = imgui.get_time()
        if (columns, rows) != self._wanted_size:
            self._wanted_size, self._wanted_since_s = (columns, rows), now_s
        if (columns, rows) == (self.screen.columns, self.screen.rows):
            self._sized = True
        elif not self._sized or now_s - self._wanted_since_s >= RESIZE_AFTER_S:
            self.screen.resize(columns, rows)
            self._selection, self._top, self._sized = None, None, True

    def _selected_on(self, number: int, colour: int) -> tuple[int, int, int] | None:
        if self._selection is None or self._selection.empty:
            return None
        columns = self._selection.columns_on(number, self.screen)
        return None if columns is None else (*columns, colour)

    def _draw_cursor(
        self, draw_list: imgui.ImDrawList, theme: Theme, top: int, x: float, y: float, grid: MonoGrid
    ) -> None:
        screen = self.screen
        row = screen.screen_line + screen.y - top
        if not screen.modes.cursor_visible or row >= screen.rows:
            return
        line = screen.lines[screen.y]
        column = screen.cursor_column
        if column and line.cells[column] == "":
            column -= 1
        wide = line.cells[column + 1 : column + 2] == [""]
        left, above = x + column * grid.cell, y + row * grid.row
        right, below = left + grid.cell * (2 if wide else 1), above + grid.row
        colour = u32(theme.accent)
        if not self.wants_keyboard:
            draw_list.add_rect((left + 0.5, above + 0.5), (right - 0.5, below - 0.5), u32(theme.text_faint))
        elif self._blink_on():
            if screen.cursor_shape in (3, 4):
                draw_list.add_rect_filled((left, below - 2), (right, below), colour)
            elif screen.cursor_shape in (5, 6):
                draw_list.add_rect_filled((left, above), (left + 2, below), colour)
            else:
                draw_list.add_rect_filled((left, above), (right, below), colour)
                if not line.cells[column].isspace():
                    grid.text(draw_list, left, above, u32(theme.accent_text), line.cells[column])

    def _blink_phase_s(self) -> float | None:
        """Return the seconds since the last use of a blinking cursor; None when it rests."""
        since_s = imgui.get_time() - self._last_input_s
        steady = self.screen.cursor_shape in (2, 4, 6)
        return None if steady or since_s > BLINK_FOR_S else since_s

    def _blink_on(self) -> bool:
        phase_s = self._blink_phase_s()
        return phase_s is None or int(phase_s / BLINK_S) % 2 == 0

    def _next_wait_s(self) -> float | None:
        waits: list[float] = []
        now_s = imgui.get_time()
        if self.wants_keyboard and self.screen.modes.cursor_visible and (phase_s := self._blink_phase_s()) is not None:
            waits.append(BLINK_S - phase_s % BLINK_S + 1e-3)  # past the turn, not a hair before it
        if (bell_left_s := self._bell_s + BELL_S - now_s) > 0:
            waits.append(min(bell_left_s, 1 / 60))
        if self._wanted_size != (self.screen.columns, self.screen.rows):
            waits.append(max(self._wanted_since_s + RESIZE_AFTER_S - now_s, 0.0))
        return min(waits, default=None)

    def _draw_bell(
        self, draw_list: imgui.ImDrawList, theme: Theme, corner: imgui.ImVec2, width: float, height: float
    ) -> None:
        """A bell is seen, not heard: the edge lights up and fades."""
        now_s = imgui.get_time()
        if self.screen.bells != self._bells_seen:
            self._bells_seen, self._bell_s = self.screen.bells, now_s
        left = 1 - (now_s - self._bell_s) / BELL_S
        if left > 0:
            draw_list.add_rect(
                (corner.x + 1, corner.y + 1),
                (corner.x + width - 1, corner.y + height - 1),
                u32(theme.warn.alpha(left)),
                theme.px(1),
            )

    def _draw_jump(self, theme: Theme, corner: imgui.ImVec2, width: float, height: float, lines: int) -> None:
        """While scrolled back, a button leads to the end."""
        label = f"{icons.ICON_FA_ARROW_DOWN}  {lines:,} line{'' if lines == 1 else 's'} below"
        imgui.push_font(theme.ui_font, theme.small_size)
        size = imgui.calc_text_size(label)
        imgui.set_cursor_screen_pos(
            imgui.ImVec2(
                corner.x + width - scrollbar_width(theme) - size.x - theme.px(6),
                corner.y + height - size.y - theme.px(4),
            )
        )
        imgui.push_style_var(imgui.StyleVar_.frame_rounding, theme.px(3))
        imgui.push_style_var(imgui.StyleVar_.frame_padding, imgui.ImVec2(0, 0))
        imgui.push_style_color(imgui.Col_.button, u32(theme.active))
        if imgui.button(label, imgui.ImVec2(size.x + theme.px(5), size.y + theme.px(2))):
            self._top = None
        imgui.pop_style_color()
        imgui.pop_style_var(2)
        imgui.pop_font()

    def _menu(self) -> None:
        if not imgui.begin_popup("##terminal-menu"):
            return
        if self.title:
            imgui.text_disabled(self.title)
            imgui.separator()
        if imgui.menu_item("Copy", "Ctrl+Shift+C", False, bool(self.selected_text()))[0]:
            self.copy()
        if imgui.menu_item("Paste", "Ctrl+Shift+V", False, bool(imgui.get_clipboard_text()))[0]:
            self.paste()
        if imgui.menu_item("Select all", "", False)[0]:
            self._select_all()
        imgui.separator()
        if imgui.menu_item(f"Type “stty rows {self.screen.rows} cols {self.screen.columns}”", "", False)[0]:
            self.tell_size()
        imgui.set_item_tooltip("A serial line cannot tell the guest how large its terminal is; this command does.")
        if imgui.menu_item("Clear scroll-back", "", False, bool(self.screen.scrollback))[0]:
            self.screen.clear_scrollback()
            self._selection, self._top = None, None
        imgui.end_popup()

    def _select_all(self) -> None:
        last = max(self.screen.end_line - 1, 0)
        self._selection = Selection((self.screen.first_line, 0), (last, self.screen.columns - 1), BY_LINE, moved=True)

    # Mouse.

    def _mouse(self, hovered: bool, active: bool, x: float, y: float, grid: MonoGrid) -> None:
        io = imgui.get_io()
        screen = self.screen
        top = screen.screen_line if self._top is None else self._top
        column = (
            min(max(int((io.mouse_pos.x - x) // grid.cell), 0), screen.columns - 1) if imgui.is_mouse_pos_valid() else 0
        )
        row = int((io.mouse_pos.y - y) // grid.row) if imgui.is_mouse_pos_valid() else 0
        reports = bool(screen.modes.mouse) and not io.key_shift and self._top is None
        if hovered and io.mouse_wheel:
            self._wheel_turn(io.mouse_wheel, reports, column, min(max(row, 0), screen.rows - 1))
        if reports and not self._selecting:
            self._report_mouse(hovered or active, column, min(max(row, 0), screen.rows - 1))
            return
        clicks = imgui.get_mouse_clicked_count(0) if hovered else 0
        cell = (min(max(top + row, screen.first_line), screen.end_line - 1), column)
        if clicks:
            if io.key_shift and self._selection is not None and clicks == 1:
                self._selection.extend(cell)
            else:
                self._selection = Selection(cell, cell, (clicks - 1) % 3 + 1)
            self._selecting = True
        elif self._selecting and active and self._selection is not None:
            if row < 0 or row >= screen.rows:  # dragging past an edge scrolls
                self._scroll(row if row < 0 else row - screen.rows + 1)
            self._selection.extend(cell)
        elif self._selecting:
            self._selecting = False
            if self._selection is not None and self._selection.unit == BY_CHARACTER and not self._selection.moved:
                self._selection = None
        if hovered and imgui.is_mouse_clicked(2):
            self.paste()
        if hovered and imgui.is_mouse_released(1):
            imgui.open_popup("##terminal-menu")

    def _scroll(self, lines: int) -> None:
        screen = self.screen
        top = screen.screen_line if self._top is None else self._top
        top = min(max(top + lines, screen.first_line), screen.screen_line)
        self._top = None if top == screen.screen_line else top

    def _wheel_turn(self, notches: float, reports: bool, column: int, row: int) -> None:
        self._wheel += notches * WHEEL_ROWS
        lines = int(self._wheel)
        self._wheel -= lines
        if not lines:
            return
        modes = self.screen.modes
        if reports:
            self._write(encode_mouse(modes, 64 if lines > 0 else 65, column, row, pressed=True))
        elif self.screen.alternate:  # a pager without mouse reports: the wheel is its arrow keys
            key = imgui.Key.up_arrow if lines > 0 else imgui.Key.down_arrow
            self._write(encode_special(key, modes) * min(abs(lines), self.screen.rows))
        else:
            self._scroll(-lines)

    def _report_mouse(self, inside: bool, column: int, row: int) -> None:
        """Tell a program that asked for the mouse what it does."""
        io = imgui.get_io()
        modes = self.screen.modes
        keys = {"ctrl": io.key_ctrl, "alt": io.key_alt}
        if not inside:
            return
        for button, code in ((0, 0), (1, 2), (2, 1)):
            if imgui.is_mouse_clicked(button):
                self._write(encode_mouse(modes, code, column, row, pressed=True, **keys))
            elif imgui.is_mouse_released(button) and modes.mouse != 9:
                self._write(encode_mouse(modes, code, column, row, pressed=False, **keys))
        if (column, row) != self._mouse_cell:
            self._mouse_cell = (column, row)
            held = next((code for button, code in ((0, 0), (1, 2), (2, 1)) if imgui.is_mouse_down(button)), 3)
            if modes.mouse == 1003 or (modes.mouse == 1002 and held != 3):
                self._write(encode_mouse(modes, held, column, row, pressed=True, moved=True, **keys))

    def _report_focus(self) -> None:
        if self.wants_keyboard != self._was_focused:
            self._was_focused = self.wants_keyboard
            self._last_input_s = imgui.get_time()
            if self.screen.modes.focus_reports:
                self._write(b"\x1b[I" if self.wants_keyboard else b"\x1b[O")

    # Keyboard.

    def _keyboard(self) -> None:
        io = imgui.get_io()
        self._own_keys()
        ctrl, shift, alt = io.key_ctrl, io.key_shift, io.key_alt
        if ctrl and shift:
            if imgui.is_key_pressed(imgui.Key.c, False):
                self.copy()
            elif imgui.is_key_pressed(imgui.Key.v, False):
                self.paste()
            return
        if shift and self._shift_keys():
            return
        typed = "".join(map(chr, io.input_queue_characters))
        data = b""
        for key in SPECIAL_KEYS:
            if imgui.is_key_pressed(key):
                data += encode_special(key, self.screen.modes, ctrl=ctrl, shift=shift, alt=alt)
        if ctrl or (alt and not typed):
            for key in TYPED_KEYS:
                if imgui.is_key_pressed(key):
                    data += encode_typed(key, ctrl=ctrl, alt=alt)
        else:
            data += encode_text(typed, alt=alt)
        if data:
            self._selection = None
            self._send(data)

    def _own_keys(self) -> None:
        """Keep ImGui's navigation off the keys: Escape would leave this window, Tab walk on, Alt open a menu.

        An owner set now is the owner when the next frame begins, which is before navigation looks at the keys.
        """
        imgui.set_next_frame_want_capture_keyboard(True)
        owner = imgui.get_id("##cells")
        for key in OWNED_KEYS:
            imgui.internal.set_key_owner(key, owner)

    def _shift_keys(self) -> bool:
        """Shift with a page key scrolls back; Shift+Insert pastes."""
        if imgui.is_key_pressed(imgui.Key.page_up):
            self._scroll(1 - self.screen.rows)
        elif imgui.is_key_pressed(imgui.Key.page_down):
            self._scroll(self.screen.rows - 1)
        elif imgui.is_key_pressed(imgui.Key.home):
            self._scroll(self.screen.first_line - self.screen.end_line)
        elif imgui.is_key_pressed(imgui.Key.end):
            self._top = None
        elif imgui.is_key_pressed(imgui.Key.insert, False):
            self.paste()
        else:
            return False
        return True
