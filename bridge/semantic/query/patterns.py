"""Patterns: where bytes, a text, an expression or rules match, each match with what it lies in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from bridge.kernel.owned import Owned
from bridge.memory.physical_map import PAGE_BYTES
from bridge.semantic.query.found import Found, Made, Spans
from bridge.semantic.query.model import Kind, Relation, Subject, Target
from bridge.semantic.query.of_processes import PARTS
from bridge.semantic.query.results import I64, NOBODY, U32
from bridge.semantic.query.sight import Sight
from bridge.semantic.query.texts import shown
from bridge.semantic.query.world import Mask
from bridge.semantic.search.places import VirtualPages
from bridge.semantic.search.results import SearchResult

MAX_HITS = 10_000


def hits(sight: Sight, subject: Subject, kept: Mask | None, within: Target | None) -> Iterator[Found]:
    """Where a pattern matches in the pages that count (None: all), in the order of the addresses of `within`."""
    if kept is not None and not kept.any():
        return
    seen: set[tuple[int, int]] = set()
    spaces: Sequence[VirtualPages | Mask | None] = _spaces(sight, within, kept) or [kept]
    for space in spaces:
        found = sight.world.search(subject, space, MAX_HITS - len(seen))
        sight.complete = sight.complete and found.complete
        for note in found.notes:
            sight.note(shown(note))
        # A page that two processes map, or one of them twice, is told of once.
        keys = zip(found.offsets.tolist(), found.lengths.tolist(), strict=True)
        fresh = np.array([at for at, key in enumerate(keys) if key not in seen and not seen.add(key)], np.int64)  # type: ignore[func-returns-value]
        if len(fresh):
            yield _as_found(sight, subject, found).some(fresh)
        if len(seen) >= MAX_HITS:
            return


def _as_found(sight: Sight, subject: Subject, found: SearchResult) -> Found:
    """All hits at once: there may be ten thousand."""
    number, offsets, lengths = found.parts[:, 0], found.parts[:, 1], found.parts[:, 2]
    paddrs = sight.map.paddr_from_offset(offsets.astype(np.uint64)).astype(np.int64)
    begins = np.searchsorted(number, np.arange(len(found) + 1))
    named = sight.namer.names(found.offsets.astype(np.int64) // PAGE_BYTES)
    names = ["" if name == subject.value else f" {shown(str(name), 60)}" for name in found.names]
    firsts = paddrs[begins[:-1]]

    def label(at: int) -> str:
        return f"{int(firsts[at]):#x}{names[int(found.which[at])]} in {named[at][0]}"

    starts, pages = _pages_of(number, offsets, lengths, len(found))
    return Found(
        Made(label, np.arange(len(found))),
        ["hit"] * len(found),
        np.array([NOBODY if pid is None else pid for _, _, pid in named], np.int64),
        starts,
        pages,
        Spans(begins, np.column_stack([paddrs, lengths])),
    )


def _pages_of(number: I64, offsets: I64, lengths: I64, count: int) -> tuple[I64, U32]:
    """The pages of each match, given the parts of all: where those of each begin, and they themselves, ascending."""
    first = offsets // PAGE_BYTES
    many = (offsets + lengths - 1) // PAGE_BYTES - first + 1
    before = np.append(0, np.cumsum(many))
    pages = np.repeat(first - before[:-1], many) + np.arange(before[-1])
    whose = np.repeat(number, many)
    order = np.lexsort((pages, whose))  # a match may go on in a page that lies before its first
    pages, whose = pages[order], whose[order]
    once = np.ones(len(pages), np.bool_)
    once[1:] = (whose[1:] != whose[:-1]) | (pages[1:] != pages[:-1])
    starts = np.append(0, np.cumsum(np.bincount(whose[once], minlength=count)))
    return starts, pages[once].astype(np.uint32)


def _spaces(sight: Sight, within: Target | None, kept: Mask | None) -> list[VirtualPages]:
    """The memory of the processes that are asked about in the order of their addresses, where a text may go on in a
    page that lies elsewhere; none where it is not that of processes.
    """
    if within is None or within.subject.kind is not Kind.PROCESS or within.subject.is_every or within.other:
        return []
    if within.relation is not Relation.MEMORY and within.relation not in PARTS:
        return []
    indices = sight.indices(within.subject)
    if not sight.look.processes.mms[indices].all():
        return []  # threads of the kernel have no addresses of their own
    part = PARTS.get(within.relation)
    pids = tuple(sight.look.processes.pids[indices].tolist())
    owned: Owned = sight.ask("owned", pids, None if part is None else int(part))
    counts = np.ones(len(owned.pages), np.bool_) if kept is None else kept[owned.pages]
    own = [counts & (owned.processes == index) for index in indices]
    return [VirtualPages(owned.vaddrs[mask], owned.pages[mask]) for mask in own if mask.any()]
