"""Treemap: rectangles whose areas are amounts, as square as can be, with smaller ones inside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Rect(NamedTuple):
    """A rectangle: x and y of its upper left corner, its width and height."""

    x: float
    y: float
    width: float
    height: float

    def holds(self, x: float, y: float) -> bool:
        """Whether a point lies in it."""
        return self.x <= x < self.x + self.width and self.y <= y < self.y + self.height

    def inset(self, by: float, top: float = 0.0) -> Rect:
        """It without a border of `by` all round, and `top` more above; nothing is narrower than nothing."""
        width, height = max(0.0, self.width - 2 * by), max(0.0, self.height - 2 * by - top)
        return Rect(self.x + by, self.y + by + top, width, height)


def squarify(amounts: Sequence[float], area: Rect) -> list[Rect]:
    """Divide an area by amounts, which are positive and ordered, the largest first: a rectangle for each.

    Rows are laid along the shorter side of what is left, each as long as that makes its worst rectangle squarer
    (Bruls, Huizing and van Wijk, "Squarified treemaps", 2000).
    """
    total = float(sum(amounts))
    if total <= 0 or area.width <= 0 or area.height <= 0:
        return [Rect(area.x, area.y, 0.0, 0.0) for _ in amounts]
    scale = area.width * area.height / total
    sizes = [amount * scale for amount in amounts]
    placed: list[Rect] = []
    left, begin = area, 0
    while begin < len(sizes):
        side = min(left.width, left.height)
        end, sum_ = begin + 1, sizes[begin]
        worst = _worst(sum_, sizes[begin], sizes[begin], side)
        while end < len(sizes):
            with_next = _worst(sum_ + sizes[end], sizes[begin], sizes[end], side)
            if with_next > worst:
                break
            worst, sum_, end = with_next, sum_ + sizes[end], end + 1
        is_last = end == len(sizes)
        placed += _row(sizes[begin:end], sum_, left, is_last=is_last)
        left = _rest(left, sum_, side)
        begin = end
    return placed


def _worst(sum_: float, most: float, least: float, side: float) -> float:
    """The worst ratio of sides in a row of areas that has this sum, along a side."""
    if least <= 0 or side <= 0:
        return float("inf")
    square, length = sum_ * sum_, side * side
    return max(length * most / square, square / (length * least))


def _row(sizes: Sequence[float], sum_: float, left: Rect, *, is_last: bool) -> list[Rect]:
    """Rectangles side by side along the shorter side of what is left."""
    upright = left.width >= left.height  # the row is a column at the left
    side = left.height if upright else left.width
    # The last row ends exactly where the area does, whatever was lost to rounding.
    thick = (left.width if upright else left.height) if is_last else (sum_ / side if side > 0 else 0.0)
    rects, at = [], 0.0
    for size in sizes:
        length = side * size / sum_ if sum_ > 0 else 0.0
        rects.append(Rect(left.x, left.y + at, thick, length) if upright else Rect(left.x + at, left.y, length, thick))
        at += length
    return rects


def _rest(left: Rect, sum_: float, side: float) -> Rect:
    """What is left of an area after a row."""
    thick = sum_ / side if side > 0 else 0.0
    if left.width >= left.height:
        return Rect(left.x + thick, left.y, max(0.0, left.width - thick), left.height)
    return Rect(left.x, left.y + thick, left.width, max(0.0, left.height - thick))
