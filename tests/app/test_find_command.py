"""`glassbox find` on a real guest's dump, as text and as JSON, and what it says to questions that are none."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from app.cli import main
from app.exit_codes import ExitCode


@pytest.fixture
def dump_file(demo_dump: Path) -> str:
    """RAM of a demo guest that had come up; the machine is gone."""
    return str(demo_dump)


def found(capsys: pytest.CaptureFixture[str], dump_file: str, query: str) -> dict[str, Any]:
    assert main(["find", query, "--dump", dump_file, "--json"]) == ExitCode.DONE
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_the_document_is_as_it_is_promised(capsys: pytest.CaptureFixture[str], dump_file: str) -> None:
    document = found(capsys, dump_file, "heap of the shell")
    assert document["query"] == 'show heap of process "sh"'
    assert document["assumed"] == ['"the shell" is taken for the process sh.']
    assert document["complete"]
    assert document["elapsed_ms"] > 0
    assert document["matches"]
    for match in document["matches"]:
        assert set(match) == {"label", "kind", "pid", "ranges", "pages", "class"}
        assert match["kind"] == "heap"
        assert match["label"].startswith(f"sh ({match['pid']}) heap 0x")
        assert sum(length for _, length in match["ranges"]) == 4096 * match["pages"]
    assert document["pages"] == sum(match["pages"] for match in document["matches"])


def test_a_table_for_people(capsys: pytest.CaptureFixture[str], dump_file: str) -> None:
    assert main(["find", "kernel stack of init", "--dump", dump_file]) == ExitCode.DONE
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert lines[0].split() == ["MATCH", "KIND", "PAGES", "SIZE", "CLASS", "PHYSICAL"]
    assert lines[1].startswith("kernel stack of init (1)  kernel stack      4  16 KiB  Kernel stacks  0x")
    assert lines[-1].startswith('show kernel stack of process "init": 1 match, 4 pages, 16 KiB, in ')
    assert told.err == ""


def test_a_machine_may_be_named_before_and_after_options(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["heap", "--json", "not-there"], ["heap", "not-there", "--json"], ["--json", "heap", "not-there"]):
        assert main(["find", *words]) == ExitCode.NO_SUCH_MACHINE
        assert "not-there" in capsys.readouterr().err


def test_what_is_not_understood_is_a_sentence(capsys: pytest.CaptureFixture[str], dump_file: str) -> None:
    assert main(["find", "heap of \x1b[2Jnobody", "--dump", dump_file]) == ExitCode.USAGE
    told = capsys.readouterr()
    assert told.out == ""
    assert "No process here is called" in told.err
    assert "What can be asked, among others:" in told.err
    assert "\x1b" not in told.err
    assert main(["find", "", "--dump", dump_file, "--json"]) == ExitCode.USAGE
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is False
    assert document["error"].startswith("Nothing is asked.")


def test_rules_that_are_no_file_are_refused_at_once(
    capsys: pytest.CaptureFixture[str], dump_file: str, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe.yar")  # opening it would wait for ever
    for path, why in ((tmp_path / "pipe.yar", "no plain file"), ("~nobody-of-that-name/x.yar", "no such home")):
        assert main(["find", f'yara "{path}"', "--dump", dump_file]) == ExitCode.FAILED
        assert why in capsys.readouterr().err
