"""What the performance panel counts: times of passes, video memory by what it is for, and bytes carried a second."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.pass_times import FRAMES, GROUPS, PassTimes
from app.upload_rate import WINDOW_S, UploadRate
from app.video_memory_use import MemoryUse, store_use
from render.bricks import BrickStore
from render.device import request_device
from render.resource_size import resource_bytes
from render.view import VolumeView

FRAME = {
    "march/one": 0.002,
    "march/two": 0.001,
    "march": 0.003,
    "halo": 0.0005,
    "compose": 0.0015,
    "upload": 0.004,
    "summarise": 0.001,
    "interface": 0.006,
}


def test_passes_are_summed_up_by_what_they_are_for() -> None:
    times = PassTimes()
    times.add(FRAME)
    figures = times.figures()
    assert [(row.name, row.part) for row in figures.rows] == [
        ("march", ""),
        ("march", "one"),
        ("march", "two"),
        ("compose", ""),
        ("upload", ""),
        ("interface", ""),
    ]
    now = {(row.name, row.part): row.now_s for row in figures.rows}
    assert now["march", ""] == pytest.approx(0.003)
    assert now["march", "two"] == pytest.approx(0.001)
    assert now["compose", ""] == pytest.approx(0.002)
    assert now["upload", ""] == pytest.approx(0.005)
    assert figures.total is not None
    assert figures.total.now_s == pytest.approx(0.016)
    assert times.stacked_ms()[:, 0] == pytest.approx([3, 5, 10, 10, 16])


def test_a_single_volume_needs_no_line_of_its_own() -> None:
    times = PassTimes()
    times.add({"march": 0.002, "march/only": 0.002, "somebody else's": 1.0})
    assert [(row.name, row.part) for row in times.rows()] == [("march", "")]
    assert times.total() is not None


def test_what_has_not_run_for_long_is_forgotten() -> None:
    times = PassTimes()
    times.add({"upload": 0.001, "march/gone": 0.1, "march": 0.1})
    times.extend([{"march": 0.001, "march/here": 0.001}] * (FRAMES - 1))
    assert {row.name for row in times.rows()} == {"upload", "march"}
    times.add({"march": 0.001})
    assert [(row.name, row.part) for row in times.rows()] == [("march", "")]


def test_nothing_is_known_before_the_first_frame() -> None:
    times = PassTimes()
    times.add({})
    assert len(times) == 0
    assert times.figures().total is None
    assert times.figures().rows == ()
    assert times.stacked_ms().shape == (len(GROUPS), 0)


@given(st.lists(st.lists(st.floats(0, 0.1), min_size=5, max_size=5), min_size=1, max_size=40), st.integers(1, 50))
def test_the_graph_and_the_figures_are_numpys(frames: list[list[float]], shown: int) -> None:
    times = PassTimes(30)
    times.extend(dict(zip(GROUPS, frame, strict=True)) for frame in frames)
    kept = np.array(frames[-30:])
    stacked = np.cumsum(kept[-shown:], axis=1) * 1000
    np.testing.assert_allclose(times.stacked_ms(shown).T, stacked, rtol=1e-5, atol=1e-6)
    total = times.total()
    assert total is not None
    assert total.p95_s == pytest.approx(np.percentile(kept.sum(axis=1), 95))
    for index, row in enumerate(times.rows()):
        assert row.p50_s == pytest.approx(np.median(kept[:, index]))
        assert row.now_s == pytest.approx(frames[-1][index])


def test_the_rate_is_that_of_the_last_seconds() -> None:
    rate = UploadRate()
    assert rate.bytes_per_s == 0
    rate.sample(10.0, 100)
    assert rate.bytes_per_s == 0
    for step in range(1, 41):
        rate.sample(10.0 + step / 10, 100 + 50 * step)
    assert rate.bytes_per_s == pytest.approx(500 * 4096)
    rate.sample(14.0 + WINDOW_S, 2100)
    rate.sample(14.0 + 2 * WINDOW_S, 2100)
    assert rate.bytes_per_s == 0
    rate.sample(20.0, 7)  # another feed counts from the start
    assert rate.bytes_per_s == 0
    rate.sample(20.0, 7)
    assert rate.bytes_per_s == 0


def test_all_that_is_held_is_counted_and_named() -> None:
    device, _ = request_device()
    store = BrickStore(device, 4 << 20)
    view = VolumeView(device, (320, 200))
    empty = view.vram_bytes
    assert empty >= 320 * 200 * 4
    view.add_volume("guest", store)
    view.draw(0.0)
    marched, composed = 320 * 200 * (8 + 4 + 8), 320 * 200 * (4 + 4)  # pygfx has a colour and a depth of its own
    assert view.vram_bytes >= empty + marched
    assert view.vram_bytes >= marched + composed
    kinds = store_use(store)
    assert sum(kinds.values()) == store.vram_bytes
    assert kinds["voxels"] == 4 << 20
    assert kinds["cells"] == (4 << 20) // 64 * 4
    use = MemoryUse({"guest": kinds, "other": {"voxels": 5}}, view.vram_bytes, 1 << 30)
    assert use.total == store.vram_bytes + view.vram_bytes + 5
    assert use.by_kind()["voxels"] == (4 << 20) + 5
    assert sum(use.by_kind().values()) == use.total
    assert resource_bytes(view.texture) == 320 * 200 * 4
    view.resize(640, 400)
    view.draw(1.0)
    assert view.vram_bytes > 3 * 320 * 200 * 20
    view.destroy()
    store.destroy()
