"""Watching: pages whose writers the user wants to know, and what has written to them since, machine by machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from app.tracing import Tracer, TracerState
from bridge.memory.physical_map import PAGE_BYTES
from bridge.trace.layout import layout
from bridge.trace.modes import Mode, Recorded
from bridge.trace.writers import Access, access_of_touch, backwards, overlapping

if TYPE_CHECKING:
    from collections.abc import Iterable

    from app.tracing import Tracers
    from bridge.trace.session import TraceSession

MOST_KEPT = 1 << 16
"""Hits of a machine; the oldest go first."""
MOST_TOLD = 100
MOST_PAGES = 1 << 16
_JOB = "watching"


@dataclass(frozen=True, slots=True)
class Asked:
    """Bytes that somebody asks the writers of: by physical address, from `first` to before `end`."""

    first: int
    end: int


@dataclass(frozen=True, slots=True)
class Told:
    """The answer, as of the last look."""

    asked: Asked
    accesses: tuple[Access, ...] = ()
    """The newest first, at most MOST_TOLD."""
    known: int = 0
    """How many are known of these bytes."""
    dropped: int = 0
    """Hits that had no room, of any watched page, since the machine was started: then some are missing."""
    backwards: bool = False
    """Whether they are what the rings of a trace still hold."""
    at_ns: int = 0
    """CLOCK_MONOTONIC of the look."""


class Watching:
    """Of one machine. The window's thread asks; the tracer's thread looks."""

    def __init__(self, tracer: Tracer) -> None:
        self.tracer = tracer
        self.pages: NDArray[np.int64] = np.zeros(0, np.int64)
        """Of the RAM file, rising; not to be written to."""
        self.loads = False
        self._asked: Asked | None = None
        self._told: Told | None = None
        self._hits: NDArray[Any] = np.zeros(0, layout()["touch"])
        self._dropped = 0
        self._applied: tuple[TraceSession, NDArray[np.int64], bool] | None = None

    def watch(self, pages: Iterable[int], *, loads: bool = False) -> None:
        """Know who stores to these pages of the RAM file, and to no others, from now on; `loads`: who loads, too.

        Has the plugin watch, which it does instead of what it did. Of more than MOST_PAGES the first are watched.
        """
        self.pages, self.loads = np.unique(np.fromiter(pages, np.int64))[:MOST_PAGES], loads
        self._told = None
        self.tracer.attend(_JOB, self.look if len(self.pages) else None)
        if len(self.pages) and self.tracer.mode is not Mode.WATCH:
            self.tracer.set_mode(Mode.WATCH)
        elif not len(self.pages) and self.tracer.mode is Mode.WATCH:
            self.tracer.set_mode(Mode.OFF)

    def follow(self) -> None:
        """Take part in the tracer's looks wherever there is something to tell: a trace tells without a watched page."""
        if self.tracer.state is TracerState.ON:
            self.tracer.attend(_JOB, self.look)

    @property
    def watches(self) -> bool:
        """Whether the plugin has pages watched now."""
        return bool(len(self.pages)) and self.tracer.mode is Mode.WATCH

    def holds(self, page: int) -> bool:
        """Whether a page of the RAM file is watched."""
        return self.watches and bool(np.isin(page, self.pages))

    def ask(self, first: int, end: int) -> Told | None:
        """Who wrote to these bytes; None until the next look, which is a fraction of a second away."""
        asked, told = Asked(first, end), self._told
        if self._asked != asked:
            self._asked = asked
        return told if told is not None and told.asked == asked else None

    def look(self, session: TraceSession) -> None:
        """Take in what was written since the last look; on the tracer's thread. Raises TraceError."""
        pages, loads = self.pages, self.loads
        applied = self._applied
        anew = applied is None or applied[0] is not session or applied[1] is not pages or applied[2] != loads
        if anew:
            session.watch(pages[pages < session.memory.pages], loads=loads)
            self._applied = session, pages, loads
        hits, dropped = session.hits()
        if anew:  # what was watched before is not asked for any more
            self._hits, hits, self._dropped = self._hits[:0], hits[:0], dropped
        kept = np.concatenate([self._hits, hits])[-MOST_KEPT:]
        self._hits = kept
        asked = self._asked
        if asked is None:
            return
        at_ns = int(session.memory.plugin["published_ns"])
        wish = self.tracer.wish
        if wish.mode is Mode.TRACE and Recorded.STORES in wish.records:
            found = tuple(backwards(session, asked.first, asked.end, MOST_TOLD))
            self._told = Told(asked, found, len(found), 0, True, at_ns)
            return
        if dropped > self._dropped:
            # Some had no room: the last one to each page is known all the same.
            kept = np.concatenate([kept, self._last_ones(session, asked, kept)])
        mine = np.flatnonzero(overlapping(kept, asked.first, asked.end))
        told = tuple(access_of_touch(session, kept[at]) for at in mine[: -MOST_TOLD - 1 : -1].tolist())
        self._told = Told(asked, told, len(mine), dropped, False, at_ns)

    def _last_ones(self, session: TraceSession, asked: Asked, kept: NDArray[Any]) -> NDArray[Any]:
        """The last stores to the pages that are asked about, where they are newer than all hits that are kept."""
        ram = self.tracer.machine.ram
        if ram is None:
            return kept[:0]
        places = np.arange(asked.first // PAGE_BYTES, (asked.end - 1) // PAGE_BYTES + 1, dtype=np.uint64) * PAGE_BYTES
        offsets = ram.physical_map.offset_from_paddr(places[:MOST_TOLD].astype(np.uint64))
        pages = offsets[offsets >= 0] // PAGE_BYTES
        stores = session.last_touches(pages[np.isin(pages, self.pages)])[:, 1]
        newest = int(kept["ns"][-1]) if len(kept) else 0
        found: NDArray[Any] = stores[stores["ns"] > newest]
        return found[np.argsort(found["ns"], kind="stable")]


class Watchings:
    """Of all machines, by name. Belongs to the main thread."""

    def __init__(self, tracers: Tracers) -> None:
        self._tracers = tracers
        self._watchings: dict[str, Watching] = {}

    def of(self, machine: str | None) -> Watching | None:
        """A machine's; None for a dump, in which nothing runs, and where there is no machine."""
        tracer = self._tracers.of(machine)
        if tracer is None or machine is None:
            self._watchings.pop(machine or "", None)
            return None
        found = self._watchings.get(machine)
        if found is None or found.tracer is not tracer:
            found = self._watchings[machine] = Watching(tracer)
        found.follow()
        return found
