"""`bench introspect`: what it costs to know what lives where in a guest, against drgn and Volatility.

Measured on the demo guest at work, as it comes and with 400 more processes, while it runs: nothing is paused. Each
figure is of the whole way from RAM to arrays, as the window takes it twice a second.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Collection
from pathlib import Path
from time import perf_counter, thread_time

import psutil

from app.benchmarks.introspect_guest import start_processes, working_guest
from app.benchmarks.introspect_overlay import frozen_results, overlay_results
from app.benchmarks.introspect_peers import peer_results
from app.benchmarks.introspect_window import window_results
from app.benchmarks.report import Report, Result, at_least, at_most
from app.benchmarks.turns import in_turns, percentile
from app.failures import CommandFailed
from app.output import format_bytes
from bridge.kernel.kernel import find_kernel
from bridge.kernel.snapshot import Introspector
from bridge.kernel.symbol_cache import SymbolCache
from bridge.kernel.watcher import PERIOD_S
from bridge.machine.machine import Machine
from bridge.memory.physical import PhysicalReader
from bridge.memory.ram import GuestRam

MIB = 1 << 20
N_TASKS = 400
PARTS = ("symbols", "looks", "overlay", "frozen", "peers", "window")
"""What can be measured alone."""

_TASKS_BAR = at_most(5.0)
_COLD_BAR = at_most(2.0)
_CACHED_BAR = at_most(0.3)
_LOOK_BARS = {128: at_most(20.0), 1024: at_most(150.0)}
_DEFINITE_BARS = {128: at_least(97.0), 1024: at_least(99.0)}
_SYMBOLS_S = 3.0


def run(
    *,
    sizes_mib: tuple[int, ...] = (128, 1024),
    n_tasks: int = N_TASKS,
    seconds_each: float = 10.0,
    parts: Collection[str] = PARTS,
) -> Report:
    """Measures some of PARTS. `seconds_each` is how long each comparison goes on.

    Raises MachineError, CommandFailed.
    """
    results: list[Result] = []
    notes = [
        f"A guest at work, as it comes and with {n_tasks} more processes, read while it runs. Times are wall-clock "
        "medians of whole reads in one thread; the guest's own processor is on the same machine. Those called "
        "processor are in processor seconds, so that what else the machine does counts for less.",
        f"The overlay is what {1 / PERIOD_S:g} looks a second cost in processor time, in their own process and in that "
        "of the window, where they are taken in and turned into colours.",
        "Frozen is how long the machine is held for a look at one instant, from before it is stopped until after.",
    ]
    for size_mib in sizes_mib if set(parts) - {"window"} else ():
        available = psutil.virtual_memory().available
        if available < 2 * size_mib * MIB:
            notes.append(f"{size_mib} MiB left out: only {format_bytes(available)} of memory are free.")
            continue
        label = f"{size_mib // 1024}gib" if size_mib % 1024 == 0 else f"{size_mib}mib"
        with working_guest(size_mib * MIB) as machine:
            if "symbols" in parts:
                assert machine.ram is not None
                results += _symbol_results(machine.ram, label)
            results += _guest_results(machine, label, size_mib, seconds_each, parts)
            start_processes(machine, n_tasks)
            many = f"{label}_{n_tasks}_tasks"
            results += _guest_results(machine, many, size_mib, seconds_each, parts)
            if "peers" in parts and size_mib == min(sizes_mib):
                found, said = peer_results(machine, many, seconds_each, _process_list(results, many))
                results += found
                notes += said
    if "window" in parts:
        found, said = window_results(2 * seconds_each)
        results += found
        notes += said
    return Report("introspect", tuple(results), notes=tuple(dict.fromkeys(notes)))


def _guest_results(machine: Machine, label: str, size_mib: int, seconds: float, parts: Collection[str]) -> list[Result]:
    """What is measured of a guest as it is now."""
    assert machine.ram is not None
    results: list[Result] = []
    if {"looks", "peers"} & set(parts):  # the peers are held against a look
        results += _look_results(machine.ram, label, size_mib, seconds)
    if "overlay" in parts:
        results += overlay_results(machine.ram, label, seconds)
    if "frozen" in parts:
        results += frozen_results(machine, label, seconds)
    return results


def _process_list(results: list[Result], label: str) -> Result:
    return next(result for result in results if result.name == f"process_list_{label}_p50")


def _symbol_results(ram: GuestRam, label: str) -> list[Result]:
    """From nothing to a kernel whose symbols and types are known and whose structures are laid out: decoded anew, and
    with what was decoded before in a cache.
    """
    with tempfile.TemporaryDirectory() as directory:
        cache = SymbolCache(Path(directory) / "symbols")

        def cold() -> None:
            Introspector(find_kernel(PhysicalReader(ram)))

        def cached() -> None:
            Introspector(find_kernel(PhysicalReader(ram), cache=cache))

        cached()
        if not cache.usage().n_entries:
            raise CommandFailed("the guest's kernel could not be kept in the symbol cache")
        cold_s, cached_s = in_turns(perf_counter, _SYMBOLS_S, cold, cached)
    return [
        Result(f"symbols_{label}_cold", statistics.median(cold_s), "s", _COLD_BAR),
        Result(f"symbols_{label}_cached", statistics.median(cached_s), "s", _CACHED_BAR),
    ]


def _look_results(ram: GuestRam, label: str, size_mib: int, seconds: float) -> list[Result]:
    introspector = Introspector(find_kernel(PhysicalReader(ram)))
    introspector.remember()
    counts = []

    def list_processes() -> None:
        counts.append(len(introspector.tasks.processes()))

    started = perf_counter()
    introspector.look()
    first_s = perf_counter() - started
    listed, looked = in_turns(perf_counter, seconds / 2, list_processes, introspector.look)
    listed_cpu, looked_cpu = in_turns(thread_time, seconds / 2, list_processes, introspector.look)
    definite = introspector.look().page_map.definite
    return [
        Result(f"processes_{label}", float(statistics.median(counts)), "processes"),
        Result(f"process_list_{label}_p50", statistics.median(listed) * 1e3, "ms", _TASKS_BAR),
        Result(f"process_list_{label}_p99", percentile(listed, 99) * 1e3, "ms"),
        Result(f"process_list_{label}_processor_p50", statistics.median(listed_cpu) * 1e3, "ms"),
        Result(f"page_map_{label}_p50", statistics.median(looked) * 1e3, "ms", _LOOK_BARS.get(size_mib)),
        Result(f"page_map_{label}_p99", percentile(looked, 99) * 1e3, "ms"),
        Result(f"page_map_{label}_processor_p50", statistics.median(looked_cpu) * 1e3, "ms"),
        Result(f"page_map_{label}_first", first_s * 1e3, "ms"),
        Result(f"page_map_{label}_definite", definite * 100, "% of pages", _DEFINITE_BARS.get(size_mib)),
    ]
