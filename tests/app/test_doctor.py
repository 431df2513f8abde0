"""Doctor: what it says of this machine is true, and what is broken is found and named, without taking doctor along."""

import importlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from app import doctor
from app.doctor import Check
from app.exit_codes import ExitCode

OLD_QEMU = "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)"


@pytest.fixture(autouse=True)
def _own_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_RUNTIME_DIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        directory = tmp_path / name.lower()
        directory.mkdir(mode=0o700)
        monkeypatch.setenv(name, str(directory))


def script(path: Path, body: str) -> Path:
    """Write an executable for /bin/sh."""
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def test_this_machine_is_good_enough_and_the_report_is_true(capsys: pytest.CaptureFixture[str]) -> None:
    code = doctor.main(json=True)
    document = json.loads(capsys.readouterr().out)
    checks = {check["name"]: check for check in document["checks"]}
    assert [check for check in checks.values() if not check["ok"] or check["fix"]] == []
    assert (code, document["ok"]) == (ExitCode.DONE, True)
    assert list(document) == ["ok", "checks"]
    assert list(checks) == list(doctor._CHECKS)
    assert all(list(check) == ["name", "ok", "detail", "fix"] for check in checks.values())

    detail = {name: check["detail"] for name, check in checks.items()}
    qemu = shutil.which("qemu-system-x86_64")
    assert qemu is not None
    said = subprocess.run([qemu, "--version"], capture_output=True, text=True, check=True).stdout
    assert detail["qemu"].split()[0] in said
    assert sys.prefix in detail["python"]
    assert f"numpy {importlib.metadata.version('numpy')}" in detail["packages"]
    assert detail["accelerator"].startswith(("TCG: ", "KVM: "))
    assert "Vulkan" in detail["vulkan"]
    assert "boot-sector" in detail["guests"]


def test_the_report_lines_up_and_shows_each_fix_under_what_it_mends() -> None:
    checks = [Check("a", True, "fine", ""), Check("longer", False, "not there", "get it")]
    assert doctor.format_report(checks).splitlines() == [
        "ok       a       fine",
        "MISSING  longer  not there",
        "                 fix: get it",
        "",
        "1 of 2 not good enough; the fixes are above.",
    ]
    assert doctor.format_report(checks[:1]).splitlines()[-1] == "Everything is here."


def test_without_any_program_in_path_it_still_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor.main(json=False) == ExitCode.COMPONENT_MISSING
    bad = {line.split()[1] for line in capsys.readouterr().out.splitlines() if line.startswith("MISSING")}
    assert {"qemu", "accelerator", "compiler", "assembler"} <= bad


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (f'echo "{OLD_QEMU}"', "7.2.22 is too old"),
        ("echo nonsense", "does not tell its version: nonsense"),
        ("exit 1", "does not tell its version: no answer"),
        ('[ "$1" = -help ] || echo "QEMU emulator version 10.0.2"', "10.0.2 was built without TCG plugins"),
    ],
)
def test_a_qemu_that_is_not_good_enough_is_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, detail: str
) -> None:
    script(tmp_path / "qemu-system-x86_64", body)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    check = doctor.check_qemu()
    assert not check.ok
    assert detail in check.detail
    assert "9.1 or newer" in check.fix


def test_a_tool_that_does_not_run_is_not_good_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path / "cc", "echo 'cc1: not found' >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    check = doctor.check_compiler()
    assert (check.ok, check.fix) == (False, "install gcc and libc6-dev")
    assert check.detail.endswith("does not run: cc1: not found")


def test_no_vulkan_driver_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VK_DRIVER_FILES", str(tmp_path / "none.json"))
    monkeypatch.setenv("VK_ICD_FILENAMES", str(tmp_path / "none.json"))  # the name for older loaders
    check = doctor.check_adapter()
    assert not check.ok
    assert "mesa-vulkan-drivers" in check.fix


@pytest.mark.parametrize(
    ("question", "detail"),
    [
        ("import os; os.abort()", "the driver crashed (SIGABRT)"),
        ("raise RuntimeError('no adapter')", "RuntimeError: no adapter"),
    ],
)
def test_a_driver_that_fails_does_not_take_doctor_along(
    monkeypatch: pytest.MonkeyPatch, question: str, detail: str
) -> None:
    monkeypatch.setattr(doctor, "_ASK_ADAPTER", question)
    assert doctor.check_adapter().detail == detail


def test_a_driver_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_ASK_ADAPTER", "import time; time.sleep(60)")
    monkeypatch.setattr(doctor, "CHILD_LIMIT_S", 0.5)
    check = doctor._guarded(("vulkan", doctor.check_adapter))
    assert not check.ok
    assert "did not answer" in check.detail


def test_a_check_that_fails_itself_is_reported_and_the_others_go_on() -> None:
    def defect() -> Check:
        raise ZeroDivisionError("by zero")

    def unimportable() -> Check:
        importlib.import_module("bridge.no_such_module")
        raise AssertionError

    assert doctor._guarded(("x", defect)).detail == "the check itself failed: ZeroDivisionError: by zero"
    broken = doctor._guarded(("y", unimportable))
    assert "no_such_module" in broken.detail
    assert ".venv" in broken.fix


def test_packages_that_differ_from_the_lock_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tmp_path / "requirements.lock"
    monkeypatch.setattr(doctor, "LOCK", lock)
    unreadable = doctor.check_packages()
    assert (unreadable.ok, unreadable.fix) == (False, "restore it: git checkout")

    here = importlib.metadata.version("numpy")
    lock.write_text(
        f"# made by a tool\nnumpy=={here} \\\n    --hash=sha256:00\n"
        "not-there==1.0 ; sys_platform == 'win32' \\\n    --hash=sha256:00\n"
    )
    assert doctor.read_lock(lock) == {"numpy": (here, False), "not-there": ("1.0", True)}
    assert doctor.check_packages().ok

    lock.write_text("numpy==0.1 \\\n    --hash=sha256:00\nnot-there==1.0 \\\n    --hash=sha256:00\n")
    assert doctor.check_packages().detail == f"numpy is {here}, not 0.1; not-there is missing"


def test_a_python_that_is_too_old_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "MIN_PYTHON", (99, 0))
    check = doctor.check_python()
    assert not check.ok
    assert check.fix.startswith("install Python 99.0")


def test_shared_memory_that_is_full_missing_or_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "MIN_SHARED_MEMORY_BYTES", 1 << 60)
    full = doctor.check_shared_memory()
    assert (full.ok, "remount" in full.fix) == (False, True)
    monkeypatch.setattr(doctor, "SHARED_MEMORY", tmp_path / "none")
    assert doctor.check_shared_memory().detail.endswith("none cannot be used: No such file or directory")
    monkeypatch.setattr(doctor, "SHARED_MEMORY", Path("/proc"))  # where not even root may write
    assert doctor.check_shared_memory().detail.startswith("/proc cannot be used: ")


def test_directories_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.check_directories().ok
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    planted = tmp_path / "planted"
    planted.mkdir()
    (planted / "glassbox").symlink_to(elsewhere)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(planted))
    check = doctor.check_directories()
    assert check.detail == f"{planted / 'glassbox'}: it is a symbolic link"
    assert "XDG_RUNTIME_DIR" in check.fix

    monkeypatch.setenv("XDG_RUNTIME_DIR", str(elsewhere))
    occupied = tmp_path / "file"
    occupied.touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(occupied))
    assert not doctor.check_directories().ok
