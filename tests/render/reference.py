"""A marcher in plain numpy, one ray at a time, for tiny volumes: what the GPU's must agree with.

It shares no code with the shaders: it lists every plane that a ray crosses, sorts them, and looks at the voxel between
each two, in double precision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from render.eye import Eye
from render.look import Look, Mode


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


def scalars_of(volume: NDArray[np.integer], look: Look) -> NDArray[np.int16]:
    """Bytes as scalars: -1 where nothing is shown, because a byte is zero or the transfer function hides it.

    A signed volume holds scalars already (of a channel by page), -1 where bytes are zero.
    """
    scalars = volume.astype(np.int16)
    if volume.dtype == np.uint8:
        scalars[volume == 0] = -1
    opacities = np.interp(np.arange(256) / 255, *np.array(look.transfer.points).T)
    return np.where((scalars >= 0) & (opacities[np.maximum(scalars, 0)] > 0), scalars, -1).astype(np.int16)


def first_hit(scalars: NDArray[np.integer], eye: Eye, direction: NDArray[np.float64], _look: Look) -> Step | None:
    """The nearest voxel that is shown."""
    for step in walk(scalars.shape, eye, direction):
        if scalars[step.voxel] >= 0 and is_shown(eye, step.voxel):
            return step
    return None


def highest(scalars: NDArray[np.integer], eye: Eye, direction: NDArray[np.float64], _look: Look) -> Step | None:
    """The first of the highest voxels."""
    best, value = None, -1
    for step in walk(scalars.shape, eye, direction):
        if scalars[step.voxel] > value and is_shown(eye, step.voxel):
            best, value = step, int(scalars[step.voxel])
    return best


def heaviest(scalars: NDArray[np.integer], eye: Eye, direction: NDArray[np.float64], look: Look) -> Step | None:
    """The voxel that gives most to a translucent ray's colour."""
    opacities = look.opacity * np.interp(np.arange(256) / 255, *np.array(look.transfer.points).T)
    passed, best, weight = 1.0, None, 0.0
    for step in walk(scalars.shape, eye, direction):
        if passed < 0.02:
            break
        if scalars[step.voxel] >= 0 and is_shown(eye, step.voxel):
            length = (step.leave - step.enter) * float(np.linalg.norm(direction))
            kept = float((1 - min(opacities[scalars[step.voxel]], 0.999)) ** length)
            if passed * (1 - kept) > weight:
                best, weight = step, passed * (1 - kept)
            passed *= kept
    return best


Find = Callable[[NDArray[np.integer], Eye, NDArray[np.float64], Look], Step | None]
FIND: dict[Mode, Find] = {"solid": first_hit, "mip": highest, "translucent": heaviest}
"""What a pick gives in each mode."""


def is_delicate(eye: Eye, direction: NDArray[np.float64], step: Step, margin: float = 2e-3) -> bool:
    """Whether a hair's breadth could change which voxel is met: the ray only grazes it, or enters near an edge."""
    if step.leave - step.enter < margin:
        return True
    inside = (eye.basis.position + direction * step.enter) % 1.0
    return int((np.minimum(inside, 1.0 - inside) < margin).sum()) > 1


def find_lit(
    scalars: NDArray[np.integer], lit: NDArray[np.bool_], eye: Eye, direction: NDArray[np.float64], look: Look
) -> Step | None:
    """What a pick gives where voxels (x, y, z) bool are lit up: what is lit is met wherever it is."""
    if look.mode == "translucent":
        return _heaviest_lit(scalars, lit, eye, direction, look)
    among_lit = FIND[look.mode](np.where(lit, scalars, -1), eye, direction, look)
    return among_lit or FIND[look.mode](scalars, eye, direction, look)


def _heaviest_lit(
    scalars: NDArray[np.integer], lit: NDArray[np.bool_], eye: Eye, direction: NDArray[np.float64], look: Look
) -> Step | None:
    """The same as `heaviest`, where lit voxels take more of the light than they do alone, and the others less."""
    opacities = look.opacity * np.interp(np.arange(256) / 255, *np.array(look.transfer.points).T)
    passed, best, weight = 1.0, None, 0.0
    for step in walk(scalars.shape, eye, direction):
        if passed < 0.02:
            break
        if scalars[step.voxel] >= 0 and is_shown(eye, step.voxel):
            length = (step.leave - step.enter) * float(np.linalg.norm(direction))
            length *= 1 + look.dim if lit[step.voxel] else (1 - 0.92 * look.dim) ** 2
            kept = float((1 - min(opacities[scalars[step.voxel]], 0.999)) ** length)
            if passed * (1 - kept) > weight:
                best, weight = step, passed * (1 - kept)
            passed *= kept
    return best
