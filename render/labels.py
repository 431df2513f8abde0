"""Labels: where the names of volumes stand in a picture: above their volumes, readable, and never over each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Rect = tuple[float, float, float, float]
"""left, top, right, bottom in pixels."""

_PAD = 0.35
"""Room around a label, as a share of its height."""
_MOST_STEPS = 8


@dataclass(frozen=True, slots=True)
class Named:
    """A volume as it lies in the picture, and the size of its label, in pixels."""

    outline: Rect
    middle: float
    """Where the middle of its upper side is."""
    width: float
    height: float


def place_labels(volumes: Sequence[Named], picture: tuple[float, float]) -> list[tuple[float, float] | None]:
    """Return the middle of each label, in pixels; None for a volume that is out of the picture.

    Earlier ones have the better places: give the nearest first. A label stands above its volume, else below it, else
    as far above as is needed to be clear of the others.
    """
    taken: list[Rect] = []
    found: list[tuple[float, float] | None] = []
    for volume in volumes:
        left, top, right, bottom = volume.outline
        if right < 0 or left > picture[0] or bottom < 0 or top > picture[1]:
            found.append(None)
            continue
        room = volume.height * _PAD
        above = top - room - volume.height / 2
        below = bottom + room + volume.height / 2
        step = volume.height + room
        heights = [above, below, *(above - step * i for i in range(1, _MOST_STEPS))]
        places = [_inside(volume.middle, y, volume, picture) for y in heights]
        places += [_inside(volume.middle, above + step * i, volume, picture) for i in range(1, _MOST_STEPS)]
        chosen = next((p for p in places if not _meets(_rect(p, volume, room / 2), taken)), places[0])
        taken.append(_rect(chosen, volume, 0.0))
        found.append(chosen)
    return found


def _inside(x: float, y: float, volume: Named, picture: tuple[float, float]) -> tuple[float, float]:
    """The same place, moved into the picture as far as it has room for the label."""
    half = volume.width / 2, volume.height / 2
    return (
        max(half[0], min(picture[0] - half[0], x)),
        max(half[1], min(picture[1] - half[1], y)),
    )


def _rect(middle: tuple[float, float], volume: Named, room: float) -> Rect:
    across, down = volume.width / 2 + room, volume.height / 2 + room
    return middle[0] - across, middle[1] - down, middle[0] + across, middle[1] + down


def _meets(rect: Rect, others: Sequence[Rect]) -> bool:
    return any(rect[0] < o[2] and o[0] < rect[2] and rect[1] < o[3] and o[1] < rect[3] for o in others)
