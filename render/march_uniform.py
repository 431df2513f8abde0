"""What changes from frame to frame, as the march's shaders read it: one uniform buffer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from render.bricks import BrickStore
from render.cut import Plane, layer_of
from render.eye import Eye, Shine
from render.look import PYRAMIDS, Mode
from render.look_table import LookTable

MAX_SHEETS = 4
_SHEET = np.dtype([("normal", "f4", 3), ("distance", "f4"), ("axis", "i4"), ("layer", "i4"), ("pad", "i4", 2)])
"""`Sheet` in `shaders/march_common.wgsl`."""
UNIFORM = np.dtype(
    [
        ("camera_voxel", "i4", 3), ("part_bits", "u4"),
        ("camera_part", "f4", 3), ("clear_depth", "f4"),
        ("right", "f4", 3), ("now_s", "f4"),
        ("up", "f4", 3), ("pixel_voxels", "f4"),
        ("forward", "f4", 3), ("cells_from", "f4"),
        ("shape", "i4", 3), ("detail", "f4"),
        ("resolution", "f4", 2), ("jitter", "f4", 2),
        ("light", "f4", 3), ("flash_s", "f4"),
        ("flash_color", "f4", 3), ("glow", "f4"),
        ("part_starts", "i4", 4),
        ("open_low", "i4", 3), ("pad0", "i4"),
        ("open_high", "i4", 3), ("pad1", "i4"),
        ("open_side", "i4", 3), ("pad2", "i4"),
        ("clip_low", "i4", 3), ("pad3", "i4"),
        ("clip_high", "i4", 3), ("pad4", "i4"),
        ("pyramid", "f4", 3), ("phase", "f4"),
        ("visible", "u4", 8),
        ("channel", "u4"), ("hidden_kinds", "u4"), ("half_life_s", "f4"), ("top", "i4"),
        ("kind_rows", "i4"), ("bricks_from", "f4"), ("dim", "f4"), ("outline_voxels", "f4"),
        ("lit_low", "i4", 3), ("pad5", "i4"),
        ("lit_high", "i4", 3), ("pad6", "i4"),
        ("sheet_ground", "f4", 3), ("n_sheets", "i4"),
        ("sheets", _SHEET, MAX_SHEETS),
    ]
)  # fmt: skip
"""`March` in `shaders/march_common.wgsl`, with WGSL's own alignment."""


_LEVELS_FROM: dict[Mode, tuple[float, float]] = {
    "solid": (4.0, 16.0),
    "translucent": (0.5, 8.0),
    "mip": (1.0, 12.0),
    "slice": (1.0, 4.0),
}
"""How many voxels a pixel covers where cells begin to stand for them, and where bricks do.

The first thing that a ray hits is sharp where a cell is no larger than a pixel. Where a ray sums over, or picks from,
hundreds of voxels, cells of a few pixels show the same, and take a fraction of the time.
"""


def clip_box(store: BrickStore, eye: Eye) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The voxels that are shown, low and high (3,); a voxel that the clip box only touches is shown whole."""
    shape = np.array(store.shape_voxels)
    low, high = eye.clip or (np.zeros(3), shape)
    return np.clip(np.floor(low), 0, shape).astype(np.int64), np.clip(np.ceil(high), 0, shape).astype(np.int64)


def uniform_data(
    store: BrickStore,
    eye: Eye,
    table: LookTable,
    shine: Shine,
    *,
    resolution: tuple[int, int],
    jitter: tuple[float, float],
    phase: float,
    pixel_height: int,
    detail: float,
) -> NDArray[np.void]:
    """One UNIFORM, (1,).

    `pixel_height` is the height of the picture whose pixels decide how much detail is worth while; with a `detail` of
    0 it is always single voxels. `phase` is the sample's place among those that a pixel gathers, 0..1.
    """
    look = table.look
    data = np.zeros(1, UNIFORM)
    whole = np.floor(eye.basis.position)
    data["camera_voxel"] = np.clip(whole, -(2**30), 2**30)
    data["camera_part"] = eye.basis.position - whole
    data["part_bits"] = store.part_bits
    data["clear_depth"] = max(eye.clear_depth, 1e-3)
    data["right"] = eye.basis.right * eye.half_extent[0]
    data["up"] = eye.basis.up * eye.half_extent[1]
    data["forward"] = eye.basis.forward
    data["now_s"] = store.clock_s
    data["pixel_voxels"] = 2 * eye.half_extent[1] / pixel_height
    data["cells_from"], data["bricks_from"] = _LEVELS_FROM[look.mode]
    data["glow"], data["detail"] = shine.glow, detail
    data["shape"] = store.shape_voxels
    data["resolution"], data["jitter"], data["phase"] = resolution, jitter, phase
    # The light stands over the viewer's left shoulder.
    light = -0.55 * eye.basis.forward - 0.45 * eye.basis.right + 0.7 * eye.basis.up
    data["light"] = light / np.linalg.norm(light)
    # Where colour tells how hot a page is, a flash would tell it wrong.
    data["flash_s"], data["flash_color"] = shine.flash_s, (0, 0, 0) if look.channel == "heat" else shine.flash_color
    if eye.opening is not None:
        low, high = (np.array(corner) for corner in eye.opening)
        data["open_low"], data["open_high"] = np.floor(low), np.ceil(high)
        data["open_side"] = np.where(eye.basis.forward <= 0, 1, -1)
    data["clip_low"], data["clip_high"] = clip_box(store, eye)
    data["pyramid"][0, PYRAMIDS.index(look.pyramid)] = 1.0
    data["visible"], data["top"] = table.visible, table.top
    data["channel"] = {"entropy": 0, "heat": 1}.get(look.channel, 2)
    data["kind_rows"] = look.channel == "content"
    data["hidden_kinds"] = sum(1 << kind for kind in look.hidden_kinds)
    data["half_life_s"] = store.half_life_s
    data["dim"] = look.dim
    if detail and shine.outline:  # a pick goes through outlines; what is drawn is a pixel wide at least
        data["outline_voxels"] = 2 * eye.half_extent[1] * max(shine.outline, 1 / pixel_height)
    data["lit_low"], data["lit_high"] = store.highlight.box
    data["sheet_ground"], data["n_sheets"] = shine.sheet_ground, len(eye.planes)
    for index, plane in enumerate(eye.planes):
        data["sheets"][0, index] = _sheet(plane, store.shape_voxels, eye)
    if store.layout == "texture":
        data["part_starts"][0, : len(store.part_starts)] = store.part_starts
    return data


def _sheet(plane: Plane, shape: tuple[int, int, int], eye: Eye) -> tuple[object, ...]:
    """One _SHEET. An x, y or z plane is seen as the face of its layer that looks at the eye: nothing of the layer is in
    front of it.
    """
    normal, camera = plane.normal, eye.basis.position
    if plane.axis == "oblique":
        distance = float((np.array(shape) / 2 + normal * plane.position - camera) @ normal)
        return normal, distance, 3, 0, 0
    axis, layer = "xyz".index(plane.axis), layer_of(plane, shape)
    face = layer + (camera[axis] > layer + 0.5)
    return normal, face - camera[axis], axis, layer, 0
