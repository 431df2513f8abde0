"""Recordings are read back as they were written; what is no recording, or a damaged one, is said to be."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.trace.errors import BadRecording
from bridge.trace.layout import layout
from bridge.trace.opcodes import Opcodes
from bridge.trace.record_columns import BLOCK, LOAD, STORE, Clock, Columns, new_state
from bridge.trace.recorded import NONE, Recording
from bridge.trace.recording_file import METADATA_KEY, RecordsFile, blocks_path, write_blocks

CODE = bytes.fromhex("66ff0600906649" + "75f7")
FACTS = {"format": 1, "pages": 16, "ram": [[0, 0x8000, 0x4000], [0x100000, 0x4000, 0]], "tasks": {"0x99": "sh (7)"}}
ROWS = 4


def written(path: Path, facts: dict[str, Any] | None = None) -> Path:
    """Two row groups of the same four records, and two blocks."""
    records = np.zeros(ROWS, layout()["record"])
    known = layout().constants
    records["sequence"], records["tsc"], records["block"] = np.arange(ROWS), 10 * np.arange(ROWS), 1
    records["kind"] = [known[f"RECORD_{kind}"] for kind in ("BLOCK", "LOAD", "STORE", "LOAD")]
    records["virtual_address"] = [known["NONE"], 0x77, 0x78, 0x79]
    records["physical"] = [0x100010, 0x1FFF, 0x1000, 0xFEE00000]
    records["value"], records["flags"], records["size"] = [0x99, 1, 2, 3], [0, 2, 2, 0], [0, 1, 1, 1]
    blocks = np.zeros(3, layout()["block"])
    blocks["bytes"][1], blocks["instructions"][1], blocks["virtual_first"] = len(CODE), 3, 0x7C00
    file = RecordsFile(path, registers=False)
    opcodes = Opcodes(blocks, lambda _: CODE)
    for group in range(2):
        records["sequence"] = np.arange(ROWS) + group * ROWS
        columns = Columns.of(64)
        assert columns.take(records, Clock(0, 2.0), new_state()) == ROWS
        file.write(columns, opcodes)
    file.close(FACTS if facts is None else facts)
    columns_of_blocks = {
        **{"block": [1, 5], "pc": [0x7C00, NONE], "paddr": [0x7C00, None], "bytes": [CODE, b"\xc3"]},
        **{"instructions": [3, 1], "entered": [12, NONE], "symbol": ["start", ""], "process": ["", "sh (7)"]},
    }
    write_blocks(blocks_path(path), columns_of_blocks, FACTS)
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("recorded") / "x.parquet")


def test_what_was_written_is_read(whole: Path) -> None:
    recording = Recording.open(whole)
    assert (recording.rows, recording.row_groups, recording.pages) == (2 * ROWS, 2, 16)
    batches = list(recording.batches(("ts", "kind", "vaddr", "value", "bytes", "is_store"), most_rows=3))
    assert max(len(batch["ts"]) for batch in batches) <= 3
    together = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    assert together["ts"].tolist() == [0, 20, 40, 60] * 2
    assert together["kind"].tolist() == [BLOCK, LOAD, STORE, LOAD] * 2
    assert together["vaddr"].tolist() == [NONE, 0x77, 0x78, 0x79] * 2
    assert together["value"].tolist() == [0x99, 1, 2, 0] * 2
    assert together["bytes"].tolist() == [None, CODE[:5], CODE[:5], CODE[:5]] * 2
    assert together["is_store"].tolist() == [False, False, True, False] * 2
    assert recording.blocks["virtual_first"].tolist() == [0, 0x7C00, 0, 0, 0, NONE]
    assert recording.blocks["physical"].tolist() == [0, 0x7C00, 0, 0, 0, NONE]
    assert recording.blocks["bytes"].tolist() == [0, len(CODE), 0, 0, 0, 1]
    assert recording.entered.tolist() == [0, 12, 0, 0, 0, 1 << 62]  # more than that cannot be
    assert [recording.code_of(number) for number in (1, 2, 5)] == [CODE, b"", b"\xc3"]
    assert [recording.name_of(number) for number in (1, 2, 5)] == [("start", ""), ("", ""), ("", "sh (7)")]
    assert [recording.process_of_task(task) for task in (0x99, 0x98)] == ["sh (7)", ""]
    with pytest.raises(BadRecording, match="no column 'colour'"):
        next(recording.batches(("ts", "colour")))


def test_heat_is_by_page_of_the_ram_file(whole: Path) -> None:
    heat = Recording.open(whole).heat()
    assert {int(page): int(heat.executed[page]) for page in np.flatnonzero(heat.executed)} == {0: 2}
    assert {int(page): int(heat.loads[page]) for page in np.flatnonzero(heat.loads)} == {5: 2}
    assert {int(page): int(heat.stores[page]) for page in np.flatnonzero(heat.stores)} == {5: 2}
    assert heat.elsewhere == 2  # a device's


def test_rows_that_others_wrote_anew_are_taken(whole: Path, tmp_path: Path) -> None:
    table = pq.read_table(whole)
    plain = table.set_column(3, "kind", table["kind"].cast(pa.string()))
    plain = plain.set_column(5, "bytes", plain["bytes"].cast(pa.binary()))
    path = tmp_path / "x.parquet"
    pq.write_table(plain.replace_schema_metadata({METADATA_KEY: json.dumps(FACTS)}), path)
    blocks_path(path).write_bytes(blocks_path(whole).read_bytes())
    (batch,) = Recording.open(path).batches(("kind", "bytes"))
    assert batch["kind"].tolist() == [BLOCK, LOAD, STORE, LOAD] * 2
    assert batch["bytes"][1] == CODE[:5]


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"format": 2}, "format 2; 1 is known"),
        ([1], "no recording of Glassbox"),
        ({**FACTS, "ram": [[0, 1]]}, "what cannot be"),
        ({**FACTS, "ram": [[0, -1, 0]]}, "what cannot be"),
        ({**FACTS, "ram": [[0, 1, 0]] * 1000}, "what cannot be"),
        ({**FACTS, "pages": 1 << 60}, "what cannot be"),
        ({**FACTS, "pages": "many"}, "what cannot be"),
        ({**FACTS, "tasks": [1]}, "what cannot be"),
    ],
)
def test_metadata_that_cannot_be_are_refused(tmp_path: Path, facts: Any, said: str) -> None:
    with pytest.raises(BadRecording, match=said):
        Recording.open(written(tmp_path / "x.parquet", facts))


def changed(column: str, values: Any) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        return table.set_column(table.schema.get_field_index(column), column, values)

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda table: table.drop_columns(["pc"]), "no column 'pc'"),
        (lambda table: table.append_column("pc", table["pc"]), "no column 'pc'"),
        (changed("vaddr", pa.array(["x"] * 2 * ROWS)), "column 'vaddr' is of string, not of uint64"),
        (changed("kind", pa.array(["walk"] * 2 * ROWS)), "kind that is not known"),
        (changed("kind", pa.array([None, *["load"] * (2 * ROWS - 1)], pa.string())), "of no kind"),
    ],
)
def test_columns_that_are_not_a_recordings_are_refused(
    whole: Path, tmp_path: Path, change: Callable[[pa.Table], pa.Table], said: str
) -> None:
    path = tmp_path / "x.parquet"
    table = change(pq.read_table(whole)).replace_schema_metadata({METADATA_KEY: json.dumps(FACTS)})
    pq.write_table(table, path)
    blocks_path(path).write_bytes(blocks_path(whole).read_bytes())
    with pytest.raises(BadRecording, match=said):
        list(Recording.open(path).batches(("kind",)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (changed("block", pa.array([1, 1], pa.uint32())), "one block twice"),
        (changed("block", pa.array([0, 1], pa.uint32())), "that cannot be"),
        (changed("block", pa.array([1, (1 << 32) - 1], pa.uint32())), "that cannot be"),
        (changed("symbol", pa.array([1, 2])), "column 'symbol'"),
    ],
)
def test_blocks_that_cannot_be_are_refused(tmp_path: Path, change: Callable[[pa.Table], pa.Table], said: str) -> None:
    path = written(tmp_path / "x.parquet")
    beside = blocks_path(path)
    pq.write_table(change(pq.read_table(beside)), beside)
    with pytest.raises(BadRecording, match=said):
        Recording.open(path)


def test_files_that_are_none_are_refused(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(BadRecording, match="There is no"):
        Recording.open(tmp_path / "x.parquet")
    with pytest.raises(BadRecording, match="no regular file"):
        Recording.open(tmp_path)
    (tmp_path / "x.parquet").write_bytes(whole.read_bytes())
    with pytest.raises(BadRecording, match=r"no x\.blocks\.parquet beside it"):
        Recording.open(tmp_path / "x.parquet")
    pq.write_table(pa.table({"ts": [1]}), tmp_path / "y.parquet")
    with pytest.raises(BadRecording, match="no column 'vcpu'"):
        Recording.open(tmp_path / "y.parquet")


def test_a_group_of_absurdly_many_rows_is_refused(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.trace.recorded._MOST_GROUP_ROWS", ROWS - 1)
    with pytest.raises(BadRecording, match="row group of 4 rows"):
        Recording.open(whole)
    monkeypatch.undo()
    monkeypatch.setattr("bridge.trace.recorded._MOST_BLOCKS", 1)
    with pytest.raises(BadRecording, match="2 blocks in"):
        Recording.open(whole)


@given(data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damage_is_told_or_harmless(whole: Path, tmp_path: Path, data: st.DataObject) -> None:
    """Cut short, or with other bytes anywhere, in either file."""
    path = tmp_path / "x.parquet"
    files = {path: whole.read_bytes(), blocks_path(path): blocks_path(whole).read_bytes()}
    hit = data.draw(st.sampled_from(sorted(files)))
    content = bytearray(files[hit])
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        for at, byte in data.draw(
            st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=4)
        ):
            content[at] = byte
    files[hit] = bytes(content)
    for file, found in files.items():
        file.write_bytes(found)
    with contextlib.suppress(BadRecording):
        recording = Recording.open(path)
        assert sum(len(batch["kind"]) for batch in recording.batches(recording.columns)) == recording.rows
        assert recording.heat().executed.sum() <= recording.rows
