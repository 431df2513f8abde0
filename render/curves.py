"""Curves: how addresses are laid in space, and back. Hilbert by default; Morton and linear beside it, to compare.

Under every curve 4 KiB are one aligned 16^3 brick and 64 bytes one aligned 4^3 cell, and the way inside a brick is a
table look-up by a state. So one set of shaders and one marcher serve all of them; only the tables differ. Hilbert has
24 states. Morton and linear have one, and say where a page lies by dealing the bits of its number to the axes: in turns
(Morton), or x first, then y, then z (linear: pages in raster order, in a page cells in raster order, in a cell bytes).

That the maps are bijective and that neighbours on the Hilbert curve are neighbours in space is proved in
`tests/render/test_curve_proofs.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from render import hilbert

PAGE_BITS = 12
PAGE_SIZE = 1 << PAGE_BITS
BRICK_SIDE = 16
"""A page is a brick: 12 address bits are four levels of a curve, 2^4 voxels along each side."""
MAX_ORDER = 20
"""60 address bits: a cube far beyond any RAM, and every product still fits uint64."""
ANCHOR_ORDER = 10
"""Guests up to 1 GiB share this order, because Skilling's axes permute with it and an address should keep its place."""

_BRICK_LEVELS = PAGE_BITS // 3


class CurveError(ValueError):
    """A question about a curve that has no answer."""


class OrderOutOfRange(CurveError):
    def __init__(self, order: int, lowest: int) -> None:
        super().__init__(f"A curve of order {order} was asked for; orders {lowest} to {MAX_ORDER} exist here.")


class AddressOutOfCurve(CurveError):
    def __init__(self, address: int, order: int, end: int) -> None:
        super().__init__(f"Address {address:#x} lies outside the curve of order {order}, which ends before {end:#x}.")
        self.address = address
        self.order = order


class VoxelOutOfCube(CurveError):
    def __init__(self, voxel: tuple[int, ...], shape: tuple[int, int, int]) -> None:
        x, y, z = shape
        super().__init__(f"Voxel {voxel} lies outside the curve's box of {x} x {y} x {z} voxels.")
        self.voxel = voxel
        self.shape = shape


@dataclass(frozen=True, slots=True)
class StepTables:
    """`levels` levels of a curve in one look-up; digits is 8^levels, side is 2^levels.

    position: (n_states, digits) uint16: x | y << levels | z << 2 levels of each address.
    state: (n_states, digits) uint8: the state there.
    address: (n_states, digits) uint16: the inverse of `position`.
    """

    levels: int
    position: NDArray[np.uint16]
    state: NDArray[np.uint8]
    address: NDArray[np.uint16]


def _tables(levels: int, position: NDArray[np.int64], state: NDArray[np.uint8]) -> StepTables:
    """Tables with the inverse of `position` (n_states, digits), and nobody's to write to."""
    address = np.empty_like(position)
    digits = np.broadcast_to(np.arange(8**levels), position.shape)
    np.put_along_axis(address, position, digits, axis=1)
    tables = StepTables(levels, position.astype(np.uint16), state.astype(np.uint8), address.astype(np.uint16))
    for table in (tables.position, tables.state, tables.address):
        table.flags.writeable = False
    return tables


