"""Attaching to QEMUs that somebody else started, with shared RAM and without, and to what is no QEMU at all."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bridge.machine import qmp
from bridge.machine.errors import (
    MachineError,
    MachineGone,
    MachineNotOurs,
    NameInvalid,
    NameTaken,
    NotQmp,
    SharedMemoryMissing,
    SocketTaken,
)
from bridge.machine.manager import MachineManager
from bridge.machine.states import MachineEvent, MachineState
from tests.bridge.machine.conftest import counter_of, counting_guest, make_guest, state_of, wait_until

StartQemu = Callable[..., subprocess.Popen[bytes]]
PC = ("-m", "32M", "-machine", "pc,memory-backend=mem")
FILE_BACKEND = "memory-backend-file,id=mem,size=32M,share=on,mem-path="


@pytest.fixture
def foreign(tmp_path: Path) -> Iterator[StartQemu]:
    """Starts QEMUs as somebody else would, with a QMP socket at tmp_path/qmp."""
    children: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        base = ["qemu-system-x86_64", "-nodefaults", "-display", "none", "-accel", "tcg", "-qmp"]
        child = subprocess.Popen([*base, f"unix:{tmp_path}/qmp,server=on,wait=off", *arguments], cwd=tmp_path)
        children.append(child)
        files = [
            tmp_path / "qmp",
            *(tmp_path / word.split("mem-path=")[1] for word in arguments if "share=on,mem" in word),
        ]
        wait_until(lambda: all(file.exists() for file in files) or child.poll() is not None)
        assert child.poll() is None
        return child

    yield start
    for child in children:
        child.kill()
        child.wait()


def with_file(tmp_path: Path, shared_memory: Path) -> list[str]:
    kernel = counting_guest(tmp_path).kernel
    return [
        *("-m", "32M", "-object", FILE_BACKEND + str(shared_memory / "ram"), "-machine", "pc,memory-backend=mem"),
        *("-kernel", str(kernel)),
    ]


def test_shared_file_is_seen_and_left_alone(
    manager: MachineManager, foreign: StartQemu, tmp_path: Path, shared_memory: Path
) -> None:
    child = foreign(*with_file(tmp_path, shared_memory), "-name", "Their Machine")
    events: list[MachineEvent] = []
    manager.subscribe(events.append)
    machine = manager.attach(tmp_path / "qmp")
    info = machine.info
    assert (info.name, info.attached, info.pid, info.accelerator) == ("their-machine", True, child.pid, "tcg")
    assert (info.ram_bytes, info.state) == (32 << 20, MachineState.RUNNING)
    wait_until(lambda: counter_of(machine) > 0)
    machine.pause()
    assert state_of(machine) is MachineState.PAUSED
    machine.resume()
    assert machine.usage().rss_bytes > 0
    with pytest.raises(MachineNotOurs):
        machine.stop()
    with pytest.raises(MachineGone, match="only attached"):
        machine.console.write(b"x")
    assert not machine.wait_ready(0)
    with pytest.raises(NameTaken):
        manager.attach(tmp_path / "qmp", name="their-machine")
    manager.detach("their-machine")
    assert manager.machines() == ()
    assert child.poll() is None
    assert "DETACHED" in [event.kind for event in events]
    again = manager.attach(tmp_path / "qmp", name="again")
    manager.close()
    assert state_of(again) is MachineState.STOPPED
    assert child.poll() is None, "closing never ends a machine of somebody else's"
    (shared_memory / "ram").unlink()


def test_its_end_is_noticed(manager: MachineManager, foreign: StartQemu, tmp_path: Path, shared_memory: Path) -> None:
    child = foreign(*with_file(tmp_path, shared_memory))
    (first,) = (manager.attach(tmp_path / "qmp"),)
    assert first.name == "qmp"
    os.kill(child.pid, signal.SIGTERM)
    wait_until(lambda: state_of(first) is MachineState.STOPPED)
    child.wait()
    (tmp_path / "qmp").unlink(missing_ok=True)
    child = foreign(*with_file(tmp_path, shared_memory))
    second = manager.attach(tmp_path / "qmp")
    os.kill(child.pid, signal.SIGKILL)
    wait_until(lambda: state_of(second) is MachineState.CRASHED)
    assert (shared_memory / "ram").exists(), "files of somebody else's are left alone"
    (shared_memory / "ram").unlink()


def test_file_given_by_a_relative_path(manager: MachineManager, foreign: StartQemu, tmp_path: Path) -> None:
    foreign("-m", "32M", "-object", FILE_BACKEND + "ram", "-machine", "q35,memory-backend=mem")
    machine = manager.attach(tmp_path / "qmp")
    assert machine.ram is not None
    assert machine.ram.path == tmp_path / "ram"


def test_file_that_was_removed_since(
    manager: MachineManager, foreign: StartQemu, tmp_path: Path, shared_memory: Path
) -> None:
    foreign(*with_file(tmp_path, shared_memory))
    (shared_memory / "ram").unlink()
    machine = manager.attach(tmp_path / "qmp")
    wait_until(lambda: counter_of(machine) > 0)


def test_memfd_is_seen_through_its_process(manager: MachineManager, foreign: StartQemu, tmp_path: Path) -> None:
    kernel = str(counting_guest(tmp_path).kernel)
    backend = "memory-backend-memfd,id=mem,size=32M,share=on"
    child = foreign("-m", "32M", "-object", backend, "-machine", "pc,memory-backend=mem", "-kernel", kernel)
    machine = manager.attach(tmp_path / "qmp")
    assert machine.ram is not None
    assert machine.ram.path.parts[:4] == ("/", "proc", str(child.pid), "fd")
    wait_until(lambda: counter_of(machine) > 0)


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["-m", "32M"], "memory-backend-ram"),
        ([*PC, "-object", "memory-backend-ram,id=mem,size=32M"], "memory-backend-ram"),
        ([*PC, "-object", "memory-backend-file,id=mem,size=32M,share=off,mem-path=/dev/shm"], "private"),
        ([*PC, "-object", "memory-backend-memfd,id=mem,size=32M,share=off"], "private"),
    ],
)
def test_ram_that_is_not_shared_names_the_two_options(
    manager: MachineManager, foreign: StartQemu, tmp_path: Path, arguments: list[str], found: str
) -> None:
    child = foreign(*arguments)
    with pytest.raises(SharedMemoryMissing, match=found) as caught:
        manager.attach(tmp_path / "qmp")
    message = str(caught.value)
    assert "-object memory-backend-file,id=ram,size=32M,mem-path=" in message
    assert "share=on and -machine memory-backend=ram" in message
    assert manager.machines() == ()
    assert child.poll() is None


def test_the_advice_is_right(manager: MachineManager, foreign: StartQemu, tmp_path: Path, shared_memory: Path) -> None:
    child = foreign("-m", "32M")
    with pytest.raises(SharedMemoryMissing) as caught:
        manager.attach(tmp_path / "qmp")
    child.kill()
    child.wait()
    (tmp_path / "qmp").unlink()
    advice = " ".join(caught.value.options).replace("/dev/shm/NAME", str(shared_memory / "ram"))
    foreign("-m", "32M", *advice.split())
    assert manager.attach(tmp_path / "qmp").info.ram_bytes == 32 << 20
    (shared_memory / "ram").unlink()


def test_numa_nodes_are_refused_with_a_reason(manager: MachineManager, foreign: StartQemu, tmp_path: Path) -> None:
    nodes = []
    for node in ("a", "b"):
        nodes += ["-object", f"memory-backend-memfd,id={node},size=16M,share=on", "-numa", f"node,memdev={node}"]
    foreign("-m", "32M", *nodes)
    with pytest.raises(MachineError, match="2 backends"):
        manager.attach(tmp_path / "qmp")


def test_busy_socket(
    manager: MachineManager,
    foreign: StartQemu,
    tmp_path: Path,
    shared_memory: Path,
) -> None:
    foreign(*with_file(tmp_path, shared_memory))
    (shared_memory / "ram").unlink()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "qmp"))
        client.recv(16)
        begin = time.monotonic()
        with pytest.raises(SocketTaken, match="one client"):
            manager.attach(tmp_path / "qmp")
        assert time.monotonic() - begin < 3
    assert manager.attach(tmp_path / "qmp").info.state is MachineState.RUNNING


def test_own_machines_sockets_are_taken(manager: MachineManager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qmp, "GREETING_TIMEOUT_S", 0.3)
    machine = manager.launch(make_guest())
    assert machine.record is not None
    with pytest.raises(SocketTaken):
        manager.attach(machine.record.qmp_socket)


def test_names_are_checked_first(manager: MachineManager, tmp_path: Path) -> None:
    with pytest.raises(NameInvalid):
        manager.attach(tmp_path / "qmp", name="No Good")


def test_no_socket_there(manager: MachineManager, tmp_path: Path) -> None:
    with pytest.raises(NotQmp, match="nothing at this path"):
        manager.attach(tmp_path / "none")
    with pytest.raises(NotQmp, match="nothing at this path"):
        manager.attach(tmp_path / "no" / "directory")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotQmp, match="no process listens"):
        manager.attach(tmp_path / "file")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "deaf"))
        with pytest.raises(NotQmp, match="no process listens"):
            manager.attach(tmp_path / "deaf")
