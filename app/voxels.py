"""Voxels: which byte of a machine's RAM a voxel of its volume shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from app.place import Place

if TYPE_CHECKING:
    from app.stage import Stage


def place_of_voxel(stage: Stage, machine: str, voxel: tuple[int, int, int]) -> Place | None:
    """Return the byte at a voxel; None outside of the volume, and where its box holds more than there is RAM.

    Raises KeyError for a machine that is not shown.
    """
    feed = stage.feeds[machine]
    store = feed.store
    if not all(0 <= v < side for v, side in zip(voxel, store.shape_voxels, strict=True)):
        return None
    address = int(store.curve.address_from_voxel(np.array([voxel], np.uint32), store.order)[0])
    return Place(machine, address) if address < feed.ram.size_bytes else None
