"""Answering: a query and a machine make a result."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from bridge.semantic.query.finding import Finder
from bridge.semantic.query.found import Found, pages_of
from bridge.semantic.query.model import Changing, Query, Target, Verb, When
from bridge.semantic.query.results import U32, Comparison, Match, Result
from bridge.semantic.query.world import Mask, NotWatched, World

__all__ = ["Comparison", "Match", "NotWatched", "Result", "World", "answer_query"]

MAX_MATCHES = 10_000
"""Of an answer: nobody reads more, and a guest decides how many there are."""


@dataclass(frozen=True, slots=True)
class _Side:
    """What one target gave."""

    found: list[Found]
    pages: U32
    complete: bool


def answer_query(query: Query, world: World) -> Result:
    """What a query finds in a machine.

    Raises KernelError (NotWatched among them) where the machine cannot tell, and what `world.search` raises for a
    pattern that makes no sense.
    """
    started = time.perf_counter()
    written = None if query.when is None else _written(query.when, world)
    finder = Finder(world, written)
    scope = None if query.within is None else finder.scope(query.within)
    left = _side(finder, world, query.target, scope, query.within)
    comparison, found, pages, complete = None, left.found, left.pages, left.complete
    if query.against is not None:
        right = _side(finder, world, query.against, scope, query.within)
        both = len(np.intersect1d(left.pages, right.pages, assume_unique=True))
        comparison = Comparison(
            finder.title(query.target), finder.title(query.against), len(left.pages), len(right.pages), both
        )
        found, pages = found + right.found, np.union1d(pages, right.pages)
        complete = complete and right.complete
    if query.verb is Verb.GO_TO and not len(pages):
        finder.note("There is nowhere to go: nothing that was found is in memory.")
    matches = finder.matches(found)
    elapsed_s = time.perf_counter() - started
    return Result(query, matches, pages, elapsed_s, complete, tuple(dict.fromkeys(finder.notes)), comparison)


def _written(when: When, world: World) -> Mask:
    if when.how is Changing.WRITTEN:
        assert when.within_s is not None
        return world.written(when.within_s)
    return world.changed_since(when.since_s(time.time()))


def _side(finder: Finder, world: World, target: Target, scope: U32 | None, within: Target | None) -> _Side:
    """What one target is, only in the pages of a scope, and only of what was written then."""
    kept = finder.kept(scope, target)
    found = finder.find(target, scope, within)
    left: list[Found] = []
    room, complete = MAX_MATCHES, True
    for one in _until_cancelled(found, world):
        counted = finder.cut(one, kept)
        if len(counted) > room:
            complete = False
            finder.note(f"These are the first {MAX_MATCHES:,}; there are more.")
            left.append(counted.some(np.arange(room)))
            break
        left.append(counted)
        room -= len(counted)
    if world.cancelled():
        complete = False
        finder.note("It was cancelled: there may be more.")
    return _Side(left, pages_of(left, world.n_pages), complete and finder.complete)


def _until_cancelled(found: Iterable[Found], world: World) -> Iterable[Found]:
    for one in found:
        if world.cancelled():
            return
        yield one
