"""The KVM probe: its firmware does what it says, and its answer follows from what KVM really does here."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from bridge.machine import accelerator
from bridge.machine.accelerator import KVM_DEVICE, Trial, firmware_image, probe_kvm, try_accelerator
from bridge.machine.directories import cache_dir
from bridge.machine.errors import QemuMissing
from bridge.machine.qemu_binary import QemuBinary, find_qemu

SOURCE = Path(__file__).parents[3] / "assets" / "kvm_probe.S"


@pytest.mark.skipif(shutil.which("as") is None, reason="needs an assembler (binutils)")
def test_the_machine_code_is_that_of_the_source(tmp_path: Path) -> None:
    subprocess.run(["as", "--64", "-o", tmp_path / "probe.o", SOURCE], check=True)
    subprocess.run(["objcopy", "-O", "binary", "-j", ".text", tmp_path / "probe.o", tmp_path / "probe.bin"], check=True)
    assert (tmp_path / "probe.bin").read_bytes() == firmware_image()


def test_the_expected_result_is_what_the_loop_computes() -> None:
    # A plain model of the loop's arithmetic; the cell read back is written every 512th round.
    value, cell, mask = 0, 0, (1 << 64) - 1
    for left in range(4_000_000, 0, -1):
        value = (value + 0x9E3779B97F4A7C15) & mask
        value = ((value << 13) | (value >> 51)) & mask
        if left & 0xFF8 == 8:
            cell = value
    assert (cell & 0x7F) << 1 | 1 == accelerator._RESULT


def test_emulation_passes_the_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerator, "TRIAL_LIMIT_S", 60.0)  # it is right, however long that takes here
    trial = try_accelerator(find_qemu(), "tcg")
    assert trial.passed
    assert trial.exit_code == accelerator._RESULT


@pytest.mark.skipif(not os.access(KVM_DEVICE, os.R_OK | os.W_OK), reason="no KVM to try out")
def test_the_answer_follows_the_trial_and_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerator, "TRIAL_LIMIT_S", 0.7)
    tried: list[Trial] = []

    def trial(qemu: QemuBinary, name: str) -> Trial:
        assert name == "kvm"
        tried.append(try_accelerator(qemu, "kvm"))
        return tried[-1]

    monkeypatch.setattr(accelerator, "try_accelerator", trial)
    cache = cache_dir() / "kvm-probe.json"
    cache.unlink()
    probe = probe_kvm()
    assert [one.passed for one in tried] == [probe.usable]
    assert cache.exists()
    kept = cache.stat().st_mtime_ns
    assert probe_kvm() == probe
    assert len(tried) == 1
    assert cache.stat().st_mtime_ns == kept


@pytest.mark.skipif(not os.access(KVM_DEVICE, os.R_OK | os.W_OK), reason="no KVM to try out")
@pytest.mark.parametrize("text", ["", "{", "[]", '{"asked": 1}', "\0"])
def test_a_kept_answer_that_makes_no_sense_is_asked_again(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    tried: list[str] = []

    def trial(_qemu: QemuBinary, name: str) -> Trial:
        tried.append(name)
        return Trial(True, accelerator._RESULT, 0.06, "")

    monkeypatch.setattr(accelerator, "try_accelerator", trial)
    (cache_dir() / "kvm-probe.json").write_text(text)
    assert probe_kvm().usable
    assert probe_kvm().reason == "KVM ran a test guest in 60 ms"
    assert tried == ["kvm"]
    monkeypatch.setattr(accelerator, "boot_id", lambda: "the next boot")
    probe_kvm()
    assert tried == ["kvm", "kvm"]


def test_no_kvm_and_forbidden_kvm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(accelerator, "KVM_DEVICE", tmp_path / "kvm")
    assert not probe_kvm().usable
    assert "no /dev/kvm" in probe_kvm().reason
    (tmp_path / "kvm").touch()
    access = os.access
    monkeypatch.setattr("os.access", lambda path, mode: path != tmp_path / "kvm" and access(path, mode))
    assert "join the group kvm" in probe_kvm().reason


def test_what_a_failed_trial_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "exit code 1" in accelerator._verdict(Trial(False, 1, 0.1, "")).reason
    assert "no such thing" in accelerator._verdict(Trial(False, 1, 0.1, "no such thing")).reason
    assert "did not finish" in accelerator._verdict(Trial(False, None, 1.5, "")).reason
    broken = tmp_path / "qemu"
    broken.write_text("#!/bin/sh\necho no accelerator here >&2\nexit 1\n")
    broken.chmod(0o755)
    trial = try_accelerator(QemuBinary(broken, (10, 0, 0), "", ""), "kvm")
    assert (trial.passed, trial.exit_code, trial.said) == (False, 1, "no accelerator here")
    broken.write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(accelerator, "TRIAL_LIMIT_S", 0.1)
    assert try_accelerator(QemuBinary(broken, (10, 0, 0), "", ""), "kvm").exit_code is None
    with pytest.raises(QemuMissing):
        try_accelerator(QemuBinary(tmp_path / "none", (10, 0, 0), "", ""), "kvm")
