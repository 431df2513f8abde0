"""Machines of any owner: found in the runtime directory, commanded by short visits, cleaned up when dead."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bridge.machine import bounded_log
from bridge.machine.background import BackgroundLoop, acquire_loop, release_loop
from bridge.machine.command_line import BACKEND_ID
from bridge.machine.errors import MachineError, MachineGone, NoSuchMachine
from bridge.machine.processes import pidfd_ended, send_signal
from bridge.machine.qmp import QmpConnection
from bridge.machine.ram_file import SHARED_MEMORY, ram_files, remove_ram_file, remove_stray_traces
from bridge.machine.records import (
    MachineRecord,
    is_valid_name,
    load_record,
    machine_directories,
    remove_if_dead,
    runtime_lock,
)
from bridge.machine.states import MachineState
from bridge.memory.physical_map import query_physical_map
from bridge.memory.ram import GuestRam

_LOG_BYTES = 1 << 20
_END_WAIT_S = 3.0
# Between the making of a RAM file and QEMU's opening it; generous, for a copied state of gigabytes.
_STARTING_S = 60.0
_CPU_SAMPLE_S = 0.1
_COMMANDS = {"pause": "stop", "resume": "cont", "reset": "system_reset"}


@dataclass(frozen=True, slots=True)
class MachineSummary:
    """What `glassbox list` says of a machine."""

    name: str
    state: str
    guest: str
    accelerator: str
    pid: int
    ram_bytes: int
    rss_bytes: int
    cpu_percent: float
    uptime_s: float
    ownership: str
    """"process 123" for a Glassbox that owns it, "detached", or "orphan" when its Glassbox was killed."""
    message: str = ""
    """What its user should know, if anything."""


def discover() -> tuple[MachineRecord, ...]:
    """All machines whose QEMU runs, of any owner, by name. Also keeps the logs of those without an owner short."""
    records = []
    for directory in machine_directories():
        record = load_record(directory)
        if record is None or not record.qemu_alive:
            continue
        records.append(record)
        if not record.owner_alive:
            for log in (record.console_log, record.qemu_log):
                with contextlib.suppress(OSError):
                    bounded_log.trim(log, _LOG_BYTES)
    return tuple(records)


def orphans() -> tuple[MachineRecord, ...]:
    """Machines that run without an owner: to be offered at the start (`MachineManager.adopt`)."""
    return tuple(record for record in discover() if not record.owner_alive)


def find_record(name: str) -> MachineRecord:
    """The running machine of this name. Raises `NoSuchMachine`."""
    records = discover()
    for record in records:
        if record.name == name:
            return record
    raise NoSuchMachine(name, tuple(record.name for record in records))


def remove_leftovers(*, shared_memory: Path = SHARED_MEMORY) -> tuple[str, ...]:
    """Remove what dead machines left: directories with their sockets, and RAM files. Returns their names.

    Nothing of a machine whose QEMU or owner lives is touched. A RAM file that no record speaks of goes when no
    process has it open.
    """
    removed = []
    with runtime_lock():
        kept: set[Path] = set()
        for directory in machine_directories():
            record = remove_if_dead(directory)
            if record is not None:
                removed.append(record.name)
            elif (alive := load_record(directory)) is not None:
                kept.add(alive.ram_path)
        strays = [path for path in ram_files(shared_memory) if path not in kept and _is_stray(path)]
        removed += [path.name for path in strays if remove_ram_file(path)]
        removed += remove_stray_traces(shared_memory)
    return tuple(removed)


class ControlClient:
    """A short visit to a machine's control socket, which another process may own."""

    def __init__(self, background: BackgroundLoop, connection: QmpConnection) -> None:
        self._background = background
        self._connection = connection

    def qmp(self, command: str, /, **arguments: Any) -> Any:
        """Run a QMP command. Raises `QmpCommandFailed`, `QmpTimeout`, `MachineGone`."""
        return self._background.run(self._connection.execute(command, arguments))


@contextlib.contextmanager
def control(name: str) -> Iterator[ControlClient]:
    """Visit a running machine. Raises `NoSuchMachine`, `SocketTaken` when QEMU hangs, `NotQmp`."""
    with _visit(find_record(name)) as client:
        yield client


def open_ram(record: MachineRecord) -> GuestRam:
    """Map the RAM of a running machine of any owner. Raises MachineError, GuestMemoryError."""
    with _visit(record) as client:
        return GuestRam.open(record.ram_path, query_physical_map(client.qmp, BACKEND_ID))


