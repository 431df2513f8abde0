"""`bench store`: what writing down all that is seen costs, of the guest as it is and with 400 processes more.

The process that looks into the kernel runs as the window runs it, for so long without the store and for so long with
it; the store's thread writes a session of its own.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, perf_counter, sleep

import psutil

from app.benchmarks.introspect_guest import start_processes, working_guest
from app.benchmarks.introspect_window import workers_of
from app.benchmarks.report import Report, Result, at_least
from app.failures import CommandFailed
from bridge.kernel.watcher import KernelWatcher
from bridge.memory.ram import GuestRam
from bridge.semantic.store.examples import EXAMPLES
from bridge.semantic.store.feeder import Feeder, Watched
from bridge.semantic.store.reader import ReadOnly

MIB = 1 << 20
N_TASKS = 400
_READY_S = 120.0
"""For the first censuses: they hold everything, and the symbols."""
_SETTLED = 5
"""Censuses after which only what changed is told."""


def run(*, n_tasks: int = N_TASKS, size_mib: int = 128, seconds_each: float = 20.0) -> Report:
    """Measures. Raises MachineError, CommandFailed."""
    results: list[Result] = []
    with working_guest(size_mib * MIB) as machine:
        assert machine.ram is not None
        results += _measured(machine.ram, f"{size_mib}mib", seconds_each)
        start_processes(machine, n_tasks)
        results += _measured(machine.ram, f"{size_mib}mib_{n_tasks}_tasks", seconds_each)
    notes = (
        f"The demo guest of {size_mib} MiB at work, without and with {n_tasks} more processes; {seconds_each:.0f} s of "
        f"looking alone, then {seconds_each:.0f} s of looking and writing, once the first census is written. Shares "
        "are processor time of the process that looks, and of the thread that writes.",
        "Bytes are those that the thread hands to the file system, journal included.",
    )
    return Report("store", tuple(results), notes=notes)


@dataclass(frozen=True, slots=True)
class _Used:
    """What was used and done up to an instant."""

    at_s: float
    worker_s: float
    writer_s: float
    n_written: int
    bytes_written: int

    def since(self, before: _Used) -> _Used:
        """What came between."""
        return _Used(
            self.at_s - before.at_s,
            self.worker_s - before.worker_s,
            self.writer_s - before.writer_s,
            self.n_written - before.n_written,
            self.bytes_written - before.bytes_written,
        )


def _measured(ram: GuestRam, label: str, seconds: float) -> list[Result]:
    watcher = KernelWatcher(ram.path, ram.physical_map)
    try:
        _until(lambda: watcher.n_seen > _SETTLED and _is_seen(watcher), "the kernel was not looked at")
        worker = workers_of(os.getpid())[0]
        alone = _used_in(seconds, lambda: _used(worker, None))
        with tempfile.TemporaryDirectory(prefix="glassbox-bench-") as folder:
            feeder = Feeder(lambda: {"guest": Watched(watcher, ram.size_bytes, is_dump=False)}, folder=Path(folder))
            feeder.start()
            try:
                _until(lambda: feeder.n_written > _SETTLED, "no census was written")
                with_it = _used_in(seconds, lambda: _used(worker, feeder))
                assert feeder.path is not None
                asked = _asked(feeder.path)
                size = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
            finally:
                feeder.close()
    finally:
        watcher.close()
    share = "% of a core"
    return [
        Result(f"worker_{label}_looking", 100 * alone.worker_s / alone.at_s, share),
        Result(f"worker_{label}_with_store", 100 * with_it.worker_s / with_it.at_s, share),
        Result(f"writer_{label}", 100 * with_it.writer_s / with_it.at_s, share),
        Result(f"censuses_{label}", with_it.n_written / with_it.at_s, "per second", at_least(1.0)),
        Result(f"written_{label}", with_it.bytes_written / with_it.at_s * 60 / MIB, "MiB per minute"),
        Result(f"database_{label}", size / MIB, "MiB"),
        Result(f"examples_{label}_slowest", max(asked) * 1e3, "ms"),
        Result(f"examples_{label}_all_{len(asked)}", sum(asked) * 1e3, "ms"),
    ]


def _is_seen(watcher: KernelWatcher) -> bool:
    seen = watcher.latest()
    return seen is not None and not seen.problem


def _used(worker: psutil.Process, feeder: Feeder | None) -> _Used:
    times = worker.cpu_times()
    written = psutil.Process().io_counters().write_chars
    busy_s, count = (0.0, 0) if feeder is None else (feeder.busy_s, feeder.n_written)
    return _Used(monotonic(), times.user + times.system, busy_s, count, written)


def _used_in(seconds: float, used: Callable[[], _Used]) -> _Used:
    before = used()
    sleep(seconds)
    return used().since(before)


def _asked(path: Path) -> list[float]:
    """Seconds that each of the examples of the guide takes, the best of three."""
    database = ReadOnly(path)
    try:
        return [min(_timed(lambda sql=example.sql: database.query(sql)) for _ in range(3)) for example in EXAMPLES]  # type: ignore[misc]
    finally:
        database.close()


def _timed(run: Callable[[], object]) -> float:
    began = perf_counter()
    run()
    return perf_counter() - began


def _until(done: Callable[[], bool], what: str) -> None:
    deadline = monotonic() + _READY_S
    while not done():
        if monotonic() > deadline:
            raise CommandFailed(f"{what} within {_READY_S:.0f} s")
        sleep(0.05)
