"""Flow layout: where the blocks of a flow graph stand, layer by layer, so that its edges mostly lead downwards.

After Sugiyama, Tagawa and Toda, "Methods for Visual Understanding of Hierarchical System Structures" (1981): edges that
close a cycle are turned around, layers follow from longest paths, barycentres order each layer, and long edges bend at
places of their own in each layer that they pass.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

Point = tuple[float, float]
_SWEEPS = 12
_RELAX = 24
_HEAVY = 12
"""How many edges one that is to be straight counts for."""


@dataclass(frozen=True, slots=True)
class Spacing:
    """Room between blocks, in the units of their sizes."""

    beside: float = 24.0
    below: float = 36.0
    bend: float = 12.0
    """How wide a place is in which an edge passes a layer."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A graph that was laid out; the least x and y are 0."""

    corners: tuple[Point, ...]
    """Of each block, upper left."""
    paths: tuple[tuple[Point, ...], ...]
    """Of each edge, from its source to its target, between lower and upper sides; () where both are the same block."""
    backwards: tuple[bool, ...]
    """Whether an edge leads upwards, or to its own block."""
    width: float
    height: float


def place(
    sizes: Sequence[Point],
    edges: Sequence[tuple[int, int]],
    spacing: Spacing = Spacing(),
    straight: Collection[tuple[int, int]] = (),
) -> Placed:
    """Lay out blocks of these sizes (width, height), the first of them where it begins. Ends for every graph.

    `straight`: edges that are to be as straight as can be.
    """
    count = len(sizes)
    if not count:
        return Placed((), (), (), 0.0, 0.0)
    turned = _turned(count, edges)
    downwards = [(b, a) if back else (a, b) for (a, b), back in zip(edges, turned, strict=True)]
    layer = _layers(count, [edge for edge in downwards if edge[0] != edge[1]])
    widths = [size[0] for size in sizes]
    chains: list[list[int]] = []
    links: list[tuple[int, int]] = []
    for (source, target), edge in zip(downwards, edges, strict=True):
        chain = [source]
        if source != target:
            for level in range(layer[source] + 1, layer[target]):
                layer.append(level)
                widths.append(spacing.bend)
                chain.append(len(layer) - 1)
            chain.append(target)
            links += [*pairwise(chain)] * (_HEAVY if edge in straight else 1)
        chains.append(chain)
    rows = _ordered(layer, links)
    centres = _centres(rows, widths, links, spacing.beside)
    tops, heights = _tops(rows, sizes, spacing.below)
    corners = tuple((centres[n] - sizes[n][0] / 2, tops[layer[n]]) for n in range(count))
    paths: list[tuple[Point, ...]] = []
    for (source, _), chain, back in zip(edges, chains, turned, strict=True):
        if len(chain) == 1:
            paths.append(())
            continue
        upper, lower = chain[0], chain[-1]
        points: list[Point] = [(centres[upper], tops[layer[upper]] + sizes[upper][1])]
        for bend in chain[1:-1]:
            y = tops[layer[bend]]
            points += [(centres[bend], y), (centres[bend], y + heights[layer[bend]])]
        points.append((centres[lower], tops[layer[lower]]))
        paths.append(tuple(points[::-1] if back else points))
        assert (source == upper) is not back
    width = max(corner[0] + size[0] for corner, size in zip(corners, sizes, strict=True))
    width = max([width, *(point[0] for path in paths for point in path)])
    loops = tuple(back or source == target for back, (source, target) in zip(turned, edges, strict=True))
    return Placed(corners, tuple(paths), loops, width, tops[-1] + heights[-1])


def place_rightwards(
    sizes: Sequence[Point],
    edges: Sequence[tuple[int, int]],
    spacing: Spacing = Spacing(),
    straight: Collection[tuple[int, int]] = (),
) -> Placed:
    """The same from left to right, for rooms that are wide and low; paths lead between right and left sides.

    `spacing`: `beside` and `bend` are of height then, `below` of width.
    """
    lying = place([(high, wide) for wide, high in sizes], edges, spacing, straight)
    return Placed(
        tuple((x, y) for y, x in lying.corners),
        tuple(tuple((x, y) for y, x in path) for path in lying.paths),
        lying.backwards,
        lying.height,
        lying.width,
    )


def _turned(count: int, edges: Sequence[tuple[int, int]]) -> list[bool]:
    """Which edges lead back on a walk from the first block on, depth first: without them there is no cycle."""
    onwards: list[list[int]] = [[] for _ in range(count)]
    for number, (source, _) in enumerate(edges):
        onwards[source].append(number)
    state, turned = [0] * count, [False] * len(edges)
    for root in range(count):
        if state[root]:
            continue
        state[root] = 1
        stack = [(root, iter(onwards[root]))]
        while stack:
            block, rest = stack[-1]
            number = next(rest, -1)
            if number < 0:
                state[block] = 2
                stack.pop()
                continue
            target = edges[number][1]
            if state[target] == 1:
                turned[number] = target != block
            elif not state[target]:
                state[target] = 1
                stack.append((target, iter(onwards[target])))
    return turned


