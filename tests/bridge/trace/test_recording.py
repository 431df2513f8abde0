"""A recording holds each record once, with what belongs to it; it ends well whatever happens to the file."""

from __future__ import annotations

import json
import resource
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from bridge.trace.errors import TraceError
from bridge.trace.layout import layout
from bridge.trace.modes import Mode, Policy, Recorded, Wish
from bridge.trace.record_columns import REGISTER_NAMES
from bridge.trace.recording import Recorder, median_by_weight
from bridge.trace.recording_file import METADATA_KEY
from bridge.trace.session import TraceSession
from bridge.trace.shared_memory import Sizes, TraceMemory
from tests.bridge.machine.conftest import wait_until
from tests.bridge.trace.conftest import COUNTER, LOOP_AT, ROUNDS, Counting

RECORDS = 64
CODE = bytes.fromhex("66ff060090" + "6649" + "75f7")  # inc dword [0x9000]; dec ecx; jnz


class FakePlugin:
    """A machine whose plugin is ours: it does at once what it is asked, and writes what a test wants into the rings."""

    name, trace_problem, ram, runs = "synthetic", "", None, True

    def __init__(self, path: Path, vcpus: int) -> None:
        sizes = Sizes(pages=4, vcpus=vcpus, blocks=8, code_bytes=64, samples=1, hits=1, ring_records=RECORDS)
        self.trace = TraceMemory.create(path, sizes)
        plugin = self.trace.plugin
        plugin["vcpus"], plugin["tsc_hz"], plugin["ns_at_tsc"] = vcpus, 1_000_000_000, time.monotonic_ns()
        plugin["pid"] = 1
        self.heads = [0] * vcpus
        block = self.trace.blocks[1]
        block["physical"], block["virtual_first"], block["bytes"], block["instructions"] = 0x1000, 0x1000, len(CODE), 3
        self.trace.code[: len(CODE)] = np.frombuffer(CODE, np.uint8)
        plugin["blocks"] = 2

    def kick(self) -> None:
        self.trace.plugin["done"] = self.trace.reader["request"]

    def tell(self, vcpu: int, kind: str, **fields: int) -> None:
        """A record, once there is room for it."""
        ends = self.trace.plugin["rings"][vcpu]
        wait_until(lambda: self.heads[vcpu] - int(ends["tail"]) < RECORDS)
        self.put(vcpu, kind, **fields)

    def put(self, vcpu: int, kind: str, **fields: int) -> None:
        """A record, over whatever was there."""
        record = np.zeros((), layout()["record"])
        record["sequence"], record["vcpu"] = self.heads[vcpu], vcpu
        record["kind"] = layout().constants[f"RECORD_{kind}"]
        for name, value in fields.items():
            record[name] = value
        self.trace.rings[vcpu, self.heads[vcpu] % RECORDS] = record
        self.heads[vcpu] += 1
        self.trace.plugin["rings"]["head"][vcpu] = self.heads[vcpu]


class FakeSession(TraceSession):
    """Whose counts are published at once."""

    def counts(self) -> Any:
        self.memory.plugin["published"] = (int(self.memory.reader["publish"]) + 1) & 0xFFFFFFFF
        return super().counts()


def wish(*records: Recorded, policy: Policy = Policy.HOLD) -> Wish:
    return Wish(Mode.TRACE, frozenset(records or {Recorded.BLOCKS, Recorded.LOADS, Recorded.STORES}), policy)


def recorded(path: Path, machine: FakePlugin, tell: Any, wanted: Wish | None = None) -> Any:
    recorder = Recorder(FakeSession(machine), path, wanted or wish())
    assert recorder.start()
    tell()
    recorder.end()
    return recorder.finish(None, {"machine": "synthetic"})


@pytest.fixture
def machine(tmp_path: Path) -> FakePlugin:
    return FakePlugin(tmp_path / "one.trace", 2)


