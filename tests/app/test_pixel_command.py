"""`glassbox pixel`: code is proved, programs are compared and shown, and what is wrong is said with the right code."""

from __future__ import annotations

import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app.cli import main
from app.exit_codes import ExitCode
from tests.app.conftest import own_homes
from tests.bridge.machine.conftest import wait_until

ROOT = Path(__file__).resolve().parents[2]


def test_code_is_proved_and_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["pixel", "prove", "--hex", "48", "01", "d8", "--test", "--json"]) == ExitCode.DONE
    document = json.loads(capsys.readouterr().out)
    assert document["status"] == "proved"
    assert document["listing"] == ["add.64! rax, rax, rbx"]
    assert len(document["pixel_ops"]) == 1
    assert document["counterexample"] is None
    assert document["ms_synthesis"] > 0
    assert document["ms_proof"] > 0
    assert document["tested"]["states"] == 10_000
    assert document["tested"]["mismatches"] == 0
    saved = tmp_path / "proved.json"
    saved.write_text(json.dumps(document))
    assert main(["pixel", "prove", "--hex", "48c1e003", "48c1e005", "--optimise", "--json"]) == ExitCode.DONE
    assert json.loads(capsys.readouterr().out)["listing"] == ["shl.64! rax, rax, 8"]
    code = tmp_path / "code.bin"
    code.write_bytes(bytes.fromhex("660fefc175f0"))
    assert main(["pixel", "prove", str(code), "--arch", "x86-64", "--test"]) == ExitCode.DONE
    shown = capsys.readouterr().out
    assert "set.64 taken, ne" in shown
    assert "xor.64 xmm0.low, xmm0.low, xmm1.low" in shown
    assert "Proved: after any state" in shown
    assert "Run on 10,000 random states: none differs." in shown
    assert main(["pixel", "show", str(saved)]) == ExitCode.DONE
    assert capsys.readouterr().out == "add.64! r0, r0, r3\n"
    assert main(["pixel", "show", document["pixel_ops"][0], "--json"]) == ExitCode.DONE
    assert json.loads(capsys.readouterr().out)["pixel_ops"] == document["pixel_ops"]


