"""What the SQL panel shows now: the query that is typed, how it is going, and the table of the last answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.sql_text import Value, cell_text, is_address, right_columns
from app.volatility_rows import Address, Named, Space
from app.widgets.record_model import Column, RecordModel
from app.widgets.record_table import RecordTable
from bridge.semantic.store.examples import EXAMPLES
from bridge.semantic.store.reader import Table

if TYPE_CHECKING:
    from app.jobs import Job

Row = tuple[int, tuple[Value, ...]]
"""Which it is, and its cells."""
_MEASURED_ROWS = 200
_UNITS_A_CHARACTER, _MONO_UNITS_A_CHARACTER, _MARGIN_UNITS, _MOST_UNITS = 1.9, 2.0, 5.0, 76.0
_SPACES: dict[str, Space] = {"v": "kernel", "p": "physical", "u": "process"}
_SUBJECTS = {"slab cache": "slab", "file": "file", "module": "module", "stack": "stack", "page table": "tables"}
"""What `pages.subject_kind` says, as page sets are called."""


@dataclass(slots=True)
class Answer:
    """A table that was asked for."""

    sql: str
    table: Table
    rows: tuple[Row, ...]
    shown: RecordTable[Row]


@dataclass(slots=True)
class SqlUi:
    """The panel's state on the main thread."""

    text: str = EXAMPLES[0].sql
    generation: int = 0
    """Grows when the text is changed by other means than typing: a field that is being typed in keeps its own copy."""
    refocus: bool = False
    """Whether the editor takes the keyboard in the next frame."""
    job: Job | None = None
    """Of the query that is under way."""
    answer: Answer | None = None
    failure: str = ""
    """Why the last query has no answer, in a sentence."""
    export_path: str = ""
    records: bool = False
    """Whether anything is written down in this window."""
    path: Path | None = None
    """The database of this session; None while there is nothing in it."""
    n_written: int = 0
    problem: str = ""
    """Why nothing is written now."""

    def show(self, text: str) -> None:
        """Have `text` in the editor."""
        self.text = text
        self.generation += 1


def answer_of(sql: str, table: Table) -> Answer:
    """Make what the panel shows of a table. May be called from any thread."""
    rows = tuple(enumerate(table.rows))
    # By its columns: ImGui keeps for each table how wide they were made.
    shown = RecordTable(f"sql {' '.join(table.columns)}", RecordModel(_columns(table), lambda row: row[0]))
    return Answer(sql, table, rows, shown)


def named_by(columns: Sequence[str], cells: Sequence[Value]) -> Named:
    """Return which process and addresses a row names, by the names of its columns."""
    numbers = {
        name: cell for name, cell in zip(columns, cells, strict=True) if isinstance(cell, int) and cell is not None
    }
    pid, tid = numbers.get("pid"), numbers.get("tid")
    addresses = tuple(
        Address(name, value % (1 << 64), _SPACES[name[-5]])
        for name, value in numbers.items()
        if is_address(name) and (name[-5] != "u" or pid is not None)
    )
    start, end = numbers.get("start_uaddr"), numbers.get("end_uaddr")
    region = (start, end) if pid is not None and start is not None and end is not None and start < end else None
    return Named(pid, tid, region, addresses)


def pages_named_by(columns: Sequence[str], cells: Sequence[Value]) -> tuple[str, str] | None:
    """Return the kind and key of the page set that a row names: a file, a slab cache, a module, …; None for none."""
    told = dict(zip(columns, cells, strict=True))
    subject, kind = told.get("subject"), told.get("subject_kind")
    if isinstance(subject, str) and isinstance(kind, str) and kind in _SUBJECTS:
        return _SUBJECTS[kind], "0" if (kind, subject) == ("page table", "kernel") else subject
    path = told.get("path")
    return ("file", path) if isinstance(path, str) and path.startswith("/") else None


def machine_of(columns: Sequence[str], cells: Sequence[Value]) -> str | None:
    """Return the machine that a row is of, where it says."""
    named = dict(zip(columns, cells, strict=True)).get("machine")
    return named if isinstance(named, str) else None


def _columns(table: Table) -> tuple[Column[Row], ...]:
    right = right_columns(table)
    return tuple(
        Column[Row](
            name,
            lambda row, at=index: row[1][at],  # type: ignore[misc]
            lambda row, at=index, name=name: cell_text(name, row[1][at]),  # type: ignore[misc]
            _width(table, index),
            right=index in right,
            mono=is_address(name),
            tone=lambda row, at=index: "faint" if row[1][at] is None else "text",  # type: ignore[misc]
            descends=index in right,
            exact=index in right,
            values=lambda rows, at=index: [_sorted_by(row[1][at]) for row in rows],  # type: ignore[misc]
        )
        for index, name in enumerate(table.columns)
    )


def _width(table: Table, index: int) -> float:
    """As wide as what is in it, in steps of the grid."""
    name = table.columns[index]
    longest = max((len(cell_text(name, row[index])) for row in table.rows[:_MEASURED_ROWS]), default=0)
    a_character = _MONO_UNITS_A_CHARACTER if is_address(name) else _UNITS_A_CHARACTER
    return min(max(longest * a_character, (len(name) + 2) * _UNITS_A_CHARACTER) + _MARGIN_UNITS, _MOST_UNITS)


def _sorted_by(value: Value) -> tuple[int, Any]:
    """A key that compares whatever stands in one column, in SQLite's own order of kinds; addresses without a sign."""
    if value is None:
        return 0, 0
    if isinstance(value, bytes):
        return 3, value
    if isinstance(value, str):
        return 2, value.casefold()
    return 1, value
