"""Video memory use: what of it is held, by whom and for what; for the performance panel, the status bar and scripts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from render.resource_size import resource_bytes

if TYPE_CHECKING:
    import wgpu

    from render.bricks import BrickStore

KINDS = ("voxels", "cells", "bricks", "other")
"""Bytes themselves; their 4^3 summaries; those of a page and coarser; tables and staging."""
TITLES = {
    "voxels": "Voxels",
    "cells": "Cells",
    "bricks": "Bricks",
    "other": "Tables and staging",
    "pictures": "Pictures",
}


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """All that is held on the GPU, in bytes."""

    machines: Mapping[str, Mapping[str, int]]  # machine -> kind -> bytes
    pictures: int
    budget: int  # 0: none

    @property
    def total(self) -> int:
        """Return everything together."""
        return self.pictures + sum(sum(kinds.values()) for kinds in self.machines.values())

    def by_kind(self) -> dict[str, int]:
        """Return bytes by what they are for, all machines together."""
        kinds = {kind: sum(m.get(kind, 0) for m in self.machines.values()) for kind in KINDS}
        return {**kinds, "pictures": self.pictures}


def store_use(store: BrickStore) -> dict[str, int]:
    """Return what a store holds, in bytes, by KINDS."""
    kinds = {
        "voxels": _sum(store.parts),
        "cells": _sum([store.cells]),
        "bricks": _sum([store.bricks, store.heat, store.blocks]),
    }
    return {**kinds, "other": max(0, store.vram_bytes - sum(kinds.values()))}


def _sum(resources: Iterable[wgpu.GPUTexture | wgpu.GPUBuffer]) -> int:
    return sum(resource_bytes(resource) for resource in resources)
