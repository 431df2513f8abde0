"""`glassbox hot` on a real guest: what is hot has a place in the kernel or in a process that runs there."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.cli import main
from app.exit_codes import ExitCode
from bridge.machine.catalogue import find_guest
from bridge.machine.machine import Machine
from bridge.machine.manager import MachineManager
from bridge.trace.modes import Mode, Wish
from bridge.trace.session import TraceSession
from tests.app.conftest import own_homes


@pytest.fixture(scope="module")
def demo() -> Iterator[Machine]:
    with own_homes(), MachineManager() as manager:
        machine = manager.launch(find_guest("demo"))
        assert machine.trace_problem == ""
        assert machine.wait_ready(240)
        yield machine


def test_hot_blocks_are_named(demo: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hot", demo.name, "--top", "40", "--for", "2s", "--json"]) == ExitCode.DONE
    rows = json.loads(capsys.readouterr().out)
    assert 5 < len(rows) <= 40
    assert set(rows[0]) == {*("pc", "end", "count", "share", "symbol", "process", "loop_depth", "class", "disassembly")}
    shares = [row["share"] for row in rows]
    assert shares == sorted(shares, reverse=True)
    assert 0 < sum(shares) <= 1.0001
    for row in rows:
        assert row["pc"] < row["end"]
        assert row["disassembly"]
    kernel = [row for row in rows if row["pc"] >= 1 << 63]
    assert kernel
    assert all(row["symbol"] for row in kernel)
    named = {row["process"].split(" (")[0] for row in rows}
    # The journal writes, its archive is made, the compressor compresses; and somebody idles.
    assert named & {"gzip", "journal", "compressor", "allocator", "counter"}
    assert demo.trace is not None
    assert int(demo.trace.plugin["parts"]) == 0  # the guest runs as before


def test_two_processors_are_counted_each_by_itself() -> None:
    with own_homes(), MachineManager() as manager:
        machine = manager.launch(dataclasses.replace(find_guest("demo"), cpus=2))
        assert machine.wait_ready(240)
        session = TraceSession(machine)
        session.set(Wish(Mode.COUNTERS))
        deadline = time.monotonic() + 120
        while not (session.counts().entered.sum(axis=1) > 100).all():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert session.counts().entered.shape[0] == len(session.rings()) == 2


def test_a_table_for_people(demo: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hot", demo.name, "--top", "3", "--for", "300ms"]) == ExitCode.DONE
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["TIME", "ENTERED", "PC", "SYMBOL", "PROCESS", "LOOPS", "CLASS", "INSTRUCTIONS"]
    assert "blocks were entered" in lines[-1]


@pytest.mark.parametrize("text", ["0", "x", "-1s", "1h", "20min", "1e9s", ""])
def test_times_that_make_no_sense_are_usage_errors(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["hot", "demo", "--for", text])
    assert ended.value.code == ExitCode.USAGE
    assert "from 10ms to 10min" in capsys.readouterr().err or text.startswith("-")


def test_a_dump_does_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dump = tmp_path / "a.raw"
    dump.write_bytes(bytes(1 << 20))
    assert main(["hot", "--dump", str(dump)]) == ExitCode.USAGE
    assert "name a machine" in capsys.readouterr().err
