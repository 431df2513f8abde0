"""Windows: how places are cut so that processes can search them a part at a time, and nothing is lost in between."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bridge.semantic.search.places import Places


@dataclass(frozen=True, slots=True)
class Span:
    """Matches that begin in [begin, until); memory is seen from `low` to `high`. All are positions."""

    low: int
    begin: int
    until: int
    high: int


@dataclass(frozen=True, slots=True)
class Window:
    """Spans that are searched in one go, one after the other in memory."""

    spans: tuple[Span, ...]
    goes_on: bool
    """Whether the memory of the last span goes on in the next window."""

    @property
    def searched(self) -> int:
        """All positions before this one have been searched with this window."""
        return self.spans[-1].until


def joined_windows(places: Places, chunk: int, longest: int) -> Iterator[Window]:
    """Spans of memory that belongs together, of `chunk` bytes at most, each with what a match of `longest` bytes, or a
    look around one, needs beyond; as many as fit in `chunk + 2 * longest + 1` bytes.
    """
    room = chunk + 2 * longest + 1
    first = np.flatnonzero(places.joined == 0)
    begins = places.starts[first]
    ends = np.append(begins, places.n_bytes)[1:]
    spans: list[Span] = []
    size = 0
    for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
        for at in range(begin, end, chunk):
            until = min(at + chunk, end)
            span = Span(max(begin, at - longest), at, until, min(until + longest + 1, end))
            if spans and size + span.high - span.low > room:
                yield Window(tuple(spans), at > begin)
                spans, size = [], 0
            spans.append(span)
            size += span.high - span.low
    if spans:
        yield Window(tuple(spans), goes_on=False)


def overlapping_windows(places: Places, chunk: int, overlap: int) -> Iterator[Window]:
    """All places in windows of `chunk` bytes, each of which has the last `overlap` bytes of the one before."""
    if not places.n_bytes:
        return
    for begin in range(0, max(places.n_bytes - overlap, 1), chunk - overlap):
        high = min(begin + chunk, places.n_bytes)
        last = high == places.n_bytes
        yield Window((Span(begin, begin, high if last else begin + chunk - overlap, high),), goes_on=not last)
