"""Visit to a machine that another process may own: its plugin is talked to, by one at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bridge.machine.discovery import control, find_record, open_ram
from bridge.machine.errors import MachineError
from bridge.machine.ram_file import trace_file_of
from bridge.memory.ram import GuestRam
from bridge.trace.errors import BadTraceMemory, NoPlugin, TracedElsewhere, TraceError
from bridge.trace.modes import Wish
from bridge.trace.session import Traced, TraceSession
from bridge.trace.shared_memory import TraceMemory


@dataclass(slots=True)
class Visited:
    """What a trace needs of a machine."""

    name: str
    trace: TraceMemory | None
    ram: GuestRam | None
    trace_problem: str = ""

    @property
    def runs(self) -> bool:
        """True while the guest's processors run."""
        with control(self.name) as client:
            return bool(client.qmp("query-status")["running"])

    def kick(self) -> None:
        """Have every processor of a guest that runs stop and go on."""
        with control(self.name) as client:  # not for longer: its owner's other visitors wait
            if client.qmp("query-status")["running"]:
                client.qmp("stop")
                client.qmp("cont")


@contextlib.contextmanager
def traced(name: str) -> Iterator[TraceSession]:
    """Trace a running machine of any owner for the length of the body; it is as it was afterwards.

    Raises NoSuchMachine, other MachineError, NoPlugin, TracedElsewhere.
    """
    record = find_record(name)
    path = trace_file_of(record.ram_path)
    try:
        memory = TraceMemory.open(path)
    except FileNotFoundError:
        raise NoPlugin(f"'{name}' runs without the plugin that watches execution.") from None
    except (OSError, BadTraceMemory) as error:
        raise NoPlugin(f"The trace of '{name}' cannot be opened: {error}.") from error
    with (
        _alone(name, path),
        contextlib.closing(open_ram(record)) as ram,
        _session(Visited(name, memory, ram)) as session,
    ):
        yield session


@contextlib.contextmanager
def traced_own(machine: Traced) -> Iterator[TraceSession]:
    """The same for a machine of this process, which need not be visited: its changes of mode are told to nobody.

    Raises NoPlugin, TracedElsewhere, MachineError.
    """
    memory = machine.trace
    if memory is None:
        raise NoPlugin(machine.trace_problem or f"'{machine.name}' runs without the plugin.")
    with _alone(machine.name, memory.path), _session(machine) as session:
        yield session


@contextlib.contextmanager
def _alone(name: str, path: Path) -> Iterator[None]:
    """Be the only one who traces."""
    try:
        lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise NoPlugin(f"The trace of '{name}' cannot be opened: {error}.") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TracedElsewhere(f"'{name}' is traced by another program already.") from None
        yield
    finally:
        os.close(lock)


@contextlib.contextmanager
def _session(machine: Traced) -> Iterator[TraceSession]:
    session = TraceSession(machine)
    try:
        yield session
    finally:
        with contextlib.suppress(TraceError, MachineError):  # it may be gone
            session.set(Wish())
