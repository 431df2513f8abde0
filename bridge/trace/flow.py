"""Flow graph of blocks, and the loops in it: dominators by Lengauer and Tarjan ("A Fast Algorithm for Finding
Dominators in a Flowgraph", 1979), natural loops by their back edges, nested by taking each together into its head.

All of it takes little more than linear time in blocks and edges, whatever the graph: hostile ones are as quick.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Flow:
    """A graph of n blocks, its edges by source."""

    first: NDArray[np.int64]
    """(n + 1,): where each block's edges begin in `targets`."""
    targets: NDArray[np.int64]

    def successors(self, block: int) -> NDArray[np.int64]:
        """The blocks that may follow one."""
        return self.targets[self.first[block] : self.first[block + 1]]

    @property
    def sources(self) -> NDArray[np.int64]:
        """(m,): of each edge."""
        return np.repeat(np.arange(len(self.first) - 1), np.diff(self.first))

    def reversed(self) -> Flow:
        """The same with every edge turned around."""
        return flow_from_edges(len(self.first) - 1, self.targets, self.sources)


@dataclass(frozen=True, slots=True)
class Loops:
    """The natural loops of a graph of n blocks with m edges; those of one head are one. Inner ones come first."""

    heads: NDArray[np.int64]
    """(k,): the block by which each is entered."""
    parents: NDArray[np.int64]
    """(k,): the loop that each is in, innermost; -1: none."""
    innermost: NDArray[np.int64]
    """(n,): the loop that each block is in, innermost; -1: none."""
    depths: NDArray[np.int64]
    """(n,): how many loops each block is in."""
    back: NDArray[np.bool_]
    """(m,): which edges, in the order of `Flow.targets`, lead back to a block that dominates their source."""


def flow_of(starts: Sequence[int], successors: Sequence[Sequence[int]]) -> Flow:
    """The graph of blocks that begin at `starts` and go on at these addresses; what begins nowhere is left out."""
    index: Mapping[int, int] = {start: number for number, start in enumerate(starts)}
    rows = [[index[target] for target in targets if target in index] for targets in successors]
    first = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(row) for row in rows], out=first[1:])
    return Flow(first, np.array([target for row in rows for target in row], np.int64))


def flow_from_edges(count: int, sources: NDArray[np.integer[Any]], targets: NDArray[np.integer[Any]]) -> Flow:
    """The graph of `count` blocks and these edges, both (m,), which keep their order under each source."""
    order = np.argsort(sources, kind="stable")
    first = np.zeros(count + 1, np.int64)
    np.cumsum(np.bincount(sources, minlength=count), out=first[1:])
    return Flow(first, np.asarray(targets, np.int64)[order])


def loop_depths(flow: Flow) -> NDArray[np.int64]:
    """How many natural loops each block is in, (n,); 0: none. Cycles with several entries count as no loop."""
    return loops_of(flow).depths


def loops_of(flow: Flow) -> Loops:
    """The natural loops. What nothing leads to is an entry, and of what is not reached then each time the first one."""
    count = len(flow.first) - 1
    order, parents = _preorder(flow)
    place = np.zeros(count, np.int64)  # by block: its number in the search, from 1 on
    place[order] = np.arange(1, count + 1)
    sources = flow.sources
    before = _rows(flow_from_edges(count + 1, place[flow.targets], place[sources]))
    first, behind = _intervals(_dominators(parents, before))
    from_, to = place[sources], place[flow.targets]
    back = (first[to] <= first[from_]) & (first[from_] < behind[to])
    tails: dict[int, list[int]] = {}
    for head, tail in zip(to[back].tolist(), from_[back].tolist(), strict=True):
        tails.setdefault(head, []).append(tail)
    heads, outer, inner = _nests(tails, before)
    depth_of = np.zeros(len(heads) + 1, np.int64)
    for loop in range(len(heads) - 1, -1, -1):  # outer ones come later, and the last entry is that of none
        depth_of[loop] = depth_of[outer[loop]] + 1
    innermost = np.array(inner, np.int64)[place]
    blocks = np.concatenate([[-1], order])
    return Loops(blocks[np.array(heads, np.int64)], np.array(outer, np.int64), innermost, depth_of[innermost], back)


def _rows(flow: Flow) -> list[list[int]]:
    # Lists, as everything here goes from one number to the next, which arrays are slow at.
    targets, first = flow.targets.tolist(), flow.first.tolist()
    return [targets[first[n] : first[n + 1]] for n in range(len(first) - 1)]


