"""Histograms: equal to what numpy counts in the same memory, and honest about how much of it was counted."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import wgpu

from app.feed import RamFeed
from app.histograms import KEPT_SAMPLES, SAMPLE_PAGES, Histogram, Histograms, heat_scalars, sample_bytes
from app.jobs import Jobs
from bridge.memory.errors import GuestMemoryError
from bridge.memory.ram import GuestRam
from render.channels import HEAT_TOP
from render.device import request_device

PAGES = 4 * SAMPLE_PAGES


@pytest.fixture(scope="module")
def device() -> wgpu.GPUDevice:
    return request_device()[0]


@pytest.fixture
def ram(tmp_path: Path) -> Iterator[GuestRam]:
    """16 MiB of a file of which every other 64 pages exist; page p is filled with p & 255, but 255 once at its end."""
    path = tmp_path / "ram"
    with path.open("wb") as file:
        file.truncate(PAGES * 4096)
        for first in range(0, PAGES, 128):
            file.seek(first * 4096)
            for page in range(first, first + 64):
                file.write(bytes([page & 255]) * 4095 + b"\xff")
    with GuestRam.open(path) as opened:
        yield opened


def existing() -> np.ndarray:
    pages = np.arange(PAGES)
    return pages[pages % 128 < 64]


def test_a_whole_count_equals_numpys_and_reads_no_hole(ram: GuestRam) -> None:
    sample = sample_bytes(ram, PAGES, seed=1)
    expected = np.bincount(existing() & 255, minlength=256) * 4095
    expected[255] += len(existing())
    assert sample.exact
    assert sample.pages == PAGES // 2
    assert (sample.counts == expected).all()
    assert sum(length for _, length in ram.allocated_extents()) == PAGES // 2 * 4096  # a hole that is read exists


def test_a_sample_is_of_pages_that_exist_each_at_most_once(ram: GuestRam) -> None:
    sample = sample_bytes(ram, 1000, seed=2)
    assert not sample.exact
    assert sample.pages == 1000
    assert sample.counts.sum() == 1000 * 4096
    per_value = (sample.counts[:255] / 4095).round().astype(int)
    assert (sample.counts[:255] == per_value * 4095).all()  # whole pages
    assert per_value.max() <= (np.bincount(existing() & 255)).max()
    assert np.count_nonzero(sample.counts[:255]) > 100  # not one corner of the memory
    assert (sample_bytes(ram, 1000, seed=2).counts == sample.counts).all()
    assert (sample_bytes(ram, 1000, seed=3).counts != sample.counts).any()


def test_memory_that_does_not_exist_yet_counts_for_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ram"
    with path.open("wb") as file:
        file.truncate(1 << 20)
    with GuestRam.open(path) as opened:
        sample = sample_bytes(opened, 64, seed=0)
    assert (sample.pages, int(sample.counts.sum())) == (0, 0)


def ask(histograms: Histograms, feeds: dict[str, RamFeed], channel: str, jobs: Jobs) -> Histogram:
    deadline = time.monotonic() + 120
    while True:
        jobs.pump()
        found = histograms.of(feeds, channel)
        if found is not None:
            return found
        assert time.monotonic() < deadline
        time.sleep(0.01)


def filled_feed(ram: GuestRam, device: wgpu.GPUDevice) -> RamFeed:
    feed = RamFeed(ram, device)
    deadline = time.monotonic() + 120
    while feed.tracker.stats.sweeps < 1 or feed.tracker.stats.pending_pages:
        feed.pump(1.0)
        assert time.monotonic() < deadline
    return feed


def test_histograms_follow_channel_and_machines(
    ram: GuestRam, device: wgpu.GPUDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = Jobs()
    histograms = Histograms(jobs)
    assert histograms.of({}, "value") is None
    assert histograms.of({}, "entropy") is None
    with filled_feed(ram, device) as feed:
        feeds = {"one": feed}
        value = ask(histograms, feeds, "value", jobs)
        assert value.note == f"sample of {SAMPLE_PAGES:,} pages"
        assert value.counts[0] == 0  # zero is never shown
        assert value.zero_share == pytest.approx(1 / 128, abs=0.006)
        assert ask(histograms, feeds, "content", jobs) is not None  # the same bytes

        with monkeypatch.context() as patch:
            patch.setattr("app.histograms.EVERY_S", 3600.0)
            entropy = ask(histograms, feeds, "entropy", jobs)
            assert histograms.of(feeds, "entropy") is entropy  # not read again before it is time
        summaries = feed.store.read_summaries()
        expected = np.bincount(summaries.entropy[summaries.filled > 0], minlength=256)
        assert (entropy.counts == expected).all()
        assert entropy.note == f"all {PAGES // 2:,} pages that hold anything"
        assert entropy.zero_share is None

        heat = ask(histograms, feeds, "heat", jobs)
        assert heat.counts.sum() == PAGES // 2
        assert histograms.of(feeds, "owner") is None

        numbers = (np.arange(feed.store.n_pages) % 5).astype(np.uint8)
        feed.store.set_attribute("owner", numbers, kind="categorical", labels=("a", "b", "c", "d", "e"))
        owner = ask(histograms, feeds, "owner", jobs)
        assert owner.counts[:5].tolist() == np.bincount(numbers[existing()], minlength=5).tolist()
        feed.store.set_attribute("age", np.linspace(10, 20, feed.store.n_pages).astype(np.float32), unit="s")
        age = ask(histograms, feeds, "age", jobs)
        assert age.counts.sum() == PAGES // 2
        assert age.counts[0] > 0
        assert (age.counts > 0).sum() > 100
        assert histograms.of({}, "value") is None  # the machine is gone, and what was counted with it
    assert not jobs.close()


def test_samples_add_up_to_a_bounded_number(
    ram: GuestRam, device: wgpu.GPUDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.histograms.EVERY_S", 0.0)
    jobs = Jobs()
    histograms = Histograms(jobs)
    with RamFeed(ram, device) as feed:
        most = f"sample of {SAMPLE_PAGES * KEPT_SAMPLES:,} pages"
        deadline = time.monotonic() + 120
        while ask(histograms, {"one": feed}, "value", jobs).note != most:
            assert time.monotonic() < deadline
            time.sleep(0.005)  # the samples are taken by another thread, which must get its turn
        for _ in range(20):
            jobs.pump()
            assert ask(histograms, {"one": feed}, "value", jobs).note == most
    jobs.close()


def test_memory_that_goes_away_is_not_asked_again_and_again(ram: GuestRam, device: wgpu.GPUDevice) -> None:
    jobs = Jobs()
    histograms = Histograms(jobs)
    with RamFeed(ram, device) as feed:
        feed.tracker.stop()
        ram.close()
        with pytest.raises(GuestMemoryError):
            sample_bytes(ram, 10, seed=0)
        assert histograms.of({"one": feed}, "value") is None
        deadline = time.monotonic() + 120
        while not jobs.pump():  # until the attempt has failed, and that is known
            assert time.monotonic() < deadline
            time.sleep(0.005)
        for _ in range(30):
            assert histograms.of({"one": feed}, "value") is None
            assert not jobs.running()
        assert next(jobs._numbers) <= 2  # one attempt
    jobs.close()


def test_heat_has_the_scale_of_the_shader() -> None:
    heat = np.array([0, 1, 3, 7, HEAT_TOP, 1e6], np.float32)
    assert heat_scalars(heat).tolist() == [0, 36, 73, 109, 255, 255]
