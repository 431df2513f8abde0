"""`glassbox sql`: a dump and sessions are asked, as text, CSV and JSON; what is wrong is said with the right code."""

from __future__ import annotations

import csv
import io
import json
import time
from pathlib import Path

import pytest

from app.cli import main
from app.exit_codes import ExitCode
from app.sql_text import cell_text, csv_of, document_of, is_address, right_columns
from bridge.semantic.store.reader import Table
from bridge.semantic.store.sessions import OpenSession
from bridge.semantic.store.writer import Store
from tests.app.conftest import own_homes
from tests.app.test_kernel_commands import dump_file
from tests.bridge.semantic.store.made_up import census, row

__all__ = ["dump_file"]


def test_a_dump_is_asked(capsys: pytest.CaptureFixture[str], dump_file: str) -> None:
    sql = "SELECT pid, name, task_vaddr, task_paddr FROM now_processes WHERE pid IN (1, 2) ORDER BY pid"
    assert main(["sql", sql, "--dump", dump_file, "--json"]) == ExitCode.DONE
    document = json.loads(capsys.readouterr().out)
    assert [(one["pid"], one["name"]) for one in document["rows"]] == [(1, "init"), (2, "kthreadd")]
    assert document["columns"] == ["pid", "name", "task_vaddr", "task_paddr"]
    assert not document["truncated"]
    vaddr, paddr = document["rows"][0]["task_vaddr"], document["rows"][0]["task_paddr"]
    assert vaddr < 0 < paddr
    assert main(["sql", sql, "--dump", dump_file]) == ExitCode.DONE
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["pid", "name", "task_vaddr", "task_paddr"]
    assert lines[1].split() == ["1", "init", f"{vaddr % (1 << 64):#x}", f"{paddr:#x}"]
    counted = "SELECT name FROM symbols WHERE name LIKE 'init_%' ORDER BY name"
    assert main(["sql", counted, "--dump", dump_file, "--csv", "--limit", "3"]) == ExitCode.DONE
    printed = capsys.readouterr()
    assert len(list(csv.DictReader(io.StringIO(printed.out)))) == 3
    assert "more than these 3 rows" in printed.err
    assert main(["sql", "SELECT 1 WHERE 0", "--dump", dump_file]) == ExitCode.DONE
    assert capsys.readouterr().out == "no rows\n"


def test_sessions_are_asked(capsys: pytest.CaptureFixture[str]) -> None:
    with own_homes():
        assert main(["sql", "SELECT 1"]) == ExitCode.FAILED
        assert "No window has anything written down now" in capsys.readouterr().err
        assert main(["sql", "SELECT 1", "--session", "last"]) == ExitCode.FAILED
        assert "No session was kept yet" in capsys.readouterr().err
        assert main(["sql", "--sessions"]) == ExitCode.DONE
        assert capsys.readouterr().out == "no sessions\n"
        window = OpenSession()
        store = Store.open(window.path)
        machine = store.machine("demo", ram_bytes=1, is_dump=False, time_s=time.time())
        name = '"; DROP TABLE\x1b[31m\r'
        store.write(machine, census(1, 0, {"processes": ([row("processes", 1, name=name)], [])}), time.time())
        assert main(["sql", "SELECT machine, name FROM now_processes"]) == ExitCode.DONE
        shown = capsys.readouterr().out
        assert "\x1b" not in shown
        assert '"; DROP TABLE\\u001b[31m\\r' in shown
        assert main(["sql", "SELECT name FROM now_processes", "--json"]) == ExitCode.DONE
        assert json.loads(capsys.readouterr().out)["rows"] == [{"name": name}]
        assert main(["sql", "--sessions", "--json"]) == ExitCode.DONE
        assert json.loads(capsys.readouterr().out)["sessions"][0]["open"]
        store.close()
        window.close()
        assert main(["sql", "SELECT 1"]) == ExitCode.FAILED
        assert "--session last" in capsys.readouterr().err
        assert main(["sql", "SELECT count(*) FROM processes", "--session", "last", "--csv"]) == ExitCode.DONE
        assert capsys.readouterr().out == "count(*)\n1\n"
        assert main(["sql", "SELECT 1", "--session", str(window.path)]) == ExitCode.DONE
        capsys.readouterr()
        assert main(["sql", "--sessions"]) == ExitCode.DONE
        assert str(window.path) in capsys.readouterr().out
        assert main(["sql", "SELECT 1", "--session", str(window.path.with_suffix(".no"))]) == ExitCode.FAILED
        assert "there is no such file" in capsys.readouterr().err
        window.path.write_bytes(b"no database" * 1000)
        assert main(["sql", "SELECT 1", "--session", "last"]) == ExitCode.FAILED
        assert "cannot be used" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], ExitCode.USAGE, "write a query"),
        (["SELECT 1", "--json", "--csv"], ExitCode.USAGE, "--json or --csv"),
        (["SELECT 1", "--time-limit", "0"], ExitCode.USAGE, "more than zero"),
        (["SELECT 1", "demo", "--session", "last"], ExitCode.USAGE, "not two of them"),
        (["SELECT 1", "nobody"], ExitCode.NO_SUCH_MACHINE, "nobody"),
        (["SELECT 1", "--dump", "/nowhere"], ExitCode.FAILED, "/nowhere"),
    ],
)
def test_what_makes_no_sense_is_said(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: ExitCode, words: str
) -> None:
    with own_homes():
        assert main(["sql", *arguments]) == code
    assert words in capsys.readouterr().err


