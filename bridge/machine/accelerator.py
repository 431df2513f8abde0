"""Whether KVM really runs guests here. A /dev/kvm that can be opened says little: it is tried out, once a boot."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bridge.machine.command_line import escape
from bridge.machine.errors import QemuMissing
from bridge.machine.kept_answers import keep_answer, kept_answer
from bridge.machine.processes import boot_id
from bridge.machine.qemu_binary import QemuBinary, find_qemu
from bridge.machine.states import Accelerator

KVM_DEVICE = Path("/dev/kvm")
# Where KVM works, the trial takes 60 ms; some nested ones are slower than emulation, or never come back.
TRIAL_LIMIT_S = 1.5

# A firmware image of 64 KiB, whose last 16 bytes are the first that a processor executes. The machine code is that of
# assets/kvm_probe.S (a test assembles it and compares): real mode, protected mode, long mode with paging, and then a
# loop of computing and storing, whose result goes out by isa-debug-exit.
_IMAGE_BYTES = 64 << 10
_CODE_OFFSET = 0xFE00
_CACHE = "kvm-probe.json"
_CODE = bytes.fromhex(
    "0000000000000000ffff0000009bcf00ffff00000093cf00ffff0000009baf001f0000fe0f00fa2e"
    "660f011620fe0f20c00c010f22c066ea3efe0f00080066b810008ed88ec08ed0fcbf0010000031c0"
    "b9000c0000f3abc7050010000003200000c7050020000003300000c70500300000830000000f20e0"
    "83c8200f22e0b8001000000f22d8b9800000c00f320d000100000f300f20c00d000000800f22c0ea"
    "a6fe0f00180048ba157c4a7fb979379e31c0b900093d004801d048c1c00d89cb81e3f80f00004889"
    "8300400000ffc975e6b0000a042508400000e6f4f4ebfd"
)
_START_OFFSET = 0xFFF0
_START_CODE = bytes.fromhex("e933fe")
# The loop's result is 0x1b, and isa-debug-exit ends QEMU with twice what it is given, plus one.
_RESULT = 0x1B << 1 | 1


@dataclass(frozen=True, slots=True)
class KvmProbe:
    """Whether KVM runs guests, and a sentence that says why (not)."""

    usable: bool
    reason: str


def probe_kvm() -> KvmProbe:
    """Find out whether KVM runs guests. Takes up to 1.5 s the first time after each boot, then microseconds.

    Raises `QemuMissing`.
    """
    qemu = find_qemu()
    if not KVM_DEVICE.exists():
        return KvmProbe(False, "KVM is not there (no /dev/kvm); emulated")
    if not os.access(KVM_DEVICE, os.R_OK | os.W_OK):
        return KvmProbe(False, "you may not use /dev/kvm (join the group kvm); emulated")
    asked = {"boot": boot_id(), "qemu": qemu.identity, "trial": _RESULT}
    kept = kept_answer(_CACHE, asked)
    if kept is not None and isinstance(kept.get("usable"), bool):
        return KvmProbe(kept["usable"], str(kept.get("reason", "")))
    known = _verdict(try_accelerator(qemu, "kvm"))
    keep_answer(_CACHE, asked, {"usable": known.usable, "reason": known.reason})
    return known


@dataclass(frozen=True, slots=True)
class Trial:
    """How the trial ended: `exit_code` is None when it was cut off."""

    passed: bool
    exit_code: int | None
    duration_s: float
    said: str


def try_accelerator(qemu: QemuBinary, accelerator: Accelerator) -> Trial:
    """Run the trial's firmware under an accelerator, for at most `TRIAL_LIMIT_S`. Raises `QemuMissing`."""
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="glassbox-kvm-") as directory:
        firmware = Path(directory) / "probe.bin"
        firmware.write_bytes(firmware_image())
        arguments = ["-nodefaults", "-no-user-config", "-display", "none", "-machine", "pc", "-m", "4M", "-cpu", "max"]
        arguments += ["-accel", accelerator, "-bios", escape(str(firmware))]
        arguments += ["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]
        try:
            ended = subprocess.run(
                [str(qemu.path), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=TRIAL_LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Trial(False, None, time.perf_counter() - begin, "")
        except OSError as error:
            raise QemuMissing(f"{qemu.path} could not be started: {error.strerror}.") from error
    lines = ended.stderr.decode("utf-8", "replace").strip().splitlines()
    said = lines[-1][:200] if lines else ""
    return Trial(ended.returncode == _RESULT, ended.returncode, time.perf_counter() - begin, said)


def firmware_image() -> bytes:
    """The trial's 64 KiB of firmware."""
    image = bytearray(_IMAGE_BYTES)
    image[_CODE_OFFSET : _CODE_OFFSET + len(_CODE)] = _CODE
    image[_START_OFFSET : _START_OFFSET + len(_START_CODE)] = _START_CODE
    return bytes(image)


def _verdict(trial: Trial) -> KvmProbe:
    if trial.passed:
        return KvmProbe(True, f"KVM ran a test guest in {trial.duration_s * 1000:.0f} ms")
    if trial.exit_code is None:
        return KvmProbe(False, f"KVM did not finish a test guest within {TRIAL_LIMIT_S:g} s; emulated")
    return KvmProbe(False, f"KVM failed a test guest ({trial.said or f'exit code {trial.exit_code}'}); emulated")
