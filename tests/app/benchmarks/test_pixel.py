"""The Pixel CPU's benchmark, in small: its figures stand beside their bars, and count what was really proved."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.benchmarks import pixel_gdbstub, pixel_gpu, pixel_hybrid, pixel_program
from app.benchmarks.pixel import run
from app.benchmarks.pixel_forms import FORMS, SEQUENCES
from app.benchmarks.pixel_loops import LOOPS
from bridge.machine.guest import Guest
from bridge.machine.qemu_binary import find_qemu
from tests.bridge.machine.conftest import private_directories  # noqa: F401
from tests.bridge.machine.newer_qemu import have_newer_qemu


def test_every_figure_is_there_and_counts_what_is_good() -> None:
    report = run(parts=("proofs",), sequences=SEQUENCES[:2], forms=("4801d8", "8b03", "0fa2"), turns=1, n_states=200)
    found = {result.name: result for result in report.results}
    assert {name: str(result.bar) for name, result in found.items() if result.bar is not None} == {
        "synthesis_median": "<= 100",
        "proof_median": "<= 50",
        "forms_proved_and_tested": ">= 60",
        "mismatches": "<= 0",
    }
    assert found["forms_proved_and_tested"].value == 2, "CPUID is none"
    assert found["forms_in_all"].value == 3
    assert found["states_compared"].value == 400
    assert found["mismatches"].value == 0
    assert all(result.value is not None and result.value >= 0 for result in report.results)


def test_loops_are_measured_and_random_runs_counted(
    guest_cache: Path,
    private_directories: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GLASSBOX_QEMU", str(have_newer_qemu(guest_cache)))
    found = {result.name: result for result in pixel_hybrid.loops(rounds=1 << 14, turns=1)}
    for loop in LOOPS:
        name = loop.name.replace(" ", "_")
        assert (f"{name}_speed_up" in found) == bool(loop.c)
    assert str(found["copy_speed_up"].bar) == ">= 10"
    assert str(found["mixed_speed_up"].bar) == ">= 5"
    assert str(found["fill_of_native"].bar) == ">= 60"
    assert all(result.value is not None and result.value > 0 for result in found.values())
    counted = {result.name: result.value for result in run(parts=("calls",), calls=10).results}
    assert counted["hybrid_calls"] is not None
    assert counted["hybrid_calls"] >= 10
    assert counted["hybrid_wrong"] == 0
    assert counted["hybrid_page_faults"] is not None
    assert counted["hybrid_page_faults"] > 0


def test_the_gpu_is_measured_beside_the_host_on_the_same_loops(
    guest_cache: Path,
    private_directories: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GLASSBOX_QEMU", str(have_newer_qemu(guest_cache)))
    monkeypatch.setattr(pixel_gpu, "MEASURED", ("sum", "fill"))
    results, device = pixel_gpu.gpu(rounds=1 << 16, turns=1)
    assert device
    found = {result.name: result for result in results}
    for name in ("sum", "fill"):
        assert (found[f"{name}_host"].value or 0) > 0
        for figure in (found[f"{name}_gpu_resident"], found[f"{name}_gpu_changed"]):
            assert figure.bar is None, "what a GPU is worth depends on the GPU"
            assert (figure.value or 0) > 0 or "of the rounds were done there" in figure.why


def test_a_linux_program_says_with_kernels_what_it_says_without(
    guest_cache: Path,
    private_directories: Path,  # noqa: F811
    demo_guest: Guest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GLASSBOX_QEMU", str(have_newer_qemu(guest_cache)))
    monkeypatch.setattr(pixel_program, "find_guest", lambda _name: demo_guest)
    found = {result.name: result.value for result in pixel_program.program(size=1 << 20, turns=2)}
    assert found["program_loops"] == 2
    assert found["program_wrong"] == 0
    assert found["program_turns_compared"] == 8
    assert found["program_rounds"] is not None
    assert found["program_rounds"] > 1 << 20
    assert found["program_speed_up"] is not None


def test_without_a_newer_qemu_it_is_said_how_to_get_one(
    private_directories: Path,  # noqa: F811
    demo_guest: Guest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pixel_program, "find_guest", lambda _name: demo_guest)
    if find_qemu().version >= (11, 1):
        pytest.skip("this system's own QEMU is new enough")
    for (result,) in (pixel_hybrid.loops(rounds=1024, turns=1), pixel_hybrid.calls(least=1), pixel_program.program()):
        assert result.value is None
        assert "qemu fetch" in result.why


def test_the_forms_are_told_apart() -> None:
    assert len(set(FORMS)) == len(FORMS) > 250
    assert len(SEQUENCES) >= 20


def test_loops_through_the_gdbstub_are_measured(
    private_directories: Path,  # noqa: F811
) -> None:
    found = {result.name: result for result in pixel_gdbstub.gdbstub(rounds=1 << 15, turns=1)}
    if "gdbstub" in found:  # a QEMU that it cannot be had of says so
        assert found["gdbstub"].value is None
        assert found["gdbstub"].why
        return
    for name in ("mixed", "sum", "fill", "copy", "in_place"):
        for figure in ("speed_up", "call", "longest"):
            value = found[f"gdbstub_{name}_{figure}"].value
            assert value is not None
            assert value > 0
        assert str(found[f"gdbstub_{name}_longest"].bar) == "<= 50"
