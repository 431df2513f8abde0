"""`bench trace`: what it costs to watch a guest execute, in each mode, and how fast its records are read and written.

Costs are ratios of QEMU's processor time for the same work: with the plugin in a mode, to a machine without it. The two
machines work in turns in one run, and the least of each counts, so that what else the machine does counts for little.
"""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
import tempfile
import threading
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.benchmarks.report import Report, Result, at_least, at_most
from app.benchmarks.trace_analysis import analysis_seconds
from app.benchmarks.trace_guest import WorkingGuest, watched, working_guest
from app.failures import CommandFailed
from bridge.machine.catalogue import find_guest
from bridge.machine.manager import MachineManager
from bridge.memory.native import compiled
from bridge.trace.errors import TraceError
from bridge.trace.modes import Mode, Policy, Wish
from bridge.trace.opcodes import Opcodes
from bridge.trace.record_columns import Clock, Columns, new_state
from bridge.trace.recording import Recorder, clock_of, median_by_weight
from bridge.trace.recording_file import RecordsFile
from bridge.trace.ring import RingReader
from bridge.trace.session import TraceSession
from bridge.trace.shared_memory import Sizes, TraceMemory

PARTS = ("modes", "boot", "switches", "read", "write", "analysis", "billion")
"""What can be measured alone. A billion records take some minutes: only where they are asked for."""
_USUAL = PARTS[:-1]
_BARS = {Mode.OFF: at_most(1.03), Mode.COUNTERS: at_most(1.08), Mode.HEAT: at_most(1.6)}
_SWITCH_BAR = at_most(20.0)
_READ_BAR, _WRITE_BAR, _LAG_BAR = at_least(20.0), at_least(5.0), at_most(1.0)
_ANALYSED, _ANALYSIS_BAR = 10_000_000, at_most(5.0)
_ROUNDS, _TRACED_ROUNDS = 1_000_000, 50_000  # short: some of them are in a quiet moment
_CALIBRATION = 100_000
_WARM_UP = 20_000  # in these every branch is taken: QEMU translates afterwards no more
_BOOTED, _BOOTS = "demo", 2
_BOOT_LIMIT_S = 240.0
_BILLION = 1_000_000_000
_WORK_LIMIT_S = 1800.0  # that long a billion takes on a slow machine
_SLICE = 1 << 14
_NAP_S = 0.0002
_CLOCK_HOLDS_NS = 500_000_000  # its rate is known to some millionths: in minutes that is more than a lag


def run(*, parts: Collection[str] = _USUAL, turns: int = 24, seconds_each: float = 5.0) -> Report:
    """Measures some of PARTS. Raises MachineError, CommandFailed."""
    results: list[Result] = []
    notes = [
        "Ratios are of QEMU's processor time for the same work, all threads together, to a machine without the plugin; "
        "machines work in turns, and the least of each counts. In trace each block, load and store is recorded, and "
        "the records are given back unread.",
        "work is a loop of some 40 instructions of 64-bit code that computes, branches, calls, loads and stores: "
        "blocks are short, and every third instruction touches memory. boot is the demo guest's, from power on until "
        "it is up, twice.",
        "guest figures are of one vCPU, or two, that work as fast as they are let (hold), on the same cores as reader "
        "and writer, and by the wall's clock; reader and writer alone are given records without a guest, by their own "
        "processor time, and show what they could take.",
        "analysis is the processor time of one thread for ten million records of 20,000 blocks: edges, loops, hot "
        "paths, clusters and classes.",
    ]
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if set(parts) - {"boot", "analysis"}:
            (directory / "with").mkdir()
            guest = stack.enter_context(working_guest(directory / "with", traceable=True))
            try:
                session = TraceSession(guest.machine)
            except TraceError as error:
                why = str(error)
                return Report("trace", tuple(_nothing(why)), notes=(*notes, why))
            if "modes" in parts:
                (directory / "without").mkdir()
                with working_guest(directory / "without", traceable=False) as bare:
                    results += _mode_results(bare, guest, session, turns)
            if "switches" in parts:
                results += _switch_results(session, turns)
            if "read" in parts:
                results.append(_reader_alone(directory, seconds_each / 2))
                results += _guest_read(guest, session, seconds=seconds_each)
                (directory / "two").mkdir()
                with working_guest(directory / "two", traceable=True, cpus=2) as two:
                    results += _guest_read(two, TraceSession(two.machine), seconds=seconds_each, name="read.two_cpus")
            if "billion" in parts:
                results += _guest_read(guest, session, records=_BILLION, name="read.billion")
            if "write" in parts:
                results.append(_writer_alone(guest, session, directory, seconds_each / 2))
                results += _guest_written(guest, session, directory, seconds_each)
        if "boot" in parts:
            results += _boot_results()
    if "analysis" in parts:
        results.append(Result("analysis", analysis_seconds(_ANALYSED), "s", _ANALYSIS_BAR))
    return Report("trace", tuple(results), notes=tuple(notes))


