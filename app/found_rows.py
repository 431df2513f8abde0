"""Found rows: what answers a question, a row each, as the panel Results lists it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.output import format_bytes
from app.widgets.record_model import Column, RecordModel
from app.widgets.record_table import RecordTable
from bridge.semantic.query.results import Match, Result

NOWHERE = -1
"""The first address of what is not in memory."""


@dataclass(frozen=True, slots=True, eq=False)
class FoundRow:
    """One match, with what its cells hold worked out."""

    index: int
    """Of the match in the answer."""
    match: Match
    size_bytes: int
    first: int
    """The guest-physical address of its first byte, or NOWHERE."""


def rows_of(result: Result) -> tuple[FoundRow, ...]:
    """The rows of an answer, in its order. For a job's thread: there may be ten thousand."""
    return tuple(
        FoundRow(index, match, int(match.ranges[:, 1].sum()), int(match.ranges[0, 0]) if len(match.ranges) else NOWHERE)
        for index, match in enumerate(result.matches)
    )


COLUMNS = (
    Column[FoundRow]("What", lambda row: row.match.label),
    Column[FoundRow]("Kind", lambda row: row.match.kind, width=16, tone="dim"),
    Column[FoundRow](
        "PID",
        lambda row: -1 if row.match.pid is None else row.match.pid,
        lambda row: "" if row.match.pid is None else str(row.match.pid),
        10,
        right=True,
        tone="dim",
        tip="The process whose it is",
    ),
    Column[FoundRow](
        "Pages", lambda row: len(row.match.pages), width=12, right=True, descends=True, tip="Pages of 4 KiB in memory"
    ),
    Column[FoundRow](
        "Size",
        lambda row: row.size_bytes,
        lambda row: format_bytes(row.size_bytes),
        15,
        right=True,
        descends=True,
        exact=True,
    ),
    Column[FoundRow]("Class", lambda row: row.match.page_class, width=25, tone="dim", tip="What its pages hold"),
    Column[FoundRow](
        "First address",
        lambda row: row.first,
        lambda row: "" if row.first == NOWHERE else f"{row.first:#x}",
        22,
        right=True,
        mono=True,
        tip="Guest-physical; a double click goes there",
    ),
)


def found_table() -> RecordTable[FoundRow]:
    """A table for them, in the order in which they were found."""
    return RecordTable("results", RecordModel(COLUMNS, lambda row: row.index))


def dull_columns(rows: Sequence[FoundRow]) -> frozenset[str]:
    """Titles of the columns that a narrow table does without: what is the same in each row, and what Size says too."""
    dull = {"Pages"}
    if len({row.match.kind for row in rows}) <= 1:
        dull.add("Kind")
    if len({row.match.pid for row in rows}) <= 1:
        dull.add("PID")
    return frozenset(dull)


def holding(rows: Sequence[FoundRow], page: int) -> FoundRow | None:
    """The smallest match that has a page of the RAM file."""
    found: FoundRow | None = None
    for row in rows:
        pages = row.match.pages
        at = int(pages.searchsorted(page))
        if at < len(pages) and int(pages[at]) == page and (found is None or len(pages) < len(found.match.pages)):
            found = row
    return found


def ranges_text(match: Match) -> str:
    """Where a match lies, a range a line: `0x1000+0x2000`, guest-physical start and length."""
    return "\n".join(f"{start:#x}+{length:#x}" for start, length in match.ranges.tolist())
