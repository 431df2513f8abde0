"""Finding: the things that a target means, each with its pages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from bridge.semantic.query import of_kernel, patterns, places
from bridge.semantic.query.found import Found, Made, grouped, pages_of
from bridge.semantic.query.model import PATTERNS, Kind, Relation, Subject, Target
from bridge.semantic.query.naming import KERNELS_OWN
from bridge.semantic.query.of_processes import PARTS, of_processes, tables
from bridge.semantic.query.results import U32, Matches
from bridge.semantic.query.sight import Sight
from bridge.semantic.query.texts import shown
from bridge.semantic.query.world import Mask, World


class Finder:
    """Finds in one machine, at one look. What else should be known is in `notes`."""

    def __init__(self, world: World, written: Mask | None) -> None:
        self._sight = Sight(world, written)

    @property
    def notes(self) -> list[str]:
        """What else should be known, in sentences."""
        return self._sight.notes

    @property
    def complete(self) -> bool:
        """Whether no search met a limit."""
        return self._sight.complete

    def note(self, sentence: str) -> None:
        """Say something with the answer."""
        self._sight.note(sentence)

    def title(self, target: Target) -> str:
        """What a target is called: its text, safe to show."""
        return shown(str(target))

    def kept(self, scope: U32 | None, target: Target | None = None) -> Mask | None:
        """(n_pages,) the pages of a target that count: in a scope, and written when it was asked for. None: all."""
        written = self._sight.written
        if written is not None and target is not None and target.subject.kind is Kind.PROCESS and _is_own(target):
            # What the kernel writes into pages of its own, such as the time, no process that maps them wrote.
            written = written & ~np.isin(self._sight.look.classes, KERNELS_OWN)
        if scope is None:
            return written
        mask = np.zeros(self._sight.world.n_pages, np.bool_)
        mask[scope] = True
        return mask if written is None else mask & written

    def scope(self, target: Target) -> U32:
        """(n,) the pages of a target."""
        return pages_of(self.find(target, None), self._sight.world.n_pages)

    def cut(self, found: Found, kept: Mask | None) -> Found:
        """Of what was found, what counts."""
        return found.only(kept, self._sight.pages_at)

    def matches(self, found: list[Found]) -> Matches:
        """What was found, as an answer lists it."""
        return Matches(found, self._sight.look.classes, self._sight.map)

    def find(self, target: Target, scope: U32 | None, within: Target | None = None) -> Iterable[Found]:
        """What a target means. `scope` are the pages of `within`: it saves searching where nothing counts, and is not
        applied otherwise. An address within a process is one of its virtual ones.
        """
        sight, subject, relation = self._sight, target.subject, target.relation
        if relation is Relation.OWNERS:
            return self._owners(subject)
        if target.other is not None:
            return self._shared(subject, target.other)
        if subject.kind is Kind.PROCESS:
            return of_processes(sight, relation, sight.indices(subject))
        if subject.kind in PATTERNS:
            return patterns.hits(sight, subject, self.kept(scope), within)
        if subject.kind is Kind.KERNEL:
            return of_kernel.of_kernel(sight, relation)
        if relation is Relation.PAGE_TABLES:
            return tables(sight, None)
        if subject.kind is Kind.ADDRESS:
            of_process = within is not None and within.subject.kind is Kind.PROCESS and not within.subject.is_every
            pids = (
                sight.look.processes.pids[sight.indices(within.subject)].tolist() if within and of_process else [None]
            )
            return (one for pid in pids for one in places.address(sight, subject, pid))
        return _OF_ITSELF[subject.kind](sight, subject)

    def _shared(self, one: Subject, other: Subject) -> Iterator[Found]:
        mine, theirs = (self.scope(Target(subject)) for subject in (one, other))
        yield self._sight.namer.groups(np.intersect1d(mine, theirs, assume_unique=True))

    def _owners(self, subject: Subject) -> Iterator[Found]:
        """The processes that map any page of something; where none does, what the pages are."""
        sight = self._sight
        pages = self.scope(Target(subject))
        whose, mapped = sight.ask("mapped", pages)
        groups = grouped(whose, mapped, len(sight.look.processes))
        owners = np.flatnonzero(np.diff(groups.starts))
        groups, called, total = groups.some(owners), sight.called, _pages(len(pages))
        pids, counts = sight.look.processes.pids[owners].astype(np.int64), np.diff(groups.starts)
        labels = Made(
            lambda at: f"{called.called(int(pids[at]))} maps {int(counts[at]):,} of {total}", np.arange(len(owners))
        )
        yield Found(labels, ["owner"] * len(owners), pids, groups.starts, groups.pages)
        free = np.ones(sight.world.n_pages, np.bool_)
        free[groups.pages] = False
        nobody = pages[free[pages]]
        if len(owners) and len(nobody):
            sight.note(f"{_pages(len(nobody))} of it no process maps.")
        elif len(nobody):
            sight.note("No process maps it.")
            yield sight.namer.groups(nobody)


_OF_ITSELF: dict[Kind, Callable[[Sight, Subject], Iterable[Found]]] = {
    Kind.FILE: of_kernel.file,
    Kind.MODULE: of_kernel.module,
    Kind.SLAB: of_kernel.slab,
    Kind.SYMBOL: places.symbol,
    Kind.CLASS: of_kernel.one_class,
    Kind.EVERYTHING: of_kernel.everything,
}


def _is_own(target: Target) -> bool:
    """Whether it is memory that a process maps, rather than what the kernel keeps for it."""
    return target.relation in PARTS or target.relation in (Relation.MEMORY, Relation.REGIONS, Relation.CHILDREN)


def _pages(count: int) -> str:
    return "1 page" if count == 1 else f"{count:,} pages"
