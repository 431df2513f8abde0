"""Results: what answers a query, as arrays and as the JSON document that the command line and the interfaces give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bridge.semantic.query.model import Query

Ranges = npt.NDArray[np.int64]
U32 = npt.NDArray[np.uint32]

NO_PAGES: U32 = np.zeros(0, np.uint32)
NO_RANGES: Ranges = np.zeros((0, 2), np.int64)


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
    matches: tuple[Match, ...]
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
