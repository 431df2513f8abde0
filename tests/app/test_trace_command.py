"""`trace record` and `trace import`: from a guest that runs to a file, and from the file to what is told of it."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from app.cli import main
from app.commands import trace_record
from app.failures import UsageError
from app.interrupts import interrupts
from bridge.kernel.kernel import find_kernel
from bridge.kernel.snapshot import Introspector
from bridge.memory.physical import PhysicalReader
from bridge.memory.ram import GuestRam
from bridge.trace.recording import Lost, Summary
from tests.bridge.machine.conftest import (  # noqa: F401 - fixtures
    _kvm_answer,
    _kvm_is_known,
    private_directories,
    shared_memory,
    wait_until,
)
from tests.bridge.trace.conftest import WAIT_AT, Counting, counting  # noqa: F401 - a fixture
from tests.bridge.trace.test_recorded import written


def test_a_guest_is_recorded_and_the_file_read(
    counting: Counting,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "x.parquet"
    where = ["--out", str(out), "--range", f"{WAIT_AT:#x}-{WAIT_AT:#x}", "--what", "loads,blocks"]
    assert main(["trace", "record", counting.machine.name, "--for", "100ms", *where, "--json"]) == 0
    said = capsys.readouterr()
    assert "Nothing will have a name" in said.err  # no kernel is known there
    told = json.loads(said.out)
    assert told["records"] == told["by_kind"]["block"] + told["by_kind"]["load"] > 0
    assert told["lost"]["total"] == 0
    table = pq.read_table(out)
    assert len(table) == told["records"]
    assert min(table["pc"].to_pylist()) >= WAIT_AT
    assert main(["trace", "import", str(out), "--json"]) == 0
    read = json.loads(capsys.readouterr().out)
    assert (read["records"], read["by_kind"]) == (told["records"], told["by_kind"])
    assert read["machine"] == counting.machine.name
    assert read["hottest"]["executed"][0]["page"] == WAIT_AT >> 12


def test_ctrl_c_ends_a_recording_well(
    counting: Counting,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "x.parquet"

    def interrupt() -> None:
        wait_until(lambda: bool(counting.trace.parts))
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    before = signal.getsignal(signal.SIGINT)
    assert main(["trace", "record", counting.machine.name, "--for", "10min", "--out", str(out), "--one-of", "3"]) == 0
    thread.join()
    assert signal.getsignal(signal.SIGINT) is before
    assert f"saved {out}" in capsys.readouterr().out
    assert pq.read_metadata(out).num_rows >= 0
    assert counting.trace.parts == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--range", "5-4"], "is no range of addresses"),
        (["--range", "5"], "is no range of addresses"),
        (["--what", "loads,colours"], "what is recorded is any of"),
        (["--when-full", "explode"], "invalid Policy value"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["trace", "record", "x", "--out", "x.parquet", *options])
    assert said in capsys.readouterr().err


def test_what_cannot_be_recorded_is_said(
    private_directories: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "x.parquet"
    assert main(["trace", "record", "nobody", "--out", str(out)]) == 3
    assert main(["trace", "record", "nobody", "--out", str(tmp_path / "no" / "x.parquet")]) == 2
    assert main(["trace", "record", "nobody", "--out", str(out), "--one-of", "0"]) == 2
    assert "one of at least one block" in capsys.readouterr().err
    assert not out.exists()


def test_a_recording_is_told_and_its_heat_saved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "x.parquet")
    assert main(["trace", "import", str(path), "--heat", str(tmp_path / "heat.npz")]) == 0
    told = capsys.readouterr().out
    assert "8 records in" in told
    assert "2 block, 4 load, 2 store; 2 blocks; 0 records are missing" in told
    with np.load(tmp_path / "heat.npz") as arrays:
        assert [int(arrays[name].sum()) for name in ("executed", "loads", "stores")] == [2, 2, 2]
    assert main(["trace", "import", str(path), "--heat", str(tmp_path / "heat.png"), "--top", "1", "--json"]) == 0
    read = json.loads(capsys.readouterr().out)
    assert read["hottest"]["written"] == [{"page": 5, "count": 2}]
    with Image.open(tmp_path / "heat.png") as image:
        pixels = np.asarray(image)
    step = pixels.shape[1] // 4  # 16 pages in rows of 4
    red, green, blue = pixels[step + step // 2, step + step // 2].tolist()  # page 5: read and written
    assert min(red, green) > 200 > blue
    assert pixels[-1, -1].tolist() == [0, 0, 0]


def test_a_recording_that_is_none_is_said_to_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(b"PAR1 and nothing more")
    assert main(["trace", "import", str(path), "--json"]) == 1
    assert "is damaged, or no recording" in json.loads(capsys.readouterr().out)["error"]
    assert main(["trace", "import", str(path), "--heat", "heat.txt"]) == 2
    assert main(["trace", "import", str(written(path)), "--heat", str(tmp_path / "no" / "heat.png")]) == 2


def summary(**changes: Any) -> Summary:
    facts: dict[str, Any] = {
        "path": Path("/x.parquet"),
        "blocks_path": Path("/x.blocks.parquet"),
        "seconds": 2.0,
        "by_kind": {"block": 90, "store": 10},
        "groups": 1,
        "file_bytes": 4096,
        "blocks": 7,
        "lost": Lost((0, 0), (0, 0), 0, 0),
        "waited_s": (0.0, 0.0),
        "lag_s": None,
        "failure": "",
    }
    return Summary(**{**facts, **changes})


def test_what_became_of_a_recording_is_told() -> None:
    whole = trace_record._told(summary())
    assert "4 KiB" in whole
    assert "90 entries of blocks, 10 stores" in whole
    assert whole.endswith("Nothing was lost.")
    assert "held back" not in whole
    short = summary(lost=Lost((60, 40), (0, 0), 0, 5), waited_s=(0.0, 1.5), failure="The disk is full.", lag_s=0.001)
    told = trace_record._told(short)
    assert "held back for 1.5" in told
    assert "100 records were lost, 48.8%" in told
    assert "5 records had no room" in told
    failure = trace_record._failure(short)
    assert failure == "The disk is full. The 100 records until then are in /x.parquet."
    document = trace_record._document(short, failure)
    assert (document["ok"], document["lag_ms"], document["lost"]["dropped"]) == (False, 1.0, [60, 40])
    assert "error" not in trace_record._document(summary(), "")


def test_a_process_is_named_by_number_or_name(demo_dump: Path) -> None:
    ram = GuestRam.open(demo_dump)
    try:
        seen = Introspector(find_kernel(PhysicalReader(ram))).look(frozen=True)
    finally:
        ram.close()
    processes = seen.processes
    at = processes.names.index("init")
    root = int(processes.roots[at]) & ~0xFFF
    assert trace_record._root(seen, "1") == trace_record._root(seen, "init") == root
    with pytest.raises(UsageError, match="no process with memory is 'kthreadd'"):
        trace_record._root(seen, "kthreadd")
    twice = dataclasses.replace(processes, names=("init",) * len(processes.names))
    with pytest.raises(UsageError, match="several processes are called 'init'"):
        trace_record._root(dataclasses.replace(seen, processes=twice), "init")


def test_a_second_interrupt_ends_the_program() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with interrupts() as asked:
        signal.raise_signal(signal.SIGTERM)
        assert asked.is_set()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before
