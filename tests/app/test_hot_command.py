"""`glassbox hot` and `trace hot|flow|reach` on a real guest: what is told is what its kernel and its code are."""

from __future__ import annotations

import dataclasses
import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from app.cli import main
from app.commands.hot import save
from app.exit_codes import ExitCode
from app.failures import CommandFailed
from bridge.kernel.kernel import find_kernel
from bridge.kernel.snapshot import Introspector
from bridge.machine.catalogue import find_guest
from bridge.machine.machine import Machine
from bridge.machine.manager import MachineManager
from bridge.memory.physical import PhysicalReader
from bridge.trace.modes import Mode, Wish
from bridge.trace.record_columns import KINDS
from bridge.trace.recorded import Recording
from bridge.trace.session import TraceSession
from tests.app.conftest import own_homes


@pytest.fixture(scope="module")
def demo() -> Iterator[Machine]:
    with own_homes(), MachineManager() as manager:
        machine = manager.launch(find_guest("demo"))
        assert machine.trace_problem == ""
        assert machine.wait_ready(240)
        yield machine


def run_until_done(command: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What it prints. On a busy host the guest may get too little done in a while: then again."""
    for _ in range(60):
        if main(command) == ExitCode.DONE:
            return capsys.readouterr().out
        assert "ran meanwhile" in capsys.readouterr().err
    raise AssertionError(command)


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


def test_a_process_alone_is_recorded_with_its_names(
    demo: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x.parquet"
    wanted = ["trace", "record", demo.name, "--out", str(out), "--what", "blocks,registers", "--process"]
    assert main([*wanted, "nobody"]) == ExitCode.USAGE
    assert "no process with memory is 'nobody'" in capsys.readouterr().err
    assert main([*wanted, "kthreadd"]) == ExitCode.USAGE  # it has none
    capsys.readouterr()
    assert main([*wanted, "allocator", "--for", "1s", "--json"]) == ExitCode.DONE
    told = json.loads(capsys.readouterr().out)
    assert told["by_kind"]["registers"] > 100
    recording = Recording.open(out)
    assert recording.metadata["kernel"].startswith("6.")
    programs, kernels = set(), set()
    for batch in recording.batches(("kind", "pc", "block", "value", "registers")):
        entered = batch["kind"] == KINDS.index("block")
        programs |= {recording.process_of_task(int(task)) for task in set(batch["value"][entered].tolist())}
        kernels |= {recording.name_of(int(number))[0] for number in batch["block"][entered & (batch["pc"] >> 63 == 1)]}
        for pc, registers in zip(batch["pc"][~entered], batch["registers"][~entered], strict=True):
            assert pc == registers[16]
    assert any(name.startswith("allocator (") for name in programs)
    assert kernels
    assert "" not in kernels


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


def test_hot_paths_follow_one_another_and_are_exported(
    demo: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.speedscope.json"
    command = ["trace", "hot", demo.name, "--paths", "--for", "500ms", "--export", str(out)]
    assert main([*command, "--json"]) == ExitCode.DONE
    paths = json.loads(capsys.readouterr().out)
    assert 0 < len(paths) <= 10
    assert any(len(path["blocks"]) > 1 for path in paths)
    for path in paths:
        assert path["measured"]
        assert path["share"] == pytest.approx(sum(block["share"] for block in path["blocks"]), abs=1e-4)
    profile = json.loads(out.read_text())
    assert sum(profile["profiles"][0]["weights"]) == profile["profiles"][0]["endValue"] > 0
    names = {frame["name"] for frame in profile["shared"]["frames"]}
    assert "kernel" in names or any(name.startswith("counter") for name in names)
    assert main(command) == ExitCode.DONE
    assert capsys.readouterr().out.splitlines()[0].split() == [
        *("TIME", "FOLLOWED", "BLOCKS", "LOOPS", "PROCESS", "PATH")
    ]
    assert demo.trace is not None
    assert int(demo.trace.plugin["parts"]) == 0


def test_clusters_are_of_one_form(demo: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "a.pb.gz"
    command = ["trace", "hot", demo.name, "--clusters", "--for", "300ms", "--export", str(out)]
    assert main([*command, "--json"]) == ExitCode.DONE
    found = json.loads(capsys.readouterr().out)
    assert 0 < len(found) <= 10
    assert all(len(one["form"]) == len(one["hottest"]["disassembly"]) for one in found)
    assert gzip.decompress(out.read_bytes())
    assert main(command) == ExitCode.DONE
    assert "FORM" in capsys.readouterr().out


def test_the_flow_of_a_function_is_shown_and_saved(
    demo: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["trace", "flow", demo.name, "--function", "__schedule", "--for", "500ms"]
    view = json.loads(run_until_done([*command, "--json", "--out", str(tmp_path / "a.graphml")], capsys))
    assert view["measured"]
    assert len(view["blocks"]) > 3
    assert all(block["symbol"].startswith("__schedule") for block in view["blocks"])
    numbers = {block["block"] for block in view["blocks"]}
    assert view["edges"]
    assert all({edge["source"], edge["target"]} <= numbers for edge in view["edges"])
    root = ElementTree.parse(tmp_path / "a.graphml").getroot()
    assert len(root[-1]) == len(view["blocks"]) + len(view["edges"])
    told = run_until_done([*command, "--top", "2", "--out", str(tmp_path / "a.dot")], capsys)
    assert told.startswith("__schedule: ")
    assert " times" in told
    assert "more blocks" in told
    assert (tmp_path / "a.dot").read_text().startswith('digraph "__schedule" {')
    pc = view["blocks"][0]["pc"]
    near = ["trace", "flow", demo.name, "--block", f"{pc:#x}", "--steps", "1", "--for", "500ms", "--json"]
    around = json.loads(run_until_done(near, capsys))
    assert pc in {block["pc"] for block in around["blocks"]}


def test_what_a_function_reaches_is_told_with_a_way_there(demo: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["trace", "reach", demo.name, "--from", "schedule", "--to", "__schedule", "--for", "500ms"]
    for back in ([], ["--back", "--returns"]):
        document = json.loads(run_until_done([*command, *back, "--json"], capsys))
        assert document["reached"] > 3
        assert document["rows"][0]["name"] == "schedule"
        names = [place["name"].split(" + ")[0] for place in document["path"]]
        assert {names[0], names[-1]} == {"__schedule", "schedule"}
        assert (names[0] == "__schedule") == bool(back)
        assert all(start % 4096 == length % 4096 == 0 < length for start, length in document["ranges"])
    assert "can be reached from schedule" in run_until_done(command, capsys)


def test_the_memory_of_a_process_is_reached_over_the_kernels_pointers(
    demo: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    demo.pause()
    try:
        assert demo.ram is not None
        kernel = find_kernel(PhysicalReader(demo.ram))
        snapshot = Introspector(kernel).look(frozen=True)
        owner = snapshot.processes.names.index("counter")
        pid = int(snapshot.processes.pids[owner])
        assert main(["trace", "reach", demo.name, "--from", f"task:{pid}", "--top", "0", "--json"]) == ExitCode.DONE
        document = json.loads(capsys.readouterr().out)
        pages = snapshot.owners.pages_of(owner)
        paddrs = demo.ram.physical_map.paddr_from_offset(pages.astype(np.uint64) << np.uint64(12))
        lit = [page for start, length in document["ranges"] for page in range(start, start + length, 4096)]
        assert lit == sorted(paddrs.tolist())
        rows = document["rows"]
        assert [row["kind"] for row in rows[:2]] == ["task", "mm"]
        assert rows[1]["address"] == int(snapshot.processes.mms[owner])
        vmas = snapshot.vmas.starts[snapshot.vmas.owners == owner].tolist()
        assert sorted(row["name"].split("-")[0] for row in rows[2:]) == sorted(f"{start:#x}" for start in vmas)
        assert sum(row["pages"] for row in rows) == len(pages)
        page = f"page:{lit[0] + 5:#x}"
        assert main(["trace", "reach", demo.name, "--from", f"task:{pid}", "--to", page, "--json"]) == ExitCode.DONE
        path = json.loads(capsys.readouterr().out)["path"]
        assert [place["kind"] for place in path] == ["task", "mm", "vma", "page"]
        assert path[-1]["address"] == lit[0]
        back = ["trace", "reach", demo.name, "--from", page, "--to", f"task:{pid}", "--back"]
        assert main([*back, "--json"]) == ExitCode.DONE
        assert json.loads(capsys.readouterr().out)["path"] == path
        assert main(back) == ExitCode.DONE
        told = capsys.readouterr().out
        assert told.startswith("3 steps\n  → task ")
        assert f"lead to {page}" in told
        idle = ["trace", "reach", demo.name, "--from", "task:2", "--to", page]  # kthreadd has no memory
        assert main(idle) == ExitCode.DONE
        assert "No way was seen from task:2" in capsys.readouterr().err
    finally:
        demo.resume()


def test_a_recording_is_read_as_a_machine_is(demo: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "a.parquet")
    assert main(["trace", "record", demo.name, "--what", "blocks", "--for", "2s", "--out", path, "--json"]) == 0
    recorded = json.loads(capsys.readouterr().out)
    assert main(["trace", "hot", "--recording", path, "--top", "0", "--json"]) == ExitCode.DONE
    rows = json.loads(capsys.readouterr().out)
    assert 0 < len(rows) <= recorded["blocks"]
    assert sum(row["share"] for row in rows) == pytest.approx(1, abs=1e-3)
    assert all(row["symbol"] for row in rows if row["pc"] >= 1 << 63)
    assert not any("hlt" in row["disassembly"] for row in rows)  # that is no time of anybody
    assert main(["trace", "hot", "--recording", path, "--paths"]) == ExitCode.DONE
    said = capsys.readouterr()
    assert "FOLLOWED" in said.out
    assert "recorded entries" in said.err
    assert main(["trace", "flow", "--recording", path, "--function", "__schedule", "--json"]) == ExitCode.DONE
    view = json.loads(capsys.readouterr().out)
    assert view["measured"]
    assert {block["symbol"].split(" + ")[0] for block in view["blocks"]} == {"__schedule"}
    assert main(["trace", "reach", "--recording", path, "--from", "schedule", "--json"]) == ExitCode.DONE
    assert json.loads(capsys.readouterr().out)["reached"] > 3
    one_of = str(tmp_path / "b.parquet")
    few = ["trace", "record", demo.name, "--what", "blocks", "--one-of", "3", "--for", "2s", "--out", one_of]
    assert main([*few, "--json"]) == ExitCode.DONE
    capsys.readouterr()
    assert main(["trace", "flow", "--recording", one_of, "--function", "__schedule"]) == ExitCode.DONE
    assert "edges are what the code says" in capsys.readouterr().err
    for arguments, said_why in (
        (["hot", demo.name, "--recording", path], "not both"),
        (["reach", "--from", "task:1", "--recording", path], "no memory of its guest"),
        (["flow", "--function", "no_such_thing", "--recording", path], "Nothing of no_such_thing ran"),
        (["hot", "--recording", str(tmp_path / "none.parquet")], "none.parquet"),
    ):
        assert main(["trace", *arguments]) != ExitCode.DONE
        assert said_why in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["flow", "--function", "no_such_thing"], ExitCode.USAGE, "there is no symbol 'no_such_thing'"),
        (["flow", "--function", "panic"], ExitCode.FAILED, "Nothing of panic ran meanwhile"),
        (["flow", "--block", "0x10"], ExitCode.FAILED, "Nothing of 0x10 ran meanwhile"),
        (["flow", "--function", "schedule", "--out", "x.png"], ExitCode.USAGE, "*.graphml or *.dot"),
        (["flow", "--function", "schedule", "--out", "/no/such/x.dot"], ExitCode.USAGE, "is no directory"),
        (["hot", "--export", "x.txt"], ExitCode.USAGE, "*.speedscope.json"),
        (["hot", "--export", "/no/such/x.pb.gz"], ExitCode.USAGE, "is no directory"),
        (["reach", "--from", "task:x"], ExitCode.USAGE, "is not an address"),
        (["reach", "--from", "task:1", "--to", "schedule"], ExitCode.USAGE, "one end is code"),
        (["reach", "--from", "task:999999"], ExitCode.FAILED, "task:999999 is not there"),
        (["reach", "--from", "page:0xfffffffffffff000"], ExitCode.FAILED, "is mapped by no process"),
        (["reach", "--from", "x", "--dump", "x.ram"], ExitCode.USAGE, "name a machine"),
    ],
)
def test_what_makes_no_sense_is_a_sentence(
    demo: Machine, arguments: list[str], code: ExitCode, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    part, *rest = arguments
    name = [] if "--dump" in rest else [demo.name]
    seconds = [] if "--dump" in rest else ["--for", "50ms"]
    assert main(["trace", part, *name, *rest, *seconds]) == code
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("\n") == 1


def test_a_profile_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.dot").mkdir()
    with pytest.raises(CommandFailed, match=r"a\.dot cannot be written"):
        save(tmp_path / "a.dot", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["a.dot"]


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
