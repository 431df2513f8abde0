"""Boxes around pages: they hold all of them, they are few, and they hold little else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.curves import BRICK_SIDE
from render.page_boxes import MOST_BOXES, boxes_of_bricks, boxes_of_pages
from tests.render.conftest import MakeStore

SHAPE = (8, 8, 4)
BRICKS = st.lists(st.tuples(*(st.integers(0, side - 1) for side in SHAPE)), min_size=1, max_size=60)


def held(boxes: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """How many boxes hold each brick."""
    count = np.zeros(shape, int)
    for low, high in boxes:
        count[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] += 1
    return count


@given(bricks=BRICKS, limit=st.integers(1, 20))
def test_every_brick_is_in_one_box_and_boxes_are_few_and_tight(bricks: list[tuple[int, int, int]], limit: int) -> None:
    places = np.array(bricks)
    boxes = boxes_of_bricks(places, SHAPE, limit)
    assert 1 <= len(boxes) <= limit
    count = held(boxes, SHAPE)
    assert count.max() == 1, "boxes do not overlap"
    assert (count[tuple(places.T)] == 1).all()
    sizes = (boxes[:, 1] - boxes[:, 0]).prod(axis=1)
    assert (sizes > 0).all()
    assert (np.diff(sizes) <= 0).all(), "the largest first"
    filled = np.zeros(SHAPE, bool)
    filled[tuple(places.T)] = True
    for low, high in boxes:
        inside = filled[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
        for axis in range(3):
            others = tuple(other for other in range(3) if other != axis)
            assert np.asarray(inside.any(axis=others))[[0, -1]].all(), "each face touches a brick"
    assert sizes.sum() <= (places.max(axis=0) + 1 - places.min(axis=0)).prod()


@given(bricks=BRICKS)
def test_the_first_cut_is_the_best_of_all(bricks: list[tuple[int, int, int]]) -> None:
    """Against every cut by every plane, tried one by one."""
    places = np.unique(np.array(bricks), axis=0)

    def size(part: np.ndarray) -> int:
        return int((part.max(axis=0) + 1 - part.min(axis=0)).prod())

    whole = size(places)
    best = min(
        (
            size(places[places[:, axis] < at]) + size(places[places[:, axis] >= at])
            for axis in range(3)
            for at in range(places[:, axis].min() + 1, places[:, axis].max() + 1)
        ),
        default=whole,
    )
    boxes = boxes_of_bricks(places, SHAPE, 2)
    found = int((boxes[:, 1] - boxes[:, 0]).prod(axis=1).sum())
    worth = whole - best >= max(1, 0.15 * whole / 2)
    assert found == (best if worth else whole)


def test_two_far_heaps_are_two_boxes() -> None:
    bricks = np.array([(x, y, z) for x in (0, 1, 6, 7) for y in (0, 1) for z in (0, 1)])
    boxes = boxes_of_bricks(bricks, SHAPE)
    assert sorted(boxes.tolist()) == [[[0, 0, 0], [2, 2, 2]], [[6, 0, 0], [8, 2, 2]]]


def test_a_run_of_the_curve_is_boxes_that_hold_it(make_store: MakeStore) -> None:
    store = make_store(np.zeros(512 * 4096, np.uint8))
    pages = np.arange(100, 164, dtype=np.uint32)
    boxes = boxes_of_pages(store, pages)
    assert (boxes % BRICK_SIDE == 0).all()
    assert len(boxes) <= MOST_BOXES
    count = held(boxes // BRICK_SIDE, store.shape_bricks)
    assert (count[tuple(store.bricks_of_pages(pages).T)] == 1).all()
    assert count.sum() < 2 * len(pages), "they hold little else"


@pytest.mark.parametrize("limit", [0, 12])
def test_no_pages_are_no_boxes(make_store: MakeStore, limit: int) -> None:
    store = make_store(np.zeros(64 * 4096, np.uint8))
    assert boxes_of_pages(store, np.zeros(0, np.uint32), limit).shape == (0, 2, 3)
