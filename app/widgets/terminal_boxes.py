"""Box drawing and block elements (U+2500..U+259F) as rectangles, so that they join at any row height.

What each character looks like is read from its Unicode name, such as BOX DRAWINGS DOWN LIGHT AND RIGHT HEAVY.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

Rect = tuple[float, float, float, float, float]
"""(x0, y0, x1, y1, opacity), in pixels of the cell."""

_WEIGHTS = {"LIGHT": 1, "SINGLE": 1, "HEAVY": 2, "DOUBLE": 3}
_ARMS = {"UP": "u", "DOWN": "d", "LEFT": "l", "RIGHT": "r", "VERTICAL": "ud", "HORIZONTAL": "lr"}
_EIGHTHS = {
    word: count
    for count, word in enumerate(
        ("ONE EIGHTH", "ONE QUARTER", "THREE EIGHTHS", "HALF", "FIVE EIGHTHS", "THREE QUARTERS", "SEVEN EIGHTHS"),
        start=1,
    )
}
_SHADES = {"LIGHT SHADE": 0.25, "MEDIUM SHADE": 0.5, "DARK SHADE": 0.75}


def is_box(char: str) -> bool:
    """Say whether `box_rects` draws `char`; diagonals are left to the font."""
    return "\u2500" <= char <= "\u259f" and not "\u2571" <= char <= "\u2573"


@lru_cache(maxsize=1024)
def box_rects(char: str, width: int, height: int) -> tuple[Rect, ...]:
    """Return the rectangles that draw `char` in a cell of `width` x `height` pixels."""
    name = unicodedata.name(char)
    if name.startswith("BOX DRAWINGS "):
        return tuple(_lines(name.removeprefix("BOX DRAWINGS "), width, height))
    return tuple(_block(name, width, height))


def _arms(name: str) -> dict[str, int]:
    """Return the weight of each of the arms u, d, l, r that a name lists."""
    arms: dict[str, int] = {}
    weight = 1
    for part in name.split(" AND "):
        words = part.split()
        weight = next((_WEIGHTS[word] for word in words if word in _WEIGHTS), weight)
        for word in words:
            for arm in _ARMS.get(word, ""):
                arms[arm] = weight
    return arms


def _lines(name: str, width: int, height: int) -> list[Rect]:
    arms = _arms(name)
    thin = max(1, round(height / 16))
    centre_x, centre_y = (width - thin) // 2, (height - thin) // 2
    gap = 2 * thin  # between the two strokes of a double line
    dashes = next((count for word, count in (("DOUBLE DASH", 2), ("TRIPLE", 3), ("QUADRUPLE", 4)) if word in name), 0)
    if "DASH" in name:
        weight = 2 if "HEAVY" in name else 1
        arms = dict.fromkeys("lr" if "HORIZONTAL" in name else "ud", weight)
    rects: list[Rect] = []
    for arm, weight in arms.items():
        # The arm reaches past the centre as far as the strokes that cross it are wide.
        across = max((arms.get(other, 0) for other in ("lr" if arm in "ud" else "ud")), default=0)
        reach = {0: 0, 1: 0, 2: thin // 2 or 0, 3: gap // 2}[across]
        offsets = (-gap // 2, gap - gap // 2) if weight == 3 else (0,)
        half = thin if weight == 2 else 0
        for offset in offsets:
            x0, y0 = centre_x + offset - half // 2, centre_y + offset - half // 2
            x1, y1 = x0 + thin + half, y0 + thin + half
            if arm == "u":
                rects.append((x0, 0, x1, centre_y + thin + reach, 1.0))
            elif arm == "d":
                rects.append((x0, centre_y - reach, x1, height, 1.0))
            elif arm == "l":
                rects.append((0, y0, centre_x + thin + reach, y1, 1.0))
            else:
                rects.append((centre_x - reach, y0, width, y1, 1.0))
    return [piece for rect in rects for piece in _dashed(rect, dashes)] if dashes and len(arms) == 2 else rects


def _dashed(rect: Rect, count: int) -> list[Rect]:
    """Cut half a stroke into `count` / 2 dashes (at least one), each three quarters of its share."""
    x0, y0, x1, y1, opacity = rect
    pieces: list[Rect] = []
    share = max(count // 2, 1)
    for index in range(share):
        if x1 - x0 >= y1 - y0:
            step = (x1 - x0) / share
            pieces.append((x0 + index * step, y0, x0 + (index + 0.7) * step, y1, opacity))
        else:
            step = (y1 - y0) / share
            pieces.append((x0, y0 + index * step, x1, y0 + (index + 0.7) * step, opacity))
    return pieces


def _block(name: str, width: int, height: int) -> list[Rect]:
    if name in _SHADES:
        return [(0, 0, width, height, _SHADES[name])]
    if name == "FULL BLOCK":
        return [(0, 0, width, height, 1.0)]
    middle_x, middle_y = width / 2, height / 2
    if name.startswith("QUADRANT "):
        rects: list[Rect] = []
        for quadrant in name.removeprefix("QUADRANT ").split(" AND "):
            x0 = 0.0 if "LEFT" in quadrant else middle_x
            y0 = 0.0 if "UPPER" in quadrant else middle_y
            rects.append((x0, y0, x0 + middle_x, y0 + middle_y, 1.0))
        return rects
    side, _, amount = name.removesuffix(" BLOCK").partition(" ")
    part = _EIGHTHS[amount] / 8
    return {
        "UPPER": [(0.0, 0.0, float(width), height * part, 1.0)],
        "LOWER": [(0.0, height * (1 - part), float(width), float(height), 1.0)],
        "LEFT": [(0.0, 0.0, width * part, float(height), 1.0)],
        "RIGHT": [(width * (1 - part), 0.0, float(width), float(height), 1.0)],
    }[side]
