"""Answers to SQL as text: what the command prints, and what the panel shows and exports."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from app.widgets.plain_text import csv_text
from bridge.semantic.store.reader import Table
from bridge.semantic.store.walls import hex64

Value = int | float | str | bytes | None
ABSENT = "NULL"
_NAME = re.compile(r"(?:^|_)(?:[put]id|id|inode|descriptor)$")
"""Columns whose numbers are names, not quantities."""
_ADDRESS = re.compile(r"(?:^|_)[pvu]addr$")


def is_address(column: str) -> bool:
    """Return whether a column holds addresses, by its name."""
    return _ADDRESS.search(column) is not None


def cell_text(column: str, value: Value) -> str:
    """Return a cell for people: addresses in hexadecimal, blobs as SQLite writes them."""
    if value is None:
        return ABSENT
    if isinstance(value, bytes):
        return f"x'{value.hex()}'"
    if isinstance(value, int):
        return str(hex64(value)) if is_address(column) else f"{value}" if _NAME.search(column) else f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.6f}".rstrip("0").rstrip(".") if abs(value) < 1e15 else f"{value:g}"
    return value


def document_of(table: Table, source: str) -> dict[str, Any]:
    """Return an answer for JSON: numbers stay numbers, blobs are text."""
    rows = [{name: _json_value(value) for name, value in zip(table.columns, row, strict=True)} for row in table.rows]
    return {
        "source": source,
        "columns": list(table.columns),
        "rows": rows,
        "truncated": table.truncated,
        "elapsed_ms": round(table.elapsed_s * 1e3, 3),
    }


def _json_value(value: Value) -> Value:
    """Blobs and what is larger than any number become text: JSON has neither."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value.hex() if isinstance(value, bytes) else value


def csv_of(columns: Sequence[str], rows: Iterable[Sequence[Value]]) -> str:
    """Return a table as CSV; numbers as they are, what is NULL is empty."""
    cells = (["" if cell is None else cell.hex() if isinstance(cell, bytes) else cell for cell in row] for row in rows)
    return csv_text(columns, cells)


def right_columns(table: Table) -> frozenset[int]:
    """Return which columns are set flush right: those with nothing but numbers."""
    return frozenset(
        at
        for at, name in enumerate(table.columns)
        if not is_address(name)
        and all(row[at] is None or isinstance(row[at], int | float) for row in table.rows)
        and any(row[at] is not None for row in table.rows)
    )
