"""A QMP connection that trusts nobody: every wait has an end, every reply a largest size, every error a type.

Waits end by `asyncio.timeout`, never by `asyncio.wait_for`, which until Python 3.12 can swallow a cancellation.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from qemu.qmp import (
    EventListener,
    ExecInterruptedError,
    ExecuteError,
    Message,
    QMPClient,
    QMPError,
    Runstate,
    StateError,
)

from bridge.machine import sockets
from bridge.machine.errors import MachineGone, NotQmp, QmpCommandFailed, QmpTimeout, SocketTaken
from bridge.machine.run_gate import GATED, RunGate

# The largest reply that is of use (query-qmp-schema) has 0.3 MB.
LARGEST_MESSAGE = 8 << 20
GREETING_TIMEOUT_S = 2.5
COMMAND_TIMEOUT_S = 5.0
_CLOSE_TIMEOUT_S = 0.5

_MIGRATING = frozenset({"setup", "active", "device", "pre-switchover", "cancelling", "wait-unplug"})

EventHandler = Callable[[str, Mapping[str, Any]], None]

# The library logs each end of a connection as an error; here it is an ordinary event, told by a typed error.
logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)


class _Events(EventListener):
    """Hands events on as they come. The library's own listeners keep every event for ever."""

    def __init__(self, handler: EventHandler) -> None:
        super().__init__()
        self._handler = handler

    async def put(self, event: Message) -> None:
        name, data = event.get("event"), event.get("data")
        if isinstance(name, str) and name.isascii() and len(name) <= 64:
            self._handler(name, data if isinstance(data, dict) else {})


class _Client(QMPClient):
    """The library's, which takes the first message after its first command for the answer.

    QEMU may tell events between taking that command and answering it, and does where a guest stops and goes on at
    breakpoints all the time.
    """

    async def _recv(self) -> Message:
        message = await super()._recv()
        while self.runstate is Runstate.CONNECTING and "event" in message:
            message = await super()._recv()
        return message