def test_queries_that_cannot_be_answered_are_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    Store.open(path).close()
    for sql, code, words in (
        ("SELEC", ExitCode.USAGE, 'Near "SELEC": syntax error.'),
        ("DROP TABLE processes", ExitCode.USAGE, "only SELECT"),
        ("SELECT 1; SELECT 2", ExitCode.USAGE, "one statement"),
    ):
        assert main(["sql", sql, "--session", str(path)]) == code
        assert words.lower() in capsys.readouterr().err.lower()
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
    assert main(["sql", endless, "--session", str(path), "--time-limit", "0.1", "--json"]) == ExitCode.FAILED
    printed = capsys.readouterr()
    assert "ended after 0.1 s" in json.loads(printed.out)["error"]


def test_a_machine_may_be_named_before_and_after_options(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["SELECT 1", "--json", "not-there"], ["SELECT 1", "not-there", "--json"]):
        assert main(["sql", *words]) == ExitCode.NO_SUCH_MACHINE
        assert "not-there" in capsys.readouterr().err


def test_the_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sql", "--schema"]) == ExitCode.DONE
    text = capsys.readouterr().out
    assert "### now_processes" in text
    assert "hex64(x)" in text


def test_cells_as_text() -> None:
    assert cell_text("task_vaddr", -1) == "0xffffffffffffffff"
    assert cell_text("paddr", 4096) == "0x1000"
    assert cell_text("resident_bytes", 4096) == "4,096"
    assert (cell_text("pid", 4096), cell_text("parent_pid", 4096), cell_text("machine_id", 1234)) == (
        "4096",
        "4096",
        "1234",
    )
    assert cell_text("a", None) == "NULL"
    assert cell_text("a", b"\x00\xff") == "x'00ff'"
    assert (cell_text("a", 1.5), cell_text("a", 2.0), cell_text("a", 1e300)) == ("1.5", "2", "1e+300")
    assert [is_address(name) for name in ("paddr", "start_uaddr", "addr", "vaddr_of", "xvaddr")] == [
        True, True, False, False, False,
    ]  # fmt: skip


def test_tables_for_programs() -> None:
    table = Table(("a", "paddr", "b"), ((1, 2, "=cmd()"), (None, 3, b"\x01")), True, 0.25)
    assert csv_of(table.columns, table.rows) == "a,paddr,b\n1,2,'=cmd()\n,3,01\n"
    assert document_of(table, "demo") == {
        "source": "demo",
        "columns": ["a", "paddr", "b"],
        "rows": [{"a": 1, "paddr": 2, "b": "=cmd()"}, {"a": None, "paddr": 3, "b": "01"}],
        "truncated": True,
        "elapsed_ms": 250.0,
    }
    assert right_columns(table) == {0}
    assert right_columns(Table(("a",), ((None,),), False, 0.0)) == frozenset()


def test_what_json_and_spreadsheets_cannot_hold_is_text() -> None:
    table = Table(("=cmd()", "x"), ((float("inf"), 1.5), (float("-inf"), None)), False, 0.0)
    rows = json.loads(json.dumps(document_of(table, "demo"), allow_nan=False))["rows"]
    assert rows == [{"=cmd()": "inf", "x": 1.5}, {"=cmd()": "-inf", "x": None}]
    assert csv_of(table.columns, table.rows).splitlines()[0] == "'=cmd(),x"
