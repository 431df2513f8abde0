"""Machines for tests: private directories, guests that need no disk, and a check that nothing is left of them."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from bridge.machine import ram_file
from bridge.machine.guest import GIB, MIB, Guest
from bridge.machine.manager import MachineManager

MakeGuest = Callable[..., Guest]


def make_guest(**changes: object) -> Guest:
    """A machine with firmware and nothing else: it searches for something to boot, for ever."""
    facts: dict[str, object] = {
        "name": "bare",
        "title": "Firmware only",
        "ram_bytes": 32 * MIB,
        "min_ram_bytes": 1 * MIB,
        "max_ram_bytes": 8 * GIB,
        "machine_type": "pc",
        "cpus": 1,
        "kernel": None,
        "initrd": None,
        "append": "",
        "disk": None,
        "cdrom": None,
        "floppy": None,
        "network": False,
        "ready_marker": None,
        "keeps_state": False,
    }
    facts.update(changes)
    return Guest(**facts)  # type: ignore[arg-type]


def floppy_guest(directory: Path, code: bytes, **changes: object) -> Guest:
    """A machine that boots 512 bytes with `code` at 0x7c00."""
    image = directory / "boot.img"
    image.write_bytes(code.ljust(510, b"\0") + b"\x55\xaa")
    return make_guest(name="tiny", floppy=image, **changes)


# Prints "ready\n" on the first serial port, and then halts for good.
PRINT_READY = (
    bytes.fromhex(
        "fa"  # cli
        "31c08ed8"  # xor ax,ax; mov ds,ax
        "be177c"  # mov si,0x7c17
        "baf803"  # mov dx,0x3f8
        "ac"  # next: lodsb
        "08c0"  # or al,al
        "7403"  # jz done
        "ee"  # out dx,al
        "ebf8"  # jmp next
        "f4"  # done: hlt
        "ebfd"  # jmp done
        "90"  # nop
    )
    + b"ready\n\0"
)


@pytest.fixture(autouse=True)
def private_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point every XDG directory below tmp_path; the runtime directory's path is too long for a socket's address."""
    runtime = tmp_path / ("long-" * 20)
    runtime.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    for variable in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    return runtime


@pytest.fixture(scope="session", autouse=True)
def _kvm_is_known(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Try out KVM once for all tests."""
    patch = pytest.MonkeyPatch()
    directory = tmp_path_factory.mktemp("kvm")
    patch.setenv("XDG_CACHE_HOME", str(directory))
    from bridge.machine.accelerator import probe_kvm

    probe_kvm()
    patch.undo()
    return directory / "glassbox" / "kvm-probe.json"


@pytest.fixture(autouse=True)
def _kvm_answer(_kvm_is_known: Path, private_directories: Path, tmp_path: Path) -> None:
    if _kvm_is_known.exists():
        target = tmp_path / "XDG_CACHE_HOME" / "glassbox"
        target.mkdir(parents=True)
        shutil.copy(_kvm_is_known, target)


@pytest.fixture
def manager(private_directories: Path) -> Iterator[MachineManager]:
    """A manager; afterwards no process, file, socket, thread or descriptor of it is left."""
    before = everything_of_ours(private_directories)
    with MachineManager() as manager:
        yield manager
    assert everything_of_ours(private_directories) == before


def everything_of_ours(runtime: Path) -> dict[str, object]:
    """What machines leave when they leave something."""
    return {
        "children": sorted(child.name() for child in psutil.Process().children(recursive=True)),
        "ram": sorted(
            path.name for path in ram_file.ram_files(ram_file.SHARED_MEMORY) if str(os.getuid()) in path.name
        ),
        "files": sorted(str(path) for path in runtime.rglob("*") if path.name not in ("glassbox", ".lock")),
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "descriptors": psutil.Process().num_fds(),
    }
