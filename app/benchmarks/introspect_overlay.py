"""What the live overlay costs: a process that looks twice a second, and what its looks cost who shows them.

Processor time is counted, of both processes. A second figure is how long a machine is held for a frozen look.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, process_time, sleep

import psutil

from app.benchmarks.introspect_window import workers_of
from app.benchmarks.report import Result, at_most
from app.benchmarks.turns import percentile
from app.failures import CommandFailed
from app.kernel_channels import ShownChannels
from bridge.kernel.frozen import CouldNotFreeze, look_frozen
from bridge.kernel.watcher import PERIOD_S, KernelWatcher
from bridge.machine.machine import Machine
from bridge.memory.ram import GuestRam

_OVERLAY_BAR = at_most(3.0)
_HELD_BAR = at_most(10.0)
_FIRST_LOOK_LIMIT_S = 120.0
_POLL_S = 0.1
_LEAST_LOOKS, _LEAST_HOLDS = 2, 5


def overlay_results(ram: GuestRam, label: str, seconds: float) -> list[Result]:
    """The window's own way: a process that looks twice a second, and what its looks cost to take in and to colour by.

    Raises CommandFailed where no kernel is seen.
    """
    shown = ShownChannels()
    with _watching(ram) as watcher:
        (worker,) = workers_of(os.getpid())
        n_shown = _show(watcher, shown, 0)  # colours are found once
        began_s, n_before = monotonic(), watcher.n_seen
        worker_before_s, own_before_s = _cpu_s(worker), process_time()
        while monotonic() < began_s + seconds or (
            watcher.n_seen - n_before < _LEAST_LOOKS and monotonic() < began_s + _FIRST_LOOK_LIMIT_S
        ):
            n_shown = _show(watcher, shown, n_shown)
            sleep(_POLL_S)
        took_s = monotonic() - began_s
        worker_s, own_s = _cpu_s(worker) - worker_before_s, process_time() - own_before_s
        looks = watcher.n_seen - n_before
    bar = _OVERLAY_BAR if label.startswith("128mib") else None
    return [
        Result(f"overlay_{label}_looks", looks / took_s, "looks/s"),
        Result(f"overlay_{label}_worker_core_percent", 100 * worker_s / took_s, "% of a core"),
        Result(f"overlay_{label}_shown_core_percent", 100 * own_s / took_s, "% of a core"),
        Result(f"overlay_{label}_core_percent", 100 * (worker_s + own_s) / took_s, "% of a core", bar),
    ]


def frozen_results(machine: Machine, label: str, seconds: float) -> list[Result]:
    """How long the machine is held for each of as many frozen looks as the window takes in that time.

    Raises CommandFailed where no kernel is seen.
    """
    held_s: list[float] = []
    n_failed = 0
    assert machine.ram is not None
    with _watching(machine.ram) as watcher:
        for _ in range(max(round(seconds / PERIOD_S), _LEAST_HOLDS)):
            try:
                held_s.append(look_frozen(watcher, machine.briefly_held).held_s)
            except CouldNotFreeze:
                n_failed += 1
            sleep(PERIOD_S)
    bar = _HELD_BAR if label.startswith("128mib") else None
    failed = Result(f"frozen_{label}_failed", n_failed, "looks")
    if not held_s:
        why = "no look came about"
        return [*(Result(f"frozen_{label}_held_{name}", None, "ms", bar, why) for name in ("p50", "p90")), failed]
    return [
        Result(f"frozen_{label}_held_p50", statistics.median(held_s) * 1e3, "ms", bar),
        Result(f"frozen_{label}_held_p90", percentile(held_s, 90) * 1e3, "ms", bar),
        failed,
    ]


@contextmanager
def _watching(ram: GuestRam) -> Iterator[KernelWatcher]:
    """A watcher that has seen a kernel, and seen it again: what follows is the steady state, compiled code is loaded.

    Its limit on its share of a core is lifted, so that it cannot meet the bar by looking less often.
    """
    watcher = KernelWatcher(ram.path, ram.physical_map, period_s=PERIOD_S, core_share=1.0)
    try:
        deadline_s, first = monotonic() + _FIRST_LOOK_LIMIT_S, 0
        while not first or watcher.n_seen <= first:
            if monotonic() >= deadline_s:
                raise CommandFailed(f"no kernel was seen in the guest after {_FIRST_LOOK_LIMIT_S:.0f} s")
            if (seen := watcher.latest()) is not None and not seen.problem:
                first = first or watcher.n_seen
            sleep(_POLL_S / 2)
        yield watcher
    finally:
        watcher.close()


def _show(watcher: KernelWatcher, shown: ShownChannels, n_shown: int) -> int:
    """Turn the latest look into colours, if it is another than the one that was shown; which one is shown now."""
    if watcher.n_seen == n_shown or (seen := watcher.latest()) is None or seen.problem:
        return n_shown
    n_seen = watcher.n_seen
    shown.classes(seen)
    shown.processes(seen)
    return n_seen


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
