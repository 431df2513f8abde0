"""The 3D Hilbert curve: one definition, from which the state machine comes that numpy, shaders and proofs all use.

The definition is Skilling's transform ("Programming the Hilbert curve", AIP Conf. Proc. 707, 2004), run below on two
small cubes. From what it does there the state machine is *derived*: a state is the way a sub-cube's path lies (one of
24 of the cube's 48 isometries), a step maps (state, three address bits) to (octant, state inside that octant).
`render/curves.py` walks its tables, two or four levels at a time.

Why this is a bijection, keeps neighbours together, and makes every aligned 4 KiB one aligned 16^3 cube follows from the
tables by induction; `tests/render/test_hilbert.py` checks each premise over all states and octants.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

N_STATES = 24


def _skilling_axes(address: int, order: int) -> tuple[int, int, int]:
    """Skilling's TransposetoAxes for three dimensions: where the curve is after `address` steps."""
    x = [0, 0, 0]
    for bit in range(3 * order):  # the address's bits, dealt to the axes from the top, are the "transpose"
        x[bit % 3] |= (address >> (3 * order - 1 - bit) & 1) << (order - 1 - bit // 3)
    gray = x[2] >> 1
    x[2] ^= x[1]
    x[1] ^= x[0]
    x[0] ^= gray
    for level in range(1, order):
        low = (1 << level) - 1
        for axis in (2, 1, 0):
            if x[axis] >> level & 1:
                x[0] ^= low
            else:
                swap = (x[0] ^ x[axis]) & low
                x[0] ^= swap
                x[axis] ^= swap
    return x[0], x[1], x[2]


def _octants(address: int, order: int, level: int) -> int:
    """The octant (x | y << 1 | z << 2) that holds `address`, `level` levels below the top."""
    x, y, z = _skilling_axes(address, order)
    shift = order - 1 - level
    return (x >> shift & 1) | (y >> shift & 1) << 1 | (z >> shift & 1) << 2


_Path = tuple[int, ...]
"""The octants of a cube in the order in which the curve visits them; it names the state."""


def _path(prefix: int, level: int, order: int) -> _Path:
    """How the curve of `order` runs through the sub-cube that the first `level` octal digits `prefix` choose."""
    below = 3 * (order - level - 1)
    return tuple(_octants((prefix * 8 + step) << below, order, level) for step in range(8))


@dataclass(frozen=True, slots=True)
class StateMachine:
    """The curve as tables.

    octant: (24, 8) uint8: state, address digit -> octant (x | y << 1 | z << 2).
    next_state: (24, 8) uint8: state, address digit -> state inside that octant.
    start_state: (3,) uint8: the whole cube's state, by `order % 3`.
    """

    octant: NDArray[np.uint8]
    next_state: NDArray[np.uint8]
    start_state: NDArray[np.uint8]


def _derive() -> StateMachine:
    # An isometry of the cube acts on octants as a permutation of axes followed by mirrors. Acting on a path it gives
    # another path, and the curve being self-similar, it takes the paths inside along.
    isometries = [
        [mirror ^ sum((octant >> axis & 1) << axes[axis] for axis in range(3)) for octant in range(8)]
        for axes, mirror in product(permutations(range(3)), range(8))
    ]
    base = _path(0, 0, 2)
    children = [_path(digit, 1, 2) for digit in range(8)]
    paths: list[_Path] = [base]
    next_path: dict[_Path, list[_Path]] = {}
    for path in paths:
        isometry = next(g for g in isometries if tuple(g[octant] for octant in base) == path)
        next_path[path] = [tuple(isometry[octant] for octant in child) for child in children]
        paths.extend(child for child in dict.fromkeys(next_path[path]) if child not in paths)
    index = {path: state for state, path in enumerate(paths)}
    machine = StateMachine(
        octant=np.array(paths, np.uint8),
        next_state=np.array([[index[child] for child in next_path[path]] for path in paths], np.uint8),
        start_state=np.array([index[_path(0, 0, order)] for order in (3, 1, 2)], np.uint8),
    )
    assert machine.octant.shape == (N_STATES, 8)
    for table in (machine.octant, machine.next_state, machine.start_state):
        table.flags.writeable = False
    return machine


MACHINE = _derive()
