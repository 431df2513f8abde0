"""Turns a terminal line into a few draw calls, kept with the line until it changes."""

from __future__ import annotations

from dataclasses import dataclass

from imgui_bundle import imgui

from app.widgets.mono import MonoGrid
from app.widgets.terminal_boxes import box_rects, is_box
from app.widgets.terminal_cells import BOLD, STRIKE, UNDERLINE, Line
from app.widgets.terminal_palette import TerminalPalette


@dataclass(frozen=True, slots=True)
class _Row:
    """What a line draws; columns are cells."""

    key: tuple[object, ...]
    texts: tuple[tuple[int, float, str, bool], ...]  # colour, offset in pixels, text, bold
    grounds: tuple[tuple[int, int, int], ...]  # start, end, colour
    strokes: tuple[tuple[int, int, int, bool], ...]  # start, end, colour, struck through
    single: tuple[tuple[int, str, int], ...]  # column, character that is not on the grid of the face, colour
    boxes: tuple[tuple[int, str, int], ...]  # column, box character, colour


def draw_line(
    draw_list: imgui.ImDrawList,
    line: Line,
    x: float,
    y: float,
    grid: MonoGrid,
    palette: TerminalPalette,
    selected: tuple[int, int, int] | None = None,
) -> None:
    """Draw a line with its top left at (x, y); `selected` is (start column, end column, colour)."""
    row = line.cache
    if row is None or row.key != (palette.key, grid.size):
        row = line.cache = _build(line, grid, palette)
    cell, height = grid.cell, grid.row
    for start, end, colour in row.grounds:
        draw_list.add_rect_filled((x + start * cell, y), (x + end * cell, y + height), colour)
    if selected is not None:
        start, end, colour = selected
        draw_list.add_rect_filled((x + start * cell, y), (x + end * cell, y + height), colour)
    for column, char, colour in row.boxes:
        left = x + column * cell
        for x0, y0, x1, y1, opacity in box_rects(char, round(cell), round(height)):
            faded = colour & 0xFFFFFF | int((colour >> 24) * opacity) << 24
            draw_list.add_rect_filled((left + x0, y + y0), (left + x1, y + y1), faded)
    for colour, offset, text, bold in row.texts:
        grid.text(draw_list, x + offset, y, colour, text)
        if bold:  # one face: a second stroke beside the first
            grid.text(draw_list, x + offset + 1, y, colour & 0xFFFFFF | 0x70000000, text)
    for column, char, colour in row.single:
        grid.text(draw_list, x + column * cell, y, colour, char)
    for start, end, colour, struck in row.strokes:
        at = y + height * (0.5 if struck else 1) - (0 if struck else 2)
        draw_list.add_rect_filled((x + start * cell, at), (x + end * cell, at + 1), colour)


def _on_grid(char: str, grid: MonoGrid) -> bool:
    """Say whether the face has `char` with the advance of a cell."""
    if char.isascii():
        return True
    if len(char) != 1 or ord(char) > 0xFFFF or not grid.font.is_glyph_in_font(ord(char)):
        return False
    return bool(grid.font.get_font_baked(grid.size).get_char_advance(ord(char)) == grid.cell)


def _build(line: Line, grid: MonoGrid, palette: TerminalPalette) -> _Row:
    texts: dict[tuple[int, bool], list[str]] = {}
    grounds: list[tuple[int, int, int]] = []
    strokes: list[tuple[int, int, int, bool]] = []
    single: list[tuple[int, str, int]] = []
    boxes: list[tuple[int, str, int]] = []
    cells, styles = line.cells, line.styles
    end = len(cells)
    start = 0
    while start < end:
        style = styles[start]
        stop = start + 1
        while stop < end and styles[stop] == style:
            stop += 1
        colour, ground = palette.resolve(style)
        if ground is not None:
            grounds.append((start, stop, ground))
        if style.flags & UNDERLINE:
            strokes.append((start, stop, colour, False))
        if style.flags & STRIKE:
            strokes.append((start, stop, colour, True))
        text = "".join(cells[start:stop])
        if not text.isspace():
            if not text.isascii():
                text = _take_apart(cells, start, stop, colour, grid, single, boxes)
            if not text.isspace():
                parts = texts.setdefault((colour, bool(style.flags & BOLD)), [])
                parts.append(" " * (start - sum(map(len, parts))))
                parts.append(text)
        start = stop
    return _Row(
        key=(palette.key, grid.size),
        texts=tuple((colour, *_placed("".join(parts), grid), bold) for (colour, bold), parts in texts.items()),
        grounds=tuple(grounds),
        strokes=tuple(strokes),
        single=tuple(single),
        boxes=tuple(boxes),
    )


def _placed(text: str, grid: MonoGrid) -> tuple[float, str]:
    """Return (offset in pixels, text) of a padded text.

    ImGui starts a text on a whole pixel; where a cell is not whole pixels wide, only text that starts at the row's edge
    stays on the grid, so its padding is kept.
    """
    text = text.rstrip()
    bare = text.lstrip(" ")
    return (0.0, text) if grid.cell % 1 else ((len(text) - len(bare)) * grid.cell, bare)


def _take_apart(
    cells: list[str],
    start: int,
    stop: int,
    colour: int,
    grid: MonoGrid,
    single: list[tuple[int, str, int]],
    boxes: list[tuple[int, str, int]],
) -> str:
    """Return the text of cells with a blank for each that is drawn alone, and list those."""
    kept: list[str] = []
    for column in range(start, stop):
        char = cells[column]
        if char and is_box(char):
            boxes.append((column, char, colour))
        elif char and not _on_grid(char, grid):
            single.append((column, char, colour))
        elif char:
            kept.append(char)
            continue
        kept.append(" ")
    return "".join(kept)
