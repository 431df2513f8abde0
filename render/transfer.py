"""Transfer functions: how opaque a scalar is, as a line through a few points."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from render.errors import BadTransfer

MAX_POINTS = 32

Point = tuple[float, float]
"""A scalar and the opacity there, both 0 to 1."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """Opacity over the scalar, linear between points and constant beyond the first and the last.

    The points ascend; two may share a scalar, which makes a step. Raises BadTransfer.
    """

    points: tuple[Point, ...]

    def __post_init__(self) -> None:
        if not 2 <= len(self.points) <= MAX_POINTS:
            raise BadTransfer(f"A transfer function has 2 to {MAX_POINTS} points, not {len(self.points)}.")
        for point in self.points:
            if len(point) != 2 or not all(math.isfinite(part) and 0.0 <= part <= 1.0 for part in point):
                raise BadTransfer(f"The point {point} is not two numbers from 0 to 1.")
        scalars = [scalar for scalar, _ in self.points]
        if scalars != sorted(scalars):
            raise BadTransfer("The points of a transfer function must ascend.")

    def opacities(self) -> NDArray[np.float32]:
        """The opacity of each of the 256 scalars, (256,) float32."""
        scalars, opacities = np.array(self.points, np.float64).T
        table: NDArray[np.float64] = np.interp(np.arange(256) / 255, scalars, opacities)
        return table.astype(np.float32)


EVERYTHING = Transfer(((0.0, 0.07), (0.25, 0.12), (0.5, 0.3), (0.75, 0.59), (1.0, 1.0)))
"""All that is not zero, the higher the denser."""
TRANSFERS: dict[str, Transfer] = {
    "Everything": EVERYTHING,
    "Even": Transfer(((0.0, 1.0), (1.0, 1.0))),
    "High": Transfer(((0.0, 0.0), (0.5, 0.0), (0.9, 1.0), (1.0, 1.0))),
    "Middle": Transfer(((0.0, 0.0), (0.2, 0.0), (0.5, 1.0), (0.8, 0.0), (1.0, 0.0))),
    "Low": Transfer(((0.0, 1.0), (0.1, 1.0), (0.5, 0.0), (1.0, 0.0))),
}
"""Presets by name, in the order in which they are offered."""
