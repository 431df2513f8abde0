"""Results: what answers a query, as arrays and as the JSON document that the command line and the interfaces give."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from bridge.kernel.page_classes import CLASS_TITLES, PageClass
from bridge.memory.physical_map import PAGE_BYTES, PhysicalMap
from bridge.semantic.query.model import Query

if TYPE_CHECKING:
    from bridge.semantic.query.found import Found

Ranges = npt.NDArray[np.int64]
I64 = npt.NDArray[np.int64]
U32 = npt.NDArray[np.uint32]

NO_PAGES: U32 = np.zeros(0, np.uint32)
NO_RANGES: Ranges = np.zeros((0, 2), np.int64)
NOBODY = -1
"""The process of what is no process's."""
NOWHERE = -1
"""The first address of what is not in memory."""
SEVERAL = "several"
_SEVERAL, _NONE = 254, 255
"""Beside the numbers of page classes."""
_FEW = 32
"""Pages that are put together one by one."""


@dataclass(frozen=True, slots=True, eq=False)
class Match:
    """One thing that was found. The label is safe to show: one bounded line of printable characters."""

    label: str
    kind: str
    """What it is: process, region, heap, kernel stack, page tables, file, socket, module, slab, symbol, class, address,
    hit, …"""
    pid: int | None
    """Whose it is, if it is one process's."""
    ranges: Ranges
    """(n, 2) physical start and length in bytes, by address."""
    pages: U32
    """(n,) pages of the RAM file, ascending, each once."""
    page_class: str
    """The title of their class; `several` where they differ; empty where there are none."""

    def document(self) -> dict[str, Any]:
        """It as JSON values."""
        return {
            "label": self.label,
            "kind": self.kind,
            "pid": self.pid,
            "ranges": self.ranges.tolist(),
            "pages": len(self.pages),
            "class": self.page_class,
        }


class Matches(Sequence[Match]):
    """All that was found, as arrays; a Match is made of them for who looks at one."""

    def __init__(self, tables: Sequence[Found], classes: npt.NDArray[np.uint8], physical_map: PhysicalMap) -> None:
        """`classes`: (n_pages,) PageClass of each page of the RAM file."""
        self._tables = tuple(table for table in tables if len(table))
        self._map = physical_map
        self._first = np.cumsum([0, *map(len, self._tables)])
        self._classes = np.concatenate([_EMPTY, *(_class_of(table, classes) for table in self._tables)])

    def __len__(self) -> int:
        return int(self._first[-1])

    @overload
    def __getitem__(self, at: int) -> Match: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Match]: ...
    def __getitem__(self, at: int | slice) -> Match | Sequence[Match]:
        if isinstance(at, slice):
            return tuple(map(self._match, range(*at.indices(len(self)))))
        if not -len(self) <= at < len(self):
            raise IndexError(at)
        return self._match(at % len(self))

    def __iter__(self) -> Iterator[Match]:
        return map(self._match, range(len(self)))

    def _match(self, at: int) -> Match:
        number, row = self._place(at)
        table = self._tables[number]
        pages = table.pages[table.starts[row] : table.starts[row + 1]]
        if table.spans is None:
            ranges = _joined(self._paddrs[number][table.starts[row] : table.starts[row + 1]])
        else:
            ranges = table.spans.ranges[table.spans.starts[row] : table.spans.starts[row + 1]]
        pid = int(table.pids[row])
        kind = _title(int(self._classes[at]))
        return Match(table.labels[row], table.kinds[row], None if pid == NOBODY else pid, ranges, pages, kind)

    def _place(self, at: int) -> tuple[int, int]:
        """Which table holds one, and its row there."""
        number = int(np.searchsorted(self._first, at, side="right")) - 1
        return number, at - int(self._first[number])

    @cached_property
    def _paddrs(self) -> tuple[I64, ...]:
        """Of each table, (m,) where its pages lie for the guest, -1 for nowhere."""
        return tuple(paddrs_of(self._map, table.pages) for table in self._tables)

    def label(self, at: int) -> str:
        """What one is called."""
        number, row = self._place(at)
        return self._tables[number].labels[row]

    def kind(self, at: int) -> str:
        """What one is."""
        number, row = self._place(at)
        return self._tables[number].kinds[row]

    def page_class(self, at: int) -> str:
        """The title of the class of one's pages; see Match."""
        return _title(int(self._classes[at]))

    @cached_property
    def pids(self) -> I64:
        """(n,) whose each is, or NOBODY."""
        return np.concatenate([_EMPTY, *(table.pids for table in self._tables)]).astype(np.int64)

    @cached_property
    def is_of_one_kind(self) -> bool:
        """Whether all are of the same kind."""
        return len({kind for table in self._tables for kind in table.kinds}) <= 1

    @cached_property
    def is_of_one_process(self) -> bool:
        """Whether all are one process's, or nobody's."""
        return not len(self) or bool((self.pids == self.pids[0]).all())

    @cached_property
    def page_counts(self) -> I64:
        """(n,) how many pages each has."""
        return np.concatenate([_EMPTY, *(np.diff(table.starts) for table in self._tables)]).astype(np.int64)

    @cached_property
    def sizes(self) -> I64:
        """(n,) how many bytes each is."""
        return self._extents[0]

    @cached_property
    def firsts(self) -> I64:
        """(n,) the guest-physical address of the first byte of each, or NOWHERE."""
        return self._extents[1]

    @cached_property
    def _extents(self) -> tuple[I64, I64]:
        told = [_extents(table, paddrs) for table, paddrs in zip(self._tables, self._paddrs, strict=True)]
        sizes, firsts = zip(*told, strict=True) if told else ((), ())
        return np.concatenate([_EMPTY, *sizes]).astype(np.int64), np.concatenate([_EMPTY, *firsts]).astype(np.int64)

    def holding(self, page: int) -> int | None:
        """The index of the smallest that has a page of the RAM file."""
        rows = [
            first + np.searchsorted(table.starts, np.flatnonzero(table.pages == page), side="right") - 1
            for first, table in zip(self._first.tolist(), self._tables, strict=False)
        ]
        found = np.concatenate([_EMPTY, *rows]).astype(np.int64)
        return int(found[np.argmin(self.page_counts[found])]) if len(found) else None


