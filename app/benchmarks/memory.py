"""`bench memory`: how fast RAM is copied and searched for changes, and how late a change is seen.

The RAM file holds random bytes: no hole, no zero page, the hardest case; a real guest's RAM is partly holes and faster.
What is compared runs in turns in the same loop, since the speed of memory changes with what else the machine does.
"""

import itertools
import os
import statistics
from time import monotonic, perf_counter, sleep, thread_time

import numpy as np
import numpy.typing as npt

from app.benchmarks.pixel_latency import changed_pixel_latency
from app.benchmarks.ram_sizes import MIB, random_ram, sizes_that_fit
from app.benchmarks.report import Report, Result, at_least, at_most
from app.benchmarks.turns import in_turns, percentile
from bridge.memory import scan
from bridge.memory.dirty import DirtyTracker
from bridge.memory.ram import GuestRam
from bridge.memory.shadow import create_shadow

# RAM, its shadow, a copy of it, and the copies that are compared.
_COPIES_NEEDED = 4.5

_SCAN_BAR = at_least(0.8)


def run(*, sizes_mib: tuple[int, ...] = (64, 1024), seconds_each: float = 6.0, with_pixels: bool = True) -> Report:
    """Measures. `seconds_each` is how long each comparison goes on."""
    results: list[Result] = []
    notes: list[str] = [
        "RAM is a file of random bytes in memory; figures are medians of turns taken in one loop.",
        "Scan and numpy copy run in one thread and are timed in processor seconds, so that other load does not count.",
    ]
    for size_mib, label in sizes_that_fit(sizes_mib, _COPIES_NEEDED, notes):
        with random_ram(size_mib * MIB) as (ram, guest_pages):
            results += _scan_results(ram, label, seconds_each)
            results += _snapshot_results(ram, label, seconds_each)
            results += _age_results(ram, guest_pages, label, seconds_each)
    if with_pixels:
        latencies_s, adapter = changed_pixel_latency(64 * MIB, seconds_each)
        notes.append(f"A changed pixel is one that was read back from the picture; drawn on {adapter}.")
        results.append(Result("dirty_page_to_changed_pixel_p50", statistics.median(latencies_s) * 1e3, "ms"))
        results.append(Result("dirty_page_to_changed_pixel_p99", percentile(latencies_s, 99) * 1e3, "ms"))
    return Report("memory", tuple(results), notes=tuple(notes))


def _scan_results(ram: GuestRam, label: str, seconds: float) -> list[Result]:
    words, shadow = ram.bytes.view(np.uint64), create_shadow(ram)
    target = np.zeros_like(ram.bytes)
    state = np.zeros(scan.N_STATE, np.int64)
    cycles = itertools.count()
    nothing_hot = np.zeros(0, np.uint32)
    fd = ram.duplicate_fd()

    def sweep() -> None:
        state[:] = 0
        scan.sweep(fd, words, shadow, nothing_hot, state, ram.n_pages, next(cycles), 0.0)

    swept, copied, copied_to_new = in_turns(
        thread_time, seconds, sweep, lambda: np.copyto(target, ram.bytes), ram.bytes.copy
    )
    os.close(fd)
    assert state[scan.CHECKED] == ram.n_pages
    assert state[scan.CHANGED] == 0
    sweep_s, copy_s, new_copy_s = map(statistics.median, (swept, copied, copied_to_new))
    return [
        Result(f"scan_{label}", ram.size_bytes / sweep_s / 1e6, "MB/s"),
        Result(f"numpy_copy_{label}", ram.size_bytes / copy_s / 1e6, "MB/s"),
        Result(f"scan_{label}_to_numpy_copy", copy_s / sweep_s, "ratio", _SCAN_BAR),
        Result(f"scan_{label}_to_numpy_copy_into_new_memory", new_copy_s / sweep_s, "ratio"),
    ]


def _snapshot_results(ram: GuestRam, label: str, seconds: float) -> list[Result]:
    how: list[bool] = []
    taken, copied = in_turns(perf_counter, seconds, lambda: how.append(ram.snapshot().consistent), ram.bytes.copy)
    assert all(how)
    return [
        Result(f"snapshot_{label}", ram.size_bytes / statistics.median(taken) / 1e6, "MB/s"),
        Result(f"snapshot_{label}_p50", statistics.median(taken) * 1e3, "ms"),
        Result(f"snapshot_{label}_p99", percentile(taken, 99) * 1e3, "ms"),
        Result(
            f"snapshot_{label}_to_numpy_copy_into_new_memory",
            statistics.median(copied) / statistics.median(taken),
            "ratio",
        ),
    ]


def _age_results(ram: GuestRam, guest_pages: npt.NDArray[np.uint8], label: str, seconds: float) -> list[Result]:
    """A busy guest writes pages at random; how long after is each found, and what was promised?"""
    tracker = DirtyTracker(ram)
    tracker.start()
    try:
        while tracker.stats.sweeps < 2 or len(tracker.take(1024).pages):
            sleep(0.01)
        rng = np.random.default_rng(1)
        late_s: list[float] = []
        stated_s: list[float] = []
        end = monotonic() + seconds
        while monotonic() < end or not late_s:
            # Enough to keep the scanner at full speed; one of them is waited for.
            pages = rng.choice(ram.n_pages, min(400, ram.n_pages), replace=False)
            guest_pages[pages, 0] += 1
            written_s, found = monotonic(), False
            stated_s.append(tracker.stats.worst_age_s)
            while not found:
                sleep(0.001)
                found = bool((tracker.take(4096).pages == pages[0]).any())
            late_s.append(monotonic() - written_s)
        stats = tracker.stats
        later = sum(late > stated for late, stated in zip(late_s, stated_s, strict=True))
    finally:
        tracker.stop()
    return [
        Result(f"change_{label}_found_p50", statistics.median(late_s) * 1e3, "ms"),
        Result(f"change_{label}_found_p99", percentile(late_s, 99) * 1e3, "ms"),
        Result(f"worst_age_{label}_stated", statistics.median(stated_s) * 1e3, "ms"),
        Result(f"worst_age_{label}_measured", stats.measured_age_s * 1e3, "ms"),
        Result(f"change_{label}_found_later_than_stated", 100 * later / len(late_s), "%", at_most(1)),
        Result(f"scanner_{label}_core_share", stats.core_share * 100, "% of a core"),
    ]
