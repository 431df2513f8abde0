"""The 3D Hilbert curve: one definition, from which the numpy maps, the WGSL tables and the state machine all come.

The definition is Skilling's transform ("Programming the Hilbert curve", AIP Conf. Proc. 707, 2004), run below on two
small cubes. From what it does there the state machine is *derived*: a state is the way a sub-cube's path lies (one of
24 of the cube's 48 isometries), a step maps (state, three address bits) to (octant, state inside that octant).
Everything else walks those tables, two or four levels at a time.

Why this is a bijection, keeps neighbours together, and makes every aligned 4 KiB one aligned 16^3 cube follows from the
tables by induction; `tests/render/test_hilbert.py` checks each premise over all states and octants.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

PAGE_BITS = 12
PAGE_SIZE = 1 << PAGE_BITS
BRICK_SIDE = 16
"""A page is a brick: 12 address bits are four levels of the curve, 2^4 voxels along each side."""
MAX_ORDER = 20
"""60 address bits: a cube far beyond any RAM, and every product still fits uint64."""
ANCHOR_ORDER = 10
"""Guests up to 1 GiB share this order, because Skilling's axes permute with it and an address should keep its place."""

N_STATES = 24


class HilbertError(ValueError):
    """A question about the curve that has no answer."""


class OrderOutOfRange(HilbertError):
    def __init__(self, order: int) -> None:
        super().__init__(f"A Hilbert curve of order {order} was asked for; orders 1 to {MAX_ORDER} exist here.")


class AddressOutOfCurve(HilbertError):
    def __init__(self, address: int, order: int) -> None:
        super().__init__(
            f"Address {address:#x} lies outside the curve of order {order}, which ends before {8**order:#x}."
        )
        self.address = address
        self.order = order


class VoxelOutOfCube(HilbertError):
    def __init__(self, voxel: tuple[int, ...], order: int) -> None:
        super().__init__(f"Voxel {voxel} lies outside the cube of order {order}, whose side is {2**order}.")
        self.voxel = voxel
        self.order = order


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


@dataclass(frozen=True, slots=True)
class StepTables:
    """`levels` steps of the machine in one look-up; digits is 8^levels, side is 2^levels.

    position: (24, digits) uint16: x | y << levels | z << 2 levels of each address.
    state: (24, digits) uint8: the state there.
    address: (24, digits) uint16: the inverse of `position`.
    """

    levels: int
    position: NDArray[np.uint16]
    state: NDArray[np.uint8]
    address: NDArray[np.uint16]


@cache
def step_tables(levels: int) -> StepTables:
    """The machine's tables for `levels` (1 to 4) steps at once."""
    digits = np.arange(8**levels)
    state = np.repeat(np.arange(N_STATES, dtype=np.uint8), len(digits)).reshape(N_STATES, -1)
    axes = np.zeros((3, N_STATES, len(digits)), np.int64)
    for level in range(levels):
        digit = np.broadcast_to(digits >> 3 * (levels - 1 - level) & 7, state.shape)
        octant = MACHINE.octant[state, digit].astype(np.int64)
        for axis in range(3):
            axes[axis] = axes[axis] << 1 | (octant >> axis & 1)
        state = MACHINE.next_state[state, digit]
    position = axes[0] | axes[1] << levels | axes[2] << 2 * levels
    address = np.empty_like(position)
    np.put_along_axis(address, position, np.broadcast_to(digits, position.shape), axis=1)
    tables = StepTables(levels, position.astype(np.uint16), state.astype(np.uint8), address.astype(np.uint16))
    for table in (tables.position, tables.state, tables.address):
        table.flags.writeable = False
    return tables


def start_state(order: int) -> int:
    """The state of the whole cube of `order`."""
    _check_order(order)
    return int(MACHINE.start_state[order % 3])


def _check_order(order: int) -> None:
    if not 1 <= order <= MAX_ORDER:
        raise OrderOutOfRange(order)


def _chunks(levels: int) -> list[tuple[int, int]]:
    """`levels` levels cut into table steps from the top: (levels of the step, levels below it)."""
    chunks = []
    below = levels
    while below:
        step = below % 4 or 4
        below -= step
        chunks.append((step, below))
    return chunks


