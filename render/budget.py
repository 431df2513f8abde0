"""The budget: how large a picture can be marched in the time a frame has, learned from what marching takes here."""

from __future__ import annotations

import math
from dataclasses import dataclass

_SMALLEST_SCALE = 0.12
_SPARE = 0.72
"""The share of a frame's time that is planned with: the rest is for frames that turn out dearer than the last."""
_TIGHTEN, _RELAX = 0.6, 0.08
"""How much of a surprise is believed at once. What is dearer than thought must not be so twice; what is cheaper may be
an accident, and a resolution that goes up and down is a flicker.
"""


@dataclass(slots=True)
class Budget:
    """How long marching may take, and what it takes here."""

    frame_s: float
    """A frame while the camera moves, all of it."""
    still_s: float
    """The march's share of a frame while the camera is still and the picture is refined."""
    samples: int
    """How many samples a pixel of a still picture gathers."""
    compose_s: float = 0.0
    """Measured: putting a frame together after the march."""
    pixel_s: float = 1e-7
    """Measured: marching one pixel of a sharp picture."""
    quick_pixel_s: float = 1e-7
    """Measured: marching one pixel of a quick picture, which shows larger things and less of them."""
    quick_scale: float = 0.5
    """The quick picture's share of full resolution, across and down."""

    def scale_for(self, pixels: int) -> float:
        """The resolution, as a share of the full one, at which `pixels` fit what is left of a frame."""
        left_s = max(0.2 * self.frame_s, _SPARE * self.frame_s - self.compose_s)
        self.quick_scale = max(_SMALLEST_SCALE, min(1.0, math.sqrt(left_s / (pixels * self.quick_pixel_s))))
        return self.quick_scale

    def learn_sharp(self, pixels: int, took_s: float) -> None:
        """Remember what marching `pixels` of a sharp picture cost."""
        self.pixel_s = 0.6 * self.pixel_s + 0.4 * took_s / max(1, pixels)

    def learn_quick(self, pixels: int, took_s: float) -> None:
        """Remember what marching `pixels` of a quick picture cost."""
        self.quick_pixel_s = _learned(self.quick_pixel_s, took_s / max(1, pixels))

    def learn_compose(self, took_s: float) -> None:
        """Remember what putting a frame together cost."""
        self.compose_s = _learned(self.compose_s, took_s)

    def forget(self) -> None:
        """Another way of looking costs something else: what a pixel takes is learned anew, and quickly."""
        self.quick_pixel_s = max(self.quick_pixel_s, self.pixel_s)


def _learned(known: float, new: float) -> float:
    return known + (_TIGHTEN if new > known else _RELAX) * (new - known)
