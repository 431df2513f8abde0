"""Projection: from points of the world to pixels of a picture and back, as one camera sees them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from render.camera import Basis, Box, OrbitCamera

_LEAST_DEPTH = 1e-3
"""Nearer than this a point is not before the eye."""


@dataclass(frozen=True, slots=True)
class Projection:
    """Pixel positions are from the picture's upper left corner. Depth is along the middle ray, in voxels."""

    basis: Basis
    half_extent: tuple[float, float]
    """Half the picture's width and height at depth one."""
    size_px: tuple[int, int]

    @classmethod
    def of(cls, camera: OrbitCamera, size_px: tuple[int, int]) -> Projection:
        """How a camera sees now."""
        return cls(camera.basis, camera.half_extent(), size_px)

    def ray(self, x: float, y: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The ray through a pixel position: from where it comes, (3,), and its direction, (3,), of depth one."""
        basis, (half_width, half_height) = self.basis, self.half_extent
        direction = (
            basis.forward
            + (2 * x / self.size_px[0] - 1) * half_width * basis.right
            - (2 * y / self.size_px[1] - 1) * half_height * basis.up
        )
        return basis.position, direction

    def point_at(self, x: float, y: float, depth: float) -> tuple[float, float, float]:
        """The point of the world that is seen at a pixel position, at a depth."""
        position, direction = self.ray(x, y)
        point = position + direction * depth
        return float(point[0]), float(point[1]), float(point[2])

    def pixel_of(self, point: NDArray[np.float64]) -> tuple[float, float] | None:
        """The pixel position at which a point of the world is seen, (3,); None for one that is not before the eye."""
        found = self.pixels_of(point[None])
        return None if found is None else (float(found[0][0, 0]), float(found[0][0, 1]))

    def pixels_of(self, points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Where points of the world (n, 3) are seen: pixels (n, 2), depths (n,). None unless all are before the eye."""
        basis, (half_width, half_height) = self.basis, self.half_extent
        seen = points - basis.position
        depth = seen @ basis.forward
        if float(depth.min()) <= _LEAST_DEPTH:
            return None
        x = (seen @ basis.right / depth / half_width + 1) / 2 * self.size_px[0]
        y = (1 - seen @ basis.up / depth / half_height) / 2 * self.size_px[1]
        return np.stack([x, y], axis=1), depth


def corners_of(box: Box) -> NDArray[np.float64]:
    """The corners of a box, (8, 3)."""
    return np.array([[box[corner >> axis & 1][axis] for axis in range(3)] for corner in range(8)])


def entry_into(box: Box, position: NDArray[np.float64], direction: NDArray[np.float64]) -> float | None:
    """How far along a ray a box begins, at least 0; None where the ray misses it. By slabs."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # parallel to sides
        at = (np.array(box) - position) / direction  # (2, 3)
    first, last = np.fmin(at[0], at[1]).max(), np.fmax(at[0], at[1]).min()
    return max(float(first), 0.0) if last >= max(first, 0.0) else None
