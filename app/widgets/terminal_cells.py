"""The cells of a terminal: styles, lines, and how many columns a character takes."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Any, NamedTuple

BOLD, DIM, ITALIC, UNDERLINE, BLINK, REVERSE, HIDDEN, STRIKE = (1 << bit for bit in range(8))
DEFAULT_COLOUR = -1
TRUE_COLOUR = 1 << 24  # added to 0xRRGGBB
MAX_CELL_CHARS = 6  # a base character and its combining marks


class Style(NamedTuple):
    """How a cell looks. A colour is `DEFAULT_COLOUR`, an index 0..255, or `TRUE_COLOUR` + 0xRRGGBB."""

    fg: int = DEFAULT_COLOUR
    bg: int = DEFAULT_COLOUR
    flags: int = 0


PLAIN = Style()


@lru_cache(maxsize=4096)
def char_columns(char: str) -> int:
    """Return the columns that `char` takes: 0 (combining, format), 1, or 2 (East Asian wide, emoji)."""
    if unicodedata.category(char) in ("Mn", "Me", "Cf") and char != "\u00ad":
        return 0
    if "\u1160" <= char <= "\u11ff":  # Hangul vowels and finals join the syllable before them
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


class Line:
    """One row of cells. A wide character is followed by a cell that holds the empty string.

    `wrapped` says that the text goes on in the next line; `cache` is the drawer's own and is dropped by every edit.
    Cells at `_end` and after are plain blanks.
    """

    __slots__ = ("_end", "cache", "cells", "styles", "wrapped")

    def __init__(self, columns: int, style: Style = PLAIN) -> None:
        self.cells = [" "] * columns
        self.styles = [style] * columns
        self.wrapped = False
        self.cache: Any = None
        self._end = 0 if style == PLAIN else columns

    @classmethod
    def of(cls, cells: list[str], styles: list[Style], *, wrapped: bool) -> Line:
        """Return a line that owns these cells."""
        line = cls(0)
        line.cells, line.styles, line.wrapped, line._end = cells, styles, wrapped, len(cells)
        return line

    def heal(self, column: int) -> None:
        """Blank both halves of a wide character that an edit starting or ending at `column` would cut."""
        if 0 < column < len(self.cells) and self.cells[column] == "":
            self.cells[column - 1] = self.cells[column] = " "

    def write(self, column: int, chars: str, style: Style) -> None:
        """Put narrow characters, one a cell, at `column`; they must fit."""
        end = column + len(chars)
        self.heal(column)
        self.heal(end)
        self.cells[column:end] = chars
        self.styles[column:end] = [style] * len(chars)
        if end > self._end:
            self._end = end
        self.cache = None

    def write_wide(self, column: int, char: str, style: Style) -> None:
        self.heal(column)
        self.heal(column + 2)
        self.cells[column : column + 2] = [char, ""]
        self.styles[column : column + 2] = [style, style]
        self._end = max(self._end, column + 2)
        self.cache = None

    def combine(self, column: int, mark: str) -> None:
        """Add a combining mark to the character at `column`; format characters and surplus marks are dropped."""
        if unicodedata.category(mark) == "Cf" or "\ufe00" <= mark <= "\ufe0f":
            return
        if self.cells[column] == "" and column:
            column -= 1
        joined = unicodedata.normalize("NFC", self.cells[column] + mark)
        if len(joined) <= MAX_CELL_CHARS:
            self.cells[column] = joined
            self._end = max(self._end, column + 1)
            self.cache = None

    def erase(self, start: int, end: int, style: Style) -> None:
        self.heal(start)
        self.heal(end)
        count = end - start
        self.cells[start:end] = [" "] * count
        self.styles[start:end] = [style] * count
        if style != PLAIN:
            self._end = max(self._end, end)
        elif end >= self._end:
            self._end = min(self._end, start)
        self.cache = None

    def insert(self, column: int, count: int, style: Style) -> None:
        """Shift the cells from `column` right by `count`; what leaves the line is lost."""
        width = len(self.cells)
        count = min(count, width - column)
        self.heal(column)
        self.heal(width - count)
        self.cells[column:] = [" "] * count + self.cells[column : width - count]
        self.styles[column:] = [style] * count + self.styles[column : width - count]
        self._end = width
        self.cache = None

    def delete(self, column: int, count: int, style: Style) -> None:
        """Remove `count` cells at `column`; blanks come in from the right."""
        count = min(count, len(self.cells) - column)
        self.heal(column)
        self.heal(column + count)
        self.cells[column:] = self.cells[column + count :] + [" "] * count
        self.styles[column:] = self.styles[column + count :] + [style] * count
        self._end = len(self.cells)
        self.cache = None

    def set_columns(self, columns: int) -> None:
        """Cut or pad the line to `columns`."""
        if columns < len(self.cells):
            self.heal(columns)
            del self.cells[columns:], self.styles[columns:]
            self._end = min(self._end, columns)
        else:
            missing = columns - len(self.cells)
            self.cells += [" "] * missing
            self.styles += [PLAIN] * missing
        self.cache = None

    def used_columns(self) -> int:
        """Return the columns up to the last cell that is not plain blank."""
        end = self._end
        while end and self.cells[end - 1] == " " and self.styles[end - 1] == PLAIN:
            end -= 1
        self._end = end
        return end

    def trim(self) -> None:
        """Drop plain blank cells at the end (a line that goes to the scroll-back keeps only what it shows)."""
        end = self.used_columns()
        del self.cells[end:], self.styles[end:]

    def text(self, start: int = 0, end: int | None = None) -> str:
        return "".join(self.cells[start:end])
