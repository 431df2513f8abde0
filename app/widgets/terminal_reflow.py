"""Wraps a terminal's text anew when its width changes, keeping the cursor on its character."""

from __future__ import annotations

from app.widgets.terminal_cells import PLAIN, Line


def reflow(
    scrollback: list[Line], screen: list[Line], x: int, y: int, columns: int, rows: int
) -> tuple[list[Line], list[Line], int, int]:
    """Return (scroll-back, screen, cursor x, cursor y) of the same text in `rows` x `columns`.

    Lines that a wrap had split are joined first. Empty rows under the cursor are not text; where there were some, the
    screen keeps its top, else its bottom.
    """
    used = max([y + 1] + [row + 1 for row, line in enumerate(screen) if line.used_columns()])
    was_full = used == len(screen)
    source = scrollback + screen[:used]
    screen_start, cursor_index = len(scrollback), len(scrollback) + y

    wrapped: list[Line] = []
    new_top = cursor_row = cursor_column = 0
    index = 0
    while index < len(source):
        last = index
        while source[last].wrapped and last + 1 < len(source):
            last += 1
        start = len(wrapped)
        cursor_offset = -1
        if index <= cursor_index <= last:
            cursor_offset = sum(len(line.cells) for line in source[index:cursor_index]) + x
        wrapped += _rewrap(source[index : last + 1], columns, cursor_offset)
        if index <= screen_start <= last:
            offset = sum(len(line.cells) for line in source[index:screen_start])
            new_top = start + min(offset // columns, len(wrapped) - start - 1)
        if cursor_offset >= 0:
            cursor_row, cursor_column = _locate(wrapped[start:], cursor_offset)
            cursor_row += start
        index = last + 1

    fits = len(wrapped) - new_top <= rows
    top = new_top if fits and not was_full else max(len(wrapped) - rows, 0)
    top = min(top, cursor_row)
    kept, shown = wrapped[:top], wrapped[top : top + rows]
    for line in kept:
        line.trim()
    for line in shown:
        line.set_columns(columns)
    shown += [Line(columns) for _ in range(rows - len(shown))]
    return kept, shown, min(cursor_column, columns), cursor_row - top


def _rewrap(lines: list[Line], columns: int, cursor_offset: int) -> list[Line]:
    """Join the pieces of one logical line and cut them at `columns`; the cursor's cell is kept even when blank."""
    if len(lines) == 1 and max(lines[0].used_columns(), cursor_offset) <= columns:
        return lines
    cells = [cell for line in lines for cell in line.cells]
    styles = [style for line in lines for style in line.styles]
    end = len(cells)
    while end > max(cursor_offset, 0) and cells[end - 1] == " " and styles[end - 1] == PLAIN:
        end -= 1
    result: list[Line] = []
    start = 0
    while start < end or not result:
        stop = min(start + columns, end)
        if stop < end and cells[stop] == "" and stop - 1 > start:
            stop -= 1  # a wide character goes to the next line whole
        result.append(Line.of(cells[start:stop], styles[start:stop], wrapped=stop < end))
        start = stop
    return result


def _locate(lines: list[Line], offset: int) -> tuple[int, int]:
    """Return the row and column of the cell at `offset` of a logical line that was cut into `lines`."""
    for row, line in enumerate(lines[:-1]):
        if offset < len(line.cells):
            return row, offset
        offset -= len(line.cells)
    return len(lines) - 1, offset
