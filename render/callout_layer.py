"""Callouts in the picture: names on small plates, each with a line to what it names, in pixels over everything else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pygfx as gfx
from numpy.typing import NDArray

from render.callouts import MOST_CALLOUTS, Anchored, Callout

_FONT_PX = 13.0
_HEIGHT_PX = 22.0
_PAD_PX = 9.0
_DOT_PX = 7.0
_DOT_ROOM_PX = 13.0
_LINE_PX = 1.3
_END_PX = 7.0
_STUB_PX = 12.0
LONGEST_NAME = 44
_FLAT = {
    "color_mode": "vertex",
    "aa": True,
    "alpha_mode": "blend",
    "depth_test": False,
    "depth_write": False,
    "pick_write": False,
}
"""Of what is drawn over the picture and hides behind nothing."""


@dataclass(frozen=True, slots=True)
class Name:
    """What a callout says, and the colour of what it names, "#rrggbb"."""

    key: str
    text: str
    colour: str


class CalloutLayer:
    """The things that draw callouts. One picture's; reused from picture to picture."""

    def __init__(self, ground: str, text: str) -> None:
        self.scene = gfx.Scene()
        self.camera = gfx.ScreenCoordsCamera()
        self._pixel_ratio = 1.0
        self._ground, self._text = ground, text
        self._names: dict[str, Name] = {}
        self._texts: dict[str, gfx.Text] = {}
        self.placed: tuple[Callout, ...] = ()
        """What the last picture shows, in pixels from the upper left."""
        # From the back to the front: a dark edge under each line, the line, plates; ends and dots; the letters.
        self._edges = _segments(3000, 2 * MOST_CALLOUTS)
        self._lines = _segments(3010, 2 * MOST_CALLOUTS)
        self._rings = _points(3020, MOST_CALLOUTS)
        self._ends = _points(3025, MOST_CALLOUTS)
        self._plates = _segments(3030, MOST_CALLOUTS)
        self._dots = _points(3040, MOST_CALLOUTS)
        things = (self._edges, self._lines, self._rings, self._ends, self._plates, self._dots)
        self.scene.add(*things)
        self.scene.visible = False
        self.set_scale(1.0)

    def name(self, names: Sequence[Name]) -> bool:
        """Set what there is to be named, at most MOST_CALLOUTS; whether that is a change."""
        wanted = {name.key: name for name in names}
        if list(wanted.values()) == list(self._names.values()):
            return False
        for key in self._texts.keys() - wanted.keys():
            self.scene.remove(self._texts.pop(key))
        for key, name in wanted.items():
            if key not in self._texts:
                self._texts[key] = self._letters(name)
                self.scene.add(self._texts[key])
            elif self._names[key].text != name.text:
                self._texts[key].set_text(_shortened(name.text))
        self._names = wanted
        return True

    def _letters(self, name: Name) -> gfx.Text:
        material = gfx.TextMaterial(color=self._text, aa=True, depth_test=False, depth_write=False, render_queue=3050)
        return gfx.Text(
            text=_shortened(name.text),
            font_size=_FONT_PX * self._pixel_ratio,
            screen_space=False,
            anchor="middle-left",
            material=material,
        )

    def anchored(self, key: str, anchor: tuple[float, float]) -> Anchored:
        """A name that is there, with its size, as `CalloutLayout` takes it. Raises KeyError."""
        box = self._texts[key].get_bounding_box()
        width = 0.0 if box is None else float(box[1][0] - box[0][0])
        ratio = self._pixel_ratio
        return Anchored(key, anchor, round(width + (2 * _PAD_PX + _DOT_ROOM_PX) * ratio), round(_HEIGHT_PX * ratio))

    def show(self, callouts: Sequence[Callout], height: float) -> None:
        """Draw callouts in a picture of a height."""
        self.placed = tuple(callouts)
        self.scene.visible = bool(callouts)
        ratio = self._pixel_ratio
        ground = _srgb_from_hex(self._ground)
        lines, plates, ends, dots, colours = [], [], [], [], []
        shown = {callout.key for callout in callouts}
        for key, text in self._texts.items():
            text.visible = key in shown
        for callout in callouts:
            left, top, right, bottom = callout.rect
            middle, half = height - (top + bottom) / 2, (bottom - top) / 2
            outward = 1 if callout.side == "left" else -1
            x, y = callout.elbow[0], middle
            stub = (x + outward * _STUB_PX * ratio, y)
            at = callout.anchor[0], height - callout.anchor[1]
            lines += [(x - outward * half, y), stub, stub, at]
            plates += [(left + half, middle), (right - half, middle)]
            ends.append(at)
            dots.append((left + _PAD_PX * ratio + _DOT_PX * ratio / 2, middle))
            colours.append(_srgb_from_hex(self._names[callout.key].colour))
            self._texts[callout.key].local.position = (left + (_PAD_PX + _DOT_ROOM_PX) * ratio, middle, 0)
        four = [colour for colour in colours for _ in range(4)]
        _draw(self._edges, lines, four, 0.0, ground, 0.55)
        _draw(self._lines, lines, four, 1.0, ground, 0.95)
        _draw(self._rings, ends, colours, 0.0, ground, 0.8)
        _draw(self._ends, ends, colours, 1.0, ground, 1.0)
        _draw(self._plates, plates, [colour for colour in colours for _ in range(2)], 0.07, ground, 0.88)
        _draw(self._dots, dots, colours, 1.0, ground, 1.0)

    def set_colors(self, ground: str, text: str) -> None:
        """Change the colours of plates and letters; drawn when they are shown next."""
        self._ground, self._text = ground, text
        for letters in self._texts.values():
            letters.material.color = text

    def set_scale(self, pixel_ratio: float) -> None:
        """Draw for a screen with this many pixels to the unit."""
        self._pixel_ratio = pixel_ratio
        self._edges.material.thickness = (_LINE_PX + 2.0) * pixel_ratio
        self._lines.material.thickness = _LINE_PX * pixel_ratio
        self._plates.material.thickness = round(_HEIGHT_PX * pixel_ratio)
        for thing, size in ((self._rings, _END_PX + 3.0), (self._ends, _END_PX), (self._dots, _DOT_PX)):
            thing.material.size = size * pixel_ratio
        for letters in self._texts.values():
            letters.font_size = _FONT_PX * pixel_ratio


