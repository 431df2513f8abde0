"""Reach: what can be reached in a graph, in how many steps, and by which way; of a program's flow, or of any other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.memory.physical_map import PAGE_BYTES
from bridge.trace.flow import Flow


@dataclass(frozen=True, slots=True)
class Reached:
    """What a search in breadth found in a graph of n."""

    steps: NDArray[np.int64]
    """(n,): the least number of edges to each; -1: it cannot be reached."""
    previous: NDArray[np.int64]
    """(n,): on a shortest way, where each is met from; -1 for the starts, and for what cannot be reached."""

    @property
    def found(self) -> NDArray[np.int64]:
        """What can be reached, the nearest first."""
        reached = np.flatnonzero(self.steps >= 0)
        return reached[np.argsort(self.steps[reached], kind="stable")]

    def path(self, target: int) -> tuple[int, ...]:
        """A shortest way from one of the starts to a target, both included; empty where there is none."""
        if self.steps[target] < 0:
            return ()
        way = [target]
        while self.previous[way[-1]] >= 0:
            way.append(int(self.previous[way[-1]]))
        return tuple(reversed(way))

    def nearest(self, targets: Iterable[int]) -> int | None:
        """Of some targets the one in the fewest steps."""
        known = [target for target in targets if self.steps[target] >= 0]
        return min(known, key=lambda target: int(self.steps[target]), default=None)


def reach(flow: Flow, starts: Iterable[int]) -> Reached:
    """Search from all starts at once. To ask what leads to them, search the graph that is turned around."""
    count = len(flow.first) - 1
    steps, previous = np.full(count, -1, np.int64), np.full(count, -1, np.int64)
    front = np.unique(np.fromiter(starts, np.int64))
    steps[front] = 0
    distance = 0
    while len(front):
        distance += 1
        degrees = flow.first[front + 1] - flow.first[front]
        from_ = np.repeat(front, degrees)
        places = np.arange(len(from_)) - np.repeat(np.cumsum(degrees) - degrees, degrees) + flow.first[from_]
        targets = flow.targets[places]
        new = steps[targets] < 0
        front, first = np.unique(targets[new], return_index=True)
        steps[front] = distance
        previous[front] = from_[new][first]
    return Reached(steps, previous)


def page_ranges(addresses: NDArray[np.uint64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """The pages that hold these bytes, as physical start and length (n, 2), by address, neighbours joined."""
    if not len(addresses):
        return np.zeros((0, 2), np.int64)
    first = (addresses >> np.uint64(12)).astype(np.int64)
    last = ((addresses + np.maximum(sizes, 1).astype(np.uint64) - np.uint64(1)) >> np.uint64(12)).astype(np.int64)
    pages = np.unique(np.concatenate([first, last]))  # no block is longer than a page
    begins = np.flatnonzero(np.diff(pages, prepend=pages[0] - 2) > 1)
    counts = np.diff(np.append(begins, len(pages)))
    return np.column_stack([pages[begins] * PAGE_BYTES, counts * PAGE_BYTES])
