"""Snapshots: equal to RAM, and honest about whether all bytes are of one instant."""

import gc
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest

from bridge.memory.errors import MapFailed
from bridge.memory.physical_map import PAGE_BYTES, query_physical_map
from bridge.memory.ram import GuestRam
from bridge.memory.snapshot import Consistency
from tests.bridge.memory.qemu import qemu
from tests.bridge.memory.ram_file import RamFile, ram_file


class BusyRam(GuestRam):
    """RAM whose guest acts between the passes of a snapshot: each pass begins by asking where the data is."""

    acts: Iterator[Callable[[], None]]

    def allocated_extents(self) -> list[tuple[int, int]]:
        next(self.acts)()
        return super().allocated_extents()


def nothing() -> None:
    """The guest rests."""


@contextmanager
def busy(file: RamFile, *acts: Callable[[], None]) -> Iterator[BusyRam]:
    with BusyRam.open(file.path) as ram:
        assert isinstance(ram, BusyRam)
        ram.acts = itertools.chain(acts[:-1], itertools.repeat(acts[-1]))
        yield ram


@pytest.mark.parametrize("n_pages", [1, 100, 6000])
def test_a_still_guest_is_copied_exactly(n_pages: int) -> None:
    rng = np.random.default_rng(n_pages)
    with ram_file(n_pages) as file, GuestRam.open(file.path) as ram:
        for page in rng.integers(0, n_pages, n_pages // 3 + 1):
            file.pages[page] = rng.integers(0, 256, PAGE_BYTES)
        file.pages[n_pages // 2 :] = rng.integers(0, 256, (n_pages - n_pages // 2, PAGE_BYTES))
        allocated = file.allocated_bytes
        snapshot = ram.snapshot()
        assert np.array_equal(snapshot.data.reshape(-1, PAGE_BYTES), file.content())
        assert (snapshot.how, snapshot.consistent, snapshot.passes) == (Consistency.STILL, True, 1)
        assert snapshot.changed_pages.tolist() == []
        assert snapshot.copied_bytes == file.allocated_bytes == allocated
        assert snapshot.paused_s == 0
        assert snapshot.bytes_per_s == pytest.approx(n_pages * PAGE_BYTES / snapshot.duration_s)
        with pytest.raises(ValueError, match="read-only"):
            snapshot.data[0] = 1
        # A copy, and one that outlives its source.
        before = snapshot.data.copy()
        file.pages[0] ^= 255
        assert np.array_equal(snapshot.data, before)
    gc.collect()
    assert np.array_equal(snapshot.data, before)


def test_holes_stay_holes() -> None:
    with ram_file(1 << 18) as file, GuestRam.open(file.path) as ram:  # 1 GiB
        file.pages[70_000] = 3
        snapshot = ram.snapshot()
        assert file.allocated_bytes == snapshot.copied_bytes == PAGE_BYTES
        assert snapshot.data[70_000 * PAGE_BYTES] == 3


def test_what_changed_meanwhile_is_copied_anew() -> None:
    with ram_file(500) as file:
        file.pages[:400] = 1

        def write() -> None:
            file.pages[[5, 450], 9] += 1

        def give_back() -> None:
            file.punch_hole(100, 50)

        # The first act comes before the copy, the second before the first comparison.
        with busy(file, nothing, write, give_back, nothing) as ram:
            snapshot = ram.snapshot()
        assert snapshot.how is Consistency.RETRIED
        assert snapshot.consistent
        assert snapshot.passes == 3, "writing, giving back, nothing"
        assert snapshot.changed_pages.tolist() == [5, *range(100, 150), 450]
        assert np.array_equal(snapshot.data.reshape(-1, PAGE_BYTES), file.content())


def test_a_guest_that_never_rests_gives_a_torn_copy_that_says_so() -> None:
    with ram_file(50) as file:
        file.pages[:] = 1

        def write() -> None:
            file.pages[7, 0] += 1

        with busy(file, write) as ram:
            snapshot = ram.snapshot(retries=2)
            assert (snapshot.how, snapshot.consistent, snapshot.passes) == (Consistency.TORN, False, 3)
            assert snapshot.changed_pages.tolist() == [7]
            assert ram.snapshot(retries=0).passes == 1


def test_a_pause_makes_any_copy_consistent() -> None:
    with ram_file(50) as file:
        file.pages[:] = 1
        running = True
        pauses = 0

        def write() -> None:
            if running:
                file.pages[:20, 0] += 1

        @contextmanager
        def pause() -> Iterator[None]:
            nonlocal running, pauses
            running = False
            pauses += 1
            yield

        with busy(file, write) as ram:
            snapshot = ram.snapshot(pause=pause())
        assert (snapshot.how, snapshot.consistent, snapshot.passes, pauses) == (Consistency.PAUSED, True, 1, 1)
        assert np.array_equal(snapshot.data.reshape(-1, PAGE_BYTES), file.content())
        assert 0 < snapshot.paused_s < snapshot.duration_s


def test_a_pause_that_fails_is_not_hidden() -> None:
    @contextmanager
    def pause() -> Iterator[None]:
        if file.fd >= 0:
            raise ConnectionError("QEMU is gone")
        yield

    with ram_file(5) as file, GuestRam.open(file.path) as ram, pytest.raises(ConnectionError, match="is gone"):
        ram.snapshot(pause=pause())


def test_a_shrunken_file_is_refused() -> None:
    with ram_file(5) as file, GuestRam.open(file.path) as ram:
        file.pages[:] = 1
        os.ftruncate(file.fd, PAGE_BYTES)
        with pytest.raises(MapFailed, match="shrank"):
            ram.snapshot()


def test_a_paused_snapshot_of_a_running_qemu_is_what_qemu_saves() -> None:
    path = Path("/dev/shm") / f"glassbox-test-{uuid4().hex}.ram"
    with qemu(path, "96M", "pc") as guest:

        @contextmanager
        def pause() -> Iterator[None]:
            guest.qmp("stop")
            yield

        physical_map = query_physical_map(guest.qmp, "ram")
        with GuestRam.open(path, physical_map) as ram:
            guest.qmp("cont")
            snapshot = ram.snapshot(pause=pause())
            ram.physical_map = query_physical_map(guest.qmp, "ram")
            for region in ram.physical_map.regions:
                expected = np.frombuffer(guest.physical_bytes(region.paddr, region.size_bytes), np.uint8)
                assert np.array_equal(snapshot.data[region.offset : region.offset_end], expected)
