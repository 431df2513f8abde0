"""Boxes around pages: few of them, aligned to bricks, that hold all of the pages and as little else as can be."""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from render.curves import BRICK_SIDE

if TYPE_CHECKING:
    from render.bricks import BrickStore

MOST_BOXES = 12
"""As many as a person can take in; more would hide what they stand around."""
_WORTH = 0.15
"""A cut is made while what it saves is at least this share of what the boxes hold."""

Corner = NDArray[np.int64]
"""(3,) in bricks."""
Filled = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Piece:
    """A tight box of bricks, low and high (3,), and how much smaller its best cut makes it."""

    low: tuple[int, int, int]
    high: tuple[int, int, int]
    saved: int
    halves: tuple[tuple[Corner, Corner], ...]
    """Low and high (3,) of the two tight boxes that the cut leaves."""

    @property
    def size(self) -> int:
        return int(np.prod(np.subtract(self.high, self.low)))


def boxes_of_pages(store: BrickStore, pages: NDArray[np.uint32], limit: int = MOST_BOXES) -> NDArray[np.int64]:
    """Boxes that hold all bricks of a store's pages (n,): (m, 2, 3) low and high corners in voxels, m <= limit, largest
    first.
    """
    return boxes_of_bricks(store.bricks_of_pages(pages), store.shape_bricks, limit) * BRICK_SIDE


def anchor_of_pages(store: BrickStore, pages: NDArray[np.uint32]) -> NDArray[np.float64]:
    """Where a line that leads to pages (n,), n > 0, of a store should end, (3,) in voxels.

    It is the middle of one of their bricks: of that which is nearest to the middle of their largest box.
    """
    bricks = store.bricks_of_pages(pages).astype(np.int64)
    low, high = boxes_of_bricks(bricks.astype(np.uint32), store.shape_bricks)[0]
    inside = bricks[((bricks >= low) & (bricks < high)).all(axis=1)]
    nearest = np.abs(inside + 0.5 - (low + high) / 2).sum(axis=1).argmin()
    anchor: NDArray[np.float64] = (inside[nearest] + 0.5) * BRICK_SIDE
    return anchor


def boxes_of_bricks(
    bricks: NDArray[np.unsignedinteger], shape: tuple[int, int, int], limit: int = MOST_BOXES
) -> NDArray[np.int64]:
    """Boxes (m, 2, 3), m <= limit, largest first, that hold all bricks (n, 3) of a volume of a shape in bricks.

    Greedy, from one box around all: the box whose best cut by a plane saves most is cut next, until no cut is worth
    while. What a cut at each place leaves is known from the projections of what is in a box, as in the bounding volume
    hierarchies of ray tracers (Wald, "On fast construction of SAH-based bounding volume hierarchies", 2007).
    """
    if not len(bricks) or limit < 1:
        return np.zeros((0, 2, 3), np.int64)
    filled = np.zeros(shape, np.bool_)
    filled[tuple(bricks.T)] = True
    whole = _piece(filled, *_tight(filled, np.zeros(3, np.int64), np.array(shape)))
    held, heap, total, numbers = {0: whole}, [(-whole.saved, 0)], whole.size, itertools.count(1)
    while heap and len(held) < limit:
        saved, number = heapq.heappop(heap)
        if -saved < max(1, _WORTH * total / limit):
            break
        total += saved
        for low, high in held.pop(number).halves:
            number, piece = next(numbers), _piece(filled, low, high)
            held[number] = piece
            heapq.heappush(heap, (-piece.saved, number))
    boxes = sorted(held.values(), key=lambda piece: (-piece.size, piece.low))
    return np.array([[piece.low, piece.high] for piece in boxes], np.int64)


def _piece(filled: Filled, low: Corner, high: Corner) -> _Piece:
    """A tight box and its best cut."""
    inside = filled[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
    extent = high - low
    size = int(extent.prod())
    flat = [np.asarray(inside.any(axis=axis)) for axis in range(3)]
    best, cut_axis, cut = size, 0, 0
    for axis in range(3):
        if extent[axis] < 2:
            continue
        left = _left_by_cuts(flat, axis)
        place = int(left.argmin())
        if left[place] < best:
            best, cut_axis, cut = int(left[place]), axis, place + 1
    halves: tuple[tuple[Corner, Corner], ...] = ()
    if best < size:
        upper, lower = high.copy(), low.copy()
        upper[cut_axis] = lower[cut_axis] = low[cut_axis] + cut
        halves = _tight(filled, low, upper), _tight(filled, lower, high)
    return _Piece(_corner(low), _corner(high), size - best, halves)


def _left_by_cuts(flat: list[Filled], axis: int) -> NDArray[np.int64]:
    """What two tight boxes hold after a cut behind layer 0, 1, … across an axis, (extent - 1,).

    `flat[i]`: what is in the box as it is seen along axis i.
    """
    before = after = np.ones(1, np.int64)
    for other in (i for i in range(3) if i != axis):
        third = 3 - axis - other
        layers = flat[third] if axis < other else flat[third].T  # (extent of axis, extent of other)
        first, last = _ends(layers)
        before = before * (np.maximum.accumulate(last)[:-1] - np.minimum.accumulate(first)[:-1])
        after = after * (np.maximum.accumulate(last[::-1])[-2::-1] - np.minimum.accumulate(first[::-1])[-2::-1])
    # Empty layers beside the cut belong to neither half.
    index, n, full = np.arange(len(layers)), len(layers), layers.any(axis=1)
    end_before = np.maximum.accumulate(np.where(full, index + 1, 0))[:-1]
    begin_after = np.minimum.accumulate(np.where(full, index, n)[::-1])[-2::-1]
    result: NDArray[np.int64] = before * end_before + after * (n - begin_after)
    return result


def _ends(layers: Filled) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each row begins and ends to be filled, (n,) each; an empty one begins after its end."""
    n = layers.shape[1]
    full = layers.any(axis=1)
    first = np.where(full, layers.argmax(axis=1), n)
    last = np.where(full, n - layers[:, ::-1].argmax(axis=1), 0)
    return first, last


def _tight(filled: Filled, low: Corner, high: Corner) -> tuple[Corner, Corner]:
    """The smallest box around what is filled between two corners. Something is."""
    inside = filled[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
    begin, end = np.zeros(3, np.int64), np.zeros(3, np.int64)
    for axis in range(3):
        full = np.flatnonzero(inside.any(axis=tuple(other for other in range(3) if other != axis)))
        begin[axis], end[axis] = full[0], full[-1] + 1
    return low + begin, low + end


def _corner(at: Corner) -> tuple[int, int, int]:
    return int(at[0]), int(at[1]), int(at[2])
