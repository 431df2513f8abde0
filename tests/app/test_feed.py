"""The feed: whatever was written to RAM is, after a moment, exactly what the GPU holds."""

from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep

import numpy as np
import pytest

from app.feed import RamFeed
from bridge.memory.dirty import DirtyPages, DirtyTracker
from bridge.memory.ram import GuestRam
from render.device import request_device

PAGE = 4096
N_PAGES = 512


@pytest.fixture
def ram_file(tmp_path: Path) -> Path:
    path = tmp_path / "guest.ram"
    with path.open("wb") as file:
        file.truncate(N_PAGES * PAGE)
    return path


@pytest.fixture
def feed(ram_file: Path) -> Iterator[RamFeed]:
    ram = GuestRam.open(ram_file)
    with RamFeed(ram, request_device()[0]) as feed:
        yield feed
    ram.close()


def _pump_until_shown(feed: RamFeed, expected: np.ndarray, pages: list[int], limit_s: float = 120) -> None:
    """Pump until the GPU holds `expected` (n_pages, 4096) in all `pages`; fail when it does not come to that."""
    deadline = monotonic() + limit_s
    waiting = set(pages)
    while waiting:
        feed.pump(0.05)
        waiting = {page for page in waiting if not np.array_equal(feed.store.read_page(page), expected[page])}
        assert monotonic() < deadline, f"pages {sorted(waiting)[:8]} never came to be shown"
        sleep(0.005)


def test_what_is_written_is_what_the_gpu_holds(feed: RamFeed, ram_file: Path) -> None:
    writable = np.memmap(ram_file, np.uint8, "r+").reshape(N_PAGES, PAGE)
    random = np.random.default_rng(7)
    for _ in range(3):
        pages = random.choice(N_PAGES, 24, replace=False)
        writable[pages] = random.integers(0, 256, (24, PAGE), np.uint8)
        _pump_until_shown(feed, writable, [int(page) for page in pages])
    writable[:] = 0
    _pump_until_shown(feed, writable, list(range(0, N_PAGES, 37)))
    assert feed.stats.uploaded_pages >= 72
    assert feed.stats.upload_bytes_per_s > 0


def test_a_single_changed_byte_is_shown(feed: RamFeed, ram_file: Path) -> None:
    writable = np.memmap(ram_file, np.uint8, "r+").reshape(N_PAGES, PAGE)
    for value in (1, 0, 255):
        writable[N_PAGES - 1, PAGE - 1] = value
        _pump_until_shown(feed, writable, [N_PAGES - 1])


def test_a_quiet_guest_uploads_nothing(feed: RamFeed, ram_file: Path) -> None:
    np.memmap(ram_file, np.uint8, "r+")[5 * PAGE] = 9
    _pump_until_shown(feed, np.memmap(ram_file, np.uint8, "r").reshape(N_PAGES, PAGE), [5])
    assert feed.stats.uploaded_pages == 1
    sleep(0.2)
    assert feed.pump(0.05) == 0


def test_a_budget_of_nothing_still_makes_progress(feed: RamFeed, ram_file: Path) -> None:
    writable = np.memmap(ram_file, np.uint8, "r+").reshape(N_PAGES, PAGE)
    writable[:] = 3
    deadline = monotonic() + 120
    waiting = set(range(N_PAGES))
    while waiting:  # a page that the scanner saw half written comes once more
        assert monotonic() < deadline, f"pages {sorted(waiting)[:8]} never came to be shown"
        if feed.pump(0.0):
            waiting = {page for page in waiting if not np.array_equal(feed.store.read_page(page), writable[page])}
    assert feed.stats.uploaded_pages >= N_PAGES


def test_what_is_found_while_it_pumps_is_not_taken_for_shown_or_for_written(
    ram_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first sweep begins and ends between the look for what is pending and the question whether all is there."""
    np.memmap(ram_file, np.uint8, "r+")[: 64 * PAGE] = 7
    ram = GuestRam.open(ram_file)
    started = DirtyTracker.start
    monkeypatch.setattr(DirtyTracker, "start", lambda _tracker: None)
    with RamFeed(ram, request_device()[0]) as feed:
        take = feed.tracker.take

        def take_before_the_sweep(max_pages: int) -> DirtyPages:
            taken = take(max_pages)
            started(feed.tracker)
            deadline = monotonic() + 120
            while feed.tracker.stats.sweeps < 1:
                assert monotonic() < deadline
                sleep(0.001)
            return taken

        with monkeypatch.context() as patch:
            patch.setattr(feed.tracker, "take", take_before_the_sweep)
            assert feed.pump(0.0) == 0
        assert [feed.caught_up] == [False]
        assert feed.pump(0.0) == 64
        assert [feed.caught_up] == [True]
        assert not feed.ages.within(1000.0).any(), "what was there before is not what was written"
    ram.close()


def test_a_long_backlog_is_carried_faster_than_a_short_one(tmp_path: Path) -> None:
    """At a budget of nothing, 16 MiB of new content must not take hundreds of frames."""
    path = tmp_path / "big.ram"
    n_pages = 4096
    np.full(n_pages * PAGE, 7, np.uint8).tofile(path)
    ram = GuestRam.open(path)
    with RamFeed(ram, request_device()[0]) as feed:
        deadline = monotonic() + 120
        while feed.tracker.stats.pending_pages < n_pages:
            assert monotonic() < deadline
            sleep(0.005)
        assert feed.pump(0.0) >= 512, "one frame of a backlog carries more than one smallest batch"
    ram.close()


def test_pages_that_come_near_the_eye_become_sharp(tmp_path: Path) -> None:
    """Too little memory for all pages: wherever the eye goes the pages around it are soon there, byte by byte."""
    path = tmp_path / "big.ram"
    n_pages = 4096
    content = np.random.default_rng(3).integers(1, 256, (n_pages, PAGE)).astype(np.uint8)
    content.tofile(path)
    ram = GuestRam.open(path)
    with RamFeed(ram, request_device()[0], budget_bytes=5 << 20) as feed:
        deadline = monotonic() + 120
        while feed.stats.uploaded_pages < n_pages:
            feed.pump(0.05)
            assert monotonic() < deadline
            sleep(0.002)
        assert feed.store.resident_pages < n_pages
        bricks = feed.store.curve.bricks_from_pages(n_pages, feed.store.order)[0]
        for eye in ((0.0, 0.0, 0.0), (256.0, 256.0, 256.0), (256.0, 0.0, 128.0)):
            feed.store.focus(eye)
            near = int(np.argmin(np.linalg.norm((bricks + 0.5) * 16 - np.array(eye), axis=1)))
            while len(feed.store.pages_wanted(1)):
                feed.pump(0.05)
                assert monotonic() < deadline
            np.testing.assert_array_equal(feed.store.read_page(near), content[near])
        assert feed.pump(0.05) == 0, "what is near and unchanged is not sent again"
    ram.close()
