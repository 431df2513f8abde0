"""A selection of terminal text: by character, word or line, over the screen and its scroll-back."""

from __future__ import annotations

import re
from dataclasses import dataclass

from app.widgets.terminal_screen import TerminalScreen

Cell = tuple[int, int]
"""(line number, column)."""

BY_CHARACTER, BY_WORD, BY_LINE = 1, 2, 3
_WORD = re.compile(r"[\w./:@~+%=?&#-]+|\s+|.")  # paths and addresses are one word


@dataclass(slots=True)
class Selection:
    """From `anchor` to `head`, both inclusive, each widened to its unit."""

    anchor: Cell
    head: Cell
    unit: int = BY_CHARACTER
    moved: bool = False

    @property
    def empty(self) -> bool:
        return self.unit == BY_CHARACTER and not self.moved

    def extend(self, cell: Cell) -> None:
        if cell != self.head:
            self.head, self.moved = cell, True

    def bounds(self, screen: TerminalScreen) -> tuple[Cell, Cell]:
        """Return the first cell and the one past the last."""
        first, last = sorted((self.anchor, self.head))
        if self.unit == BY_LINE:
            return (first[0], 0), (last[0], screen.columns)
        if self.unit == BY_WORD:
            return (first[0], _word_at(screen, first)[0]), (last[0], _word_at(screen, last)[1])
        return first, (last[0], last[1] + 1)

    def columns_on(self, number: int, screen: TerminalScreen) -> tuple[int, int] | None:
        """Return the selected columns [start, end) of a line, or None."""
        first, last = self.bounds(screen)
        if not first[0] <= number <= last[0]:
            return None
        start = first[1] if number == first[0] else 0
        end = last[1] if number == last[0] else screen.columns
        return start, max(min(end, screen.columns), start)

    def text(self, screen: TerminalScreen) -> str:
        """Return the selected text; wrapped lines are joined, blanks at line ends dropped."""
        first, last = self.bounds(screen)
        parts: list[str] = []
        for number in range(max(first[0], screen.first_line), min(last[0] + 1, screen.end_line)):
            line = screen.line(number)
            columns = self.columns_on(number, screen)
            assert line is not None
            assert columns is not None
            text = line.text(*columns)
            goes_on = line.wrapped and number < last[0]
            parts.append(text if goes_on else text.rstrip())
            if number < last[0] and not goes_on:
                parts.append("\n")
        return "".join(parts)


def _word_at(screen: TerminalScreen, cell: Cell) -> tuple[int, int]:
    """Return the columns of the word at a cell."""
    line = screen.line(cell[0])
    if line is None or cell[1] >= len(line.cells):
        return cell[1], cell[1] + 1
    # One character a column, so that columns and indices agree; the second half of a wide one counts as a letter.
    text = "".join(char[:1] or "x" for char in line.cells)
    return next(found.span() for found in _WORD.finditer(text) if found.start() <= cell[1] < found.end())