def test_rows_say_what_the_records_said(tmp_path: Path, machine: FakePlugin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.trace.recording._LONGEST_GROUP_S", 3600)  # one row group, however slow the machine
    tsc = int(machine.trace.plugin["ns_at_tsc"])  # ticks are nanoseconds here
    machine.trace.plugin["tsc"] = tsc
    none = layout().constants["NONE"]
    value = layout().constants["FLAG_VALUE"]
    began = time.monotonic_ns()

    def tell() -> None:
        now = time.monotonic_ns()
        at = {"block": 1, "pc": 0x1000}
        machine.tell(1, "STORE", tsc=now + 15, **at, virtual_address=7, physical=none, size=4, value=9, flags=value)
        machine.tell(0, "BLOCK", tsc=now + 10, **at, virtual_address=0x5000, physical=0x1000, value=0xFFFF8880)
        machine.tell(0, "INSN", tsc=now + 20, block=1, instruction=1, pc=0x1005, virtual_address=none, physical=0x1005)
        machine.tell(0, "LOAD", tsc=now + 30, block=1, instruction=0, pc=0x1000, virtual_address=8, physical=9, size=2)
        machine.tell(0, "LOAD", tsc=now + 25, block=0, pc=0x1000, virtual_address=8, physical=9, size=2)  # not known
        machine.trace.counts[:, 1] = 5, 6

    summary = recorded(tmp_path / "x.parquet", machine, tell)
    rows = pq.read_table(summary.path).to_pylist()
    assert [(r["vcpu"], r["seq"], r["kind"]) for r in rows] == [
        (0, 0, "block"),
        (1, 0, "store"),
        (0, 1, "insn"),
        (0, 2, "load"),
        (0, 3, "load"),
    ]
    assert [r["ts"] - rows[0]["ts"] for r in rows] == [0, 5, 10, 20, 20]  # a vCPU's time never goes back
    assert 0 <= rows[0]["ts"] <= time.monotonic_ns() - began
    assert [r["bytes"] for r in rows] == [None, CODE[:5], CODE[5:7], CODE[:5], None]
    assert [r["value"] for r in rows] == [0xFFFF8880, 9, None, None, None]
    assert [r["vaddr"] for r in rows] == [None, 7, None, 8, 8]
    assert [r["paddr"] for r in rows] == [0x1000, None, 0x1005, 9, 9]
    assert [(r["size"], r["is_store"]) for r in rows] == [(0, False), (4, True), (0, False), (2, False), (2, False)]
    assert dict(summary.by_kind) == {
        **{"block": 1, "insn": 1, "load": 2, "store": 1},
        **{"registers": 0, "discontinuity": 0},
    }
    (block,) = pq.read_table(summary.blocks_path).to_pylist()
    assert block == {
        **{"block": 1, "pc": 0x1000, "paddr": 0x1000, "bytes": CODE, "instructions": 3, "entered": 11},
        **{"symbol": "", "process": ""},
    }
    told = json.loads(pq.read_metadata(summary.path).metadata[METADATA_KEY])
    assert (told["machine"], told["format"], told["vcpus"], told["tsc_hz"]) == ("synthetic", 1, 2, 1_000_000_000)
    assert told["lost"] == {"dropped": [0, 0], "overwritten": [0, 0], "torn": 0, "unwritten": 0}
    assert summary.lost.total == 0
    assert summary.failure == ""


def test_everything_comes_once_through_a_ring_that_is_much_smaller(tmp_path: Path, machine: FakePlugin) -> None:
    machine.put(0, "LOAD", pc=99)  # of an earlier recording: not of this one

    def tell() -> None:
        for n in range(1000):
            machine.tell(n % 2, "LOAD", tsc=n, pc=n)

    summary = recorded(tmp_path / "x.parquet", machine, tell)
    table = pq.read_table(summary.path)
    for vcpu, first in ((0, 1), (1, 0)):
        of = table.filter(np.asarray(table["vcpu"]) == vcpu)
        assert of["seq"].to_pylist() == list(range(first, first + 500))
        assert of["pc"].to_pylist() == list(range(vcpu, 1000, 2))


def test_registers_are_one_row_of_all(tmp_path: Path, machine: FakePlugin) -> None:
    def tell() -> None:
        for n in range(RECORDS + 10):  # over the end of the ring, which they do not fill by fours
            machine.tell(0, "BLOCK", pc=n, block=1)
            words = [100 * n + register for register in range(18)]
            for part in range(4):
                five = dict(zip(("tsc", "pc", "virtual_address", "physical", "value"), words[5 * part :], strict=False))
                machine.tell(0, "REGISTERS", block=1, instruction=part, **five)
        machine.tell(0, "REGISTERS", instruction=0)  # the others of the four were lost

    summary = recorded(tmp_path / "x.parquet", machine, tell, wish(Recorded.BLOCKS, Recorded.REGISTERS))
    rows = pq.read_table(summary.path).to_pylist()
    assert [r["kind"] for r in rows] == ["block", "registers"] * (RECORDS + 10)
    assert all(r["registers"] is None for r in rows[::2])
    for n, row in enumerate(rows[1::2]):
        assert row["registers"] == [100 * n + register for register in range(len(REGISTER_NAMES))]
        assert (row["seq"], row["pc"]) == (5 * n + 1, 100 * n + 16)


def test_what_was_lost_is_told_where_it_is_missing(tmp_path: Path, machine: FakePlugin) -> None:
    lost = layout().constants["FLAG_LOST"]

    def tell() -> None:
        machine.tell(0, "LOAD", pc=1)
        machine.trace.plugin["rings"]["dropped"][0] = 7
        machine.tell(0, "LOAD", pc=2, flags=lost)
        machine.tell(0, "LOAD", pc=3)

    summary = recorded(tmp_path / "x.parquet", machine, tell, wish(policy=Policy.DROP))
    assert pq.read_table(summary.path)["kind"].to_pylist() == ["load", "discontinuity", "load", "load"]
    assert summary.lost.dropped == (7, 0)
    assert summary.lost.total == 7


def test_a_flight_recorder_tells_how_many_it_wrote_over(tmp_path: Path, machine: FakePlugin) -> None:
    recorder = Recorder(FakeSession(machine), tmp_path / "x.parquet", wish(policy=Policy.OVERWRITE))
    recorder.start()
    machine.put(0, "LOAD", pc=0)
    wait_until(lambda: recorder.records == 1)
    machine.heads[0] += 3  # three that nobody will ever see
    machine.put(0, "LOAD", pc=4)
    recorder.end()
    rows = pq.read_table(recorder.finish().path).to_pylist()
    told = [(r["kind"], r["seq"], r["value"]) for r in rows]
    assert told[0] == ("load", 0, None)
    assert ("discontinuity", 4, 3) in told


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file grows beyond 2 MiB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_leaves_a_file_that_can_be_read(
    tmp_path: Path, machine: FakePlugin, small_files: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.trace.recording._ROWS", 1 << 13)
    monkeypatch.setattr("bridge.trace.recording._LEAST_ROOM", 64)
    recorder = Recorder(FakeSession(machine), tmp_path / "x.parquet", wish())
    recorder.start()
    source = np.random.default_rng(1)
    told = 0
    while recorder.goes_on:
        words = source.integers(0, 1 << 63, (64, 4)).tolist()
        for pc, virtual, physical, value in words:  # nothing that can be packed
            machine.tell(0, "LOAD", pc=pc, virtual_address=virtual, physical=physical, value=value, flags=2)
            told += 1
    recorder.end()
    summary = recorder.finish()
    assert "no more room" in summary.failure
    table = pq.read_table(summary.path)
    assert 8000 < len(table) == summary.rows < told
    assert table["seq"].to_pylist() == list(range(len(table)))
    assert summary.lost.unwritten == told - len(table)
    assert machine.trace.reader["parts"] == 0  # off again
    assert sorted(path.name for path in tmp_path.glob("*x.*")) == ["x.blocks.parquet", "x.parquet"]


def test_a_file_that_cannot_be_made_is_said_before_anything_begins(tmp_path: Path, machine: FakePlugin) -> None:
    with pytest.raises(TraceError, match="cannot be written: No such file"):
        Recorder(FakeSession(machine), tmp_path / "nowhere" / "x.parquet", wish())
    with pytest.raises(TraceError, match="no regular file"):
        Recorder(FakeSession(machine), Path("/dev/full"), wish())
    assert machine.trace.reader["request"] == 0


def test_a_machine_that_ends_leaves_what_it_told(tmp_path: Path, machine: FakePlugin) -> None:
    recorder = Recorder(FakeSession(machine), tmp_path / "x.parquet", wish())
    recorder.start()
    for n in range(10):
        machine.tell(0, "LOAD", pc=n)
    machine.tell(0, "BLOCK", pc=0x1000, block=1)
    machine.trace.plugin["state"] = layout().constants["GONE"]
    assert not recorder.goes_on
    recorder.end()
    summary = recorder.finish()
    assert "has ended" in summary.failure
    assert pq.read_table(summary.path)["pc"].to_pylist() == [*range(10), 0x1000]
    (block,) = pq.read_table(summary.blocks_path).to_pylist()  # whose count nobody published
    assert (block["block"], block["entered"], block["bytes"]) == (1, 1, CODE)


def test_who_gives_up_leaves_no_file(tmp_path: Path, machine: FakePlugin) -> None:
    recorder = Recorder(FakeSession(machine), tmp_path / "x.parquet", wish())
    recorder.start()
    recorder.close()
    machine.trace.plugin["tsc_hz"] = 0
    machine.trace.plugin["state"] = layout().constants["GONE"]
    with pytest.raises(TraceError, match="how fast"):
        Recorder(FakeSession(machine), tmp_path / "x.parquet", wish()).start()
    assert not list(tmp_path.glob("*x.*"))


def test_each_access_of_a_guest_is_in_its_file_once(tmp_path: Path, counting: Counting) -> None:
    recorder = Recorder(counting.trace, tmp_path / "x.parquet", wish())
    assert recorder.start()
    counting.count()
    recorder.end()
    summary = recorder.finish()
    assert summary.failure == ""
    assert summary.lost.total == 0
    table = pq.read_table(summary.path)
    seq = table["seq"].to_numpy()
    assert (seq == np.arange(seq[0], seq[0] + len(seq))).all()
    assert (np.diff(table["ts"].to_numpy()) >= 0).all()
    kind, paddr = np.asarray(table["kind"].to_pylist()), table["paddr"].to_numpy()
    for wanted in ("load", "store"):
        of = table.filter((kind == wanted) & (paddr == COUNTER))
        assert len(of) == ROUNDS
        assert set(of["bytes"].to_pylist()) == {CODE[:5]}
        assert set(of["pc"].to_pylist()) == {LOOP_AT}
        values = of["value"].to_numpy()
        assert (np.diff(values) == 1).all()
    blocks = {row["pc"]: row for row in pq.read_table(summary.blocks_path).to_pylist()}
    assert blocks[LOOP_AT]["bytes"] == CODE
    assert (kind == "block").sum() == sum(row["entered"] for row in blocks.values())


def test_one_late_look_at_many_records_outweighs_many_quick_ones_at_few() -> None:
    assert median_by_weight(np.array([1, 1, 50, 1]), np.array([2, 2, 90, 2])) == 50
    assert median_by_weight(np.array([3, 1, 2]), np.array([1, 1, 1])) == 2
