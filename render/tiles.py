"""Which parts of a still picture are worth marching next.

A picture is cut into tiles. A tile counts the samples that its pixels hold: none (stale), one (sharp), more (smooth
edges). A write into the volume makes only those tiles stale that show its bricks, so a still view of a busy guest
costs what changes. Tiles that have been stale the longest come first: where writes never end, every tile still gets
its turn, and a change is late by one round of the picture at most.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from render.camera import Basis
from render.march import Eye, Rect

TILE = 64
"""Pixels a side: small against the picture, large against the cost of a draw call."""


@dataclass(frozen=True, slots=True)
class Work:
    """Tiles to march together: all get sample number `sample`."""

    sample: int
    rects: tuple[Rect, ...]
    n_tiles: int


class TileMap:
    """The samples that each tile of a picture of `size` pixels holds."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size
        self.columns, self.rows = (-(-side // TILE) for side in size)
        shape = (self.rows, self.columns)
        self.samples = np.zeros(shape, np.int16)
        self._visible = np.ones(shape, np.bool_)
        self._marched = np.zeros(shape, np.bool_)
        self._stale_since = np.zeros(shape, np.int64)
        self._tick = 0
        column, row = np.meshgrid(np.arange(self.columns) + 0.5, np.arange(self.rows) + 0.5)
        self._from_center = np.hypot(column - size[0] / TILE / 2, row - size[1] / TILE / 2)

    def restart(self, visible: NDArray[np.bool_]) -> None:
        """Everything is stale. Tiles outside `visible` (rows, columns) show nothing and need no march."""
        self.samples[:] = 0
        self._marched[:] = False
        self._stale_since[:] = self._tick
        self._visible = visible

    def forget(self, mask: NDArray[np.bool_]) -> None:
        """The tiles in `mask` (rows, columns) are stale. Those that were so already keep their turn."""
        self._tick += 1
        self._stale_since[mask & (self.samples > 0)] = self._tick
        self.samples[mask] = 0

    @property
    def lowest(self) -> int:
        """How many samples every visible tile holds at least; a large number if none is visible."""
        samples = self.samples[self._visible]
        return int(samples.min()) if samples.size else 1 << 14

    @property
    def complete(self) -> bool:
        """Whether every visible tile was marched since the restart, if perhaps it is stale again."""
        return bool(self._marched[self._visible].all())

    @property
    def shown_pixels(self) -> int:
        """About how many pixels can show anything."""
        return int(self._visible.sum()) * TILE * TILE

    def next_work(self, n_tiles: float, most_samples: int) -> Work | None:
        """Up to `n_tiles` of the tiles that hold the fewest samples; None when all hold `most_samples`.

        Those that are stale for longest come first, so that none waits for ever, and among them those in the middle.
        """
        lowest = self.lowest
        if lowest >= most_samples:
            return None
        rows, columns = np.nonzero((self.samples == lowest) & self._visible)
        order = np.lexsort((self._from_center[rows, columns], self._stale_since[rows, columns]))
        order = order[: int(min(max(1.0, n_tiles), self._visible.size))]
        chosen = np.zeros_like(self._visible)
        chosen[rows[order], columns[order]] = True
        self.samples[chosen] = lowest + 1
        self._marched |= chosen
        return Work(lowest, tuple(self._runs(chosen)), len(order))

    def _runs(self, chosen: NDArray[np.bool_]) -> list[Rect]:
        """Neighbouring tiles of a row as one rectangle each, clipped to the picture."""
        width, height = self.size
        rects: list[Rect] = []
        for row in np.flatnonzero(chosen.any(axis=1)):
            edges = np.flatnonzero(np.diff(np.concatenate([[0], chosen[row].astype(np.int8), [0]])))
            for first, last in edges.reshape(-1, 2):
                x, y = int(first) * TILE, int(row) * TILE
                rects.append((x, y, min(int(last) * TILE, width) - x, min(TILE, height - y)))
        return rects

    def tiles_of_boxes(self, low: NDArray[np.float64], high: NDArray[np.float64], eye: Eye) -> NDArray[np.bool_]:
        """Which tiles can show something of the boxes (n, 3) low, (n, 3) high, from `eye`: (rows, columns) bool."""
        mask = np.zeros((self.rows, self.columns), np.bool_)
        if not len(low):
            return mask
        first, last = _screen_boxes(low, high, eye.basis, eye.half_extent, self.size)
        limit = (self.columns, self.rows)
        begin = np.clip(np.floor(first / TILE), 0, limit).astype(np.int64)
        end = np.clip(np.ceil(last / TILE), 0, limit).astype(np.int64)
        # Summed differences: +1 at a box's corner, -1 past its ends; the running sum is how many boxes cover a tile.
        counts = np.zeros((self.rows + 1, self.columns + 1), np.int64)
        for columns, rows, sign in (
            (begin[:, 0], begin[:, 1], 1),
            (end[:, 0], begin[:, 1], -1),
            (begin[:, 0], end[:, 1], -1),
            (end[:, 0], end[:, 1], 1),
        ):
            np.add.at(counts, (rows, columns), sign)
        result: NDArray[np.bool_] = counts.cumsum(axis=0).cumsum(axis=1)[:-1, :-1] > 0
        return result


def _screen_boxes(
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    basis: Basis,
    half_extent: tuple[float, float],
    size: tuple[int, int],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The pixel rectangles (n, 2), (n, 2) that enclose boxes; the whole picture for a box that reaches behind the
    camera.
    """
    corners = np.stack(
        [np.where(np.array([i & 1, i >> 1 & 1, i >> 2], bool), high, low) for i in range(8)], axis=1
    )  # (n, 8, 3)
    seen = corners - basis.position
    depth = seen @ basis.forward
    behind = (depth < 1e-3).any(axis=1)
    safe = np.maximum(depth, 1e-3)
    x = (seen @ basis.right / safe / half_extent[0] * 0.5 + 0.5) * size[0]
    y = (0.5 - seen @ basis.up / safe / half_extent[1] * 0.5) * size[1]
    first = np.stack([x.min(axis=1), y.min(axis=1)], axis=1)
    last = np.stack([x.max(axis=1), y.max(axis=1)], axis=1)
    first[behind], last[behind] = 0.0, size
    return first, last
