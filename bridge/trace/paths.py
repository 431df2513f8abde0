"""Hot paths: the sequences of blocks that are followed most, chosen as Fisher does for trace scheduling ("Trace
Scheduling", 1981): from the heaviest block on to whom it goes most, if that one comes mostly from it, and back alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.trace.flow import Flow, flow_from_edges
from bridge.trace.program import Program

MOST_BLOCKS = 64
"""Of one path."""


@dataclass(frozen=True, slots=True)
class HotPath:
    """Blocks that follow one another. No block is in two paths."""

    blocks: tuple[int, ...]
    """Their numbers, in order."""
    share: float
    """Of the time, of all of them."""
    count: int
    """How often it can have been followed from end to end: the least of its edges, or of its blocks' entries."""
    loops: bool
    """Whether the last block goes back to the first one."""


def hot_paths(program: Program, values: NDArray[np.float64], top: int) -> tuple[HotPath, ...]:
    """The `top` paths by time. `values`: (n,) each block's share of it."""
    edges = program.within_functions
    flow = program.flow_within_functions
    entered = program.entered
    taken = edges.counts if edges.measured else np.minimum(entered[edges.sources], entered[edges.targets])
    onwards = _Heaviest(flow, taken)
    order = np.lexsort((edges.sources, edges.targets))
    back = _Heaviest(flow_from_edges(len(program), edges.targets[order], edges.sources[order]), taken[order])
    heads = program.loops.heads
    used: set[int] = set()
    found: list[HotPath] = []
    heaviest = np.argsort(-values, kind="stable")
    # A path may turn out heavier than those before it: look at more than are asked for.
    for seed in heaviest[: min(len(heaviest), 8 * top + 64)].tolist():
        if values[seed] <= 0:
            break
        if seed in used:
            continue
        path = [seed]
        used.add(seed)
        counts = [int(entered[seed])]
        for one, other, forward in ((onwards, back, True), (back, onwards, False)):
            here = seed
            while len(path) < MOST_BLOCKS:
                following, count = one.of(here)
                # Out of the innermost loop of its seed a path does not lead: what is hot is the loop. It leads over
                # calls, not into them.
                if following in used or following < 0:
                    break
                if heads[seed] >= 0 and heads[following] != heads[seed]:
                    break
                if other.of(following)[0] != here:
                    break
                path.insert(len(path) if forward else 0, following)
                used.add(following)
                counts.append(count)
                here = following
        loops = bool((flow.successors(path[-1]) == path[0]).any())
        found.append(HotPath(tuple(path), float(values[path].sum()), min(counts), loops))
    found.sort(key=lambda path: -path.share)
    return tuple(found[:top])


class _Heaviest:
    """By block: where its heaviest edge leads."""

    def __init__(self, flow: Flow, counts: NDArray[Any]) -> None:
        order = np.lexsort((-counts, flow.sources))
        self._targets, self._counts, self._first = flow.targets[order], counts[order], flow.first

    def of(self, block: int) -> tuple[int, int]:
        """The block and how often; (-1, 0) where it leads nowhere."""
        first, end = int(self._first[block]), int(self._first[block + 1])
        return (int(self._targets[first]), int(self._counts[first])) if first < end else (-1, 0)
