"""Picking: which byte is shown at a pixel of a picture: asked of the march itself, exactly."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from render.camera import OrbitCamera
from render.cut import Axis
from render.eye import Shine
from render.layers import Layer
from render.look_table import LookTable
from render.projection import Projection


@dataclass(frozen=True, slots=True)
class Hit:
    """A byte that was pointed at: whose, which voxel of its volume, its RAM offset, and where in the world."""

    key: str
    voxel: tuple[int, int, int]
    address: int
    position: tuple[float, float, float]
    sheet: Axis | None = None
    """The slice plane on which it was seen; None for the volume itself."""


def pick(
    layers: Iterable[Layer],
    camera: OrbitCamera,
    table: LookTable,
    shine: Shine,
    at: tuple[float, float],
    size_px: tuple[int, int],
) -> Hit | None:
    """The nearest byte that is shown at a pixel position (from the top left), or None. Waits for the GPU."""
    best: tuple[float, Hit] | None = None
    projection = Projection.of(camera, size_px)
    for layer in layers:
        picked = layer.marcher.pick(layer.eye(camera), table, shine, at, size_px)
        if picked is None or (best is not None and picked.depth >= best[0]):
            continue
        address = int(layer.store.curve.address_from_voxel(np.array([picked.voxel], np.uint32), layer.store.order)[0])
        if address >= layer.store.size_bytes:
            continue  # a slice plane where the box is larger than what it holds
        place = projection.point_at(*at, picked.depth)
        best = (picked.depth, Hit(layer.key, picked.voxel, address, place, picked.sheet))
    return None if best is None else best[1]
