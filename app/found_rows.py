"""Found rows: what answers a question, a row each, as the panel Results lists it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from app.output import format_bytes
from app.widgets.record_model import Column, RecordModel
from app.widgets.record_table import RecordTable
from bridge.memory.physical_map import PhysicalMap
from bridge.semantic.query.results import NOWHERE, Match, Matches

__all__ = ["COLUMNS", "NOWHERE", "NO_ROWS", "FoundRow", "FoundRows", "found_table", "ranges_text"]


@dataclass(frozen=True, slots=True, eq=False)
class FoundRow:
    """One match. What its cells hold is worked out when they are looked at."""

    matches: Matches
    index: int
    """Of the match in the answer."""

    @property
    def match(self) -> Match:
        """It with its pages."""
        return self.matches[self.index]

    @property
    def pid(self) -> int:
        """Whose it is, or -1."""
        return int(self.matches.pids[self.index])

    @property
    def first(self) -> int:
        """The guest-physical address of its first byte, or NOWHERE."""
        return int(self.matches.firsts[self.index])

    @property
    def size_bytes(self) -> int:
        """How much it is."""
        return int(self.matches.sizes[self.index])

    @property
    def n_pages(self) -> int:
        """How many pages it has."""
        return int(self.matches.page_counts[self.index])


class FoundRows(Sequence[FoundRow]):
    """The rows of an answer, in its order. There may be ten thousand, of which a table shows a few."""

    def __init__(self, matches: Matches) -> None:
        self.matches = matches

    def __len__(self) -> int:
        return len(self.matches)

    @overload
    def __getitem__(self, at: int) -> FoundRow: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[FoundRow]: ...
    def __getitem__(self, at: int | slice) -> FoundRow | Sequence[FoundRow]:
        if isinstance(at, slice):
            return tuple(FoundRow(self.matches, index) for index in range(*at.indices(len(self))))
        if not -len(self) <= at < len(self):
            raise IndexError(at)
        return FoundRow(self.matches, int(at) % len(self))  # tables count in numpy's numbers, ImGui takes none

    def holding(self, page: int) -> FoundRow | None:
        """The smallest match that has a page of the RAM file."""
        index = self.matches.holding(page)
        return None if index is None else self[index]


NO_ROWS = FoundRows(Matches((), np.zeros(0, np.uint8), PhysicalMap(size_bytes=0, regions=())))
"""Of what has no answer."""


def _matches(rows: Sequence[FoundRow]) -> Matches:
    """Those that all rows of an answer are of; there is a row at least."""
    return rows[0].matches


COLUMNS = (
    Column[FoundRow]("What", lambda row: row.matches.label(row.index)),
    Column[FoundRow]("Kind", lambda row: row.matches.kind(row.index), width=16, tone="dim"),
    Column[FoundRow](
        "PID",
        lambda row: row.pid,
        lambda row: "" if row.pid < 0 else str(row.pid),
        10,
        right=True,
        tone="dim",
        tip="The process whose it is",
        values=lambda rows: _matches(rows).pids if rows else (),
    ),
    Column[FoundRow](
        "Pages",
        lambda row: row.n_pages,
        width=12,
        right=True,
        descends=True,
        tip="Pages of 4 KiB in memory",
        values=lambda rows: _matches(rows).page_counts if rows else (),
    ),
    Column[FoundRow](
        "Size",
        lambda row: row.size_bytes,
        lambda row: format_bytes(row.size_bytes),
        15,
        right=True,
        descends=True,
        exact=True,
        values=lambda rows: _matches(rows).sizes if rows else (),
    ),
    Column[FoundRow](
        "Class", lambda row: row.matches.page_class(row.index), width=25, tone="dim", tip="What its pages hold"
    ),
    Column[FoundRow](
        "First address",
        lambda row: row.first,
        lambda row: "" if row.first == NOWHERE else f"{row.first:#x}",
        22,
        right=True,
        mono=True,
        tip="Guest-physical; a double click goes there",
        values=lambda rows: _matches(rows).firsts if rows else (),
    ),
)


def found_table() -> RecordTable[FoundRow]:
    """A table for them, in the order in which they were found."""
    return RecordTable("results", RecordModel(COLUMNS, lambda row: row.index))


def dull_columns(rows: FoundRows) -> frozenset[str]:
    """Titles of the columns that a narrow table does without: what is the same in each row, and what Size says too."""
    dull = {"Pages"}
    if rows.matches.is_of_one_kind:
        dull.add("Kind")
    if rows.matches.is_of_one_process:
        dull.add("PID")
    return frozenset(dull)


def ranges_text(match: Match) -> str:
    """Where a match lies, a range a line: `0x1000+0x2000`, guest-physical start and length."""
    return "\n".join(f"{start:#x}+{length:#x}" for start, length in match.ranges.tolist())