def _preorder(flow: Flow) -> tuple[NDArray[np.int64], list[int]]:
    """All blocks as a search in depth meets them, and by number there, from 1 on, whence each was met; 0: an entry."""
    count = len(flow.first) - 1
    entered = np.zeros(count, bool)
    entered[flow.targets[flow.targets != flow.sources]] = True
    targets, first = flow.targets.tolist(), flow.first.tolist()
    seen = [False] * count
    order: list[int] = []
    parents = [0]
    at = first[:-1]  # the next edge of each block
    for root in [*np.flatnonzero(~entered).tolist(), *range(count)]:
        if seen[root]:
            continue
        seen[root] = True
        order.append(root)
        parents.append(0)
        stack = [(root, len(order))]
        while stack:
            block, number = stack[-1]
            place, end = at[block], first[block + 1]
            while place < end and seen[targets[place]]:
                place += 1
            at[block] = place + 1
            if place < end:
                following = targets[place]
                seen[following] = True
                order.append(following)
                parents.append(number)
                stack.append((following, len(order)))
            else:
                stack.pop()
    return np.array(order, np.int64), parents


def _dominators(parents: list[int], before: list[list[int]]) -> list[int]:
    """Each number's immediate dominator; 0 where there is none among the blocks."""
    count = len(parents)
    semi, label = list(range(count)), list(range(count))
    ancestor = [-1] * count
    dominator = [0] * count
    buckets: list[list[int]] = [[] for _ in range(count)]

    def least(number: int) -> int:
        """Of the forest's path to a number, the one with the least semidominator; the path is made short."""
        if ancestor[number] == -1:
            return number
        path = [number]
        while ancestor[ancestor[path[-1]]] != -1:
            path.append(ancestor[path[-1]])
        for one in reversed(path[:-1]):
            above = ancestor[one]
            if semi[label[above]] < semi[label[one]]:
                label[one] = label[above]
            ancestor[one] = ancestor[above]
        return label[number]

    for number in range(count - 1, 0, -1):
        parent = parents[number]
        found = parent
        for source in before[number]:
            value = semi[source if ancestor[source] == -1 else least(source)]
            found = min(found, value)
        semi[number] = found
        buckets[found].append(number)
        ancestor[number] = parent
        for one in buckets[parent]:
            lowest = least(one)
            dominator[one] = lowest if semi[lowest] < semi[one] else parent
        buckets[parent] = []
    for number in range(1, count):
        if dominator[number] != semi[number]:
            dominator[number] = dominator[dominator[number]]
    return dominator


def _intervals(dominator: list[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """By number: where the dominators' tree under it begins in that tree's own order, and what is behind it."""
    count = len(dominator)
    size = [1] * count
    for number in range(count - 1, 0, -1):  # who dominates was met before
        size[dominator[number]] += size[number]
    first, free = [0] * count, [1] * count
    for number in range(1, count):
        above = dominator[number]
        first[number] = free[above]
        free[above] += size[number]
        free[number] = first[number] + 1
    begins = np.array(first, np.int64)
    return begins, begins + np.array(size, np.int64)


def _nests(tails: dict[int, list[int]], before: list[list[int]]) -> tuple[list[int], list[int], list[int]]:
    """Heads of loops by number, inner ones first; the loop around each; and by number the innermost loop it is in.

    Of two natural loops with different heads one holds the other, or they have nothing in common: so what is in a loop
    is taken together into its head, and no block is walked twice.
    """
    into = list(range(len(before)))

    def whole(number: int) -> int:
        """The head of the outermost loop so far that a number is in, or itself."""
        path = []
        while into[number] != number:
            path.append(number)
            number = into[number]
        for one in path:
            into[one] = number
        return number

    heads: list[int] = []
    outer: list[int] = []
    inner = [-1] * len(before)
    loop_at: dict[int, int] = {}
    for head in sorted(tails, reverse=True):
        loop = len(heads)
        heads.append(head)
        outer.append(-1)
        inner[head] = loop
        stack = tails[head]
        while stack:
            number = whole(stack.pop())
            if number == head:
                continue
            into[number] = head
            if number in loop_at:
                outer[loop_at[number]] = loop
            else:
                inner[number] = loop
            stack.extend(before[number])
        loop_at[head] = loop
    return heads, outer, inner