_EMPTY = np.zeros(0, np.uint8)


def _class_of(table: Found, classes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """(n,) the class that the pages of each have, or _SEVERAL, or _NONE."""
    found = np.full(len(table), _NONE, np.uint8)
    some = np.flatnonzero(np.diff(table.starts))
    if len(some):
        kinds = classes[table.pages]
        # What begins where another ends: groups without pages lie between and take nothing.
        least, most = (how.reduceat(kinds, table.starts[some]) for how in (np.minimum, np.maximum))
        found[some] = np.where(least == most, least, _SEVERAL)
    return found


def _title(number: int) -> str:
    return SEVERAL if number == _SEVERAL else "" if number == _NONE else CLASS_TITLES[PageClass(number)]


def _extents(table: Found, paddrs: I64) -> tuple[I64, I64]:
    """(n,) bytes of each, and the lowest address."""
    starts, lowest = table.starts, np.iinfo(np.int64).max
    if table.spans is None:
        lengths = np.where(paddrs >= 0, PAGE_BYTES, 0)
        places = np.where(paddrs >= 0, paddrs, lowest)
    else:
        starts, places, lengths = table.spans.starts, table.spans.ranges[:, 0], table.spans.ranges[:, 1]
    before = np.append(0, np.cumsum(lengths))
    firsts = np.full(len(table), lowest, np.int64)
    some = np.flatnonzero(np.diff(starts))
    if len(some):
        firsts[some] = np.minimum.reduceat(places, starts[some])
    return np.diff(before[starts]), np.where(firsts == lowest, NOWHERE, firsts)


def paddrs_of(physical_map: PhysicalMap, pages: U32) -> I64:
    """(n,) where pages lie for the guest, -1 for nowhere."""
    return physical_map.paddr_from_offset(pages.astype(np.uint64) * np.uint64(PAGE_BYTES)).astype(np.int64)


def ranges_of(physical_map: PhysicalMap, pages: U32) -> Ranges:
    """(n, 2) where pages lie for the guest: start and length, those that touch as one, by address."""
    return _joined(paddrs_of(physical_map, pages))


def _joined(paddrs: I64) -> Ranges:
    if len(paddrs) <= _FEW:
        return _few_joined(sorted(paddrs.tolist()))
    paddrs = np.sort(paddrs[paddrs >= 0])
    if not len(paddrs):
        return NO_RANGES
    first = np.flatnonzero(np.diff(paddrs, prepend=-2 * PAGE_BYTES) != PAGE_BYTES)
    counts = np.diff(np.append(first, len(paddrs)))
    return np.stack([paddrs[first], counts * PAGE_BYTES], axis=1)


def _few_joined(paddrs: list[int]) -> Ranges:
    """The same of a few pages, ascending: arrays would take longer."""
    found: list[list[int]] = []
    for paddr in paddrs:
        if found and found[-1][0] + found[-1][1] == paddr:
            found[-1][1] += PAGE_BYTES
        elif paddr >= 0:
            found.append([paddr, PAGE_BYTES])
    return np.array(found, np.int64).reshape(-1, 2)


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two things differ, in pages."""

    left: str
    right: str
    left_pages: int
    right_pages: int
    both_pages: int


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """The answer to a query."""

    query: Query
    matches: Matches
    pages: U32
    """(n,) of all matches together, ascending, each once."""
    elapsed_s: float
    complete: bool = True
    """Whether these are all: false where a limit was met, or it was cancelled."""
    notes: tuple[str, ...] = ()
    """What else should be known, in sentences. Safe to show."""
    comparison: Comparison | None = None

    @property
    def count(self) -> int:
        """How many matches there are."""
        return len(self.matches)

    def document(self) -> dict[str, Any]:
        """The JSON of `find --json`."""
        found: dict[str, Any] = {
            "query": str(self.query),
            "matches": [match.document() for match in self.matches],
            "elapsed_ms": round(self.elapsed_s * 1000, 3),
            "pages": len(self.pages),
            "complete": self.complete,
            "notes": list(self.notes),
        }
        if self.comparison is not None:
            one = self.comparison
            found["comparison"] = {
                "left": {"label": one.left, "pages": one.left_pages},
                "right": {"label": one.right, "pages": one.right_pages},
                "both": one.both_pages,
            }
        return found
