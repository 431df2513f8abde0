"""Morton and linear against definitions written out by hand, and what all curves have in common."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.curves import (
    CURVES,
    HILBERT,
    AddressOutOfCurve,
    Curve,
    CurveError,
    OrderOutOfRange,
    VoxelOutOfCube,
    order_for_size,
)

MORTON, LINEAR = CURVES["morton"], CURVES["linear"]
ALL = pytest.mark.parametrize("curve", CURVES.values(), ids=CURVES.keys())
DEALT = pytest.mark.parametrize("curve", [MORTON, LINEAR], ids=["morton", "linear"])


def morton_voxel(address: int) -> tuple[int, int, int]:
    """Every third bit."""
    digits = f"{address:b}"[::-1]
    x, y, z = (int(digits[axis::3][::-1] or "0", 2) for axis in range(3))
    return x, y, z


def linear_voxel(address: int, shape_bricks: tuple[int, int, int]) -> tuple[int, int, int]:
    """Bytes in rows of 4 in a cell, cells in rows of 4 in a brick, bricks in rows of the box."""
    byte, cell, page = address % 64, address // 64 % 64, address // 4096
    width, height, _ = shape_bricks
    brick = (page % width, page // width % height, page // (width * height))
    cells = (cell % 4, cell // 4 % 4, cell // 16)
    octets = (byte % 4, byte // 4 % 4, byte // 16)
    x, y, z = (16 * brick[axis] + 4 * cells[axis] + octets[axis] for axis in range(3))
    return x, y, z


@given(st.lists(st.integers(0, 8**10 - 1), min_size=1, max_size=50))
def test_dealt_curves_are_what_their_names_say(addresses: list[int]) -> None:
    numbers = np.array(addresses, np.uint64)
    assert [tuple(voxel) for voxel in MORTON.voxel_from_address(numbers, 10).tolist()] == [
        morton_voxel(address) for address in addresses
    ]
    assert [tuple(voxel) for voxel in LINEAR.voxel_from_address(numbers, 10).tolist()] == [
        linear_voxel(address, (64, 64, 64)) for address in addresses
    ]


@ALL
@pytest.mark.parametrize("order", [4, 5, 6])
def test_whole_curve_is_a_bijection(curve: Curve, order: int) -> None:
    addresses = np.arange(8**order, dtype=np.uint64)
    voxels = curve.voxel_from_address(addresses, order)
    assert voxels.dtype == np.uint32
    flat = voxels[:, 0].astype(np.int64) + (voxels[:, 1].astype(np.int64) << order) + (voxels[:, 2] << 2 * order)
    assert (np.bincount(flat, minlength=8**order) == 1).all()
    np.testing.assert_array_equal(curve.address_from_voxel(voxels, order), addresses)


@ALL
@pytest.mark.parametrize("size", [1, 4096, 3 * 4096, 5 << 20, 96 << 20, 100_000_001])
def test_fitted_curves_come_back(curve: Curve, size: int) -> None:
    order = order_for_size(size)
    fitted = curve.fitted(size, order)
    rng = np.random.default_rng(size)
    addresses = np.unique(np.append(rng.integers(0, size, 500), [0, size - 1])).astype(np.uint64)
    voxels = fitted.voxel_from_address(addresses, order)
    assert (voxels < np.array(fitted.box_shape(size, order))).all()
    np.testing.assert_array_equal(fitted.address_from_voxel(voxels, order), addresses)


@ALL
@pytest.mark.parametrize("power", range(12, 33))
def test_every_curve_fills_the_same_box(curve: Curve, power: int) -> None:
    """So that another curve does not change a volume's outline."""
    size = 1 << power
    order = order_for_size(size)
    shape = curve.fitted(size, order).box_shape(size, order)
    assert shape == HILBERT.box_shape(size, order)
    assert shape[0] * shape[1] * shape[2] == size


@DEALT
@pytest.mark.parametrize("size", [5 * 4096, 5 << 20, 96 << 20, 100_000_001])
def test_other_sizes_take_part_of_the_next_box(curve: Curve, size: int) -> None:
    order = order_for_size(size)
    whole = HILBERT.box_shape(1 << (size - 1).bit_length(), order)
    shape = curve.fitted(size, order).box_shape(size, order)
    assert all(side <= limit for side, limit in zip(shape, whole, strict=True))
    assert shape[0] * shape[1] * shape[2] >= size
    assert curve.fitted(size, order).n_states == 1
    assert curve.fitted(size, order).name == curve.name


@ALL
@pytest.mark.parametrize("size", [64 << 20, 3 << 20])
def test_pages_are_bricks_and_64_bytes_are_cells(curve: Curve, size: int) -> None:
    order = order_for_size(size)
    curve = curve.fitted(size, order)
    n_pages = 300
    bricks, states = curve.bricks_from_pages(n_pages, order)
    voxels = curve.voxel_from_address(np.arange(n_pages * 4096, dtype=np.uint64), order).reshape(n_pages, 4096, 3)
    np.testing.assert_array_equal(voxels // 16, np.broadcast_to(bricks[:, None], voxels.shape))
    inside = voxels % 16
    place = inside[..., 0] | inside[..., 1] << 4 | inside[..., 2] << 8
    np.testing.assert_array_equal(place, curve.step_tables(4).position[states])
    cells = (voxels // 4).reshape(n_pages, 64, 64, 3)
    assert (cells == cells[:, :, :1]).all(), "64 consecutive bytes lie in one cell"
    tables = curve.step_tables(2)
    within = cells[:, :, 0] % 4
    np.testing.assert_array_equal(within[..., 0] | within[..., 1] << 2 | within[..., 2] << 4, tables.position[states])


@ALL
@pytest.mark.parametrize("levels", [2, 4])
def test_tables_are_inverse_to_themselves(curve: Curve, levels: int) -> None:
    tables = curve.step_tables(levels)
    assert tables.position.shape == tables.address.shape == tables.state.shape == (curve.n_states, 8**levels)
    for state in range(curve.n_states):
        np.testing.assert_array_equal(tables.address[state][tables.position[state]], np.arange(8**levels))
    assert int(tables.state.max()) < curve.n_states
    with pytest.raises(ValueError, match="read-only"):
        tables.position[0, 0] = 1


@DEALT
def test_dealt_questions_without_answer(curve: Curve) -> None:
    with pytest.raises(OrderOutOfRange, match="order 3 was asked for; orders 4 to 20"):
        curve.voxel_from_address(np.zeros(1, np.uint64), 3)
    with pytest.raises(AddressOutOfCurve, match="0x10000 lies outside the curve of order 4, which ends before 0x1000"):
        curve.voxel_from_address(np.array([0x10000], np.uint64), 4)
    with pytest.raises(AddressOutOfCurve):
        curve.bricks_from_pages(9, 5)
    small = curve.fitted(2 * 4096, 10)
    with pytest.raises(AddressOutOfCurve, match="ends before 0x2000"):
        small.voxel_from_address(np.array([0x2000], np.uint64), 10)
    with pytest.raises(VoxelOutOfCube, match="box of 32 x 16 x 16 voxels"):
        small.address_from_voxel(np.array([[0, 16, 0]], np.uint32), 10)
    for size in (0, -1):
        with pytest.raises(CurveError, match="at least one byte"):
            curve.fitted(size, 10)
    with pytest.raises(CurveError, match="2 or 4 levels at a time, not 3"):
        LINEAR.step_tables(3)
    with pytest.raises(OrderOutOfRange):
        order_for_size(8**20 + 1)