def _nothing(why: str) -> list[Result]:
    return [Result(f"work.{mode}", None, "x", bar, why) for mode, bar in _BARS.items()]


def _mode_results(bare: WorkingGuest, guest: WorkingGuest, session: TraceSession, turns: int) -> list[Result]:
    session.watch(np.array([guest.machine.info.ram_bytes // 4096 - 1]))  # a page that the work leaves alone
    least: dict[Mode | None, float] = {}
    for _ in range(turns):
        for mode in (None, *Mode):
            rounds = _TRACED_ROUNDS if mode is Mode.TRACE else _ROUNDS
            if mode is None:
                bare.work(_WARM_UP)
                took = bare.work(rounds)
            else:
                with watched(session, mode):
                    guest.work(_WARM_UP)
                    took = guest.work(rounds)
            least[mode] = min(took / rounds, least.get(mode, took / rounds))
    without = least[None]
    return [Result("work.none", without * _ROUNDS * 1e3, "ms")] + [
        Result(f"work.{mode}", least[mode] / without, "x", _BARS.get(mode)) for mode in Mode
    ]


def _boot_results() -> list[Result]:
    guest = dataclasses.replace(find_guest(_BOOTED), keeps_state=False)
    least: dict[Mode | None, float] = {}
    for mode in _BOOTS * (None, Mode.OFF, Mode.COUNTERS, Mode.TIME, Mode.HEAT):
        with MachineManager(traceable=mode is not None) as manager:
            machine = manager.launch(guest, cold=True)
            working = WorkingGuest(machine)
            if mode not in (None, Mode.OFF):
                TraceSession(machine).set(Wish(mode))
            if not machine.wait_ready(_BOOT_LIMIT_S):
                raise CommandFailed(f"the guest was not up after {_BOOT_LIMIT_S:.0f} s")
            took = working.processor_s()
            least[mode] = min(took, least.get(mode, took))
    without = least.pop(None)
    return [Result("boot.none", without, "s")] + [
        Result(f"boot.{mode}", value / without, "x", _BARS.get(mode)) for mode, value in least.items() if mode
    ]


def _switch_results(session: TraceSession, turns: int) -> list[Result]:
    took = [
        session.set(Wish(mode)).took_s * 1e3
        for _ in range(turns)
        for mode in (Mode.COUNTERS, Mode.TIME, Mode.HEAT, Mode.WATCH, Mode.OFF)
    ]
    return [
        Result("switch.median", statistics.median(took), "ms", _SWITCH_BAR),
        Result("switch.max", max(took), "ms", _SWITCH_BAR),
    ]


@compiled(nogil=True)
def _in_order(records: NDArray[Any], first: int) -> int:
    """How many of them are not the ones that should come, from number `first` on."""
    wrong = 0
    for index in range(len(records)):
        wrong += records[index].sequence != np.uint64(first + index)
    return wrong


def _reader_alone(directory: Path, seconds: float) -> Result:
    """Records that are there already, seen in place by numpy, each one's number looked at."""
    memory = TraceMemory.create(
        directory / "read.trace",
        Sizes(pages=1, vcpus=1, blocks=2, code_bytes=1, samples=1, hits=1),
    )
    reader, ring = RingReader(memory, 0), memory.rings[0]
    read = wrong = 0
    _in_order(ring[:0], 0)  # compiled
    took, end = 0.0, time.monotonic() + seconds
    while not read or time.monotonic() < end:
        ring["sequence"] = np.arange(read, read + len(ring))
        memory.plugin["rings"]["head"][0] = read + len(ring)
        began = time.thread_time()
        while len(records := reader.views(_SLICE).records):
            wrong += _in_order(records, read)
            read += len(records)
            reader.done(len(records))
        took += time.thread_time() - began
    if wrong:
        raise CommandFailed(f"{wrong:,} records were not the ones that were written")
    return Result("read.reader_alone", read / took / 1e6, "M records/s")


def _guest_read(
    guest: WorkingGuest, session: TraceSession, *, seconds: float = 0.0, records: int = 0, name: str = "read.guest"
) -> list[Result]:
    """What the guest tells, for so long or until so many, each record's number looked at."""
    readers = session.rings()
    rounds = _CALIBRATION
    for attempt in range(2):  # how many records a round makes is found out first
        clock, clock_ns = clock_of(session)
        first = [reader.position for reader in readers]
        next_one = list(first)
        wrong = 0
        lags: list[float] = []
        counts: list[int] = []
        session.set(Wish(Mode.TRACE, policy=Policy.HOLD))
        began = time.monotonic()
        ran_s: list[float] = []
        working = threading.Thread(
            target=lambda rounds=rounds, ran_s=ran_s: ran_s.append(guest.work(rounds, _WORK_LIMIT_S))
        )
        working.start()
        while True:
            ended = not working.is_alive()
            if time.monotonic_ns() - clock_ns > _CLOCK_HOLDS_NS:
                clock, clock_ns = clock_of(session)
            taken = 0
            for number, reader in enumerate(readers):
                got = reader.views(_SLICE)
                if not (count := len(got.records)):
                    continue
                tick = int(got.records["tsc"][count // 2]) - clock.tsc
                lags.append(time.monotonic_ns() - clock_ns - tick * clock.ns_per_tick)
                counts.append(count)
                wrong += got.lost + _in_order(got.records, next_one[number])
                next_one[number] += count
                reader.done(count)
                taken += count
            if ended and not taken:
                break
            if not taken:
                time.sleep(_NAP_S)
        took = time.monotonic() - began
        session.set(Wish())
        if not ran_s:
            raise CommandFailed("the guest did not end its work in time")
        found = sum(next_one) - sum(first)
        if not attempt:
            rounds = round(rounds * (records or found / took * seconds) / found)
    return [
        Result(name, found / took / 1e6, "M records/s", _READ_BAR),
        Result(f"{name}.made", found / sum(ran_s) / 1e6, "M records a second of QEMU's processor time"),
        Result(f"{name}.records", float(found), "records"),
        Result(f"{name}.lost_or_repeated", float(wrong), "records", at_most(0)),
        Result(f"{name}.lag_median", median_by_weight(np.array(lags), np.array(counts)) / 1e6, "ms", _LAG_BAR),
    ]


def _writer_alone(guest: WorkingGuest, session: TraceSession, directory: Path, seconds: float) -> Result:
    """Records of the guest that are in memory already, turned into columns, packed and written."""
    reader = session.rings()[0]
    session.set(Wish(Mode.TRACE))  # what has no room is dropped
    guest.work(_CALIBRATION)
    session.set(Wish())
    records = reader.read().records
    columns, opcodes = Columns.of(4 * len(records) + 2), Opcodes(session.memory.blocks, session.code_of)
    file = RecordsFile(directory / "alone.parquet", registers=False)
    took: list[float] = []
    end = time.monotonic() + seconds
    try:
        while len(took) < 2 or time.monotonic() < end:
            columns.count, began, state = 0, time.thread_time(), new_state()
            for _ in range(4):
                columns.take(records, Clock(0, 0.5), state)
            file.write(columns, opcodes)
            took.append((time.thread_time() - began) / columns.count)
    finally:
        file.discard()
    return Result("write.writer_alone", 1e-6 / min(took), "M records/s")


def _guest_written(guest: WorkingGuest, session: TraceSession, directory: Path, seconds: float) -> list[Result]:
    """A recording of the guest at work, which waits where the file is slower."""
    recorder = Recorder(session, directory / "x.parquet", Wish(Mode.TRACE, policy=Policy.HOLD))
    rounds = _CALIBRATION
    with watched(session, Mode.TRACE):
        began = time.monotonic()
        guest.work(rounds)
        rounds = round(rounds * seconds / (time.monotonic() - began) / 2)  # it sleeps for 50 ms between two works
    with contextlib.closing(recorder):
        recorder.start()
        began = time.monotonic()
        guest.work(rounds)
        while time.monotonic() - began < seconds / 2 and recorder.goes_on:
            guest.work(rounds)
        recorder.end()
        told = recorder.finish()
    if told.failure:
        raise CommandFailed(told.failure)
    return [
        Result("write.guest", told.rows / told.seconds / 1e6, "M records/s", _WRITE_BAR),
        Result("write.guest.lost", float(told.lost.total), "records", at_most(0)),
        Result("write.guest.bytes", told.file_bytes / told.rows, "bytes a record"),
        Result("write.guest.held", max(told.waited_s) / told.seconds * 100, "% of the time"),
        Result("write.guest.lag_median", None if told.lag_s is None else told.lag_s * 1e3, "ms", _LAG_BAR),
    ]
