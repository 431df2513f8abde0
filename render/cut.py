"""Cut: slice planes through a volume and the box that it is clipped to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from render.camera import Box
from render.errors import BadCut

Axis = Literal["x", "y", "z", "oblique"]
AXES: tuple[Axis, ...] = ("x", "y", "z", "oblique")


@dataclass(frozen=True, slots=True)
class Plane:
    """A slice plane. Raises BadCut.

    `position` is in voxels along the normal: from the volume's low corner for x, y and z, from its centre for an
    oblique plane, whose normal has the two angles (in degrees, as a camera's).
    """

    axis: Axis
    position: float
    azimuth_degrees: float = 0.0
    elevation_degrees: float = 0.0

    def __post_init__(self) -> None:
        if self.axis not in AXES:
            raise BadCut(f"A plane's axis is one of {', '.join(AXES)}, not {self.axis!r}.")
        if not all(map(math.isfinite, (self.position, self.azimuth_degrees, self.elevation_degrees))):
            raise BadCut(f"A plane's position and angles must be finite numbers: {self}.")

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit vector, (3,)."""
        if self.axis != "oblique":
            unit: NDArray[np.float64] = np.eye(3)["xyz".index(self.axis)]
            return unit
        azimuth, elevation = math.radians(self.azimuth_degrees), math.radians(self.elevation_degrees)
        level = math.cos(elevation)
        vector = np.array([level * math.cos(azimuth), level * math.sin(azimuth), math.sin(elevation)])
        rounded: NDArray[np.float64] = np.round(vector, 12)  # right angles are right ones
        return rounded


@dataclass(frozen=True, slots=True)
class Cut:
    """What is done to one volume: planes, each axis at most once, and a clip box in voxels. Raises BadCut."""

    planes: tuple[Plane, ...] = ()
    clip: Box | None = None

    def __post_init__(self) -> None:
        axes = [plane.axis for plane in self.planes]
        if len(set(axes)) != len(axes):
            raise BadCut(f"Each axis has at most one plane, not {', '.join(axes)}.")
        if self.clip is not None:
            low, high = self.clip
            if not all(map(math.isfinite, (*low, *high))) or not all(a < b for a, b in zip(low, high, strict=True)):
                raise BadCut(f"A clip box needs a low corner below its high corner on every axis, not {self.clip}.")

    def plane(self, axis: Axis) -> Plane | None:
        """The plane of an axis, if there is one."""
        return next((plane for plane in self.planes if plane.axis == axis), None)


WHOLE = Cut()
"""Nothing cut."""


def plane_range(plane: Plane, shape: tuple[int, int, int]) -> tuple[float, float]:
    """The positions, low and high, between which a plane meets a volume of `shape`."""
    if plane.axis != "oblique":
        return 0.0, float(shape["xyz".index(plane.axis)])
    reach = float(np.abs(plane.normal) @ np.array(shape)) / 2
    return -reach, reach


def layer_of(plane: Plane, shape: tuple[int, int, int]) -> int:
    """The layer of voxels that an x, y or z plane shows; at the volume's very end, and beyond, the last."""
    return max(0, min(shape["xyz".index(plane.axis)] - 1, math.floor(plane.position)))
