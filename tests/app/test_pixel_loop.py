"""`glassbox pixel loop`: what is said of a loop, and why another has no kernel."""

from __future__ import annotations

import json

import pytest

from app.cli import main
from app.exit_codes import ExitCode


def test_a_loop_is_told_and_its_kernel_shown(capsys: pytest.CaptureFixture[str]) -> None:
    code = "8b048e6bc00783f05589048f48ffc14839d17cec"  # mov eax,[rsi+rcx*4]; imul; xor; mov [rdi+rcx*4],eax; …; jl
    assert main(["pixel", "loop", "--hex", code, "--json"]) == ExitCode.DONE
    document = json.loads(capsys.readouterr().out)
    assert document["status"] == "proved"
    assert document["reason"] is None
    loop = document["loop"]
    assert (loop["kind"], loop["counting"], loop["folds"]) == ("map", {"rcx": 1}, {})
    assert [(one["address"], one["size"], one["stride"], one["is_store"]) for one in loop["streams"]] == [
        ("rsi + rcx*4", 4, 4, False),
        ("rdi + rcx*4", 4, 4, True),
    ]
    assert (loop["apart"], loop["distance"], loop["step"]) == ([[0, 1]], "rdx - rcx - 1", 1)
    assert "rax" in loop["fresh"]
    assert len(document["pixel_ops"]) >= len(document["listing"]) > 5
    assert document["listing"][0].startswith("lane.64")
    assert main(["pixel", "loop", "--hex", code]) == ExitCode.DONE
    assert capsys.readouterr().out.startswith(
        "A map: its rounds need no order.\n  counts  rcx by +1 a round\n"
        "  loads   4 bytes at rsi + rcx*4, +4 a round\n  stores  4 bytes at rdi + rcx*4, +4 a round\n"
        "  checks  what is at rsi + rcx*4 and at rdi + rcx*4 does not meet\n"
        "  rounds  rdx - rcx - 1, if the first goes back\n  anew    AF, CF, OF, PF, SF, ZF, rax\n\nlane.64"
    )


def test_a_fold_with_a_longer_step(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pixel", "loop", "--hex", "4803074883c7184839f772f4"]) == ExitCode.DONE  # add rdi,24; cmp rdi,rsi; jb
    shown = capsys.readouterr().out
    assert "folds   rax becomes the sum of all rounds, 64 bits" in shown
    assert "rounds  (rsi - rdi - 24) / 24, if the first goes back" in shown
    assert "sumall.64 rax, rax" in shown


def test_leaps_over_rounds_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    code = "4889c248c1e20d4831d04889c248c1ea074831d04889c248c1e2114831d048ffc975dd"  # xorshift
    assert main(["pixel", "loop", "--hex", code, "--json"]) == ExitCode.DONE
    loop = json.loads(capsys.readouterr().out)["loop"]
    assert (loop["ordered"], loop["closed"], loop["leaps"], loop["carried"]) == (True, False, True, ["rax"])
    assert main(["pixel", "loop", "--hex", code]) == ExitCode.DONE
    shown = capsys.readouterr().out
    assert shown.startswith(
        "A recurrence over registers: its rounds are done one after the other, many of them at once.\n"
        "  counts  rcx by -1 a round\n  carries rax on from round to round, whose bits are sums of bits before\n"
    )
    assert "a round a lane, each going on from the one before." in shown


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        ("4801d8", "unsupported", "It is no loop"),
        ("0fa2ffc975fa", "unsupported", "asks the processor"),
        ("0fb6040748ffc975f7", "unsupported", "An address depends on rax"),
    ],
)
def test_what_has_no_kernel_says_why(capsys: pytest.CaptureFixture[str], code: str, status: str, reason: str) -> None:
    assert main(["pixel", "loop", "--hex", code, "--json"]) == ExitCode.FAILED
    document = json.loads(capsys.readouterr().out)
    assert document["status"] == status
    assert reason in document["reason"]
    assert document["pixel_ops"] == []
    assert main(["pixel", "loop", "--hex", code]) == ExitCode.FAILED
    assert reason in capsys.readouterr().out.partition("No kernel.")[2]


def test_what_is_no_code_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pixel", "loop", "--hex", "06"]) == ExitCode.USAGE
    assert "no x86-64 instruction" in capsys.readouterr().err
    assert main(["pixel", "loop", "--hex", "90", "--time-limit", "0"]) == ExitCode.USAGE
