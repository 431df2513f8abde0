"""Flow graph of blocks, and the loops in it: dominators by Cooper, Harvey and Kennedy's "A Simple, Fast Dominance
Algorithm" (2001), natural loops by their back edges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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


def flow_of(starts: Sequence[int], successors: Sequence[Sequence[int]]) -> Flow:
    """The graph of blocks that begin at `starts` and go on at these addresses; what begins nowhere is left out."""
    index: Mapping[int, int] = {start: number for number, start in enumerate(starts)}
    rows = [[index[target] for target in targets if target in index] for targets in successors]
    first = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(row) for row in rows], out=first[1:])
    return Flow(first, np.array([target for row in rows for target in row], np.int64))


def loop_depths(flow: Flow) -> NDArray[np.int64]:
    """How many natural loops each block is in, (n,); 0: none. Cycles with several entries count as no loop."""
    count = len(flow.first) - 1
    order = _reverse_postorder(flow)
    place = {block: number for number, block in enumerate(order)}
    before: list[list[int]] = [[] for _ in range(count)]
    for block in range(count):
        for target in flow.successors(block).tolist():
            before[target].append(block)
    dominators = _dominators(order, place, before)
    depth = np.zeros(count, np.int64)
    bodies: dict[int, set[int]] = {}
    for block in range(count):
        for head in flow.successors(block).tolist():
            if _dominates(head, block, dominators, place):
                bodies.setdefault(head, {head}).update(_body(head, block, before))
    for body in bodies.values():  # loops of one head are one
        depth[list(body)] += 1
    return depth


def _reverse_postorder(flow: Flow) -> list[int]:
    """All blocks, each root's reach in reverse postorder. What nothing leads to is a root, else the first one left."""
    count = len(flow.first) - 1
    entered = np.zeros(count, bool)
    entered[flow.targets[flow.targets != np.repeat(np.arange(count), np.diff(flow.first))]] = True
    seen = np.zeros(count, bool)
    pieces: list[list[int]] = []
    for root in [*np.flatnonzero(~entered).tolist(), *range(count)]:
        if seen[root]:
            continue
        done: list[int] = []
        seen[root] = True
        stack = [(root, iter(flow.successors(root).tolist()))]
        while stack:
            block, rest = stack[-1]
            following = next((target for target in rest if not seen[target]), None)
            if following is None:
                done.append(block)
                stack.pop()
            else:
                seen[following] = True
                stack.append((following, iter(flow.successors(following).tolist())))
        pieces.append(done[::-1])
    return [block for piece in pieces for block in piece]


def _dominators(order: list[int], place: dict[int, int], before: list[list[int]]) -> list[int]:
    """Each block's immediate dominator, by block; -1 stands for the entry of all roots."""
    dominator: dict[int, int] = {}

    def meet(one: int, other: int) -> int:
        while one != other:
            while one != -1 and (other == -1 or place[one] > place[other]):
                one = dominator[one]
            while other != -1 and (one == -1 or place[other] > place[one]):
                other = dominator[other]
        return one

    changed = True
    while changed:
        changed = False
        for block in order:
            known = [source for source in before[block] if source in dominator and source != block]
            # A block that none of the earlier ones leads to is entered from outside.
            entered = not any(place[source] < place[block] for source in before[block] if source != block)
            found = -1 if entered or not known else known[0]
            for source in known[1:] if found != -1 else ():
                found = meet(found, source)
            if dominator.get(block) != found:
                dominator[block] = found
                changed = True
    return [dominator[block] for block in range(len(order))]


def _dominates(head: int, block: int, dominators: list[int], place: dict[int, int]) -> bool:
    while block != -1 and place[block] > place[head]:
        block = dominators[block]
    return block == head


def _body(head: int, tail: int, before: list[list[int]]) -> set[int]:
    body, stack = {head, tail}, [tail] if tail != head else []
    while stack:
        for source in before[stack.pop()]:
            if source not in body:
                body.add(source)
                stack.append(source)
    return body
