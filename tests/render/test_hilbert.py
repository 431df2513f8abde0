"""The curve's maps against Skilling's transform written a second time, and against what a Hilbert curve must be.

The argument for every order at once is by induction over the state tables; its premises are checked here exhaustively.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from render import hilbert
from render.curves import (
    HILBERT,
    MAX_ORDER,
    AddressOutOfCurve,
    CurveError,
    OrderOutOfRange,
    VoxelOutOfCube,
    order_for_size,
)

OCTANT = hilbert.MACHINE.octant.astype(int)
NEXT = hilbert.MACHINE.next_state.astype(int)
STATES = range(hilbert.N_STATES)


def skilling(addresses: NDArray[np.uint64], order: int) -> NDArray[np.uint32]:
    """TransposetoAxes over whole arrays, from the paper's pseudo-code and none of the project's own."""
    axes = [np.zeros(len(addresses), np.int64) for _ in range(3)]
    for bit in range(order):
        for axis in range(3):
            shift = np.uint64(3 * (order - 1 - bit) + 2 - axis)
            axes[axis] = axes[axis] << 1 | (addresses >> shift & np.uint64(1)).astype(np.int64)
    top = axes[2] >> 1
    for axis in (2, 1):
        axes[axis] ^= axes[axis - 1]
    axes[0] ^= top
    q = 2
    while q != 1 << order:
        for axis in (2, 1, 0):
            flip = (axes[axis] & q) != 0
            swap = np.where(flip, 0, (axes[0] ^ axes[axis]) & (q - 1))
            axes[0] ^= np.where(flip, q - 1, swap)
            axes[axis] ^= swap
        q <<= 1
    return np.stack(axes, axis=1).astype(np.uint32)


@pytest.mark.parametrize("order", range(1, 7))
def test_whole_curve_equals_skilling(order: int) -> None:
    addresses = np.arange(8**order, dtype=np.uint64)
    voxels = HILBERT.voxel_from_address(addresses, order)
    np.testing.assert_array_equal(voxels, skilling(addresses, order))
    np.testing.assert_array_equal(HILBERT.address_from_voxel(voxels, order), addresses)
    steps = np.abs(np.diff(voxels.astype(int), axis=0))
    assert (steps.sum(axis=1) == 1).all(), "neighbours on the curve are neighbours in space"


@given(st.data(), st.integers(7, MAX_ORDER))
def test_high_orders_equal_skilling(data: st.DataObject, order: int) -> None:
    values = data.draw(st.lists(st.integers(0, 8**order - 1), min_size=1, max_size=40))
    addresses = np.array(values, np.uint64)
    voxels = HILBERT.voxel_from_address(addresses, order)
    np.testing.assert_array_equal(voxels, skilling(addresses, order))
    np.testing.assert_array_equal(HILBERT.address_from_voxel(voxels, order), addresses)


@given(st.data(), st.integers(1, MAX_ORDER))
def test_voxels_come_back(data: st.DataObject, order: int) -> None:
    side = st.integers(0, 2**order - 1)
    voxels = np.array(data.draw(st.lists(st.tuples(side, side, side), min_size=1, max_size=40)), np.uint32)
    addresses = HILBERT.address_from_voxel(voxels, order)
    np.testing.assert_array_equal(HILBERT.voxel_from_address(addresses, order), voxels)


def test_every_state_visits_every_octant() -> None:
    """Premise of bijection: one level is a permutation, so any number of levels is."""
    assert OCTANT.shape == (24, 8)
    for state in STATES:
        assert sorted(OCTANT[state]) == list(range(8))
    assert len({tuple(row) for row in OCTANT}) == 24, "two states would be the same"
    assert set(NEXT.ravel()) == set(STATES), "every state is needed"


def test_every_step_is_to_a_neighbour() -> None:
    """Premises of adjacency at every order.

    A state's curve begins in the corner that its first octant names, on every level below as well, and ends likewise.
    Where one octant's curve ends and the next one's begins, the octants share a face and both corners lie at the same
    place on it.
    """
    for state in STATES:
        first, last = OCTANT[state, 0], OCTANT[state, 7]
        assert OCTANT[NEXT[state, 0], 0] == first
        assert OCTANT[NEXT[state, 7], 7] == last
        for digit in range(7):
            crossed = OCTANT[state, digit] ^ OCTANT[state, digit + 1]
            assert int(crossed).bit_count() == 1
            leaves = OCTANT[NEXT[state, digit], 7]
            enters = OCTANT[NEXT[state, digit + 1], 0]
            assert leaves ^ enters == crossed
            assert leaves & crossed == OCTANT[state, digit + 1] & crossed, "leaves through the shared face"


def test_states_are_isometries_of_one_curve() -> None:
    """Each state's octants and successors are the first state's, turned or mirrored: the curve is self-similar."""
    for state in STATES:
        place = {int(OCTANT[0, digit]): int(OCTANT[state, digit]) for digit in range(8)}
        mirror = place[0]
        axes = [place[1 << axis] ^ mirror for axis in range(3)]
        assert sorted(axes) == [1, 2, 4]
        for octant in range(8):
            assert place[octant] == mirror ^ sum(axes[axis] for axis in range(3) if octant >> axis & 1)
        for digit in range(8):
            np.testing.assert_array_equal(
                OCTANT[NEXT[state, digit]], [place[int(octant)] for octant in OCTANT[NEXT[0, digit]]]
            )


def test_start_states_follow_order() -> None:
    for order in range(1, 10):
        tops = skilling(np.arange(8, dtype=np.uint64) << np.uint64(3 * (order - 1)), order) >> (order - 1)
        np.testing.assert_array_equal(
            OCTANT[HILBERT.start_state(order)], tops[:, 0] | tops[:, 1] << 1 | tops[:, 2] << 2
        )


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_step_tables_are_that_many_steps(levels: int) -> None:
    tables = HILBERT.step_tables(levels)
    side = 2**levels
    for state in STATES:
        for digits in range(0, 8**levels, 1 if levels < 4 else 37):
            here, place = state, [0, 0, 0]
            for level in reversed(range(levels)):
                digit = digits >> 3 * level & 7
                place = [place[axis] * 2 + (OCTANT[here, digit] >> axis & 1) for axis in range(3)]
                here = NEXT[here, digit]
            assert tables.position[state, digits] == place[0] + side * place[1] + side * side * place[2]
            assert tables.state[state, digits] == here
        assert sorted(tables.position[state]) == list(range(8**levels)), "a page fills its brick exactly"
        np.testing.assert_array_equal(tables.address[state][tables.position[state]], np.arange(8**levels))


@pytest.mark.parametrize("order", [4, 5, 6, 10, 11])
def test_pages_are_aligned_bricks(order: int) -> None:
    """Each page's 4096 bytes are the 4096 voxels of the brick that `bricks_from_pages` names, in its state's order."""
    n_pages = min(8**order // 4096, 1500)
    bricks, states = HILBERT.bricks_from_pages(n_pages, order)
    voxels = HILBERT.voxel_from_address(np.arange(n_pages * 4096, dtype=np.uint64), order).reshape(n_pages, 4096, 3)
    np.testing.assert_array_equal(voxels // 16, np.broadcast_to(bricks[:, None], voxels.shape))
    inside = voxels % 16
    place = inside[..., 0] | inside[..., 1] << 4 | inside[..., 2] << 8
    np.testing.assert_array_equal(place, HILBERT.step_tables(4).position[states])


@pytest.mark.parametrize("power", range(20, 33))
def test_power_of_two_fills_its_box(power: int) -> None:
    size = 1 << power
    order = order_for_size(size)
    assert order == (10 if power <= 30 else 11)
    shape = HILBERT.box_shape(size, order)
    assert shape[0] * shape[1] * shape[2] == size
    bricks, _ = HILBERT.bricks_from_pages(size // 4096, order)
    assert len(np.unique(bricks[:, 0] | bricks[:, 1] << 10 | bricks[:, 2] << 20)) == size // 4096
    assert (bricks.max(axis=0) + 1 == np.array(shape) // 16).all()
    assert tuple(bricks[0]) == (0, 0, 0)


def test_other_sizes_get_the_enclosing_box() -> None:
    assert HILBERT.box_shape(96 << 20, 10) == (512, 512, 512)
    assert HILBERT.box_shape(1, 10) == (16, 16, 16)
    assert HILBERT.box_shape(4097, 10) in {(32, 16, 16), (16, 32, 16), (16, 16, 32)}


@given(st.integers(1, 8**11))
def test_order_holds_the_size(size: int) -> None:
    order = order_for_size(size)
    assert 8**order >= size
    assert order == 10 or 8 ** (order - 1) < size


def test_questions_without_answer() -> None:
    with pytest.raises(OrderOutOfRange, match="order 21"):
        HILBERT.voxel_from_address(np.zeros(1, np.uint64), 21)
    with pytest.raises(OrderOutOfRange):
        HILBERT.start_state(0)
    with pytest.raises(AddressOutOfCurve, match="0x8 lies outside the curve of order 1, which ends before 0x8"):
        HILBERT.voxel_from_address(np.array([8], np.uint64), 1)
    with pytest.raises(AddressOutOfCurve):
        HILBERT.voxel_from_address(np.array([-1]), 4)
    with pytest.raises(AddressOutOfCurve):
        HILBERT.bricks_from_pages(2, 4)
    with pytest.raises(AddressOutOfCurve):
        HILBERT.bricks_from_pages(1, 3)
    with pytest.raises(VoxelOutOfCube, match=r"\(0, 4, 0\) lies outside the curve\S+ box of 4 x 4 x 4"):
        HILBERT.address_from_voxel(np.array([[0, 0, 0], [0, 4, 0]], np.uint32), 2)
    with pytest.raises(VoxelOutOfCube):
        HILBERT.address_from_voxel(np.array([[0, -1, 0]]), 2)
    with pytest.raises(CurveError, match="shape"):
        HILBERT.address_from_voxel(np.zeros((3, 2), np.uint32), 2)
    for size in (0, -4096):
        with pytest.raises(CurveError, match="at least one byte"):
            order_for_size(size)
    with pytest.raises(CurveError, match="at least one byte"):
        HILBERT.box_shape(0, 10)


def test_empty_questions() -> None:
    assert HILBERT.voxel_from_address(np.zeros(0, np.uint64), 10).shape == (0, 3)
    assert HILBERT.address_from_voxel(np.zeros((0, 3), np.uint32), 10).shape == (0,)
    assert HILBERT.bricks_from_pages(0, 10)[0].shape == (0, 3)
    bricks, states = HILBERT.bricks_from_pages(1, 4)
    assert bricks.tolist() == [[0, 0, 0]]
    assert states.tolist() == [HILBERT.start_state(4)]
