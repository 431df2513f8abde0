"""Callouts: where names stand beside the volumes, each led by a line to what it names, and never over each other.

Names stand in two columns, left and right of the volumes. In a column they have the order of what they name and lie as
near to it as there is room: the closest such places are an isotonic regression, found by pooling adjacent violators
(Ayer and others, "An empirical distribution function for sampling with incomplete information", 1955). It moves
continuously with what is named. Where two would change places, or one its column, they do so only when that is clear,
so that a small movement of the camera never makes them flicker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from render.labels import Rect

MOST_CALLOUTS = 24
"""As many as can be read."""
Side = Literal["left", "right"]
_SIDES: tuple[Side, Side] = ("left", "right")
_SIDE_SLACK = 0.03
"""So far beyond the middle, as a share of the picture's width, a thing must be for its name to change sides."""
_ORDER_SLACK = 0.6
"""So far beyond another, in heights of a name, a thing must be for their names to change places."""


@dataclass(frozen=True, slots=True)
class Anchored:
    """A name to be placed: what tells it from the others, what it names and its size, in pixels of the picture."""

    key: str
    anchor: tuple[float, float]
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Callout:
    """A name that found its place."""

    key: str
    anchor: tuple[float, float]
    rect: Rect
    side: Side

    @property
    def elbow(self) -> tuple[float, float]:
        """Where its line leaves it: at the middle of the edge that looks to what is named."""
        left, top, right, bottom = self.rect
        return (left if self.side == "right" else right), (top + bottom) / 2


@dataclass(slots=True)
class CalloutLayout:
    """Places names in picture after picture; what it remembers keeps them where they were."""

    _sides: dict[str, Side] = field(default_factory=dict)
    _orders: dict[Side, list[str]] = field(default_factory=dict)

    def lay(
        self,
        names: Sequence[Anchored],
        picture: tuple[float, float],
        around: Rect,
        *,
        margin: float,
        reserved: Sequence[Rect] = (),
    ) -> list[Callout]:
        """Return where names stand in a picture (width, height); those that find no room have no place.

        Earlier ones matter more. `around`: the outline of the volumes; `reserved`: where nothing may stand.
        """
        shown = [n for n in names if 0 <= n.anchor[0] <= picture[0] and 0 <= n.anchor[1] <= picture[1]][:MOST_CALLOUTS]
        if not shown:
            self._sides, self._orders = {}, {}
            return []
        height, widest = max(name.height for name in shown), max(name.width for name in shown)
        step = height + margin / 2
        edges = _edges(widest, picture[0], around, margin)
        rooms = {
            side: _room(
                (edge, edge + widest) if side == "right" else (edge - widest, edge), picture[1], margin, reserved
            )
            for side, edge in edges.items()
        }
        columns = self._columns(shown, picture, around, {side: _holds(room, step) for side, room in rooms.items()})
        placed: list[Callout] = []
        for side, edge in edges.items():
            own = self._ordered(side, columns[side], height)
            placed += _column(side, own, rooms[side], step, edge)
        self._sides = {callout.key: callout.side for callout in placed}
        self._orders = {side: [c.key for c in placed if c.side == side] for side in _SIDES}
        return placed

    def _columns(
        self, names: Sequence[Anchored], picture: tuple[float, float], around: Rect, holds: Mapping[Side, int]
    ) -> dict[Side, list[Anchored]]:
        """Which names stand on which side."""
        middle = (max(around[0], 0.0) + min(around[2], picture[0])) / 2
        columns: dict[Side, list[Anchored]] = {"left": [], "right": []}
        for name in names:
            away = name.anchor[0] - middle
            before = self._sides.get(name.key)
            wanted: Side = "left" if away < 0 else "right"
            if before is not None and abs(away) < _SIDE_SLACK * picture[0]:
                wanted = before
            other: Side = "right" if wanted == "left" else "left"
            for side in (wanted, other):
                if len(columns[side]) < holds.get(side, 0):
                    columns[side].append(name)
                    break
        return columns

    def _ordered(self, side: Side, names: Sequence[Anchored], height: float) -> list[Anchored]:
        """Names from top to bottom."""
        before = {key: place for place, key in enumerate(self._orders.get(side, ()))}
        known = sorted((n for n in names if n.key in before), key=lambda n: before[n.key])
        swapped = True
        while swapped:  # ends: each exchange takes away more than it may bring
            swapped = False
            for i in range(len(known) - 1):
                if known[i].anchor[1] > known[i + 1].anchor[1] + _ORDER_SLACK * height:
                    known[i], known[i + 1] = known[i + 1], known[i]
                    swapped = True
        for name in sorted((n for n in names if n.key not in before), key=lambda n: (n.anchor[1], n.key)):
            place = next((i for i, other in enumerate(known) if other.anchor[1] > name.anchor[1]), len(known))
            known.insert(place, name)
        return known


def _edges(widest: float, width: float, around: Rect, margin: float) -> dict[Side, float]:
    """Where names of the left column end and those of the right one begin, in a picture of a width; a side that is not
    there has no room: both would stand in each other's way.
    """
    left = min(max(around[0] - 2 * margin, margin + widest), width - 2 * margin - widest)
    right = max(min(around[2] + 2 * margin, width - margin - widest), left + margin)
    if left < margin + widest:
        return {"right": max(margin, width - margin - widest)}
    return {"left": left, "right": right}


def _room(column: tuple[float, float], height: float, margin: float, reserved: Sequence[Rect]) -> tuple[float, float]:
    """From where to where a column (left, right) may reach, down the picture: clear of what is reserved."""
    top, bottom = margin, height - margin
    for rect in reserved:
        if rect[0] - margin < column[1] and column[0] < rect[2] + margin:
            if rect[1] + rect[3] > height:
                bottom = min(bottom, rect[1] - margin)
            else:
                top = max(top, rect[3] + margin)
    return top, bottom


def _holds(room: tuple[float, float], step: float) -> int:
    return max(0, int((room[1] - room[0]) // step))


def _column(
    side: Side, names: Sequence[Anchored], room: tuple[float, float], step: float, edge: float
) -> list[Callout]:
    """Place the names of one side, from top to bottom."""
    if not names:
        return []
    wanted = np.array([name.anchor[1] for name in names]) - step * np.arange(len(names))
    middles = np.clip(pooled(wanted), room[0] + step / 2, room[1] - step / 2 - step * (len(names) - 1))
    found = []
    for name, middle in zip(names, middles + step * np.arange(len(names)), strict=True):
        left = round(edge if side == "right" else edge - name.width)
        top = round(float(middle) - name.height / 2)
        found.append(Callout(name.key, name.anchor, (left, top, left + name.width, top + name.height), side))
    return found


def pooled(wanted: np.ndarray[tuple[int], np.dtype[np.float64]]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The rising numbers (n,) that are nearest to some (n,), by least squares."""
    blocks: list[tuple[float, int]] = []
    for number in wanted.tolist():
        mean, count = number, 1
        while blocks and blocks[-1][0] > mean:
            before, n = blocks.pop()
            mean, count = (mean * count + before * n) / (count + n), count + n
        blocks.append((mean, count))
    return np.repeat([mean for mean, _ in blocks], [count for _, count in blocks])
