"""`glassbox attach` without a screen: what it says of a QEMU that someone else started, which then runs on."""

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.cli import main
from app.exit_codes import ExitCode
from tests.app.conftest import MIB, make_guest


@pytest.fixture
def theirs(homes: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The QMP socket of a machine with shared memory, which must live to the end. There is no screen."""
    for variable in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(variable, raising=False)
    path = homes / "qmp.sock"
    command = [
        *("qemu-system-x86_64", "-nodefaults", "-display", "none", "-m", "8M", "-fda", str(make_guest(homes).floppy)),
        *("-object", "memory-backend-memfd,id=ram,size=8M,share=on", "-machine", "pc,memory-backend=ram"),
        *("-qmp", f"unix:{path},server=on,wait=off"),
    ]
    with subprocess.Popen(command) as qemu:
        try:
            deadline = time.monotonic() + 60
            while not path.exists():
                assert time.monotonic() < deadline
                time.sleep(0.02)
            yield path
            assert qemu.poll() is None, "leaving it never ends it"
        finally:
            qemu.kill()


def test_what_was_found_is_said(theirs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["attach", str(theirs), "--name", "theirs"]) == ExitCode.DONE
    said = capsys.readouterr().out
    assert said.startswith("theirs: 8 MiB of shared RAM, running, pid ")
    assert "No window: there is no screen" in said
    assert main(["attach", str(theirs), "--json"]) == ExitCode.DONE
    found = json.loads(capsys.readouterr().out)
    assert (found["ram_bytes"], found["attached"], found["state"]) == (8 * MIB, True, "running")


def test_a_socket_that_is_none_is_a_failure(homes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["attach", str(homes / "nothing.sock"), "--json"]) == ExitCode.FAILED
    assert "nothing.sock" in capsys.readouterr().out + capsys.readouterr().err
