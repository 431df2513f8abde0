"""The guest's serial line: what it printed, for as many readers as there are, and what is typed to it."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable

from bridge.machine.background import BackgroundLoop
from bridge.machine.errors import MachineError, MachineGone

HISTORY_BYTES = 1 << 20
# What may wait for a guest that does not read. A serial line takes some 11 kB/s; this is a large paste.
_LONGEST_PENDING = 256 << 10


class Console:
    """Bytes from and to the guest. Thread-safe; reading and writing never wait.

    Positions count all bytes since the machine started (as far as is known), so that a reader who comes late or
    falls behind sees that he missed something: the position that he gets jumps by more than the bytes.
    """

    def __init__(self, machine: str) -> None:
        self._machine = machine
        self._lock = threading.Lock()
        self._history = bytearray()
        self._end = 0
        self._queued = 0
        self._connection: _SerialLine | None = None
        self._background: BackgroundLoop | None = None
        self.on_output: Callable[[bytes], None] | None = None
        """Called on the loop's thread with each piece of output, for the owner."""

    def read_since(self, position: int) -> tuple[int, bytes]:
        """The new position, and what was printed since `position`; at most the last `HISTORY_BYTES`."""
        with self._lock:
            length = min(max(0, self._end - position), len(self._history), HISTORY_BYTES)
            return self._end, bytes(self._history[len(self._history) - length :])

    @property
    def position(self) -> int:
        """The number of bytes printed so far."""
        return self._end

    def write(self, data: bytes) -> None:
        """Type `data`. Raises `MachineGone`, or `MachineError` when too much waits for a guest that does not read."""
        connection, background = self._connection, self._background
        if connection is None or background is None or connection.lost.is_set():
            raise MachineGone(self._machine, "has no console to type at (it has ended, or is only attached)")
        with self._lock:
            pending_bytes = self._queued + connection.buffered_bytes
            if pending_bytes + len(data) > _LONGEST_PENDING:
                raise MachineError(
                    f"The guest of '{self._machine}' does not read its console: {pending_bytes:,} bytes wait already. "
                    f"Try again later."
                )
            self._queued += len(data)
        background.call_soon(self._send, connection, bytes(data))

    def _send(self, connection: _SerialLine, data: bytes) -> None:
        connection.send(data)
        with self._lock:
            self._queued -= len(data)

    def append(self, data: bytes) -> None:
        """Take output of the guest."""
        with self._lock:
            self._history += data
            self._end += len(data)
            # Cut in large pieces: each cut moves all that is kept.
            if len(self._history) > 2 * HISTORY_BYTES:
                del self._history[: len(self._history) - HISTORY_BYTES]
        if self.on_output is not None:
            self.on_output(data)

    async def connect(self, connected: socket.socket, background: BackgroundLoop) -> None:
        """Take over a connected socket as the serial line. On the loop's thread."""
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(lambda: _SerialLine(self.append), sock=connected)
        except BaseException:
            connected.close()
            raise
        self._background = background
        self._connection = connection

    async def drain(self, timeout_s: float) -> None:
        """Wait until the other end has closed and all that it sent is here. On the loop's thread."""
        if self._connection is not None:
            try:
                async with asyncio.timeout(timeout_s):
                    await self._connection.lost.wait()
            except TimeoutError:
                self.close()

    def close(self) -> None:
        """Hang up. On the loop's thread. What was printed stays readable."""
        connection, self._connection = self._connection, None
        if connection is not None and connection.transport is not None:
            connection.transport.abort()


class _SerialLine(asyncio.Protocol):
    def __init__(self, received: Callable[[bytes], None]) -> None:
        self._received = received
        self.transport: asyncio.Transport | None = None
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._received(data)

    def send(self, data: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    @property
    def buffered_bytes(self) -> int:
        return 0 if self.transport is None else self.transport.get_write_buffer_size()

    def connection_lost(self, _error: Exception | None) -> None:
        self.lost.set()
