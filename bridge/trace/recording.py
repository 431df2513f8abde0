"""Recording: a machine's records, from the rings of all its vCPUs into a file, while the guest runs.

One thread takes records out of the rings, turned into columns; another packs and writes what the first has filled.
Between them a fixed number of column sets goes round, so that memory is bounded: when all of them are full the rings
fill, and then the guest waits, or records are dropped, as was wished.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import psutil
from numpy.typing import NDArray

from bridge.machine.errors import MachineError
from bridge.trace.errors import TraceError
from bridge.trace.layout import layout
from bridge.trace.modes import Policy, Recorded, Wish
from bridge.trace.opcodes import Opcodes
from bridge.trace.record_columns import KINDS, REGISTER_NAMES, Clock, Columns, new_state, tally, torn
from bridge.trace.recording_file import FORMAT, RecordsFile, blocks_path, write_blocks
from bridge.trace.session import Counts, TraceSession

_ROWS = 1 << 19
_ROWS_WITH_REGISTERS = 1 << 16  # 200 bytes each
_SETS = 3
_PIECE = 1 << 15  # records that are taken out of one ring before the next one has its turn
_LONGEST_GROUP_S = 1.0
_NAP_S = 0.0003
_BEAT_S = 0.1
_LEAST_ROOM = 1 << 10
_LAGS = 1 << 16
_CLOCK_LIMIT_S = 2.0
_DRAIN_LIMIT_S = 10.0


class Namer(Protocol):
    """Who knows what lies at an address."""

    def place(self, physical: int | None, address: int) -> tuple[str, str]:
        """The symbol (and how far behind it) at a block, and the process that has it; empty where not known."""


@dataclass(frozen=True, slots=True)
class Lost:
    """Records that are missing."""

    dropped: tuple[int, ...]
    """By vCPU: there was no room for them in the ring."""
    overwritten: tuple[int, ...]
    """By vCPU: newer ones took their place before they were read."""
    torn: int
    """Registers of which a part was lost."""
    unwritten: int
    """Taken, but the file had no room."""

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.dropped) + sum(self.overwritten) + self.torn + self.unwritten


@dataclass(frozen=True, slots=True)
class Summary:
    """What was recorded."""

    path: Path
    blocks_path: Path
    seconds: float
    by_kind: Mapping[str, int]
    groups: int
    file_bytes: int
    blocks: int
    lost: Lost
    waited_s: tuple[float, ...]
    """By vCPU: how long the guest was held back."""
    lag_s: float | None
    """How long after it came a record was taken, at the median; None without records."""
    failure: str
    """Why it ended early; empty if it did not."""

    @property
    def rows(self) -> int:
        """Of all kinds."""
        return sum(self.by_kind.values())


def median_by_weight(values: NDArray[Any], weights: NDArray[Any]) -> float:
    """The median of values (n,) that stand for so many each: a late look takes many records, and counts for all."""
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(reached, reached[-1] / 2)])


def clock_of(session: TraceSession) -> tuple[Clock, int]:
    """The clock of a recording that begins now, and CLOCK_MONOTONIC now, in ns.

    Raises TraceError where the plugin does not know the counter's rate.
    """
    plugin = session.memory.plugin
    deadline = time.monotonic() + _CLOCK_LIMIT_S
    while not (hz := int(plugin["tsc_hz"])):
        if time.monotonic() > deadline or session.ended:
            raise TraceError("The plugin has not told how fast the processor's clock is.")
        time.sleep(0.01)
    now = time.monotonic_ns()
    return Clock(int(plugin["tsc"]) + (now - int(plugin["ns_at_tsc"])) * hz // 1_000_000_000, 1e9 / hz), now


class Recorder:
    """Records into a file, from `start` until `end`; `finish` makes the files whole. Of one thread."""

    def __init__(self, session: TraceSession, path: Path, wish: Wish) -> None:
        """Raises TraceError where the file cannot be made."""
        self._session, self._wish, self.path = session, wish, path
        registers = Recorded.REGISTERS in wish.records
        self._file = RecordsFile(path, registers=registers)
        self._opcodes = Opcodes(session.memory.blocks, session.code_of)
        self._clock, self._clock_ns = Clock(0, 1.0), 0
        self._empty: queue.SimpleQueue[Columns] = queue.SimpleQueue()
        self._full: queue.SimpleQueue[Columns | None] = queue.SimpleQueue()
        for _ in range(_SETS):
            columns = Columns.of(_ROWS_WITH_REGISTERS if registers else _ROWS, registers=registers)
            # What is compiled is compiled now, not while the guest waits.
            columns.take(session.memory.rings[0, :0], self._clock, new_state())
            self._opcodes.of(columns)
            self._empty.put(columns)
        self._readers = session.rings()
        self._states = [new_state() for _ in self._readers]
        self._overwritten = [0] * len(self._readers)
        self._seen = np.zeros(len(session.memory.blocks), bool)  # in records
        self._entered = np.zeros(len(session.memory.blocks), np.int64)
        tally(columns.kind[:0], columns.block[:0], self._seen, self._entered)
        self._lags_ns, self._lag_records = np.zeros(_LAGS, np.int64), np.zeros(_LAGS, np.int64)
        self._n_lags = self._unwritten = 0
        self.records = 0
        """Taken so far."""
        self.failure: Exception | None = None
        """Why the file takes no more, as soon as that is so; the guest runs on."""
        self._stopping = threading.Event()
        self._seconds = 0.0
        self._drain = threading.Thread(target=self._take_all, name="glassbox-trace-drain", daemon=True)
        self._write = threading.Thread(target=self._write_all, name="glassbox-trace-write", daemon=True)

    @property
    def file_bytes(self) -> int:
        """Written so far."""
        return self._file.size

    @property
    def goes_on(self) -> bool:
        """Whether there is more to come: the machine is there, and the file takes it."""
        return self.failure is None and not self._session.ended and psutil.pid_exists(int(self._plugin["pid"]))

    @property
    def _plugin(self) -> NDArray[Any]:
        return self._session.memory.plugin

    def start(self) -> bool:
        """Begin. Returns False where the machine is paused: records come when it runs.

        Raises TraceError, MachineError; then there is no file.
        """
        try:
            self._before = self._session.counts()
            for reader in self._readers:
                while waiting := reader.waiting():  # for one who was here before
                    reader.done(waiting)
            self._dropped = [reader.dropped for reader in self._readers]
            self._waited = [reader.waited_s for reader in self._readers]
            self._clock, self._clock_ns = clock_of(self._session)
            self._began = time.monotonic()
            self._drain.start()
            self._write.start()
            return not self._session.set(self._wish).pending
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End it; without `finish` before it, it leaves no file behind."""
        self._end_threads()
        self._file.discard()

    def end(self) -> None:
        """Nothing more is recorded: the mode is off, and what the rings still held is written."""
        self._seconds = time.monotonic() - self._began
        try:
            self._session.set(Wish())
            self._after = self._session.counts()
        except (TraceError, MachineError) as error:  # it is gone; what it told is still there
            gone = TraceError("The machine has ended.")
            self.failure = self.failure or (error if psutil.pid_exists(int(self._plugin["pid"])) else gone)
            self._after = self._last_counts()
        self._end_threads()
        if self.failure is not None and not isinstance(self.failure, TraceError | MachineError | OSError):
            raise self.failure

    def finish(self, namer: Namer | None = None, facts: Mapping[str, Any] | None = None) -> Summary:
        """After `end`: write the blocks, and what is to be known of all. `facts` go into the metadata.

        Raises TraceError where the files cannot be ended; otherwise what went wrong is in the summary.
        """
        lost = self._lost()
        metadata = self._metadata(self._seconds, lost) | dict(facts or {})
        try:
            self._file.close(metadata)
            n_blocks = self._write_blocks(self._after, namer, metadata)
        finally:
            self._file.discard()
        return Summary(
            path=self.path,
            blocks_path=blocks_path(self.path),
            seconds=self._seconds,
            by_kind={kind: int(n) for kind, n in zip(KINDS, self._file.by_kind, strict=True)},
            groups=self._file.groups,
            file_bytes=self._file.size,
            blocks=n_blocks,
            lost=lost,
            waited_s=tuple(reader.waited_s - was for reader, was in zip(self._readers, self._waited, strict=True)),
            lag_s=median_by_weight(self._lags_ns[: self._n_lags], self._lag_records[: self._n_lags]) / 1e9
            if self._n_lags
            else None,
            failure="" if self.failure is None else str(self.failure),
        )

    def _end_threads(self) -> None:
        self._stopping.set()
        if self._drain.ident is not None:
            self._drain.join()
        self._full.put(None)
        if self._write.ident is not None:
            self._write.join()

    def _take_all(self) -> None:
        try:
            self._drained()
        except Exception as error:  # noqa: BLE001 - told in `end`
            self.failure = self.failure or error

    def _drained(self) -> None:
        columns, since, deadline = self._room(), time.monotonic(), 0.0
        while True:
            stopping = self._stopping.is_set()  # before the last look into the rings
            now = time.monotonic()
            deadline = deadline or (now + _DRAIN_LIMIT_S if stopping else 0.0)
            taken = 0
            for number in range(len(self._readers)):
                if columns.room < 2 * _LEAST_ROOM:
                    self._full.put(columns)
                    columns, since = self._room(), now
                taken += self._take(number, columns)
            if columns.count and now - since > _LONGEST_GROUP_S:
                self._full.put(columns)
                columns, since = self._room(), now
            if not columns.count:
                since = now
            self.records += taken
            if stopping and (not taken or now > deadline):
                break
            if not taken:
                time.sleep(_NAP_S)
        self._full.put(columns)

    def _take(self, number: int, columns: Columns) -> int:
        """What one ring holds, or a piece of it. Returns how many."""
        reader, at = self._readers[number], columns.count
        piece = min(_PIECE, columns.room // 2)  # a record may take two rows
        if self._wish.policy is Policy.OVERWRITE:
            got = reader.read(piece)
            taken = columns.take(got.records, self._clock, self._states[number])
        else:
            got = reader.views(piece)
            taken = columns.take(got.records, self._clock, self._states[number])
            reader.done(taken)
        self._overwritten[number] += got.lost
        if columns.count > at:
            lag = time.monotonic_ns() - self._clock_ns - int(columns.ts[(at + columns.count) // 2])
            self._lags_ns[self._n_lags % _LAGS] = lag
            self._lag_records[self._n_lags % _LAGS] = columns.count - at
            self._n_lags += 1
        return taken

    def _room(self) -> Columns:
        while True:
            try:
                columns = self._empty.get(timeout=_BEAT_S)
            except queue.Empty:
                for reader in self._readers:
                    reader.beat()  # a guest that is held waits on: records are not lost to a slow disk
            else:
                columns.count = columns.n_registers = 0
                return columns

    def _write_all(self) -> None:
        refused = False
        while (columns := self._full.get()) is not None:
            rows = self._file.rows
            if not refused:
                try:
                    self._file.write(columns, self._opcodes)
                except Exception as error:  # noqa: BLE001 - told in `end`; the guest runs on
                    self.failure, refused = error, True
            self._unwritten += columns.count - (self._file.rows - rows)
            tally(columns.kind[: columns.count], columns.block[: columns.count], self._seen, self._entered)
            self._empty.put(columns)

    def _last_counts(self) -> Counts:
        memory = self._session.memory
        known = min(int(memory.plugin["blocks"]), len(memory.blocks))
        return Counts(memory.blocks[:known].copy(), memory.counts[:, :known].copy(), int(memory.plugin["published_ns"]))

    def _lost(self) -> Lost:
        return Lost(
            dropped=tuple(reader.dropped - was for reader, was in zip(self._readers, self._dropped, strict=True)),
            overwritten=tuple(self._overwritten),
            torn=sum(torn(state) for state in self._states),
            unwritten=self._unwritten,
        )

    def _metadata(self, seconds: float, lost: Lost) -> dict[str, Any]:
        reader, wish = self._session.memory.reader, self._wish
        page_table = wish.filters.page_table
        return {
            "format": FORMAT,
            "seconds": round(seconds, 6),
            "vcpus": len(self._readers),
            "tsc_hz": round(self._clock.hz),
            "records": sorted(str(one) for one in wish.records),
            "when_full": str(wish.policy),
            "first_virtual": wish.filters.first_virtual,
            "last_virtual": wish.filters.last_virtual,
            "page_table": page_table,
            "one_of": wish.filters.one_of,
            "lost": {
                "dropped": list(lost.dropped),
                "overwritten": list(lost.overwritten),
                "torn": lost.torn,
                "unwritten": lost.unwritten,
            },
            "registers": list(REGISTER_NAMES),
            "pages": self._session.memory.pages,
            "ram": [[int(value) for value in one] for one in reader["ram"][: int(reader["ram_ranges"])].tolist()],
        }

    def _write_blocks(self, after: Counts, namer: Namer | None, metadata: Mapping[str, Any]) -> int:
        """The blocks that were entered meanwhile, or are in records. Returns how many."""
        entered = after.total.astype(np.int64)
        entered[: len(self._before.blocks)] -= self._before.total.astype(np.int64)[: len(entered)]
        # Where QEMU was killed nobody told the counts; the records know of some.
        entered = np.maximum(entered, self._entered[: len(entered)])
        numbers = np.flatnonzero((entered > 0) | self._seen[: len(entered)])
        numbers = numbers[numbers != layout().constants["NO_BLOCK"]]
        blocks = after.blocks[numbers]
        none = layout().constants["NONE"]
        places = [None if p == none else p for p in blocks["physical"].tolist()]
        starts = blocks["virtual_first"].tolist()
        names = [("", "") if namer is None else namer.place(p, s) for p, s in zip(places, starts, strict=True)]
        columns = {
            "block": numbers.astype(np.uint32),
            "pc": blocks["virtual_first"],
            "paddr": places,
            "bytes": [self._session.code_of(block) for block in blocks],
            "instructions": np.minimum(blocks["instructions"], 0xFFFF).astype(np.uint16),
            "entered": entered[numbers].astype(np.uint64),
            "symbol": [_text(symbol) for symbol, _ in names],
            "process": [_text(process) for _, process in names],
        }
        write_blocks(blocks_path(self.path), columns, metadata)
        return len(numbers)


def _text(name: str) -> str:
    """A guest's name as Parquet takes it: it may be any bytes."""
    return name.encode("utf-8", "replace").decode()