def command_machine(name: str, command: str) -> None:
    """pause, resume or reset a running machine. Raises MachineError."""
    from bridge.machine.gdb_recovery import recover_if_left  # which visits machines itself

    recover_if_left(name, find_record(name).directory)
    with control(name) as client:
        client.qmp(_COMMANDS[command])


def stop_machine(name: str, *, timeout_s: float = 5.0) -> None:
    """End a running machine of any owner, and what is left of it. Raises `NoSuchMachine`, MachineError.

    A QEMU that does not answer is killed.
    """
    record = find_record(name)
    pidfd = record.qemu.open_pidfd() if record.qemu is not None else None
    if pidfd is not None:
        try:
            with contextlib.suppress(MachineError), _visit(record) as client:
                client.qmp("quit")
                _wait_until(lambda: pidfd_ended(pidfd), timeout_s)
            for number in (signal.SIGTERM, signal.SIGKILL):
                if not pidfd_ended(pidfd):
                    send_signal(pidfd, number)
                    _wait_until(lambda: pidfd_ended(pidfd), timeout_s)
            if not pidfd_ended(pidfd):
                raise MachineError(f"QEMU of '{name}' cannot be killed: the kernel holds it.")
        finally:
            os.close(pidfd)
    # A living owner cleans up itself; give it the time.
    _wait_until(lambda: not record.owner_alive or not record.directory.exists(), _END_WAIT_S)
    with runtime_lock():
        left = load_record(record.directory)
        if left is not None and left.qemu == record.qemu:
            remove_if_dead(record.directory)


def summarise_machines() -> tuple[MachineSummary, ...]:
    """One line about each running machine. Takes about 0.1 s, which is how long processor use is watched."""
    records = [(record, process) for record in discover() if (process := _process(record)) is not None]
    for _, process in records:
        with contextlib.suppress(psutil.Error):
            process.cpu_percent(None)
    states = [_state(record) for record, _ in records]
    if records:
        time.sleep(_CPU_SAMPLE_S)
    summaries = []
    for (record, process), state in zip(records, states, strict=True):
        with contextlib.suppress(psutil.Error):
            summaries.append(
                MachineSummary(
                    name=record.name,
                    state=state,
                    guest=record.guest,
                    accelerator=record.accelerator,
                    pid=process.pid,
                    ram_bytes=record.ram_bytes,
                    rss_bytes=process.memory_info().rss,
                    cpu_percent=process.cpu_percent(None),
                    uptime_s=max(0.0, time.time() - record.started_at_s),
                    ownership=_ownership(record),
                    message=record.ram_problem(),
                )
            )
    return tuple(summaries)


def _process(record: MachineRecord) -> psutil.Process | None:
    try:
        return psutil.Process(record.qemu.pid) if record.qemu is not None else None
    except psutil.Error:
        return None


def _state(record: MachineRecord) -> str:
    try:
        with _visit(record) as client:
            answer = client.qmp("query-status")
    except MachineGone:
        return str(MachineState.STOPPED)
    except MachineError:
        return "not answering"
    status = answer.get("status") if isinstance(answer, dict) else None
    if status == "running":
        return str(MachineState.RUNNING)
    return str(MachineState.STARTING if status in ("prelaunch", "inmigrate") else MachineState.PAUSED)


def _ownership(record: MachineRecord) -> str:
    if record.owner_alive and record.owner is not None:
        return f"process {record.owner.pid}"
    return "detached" if record.detached else "orphan"


@contextlib.contextmanager
def _visit(record: MachineRecord) -> Iterator[ControlClient]:
    if not is_valid_name(record.name) or not record.qemu_alive:
        raise MachineGone(record.name)
    background = acquire_loop()
    try:
        connection = background.run(QmpConnection.open(record.name, record.control_socket))
        try:
            yield ControlClient(background, connection)
        finally:
            background.run(connection.close())
    finally:
        release_loop(background)


def _wait_until(condition: Callable[[], bool], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)


def _is_stray(path: Path) -> bool:
    """Say whether a RAM file is old enough to have a QEMU, and no process has it open or mapped."""
    try:
        if time.time() - path.lstat().st_mtime < _STARTING_S:
            return False
    except FileNotFoundError:
        return False
    wanted = str(path)
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            with contextlib.suppress(OSError):
                if any(str(fd.readlink()) == wanted for fd in (process / "fd").iterdir()):
                    return False
                if wanted.encode() in (process / "maps").read_bytes():
                    return False
    return True
