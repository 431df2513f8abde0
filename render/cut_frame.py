"""Thin bright lines around what is cut: the edges of slice planes, a colour an axis, and of the clip box."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pygfx as gfx
from numpy.typing import NDArray

from render.camera import Box
from render.cut import AXES, WHOLE, Axis, Cut, Plane, layer_of
from render.frame import box_lines
from render.planes import Shape, outline

_POINTS = 24
"""Of a box's twelve edges; an oblique plane has six at most."""
_THICKNESS, _STRONG = 1.5, 3.5
_CLIP_THICKNESS = 1.0
_THROUGH = 0.22


def edge_lines(plane: Plane, shape: Shape, clip: Box | None) -> NDArray[np.float32] | None:
    """The edges of what is shown of a plane as pairs of points, (24, 3) float32; None where nothing is.

    An x, y or z plane has the edges of its layer, which has a thickness when one is near.
    """
    corners = outline(plane, shape, clip)
    if len(corners) < 3:
        return None
    if plane.axis != "oblique":
        axis = "xyz".index(plane.axis)
        low, high = corners.min(axis=0), corners.max(axis=0)
        low[axis], high[axis] = layer_of(plane, shape), layer_of(plane, shape) + 1
        return box_lines(((low[0], low[1], low[2]), (high[0], high[1], high[2])))
    pairs = np.array([point for pair in pairwise([*corners, corners[0]]) for point in pair], np.float32)
    lines = np.broadcast_to(pairs[-1], (_POINTS, 3)).copy()  # what is left over is of no length
    lines[: len(pairs)] = pairs
    return lines


class _Lines(gfx.Group):
    """Lines that are bright where nothing hides them, and faint through what does."""

    def __init__(self, thickness: float) -> None:
        super().__init__(visible=False)
        self._thickness, self._ratio = thickness, 1.0
        self._segments = []
        for opacity, tested in ((1.0, True), (_THROUGH, False)):
            material = gfx.LineSegmentMaterial(
                thickness=thickness,
                thickness_space="screen",
                opacity=opacity,
                aa=True,
                alpha_mode="blend",
                depth_test=tested,
                depth_write=False,
                pick_write=False,
                render_queue=3150,
            )
            line = gfx.Line(gfx.Geometry(positions=np.zeros((_POINTS, 3), np.float32)), material)
            self._segments.append(line)
            self.add(line)

    def put(self, points: NDArray[np.float32] | None) -> None:
        """Lie along pairs of points (24, 3), or nowhere."""
        self.visible = points is not None
        if points is not None:
            for line in self._segments:
                line.geometry.positions.data[:] = points
                line.geometry.positions.update_full()

    def style(self, *, color: str | None = None, thickness: float | None = None, ratio: float | None = None) -> None:
        """Change some of what they look like."""
        self._thickness = self._thickness if thickness is None else thickness
        self._ratio = self._ratio if ratio is None else ratio
        for line in self._segments:
            if color is not None:
                line.material.color = color
            line.material.thickness = self._thickness * self._ratio


class CutFrame(gfx.Group):
    """The lines of one volume's cut, in its own voxels."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self._shape = shape
        self._cut = WHOLE
        self._strong: Axis | None = None
        self._planes: dict[Axis, _Lines] = {axis: _Lines(_THICKNESS) for axis in AXES}
        self._clip = _Lines(_CLIP_THICKNESS)
        self.add(*self._planes.values(), self._clip)

    def show(self, cut: Cut) -> None:
        """Lie around what is shown of a cut."""
        self._cut = cut
        for axis, lines in self._planes.items():
            plane = cut.plane(axis)
            lines.put(None if plane is None else edge_lines(plane, self._shape, cut.clip))
        self._clip.put(None if cut.clip is None else box_lines(cut.clip))

    def emphasise(self, axis: Axis | None) -> bool:
        """Draw one plane's edges strongly, or none's; returns whether that changed."""
        if axis == self._strong:
            return False
        self._strong = axis
        for each, lines in self._planes.items():
            lines.style(thickness=_STRONG if each == axis else _THICKNESS)
        return True

    def set_colors(self, planes: tuple[str, ...], clip: str) -> None:
        """Change the colours: of the planes in the order of AXES, and of the clip box."""
        for color, lines in zip(planes, self._planes.values(), strict=True):
            lines.style(color=color)
        self._clip.style(color=clip)

    def set_scale(self, pixel_ratio: float) -> None:
        """Draw for a screen with this many pixels to the unit."""
        for lines in (*self._planes.values(), self._clip):
            lines.style(ratio=pixel_ratio)