def voxel_from_address(addresses: NDArray[np.uint64], order: int) -> NDArray[np.uint32]:
    """Where each byte is: addresses (n,) uint64 -> voxels (n, 3) uint32 as x, y, z.

    Raises OrderOutOfRange, AddressOutOfCurve.
    """
    _check_order(order)
    flat = np.atleast_1d(np.asarray(addresses))
    if flat.size and (int(flat.max()) >> 3 * order or int(flat.min()) < 0):
        bad = flat.max() if int(flat.max()) >> 3 * order else flat.min()
        raise AddressOutOfCurve(int(bad), order)
    voxels, _ = _walk(flat.astype(np.uint64), order, start_state(order))
    return voxels


def _walk(addresses: NDArray[np.uint64], levels: int, start: int) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
    """Positions and states after `levels` levels from the state `start`, one octal digit of the address a level."""
    state = np.full(len(addresses), start, np.uint8)
    axes = np.zeros((3, len(addresses)), np.uint32)
    for step, below in _chunks(levels):
        tables = step_tables(step)
        digits = (addresses >> np.uint64(3 * below)).astype(np.uint32) & np.uint32(8**step - 1)
        index = state.astype(np.uint32) << np.uint32(3 * step) | digits
        position = tables.position.ravel()[index]
        side = np.uint16((1 << step) - 1)
        for axis in range(3):
            axes[axis] = axes[axis] << np.uint32(step) | (position >> np.uint16(axis * step) & side)
        state = tables.state.ravel()[index]
    return np.ascontiguousarray(axes.T), state


def address_from_voxel(voxels: NDArray[np.uint32], order: int) -> NDArray[np.uint64]:
    """Which byte is there: voxels (n, 3) uint32 as x, y, z -> addresses (n,) uint64.

    The inverse of `voxel_from_address`.

    Raises OrderOutOfRange, VoxelOutOfCube.
    """
    _check_order(order)
    flat = np.asarray(voxels)
    if flat.ndim != 2 or flat.shape[1] != 3:
        raise HilbertError(f"Voxels must be an array of shape (n, 3), not {flat.shape}.")
    if flat.size:
        outside = ((flat >= 1 << order) | (flat < 0)).any(axis=1)
        if outside.any():
            raise VoxelOutOfCube(tuple(int(v) for v in flat[int(np.argmax(outside))]), order)
    axes = flat.astype(np.uint32).T
    state = np.full(len(flat), start_state(order), np.uint8)
    addresses = np.zeros(len(flat), np.uint64)
    for levels, below in _chunks(order):
        tables = step_tables(levels)
        side = np.uint32((1 << levels) - 1)
        index = state.astype(np.uint32)
        for axis in (2, 1, 0):
            index = index << np.uint32(levels) | (axes[axis] >> np.uint32(below) & side)
        digits = tables.address.ravel()[index]
        addresses = addresses << np.uint64(3 * levels) | digits
        state = tables.state.ravel()[state.astype(np.uint32) << np.uint32(3 * levels) | digits]
    return addresses


def bricks_from_pages(n_pages: int, order: int) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
    """Where the first `n_pages` pages lie: bricks (n, 3) uint32 in units of 16 voxels, and each brick's state (n,)
    uint8.

    The state is the row of `step_tables(4)` by which the page's 4096 bytes run through its brick.
    """
    _check_order(order)
    if order < PAGE_BITS // 3 or n_pages << PAGE_BITS > 8**order:
        raise AddressOutOfCurve((n_pages << PAGE_BITS) - 1, order)
    # The curve of order n, stopped four levels early, is the walk of n - 4 levels from order n's own start.
    return _walk(np.arange(n_pages, dtype=np.uint64), order - PAGE_BITS // 3, start_state(order))


def order_for_size(size_bytes: int) -> int:
    """The order in which a RAM of this size is laid out: 10 up to 1 GiB, then the smallest that holds it."""
    if size_bytes <= 0:
        raise HilbertError(f"A RAM of {size_bytes} bytes has no layout; it must have at least one byte.")
    order = ANCHOR_ORDER
    while 8**order < size_bytes:
        order += 1
    _check_order(order)
    return order


@cache
def box_shape(size_bytes: int, order: int) -> tuple[int, int, int]:
    """The smallest box from the origin, in voxels and whole bricks, that holds the first `size_bytes` bytes of the
    curve.

    A power of two fills its box exactly; other sizes leave voxels that belong to no byte.
    """
    n_pages = -(-size_bytes // PAGE_SIZE)
    bricks, _ = bricks_from_pages(n_pages, order)
    if not n_pages:
        raise HilbertError(f"A RAM of {size_bytes} bytes has no box; it must have at least one byte.")
    x, y, z = (int(side) for side in (bricks.max(axis=0) + 1) * BRICK_SIDE)
    return x, y, z
