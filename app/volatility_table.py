"""A Volatility plugin's result as text, CSV or JSON: what the command prints, and what the panel shows and exports."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from app.widgets.plain_text import csv_text, plain
from bridge.kernel.volatility_engine.records import Cell, Column
from bridge.kernel.volatility_engine.service import Run

ABSENT = "-"


def cell_text(column: Column, cell: Cell) -> str:
    """Return a cell as it is shown: one line, nothing in it that a terminal would obey."""
    if cell is None:
        return ABSENT
    if column.kind == "hex" and isinstance(cell, int):
        return f"{cell:#x}"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return plain(str(cell))


def unique_names(columns: tuple[Column, ...]) -> list[str]:
    """Return the columns' names, later ones of the same name numbered."""
    names: list[str] = []
    for column in columns:
        name, count = column.name, 2
        while name in names:
            name, count = f"{column.name} {count}", count + 1
        names.append(name)
    return names


def document_of(run: Run) -> dict[str, Any]:
    """Return all of a run for JSON; numbers stay numbers, what is absent is null."""
    names = unique_names(run.columns)
    is_tree = any(run.depths)
    finished = run.finished
    return {
        "plugin": run.job.plugin,
        "columns": [{"name": name, "kind": c.kind} for name, c in zip(names, run.columns, strict=True)],
        "rows": [
            dict(zip(names, row, strict=True)) | ({"depth": depth} if is_tree else {})
            for depth, row in zip(run.depths, run.rows, strict=False)
        ],
        "complete": finished is not None and not finished.problem,
        "problem": finished.problem if finished else "",
        "notes": list(finished.notes) if finished else [],
        "files": list(finished.files) if finished else [],
        "took_s": round(finished.took_s, 3) if finished else None,
    }


def json_of(run: Run) -> str:
    """Return all of a run as one JSON object."""
    return json.dumps(document_of(run), indent=1)


def csv_of(run: Run) -> str:
    """Return the table as CSV, in the order that it came; how deep a row stands is its first column in a tree."""
    is_tree = any(run.depths)
    return csv_text([*(("Depth",) if is_tree else ()), *unique_names(run.columns)], _csv_rows(run, is_tree=is_tree))


def _csv_rows(run: Run, *, is_tree: bool) -> Iterator[list[object]]:
    for depth, row in zip(run.depths, run.rows, strict=False):
        cells: list[object] = [depth] if is_tree else []
        for column, cell in zip(run.columns, row, strict=True):
            cells.append("" if cell is None else cell_text(column, cell) if column.kind == "hex" else cell)
        yield cells


def table_rows(run: Run) -> list[tuple[str, ...]]:
    """Return the rows as text, set in by two spaces for each level of a tree."""
    return [
        tuple(
            ("  " * depth if not index else "") + cell_text(column, cell)
            for index, (column, cell) in enumerate(zip(run.columns, row, strict=True))
        )
        for depth, row in zip(run.depths, run.rows, strict=False)
    ]


def is_number(column: Column) -> bool:
    """Return whether a column is set flush right."""
    return column.kind in ("int", "float", "hex")