def _layers(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """Of each block the longest way from a block that nothing leads to, without cycles."""
    onwards: list[list[int]] = [[] for _ in range(count)]
    waiting = [0] * count
    for source, target in edges:
        onwards[source].append(target)
        waiting[target] += 1
    layer = [0] * count
    ready = [n for n in range(count) if not waiting[n]]
    while ready:
        block = ready.pop()
        for target in onwards[block]:
            layer[target] = max(layer[target], layer[block] + 1)
            waiting[target] -= 1
            if not waiting[target]:
                ready.append(target)
    return layer


def _ordered(layer: Sequence[int], links: Sequence[tuple[int, int]]) -> list[list[int]]:
    """The layers from left to right: each by where its neighbours above, then below, stand; the best of all sweeps."""
    rows: list[list[int]] = [[] for _ in range(max(layer) + 1)]
    for n, level in enumerate(layer):
        rows[level].append(n)
    above: list[list[int]] = [[] for _ in layer]
    below: list[list[int]] = [[] for _ in layer]
    for upper, lower in links:
        above[lower].append(upper)
        below[upper].append(lower)
    best, fewest = [list(row) for row in rows], _crossings(rows, below)
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        beside = above if down else below
        for level in range(1, len(rows)) if down else range(len(rows) - 2, -1, -1):
            place_of = {n: at for at, n in enumerate(rows[level - 1 if down else level + 1])}
            own = {n: at for at, n in enumerate(rows[level])}

            def middle(n: int, known: dict[int, int] = place_of, own: dict[int, int] = own) -> float:
                near = [known[other] for other in beside[n]]  # noqa: B023 - asked within this turn alone
                return sum(near) / len(near) if near else float(own[n])

            rows[level].sort(key=middle)
        crossings = _crossings(rows, below)
        if crossings < fewest:
            best, fewest = [list(row) for row in rows], crossings
    return best


def _crossings(rows: Sequence[Sequence[int]], below: Sequence[Sequence[int]]) -> int:
    """How many pairs of links between neighbouring layers cross."""
    total = 0
    for upper, lower in pairwise(rows):
        at = {n: place for place, n in enumerate(lower)}
        ends = [at[other] for n in upper for other in sorted(below[n], key=at.__getitem__)]
        line = np.array(ends)
        total += sum(int((line[:number] > end).sum()) for number, end in enumerate(ends))
    return total


def _centres(
    rows: Sequence[Sequence[int]], widths: Sequence[float], links: Sequence[tuple[int, int]], beside: float
) -> list[float]:
    """Each one's x: near its neighbours' mean, in its layer's order, with room between; the least edge is at 0."""
    near: list[list[int]] = [[] for _ in widths]
    for upper, lower in links:
        near[upper].append(lower)
        near[lower].append(upper)
    centres = [0.0] * len(widths)
    for row in rows:
        x = 0.0
        for n in row:
            centres[n] = x + widths[n] / 2
            x += widths[n] + beside
        for n in row:
            centres[n] -= x / 2
    for step in range(_RELAX):
        for row in rows if step % 2 == 0 else reversed(rows):
            wanted = [sum(centres[m] for m in near[n]) / len(near[n]) if near[n] else centres[n] for n in row]
            gaps = [(widths[a] + widths[b]) / 2 + beside for a, b in pairwise(row)]
            for n, x in zip(row, _apart(wanted, gaps), strict=True):
                centres[n] = x
    least = min(x - width / 2 for x, width in zip(centres, widths, strict=True))
    return [x - least for x in centres]


def _apart(wanted: Sequence[float], gaps: Sequence[float]) -> list[float]:
    """The places in their order that are at least so far apart and nearest to those that are wanted, by least squares.

    By merging those that are too near: Best and Chakravarti, "Active set algorithms for isotonic regression" (1990).
    """
    offsets = [0.0]
    for gap in gaps:
        offsets.append(offsets[-1] + gap)
    blocks: list[tuple[float, int]] = []
    for value, offset in zip(wanted, offsets, strict=True):
        total, count = value - offset, 1
        while blocks and blocks[-1][0] / blocks[-1][1] >= total / count:
            before = blocks.pop()
            total, count = total + before[0], count + before[1]
        blocks.append((total, count))
    means = [total / count for total, count in blocks for _ in range(count)]
    return [mean + offset for mean, offset in zip(means, offsets, strict=True)]


def _tops(rows: Sequence[Sequence[int]], sizes: Sequence[Point], below: float) -> tuple[list[float], list[float]]:
    """Each layer's y, and how high it is."""
    heights = [max((sizes[n][1] for n in row if n < len(sizes)), default=0.0) for row in rows]
    tops, y = [], 0.0
    for height in heights:
        tops.append(y)
        y += height + below
    return tops, heights
