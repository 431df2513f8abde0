"""Look: how bytes become colour and opacity, complete and frozen, so that a picture can be described by it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from render.content import Kind
from render.errors import BadLook
from render.transfer import EVERYTHING, Transfer

Mode = Literal["solid", "translucent", "mip", "slice"]
MODE_TITLES: dict[Mode, str] = {
    "solid": "First hit",
    "translucent": "Translucent",
    "mip": "Maximum",
    "slice": "Slices",
}
MODES: tuple[Mode, ...] = tuple(MODE_TITLES)

Pyramid = Literal["mean", "max", "representative"]
PYRAMIDS: tuple[Pyramid, ...] = ("mean", "max", "representative")
"""What stands for many bytes where a pixel holds more than one."""


@dataclass(frozen=True, slots=True)
class Look:
    """How the bytes are shown. Raises BadLook for what cannot be meant."""

    mode: Mode = "solid"
    channel: str = "content"
    """The scalar that palette and transfer function are asked with: "content", "value", "entropy", "heat", or the name
    of an attribute."""
    palette: str = ""
    """One of PALETTES; empty: the channel's own."""
    transfer: Transfer = EVERYTHING
    opacity: float = 0.08
    """How much a voxel's length of the most opaque scalar hides in translucent mode, above 0 to 1."""
    hidden_kinds: frozenset[Kind] = field(default_factory=frozenset)
    pyramid: Pyramid = "mean"
    dim: float = 0.85
    """How far pages give way while others are lit up (`BrickStore.set_highlights`), 0 (not at all) to 1."""

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise BadLook(f"Mode {self.mode!r} is not one of {', '.join(MODES)}.")
        if self.pyramid not in PYRAMIDS:
            raise BadLook(f"Pyramid {self.pyramid!r} is not one of {', '.join(PYRAMIDS)}.")
        if not (math.isfinite(self.opacity) and 0.0 < self.opacity <= 1.0):
            raise BadLook(f"An opacity of {self.opacity} makes no sense; it lies above 0 and at most at 1.")
        if not (math.isfinite(self.dim) and 0.0 <= self.dim <= 1.0):
            raise BadLook(f"Dimming by {self.dim} makes no sense; it lies at 0 to 1.")
