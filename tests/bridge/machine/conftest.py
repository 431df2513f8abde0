"""Machines for tests: private directories, guests that need no disk, and a check that nothing is left of them."""

from __future__ import annotations

import gc
import logging
import shutil
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from bridge.machine.guest import GIB, MIB, Guest
from bridge.machine.machine import Machine
from bridge.machine.manager import AnyMachine, MachineManager
from bridge.machine.states import MachineState
from bridge.machine.watched_process import reap_left
from tests.bridge.memory.open_files import open_files

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


# Where the kernel below keeps what it knows, by physical address.
COUNTER_ADDRESS = 0x200000
BOOT_TIME_ADDRESS = 0x200008


def counting_guest(directory: Path, **changes: object) -> Guest:
    """A kernel (multiboot) that notes the time stamp counter, prints "ready\\n", and then counts in memory for ever
    and echoes what is typed."""
    code = bytes.fromhex(
        "fa"  # cli
        "0f31"  # rdtsc
        "a308002000"  # mov [0x200008], eax
        "89150c002000"  # mov [0x20000c], edx
        "be58001000"  # mov esi, 0x100058
        "66baf803"  # mov dx, 0x3f8
        "ac"  # print: lodsb
        "84c0"  # test al, al
        "7403"  # jz count
        "ee"  # out dx, al
        "ebf8"  # jmp print
        "ff0500002000"  # count: inc dword [0x200000]
        "66bafd03"  # mov dx, 0x3fd
        "ec"  # in al, dx
        "a801"  # test al, 1
        "74f1"  # jz count
        "66baf803"  # mov dx, 0x3f8
        "ec"  # in al, dx
        "ee"  # out dx, al
        "ebe9"  # jmp count
    )
    load, magic, flags = 0x100000, 0x1BADB002, 0x10000
    header = struct.pack("<8I", magic, flags, -(magic + flags) & 0xFFFFFFFF, load, load, 0, 0, load + 0x20)
    assert len(code) <= 0x58 - 0x20
    path = directory / "counter.elf"
    path.write_bytes((header + code).ljust(0x58, b"\x90") + b"ready\n\0")
    facts: dict[str, object] = {"name": "counter", "kernel": path, "ready_marker": b"ready\n", "keeps_state": True}
    return make_guest(**{**facts, **changes})


def counter_of(machine: Machine) -> int:
    """How far the counting guest has come."""
    assert machine.ram is not None
    return int.from_bytes(machine.ram.read_physical(COUNTER_ADDRESS, 4), "little")


def boot_time_of(machine: Machine) -> int:
    """When the counting guest was booted; a resumed one keeps it."""
    assert machine.ram is not None
    return int.from_bytes(machine.ram.read_physical(BOOT_TIME_ADDRESS, 8), "little")


def wait_until(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    """Wait for something that has to happen, also on a machine that has much else to do."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.002)


def state_of(machine: AnyMachine) -> MachineState:
    """The state now (asked anew, which a type checker would not believe of a property)."""
    return machine.info.state


@pytest.fixture(scope="package", autouse=True)
def _no_complaints_of_asyncio() -> Iterator[None]:
    """An error that nobody fetched, or a task that was forgotten, is logged by asyncio when it is collected."""
    reap_left()  # machines that other tests detached and ended
    gc.collect()  # and what they left to it
    complaints: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            complaints.append(self.format(record))

    listener = Listener(logging.WARNING)
    logging.getLogger("asyncio").addHandler(listener)
    yield
    gc.collect()
    logging.getLogger("asyncio").removeHandler(listener)
    assert complaints == []


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
    """Try out KVM, and which plugin QEMU takes, once for all tests."""
    patch = pytest.MonkeyPatch()
    directory = tmp_path_factory.mktemp("kvm")
    patch.setenv("XDG_CACHE_HOME", str(directory))
    from bridge.machine.accelerator import probe_kvm
    from bridge.machine.qemu_binary import find_qemu
    from bridge.trace.plugin_file import plugin_for

    probe_kvm()
    plugin_for(find_qemu())
    patch.undo()
    return directory / "glassbox"


@pytest.fixture(autouse=True)
def _kvm_answer(_kvm_is_known: Path, private_directories: Path, tmp_path: Path) -> None:
    if _kvm_is_known.exists():
        target = tmp_path / "XDG_CACHE_HOME" / "glassbox"
        target.mkdir(parents=True)
        for known in _kvm_is_known.glob("*.json"):
            shutil.copy(known, target)


@pytest.fixture
def shared_memory() -> Iterator[Path]:
    """A directory of this test's own in /dev/shm, where other programs' RAM files are none of its business."""
    with tempfile.TemporaryDirectory(prefix="glassbox-test-", dir="/dev/shm") as directory:
        yield Path(directory)


@pytest.fixture
def manager(private_directories: Path, shared_memory: Path) -> Iterator[MachineManager]:
    """A manager; afterwards no process, file, socket, thread or descriptor of it is left."""
    gc.collect()  # what earlier tests left to it must not be closed meanwhile
    before = everything_of_ours(private_directories, shared_memory)
    with MachineManager(shared_memory=shared_memory) as manager:
        yield manager
    assert everything_of_ours(private_directories, shared_memory) - before == set()


def everything_of_ours(runtime: Path, shared_memory: Path) -> set[object]:
    """What machines leave when they leave something. Compare by what came: what others left may go at any time."""
    return {
        *psutil.Process().children(recursive=True),
        *shared_memory.iterdir(),
        *(path for path in runtime.rglob("*") if path.name not in ("glassbox", ".lock")),
        *threading.enumerate(),
        *open_files(),
    }
