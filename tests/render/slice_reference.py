"""Flat pictures of slice planes and sheets in the volume, in plain numpy: what the GPU's must agree with."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from render.camera import Box
from render.cut import Plane
from render.palettes import srgb_from_linear

Colors = NDArray[np.float64]
"""(8, 256, 3) linear light: kind of content, byte -> colour."""


def plane_axes(plane: Plane, shape: tuple[int, ...]) -> tuple[NDArray[np.float64], ...]:
    """Origin, right and up of a plane, written down a second time."""
    if plane.axis == "oblique":
        a, e = math.radians(plane.azimuth_degrees), math.radians(plane.elevation_degrees)
        normal = np.array([math.cos(e) * math.cos(a), math.cos(e) * math.sin(a), math.sin(e)])
        right = np.array([-math.sin(a), math.cos(a), 0.0])
        up = np.array([-math.sin(e) * math.cos(a), -math.sin(e) * math.sin(a), math.cos(e)])
        return np.array(shape) / 2 + normal * plane.position, right, up
    origin = np.zeros(3)
    axis = "xyz".index(plane.axis)
    origin[axis] = min(math.floor(plane.position), shape[axis] - 1)
    across, up_axis = {"x": (1, 2), "y": (0, 2), "z": (0, 1)}[plane.axis]
    return origin, np.eye(3)[across], np.eye(3)[up_axis]


def flat_picture(
    volume: NDArray[np.uint8],
    kinds: NDArray[np.uint8],
    colors: Colors,
    plane: Plane,
    left: int,
    top: int,
    size: tuple[int, int],
    scale: float,
    ground: tuple[float, float, float],
    *,
    clip: Box | None = None,
    dim: float = 0.8,
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """(height, width, 4) uint8, and (height, width) bool: where a hair decides which voxel is met.

    volume: (x, y, z) uint8; kinds: (x/16, y/16, z/16) uint8. `left` and `top` are in pixels from where u and v are 0.
    """
    origin, right, up = plane_axes(plane, volume.shape)
    width, height = size
    columns, rows = np.meshgrid(np.arange(width) + left, top - 1 - np.arange(height))
    span = max(1, round(1 / scale))
    level = max(side for side in (1, 4, 16) if span % side == 0)
    pieces = span // level
    total = np.zeros((height, width, 4))
    inside = np.zeros((height, width))
    delicate = np.zeros((height, width), np.bool_)
    for i in range(pieces):
        for j in range(pieces):
            if plane.axis == "oblique":
                u, v = (columns + (i + 0.5) / pieces) / scale, (rows + (j + 0.5) / pieces) / scale
            else:
                u, v = np.floor(columns / scale) + i * level, np.floor(rows / scale) + j * level
            at = origin + u[..., None] * right + v[..., None] * up
            if plane.axis == "oblique":
                delicate |= (np.abs(at - np.round(at / level) * level) < 2e-3).any(axis=-1)
            voxel = np.floor(at + (0 if plane.axis == "oblique" else 1e-6)).astype(int)
            there = ((voxel >= 0) & (voxel < volume.shape)).all(axis=-1)
            texel = texels(volume, kinds, colors, voxel[there], level)
            if clip is not None:
                low, high = np.floor(clip[0]), np.ceil(clip[1])
                kept = ((voxel[there] >= low) & (voxel[there] < high)).all(axis=-1)
                texel = texel * np.where(kept, 1.0, 1 - dim)[:, None]
            total[there] += texel
            inside[there] += 1
    shown = inside > 0
    picture = np.zeros((height, width, 4), np.uint8)
    mean = total[shown] / inside[shown][:, None]
    light = mean[:, :3] + np.array(ground) * (1 - mean[:, 3:])
    picture[shown, :3] = np.round(srgb_from_linear(np.clip(light, 0, 1)) * 255)
    picture[shown, 3] = 255
    return picture, delicate


def texels(
    volume: NDArray[np.uint8], kinds: NDArray[np.uint8], colors: Colors, voxels: NDArray[np.int64], level: int
) -> NDArray[np.float64]:
    """(n, 4): premultiplied linear light and share filled of the cubes of `level` voxels that hold `voxels` (n, 3)."""
    means, shares = pyramid(volume, level)
    x, y, z = (voxels // level).T
    bx, by, bz = (voxels // 16).T
    filled = shares[x, y, z]
    light: NDArray[np.float64] = colors[kinds[bx, by, bz], means[x, y, z]] * filled[:, None]
    return np.concatenate([light, filled[:, None]], axis=1)


def pyramid(volume: NDArray[np.uint8], level: int) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The mean of the bytes that are not zero, and their share, of each cube of `level` voxels."""
    nx, ny, nz = (side // level for side in volume.shape)
    cubes = volume.reshape(nx, level, ny, level, nz, level).transpose(0, 2, 4, 1, 3, 5).reshape(nx, ny, nz, -1)
    count = (cubes > 0).sum(axis=-1)
    total = cubes.sum(axis=-1, dtype=np.int64)
    mean = (total + count // 2) // np.maximum(count, 1)
    if level == 4:  # a cell's share is kept in a byte, and never rounded down to nothing
        return mean.astype(np.uint8), (count * 255 + 63) // 64 / 255
    return mean.astype(np.uint8), count / level**3
