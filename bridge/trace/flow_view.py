"""Flow view: a part of a program's flow graph, of a function or around a block, with what is known of it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.trace.hot import HotBlock, Naming, Weights, hot_block
from bridge.trace.program import Program

MOST_BLOCKS = 2_000
"""Of one graph: more cannot be read by anybody."""


@dataclass(frozen=True, slots=True)
class FlowNode:
    """A block of the graph."""

    number: int
    """In the plugin's table, or a recording's."""
    block: HotBlock
    loop_head: int
    """The number of the block that begins the innermost loop around it; -1: none."""


@dataclass(frozen=True, slots=True)
class FlowEdge:
    """From one block of the graph to another one, by their numbers."""

    source: int
    target: int
    count: int
    """How often it was taken; 0 where edges were not measured."""
    back: bool
    """It leads back to the beginning of a loop."""


@dataclass(frozen=True, slots=True)
class FlowView:
    """Blocks by address, and edges between them."""

    title: str
    nodes: tuple[FlowNode, ...]
    edges: tuple[FlowEdge, ...]
    measured: bool
    left_out: int
    """Blocks that belong to it, but were too many."""

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "title": self.title,
            "measured": self.measured,
            "left_out": self.left_out,
            "blocks": [
                {
                    "block": node.number,
                    "loop_head": None if node.loop_head < 0 else node.loop_head,
                    **node.block.document(),
                }
                for node in self.nodes
            ],
            "edges": [
                {
                    "source": edge.source,
                    "target": edge.target,
                    "count": edge.count if self.measured else None,
                    "back": edge.back,
                }
                for edge in self.edges
            ],
        }


def flow_around(
    program: Program, held: NDArray[np.int64], steps: int, title: str, weights: Weights, naming: Naming
) -> FlowView:
    """The blocks that are at most so many edges from those that are `held`, either way."""
    forward, back = program.flow_within_functions, program.flow_within_functions.reversed()
    found: dict[int, int] = dict.fromkeys(held.tolist(), 0)
    queue = deque(found)
    while queue and len(found) <= MOST_BLOCKS:
        block = queue.popleft()
        if found[block] == steps:
            continue
        for graph in (forward, back):
            for other in graph.successors(block).tolist():
                if other not in found:
                    found[other] = found[block] + 1
                    queue.append(other)
    return flow_view(program, list(found), title, weights, naming)


def flow_view(program: Program, numbers: list[int], title: str, weights: Weights, naming: Naming) -> FlowView:
    """These blocks, and the edges between them."""
    entered = program.entered
    kept = sorted(sorted(numbers, key=lambda n: -int(entered[n]))[:MOST_BLOCKS], key=lambda n: int(program.starts[n]))
    among = np.zeros(len(program), bool)
    among[kept] = True
    edges, loops = program.within_functions, program.loops
    chosen = np.flatnonzero(among[edges.sources] & among[edges.targets])
    columns = (part[chosen].tolist() for part in (edges.sources, edges.targets, edges.counts, loops.back))
    return FlowView(
        title,
        tuple(FlowNode(n, hot_block(program, n, float(weights.values[n]), naming), int(loops.heads[n])) for n in kept),
        tuple(FlowEdge(*edge) for edge in zip(*columns, strict=True)),
        edges.measured,
        len(numbers) - len(kept),
    )
