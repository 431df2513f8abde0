"""The state of a terminal: a grid of cells, its scroll-back, cursor and modes, driven by the bytes a guest prints.

It follows what xterm documents ("XTerm Control Sequences") and what Linux's own console does (console_codes(4)) for
the sequences that full-screen programs send. Every count is clipped to the screen, every store has a limit, no input
raises, and the answers to queries are fixed forms that never repeat what the guest sent.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from app.widgets.terminal_cells import PLAIN, Line, Style, char_columns
from app.widgets.terminal_reflow import reflow
from app.widgets.terminal_sgr import apply_sgr
from app.widgets.vt_parser import Parameters, VtParser

SCROLLBACK_LINES = 5_000
SCROLLBACK_SLACK = 512  # trimmed in steps, so that a line costs O(1)
MAX_COLUMNS, MAX_ROWS = 1_000, 500
MAX_REPLY_BYTES = 4_096
MAX_TITLE_CHARS = 256

# DEC special graphics (VT100 user guide, table 3-9): what `ESC ( 0` makes of 0x5f..0x7e.
_GRAPHICS = str.maketrans(
    "_`abcdefghijklmnopqrstuvwxyz{|}~",
    " ◆▒␉␌␍␊°±␤␋┘┐┌└┼⎺⎻─⎼⎽├┤┴┬│≤≥π≠£·",
)
_PRINTABLE_RUNS = re.compile(r"[\x20-\x7e]+|[^\x20-\x7e]")


@dataclass(frozen=True, slots=True)
class Modes:
    """The switches that a program may set (DECSET/SM)."""

    application_cursor: bool = False
    application_keypad: bool = False
    origin: bool = False
    autowrap: bool = True
    insert: bool = False
    newline: bool = False
    reverse_screen: bool = False
    cursor_visible: bool = True
    bracketed_paste: bool = False
    focus_reports: bool = False
    mouse: int = 0  # 0 off, 9 X10, 1000 buttons, 1002 + drag, 1003 + motion
    mouse_sgr: bool = False


_PRIVATE_FLAGS = {
    1: "application_cursor",
    5: "reverse_screen",
    6: "origin",
    7: "autowrap",
    25: "cursor_visible",
    66: "application_keypad",
    1004: "focus_reports",
    1006: "mouse_sgr",
    2004: "bracketed_paste",
}
_ANSI_FLAGS = {4: "insert", 20: "newline"}
_MOUSE_MODES = (9, 1000, 1002, 1003)
_ALTERNATE = (47, 1047, 1049)


@dataclass(frozen=True, slots=True)
class _Saved:
    """What ESC 7 keeps."""

    x: int = 0
    y: int = 0
    style: Style = PLAIN
    charsets: tuple[bool, bool] = (False, False)
    shifted: int = 0
    origin: bool = False


class TerminalScreen:
    """A grid of `rows` x `columns` cells under a scroll-back; lines are numbered since the start, for ever.

    `first_line` is the number of the oldest line kept; `end_line` is one past the last screen row.
    """

    def __init__(self, columns: int = 80, rows: int = 24, *, scrollback_lines: int = SCROLLBACK_LINES) -> None:
        self.columns, self.rows = self._bounded(columns, rows)
        self.scrollback_lines = scrollback_lines
        self.scrollback: list[Line] = []
        self.dropped_lines = 0
        self.bells = 0
        self.title = ""
        self.replies = bytearray()
        self._parser = VtParser(self)
        self._csi = self._csi_table()
        self._escapes = self._escape_table()
        self._reset()

    @staticmethod
    def _bounded(columns: int, rows: int) -> tuple[int, int]:
        return min(max(columns, 2), MAX_COLUMNS), min(max(rows, 1), MAX_ROWS)

    def _reset(self) -> None:
        self.lines = [Line(self.columns) for _ in range(self.rows)]
        self._main_lines: list[Line] | None = None  # kept while the alternate screen shows
        self._main_saved = self._saved = _Saved()
        self.x = self.y = 0  # x == columns: the next character wraps
        self.style = PLAIN
        self.modes = Modes()
        self.cursor_shape = 0  # DECSCUSR: 0-2 block, 3-4 underline, 5-6 bar
        self._charsets = [False, False]  # True: DEC special graphics
        self._shifted = 0
        self._top, self._bottom = 0, self.rows - 1
        self._tabs = set(range(8, MAX_COLUMNS, 8))
        self._last_char = ""

    # What the widget asks for.

    @property
    def first_line(self) -> int:
        return self.dropped_lines

    @property
    def screen_line(self) -> int:
        """The number of the line in the screen's first row."""
        return self.dropped_lines + len(self.scrollback)

    @property
    def end_line(self) -> int:
        return self.screen_line + self.rows

    @property
    def alternate(self) -> bool:
        return self._main_lines is not None

    @property
    def cursor_column(self) -> int:
        return min(self.x, self.columns - 1)

    def line(self, number: int) -> Line | None:
        """Return a line by its number, or None when it is no longer kept or not there yet."""
        index = number - self.dropped_lines
        if index < 0:
            return None
        if index < len(self.scrollback):
            return self.scrollback[index]
        index -= len(self.scrollback)
        return self.lines[index] if index < self.rows else None

    def feed(self, data: bytes) -> None:
        """Take what the guest printed."""
        self._parser.feed(data)

    def note(self, text: str, style: Style) -> None:
        """Write a line of the terminal's own on a row of its own; a half-received sequence is forgotten."""
        self._parser.reset()
        kept, self.style = self.style, style
        graphics, self._charsets = self._charsets, [False, False]
        if self.x:
            self._next_line()
        self.print_text(text[: self.columns])
        self.style, self._charsets = kept, graphics
        self._next_line()

    def take_replies(self) -> bytes:
        """Return and forget the answers to the guest's queries."""
        replies = bytes(self.replies)
        self.replies.clear()
        return replies

    def clear_scrollback(self) -> None:
        self.dropped_lines += len(self.scrollback)
        self.scrollback.clear()

    def resize(self, columns: int, rows: int) -> None:
        """Change the grid; the main screen's text is wrapped anew, the alternate screen is cut or padded."""
        columns, rows = self._bounded(columns, rows)
        if (columns, rows) == (self.columns, self.rows):
            return
        main = self._main_lines if self._main_lines is not None else self.lines
        x, y = (self._main_saved.x, self._main_saved.y) if self.alternate else (self.x, self.y)
        kept, screen, x, y = reflow(self.scrollback, main, x, y, columns, rows)
        # Numbers go on from the old ones, so that no old number means another line.
        self.dropped_lines += len(self.scrollback)
        self.scrollback = kept
        self._trim_scrollback()
        if self.alternate:
            self._main_lines = screen
            self._main_saved = replace(self._main_saved, x=x, y=y)
            del self.lines[rows:]
            self.lines += [Line(columns) for _ in range(rows - len(self.lines))]
            for line in self.lines:
                line.set_columns(columns)
            self.x, self.y = min(self.x, columns - 1), min(self.y, rows - 1)
        else:
            self.lines, self.x, self.y = screen, x, y
        self.columns, self.rows = columns, rows
        self._top, self._bottom = 0, rows - 1

    # VtHandler: text and controls.

    def print_text(self, text: str) -> None:
        if self._charsets[self._shifted]:
            text = text.translate(_GRAPHICS)
        if text.isascii() and not self.modes.insert:
            self._print_narrow(text)
            return
        for run in _PRINTABLE_RUNS.findall(text):
            if run.isascii() and not self.modes.insert:
                self._print_narrow(run)
            else:
                for char in run:
                    self._print_char(char)

    def _print_narrow(self, text: str) -> None:
        """Write printable ASCII, wrapping as the mode says."""
        self._last_char = text[-1]
        position, end = 0, len(text)
        while position < end:
            if self.x >= self.columns:
                if not self.modes.autowrap:  # the last cell takes every further character, so the last one stays
                    self.lines[self.y].write(self.columns - 1, text[-1], self.style)
                    return
                self._wrap()
            count = min(end - position, self.columns - self.x)
            self.lines[self.y].write(self.x, text[position : position + count], self.style)
            self.x += count
            position += count

    def _print_char(self, char: str) -> None:
        width = char_columns(char)
        if width == 0:
            if self.x:
                self.lines[self.y].combine(self.x - 1, char)
            return
        self._last_char = char
        if self.x + width > self.columns:
            if self.modes.autowrap:
                self._wrap()
            else:
                self.x = self.columns - width
        line = self.lines[self.y]
        if self.modes.insert:
            line.insert(self.x, width, self.style)
        if width == 2:
            line.write_wide(self.x, char, self.style)
        else:
            line.write(self.x, char, self.style)
        self.x += width

    def _wrap(self) -> None:
        self.lines[self.y].wrapped = True
        self._next_line()

    def _next_line(self) -> None:
        self.x = 0
        self._index()

    def control(self, char: str) -> None:
        if char == "\n" or char in "\x0b\x0c":
            self._line_feed()
        elif char == "\r":
            self.x = 0
        elif char == "\b":
            self.x = max(self.cursor_column - 1, 0)
        elif char == "\t":
            self._tab(1)
        elif char == "\x07":
            self.bells += 1
        elif char in "\x0e\x0f":
            self._shifted = 1 if char == "\x0e" else 0

    def _line_feed(self) -> None:
        self.x = 0 if self.modes.newline else self.cursor_column
        self.lines[self.y].wrapped = False
        self._index()

    def _tab(self, count: int) -> None:
        for _ in range(min(count, self.columns)):
            later = [stop for stop in self._tabs if self.x < stop < self.columns]
            self.x = min(later, default=self.columns - 1)

    def _back_tab(self, count: int) -> None:
        for _ in range(min(count, self.columns)):
            self.x = max((stop for stop in self._tabs if stop < self.cursor_column), default=0)

    # VtHandler: sequences.

    def escape(self, intermediates: str, final: str) -> None:
        if intermediates in ("(", ")"):
            self._charsets["()".index(intermediates)] = final == "0"
        elif intermediates == "#" and final == "8":
            self._top, self._bottom, self.x, self.y = 0, self.rows - 1, 0, 0
            for line in self.lines:
                line.write(0, "E" * self.columns, PLAIN)
        elif not intermediates:
            action = self._escapes.get(final)
            if action is not None:
                action()

    def osc(self, text: str) -> None:
        number, _, value = text.partition(";")
        if number in ("0", "2"):
            self.title = "".join(char for char in value[:MAX_TITLE_CHARS] if char.isprintable())

    def csi(self, prefix: str, params: Parameters, intermediates: str, final: str) -> None:
        action = self._csi.get(prefix + intermediates + final)
        if action is not None:
            action(params)

    def _escape_table(self) -> dict[str, Callable[[], None]]:
        return {
            "7": self._save_cursor,
            "8": self._restore_cursor,
            "D": self._index,
            "E": self._next_line,
            "H": lambda: self._tabs.add(self.cursor_column),
            "M": self._reverse_index,
            "c": self._full_reset,
            "=": lambda: self._set_flag("application_keypad", True),
            ">": lambda: self._set_flag("application_keypad", False),
        }

    def _csi_table(self) -> dict[str, Callable[[Parameters], None]]:
        def counted(action: Callable[[int], None]) -> Callable[[Parameters], None]:
            return lambda params: action(max(_parameter(params, 0, 1), 1))

        table: dict[str, Callable[[Parameters], None]] = {
            "@": counted(lambda n: self._line_here().insert(self.cursor_column, n, self._blank())),
            "A": counted(lambda n: self._move_rows(-n)),
            "B": counted(self._move_rows),
            "C": counted(lambda n: self._move_to(self.cursor_column + n, self.y)),
            "D": counted(lambda n: self._move_to(self.cursor_column - n, self.y)),
            "E": counted(lambda n: self._move_rows(n, to_column=0)),
            "F": counted(lambda n: self._move_rows(-n, to_column=0)),
            "G": counted(lambda n: self._move_to(n - 1, self.y)),
            "H": lambda p: self._position(_parameter(p, 0, 1), _parameter(p, 1, 1)),
            "I": counted(self._tab),
            "J": lambda p: self._erase_display(_parameter(p, 0, 0)),
            "K": lambda p: self._erase_line(_parameter(p, 0, 0)),
            "L": counted(self._insert_lines),
            "M": counted(self._delete_lines),
            "P": counted(lambda n: self._line_here().delete(self.cursor_column, n, self._blank())),
            "S": counted(self._scroll_up),
            "T": counted(self._scroll_down),
            "X": counted(
                lambda n: self._line_here().erase(
                    self.cursor_column, min(self.cursor_column + n, self.columns), self._blank()
                )
            ),
            "Z": counted(self._back_tab),
            "b": counted(self._repeat),
            "c": lambda p: self._reply(b"\x1b[?62;22c") if _parameter(p, 0, 0) == 0 else None,
            ">c": lambda p: self._reply(b"\x1b[>1;10;0c") if _parameter(p, 0, 0) == 0 else None,
            "d": counted(lambda n: self._position(n, self.cursor_column + 1)),
            "g": lambda p: self._clear_tabs(_parameter(p, 0, 0)),
            "h": lambda p: self._set_ansi(p, True),
            "l": lambda p: self._set_ansi(p, False),
            "?h": lambda p: self._set_private(p, True),
            "?l": lambda p: self._set_private(p, False),
            "m": self._select_rendition,
            "n": lambda p: self._report(_parameter(p, 0, 0)),
            "r": lambda p: self._set_margins(_parameter(p, 0, 1), _parameter(p, 1, 0)),
            "s": lambda _: self._save_cursor(),
            "u": lambda _: self._restore_cursor(),
            "t": lambda p: self._reply(b"\x1b[8;%d;%dt" % (self.rows, self.columns)) if p[:1] == ((18,),) else None,
            " q": lambda p: self._set_cursor_shape(_parameter(p, 0, 0)),
            "!p": lambda _: self._soft_reset(),
            "?$p": lambda p: self._report_mode(_parameter(p, 0, 0)),
        }
        for alias, name in {"a": "C", "e": "B", "f": "H", "`": "G"}.items():
            table[alias] = table[name]
        return table

    def _line_here(self) -> Line:
        return self.lines[self.y]

    def _blank(self) -> Style:
        """What erasing leaves: the current ground, no other attribute (background colour erase)."""
        return PLAIN if self.style.bg == PLAIN.bg else Style(bg=self.style.bg)

    # Moving.

    def _move_to(self, x: int, y: int) -> None:
        self.x = min(max(x, 0), self.columns - 1)
        self.y = min(max(y, 0), self.rows - 1)

    def _move_rows(self, count: int, *, to_column: int | None = None) -> None:
        """Move up or down, stopping at the margin when the cursor starts inside it."""
        top = self._top if self.y >= self._top else 0
        bottom = self._bottom if self.y <= self._bottom else self.rows - 1
        self._move_to(self.cursor_column if to_column is None else to_column, min(max(self.y + count, top), bottom))

    def _position(self, row: int, column: int) -> None:
        """Go to a 1-based row and column; in origin mode rows count from the margin and stay inside."""
        y = max(row, 1) - 1
        if self.modes.origin:
            y = min(y + self._top, self._bottom)
        self._move_to(max(column, 1) - 1, y)

    def _index(self) -> None:
        if self.y == self._bottom:
            self._scroll_up(1)
        elif self.y < self.rows - 1:
            self.y += 1

    def _reverse_index(self) -> None:
        self.x = self.cursor_column
        if self.y == self._top:
            self._scroll_down(1)
        elif self.y > 0:
            self.y -= 1

    def _scroll_up(self, count: int) -> None:
        for _ in range(min(count, self._bottom - self._top + 1)):
            line = self.lines.pop(self._top)
            if self._top == 0 and not self.alternate:
                line.trim()
                self.scrollback.append(line)
            self.lines.insert(self._bottom, Line(self.columns, self._blank()))
        self._trim_scrollback()

    def _scroll_down(self, count: int) -> None:
        for _ in range(min(count, self._bottom - self._top + 1)):
            del self.lines[self._bottom]
            self.lines.insert(self._top, Line(self.columns, self._blank()))

    def _trim_scrollback(self) -> None:
        if len(self.scrollback) > self.scrollback_lines + SCROLLBACK_SLACK:
            surplus = len(self.scrollback) - self.scrollback_lines
            del self.scrollback[:surplus]
            self.dropped_lines += surplus

    def _set_margins(self, top: int, bottom: int) -> None:
        last = min(bottom, self.rows) if bottom > 0 else self.rows
        first = max(top, 1)
        if first < last:
            self._top, self._bottom = first - 1, last - 1
            self._position(1, 1)

    # Editing.

    def _insert_lines(self, count: int) -> None:
        if self._top <= self.y <= self._bottom:
            for _ in range(min(count, self._bottom - self.y + 1)):
                del self.lines[self._bottom]
                self.lines.insert(self.y, Line(self.columns, self._blank()))
            self.x = 0

    def _delete_lines(self, count: int) -> None:
        if self._top <= self.y <= self._bottom:
            for _ in range(min(count, self._bottom - self.y + 1)):
                del self.lines[self.y]
                self.lines.insert(self._bottom, Line(self.columns, self._blank()))
            self.x = 0

    def _erase_line(self, how: int) -> None:
        line, x = self._line_here(), self.cursor_column
        if how == 0:
            line.erase(x, self.columns, self._blank())
            line.wrapped = False
        elif how == 1:
            line.erase(0, x + 1, self._blank())
        elif how == 2:
            line.erase(0, self.columns, self._blank())
            line.wrapped = False

    def _erase_display(self, how: int) -> None:
        if how == 3:
            self.clear_scrollback()
        elif how in (0, 1):
            self._erase_line(how)
        rows = {0: range(self.y + 1, self.rows), 1: range(self.y), 2: range(self.rows)}.get(how, range(0))
        for row in rows:
            self.lines[row] = Line(self.columns, self._blank())

    def _repeat(self, count: int) -> None:
        if self._last_char:
            for _ in range(min(count, self.columns * self.rows)):
                self._print_char(self._last_char)

    def _clear_tabs(self, how: int) -> None:
        if how == 0:
            self._tabs.discard(self.cursor_column)
        elif how == 3:
            self._tabs.clear()

    # Modes and styles.

    def _select_rendition(self, params: Parameters) -> None:
        self.style = apply_sgr(self.style, params)

    def _set_flag(self, name: str, on: bool) -> None:
        self.modes = replace(self.modes, **{name: on})

    def _set_ansi(self, params: Parameters, on: bool) -> None:
        for number in {param[0] for param in params}:
            if number in _ANSI_FLAGS:
                self._set_flag(_ANSI_FLAGS[number], on)

    def _set_private(self, params: Parameters, on: bool) -> None:
        for param in params:
            number = param[0]
            if number in _PRIVATE_FLAGS:
                self._set_flag(_PRIVATE_FLAGS[number], on)
                if number == 6:
                    self._position(1, 1)
            elif number in _MOUSE_MODES:
                self.modes = replace(self.modes, mouse=number if on else 0)
            elif number in _ALTERNATE:
                self._set_alternate(on, save_cursor=number == 1049)
            elif number == 1048:
                (self._save_cursor if on else self._restore_cursor)()

    def _set_alternate(self, on: bool, *, save_cursor: bool) -> None:
        if on and self._main_lines is None:
            if save_cursor:
                self._save_cursor()
            self._main_saved = replace(self._saved, x=self.cursor_column, y=self.y)
            self._main_lines = self.lines
            self.lines = [Line(self.columns, self._blank()) for _ in range(self.rows)]
        elif not on and self._main_lines is not None:
            self.lines = self._main_lines
            self._main_lines = None
            if save_cursor:
                self._saved = self._main_saved
                self._restore_cursor()

    def _set_cursor_shape(self, shape: int) -> None:
        if shape <= 6:
            self.cursor_shape = shape

    def _save_cursor(self) -> None:
        charsets = (self._charsets[0], self._charsets[1])
        self._saved = _Saved(self.cursor_column, self.y, self.style, charsets, self._shifted, self.modes.origin)

    def _restore_cursor(self) -> None:
        saved = self._saved
        self._charsets = list(saved.charsets)
        self._shifted, self.style = saved.shifted, saved.style
        self._set_flag("origin", saved.origin)
        self._move_to(saved.x, saved.y)

    def _soft_reset(self) -> None:
        """DECSTR: modes, margins and styles go back, the text stays."""
        self.modes = replace(Modes(), mouse=self.modes.mouse, mouse_sgr=self.modes.mouse_sgr)
        self._top, self._bottom = 0, self.rows - 1
        self.style, self._saved, self._charsets, self._shifted = PLAIN, _Saved(), [False, False], 0

    def _full_reset(self) -> None:
        if self._main_lines is not None:
            self.lines = self._main_lines
        used = next((row + 1 for row in range(self.rows - 1, -1, -1) if self.lines[row].used_columns()), 0)
        for line in self.lines[:used]:  # what was on the screen can still be scrolled to
            line.trim()
            self.scrollback.append(line)
        self._trim_scrollback()
        self._reset()

    # Answers.

    def _reply(self, data: bytes) -> None:
        if len(self.replies) + len(data) <= MAX_REPLY_BYTES:
            self.replies += data

    def _report(self, what: int) -> None:
        if what == 5:
            self._reply(b"\x1b[0n")
        elif what == 6:
            y = self.y - (self._top if self.modes.origin else 0)
            self._reply(b"\x1b[%d;%dR" % (y + 1, self.cursor_column + 1))

    def _report_mode(self, number: int) -> None:
        """DECRQM: 1 set, 2 reset, 0 unknown."""
        if number in _PRIVATE_FLAGS:
            state = 1 if getattr(self.modes, _PRIVATE_FLAGS[number]) else 2
        elif number in _MOUSE_MODES:
            state = 1 if self.modes.mouse == number else 2
        elif number in _ALTERNATE:
            state = 1 if self.alternate else 2
        else:
            state = 0
        self._reply(b"\x1b[?%d;%d$y" % (number, state))


def _parameter(params: Parameters, index: int, default: int) -> int:
    """Return a parameter's first number, or `default` where it is missing or left out."""
    if index >= len(params) or params[index][0] < 0:
        return default
    return params[index][0]
