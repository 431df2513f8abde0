"""Arrangement: where several volumes stand beside each other, so that none hides, touches or loses another.

All stand on one floor, z = 0, on a grid. The largest stands at the back as one looks at first, the others before and
beside it: towards +x and -y, where the camera is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from render.camera import Box

Point = tuple[float, float, float]
Shape = tuple[int, int, int]

SNAP = 32
"""Voxels between two places on the grid: two bricks, so that a page of one volume lines up with those of its
neighbour.
"""
_GAP_SHARE = 0.5
"""Room between two volumes, as a share of the smaller one's longest side: enough to see where one ends."""


def snapped(origin: Sequence[float]) -> Point:
    """Return the place on the grid that is nearest to `origin`."""
    x, y, z = (float(round(value / SNAP) * SNAP) for value in origin)
    return x, y, z


def box_at(origin: Sequence[float], shape: Sequence[float]) -> Box:
    """Return the box of a volume of `shape` voxels at `origin`."""
    low = (float(origin[0]), float(origin[1]), float(origin[2]))
    return low, (low[0] + shape[0], low[1] + shape[1], low[2] + shape[2])


def overlap(a: Box, b: Box, gap: float = 0.0) -> bool:
    """Return whether two boxes are nearer to each other than `gap` along every axis."""
    return all(a[0][i] < b[1][i] + gap and b[0][i] < a[1][i] + gap for i in range(3))


def fits(box: Box, others: Iterable[Box]) -> bool:
    """Return whether a volume may stand there: a step of the grid away from all others."""
    return not any(overlap(box, other, SNAP) for other in others)


def free_place(shape: Shape, others: Sequence[Box]) -> Point:
    """Return a place for another volume, clear of all `others`, that keeps the whole compact."""
    if not others:
        return (0.0, 0.0, 0.0)
    found: list[tuple[tuple[float, ...], Point]] = []
    for x, y in _candidates(shape, others):
        box = box_at((x, y, 0.0), shape)
        if any(overlap(box, other, _gap(shape, other)) for other in others):
            continue
        low = [min(box[0][i], *(other[0][i] for other in others)) for i in range(2)]
        high = [max(box[1][i], *(other[1][i] for other in others)) for i in range(2)]
        width, depth = high[0] - low[0], high[1] - low[1]
        # As square as can be, then as small as can be, then as near to the middle of the front as can be.
        middle = abs((box[0][0] + box[1][0]) / 2 - (low[0] + high[0]) / 2)
        found.append(((max(width, depth), width * depth, middle), (x, y, 0.0)))
    # There always is one: right of the rightmost.
    return min(found)[1]


def _candidates(shape: Shape, others: Sequence[Box]) -> Iterable[tuple[float, float]]:
    """Places that touch the room around some other volume: to its right, and before it."""
    for low, high in others:
        gap = _gap(shape, (low, high))
        right, front = high[0] + gap, low[1] - gap - shape[1]
        for y in (low[1], high[1] - shape[1]):
            yield right, _snap_down(y)
        for x in (low[0], high[0] - shape[0]):
            yield _snap_up(x), _snap_down(front)
        yield right, _snap_down(front)
    rightmost = max(high[0] + _gap(shape, (low, high)) for low, high in others)
    yield _snap_up(rightmost), _snap_down(min(low[1] for low, _ in others))


def _gap(shape: Shape, other: Box) -> float:
    smaller = min(max(shape), max(other[1][i] - other[0][i] for i in range(3)))
    return _snap_up(_GAP_SHARE * smaller)


def _snap_up(value: float) -> float:
    return float(math.ceil(value / SNAP) * SNAP)


def _snap_down(value: float) -> float:
    return float(math.floor(value / SNAP) * SNAP)


def arrange(shapes: Mapping[str, Shape]) -> dict[str, Point]:
    """Return a place for each volume: the largest first, those of one size in the order in which they are given."""
    placed: dict[str, Box] = {}
    for key in sorted(shapes, key=lambda key: -math.prod(shapes[key])):
        placed[key] = box_at(free_place(shapes[key], list(placed.values())), shapes[key])
    return {key: placed[key][0] for key in shapes}
