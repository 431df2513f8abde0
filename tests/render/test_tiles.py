"""Which tiles are marched when, and that a write makes every tile stale that can show it."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from render.camera import CameraState, basis_of
from render.march import Eye
from render.tiles import TILE, TileMap, Work

SIZE = (300, 200)


def eye_at(distance: float, azimuth: float, elevation: float) -> Eye:
    return Eye(basis_of(CameraState((32, 32, 32), distance, azimuth, elevation)), (0.45, 0.3), 0.0)


def test_middle_first_then_everything_then_more_samples() -> None:
    tiles = TileMap(SIZE)
    seen = np.zeros((SIZE[1], SIZE[0]), int)
    first = tiles.next_work(1, 3)
    assert first is not None
    x, y, width, height = first.rects[0]
    assert x <= SIZE[0] / 2 <= x + width
    assert y <= SIZE[1] / 2 <= y + height
    work: Work | None = first
    samples = []
    while work is not None:
        samples.append(work.sample)
        for x, y, width, height in work.rects:
            assert x + width <= SIZE[0]
            assert y + height <= SIZE[1]
            seen[y : y + height, x : x + width] += 1
        work = tiles.next_work(3, 3)
    assert (seen == 3).all(), "each pixel once a sample"
    assert samples == sorted(samples)
    assert tiles.lowest == 3


def test_neighbours_are_marched_as_one() -> None:
    work = TileMap(SIZE).next_work(float("inf"), 1)
    assert work is not None
    assert len(work.rects) == 4
    assert work.n_tiles == 20
    assert work.rects[0] == (0, 0, 300, TILE)
    assert work.rects[-1] == (0, 3 * TILE, 300, 200 - 3 * TILE)


def test_invisible_tiles_need_nothing() -> None:
    tiles = TileMap(SIZE)
    mask = np.zeros((tiles.rows, tiles.columns), bool)
    tiles.restart(mask.copy())
    assert tiles.next_work(5, 3) is None
    assert tiles.shown_pixels == 0
    mask[1, 2] = True
    tiles.restart(mask.copy())
    work = tiles.next_work(5, 3)
    assert work is not None
    assert work.rects == ((2 * TILE, TILE, TILE, TILE),)


def test_forgetting_brings_tiles_back() -> None:
    tiles = TileMap(SIZE)
    while tiles.next_work(100, 2) is not None:
        pass
    mask = np.zeros((tiles.rows, tiles.columns), bool)
    mask[0, 1] = True
    tiles.forget(mask)
    work = tiles.next_work(100, 2)
    assert work is not None
    assert (work.sample, work.rects) == (0, ((TILE, 0, TILE, TILE),))
    tiles.restart(np.ones_like(mask))
    assert tiles.lowest == 0


@given(st.floats(20, 400), st.floats(-180, 180), st.floats(-90, 90), st.tuples(*[st.integers(0, 3)] * 3), st.randoms())
def test_every_point_of_a_box_is_in_a_stale_tile(
    distance: float, azimuth: float, elevation: float, brick: tuple[int, int, int], random: object
) -> None:
    eye = eye_at(distance, azimuth, elevation)
    tiles = TileMap(SIZE)
    low = np.array([brick], float) * 16
    mask = tiles.tiles_of_boxes(low, low + 16, eye)
    points = low + np.random.default_rng(0).random((50, 3)) * 16
    seen = points - eye.basis.position
    depth = seen @ eye.basis.forward
    ahead = depth > 0.01
    x = (seen @ eye.basis.right / np.where(ahead, depth, 1) / eye.half_extent[0] + 1) / 2 * SIZE[0]
    y = (1 - seen @ eye.basis.up / np.where(ahead, depth, 1) / eye.half_extent[1]) / 2 * SIZE[1]
    inside = ahead & (x >= 0) & (x < SIZE[0]) & (y >= 0) & (y < SIZE[1])
    assert mask[(y[inside] // TILE).astype(int), (x[inside] // TILE).astype(int)].all()


def test_a_small_far_box_touches_few_tiles() -> None:
    tiles = TileMap((1280, 720))
    low = np.array([[24.0, 24.0, 24.0]])
    assert 1 <= tiles.tiles_of_boxes(low, low + 16, eye_at(2000, 30, 20)).sum() <= 4
    assert not tiles.tiles_of_boxes(np.zeros((0, 3)), np.zeros((0, 3)), eye_at(2000, 30, 20)).any()


def test_writes_that_never_end_starve_no_tile() -> None:
    """The middle is written before every frame; the corner, written once, must still get its turn."""
    tiles = TileMap((8 * TILE, 8 * TILE))
    while tiles.next_work(64, 1) is not None:
        pass
    middle = np.zeros((8, 8), np.bool_)
    middle[2:6, 2:6] = True
    corner = np.zeros((8, 8), np.bool_)
    corner[0, 0] = True
    tiles.forget(middle)
    tiles.forget(corner)
    for _ in range(17):
        tiles.forget(middle)
        tiles.next_work(1, 1)
    assert tiles.samples[0, 0] == 1


def test_no_tile_waits_for_ever() -> None:
    """While everything is written all the time, and a frame has time for one tile only, each still gets its turn."""
    tiles = TileMap(SIZE)
    everything = np.ones((tiles.rows, tiles.columns), bool)
    turns = np.zeros((SIZE[1], SIZE[0]), int)
    for _ in range(3 * everything.size):
        tiles.forget(everything)
        work = tiles.next_work(1, 6)
        assert work is not None
        x, y, width, height = work.rects[0]
        turns[y : y + height, x : x + width] += 1
    assert (turns == 3).all()
    assert tiles.complete


def test_complete_means_marched_since_the_restart() -> None:
    tiles = TileMap(SIZE)
    everything = np.ones((tiles.rows, tiles.columns), bool)
    seen = [tiles.complete]
    tiles.next_work(19, 1)
    seen.append(tiles.complete)
    tiles.next_work(1, 1)
    seen.append(tiles.complete)
    tiles.forget(everything)
    seen.append(tiles.complete)  # stale, but there
    tiles.restart(everything)
    seen.append(tiles.complete)
    assert seen == [False, False, True, True, False]