def test_kernels_are_kept_listed_and_shown(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with own_homes():
        assert main(["pixel", "list"]) == ExitCode.DONE
        assert "no kernels" in capsys.readouterr().out
        assert main(["pixel", "prove", "--hex", "48ffc0", "--keep"]) == ExitCode.DONE
        capsys.readouterr()
        assert main(["pixel", "list", "--json"]) == ExitCode.DONE
        (kernel,) = json.loads(capsys.readouterr().out)["kernels"]
        assert (kernel["code"], kernel["sealed"], kernel["states"]) == ("48ffc0", True, 10_000)
        assert main(["pixel", "list"]) == ExitCode.DONE
        assert kernel["hash"][:16] in capsys.readouterr().out
        for said in (kernel["hash"], kernel["hash"][:12], kernel["hash"][:4], kernel["hash"].upper()):
            assert main(["pixel", "show", said]) == ExitCode.DONE
            assert capsys.readouterr().out == "inc.64! rax, rax\n"
        picture = tmp_path / "inc.png"
        assert main(["pixel", "show", kernel["hash"], "--png", str(picture)]) == ExitCode.DONE
        assert capsys.readouterr().out == "inc.64! rax, rax\n"
        assert main(["pixel", "show", str(picture)]) == ExitCode.DONE  # a picture has its registers' names with it
        assert capsys.readouterr().out == "inc.64! rax, rax\n"
        for said in (str(picture), kernel["hash"][:8]):
            assert main(["pixel", "check", str(picture), said]) == ExitCode.DONE
        capsys.readouterr()
        assert main(["pixel", "show", str(picture), "--png", str(tmp_path / "no" / "where.png")]) == ExitCode.FAILED
        assert "could not be written" in capsys.readouterr().err


def test_what_is_not_proved_is_exit_code_1(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["pixel", "prove", "--hex", "0fa2", "--json"]) == ExitCode.FAILED
    document = json.loads(capsys.readouterr().out)
    assert (document["status"], document["pixel_ops"]) == ("unsupported", [])
    assert "cpuid" in document["reason"]
    one, other = tmp_path / "one.txt", tmp_path / "other.txt"  # a prime is no product: no solver sees that in time
    one.write_text(
        "zx32.64 r1, r2\nzx32.64 r4, r3\nmul.64 r4, r4, r1\neq.64 r1, r4, 0x1fffffffffffffff\nmov.64 r4, 0\n"
    )
    other.write_text("mov.64 r1, 0\nmov.64 r4, 0\n")
    assert main(["pixel", "check", str(one), str(other), "--time-limit", "0.1"]) == ExitCode.FAILED
    assert "Not decided." in capsys.readouterr().out


def test_programs_are_compared(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    one, other = tmp_path / "one.txt", tmp_path / "other.txt"
    one.write_text("add.64 r1, r2, r2\n")
    other.write_text("shl.64 r1, r2, 1 ; twice\n")
    assert main(["pixel", "check", str(one), str(other)]) == ExitCode.DONE
    assert capsys.readouterr().out.startswith("Proved")
    other.write_text("shl.64 r1, r2, 2")
    assert main(["pixel", "check", str(one), str(other), "--json"]) == ExitCode.FAILED
    document = json.loads(capsys.readouterr().out)
    assert document["status"] == "refuted"
    assert set(document["counterexample"]["differs"]) == {"r1"}


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["prove"], "give code"),
        (["prove", "file", "--hex", "90"], "not both"),
        (["prove", "--hex", "zz"], "no bytes in hex"),
        (["prove", "--hex", "9"], "no bytes in hex"),
        (["prove", "--hex", "06"], "no x86-64 instruction"),
        (["prove", "no/such/file"], "there is no file"),
        (["prove", "--hex", "90", "--time-limit", "0"], "time limit"),
        (["prove", "--hex", "90", "--time-limit", "nan"], "time limit"),
        (["show", "no-such-program"], "there is no file"),
        (["show", "00000000"], "no microcode"),
        (["show", "0d2000031"], "eight hex digits"),
        (["show", "deadbeef"], "no kernel's hash begins so either"),
        (["check", "deadbeef", "deadbeef"], "no kernel's hash begins so either"),
        (["show", "dead"], "there is no file dead; no kernel's hash"),
        (["show", "n" * 5000], "cannot be read: File name too long"),
        (["prove", "/"], "/ is a folder"),
        (["loop", "/"], "/ is a folder"),
        (["show", "/"], "/ is a folder"),
        (["prove", "/dev/null"], "is a device or a pipe"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(words: list[str], part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pixel", *words]) == ExitCode.USAGE
    assert part in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"fly r1", "no microcode"),
        (b"\xff\xfe\x00", "is no text"),
        (b'{"pixel_ops": 7}', "JSON without"),
        (b'{"pixel_ops": ["0d"]}', "JSON without"),
        (b"{" * 100_000, "JSON without"),
        (b"0" * ((1 << 20) + 1), "more than"),
    ],
)
def test_files_that_are_no_programs_are_refused(
    content: bytes, part: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "program"
    file.write_bytes(content)
    assert main(["pixel", "show", str(file)]) == ExitCode.USAGE
    assert part in capsys.readouterr().err


def test_nothing_heavy_is_loaded_until_it_is_needed() -> None:
    heavy = "{'z3', 'pyvex', 'unicorn', 'llvmlite', 'capstone'}"
    script = f"import sys, app.commands.pixel, bridge.pixelcpu.prover; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_an_interrupt_says_so_and_no_more() -> None:
    """Ctrl+C reaches all processes of a terminal's group."""
    python = ["env", "--default-signal=INT", sys.executable]  # who runs in the background ignores it
    words = [*python, "-P", "-m", "app", "pixel", "prove", "--hex", "f30fb8c3", "--test"]
    with subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True) as command:
        try:
            wait_until(lambda: any(ignores(pid, signal.SIGINT) for pid in children(command.pid)))
            (prover,) = children(command.pid)
            os.kill(prover, signal.SIGSTOP)  # it does not get done before
            os.killpg(command.pid, signal.SIGINT)
            _, said = command.communicate(timeout=60)
        finally:
            command.kill()
    assert (command.returncode, said) == (ExitCode.FAILED, "glassbox: interrupted\n")


def test_an_interrupt_while_it_is_loaded_says_so_and_no_more(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(importlib, "import_module", interrupted)
    monkeypatch.setattr(sys, "argv", ["glassbox", "pixel", "list"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("app", run_name="__main__")
    assert ended.value.code == ExitCode.FAILED
    assert capsys.readouterr().err == "glassbox: interrupted\n"


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def ignores(pid: int, number: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    (ignored,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigIgn:"))
    return bool(int(ignored, 16) >> (number - 1) & 1)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_nowhere(closed: str, tmp_path: Path) -> None:
    """Neither does it fail, nor does a file that is opened take its number."""
    said = tmp_path / "said"
    command = f"{sys.executable} -P -m app pixel prove --hex 4801d8 > {said} 2>&1 {closed}"
    assert subprocess.run(["bash", "-c", command], cwd=ROOT, check=False).returncode == ExitCode.DONE
    assert ("Proved" in said.read_text()) == (" >&-" not in f" {closed}")
