"""Slice planes and clip boxes as people write them: `x=128`, `y=50%`, `oblique=0@30,45`, `0:64,:,25%:75%`.

Text is parsed before the volume is known, so that a slip is told at once; what was meant is then fitted to its shape.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from render.camera import Box
from render.cut import AXES, Axis, Cut, Plane, plane_range
from render.errors import BadCut

MAX_TEXT = 200
PLANE_FORMS = "x=128, y=50%, z=0x40 or oblique=0@30,45 (position along the normal @ azimuth,elevation in degrees)"
CLIP_FORM = "x0:x1,y0:y1,z0:z1, such as 0:128,:,25%:75%"

Shape = tuple[int, int, int]

_HEX = re.compile(r"0x[0-9a-f]{1,8}", re.IGNORECASE)
_DECIMAL = re.compile(r"[+-]?\d{1,9}(\.\d{1,9})?")


@dataclass(frozen=True, slots=True)
class Amount:
    """A length in voxels, or a share (0 to 1) of what there is."""

    value: float
    is_share: bool = False

    def within(self, low: float, high: float) -> float:
        """The length between two ends. Raises BadCut outside of them."""
        length = low + self.value * (high - low) if self.is_share else self.value
        if not low <= length <= high:
            raise BadCut(f"{length:g} lies outside of {low:g} to {high:g} voxels.")
        return length


@dataclass(frozen=True, slots=True)
class PlaneText:
    """A plane that was asked for, before it is known of which volume."""

    axis: Axis
    position: Amount
    azimuth_degrees: float = 0.0
    elevation_degrees: float = 0.0

    def at_angles(self, like: Plane) -> PlaneText:
        """The same, turned as another plane is."""
        return replace(self, azimuth_degrees=like.azimuth_degrees, elevation_degrees=like.elevation_degrees)

    def plane(self, shape: Shape) -> Plane:
        """The plane in a volume of `shape`. Raises BadCut where it lies outside."""
        low, high = plane_range(Plane(self.axis, 0.0, self.azimuth_degrees, self.elevation_degrees), shape)
        try:
            position = self.position.within(low, high)
        except BadCut as error:
            raise BadCut(f"{self.axis}: {error}") from None
        return Plane(self.axis, position, self.azimuth_degrees, self.elevation_degrees)


@dataclass(frozen=True, slots=True)
class ClipText:
    """A clip box that was asked for; None where it reaches to the volume's own end."""

    spans: tuple[tuple[Amount | None, Amount | None], ...]

    def box(self, shape: Shape) -> Box:
        """The box in a volume of `shape`. Raises BadCut where it lies outside or holds nothing."""
        low, high = [], []
        for axis, side, (first, last) in zip("xyz", shape, self.spans, strict=True):
            try:
                low.append(0.0 if first is None else first.within(0.0, side))
                high.append(float(side) if last is None else last.within(0.0, side))
            except BadCut as error:
                raise BadCut(f"{axis}: {error}") from None
            if low[-1] >= high[-1]:
                raise BadCut(f"{axis}: from {low[-1]:g} to {high[-1]:g} there is nothing.")
        return (low[0], low[1], low[2]), (high[0], high[1], high[2])


def parse_plane(text: str) -> PlaneText:
    """`AXIS=POSITION`, see PLANE_FORMS. Raises BadCut."""
    axis_text, equals, rest = text[:MAX_TEXT].strip().partition("=")
    axis = next((axis for axis in AXES if axis == axis_text.strip().lower()), None)
    if axis is None or not equals or len(text) > MAX_TEXT:
        raise BadCut(f"{text[:40]!r} is no slice plane; write {PLANE_FORMS}.")
    position, at, angles = rest.partition("@")
    if at and axis != "oblique":
        raise BadCut(f"{text[:40]!r}: only an oblique plane has angles; write {PLANE_FORMS}.")
    azimuth, elevation = 0.0, 0.0
    if at:
        parts = [_decimal(part) for part in angles.split(",")]
        if len(parts) != 2 or parts[0] is None or parts[1] is None or abs(parts[0]) > 360 or abs(parts[1]) > 90:
            raise BadCut(
                f"{text[:40]!r}: after @ come an azimuth from -360 to 360 and an elevation from -90 to 90 degrees."
            )
        azimuth, elevation = parts[0], parts[1]
    amount = _amount(position)
    if amount is None:
        raise BadCut(f"{text[:40]!r} has no position that is a number of voxels or a share in %; write {PLANE_FORMS}.")
    return PlaneText(axis, amount, azimuth, elevation)


def parse_clip(text: str) -> ClipText:
    """`x0:x1,y0:y1,z0:z1`, see CLIP_FORM; either end may be left out. Raises BadCut."""
    parts = text.split(",") if len(text) <= MAX_TEXT else []
    if len(parts) != 3:
        raise BadCut(f"{text[:40]!r} is no clip box; write {CLIP_FORM}.")
    spans = []
    for part in parts:
        ends = part.split(":")
        amounts = [_amount(end) for end in ends]
        if len(ends) != 2 or any(amount is None and end.strip() for amount, end in zip(amounts, ends, strict=True)):
            raise BadCut(f"{part[:40]!r} is no part of a clip box; write {CLIP_FORM}.")
        spans.append((amounts[0], amounts[1]))
    return ClipText(tuple(spans))


def cut_from_arguments(planes: Sequence[str], clip: str | None, shape: Shape) -> Cut:
    """The cut that a command line asks for. Raises BadCut."""
    return Cut(
        tuple(parse_plane(text).plane(shape) for text in planes), None if clip is None else parse_clip(clip).box(shape)
    )


def _amount(text: str) -> Amount | None:
    text = text.strip()
    if _HEX.fullmatch(text):
        return Amount(float(int(text, 16)))
    if text.endswith("%"):
        share = _decimal(text[:-1])
        return None if share is None or not 0 <= share <= 100 else Amount(share / 100, is_share=True)
    length = _decimal(text)
    return None if length is None else Amount(length)


def _decimal(text: str) -> float | None:
    text = text.strip()
    if not _DECIMAL.fullmatch(text):
        return None
    value = float(text)
    return value if math.isfinite(value) else None
