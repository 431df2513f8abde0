"""The command line as a user or a script meets it: words in, sentences or JSON and an exit code out."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from app.cli import main
from app.exit_codes import ExitCode
from bridge.machine.discovery import discover, stop_machine

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 240
# mov $'H', %al; mov $0x3f8, %dx; out %al, (%dx); movb $0x5a, 0x600 (ds = 0); hlt; jmp .-1
CODE = bytes.fromhex("31c08ed8b048baf803eec60600065af4ebfd")


@pytest.fixture
def boot_image(tmp_path: Path) -> Path:
    image = tmp_path / "boot.img"
    image.write_bytes(CODE.ljust(510, b"\0") + b"\x55\xaa")
    return image


@pytest.fixture
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Own runtime, cache and configuration directories; whatever a test leaves running is ended."""
    for variable in ("XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        directory = tmp_path / variable
        directory.mkdir(mode=0o700)
        monkeypatch.setenv(variable, str(directory))
    yield tmp_path
    for record in discover():
        stop_machine(record.name)


def run_json(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, object]]:
    capsys.readouterr()
    code = main([*words, "--json"])
    out = capsys.readouterr().out
    document = json.loads(out)
    assert isinstance(document, dict)
    return code, document


def test_a_detached_machine_lives_through_every_command(
    private: Path, boot_image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, started = run_json(capsys, "run", "--floppy", str(boot_image), "--ram", "16M", "--name", "tiny", "--detach")
    assert code == ExitCode.DONE
    assert started["name"] == "tiny"
    assert started["ram_bytes"] == 16 << 20
    _, listed = run_json(capsys, "list")
    assert [(m["name"], m["ownership"]) for m in listed["machines"]] == [("tiny", "detached")]  # type: ignore[attr-defined]
    deadline = time.monotonic() + 120
    read: dict[str, object] = {}
    while time.monotonic() < deadline and read.get("hex") != "5a":
        _, read = run_json(capsys, "read", "tiny", "0x600", "1")
    assert read["hex"] == "5a", "the guest's own byte never came"
    for word, state in (("pause", "paused"), ("resume", "running"), ("reset", "running")):
        assert main([word, "tiny"]) == ExitCode.DONE
        _, listed = run_json(capsys, "list")
        assert listed["machines"][0]["state"] == state  # type: ignore[index]
    assert main(["list"]) == ExitCode.DONE
    header, row = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["NAME", "STATE", "GUEST"]
    assert row.split()[:2] == ["tiny", "running"]
    Path(str(started["ram_path"])).unlink()
    assert main(["list"]) == ExitCode.DONE
    assert "tiny: Its RAM file" in capsys.readouterr().out
    assert main(["stop", "tiny"]) == ExitCode.DONE
    assert capsys.readouterr().out == "tiny stopped\n"
    assert discover() == ()
    assert main(["list"]) == ExitCode.DONE
    assert capsys.readouterr().out.startswith("No machine is running.")


def test_a_machine_that_is_not_there_is_exit_code_3(private: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["stop", "no-such"], ["read", "no-such", "0", "1"], ["shot", "no-such", "--out", "x.png"]):
        assert main(words) == ExitCode.NO_SUCH_MACHINE
        assert "no-such" in capsys.readouterr().err
    code, document = run_json(capsys, "pause", "no-such")
    assert code == ExitCode.NO_SUCH_MACHINE
    assert document["ok"] is False


@pytest.mark.parametrize(
    "words",
    [
        ["fly"],
        ["read", "tiny"],
        ["run", "--ram", "lots"],
        ["shot", "--out", "x.png", "--size", "3x3"],
        ["shot", "--out", "x.png", "--size", "wide"],
        ["bench", "nothing"],
    ],
)
def test_what_cannot_be_parsed_is_a_usage_error(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == ExitCode.USAGE
    assert "usage: glassbox" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["bench", "introspect", "--part", "nothing"], "it has symbols, looks, overlay, frozen, peers, window"),
        (["bench", "memory", "--part", "overlay"], "it is measured as a whole"),
        (["run"], "name a guest"),
        (["run", "demo", "--floppy", "x"], "not both"),
        (["window", "--guest", "demo", "--floppy", "x"], "not both"),
        (["shot", "--out", "x.png"], "name a running machine"),
        (["shot", "tiny", "--guest", "demo", "--out", "x.png"], "only one of them"),
        (["shot", "tiny", "--out", "/no/such/directory/x.png"], "no directory"),
        (["voxel", "0x100000000"], "larger --order"),
        (["voxel", "0", "--order", "99"], "order 99"),
        (["address", "0", "0", "1024"], "larger --order"),
        (["read", "tiny", "0", "1G"], "--raw"),
        (["read", "tiny", "x", "1"], "an address"),
        (["do", "a", "b", "c=d"], "not mixed"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error_that_says_what_would(
    words: list[str], part: str, private: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == ExitCode.USAGE
    assert part in capsys.readouterr().err


def test_help_and_version_end_well(capsys: pytest.CaptureFixture[str]) -> None:
    for word in ("--help", "--version"):
        with pytest.raises(SystemExit) as caught:
            main([word])
        assert caught.value.code == 0
    assert "exit codes" in capsys.readouterr().out


def test_voxel_and_address_are_each_others_inverse(capsys: pytest.CaptureFixture[str]) -> None:
    for address, curve in product((0, 0x7C00, 0x3FFF_FFFF), (None, "hilbert", "morton", "linear")):
        choice = ["--curve", curve] if curve else []
        assert main(["voxel", hex(address), *choice]) == ExitCode.DONE
        voxel = capsys.readouterr().out.split()
        assert main(["address", *voxel, *choice]) == ExitCode.DONE
        assert capsys.readouterr().out == f"{address:#x}\n"
    for curve, corner in (("hilbert", [0, 16, 0]), ("morton", [16, 0, 0]), ("linear", [16, 0, 0])):
        _, document = run_json(capsys, "voxel", "0x1000", "--curve", curve)
        assert document["curve"] == curve
        assert sorted(document["voxel"]) == sorted(corner)  # type: ignore[call-overload]
    _, document = run_json(capsys, "voxel", "0x1000")
    assert document["page"] == 1
    assert max(document["voxel"]) >= 16, "the second page is another brick"  # type: ignore[call-overload]


def test_a_missing_coordinate_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["address", "1", "2"])
    assert left.value.code == ExitCode.USAGE
    assert "required: Z" in capsys.readouterr().err


def test_bytes_outside_of_ram_are_a_failure_that_says_where_ram_is(
    private: Path, boot_image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--floppy", str(boot_image), "--ram", "16M", "--name", "tiny", "--detach"]) == ExitCode.DONE
    assert "tiny started" in capsys.readouterr().out
    assert main(["read", "tiny", "1G", "4"]) == ExitCode.FAILED
    assert "0x40000000" in capsys.readouterr().err
    assert main(["read", "tiny", "0x500", "20"]) == ExitCode.DONE
    rows = capsys.readouterr().out.splitlines()
    assert [row.split()[0] for row in rows] == ["0000000500", "0000000510"]


def _start(private: Path, *words: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "app", *words], cwd=ROOT, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_a_foreground_machine_shows_its_console_and_ends_with_its_owner(private: Path, boot_image: Path) -> None:
    child = _start(private, "run", "--floppy", str(boot_image), "--ram", "16M", "--name", "fore")
    assert child.stdout is not None
    try:
        seen = b""
        while b"H" not in seen.partition(b"Ctrl+]")[2]:
            chunk = os.read(child.stdout.fileno(), 4096)
            assert chunk, "the console ended before the guest had spoken"
            seen += chunk
        assert [record.name for record in discover()] == ["fore"]
        child.send_signal(signal.SIGTERM)
        assert child.wait(LIMIT_S) == ExitCode.FAILED
    finally:
        child.kill()
        child.communicate()
    assert discover() == ()


def test_a_reader_that_leaves_early_is_no_drama(private: Path, boot_image: Path) -> None:
    assert main(["run", "--floppy", str(boot_image), "--ram", "16M", "--name", "tiny", "--detach"]) == ExitCode.DONE
    child = _start(private, "read", "tiny", "0", "16M", "--raw")
    assert child.stdout is not None
    assert child.stderr is not None
    assert len(child.stdout.read(4096)) == 4096
    child.stdout.close()
    assert child.wait(LIMIT_S) == ExitCode.FAILED
    assert child.stderr.read() == b""
    child.stderr.close()


def test_what_was_asked_of_machines_is_in_the_audit_log(
    private: Path, boot_image: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_json(capsys, "run", "--floppy", str(boot_image), "--ram", "16M", "--name", "tiny", "--detach")
    run_json(capsys, "read", "tiny", "0x600", "16")
    assert main(["ps", "nobody"]) == ExitCode.NO_SUCH_MACHINE
    monkeypatch.chdir(boot_image.parent)
    assert main(["ps", "--dump", boot_image.name]) == ExitCode.FAILED
    run_json(capsys, "list")
    capsys.readouterr()
    _, shown = run_json(capsys, "audit", "show")
    kept = [(one["who"], one["what"], one["detail"].get("name"), one["result"]) for one in shown["records"]]  # type: ignore[attr-defined]
    assert kept == [
        ("cli", "run", "tiny", "begun"),
        ("cli", "run", "tiny", "done"),
        ("cli", "read", "tiny", "done"),
        ("cli", "ps", "nobody", "exit code 3"),
        ("cli", "ps", None, "exit code 1"),
    ]
    assert shown["records"][-1]["detail"]["dump"] == str(boot_image)  # type: ignore[index]
    code, verdict = run_json(capsys, "audit", "verify")
    assert (code, verdict["ok"], verdict["records"]) == (ExitCode.DONE, True, 5)
    assert main(["audit", "show", "--last", "2"]) == ExitCode.DONE
    assert "nobody" in capsys.readouterr().out
    log = private / "XDG_STATE_HOME" / "glassbox" / "audit.jsonl"
    log.write_bytes(log.read_bytes().replace(b"0x600", b"0x700").replace(b"1536", b"1792"))
    assert main(["audit", "verify"]) == ExitCode.FAILED
    assert "record 3 was changed" in capsys.readouterr().out
    # A log that cannot be written is said, and what was asked for is done.
    monkeypatch.setenv("XDG_STATE_HOME", str(boot_image))
    assert main(["read", "tiny", "0x600", "1"]) == ExitCode.DONE
    assert "glassbox: " in capsys.readouterr().err
    assert main(["audit", "verify"]) == ExitCode.FAILED
    capsys.readouterr()
    assert main(["sql", "SELECT 1"]) == ExitCode.FAILED
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1, "what both the command and the log need is said once"
    assert "cannot be made" in said[0]
