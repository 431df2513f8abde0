"""Thin lines around things: the frame of a volume with its labels, and the markers of the selected and the hovered
byte.
"""

from __future__ import annotations

import numpy as np
import pygfx as gfx
from numpy.typing import NDArray

from render.camera import Box

_EDGES = [(a, b) for a in range(8) for b in range(8) if a < b and (a ^ b).bit_count() == 1]


_THICKNESS = 1.0
_OPACITY = 0.55
_NAME_SIZE = 14
_GLYPH_WIDTH = 0.56
"""Of a character of pygfx's font, as a share of its size, on average."""


def box_lines(box: Box) -> NDArray[np.float32]:
    """The twelve edges of a box as (24, 3) float32, pairs of points."""
    corners = np.array([[box[corner >> axis & 1][axis] for axis in range(3)] for corner in range(8)], np.float32)
    lines: NDArray[np.float32] = corners[np.array(_EDGES).ravel()]
    return lines


class BoxMarker(gfx.Group):
    """A box of lines that can be seen at every zoom: bright where nothing hides it, faint through what does."""

    def __init__(self, color: str, thickness: float, *, through: float = 0.25) -> None:
        super().__init__(visible=False)
        self._thickness = thickness
        self._box: Box | None = None
        self._lines = []
        for opacity, tested in ((1.0, True), (through, False)):
            material = gfx.LineSegmentMaterial(
                thickness=thickness,
                thickness_space="screen",
                color=color,
                opacity=opacity,
                aa=True,
                alpha_mode="blend",
                depth_test=tested,
                depth_write=False,
                pick_write=False,
                render_queue=3200,
            )
            line = gfx.Line(gfx.Geometry(positions=box_lines(((0, 0, 0), (1, 1, 1)))), material)
            self._lines.append(line)
            self.add(line)

    @property
    def box(self) -> Box | None:
        """What is marked."""
        return self._box

    def mark(self, box: Box | None) -> None:
        """Mark a box, or nothing."""
        self._box = box
        self.visible = box is not None
        if box is not None:
            for line in self._lines:
                line.geometry.positions.data[:] = box_lines(box)
                line.geometry.positions.update_full()

    def set_color(self, color: str) -> None:
        """Change the colour."""
        for line in self._lines:
            line.material.color = color

    def set_scale(self, pixel_ratio: float) -> None:
        """Draw for a screen with this many pixels to the unit."""
        for line in self._lines:
            line.material.thickness = self._thickness * pixel_ratio


class VolumeFrame(gfx.Group):
    """The edges of a volume, ticks along three of them, and small labels: its name, and where it begins and ends."""

    def __init__(self, shape: tuple[int, int, int], label: str, line_color: str, text_color: str) -> None:
        super().__init__()
        box: Box = ((0.0, 0.0, 0.0), (float(shape[0]), float(shape[1]), float(shape[2])))
        self._lines = [self._segments(box_lines(box)), self._segments(_ticks(shape))]
        self._texts: list[gfx.Text] = []
        self._sizes: list[float] = []
        self._emphasis = 1.0
        self._pixel_ratio = 1.0
        self.label = label
        margin = 0.025 * max(shape)
        for axis in range(3):
            at = [-margin, -margin, -margin]
            at[axis] = float(shape[axis])
            self._text("xyz"[axis], at, 11)
        self._text("0", [-margin, -margin, -margin], 11)
        self._axes = tuple(self._texts)
        if label:
            self._text(label, [0.0, 0.0, float(shape[2])], _NAME_SIZE)
            self._texts[-1].material.depth_test = False  # a name is read also where its volume is hidden
        self.set_colors(line_color, text_color)

    def _segments(self, positions: NDArray[np.float32]) -> gfx.Line:
        material = gfx.LineSegmentMaterial(
            thickness=_THICKNESS,
            thickness_space="screen",
            opacity=_OPACITY,
            aa=True,
            alpha_mode="blend",
            depth_write=False,
            render_queue=2900,
        )
        line = gfx.Line(gfx.Geometry(positions=positions), material)
        self.add(line)
        return line

    def _text(self, text: str, position: list[float], size: float) -> None:
        label = gfx.Text(
            text=text,
            font_size=size,
            screen_space=True,
            anchor="middle-center",
            material=gfx.TextMaterial(aa=True, depth_write=False, render_queue=3100),
        )
        label.local.position = position
        self._texts.append(label)
        self._sizes.append(size)
        self.add(label)

    @property
    def name_size_px(self) -> tuple[float, float]:
        """About how wide and high the name is in the picture."""
        height = _NAME_SIZE * self._pixel_ratio
        return _GLYPH_WIDTH * height * len(self.label), 1.2 * height

    def lay_labels(self, *, axes: bool, name_at: tuple[float, float, float] | None) -> None:
        """Show the letters of the axes or not, and the name at a point in voxels from the volume's corner, or not."""
        for text in self._axes:
            text.visible = axes
        for text in self._texts[len(self._axes) :]:
            text.visible = name_at is not None
            if name_at is not None:
                text.local.position = name_at

    def set_emphasis(self, emphasised: bool) -> bool:
        """Draw the edges strongly, because this volume is meant, or as always; returns whether that is a change."""
        emphasis = 2.5 if emphasised else 1.0
        if emphasis == self._emphasis:
            return False
        self._emphasis = emphasis
        for line in self._lines:
            line.material.opacity = min(1.0, _OPACITY * emphasis)
        self.set_scale(self._pixel_ratio)
        return True

    def set_colors(self, line_color: str, text_color: str) -> None:
        """Change the colours."""
        for line in self._lines:
            line.material.color = line_color
        for text in self._texts:
            text.material.color = text_color

    def set_scale(self, pixel_ratio: float) -> None:
        """Draw for a screen with this many pixels to the unit."""
        self._pixel_ratio = pixel_ratio
        for line in self._lines:
            line.material.thickness = _THICKNESS * self._emphasis * pixel_ratio
        for text, size in zip(self._texts, self._sizes, strict=True):
            text.font_size = size * pixel_ratio


def _ticks(shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """Short strokes outwards along the three edges at the origin, eight to the longest side."""
    step = max(shape) / 8
    length = 0.012 * max(shape)
    points = []
    for axis in range(3):
        outward = np.zeros(3)
        outward[[other for other in range(3) if other != axis]] = -length
        for i in range(1, int(shape[axis] / step) + 1):
            start = np.zeros(3)
            start[axis] = i * step
            points += [start, start + outward]
    return np.array(points, np.float32)