class QmpConnection:
    """One monitor of one QEMU. To be used on the background loop only."""

    def __init__(self, machine: str, client: QMPClient, connected: socket.socket, path: Path) -> None:
        """Use `QmpConnection.open`."""
        self.machine = machine
        self.path = path
        self.peer_pid = sockets.peer_pid(connected)
        self._client = client
        self._socket = connected
        self._closed = asyncio.Event()
        self._closing = False
        self._watcher: asyncio.Task[None] | None = None  # held, since the loop holds tasks weakly

    @classmethod
    async def open(
        cls,
        machine: str,
        path: Path,
        *,
        on_event: EventHandler | None = None,
        on_lost: Callable[[], None] | None = None,
        timeout_s: float | None = None,
    ) -> QmpConnection:
        """Connect, and wait for the greeting. `on_lost` is called when the connection ends without `close`.

        Raises `NotQmp` when there is no such socket or something else behind it, `SocketTaken` when it is silent.
        """
        timeout_s = GREETING_TIMEOUT_S if timeout_s is None else timeout_s
        connected = cls._connected(path, timeout_s)
        client = await _greet(machine, connected, path, on_event, timeout_s)
        connection = cls(machine, client, connected, path)
        connection._watcher = asyncio.create_task(connection._watch(on_lost))
        return connection

    @staticmethod
    def _connected(path: Path, timeout_s: float) -> socket.socket:
        try:
            return sockets.connect(path, timeout_s)
        except TimeoutError as error:
            raise SocketTaken(path, timeout_s) from error
        except OSError as error:
            # A full queue of waiting clients refuses at once.
            if isinstance(error, BlockingIOError):
                raise SocketTaken(path, timeout_s) from error
            raise NotQmp(path, _why_not(error)) from error

    async def execute(
        self, command: str, arguments: Mapping[str, Any] | None = None, timeout_s: float = COMMAND_TIMEOUT_S
    ) -> Any:
        """Run a command and return what QEMU returns.

        Raises `QmpCommandFailed`, `QmpTimeout`, or `MachineGone` when the connection ends meanwhile; `GateShut`.
        """
        gate = RunGate.found_in(self.path.parent) if command in GATED else None
        if gate is None:
            return await self._execute(command, arguments, timeout_s)
        with contextlib.closing(gate):
            async with gate.locked_on_loop():
                gate.note(command)
                return await self._execute(command, arguments, timeout_s)

    async def _execute(self, command: str, arguments: Mapping[str, Any] | None, timeout_s: float) -> Any:
        try:
            async with asyncio.timeout(timeout_s):
                return await self._client.execute(command, arguments or None)
        except TimeoutError:
            raise QmpTimeout(self.machine, command, timeout_s) from None
        except ExecuteError as error:
            raise QmpCommandFailed(self.machine, command, error.error_class, str(error)) from error
        except (ExecInterruptedError, StateError) as error:
            raise MachineGone(self.machine, f"hung up before it answered '{command}'") from error
        except QMPError as error:
            raise MachineGone(self.machine, f"answered '{command}' with what is not QMP: {str(error)[:200]}") from error

    async def let_go_on(self) -> None:
        """Let a guest run that was stopped, once a migration that is under way is over: that would stop it again."""
        await self.settle_migration()
        await self.execute("cont")

    async def settle_migration(self) -> bool:
        """Wait until no migration is under way, for at most 5 s. True when one was."""
        waited = False
        deadline = time.monotonic() + COMMAND_TIMEOUT_S
        while time.monotonic() < deadline:
            answer = await self.execute("query-migrate")
            kind = answer.get("status") if isinstance(answer, dict) else None
            # A migration that has completed is put behind it by QEMU a moment later.
            if kind not in _MIGRATING and await self.status() != "finish-migrate":
                break
            waited = True
            await asyncio.sleep(0.002)
        return waited

    async def status(self) -> str:
        """QEMU's run state: running, paused, prelaunch, inmigrate, …"""
        answer = await self.execute("query-status")
        return str(answer.get("status")) if isinstance(answer, dict) else ""

    @property
    def is_open(self) -> bool:
        """True until the connection ends."""
        return not self._closed.is_set()

    async def wait_closed(self, timeout_s: float) -> None:
        """Wait until QEMU has hung up, so that all its events are here; at most `timeout_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._closed.wait()

    async def close(self) -> None:
        """Hang up. Does nothing the second time."""
        self._closing = True
        _shut(self._socket)
        # The watcher sees the end and does the rest: the library's disconnecting may only be done once.
        await self.wait_closed(2 * _CLOSE_TIMEOUT_S)

    async def _watch(self, on_lost: Callable[[], None] | None) -> None:
        try:
            while self._client.runstate.name == "RUNNING":
                await self._client.runstate_changed()
            await _disconnect(self._client, self._socket)
        finally:
            self._closed.set()
        if on_lost is not None and not self._closing:
            on_lost()


async def _greet(
    machine: str, connected: socket.socket, path: Path, on_event: EventHandler | None, timeout_s: float
) -> QMPClient:
    client = _Client(machine, readbuflen=LARGEST_MESSAGE)
    # The default listener keeps all events in a list without end; it shall take none.
    client.events.event_filter = lambda _event: False
    if on_event is not None:
        client.register_listener(_Events(on_event))
    try:
        async with asyncio.timeout(timeout_s):
            await client.connect(connected)
    except BaseException as error:
        await _disconnect(client, connected)
        connected.close()
        if isinstance(error, TimeoutError):
            raise SocketTaken(path, timeout_s) from error
        if isinstance(error, QMPError | OSError | EOFError | ValueError | RecursionError | AssertionError):
            kind = type(error.__cause__ or error).__name__
            raise NotQmp(path, f"what answers there does not speak QMP ({kind})") from error
        raise
    return client


async def _disconnect(client: QMPClient, connected: socket.socket) -> None:
    # Shut first: the library would wait until QEMU has taken all that was sent, and a stopped QEMU never does.
    _shut(connected)
    # The library raises once more whatever ended the connection; who asked for something has been told already.
    with contextlib.suppress(Exception):
        async with asyncio.timeout(_CLOSE_TIMEOUT_S):
            await client.disconnect()


def _shut(connected: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it is shut already
        connected.shutdown(socket.SHUT_RDWR)


def _why_not(error: OSError) -> str:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "there is nothing at this path"
    if isinstance(error, ConnectionRefusedError):
        return "no process listens there (the QEMU that made it has ended, or it is not a listening socket)"
    if isinstance(error, PermissionError):
        return "you may not connect to it; it belongs to another user"
    return f"connecting failed: {error.strerror or error}"
