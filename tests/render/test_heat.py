"""Write heat: what it sums to, how it cools, what another half-life makes of it, and that the GPU has the same."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from render.bricks import BrickStore
from render.errors import BadHalfLife
from render.heat import NEVER_S, WriteHeat
from tests.render.conftest import MakeStore

ONE = np.zeros(1, np.uint32)


def on_gpu(store: BrickStore) -> NDArray[np.float32]:
    """(n_pages, 2): when, and how hot it was then."""
    x, y, z = store.heat.size
    raw = store.device.queue.read_texture(
        {"texture": store.heat}, {"bytes_per_row": 8 * x, "rows_per_image": y}, (x, y, z)
    )
    bx, by, bz = store.curve.bricks_from_pages(store.n_pages, store.order)[0].T
    stored: NDArray[np.float32] = np.frombuffer(raw, np.float32).reshape(z, y, x, 2)[bz, by, bx]
    return stored


@given(st.lists(st.floats(0.0, 50.0), min_size=1, max_size=30), st.floats(0.1, 100.0))
def test_heat_is_the_sum_over_writes(gaps_s: list[float], half_life_s: float) -> None:
    heat = WriteHeat(1)
    heat.set_half_life(half_life_s)
    times = np.cumsum(gaps_s)
    for time_s in times:
        heat.add(ONE, float(time_s))
    now_s = float(times[-1]) + half_life_s
    expected = sum(0.5 ** ((now_s - time_s) / half_life_s) for time_s in times)
    assert heat.at(now_s)[0] == pytest.approx(expected, rel=1e-3, abs=1e-4)


@given(st.floats(0.02, 8.0), st.floats(0.5, 60.0), st.floats(0.5, 60.0))
def test_another_half_life_is_as_if_it_had_always_been(pace: float, before_s: float, after_s: float) -> None:
    """Exact for a page that is written at an even pace: the heat that it would have come to with the new half-life.

    The pace is in half-lives from write to write: of more than eight a float32 of heat knows too little.
    """
    pace_s = pace * before_s
    heat, other = WriteHeat(1), WriteHeat(1)
    heat.set_half_life(before_s)
    other.set_half_life(after_s)
    for record in (heat, other):  # the limit of ever more writes at that pace
        record.heat[0] = 1 / (1 - 0.5 ** (pace_s / record.half_life_s))
        record.written_s[0] = 5.0
    heat.set_half_life(after_s)
    assert heat.heat[0] == pytest.approx(float(other.heat[0]), rel=1e-3)
    assert heat.written_s[0] == 5.0, "a page must not flash because a slider moved"


def test_one_write_is_one_whatever_the_half_life() -> None:
    heat = WriteHeat(2)
    heat.add(ONE, 3.0)
    for half_life_s in (0.01, 1e9, 1e-9, 5.0):
        heat.set_half_life(half_life_s)
        assert heat.heat.tolist() == [1.0, 0.0]
    assert heat.at(3.0).tolist() == [1.0, 0.0]
    assert heat.at(8.0).tolist() == [0.5, 0.0]


def test_extremes_stay_finite() -> None:
    heat = WriteHeat(1)
    for step in range(2000):
        heat.add(ONE, 1.0 + 1e-4 * step)
    heat.set_half_life(1e300)
    assert heat.heat[0] == pytest.approx(1e6)
    heat.set_half_life(1e-300)
    assert np.isfinite(heat.heat).all()
    heat.add(ONE, -1e6)  # a clock that was set back
    assert np.isfinite(heat.heat).all()


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf, "5"])
def test_what_is_no_half_life(make_store: MakeStore, value: float) -> None:
    store = make_store(np.ones(4096, np.uint8))
    with pytest.raises(BadHalfLife, match="finite time above 0"):
        store.half_life_s = value
    assert store.half_life_s == 5.0


@pytest.mark.parametrize("way", ["shader", "host"])
def test_the_gpu_has_the_same(make_store: MakeStore, way: str) -> None:
    """Only writes that show are counted; the texture follows writes and half-lives."""
    store = make_store(np.ones(4 * 4096, np.uint8), layout="linear", sums_up=way)
    assert on_gpu(store).tolist() == [[NEVER_S, 0.0]] * 4
    one = np.ones((1, 4096), np.uint8)
    for time_s, page in ((10.0, 2), (15.0, 2), (16.0, 1)):
        store.clock_s = time_s
        store.upload(np.array([page], np.uint32), one)
    store.upload(np.array([3], np.uint32), one, flash=False)
    assert on_gpu(store).tolist() == [[NEVER_S, 0.0], [16.0, 1.0], [15.0, 1.5], [NEVER_S, 0.0]]
    revision = store.revision
    store.half_life_s = 10.0
    assert store.revision == revision + 1
    expected = 1 / (1 - (1 - 1 / 1.5) ** 0.5)
    assert on_gpu(store)[2].tolist() == [15.0, pytest.approx(expected)]
    store.clock_s = 25.0
    assert store.heat_now()[2] == pytest.approx(expected / 2)
    store.half_life_s = 10.0
    assert store.revision == revision + 1, "the same again is no change"
