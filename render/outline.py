"""Outline: thin boxes around the pages that are lit up, and what they are called."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pygfx as gfx

from render.camera import Box
from render.frame import box_lines
from render.page_boxes import MOST_BOXES

_THICKNESS = 1.0
_NAME_SIZE = 13
_LONGEST_NAME = 60
_EDGE = 0.25
"""Around the name's letters, as a share of what pygfx's glyphs have room for."""
_POINTS_A_BOX = 24


class Outline(gfx.Group):
    """Lines of at most MOST_BOXES boxes: plain where nothing hides them, faint through what does; one name."""

    def __init__(self, color: str, ground: str) -> None:
        super().__init__(visible=False)
        self._lines = []
        self.boxes: tuple[Box, ...] = ()
        """What is outlined."""
        self.label = ""
        for opacity, tested in ((0.7, True), (0.22, False)):
            material = gfx.LineSegmentMaterial(
                thickness=_THICKNESS,
                thickness_space="screen",
                opacity=opacity,
                aa=True,
                alpha_mode="blend",
                depth_test=tested,
                depth_write=False,
                pick_write=False,
                render_queue=3150,
            )
            # Room for all that there can be: another buffer would be bound anew, in every pipeline.
            points = np.zeros((MOST_BOXES * _POINTS_A_BOX, 3), np.float32)
            self._lines.append(gfx.Line(gfx.Geometry(positions=points), material))
        self._name = gfx.Text(
            text="",
            font_size=_NAME_SIZE,
            screen_space=True,
            anchor="bottom-center",
            anchor_offset=5,
            material=gfx.TextMaterial(
                aa=True, depth_test=False, depth_write=False, render_queue=3250, outline_thickness=_EDGE
            ),
        )
        self.add(*self._lines, self._name)
        self.set_color(color, ground)

    def show(self, boxes: Sequence[Box], label: str) -> bool:
        """Outline boxes, at most MOST_BOXES, one of them with a name; none: nothing.

        Returns whether that is a change.
        """
        wanted = tuple(boxes[:MOST_BOXES])
        if (wanted, label) == (self.boxes, self.label):
            return False
        self.boxes = wanted
        self.visible = bool(wanted)
        if label != self.label:
            self.label = label
            self._name.set_text(label if len(label) <= _LONGEST_NAME else label[: _LONGEST_NAME - 1] + "…")
        if wanted:
            points = np.concatenate([box_lines(box) for box in wanted])
            for line in self._lines:
                positions = line.geometry.positions
                positions.data[: len(points)] = points
                positions.update_full()
                positions.draw_range = 0, len(points)
        return True

    def lay_name(self, at: tuple[float, float, float] | None) -> None:
        """Show the name above a point of the world, or not."""
        self._name.visible = at is not None
        if at is not None:
            self._name.local.position = at

    def set_color(self, color: str, ground: str) -> None:
        """Change the colour; the name has an edge of the ground's, so that it can be read on what is lit."""
        for line in self._lines:
            line.material.color = color
        self._name.material.color = color
        self._name.material.outline_color = ground

    def set_scale(self, pixel_ratio: float) -> None:
        """Draw for a screen with this many pixels to the unit."""
        for line in self._lines:
            line.material.thickness = _THICKNESS * pixel_ratio
        self._name.font_size = _NAME_SIZE * pixel_ratio
