"""`glassbox vol`: the list, a plugin's own options, its table as text, CSV and JSON, and what is wrong said."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from app.cli import main
from app.exit_codes import ExitCode
from app.volatility_table import cell_text, csv_of, document_of, table_rows, unique_names
from bridge.kernel.volatility_engine.records import Column, Columns, Finished, Job, Rows, Target
from bridge.kernel.volatility_engine.service import Run
from tests.app.test_kernel_commands import dump_file

__all__ = ["dump_file"]


def test_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vol", "--list"]) == ExitCode.DONE
    text = capsys.readouterr().out
    assert "linux.pslist" in text
    assert "Volatility 2." in text
    assert main(["vol", "--list", "--json"]) == ExitCode.DONE
    document = json.loads(capsys.readouterr().out)
    assert {"linux.pslist", "linux.sockstat"} <= {plugin["name"] for plugin in document["plugins"]}


def test_a_plugin_on_a_dump(capsys: pytest.CaptureFixture[str], dump_file: str, tmp_path: Path) -> None:
    assert main(["vol", "pslist", "--pid", "1,2", "--dump", dump_file, "--json"]) == ExitCode.DONE
    document = json.loads(capsys.readouterr().out)
    assert [(row["PID"], row["COMM"]) for row in document["rows"]] == [(1, "init"), (2, "kthreadd")]
    assert document["complete"]
    assert main(["vol", "--dump", dump_file, "linux.pstree", "--csv"]) == ExitCode.DONE
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {row["Depth"] for row in rows} >= {"0", "1"}
    # Pages of a program that were not in memory when the dump was taken end the plugin; what it wrote before is told.
    main(["vol", "elfs", "--pid", "1", "--plugin-dump", "--output", str(tmp_path), "--dump", dump_file])
    printed = capsys.readouterr()
    written = list(tmp_path.iterdir())
    assert any(path.read_bytes().startswith(b"\x7fELF") for path in written)
    assert {f"glassbox: wrote {path}" for path in written} <= set(printed.err.splitlines())
    assert main(["vol", "elfs", "--pid", "1", "--dump", dump_file]) == ExitCode.DONE
    assert capsys.readouterr().out.splitlines()[0].split()[:2] == ["PID", "PROCESS"]
    assert main(["vol", "pslist", "--row-limit", "2", "--dump", dump_file]) == ExitCode.DONE
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 3
    assert "first 2 rows" in printed.err


def test_help_tells_of_the_plugins_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["vol", "linux.malware.malfind", "--help"])
    text = capsys.readouterr().out
    assert "--hexdump-size N" in text
    assert "potentially contain injected code" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["vol"], "name a plugin"),
        (["vol", "pslist"], "name a machine, or a dump"),
        (["vol", "pslist", "x", "--row-limit", "0"], "more than zero"),
        (["vol", "pslist", "x", "--output", "/no/such/folder"], "no folder"),
    ],
)
def test_wrong_usage(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    assert main(arguments) == ExitCode.USAGE
    assert words in capsys.readouterr().err


def test_what_does_not_work(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as left:
        main(["vol", "nothing", "x"])
    assert left.value.code == ExitCode.USAGE
    assert "vol --list" in capsys.readouterr().err
    assert main(["vol", "pslist", "no-such-machine"]) == ExitCode.NO_SUCH_MACHINE
    (tmp_path / "zeros").write_bytes(bytes(1 << 20))
    assert main(["vol", "pslist", "--dump", str(tmp_path / "zeros")]) == ExitCode.FAILED
    assert "No running Linux kernel" in capsys.readouterr().err


def made_up() -> Run:
    run = Run(Job(1, Target(Path("x")), "linux.some"))
    run.take(Columns(1, (Column("Name", "text"), Column("At", "hex"), Column("At", "int"), Column("Ok", "bool"))))
    run.take(Rows(1, (0, 1), (("=1+1\x1b[2J\n", 255, 7, True), ("b", None, None, False))))
    run.take(Finished(1, "Cut short.", truncated=True, notes=("note",)))
    return run


def test_a_guests_text_cannot_command_anything() -> None:
    run = made_up()
    assert table_rows(run) == [("=1+1\\x1b[2J\\n", "0xff", "7", "yes"), ("  b", "-", "-", "no")]
    lines = csv_of(run).splitlines()
    assert lines == ["Depth,Name,At,At 2,Ok", "0,'=1+1\\x1b[2J\\n,0xff,7,True", "1,b,,,False"]
    assert unique_names(run.columns) == ["Name", "At", "At 2", "Ok"]
    assert cell_text(Column("x", "hex"), "0x") == "0x"
    document = document_of(run)
    assert document["rows"][0] == {"Name": "=1+1\x1b[2J\n", "At": 255, "At 2": 7, "Ok": True, "depth": 0}
    assert (document["complete"], document["problem"], document["notes"]) == (False, "Cut short.", ["note"])
