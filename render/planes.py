"""Where slice planes lie: their own two axes, their outline in a volume, and where they cross each other.

Every plane has coordinates u (to the right) and v (up) in voxels, z being up: x shows y across and z up, y shows x and
z, z shows x and y. An x, y or z plane shows one layer of voxels and has the volume's own coordinates; an oblique one
counts u and v from the point of it that is nearest to the volume's centre.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from render.camera import Box
from render.cut import Axis, Plane, layer_of

Shape = tuple[int, int, int]
Vector = NDArray[np.float64]
Point = tuple[float, float]
"""u, v."""

AXES_SHOWN: dict[Axis, tuple[int, int]] = {"x": (1, 2), "y": (0, 2), "z": (0, 1)}
"""Which of x, y and z run across and up in a plane's flat picture."""
_NEAR = 1e-9


@dataclass(frozen=True, slots=True)
class Frame:
    """A plane's place in a volume: the point where u and v are 0, and their directions, (3,) each, in voxels."""

    origin: Vector
    right: Vector
    up: Vector
    normal: Vector

    def point(self, u: float, v: float) -> Vector:
        """Where u and v lie in the volume."""
        return self.origin + u * self.right + v * self.up

    def shown(self, point: Vector) -> Point:
        """u and v of a point, which is brought to the plane along its normal."""
        offset = point - self.origin
        return float(offset @ self.right), float(offset @ self.up)

    def height(self, point: Vector) -> float:
        """How far a point lies from the plane, along its normal."""
        return float((point - self.origin) @ self.normal)


def frame_of(plane: Plane, shape: Shape) -> Frame:
    """An x, y or z plane lies in the middle of the layer that it shows."""
    if plane.axis != "oblique":
        axis = "xyz".index(plane.axis)
        unit = np.eye(3)
        across, up = AXES_SHOWN[plane.axis]
        return Frame(unit[axis] * (layer_of(plane, shape) + 0.5), unit[across], unit[up], unit[axis])
    normal = plane.normal
    azimuth = math.radians(plane.azimuth_degrees)
    right = np.round(np.array([-math.sin(azimuth), math.cos(azimuth), 0.0]), 12)
    return Frame(np.array(shape) / 2 + normal * plane.position, right, np.cross(normal, right), normal)


def plane_through(plane: Plane, point: Vector, shape: Shape) -> Plane:
    """The same plane, moved along its normal to a point, but never out of the volume."""
    if plane.axis != "oblique":
        axis = "xyz".index(plane.axis)
        return moved_to(plane, float(point[axis]), shape)
    return moved_to(plane, float((point - np.array(shape) / 2) @ plane.normal), shape)


def voxel_middle(voxel: tuple[int, int, int]) -> Vector:
    """The middle of a voxel, (3,)."""
    return np.array(voxel) + 0.5


def moved_to(plane: Plane, position: float, shape: Shape) -> Plane:
    """The same plane at another position, brought into the volume; an x, y or z plane comes to lie on whole layers."""
    if plane.axis != "oblique":
        side = shape["xyz".index(plane.axis)]
        position = float(max(0, min(side - 1, math.floor(position))))
    else:
        reach = float(np.abs(plane.normal) @ np.array(shape)) / 2
        position = max(-reach, min(reach, position))
    return Plane(plane.axis, position, plane.azimuth_degrees, plane.elevation_degrees)


def outline(plane: Plane, shape: Shape, clip: Box | None = None) -> NDArray[np.float64]:
    """The corners of the part of a plane that lies in the volume, and in the clip box: (n, 3), in order around it.

    Empty where there is no such part.
    """
    low, high = (np.zeros(3), np.array(shape, np.float64))
    if clip is not None:
        low, high = np.maximum(low, clip[0]), np.minimum(high, clip[1])
    if not (low < high).all():
        return np.zeros((0, 3))
    frame = frame_of(plane, shape)
    reach = float(np.linalg.norm(shape)) + 1.0
    middle = frame.shown((low + high) / 2)
    square = [(-reach, -reach), (reach, -reach), (reach, reach), (-reach, reach)]
    corners = [frame.point(middle[0] + u, middle[1] + v) for u, v in square]
    for axis in range(3):  # Sutherland and Hodgman, "Reentrant polygon clipping" (1974)
        corners = _cut_off(corners, axis, float(low[axis]), 1.0)
        corners = _cut_off(corners, axis, float(high[axis]), -1.0)
    return np.array(corners).reshape(-1, 3)


def _cut_off(corners: list[Vector], axis: int, at: float, side: float) -> list[Vector]:
    """What of a polygon lies above (side 1) or below (side -1) a coordinate."""
    kept: list[Vector] = []
    for a, b in pairwise([*corners, *corners[:1]]):
        inside_a, inside_b = (side * (point[axis] - at) >= -_NEAR for point in (a, b))
        if inside_a:
            kept.append(a)
        if inside_a != inside_b:
            share = (at - a[axis]) / (b[axis] - a[axis])
            kept.append(a + share * (b - a))
    return kept


def crossing(plane: Plane, other: Plane, shape: Shape) -> tuple[Point, Point] | None:
    """Where `other` crosses `plane` within the volume, as two points of `plane`'s picture; None where it does not."""
    frame, cutting = frame_of(plane, shape), frame_of(other, shape)
    corners = outline(plane, shape)
    ends: list[Point] = []
    for a, b in pairwise([*corners, *corners[:1]]):
        height_a, height_b = cutting.height(a), cutting.height(b)
        if (height_a < 0) != (height_b < 0):
            ends.append(frame.shown(a + height_a / (height_a - height_b) * (b - a)))
    return (ends[0], ends[1]) if len(ends) == 2 else None


def extent(plane: Plane, shape: Shape) -> tuple[Point, Point]:
    """The rectangle of u and v, low and high, that holds the plane's part of the volume."""
    corners = outline(plane, shape)
    if not len(corners):
        return (0.0, 0.0), (0.0, 0.0)
    frame = frame_of(plane, shape)
    shown = np.array([frame.shown(corner) for corner in corners])
    low, high = shown.min(axis=0), shown.max(axis=0)
    return (float(low[0]), float(low[1])), (float(high[0]), float(high[1]))
