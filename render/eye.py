"""Where rays come from, and what light they find: what a march needs besides a volume and a look."""

from __future__ import annotations

from dataclasses import dataclass

from render.camera import Basis, Box
from render.cut import Plane

Rect = tuple[int, int, int, int]
"""x, y, width, height in pixels."""


@dataclass(frozen=True, slots=True)
class Eye:
    """Where rays come from and how they spread, in the volume's own voxels."""

    basis: Basis
    half_extent: tuple[float, float]
    clear_depth: float
    """Nothing nearer than this is shown."""
    opening: Box | None = None
    """A box, in voxels, that is laid open: what stands between it and the eye is cut away."""
    clip: Box | None = None
    """A box, in voxels, outside of which nothing is shown."""
    planes: tuple[Plane, ...] = ()
    """Slice planes, at most four."""


@dataclass(frozen=True, slots=True)
class Shine:
    """What a look needs besides itself to be drawn."""

    glow: float
    flash_s: float
    flash_color: tuple[float, float, float]
    sheet_ground: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Linear light of a slice plane where bytes are zero."""
    outline: float = 0.0
    """How wide outlines of what is lit up are, as a share of the picture's height; 0: none are drawn."""
