"""Slicing: how one machine is cut, as a value: where its four planes stand, which are shown, and its clip box."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from render.camera import Box
from render.cut import AXES, Axis, Cut, Plane
from render.planes import Shape, moved_to

PLANE_TITLES: dict[Axis, str] = {"z": "XY", "y": "XZ", "x": "YZ", "oblique": "Oblique"}
"""What people call the planes, by the axis along which they move."""
AZIMUTH, ELEVATION = -20.0, 35.0
"""An oblique plane's first angles, in degrees."""
MAX_ABS_POSITION = 1e6


class BadSlicing(ValueError):
    """A saved slicing that cannot be meant."""


@dataclass(frozen=True, slots=True)
class Slicing:
    """A plane that is not shown keeps its place, and so does a clip box that is off."""

    planes: tuple[Plane, ...]
    """One for each of AXES, in that order."""
    shown: frozenset[Axis]
    clip: Box
    clipping: bool = False

    def plane(self, axis: Axis) -> Plane:
        """Where the plane of an axis stands, shown or not."""
        return self.planes[AXES.index(axis)]

    def cut(self, shape: Shape) -> Cut:
        """What the picture needs to know."""
        whole = self.clip == whole_box(shape)
        return Cut(
            tuple(plane for plane in self.planes if plane.axis in self.shown),
            self.clip if self.clipping and not whole else None,
        )

    def with_plane(self, plane: Plane, *, shown: bool = True) -> Slicing:
        """A plane elsewhere; shown from now on unless it should stay as it is."""
        planes = tuple(plane if old.axis == plane.axis else old for old in self.planes)
        return replace(self, planes=planes, shown=self.shown | {plane.axis} if shown else self.shown)

    def with_shown(self, axis: Axis, shown: bool) -> Slicing:
        """A plane shown, or no longer."""
        return replace(self, shown=self.shown | {axis} if shown else self.shown - {axis})

    def with_three(self) -> Slicing:
        """The x, y and z planes shown."""
        return replace(self, shown=self.shown | set(AXES[:3]))

    def with_clip(self, box: Box) -> Slicing:
        """Clipped to a box."""
        return replace(self, clip=box, clipping=True)

    def with_clipping(self, clipping: bool) -> Slicing:
        """Clipped or whole; the box stays."""
        return replace(self, clipping=clipping)


def whole_box(shape: Shape) -> Box:
    """The box that clips nothing."""
    return (0.0, 0.0, 0.0), (float(shape[0]), float(shape[1]), float(shape[2]))


def first_slicing(shape: Shape) -> Slicing:
    """Planes through the middle, none shown, nothing clipped."""
    planes = [Plane(axis, float(side // 2)) for axis, side in zip(AXES[:3], shape, strict=True)]
    return Slicing((*planes, Plane("oblique", 0.0, AZIMUTH, ELEVATION)), frozenset(), whole_box(shape))


def fitted(slicing: Slicing, shape: Shape) -> Slicing:
    """The same, brought into a volume of `shape`: a saved one may be of a machine that had more memory."""
    planes = tuple(moved_to(plane, plane.position, shape) for plane in slicing.planes)
    box = bounded_box(slicing.clip, shape)
    return replace(slicing, planes=planes, clip=box or whole_box(shape), clipping=slicing.clipping and box is not None)


def bounded_box(box: Box, shape: Shape) -> Box | None:
    """The part of a box that lies in a volume, on whole voxels; None where there is none."""
    low = [float(max(0, math.floor(a))) for a in box[0]]
    high = [float(min(side, math.ceil(b))) for b, side in zip(box[1], shape, strict=True)]
    if not all(a < b for a, b in zip(low, high, strict=True)):
        return None
    return (low[0], low[1], low[2]), (high[0], high[1], high[2])


def box_around(voxel: tuple[int, int, int], side: int, shape: Shape) -> Box:
    """A cube of `side` voxels around a voxel, moved so that it lies in the volume."""
    low = [max(0, min(v - side // 2, s - side)) for v, s in zip(voxel, shape, strict=True)]
    high = [min(s, a + side) for a, s in zip(low, shape, strict=True)]
    return (float(low[0]), float(low[1]), float(low[2])), (float(high[0]), float(high[1]), float(high[2]))


def to_json(slicing: Slicing) -> dict[str, Any]:
    """As JSON values."""
    return {
        "planes": {
            plane.axis: [plane.position, plane.azimuth_degrees, plane.elevation_degrees] for plane in slicing.planes
        },
        "shown": [axis for axis in AXES if axis in slicing.shown],
        "clip": [list(corner) for corner in slicing.clip],
        "clipping": slicing.clipping,
    }


def from_json(document: object) -> Slicing:
    """The inverse of `to_json`. Raises BadSlicing for whatever cannot be meant."""
    if not isinstance(document, Mapping):
        raise BadSlicing("it is no JSON object")
    planes, shown, clip = document.get("planes"), document.get("shown"), document.get("clip")
    if not isinstance(planes, Mapping) or not isinstance(shown, list) or not isinstance(clip, list):
        raise BadSlicing("planes, shown and clip are needed")
    made = [Plane(axis, *_numbers(planes.get(axis), 3)) for axis in AXES]
    if len(clip) != 2 or not all(axis in AXES for axis in shown):
        raise BadSlicing("shown names axes, and clip has two corners")
    low, high = (_numbers(corner, 3) for corner in clip)
    if not all(a < b for a, b in zip(low, high, strict=True)):
        raise BadSlicing("the clip box holds nothing")
    box = ((low[0], low[1], low[2]), (high[0], high[1], high[2]))
    return Slicing(tuple(made), frozenset(shown), box, document.get("clipping") is True)


def _numbers(values: object, count: int) -> tuple[float, ...]:
    if not isinstance(values, list) or len(values) != count:
        raise BadSlicing(f"{count} numbers are needed")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MAX_ABS_POSITION:
            raise BadSlicing(f"{str(value)[:40]} is no such number")
    return tuple(float(value) for value in values)
