"""Cells: guest text and numbers as a database can keep them, and addresses as signed numbers."""

from __future__ import annotations

from bridge.kernel.census.records import Cell, Row

MAX_TEXT = 4096
"""Characters of one cell: PATH_MAX."""


def signed(value: int) -> int:
    """A 64-bit number as SQLite keeps it, two's complement."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


def clean(text: str) -> str:
    """Text that is UTF-8 and holds no NUL, at which SQLite's functions would end; bounded."""
    if len(text) > MAX_TEXT:
        text = text[: MAX_TEXT - 1] + "…"
    if text.isascii() and "\0" not in text:
        return text
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def clean_row(row: Row) -> Row:
    """A row whose texts are clean and whose numbers fit."""
    return tuple(_cell(cell) for cell in row)


def _cell(cell: Cell) -> Cell:
    if type(cell) is str:
        return clean(cell)
    if type(cell) is int and not -1 << 63 <= cell < 1 << 63:
        return signed(cell)
    return cell
