"""Attaching to QEMUs that somebody else started, with shared RAM and without, and to what is no QEMU at all."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.machine import qmp, sockets
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
from bridge.machine.states import MachineEvent, MachineState, Usage
from bridge.memory.errors import FileNotFound, MapFailed, PhysicalMapUnreadable
from tests.bridge.machine.conftest import counter_of, counting_guest, make_guest, state_of, wait_until

StartQemu = Callable[..., subprocess.Popen[bytes]]
PC = ("-m", "32M", "-machine", "pc,memory-backend=mem")
FILE_BACKEND = "memory-backend-file,id=mem,size=32M,share=on,mem-path="


@pytest.fixture
def foreign(tmp_path: Path) -> Iterator[StartQemu]:
    """Starts QEMUs as somebody else would, with a QMP socket at tmp_path/qmp."""
    children: list[subprocess.Popen[bytes]] = []

    def listening() -> bool:
        # Flags of a listening socket (SO_ACCEPTCON) at its path.
        lines = Path("/proc/net/unix").read_text().splitlines()
        return any(line.endswith(f" {tmp_path}/qmp") and line.split()[3] == "00010000" for line in lines)

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        base = ["qemu-system-x86_64", "-nodefaults", "-display", "none", "-accel", "tcg", "-qmp"]
        child = subprocess.Popen([*base, f"unix:{tmp_path}/qmp,server=on,wait=off", *arguments], cwd=tmp_path)
        children.append(child)
        files = [
            tmp_path / "qmp",
            *(tmp_path / word.split("mem-path=")[1] for word in arguments if "share=on,mem" in word),
        ]
        wait_until(lambda: (all(file.exists() for file in files) and listening()) or child.poll() is not None)
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
        assert time.monotonic() - begin < 30
    assert manager.attach(tmp_path / "qmp").info.state is MachineState.RUNNING


def test_own_machines_sockets_are_taken(manager: MachineManager, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = manager.launch(make_guest())
    monkeypatch.setattr(qmp, "GREETING_TIMEOUT_S", 0.3)
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


class Liar(threading.Thread):
    """Speaks QMP well enough to be let in, and then says what the test wants."""

    def __init__(self, path: Path, answers: dict[str, Any]) -> None:
        super().__init__()
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(str(path))
        self.listening.listen(1)
        self.answers = answers

    def run(self) -> None:
        client, _ = self.listening.accept()
        with client, contextlib.suppress(OSError):
            version = {"qemu": {"micro": 0, "minor": 0, "major": 10}, "package": ""}
            client.sendall(json.dumps({"QMP": {"version": version, "capabilities": []}}).encode() + b"\n")
            while data := client.recv(1 << 16):  # one command each time, since the next waits for the answer
                command = json.loads(data)
                name = command["execute"]
                if name == "qom-get":
                    name = command["arguments"]["property"]
                answer = self.answers.get(name, {"error": {"class": "CommandNotFound", "desc": "what?"}})
                if answer is HANG_UP:
                    break
                client.sendall(json.dumps({**answer, "id": command.get("id")}).encode() + b"\n")
        self.listening.close()


HANG_UP: dict[str, Any] = {}
WELL = {
    "qmp_capabilities": {"return": {}},
    "query-memdev": {"return": [{"id": "mem"}]},
    "memory-backend": {"return": "mem"},
    "type": {"return": "memory-backend-file"},
    "size": {"return": 1 << 20},
    "share": {"return": True},
    "mem-path": {"return": "/nowhere/ram"},
    "query-status": {"return": {"status": "running"}},
    "human-monitor-command": {
        "return": 'FlatView #0\n AS "memory", root: system\n  0000000000000000-00000000000fffff (prio 0, ram): mem\n'
    },
}


@pytest.mark.parametrize(
    ("lies", "error"),
    [
        ({"query-memdev": {"return": 5}}, MachineError),
        ({"query-memdev": {"return": [{}] * 1000}}, MachineError),
        ({"query-memdev": {"error": {"class": "x", "desc": "y"}}}, MachineError),
        ({"memory-backend": {"return": []}}, SharedMemoryMissing),
        ({"memory-backend": {"return": ""}}, SharedMemoryMissing),
        ({"type": {"return": ["x"]}}, SharedMemoryMissing),
        ({"type": {"return": "x" * 10_000}}, SharedMemoryMissing),
        ({"size": {"return": -1}}, SharedMemoryMissing),
        ({"size": {"return": "1M"}}, SharedMemoryMissing),
        ({"share": {"return": 1}}, SharedMemoryMissing),
        ({"mem-path": {"return": None}}, SharedMemoryMissing),
        ({"mem-path": {"return": "/nowhere/ram"}}, FileNotFound),
        ({"mem-path": {"return": "a\0b"}}, MapFailed),
        ({"mem-path": {"return": "/dev/null"}}, MapFailed),
        ({"type": {"return": "memory-backend-memfd"}}, MachineError),
        ({"human-monitor-command": {"return": 5}}, PhysicalMapUnreadable),
        ({"human-monitor-command": {"return": "no map"}}, PhysicalMapUnreadable),
        ({"query-status": {"error": {"class": "x", "desc": "y"}}}, MachineError),
    ],
)
def test_lies_give_typed_errors(
    manager: MachineManager, tmp_path: Path, lies: dict[str, Any], error: type[Exception]
) -> None:
    liar = Liar(tmp_path / "qmp", WELL | lies)
    liar.start()
    with pytest.raises(error) as caught:
        manager.attach(tmp_path / "qmp")
    assert len(str(caught.value)) < 1000
    liar.join()
    assert not liar.is_alive(), "the connection was not hung up"
    assert manager.machines() == ()


def test_machine_without_a_process_to_watch(
    manager: MachineManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another container the peer's process id is not known; its end shows by its hanging up."""
    (tmp_path / "ram").write_bytes(bytes(1 << 20))
    monkeypatch.setattr(sockets, "peer_pid", lambda _: None)
    answers = {"mem-path": {"return": str(tmp_path / "ram")}, "query-name": {"return": {"name": "x" * 100_000}}}
    liar = Liar(tmp_path / "qmp", {**WELL, **answers, "stop": HANG_UP})
    liar.start()
    machine = manager.attach(tmp_path / "qmp")
    assert machine.name == "x" * 27
    assert machine.info.pid is None
    assert machine.usage() == Usage(0.0, 0, 0.0)
    with pytest.raises(MachineGone):
        machine.pause()
    wait_until(lambda: state_of(machine) is MachineState.STOPPED)
    assert machine.info.message == "QEMU has ended."
    liar.join()


def test_memfd_needs_its_process(manager: MachineManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "peer_pid", lambda _: None)
    liar = Liar(tmp_path / "qmp", WELL | {"type": {"return": "memory-backend-memfd"}})
    liar.start()
    with pytest.raises(MachineError, match="not known"):
        manager.attach(tmp_path / "qmp")
    liar.join()


def test_names_do_not_collide(manager: MachineManager, foreign: StartQemu, tmp_path: Path, shared_memory: Path) -> None:
    manager.launch(make_guest(), name="theirs")
    foreign(*with_file(tmp_path, shared_memory), "-name", "theirs")
    assert manager.attach(tmp_path / "qmp").name == "theirs-2"
    with pytest.raises(NameTaken):
        manager.launch(make_guest(), name="theirs-2")
    assert manager.launch(make_guest(name="theirs")).name == "theirs-3"
    (shared_memory / "ram").unlink()