def _srgb_from_hex(colour: str) -> tuple[float, float, float]:
    """ "#rrggbb" -> 0..1 each, as pygfx takes the colours of points."""
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red, green, blue


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_NAME else text[: LONGEST_NAME - 1] + "…"


def _segments(queue: int, n: int) -> gfx.Line:
    material = gfx.LineSegmentMaterial(thickness=1.0, thickness_space="screen", render_queue=queue, **_FLAT)
    return gfx.Line(_room(2 * n), material)


def _points(queue: int, n: int) -> gfx.Points:
    return gfx.Points(_room(n), gfx.PointsMaterial(size=1.0, size_space="screen", render_queue=queue, **_FLAT))


def _room(n: int) -> gfx.Geometry:
    """Room for all that there can be: another buffer would be bound anew, in every pipeline."""
    return gfx.Geometry(positions=np.zeros((n, 3), np.float32), colors=np.zeros((n, 4), np.float32))


def _draw(
    thing: gfx.Line | gfx.Points,
    points: Sequence[tuple[float, float]],
    colours: Sequence[tuple[float, float, float]],
    share: float,
    ground: tuple[float, float, float],
    alpha: float,
) -> None:
    """Draw at points (x, y) in colours, `share` of which is their own and the rest the ground's."""
    n = len(points)
    if n:
        mixed: NDArray[np.float64] = share * np.array(colours) + (1 - share) * np.array(ground)
        positions, colors = thing.geometry.positions, thing.geometry.colors
        positions.data[:n, :2] = points
        colors.data[:n, :3], colors.data[:n, 3] = mixed, alpha
        positions.update_full()
        colors.update_full()
    thing.geometry.positions.draw_range = 0, n
    thing.visible = n > 0
