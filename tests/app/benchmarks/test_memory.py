"""The memory benchmark: it runs, in small, and its figures are what the parts can be seen to do."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest

from app.benchmarks import pixel_latency
from app.benchmarks.memory import run
from app.benchmarks.pixel_latency import PixelNeverChanged, changed_pixel_latency
from app.feed import RamFeed


@pytest.fixture(scope="module")
def figures() -> dict[str, dict[str, Any]]:
    document = run(sizes_mib=(8,), seconds_each=0.6, with_pixels=False).as_json()
    assert document["bench"] == "memory"
    return {result["name"]: result for result in document["results"]}


def test_every_figure_that_was_asked_for_is_there(figures: dict[str, dict[str, Any]]) -> None:
    assert {
        "scan_8mib",
        "scan_8mib_to_numpy_copy",
        "numpy_copy_8mib",
        "snapshot_8mib",
        "snapshot_8mib_p99",
        "change_8mib_found_p99",
        "worst_age_8mib_stated",
        "worst_age_8mib_measured",
    } <= set(figures)
    assert all(result["value"] > 0 for name, result in figures.items() if "later" not in name)


def test_the_bar_of_the_scan_is_the_issues(figures: dict[str, dict[str, Any]]) -> None:
    ratio = figures["scan_8mib_to_numpy_copy"]
    assert (ratio["bar"], ratio["unit"]) == (">= 0.8", "ratio")
    assert ratio["ok"] == (ratio["value"] >= 0.8)
    speeds = figures["scan_8mib"]["value"] / figures["numpy_copy_8mib"]["value"]
    assert ratio["value"] == pytest.approx(speeds)
    assert 100 < figures["scan_8mib"]["value"] < 1_000_000, "MB/s, not bytes"


def test_percentiles_are_in_order(figures: dict[str, dict[str, Any]]) -> None:
    for name in ("snapshot_8mib", "change_8mib_found"):
        assert figures[f"{name}_p50"]["value"] <= figures[f"{name}_p99"]["value"]


def test_what_does_not_fit_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1 << 20, total=1 << 30))
    report = run(sizes_mib=(8,), seconds_each=0.1, with_pixels=False)
    assert report.results == ()
    assert any("8 MiB left out: only 1 MiB" in note for note in report.notes)


def test_the_latency_of_pixels_is_measured_on_real_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    def small(size_bytes: int, seconds: float) -> tuple[list[float], str]:
        return changed_pixel_latency(1 << 20, seconds, size_px=(480, 360))

    monkeypatch.setattr("app.benchmarks.memory.changed_pixel_latency", small)
    report = run(sizes_mib=(), seconds_each=0.5)
    p50, p99 = (result.value for result in report.results if result.value is not None)
    assert 0 < p50 <= p99 < 20_000
    assert "drawn on" in report.notes[-1]


def test_a_picture_that_never_changes_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    upload = RamFeed.pump
    complete = False

    def pump_until_complete(feed: RamFeed, budget_s: float) -> int:
        return 0 if complete else upload(feed, budget_s)

    def visible_pages(view: object) -> dict[int, tuple[int, int]]:
        nonlocal complete
        complete = True
        return {0: (80, 60)}

    monkeypatch.setattr(RamFeed, "pump", pump_until_complete)
    monkeypatch.setattr(pixel_latency, "_visible_pages", visible_pages)
    with pytest.raises(PixelNeverChanged, match="Page 0 was written"):
        changed_pixel_latency(1 << 20, 1.0, size_px=(160, 120), limit_s=0.3)


def test_a_first_picture_that_never_comes_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(np.arange(0.0, 1e6, 100.0))
    monkeypatch.setattr(pixel_latency, "monotonic", lambda: float(next(times)))
    with pytest.raises(PixelNeverChanged, match="first picture"):
        changed_pixel_latency(1 << 20, 1.0, size_px=(160, 120))
