"""What a table of records shows: which rows match the filter, in which order, and how they are copied."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.widgets.plain_text import csv_text, plain

R = TypeVar("R")
Tone = Literal["text", "dim", "faint", "accent", "good", "warn", "bad"]
MAX_NEEDLE = 256


@dataclass(frozen=True)  # no slots: Python 3.11 cannot make a slotted generic by `Column[Row](…)`
class Column(Generic[R]):
    """One column: what it holds, and how it looks."""

    title: str
    value: Callable[[R], Any]
    """Sorts the column; all rows' values must compare with each other."""
    text: Callable[[R], str] | None = None
    """What is shown; None: the value itself, numbers with thousands separators."""
    width: float = 0.0
    """In steps of the grid, before the user drags it; 0: takes what the others leave."""
    right: bool = False
    """Set flush right, as numbers are."""
    mono: bool = False
    tone: Tone | Callable[[R], Tone] = "text"
    tip: str = ""
    """Explains the header on hover."""
    note: Callable[[R], str] | None = None
    """Explains a cell on hover, where there is something to explain."""
    searched: bool = True
    """Whether the filter looks at it."""
    descends: bool = False
    """Largest first when it is sorted by."""
    exact: bool = False
    """Copied and exported by its value, not its text: `1318912`, not `1.3 MiB`. Numbers without a text always are."""
    indent: Callable[[R], int] | None = None
    """How deep a row stands in a tree."""
    share: Callable[[R], float] | None = None
    """How full a thin bar under the text is, 0 to 1."""
    spark: Callable[[R], Sequence[float]] | None = None
    """Values that are drawn as a small line."""
    values: Callable[[Sequence[R]], Sequence[Any] | NDArray[Any]] | None = None
    """All rows' values at once, where one by one would take too long."""

    def shown(self, row: R) -> str:
        """Return the text of a cell, on one line."""
        if self.text is not None:
            return plain(self.text(row))
        value = self.value(row)
        return f"{value:,}" if isinstance(value, int) else plain(str(value))

    def copied(self, row: R) -> object:
        """Return what a cell is worth outside the window."""
        value = self.value(row)
        return value if self.exact or (self.text is None and isinstance(value, int)) else self.shown(row)

    def tone_of(self, row: R) -> Tone:
        """Return how a cell is coloured."""
        return self.tone if isinstance(self.tone, str) else self.tone(row)


class RecordModel(Generic[R]):
    """Filter and order over rows that come anew now and then. Rows are told apart by `identity`.

    `haystacks`: what the filter looks at for all rows at once, casefolded, where column by column would take too long.
    """

    def __init__(
        self,
        columns: Sequence[Column[R]],
        identity: Callable[[R], Hashable],
        *,
        sort: int | None = None,
        descending: bool | None = None,
        haystacks: Callable[[Sequence[R]], Sequence[str]] | None = None,
    ) -> None:
        self.columns = tuple(columns)
        self.identity = identity
        self.sort = sort
        """Index of the column that orders the rows; None: as they come."""
        self.descending = (sort is not None and self.columns[sort].descends) if descending is None else descending
        self.needle = ""
        self._haystacks = haystacks
        self._rows: Sequence[R] = ()
        self._stacks: Sequence[str] | None = None
        self._order: NDArray[np.intp] | None = None
        self._order_key: tuple[int | None, bool] | None = None
        self._matches: NDArray[np.bool_] | None = None
        self._matched: str | None = None
        self._view: NDArray[np.intp] = np.zeros(0, np.intp)

    @property
    def rows(self) -> Sequence[R]:
        """The rows as they came last."""
        return self._rows

    def view(self, rows: Sequence[R]) -> NDArray[np.intp]:
        """Return which rows are shown, in order, as indices. Costs nothing while nothing changed."""
        needle = " ".join(self.needle[:MAX_NEEDLE].casefold().split())
        if rows is not self._rows:
            self._rows, self._stacks, self._order, self._matches = rows, None, None, None
        elif self._order is not None and self._order_key == (self.sort, self.descending) and needle == self._matched:
            return self._view
        if self._order is None or self._order_key != (self.sort, self.descending):
            self._order_key = (self.sort, self.descending)
            self._order = self._ordered()
        if self._matches is None or needle != self._matched:
            self._match(needle)
        assert self._matches is not None
        self._view = self._order[self._matches[self._order]]
        return self._view

    def _ordered(self) -> NDArray[np.intp]:
        count = len(self._rows)
        if self.sort is None:
            return np.arange(count, dtype=np.intp)
        column = self.columns[self.sort]
        values = column.values(self._rows) if column.values is not None else [column.value(row) for row in self._rows]
        if isinstance(values, np.ndarray):
            if self.descending:  # stable, so that rows of equal worth keep their order
                return (count - 1 - np.argsort(values[::-1], kind="stable")[::-1]).astype(np.intp)
            return np.argsort(values, kind="stable").astype(np.intp)
        key: Callable[[int], Any] = values.__getitem__
        if count and isinstance(values[0], str):
            folded = [value.casefold() for value in values]
            key = folded.__getitem__
        return np.array(sorted(range(count), key=key, reverse=self.descending), np.intp)

    def _match(self, needle: str) -> None:
        """Mark the rows that hold each word of the filter; a filter that grew looks only at what matched before."""
        if not needle:
            self._matches = np.ones(len(self._rows), np.bool_)
        else:
            if self._stacks is None:
                self._stacks = self._searched()
            grew = self._matches is not None and bool(self._matched) and needle.startswith(self._matched or "")
            before = self._matches if grew and self._matches is not None else np.ones(len(self._rows), np.bool_)
            left = np.flatnonzero(before)
            stacks = self._stacks
            for word in needle.split():
                left = np.array([at for at in left.tolist() if word in stacks[at]], np.intp)
            self._matches = np.zeros(len(self._rows), np.bool_)
            self._matches[left] = True
        self._matched = needle

    def _searched(self) -> Sequence[str]:
        if self._haystacks is not None:
            return self._haystacks(self._rows)
        columns = [column for column in self.columns if column.searched]
        return ["\n".join(column.shown(row) for column in columns).casefold() for row in self._rows]

    def position(self, key: Hashable, near: int = -1) -> int | None:
        """Return where in the view the row called `key` stands; `near`: where it may stand still."""
        if 0 <= near < len(self._view) and self.identity(self._rows[self._view[near]]) == key:
            return near
        return next((at for at, row in enumerate(self._view) if self.identity(self._rows[row]) == key), None)

    def csv(self) -> str:
        """Return what is shown as CSV, in the order that is shown."""
        return csv_text(
            [column.title for column in self.columns],
            ([column.copied(self._rows[at]) for column in self.columns] for at in self._view.tolist()),
        )

    def row_text(self, row: R) -> str:
        """Return a row for the clipboard: its cells with tabs between."""
        return "\t".join(str(column.copied(row)) for column in self.columns)