class Curve(ABC):
    """A bijection between addresses and the voxels of a cube of side 2^order, or of the box `fitted` to a size."""

    name: str
    n_states: int
    lowest_order = _BRICK_LEVELS

    @abstractmethod
    def step_tables(self, levels: int) -> StepTables:
        """`levels` levels at once: 2 (a cell in a brick, a byte in a cell) and 4 (a byte in a brick) for every curve.

        Raises CurveError.
        """

    @abstractmethod
    def fitted(self, size_bytes: int, order: int) -> Curve:
        """This curve in a box of the shape that the Hilbert curve's has for this size, which is what a store shows.

        So another curve does not change a volume's outline. Raises CurveError.
        """

    @abstractmethod
    def bricks_from_pages(self, n_pages: int, order: int) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
        """Where the first `n_pages` pages lie: bricks (n, 3) uint32 in units of 16 voxels, and each brick's state (n,)
        uint8.

        The state is the row of `step_tables(4)` by which the page's 4096 bytes run through its brick. Raises
        OrderOutOfRange, AddressOutOfCurve.
        """

    @abstractmethod
    def _shape(self, order: int) -> tuple[int, int, int]:
        """The voxels that the curve fills, along x, y and z; each a power of two."""

    @abstractmethod
    def _voxels(self, addresses: NDArray[np.uint64], order: int) -> NDArray[np.uint32]: ...

    @abstractmethod
    def _addresses(self, voxels: NDArray[np.uint32], order: int) -> NDArray[np.uint64]: ...

    def voxel_from_address(self, addresses: NDArray[np.uint64], order: int) -> NDArray[np.uint32]:
        """Where each byte is: addresses (n,) uint64 -> voxels (n, 3) uint32 as x, y, z.

        Raises OrderOutOfRange, AddressOutOfCurve.
        """
        self._check_order(order)
        flat = np.atleast_1d(np.asarray(addresses))
        if flat.size:
            low, high = int(flat.min()), int(flat.max())
            if low < 0 or high >= self._end(order):
                raise AddressOutOfCurve(low if low < 0 else high, order, self._end(order))
        return self._voxels(flat.astype(np.uint64), order)

    def address_from_voxel(self, voxels: NDArray[np.uint32], order: int) -> NDArray[np.uint64]:
        """Which byte is there: voxels (n, 3) uint32 as x, y, z -> addresses (n,) uint64.

        The inverse of `voxel_from_address`. Raises OrderOutOfRange, VoxelOutOfCube.
        """
        self._check_order(order)
        flat = np.asarray(voxels)
        if flat.ndim != 2 or flat.shape[1] != 3:
            raise CurveError(f"Voxels must be an array of shape (n, 3), not {flat.shape}.")
        if flat.size:
            shape = self._shape(order)
            outside = ((flat >= np.array(shape)) | (flat < 0)).any(axis=1)
            if outside.any():
                raise VoxelOutOfCube(tuple(int(v) for v in flat[int(np.argmax(outside))]), shape)
        return self._addresses(flat.astype(np.uint32), order)

    def box_shape(self, size_bytes: int, order: int) -> tuple[int, int, int]:
        """The smallest box from the origin, in voxels and whole bricks, that holds the first `size_bytes` bytes of the
        curve.

        A power of two fills its box exactly; other sizes leave voxels that belong to no byte. Raises CurveError.
        """
        if size_bytes <= 0:
            raise CurveError(f"A RAM of {size_bytes} bytes has no box; it must have at least one byte.")
        bricks, _ = self.bricks_from_pages(-(-size_bytes // PAGE_SIZE), order)
        x, y, z = (int(side) for side in (bricks.max(axis=0) + 1) * BRICK_SIDE)
        return x, y, z

    def _end(self, order: int) -> int:
        x, y, z = self._shape(order)
        return x * y * z

    def _check_order(self, order: int) -> None:
        if not self.lowest_order <= order <= MAX_ORDER:
            raise OrderOutOfRange(order, self.lowest_order)

    def _check_pages(self, n_pages: int, order: int) -> None:
        self._check_order(order)
        if order < _BRICK_LEVELS or n_pages << PAGE_BITS > self._end(order):
            raise AddressOutOfCurve((n_pages << PAGE_BITS) - 1, order, self._end(order))


class HilbertCurve(Curve):
    """Neighbours on the curve are neighbours in space."""

    name = "hilbert"
    n_states = hilbert.N_STATES
    lowest_order = 1

    def step_tables(self, levels: int) -> StepTables:
        return _hilbert_tables(levels)

    def fitted(self, size_bytes: int, order: int) -> Curve:  # noqa: ARG002 - its box is the one
        return self

    def start_state(self, order: int) -> int:
        """The state of the whole cube of `order`. Raises OrderOutOfRange."""
        self._check_order(order)
        return int(hilbert.MACHINE.start_state[order % 3])

    def bricks_from_pages(self, n_pages: int, order: int) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
        self._check_pages(n_pages, order)
        # The curve of order n, stopped four levels early, is the walk of n - 4 levels from order n's own start.
        return self._walk(np.arange(n_pages, dtype=np.uint64), order - _BRICK_LEVELS, self.start_state(order))

    def _shape(self, order: int) -> tuple[int, int, int]:
        return (1 << order,) * 3

    def _voxels(self, addresses: NDArray[np.uint64], order: int) -> NDArray[np.uint32]:
        return self._walk(addresses, order, self.start_state(order))[0]

    def _walk(
        self, addresses: NDArray[np.uint64], levels: int, start: int
    ) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
        """Positions and states after `levels` levels from the state `start`, one octal digit of the address a level."""
        state = np.full(len(addresses), start, np.uint8)
        axes = np.zeros((3, len(addresses)), np.uint32)
        for step, below in _chunks(levels):
            tables = self.step_tables(step)
            digits = (addresses >> np.uint64(3 * below)).astype(np.uint32) & np.uint32(8**step - 1)
            index = state.astype(np.uint32) << np.uint32(3 * step) | digits
            position = tables.position.ravel()[index]
            side = np.uint16((1 << step) - 1)
            for axis in range(3):
                axes[axis] = axes[axis] << np.uint32(step) | (position >> np.uint16(axis * step) & side)
            state = tables.state.ravel()[index]
        return np.ascontiguousarray(axes.T), state

    def _addresses(self, voxels: NDArray[np.uint32], order: int) -> NDArray[np.uint64]:
        axes = voxels.T
        state = np.full(len(voxels), self.start_state(order), np.uint8)
        addresses = np.zeros(len(voxels), np.uint64)
        for levels, below in _chunks(order):
            tables = self.step_tables(levels)
            side = np.uint32((1 << levels) - 1)
            index = state.astype(np.uint32)
            for axis in (2, 1, 0):
                index = index << np.uint32(levels) | (axes[axis] >> np.uint32(below) & side)
            digits = tables.address.ravel()[index]
            addresses = addresses << np.uint64(3 * levels) | digits
            state = tables.state.ravel()[state.astype(np.uint32) << np.uint32(3 * levels) | digits]
        return addresses


def _chunks(levels: int) -> list[tuple[int, int]]:
    """`levels` levels cut into table steps from the top: (levels of the step, levels below it)."""
    chunks = []
    below = levels
    while below:
        step = below % 4 or 4
        below -= step
        chunks.append((step, below))
    return chunks


@cache
def _hilbert_tables(levels: int) -> StepTables:
    """The state machine's tables for `levels` (1 to 4) steps at once."""
    machine = hilbert.MACHINE
    digits = np.arange(8**levels)
    state = np.repeat(np.arange(hilbert.N_STATES, dtype=np.uint8), len(digits)).reshape(hilbert.N_STATES, -1)
    axes = np.zeros((3, hilbert.N_STATES, len(digits)), np.int64)
    for level in range(levels):
        digit = np.broadcast_to(digits >> 3 * (levels - 1 - level) & 7, state.shape)
        octant = machine.octant[state, digit].astype(np.int64)
        for axis in range(3):
            axes[axis] = axes[axis] << 1 | (octant >> axis & 1)
        state = machine.next_state[state, digit]
    return _tables(levels, axes[0] | axes[1] << levels | axes[2] << 2 * levels, state)


_Deal = Callable[[tuple[int, int, int]], tuple[int, ...]]
"""(bits along x, y, z) -> the axis of each bit of a page's number, from the lowest."""


class DealtCurve(Curve):
    """A curve of one state, whose page numbers give their bits to the axes."""

    n_states = 1

    def __init__(
        self, name: str, tables: Callable[[int], StepTables], deal: _Deal, box_bits: tuple[int, int, int] | None = None
    ) -> None:
        """`box_bits`: how many bits each axis of its box has, in bricks; None for a cube of any order."""
        self.name = name
        self._step_tables = tables
        self._deal = deal
        self._box_bits = box_bits

    def step_tables(self, levels: int) -> StepTables:
        return self._step_tables(levels)

    def fitted(self, size_bytes: int, order: int) -> Curve:
        pages = 1 << (-(-size_bytes // PAGE_SIZE) - 1).bit_length()
        x, y, z = HILBERT.box_shape(pages * PAGE_SIZE if size_bytes > 0 else size_bytes, order)
        bits = ((x // BRICK_SIDE).bit_length() - 1, (y // BRICK_SIDE).bit_length() - 1)
        return DealtCurve(self.name, self._step_tables, self._deal, (*bits, (z // BRICK_SIDE).bit_length() - 1))

    def bricks_from_pages(self, n_pages: int, order: int) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
        self._check_pages(n_pages, order)
        return self._bricks(np.arange(n_pages, dtype=np.uint64), order), np.zeros(n_pages, np.uint8)

    def _bits(self, order: int) -> tuple[int, int, int]:
        return self._box_bits or (order - _BRICK_LEVELS,) * 3

    def _shape(self, order: int) -> tuple[int, int, int]:
        x, y, z = self._bits(order)
        return BRICK_SIDE << x, BRICK_SIDE << y, BRICK_SIDE << z

    def _bricks(self, pages: NDArray[np.uint64], order: int) -> NDArray[np.uint32]:
        bricks = np.zeros((len(pages), 3), np.uint32)
        dealt = [0, 0, 0]
        for bit, axis in enumerate(self._deal(self._bits(order))):
            bricks[:, axis] |= (pages >> np.uint64(bit)).astype(np.uint32) % np.uint32(2) << np.uint32(dealt[axis])
            dealt[axis] += 1
        return bricks

    def _voxels(self, addresses: NDArray[np.uint64], order: int) -> NDArray[np.uint32]:
        voxels = self._bricks(addresses >> np.uint64(PAGE_BITS), order) * np.uint32(BRICK_SIDE)
        place = self.step_tables(4).position[0][addresses & np.uint64(PAGE_SIZE - 1)].astype(np.uint32)
        for axis in range(3):
            voxels[:, axis] += place >> np.uint32(4 * axis) & np.uint32(15)
        return voxels

    def _addresses(self, voxels: NDArray[np.uint32], order: int) -> NDArray[np.uint64]:
        inside = voxels % np.uint32(BRICK_SIDE)
        place = inside[:, 0] | inside[:, 1] << np.uint32(4) | inside[:, 2] << np.uint32(8)
        addresses: NDArray[np.uint64] = self.step_tables(4).address[0][place].astype(np.uint64)
        bricks = (voxels // np.uint32(BRICK_SIDE)).astype(np.uint64)
        dealt = [0, 0, 0]
        for bit, axis in enumerate(self._deal(self._bits(order))):
            one = bricks[:, axis] >> np.uint64(dealt[axis]) & np.uint64(1)
            addresses |= one << np.uint64(PAGE_BITS + bit)
            dealt[axis] += 1
        return addresses


@cache
def _morton_tables(levels: int) -> StepTables:
    digits = np.arange(8**levels)
    position = np.zeros_like(digits)
    for bit in range(3 * levels):
        axis, place = bit % 3, bit // 3
        position |= (digits >> bit & 1) << levels * axis + place
    return _tables(levels, position[None], np.zeros((1, len(digits)), np.uint8))


@cache
def _linear_tables(levels: int) -> StepTables:
    digits = np.arange(8**levels)
    if levels == 2:  # x, y and z of a cell in its brick, or of a byte in its cell, are the digits as they stand
        position = digits
    elif levels == 4:
        cell, byte = digits >> 6, digits & 63
        position = np.zeros_like(digits)
        for axis in range(3):
            position |= ((cell >> 2 * axis & 3) * 4 + (byte >> 2 * axis & 3)) << 4 * axis
    else:
        raise CurveError(f"The linear layout goes by cells and bricks, 2 or 4 levels at a time, not {levels}.")
    return _tables(levels, position[None], np.zeros((1, len(digits)), np.uint8))


def _deal_in_turns(bits: tuple[int, int, int]) -> tuple[int, ...]:
    return tuple(axis for level in range(max(bits)) for axis in range(3) if level < bits[axis])


def _deal_in_rows(bits: tuple[int, int, int]) -> tuple[int, ...]:
    return tuple(axis for axis in range(3) for _ in range(bits[axis]))


HILBERT = HilbertCurve()
CURVES: dict[str, Curve] = {
    "hilbert": HILBERT,
    "morton": DealtCurve("morton", _morton_tables, _deal_in_turns),
    "linear": DealtCurve("linear", _linear_tables, _deal_in_rows),
}


def order_for_size(size_bytes: int) -> int:
    """The order in which a RAM of this size is laid out: 10 up to 1 GiB, then the smallest that holds it.

    Raises CurveError, OrderOutOfRange.
    """
    if size_bytes <= 0:
        raise CurveError(f"A RAM of {size_bytes} bytes has no layout; it must have at least one byte.")
    order = ANCHOR_ORDER
    while 8**order < size_bytes:
        order += 1
    if order > MAX_ORDER:
        raise OrderOutOfRange(order, 1)
    return order


@lru_cache(maxsize=8)
def table_words(curve: Curve) -> NDArray[np.uint32]:
    """The contents of `CurveTables` in `shaders/curve.wgsl`, (n_states * 64,) uint32, from the tables that numpy walks.

    forward, then inverse, two to a word.
    """
    tables = curve.step_tables(2)
    forward = tables.position | tables.state.astype(np.uint16) << np.uint16(8)
    packed = np.concatenate([forward.ravel(), tables.address.ravel()]).astype("<u2")
    return packed.view("<u4")
