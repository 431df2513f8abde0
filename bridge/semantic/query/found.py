"""Found: things of one look with their pages, as arrays: thousands of them cost little more than their pages do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from bridge.semantic.query.results import I64, NO_PAGES, NOBODY, U32, Ranges
from bridge.semantic.query.world import Mask


class Made(Sequence[str]):
    """Texts (n,) that are made when somebody looks at one: of thousands of labels a table shows a few."""

    def __init__(self, make: Callable[[int], str], indices: I64) -> None:
        self._make = make
        self._indices = indices

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[str]: ...
    def __getitem__(self, at: int | slice) -> str | Sequence[str]:
        if isinstance(at, slice):
            return Made(self._make, self._indices[at])
        return self._make(int(self._indices[at]))


@dataclass(frozen=True, slots=True, eq=False)
class Spans:
    """Where things lie that are less than their pages."""

    starts: I64
    """(n + 1,) where those of each begin."""
    ranges: Ranges
    """(k, 2) physical start and length in bytes, of each by address."""


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """n things. Parallel sequences."""

    labels: Sequence[str]
    """(n,)"""
    kinds: Sequence[str]
    """(n,)"""
    pids: I64
    """(n,) whose each is, or NOBODY."""
    starts: I64
    """(n + 1,) where the pages of each begin."""
    pages: U32
    """(m,) of each ascending, each once."""
    spans: Spans | None = None
    """Where they are less than their pages."""
    always: bool = True
    """Whether they are told of without any page in memory."""

    def __len__(self) -> int:
        return len(self.pids)

    def only(self, kept: Mask | None, pages_at: Callable[[I64], U32]) -> Found:
        """Those with pages that a mask (n_pages,) keeps, and these pages; None keeps all pages. `pages_at` tells the
        page of each physical address (n,).
        """
        found = self if kept is None else self._cut(kept, pages_at)
        if kept is None and self.always:
            return found
        counts = np.diff(found.starts)
        left = np.flatnonzero(counts)
        return found if len(left) == len(found) else found.some(left)

    def _cut(self, kept: Mask, pages_at: Callable[[I64], U32]) -> Found:
        inside = kept[self.pages]
        spans = self.spans
        if spans is not None:
            counted = kept[pages_at(spans.ranges[:, 0])]
            spans = Spans(_moved(spans.starts, counted), spans.ranges[counted])
        return replace(self, starts=_moved(self.starts, inside), pages=self.pages[inside], spans=spans)

    def some(self, rows: I64) -> Found:
        """Some of them, by index (k,)."""
        starts, places = _chosen(self.starts, rows)
        spans = self.spans
        if spans is not None:
            span_starts, span_places = _chosen(spans.starts, rows)
            spans = Spans(span_starts, spans.ranges[span_places])
        return Found(
            _picked(self.labels, rows),
            _picked(self.kinds, rows),
            self.pids[rows],
            starts,
            self.pages[places],
            spans,
            self.always,
        )


def _moved(starts: I64, kept: npt.NDArray[np.bool_]) -> I64:
    """Where groups begin once some of their members are left out."""
    before = np.zeros(len(kept) + 1, np.int64)
    np.cumsum(kept, out=before[1:])
    return before[starts]


def _chosen(starts: I64, rows: I64) -> tuple[I64, I64]:
    """Where some groups begin once the others are left out, and which members are left."""
    counts = starts[rows + 1] - starts[rows]
    begins = np.append(0, np.cumsum(counts))
    return begins, np.repeat(starts[rows] - begins[:-1], counts) + np.arange(begins[-1])


def _picked(texts: Sequence[str], rows: I64) -> Sequence[str]:
    return Made(texts.__getitem__, rows)


def pages_of(found: Iterable[Found], n_pages: int) -> U32:
    """(m,) the pages of all together, of a RAM file of so many: ascending, each once."""
    mask = np.zeros(n_pages, np.bool_)
    for some in found:
        mask[some.pages] = True
    return np.flatnonzero(mask).astype(np.uint32)


def one(
    label: str, kind: str, pid: int | None, pages: U32, ranges: Ranges | None = None, *, always: bool = True
) -> Found:
    """A single thing; `ranges` where it is less than its pages."""
    return Found(
        (label,),
        (kind,),
        np.array([NOBODY if pid is None else pid]),
        np.array([0, len(pages)]),
        pages,
        None if ranges is None else Spans(np.array([0, len(ranges)]), ranges),
        always,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """Pages by what they are of, which is counted from 0."""

    starts: I64
    """(n + 1,) where those of each begin."""
    pages: U32
    """(m,) of each ascending, each once."""

    def of(self, number: int) -> U32:
        """The pages of one; none of what there is not."""
        if not 0 <= number < len(self.starts) - 1:
            return NO_PAGES
        return self.pages[self.starts[number] : self.starts[number + 1]]

    def some(self, numbers: I64) -> Groups:
        """Those of some (k,), in that order; of a number below 0 none."""
        bounded = np.append(self.starts, self.starts[-1])
        rows = np.where((numbers >= 0) & (numbers < len(self.starts) - 1), numbers, len(self.starts) - 1)
        starts, places = _chosen(bounded, rows)
        return Groups(starts, self.pages[places])


def grouped(keys: npt.NDArray[Any], pages: U32, count: int) -> Groups:
    """Pages (m,), ascending, by their keys (m,) of 0 to `count`; keys outside are left out."""
    inside = (keys >= 0) & (keys < count)
    if not inside.all():
        keys, pages = keys[inside], pages[inside]
    # Two bytes are sorted digit by digit, in a tenth of the time of four.
    order = np.argsort(keys.astype(np.uint16) if count <= 1 << 16 else keys, kind="stable")
    keys, pages = keys[order], pages[order]
    once = np.ones(len(keys), np.bool_)
    once[1:] = (keys[1:] != keys[:-1]) | (pages[1:] != pages[:-1])  # a process may map a page at two places
    starts = np.zeros(count + 1, np.int64)
    np.cumsum(np.bincount(keys[once], minlength=count), out=starts[1:])
    return Groups(starts, pages[once].astype(np.uint32, copy=False))
