"""The searcher: finds a pattern in RAM, and delivers what it finds as it goes."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import fields

from bridge.memory.physical import HoldsRam
from bridge.memory.physical_map import PAGE_BYTES
from bridge.semantic.search.expressions import ExpressionSearch, Limits
from bridge.semantic.search.found import Cancelled, SearchEnded
from bridge.semantic.search.needle_search import NeedleSearch
from bridge.semantic.search.pattern import BadPattern, Pattern, PatternKind
from bridge.semantic.search.places import Mask, Places, VirtualPages, physical_places, virtual_places
from bridge.semantic.search.results import Hits, SearchResult, hits_at, joined_hits
from bridge.semantic.search.source import Source, open_source

DEFAULT_LIMIT = 10_000
MAX_LIMIT = 1_000_000
_MOST_THREADS = 4

Progress = Callable[[float], None]
"""Takes the share that was searched, 0 to 1."""


class Searcher:
    """Searches one machine's RAM, or a dump. Safe to use from several threads."""

    def __init__(self, ram: HoldsRam, *, threads: int | None = None, limits: Limits | None = None) -> None:
        """`threads`: also how many processes run expressions. `limits`: what an expression may take."""
        self._ram = ram
        self._threads = threads or min(_MOST_THREADS, len(os.sched_getaffinity(0)))
        self._limits = limits or Limits()

    def search(
        self,
        pattern: Pattern,
        pages: Mask | VirtualPages | None = None,
        *,
        limit: int = DEFAULT_LIMIT,
        cancelled: Cancelled = lambda: False,
        progress: Progress = lambda _share: None,
        found: Callable[[Hits], None] = lambda _hits: None,
    ) -> SearchResult:
        """Looks for a pattern in all RAM, in the pages of a mask (n_pages,), or in an address space's order.

        What is found is given to `found` in batches, in order, checked once more just before; then all of it is
        returned, at most `limit`. All three functions are called in this thread, `cancelled` at least each 10 ms.
        Raises BadPattern, GuestMemoryError.
        """
        started_s = time.monotonic()
        if not 0 < limit <= MAX_LIMIT:
            raise BadPattern(f"A search gives 1 to {MAX_LIMIT:,} matches, not {limit:,}.")
        places = self._places(pages)
        batches: list[Hits] = []
        notes: list[str] = []
        n_found, gone, missing, searched, complete = 0, 0, 0, 0, True
        with open_source(self._ram) as source:
            search = self._start(pattern, source, places, limit)
            try:
                with contextlib.closing(search.found(cancelled)) as batch_by_batch:
                    for batch in batch_by_batch:
                        searched, missing, gone = batch.searched, missing + batch.missing_bytes, gone + batch.gone
                        n = min(len(batch.positions), limit - n_found)
                        if n:
                            hits = hits_at(places, batch.positions[:n], batch.lengths[:n], batch.which[:n])
                            batches.append(hits)
                            n_found += n
                            found(hits)
                        if n < len(batch.positions):
                            complete = False
                            notes.append(f"These are the first {limit:,}; there are more.")
                            break
                        progress(searched / places.n_bytes)
            except SearchEnded as ended:
                complete = False
                notes.append(str(ended))
        if missing:
            complete = False
            notes.append(f"The RAM file has become shorter: {missing:,} bytes of it are no longer there.")
        whole = joined_hits(places, batches)
        return SearchResult(
            **{field.name: getattr(whole, field.name) for field in fields(whole)},
            names=search.names,
            complete=complete,
            notes=(*notes, *search.notes),
            searched_bytes=searched,
            total_bytes=places.n_bytes,
            gone=gone,
            elapsed_s=time.monotonic() - started_s,
        )

    def _start(self, pattern: Pattern, source: Source, places: Places, limit: int) -> NeedleSearch | ExpressionSearch:
        if pattern.kind in (PatternKind.BYTES, PatternKind.TEXT):
            return NeedleSearch(source, places, pattern.needles(), limit, self._threads)
        return ExpressionSearch(source, places, pattern, limit, self._threads, self._limits)

    def _places(self, pages: Mask | VirtualPages | None) -> Places:
        if isinstance(pages, VirtualPages):
            return virtual_places(pages, self._ram.size_bytes // PAGE_BYTES)
        return physical_places(self._ram.physical_map, self._ram.size_bytes, pages)
