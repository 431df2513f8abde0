"""A marcher in plain numpy, one ray at a time, for tiny volumes: what the GPU's must agree with.

It shares no code with the shaders: it lists every plane that a ray crosses, sorts them, and looks at the voxel between
each two, in double precision.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from render.march import Eye


@dataclass(frozen=True, slots=True)
class Step:
    """A voxel on a ray, between two depths."""

    voxel: tuple[int, int, int]
    enter: float
    leave: float


def ray_direction(eye: Eye, pixel: tuple[float, float], size: tuple[int, int]) -> NDArray[np.float64]:
    """The ray through a pixel position (from the top left), of length one along the view axis."""
    x, y = 2 * pixel[0] / size[0] - 1, 1 - 2 * pixel[1] / size[1]
    return eye.basis.forward + x * eye.half_extent[0] * eye.basis.right + y * eye.half_extent[1] * eye.basis.up


def walk(shape: tuple[int, ...], eye: Eye, direction: NDArray[np.float64]) -> Iterator[Step]:
    """Every voxel of a box of `shape` that the ray passes through, in order."""
    origin = eye.basis.position
    depths = [0.0]
    for axis in range(3):
        if abs(direction[axis]) > 1e-9:
            depths += list((np.arange(shape[axis] + 1) - origin[axis]) / direction[axis])
    ordered = np.unique([depth for depth in depths if depth >= 0.0])
    for enter, leave in pairwise(ordered):
        voxel = np.floor(origin + direction * (enter + leave) / 2).astype(int)
        if (voxel >= 0).all() and (voxel < shape).all():
            yield Step((int(voxel[0]), int(voxel[1]), int(voxel[2])), float(enter), float(leave))


def is_shown(eye: Eye, voxel: tuple[int, int, int]) -> bool:
    """Whether the clip box, the opening and the near limit leave a voxel alone."""
    if eye.clip is not None:
        low, high = np.floor(eye.clip[0]), np.ceil(eye.clip[1])
        if (np.array(voxel) < low).any() or (np.array(voxel) >= high).any():
            return False
    center = np.array(voxel) + 0.5 - eye.basis.position
    if center @ eye.basis.forward < eye.clear_depth:
        return False
    if eye.opening is None:
        return True
    low, high = np.floor(eye.opening[0]), np.ceil(eye.opening[1])
    at = np.array(voxel)
    if ((at >= low) & (at < high)).all():
        return True
    towards_eye = np.where(eye.basis.forward <= 0, at >= low, at < high)
    return not bool(towards_eye.all())


def first_hit(volume: NDArray[np.uint8], eye: Eye, direction: NDArray[np.float64]) -> Step | None:
    """The nearest shown byte that is not zero."""
    for step in walk(volume.shape, eye, direction):
        if volume[step.voxel] and is_shown(eye, step.voxel):
            return step
    return None


def heaviest(volume: NDArray[np.uint8], eye: Eye, direction: NDArray[np.float64], opacity: float) -> Step | None:
    """The byte that gives most to a translucent ray's colour."""
    passed, best, weight = 1.0, None, 0.0
    for step in walk(volume.shape, eye, direction):
        if passed < 0.02:
            break
        value = volume[step.voxel] / 255.0
        if value and is_shown(eye, step.voxel):
            length = (step.leave - step.enter) * float(np.linalg.norm(direction))
            kept = float(np.exp(-opacity * (0.1 + 1.4 * value * value) * length))
            if passed * (1 - kept) > weight:
                best, weight = step, passed * (1 - kept)
            passed *= kept
    return best


def is_delicate(eye: Eye, direction: NDArray[np.float64], step: Step, margin: float = 2e-3) -> bool:
    """Whether a hair's breadth could change which voxel is met: the ray only grazes it, or enters near an edge."""
    if step.leave - step.enter < margin:
        return True
    inside = (eye.basis.position + direction * step.enter) % 1.0
    return int((np.minimum(inside, 1.0 - inside) < margin).sum()) > 1
