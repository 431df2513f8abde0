"""HTTP: runs an ASGI application on this machine's own address until it is asked to end."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from typing import Any

from app.failures import CommandFailed

HOST = "127.0.0.1"
MAX_CONNECTIONS = 64
HEAD_LIMIT_S = 5.0
"""For the head of a request to arrive. Programs send it at once; who never ends it must not keep others out."""


@contextlib.contextmanager
def listening(port: int) -> Iterator[socket.socket]:
    """A socket at a port of the loopback address; 0: any that is free. Raises CommandFailed where it is taken."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError as error:
            raise CommandFailed(
                f"Port {port} cannot be listened at: {error.strerror}. Choose another: --port."
            ) from error
        listener.listen(MAX_CONNECTIONS)  # who is told of it may come before the server is up
        yield listener
    finally:
        listener.close()


def serve(application: Any, listener: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM."""
    import uvicorn

    config = uvicorn.Config(
        application,
        http=_protocol(),
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=2,
    )
    uvicorn.Server(config).run(sockets=[listener])


def _protocol() -> type[Any]:
    """HTTP/1.1 that holds no place for who does not ask: uvicorn has no limit of time for the head of a request."""
    import asyncio

    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Protocol(H11Protocol):
        """Connections without a request end after a while, and at once where there are too many: those that never asked
        first, and of them the oldest.
        """

        since_s = 0.0
        asked = False
        limit: asyncio.TimerHandle | None = None

        def waits(self) -> bool:
            return self.cycle is None or self.cycle.response_complete

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.since_s = time.monotonic()
            others = [one for one in self.connections if isinstance(one, Protocol) and one is not self and one.waits()]
            if len(self.connections) > MAX_CONNECTIONS // 2 and others:
                oldest = min(others, key=lambda one: (one.asked, one.since_s))
                self.connections.discard(oldest)
                oldest.transport.abort()
            self.begin()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if not self.waits():
                self.asked = True
                self.end()
            elif self.limit is None:
                self.begin()

        def connection_lost(self, exc: Exception | None) -> None:
            self.end()
            super().connection_lost(exc)

        def begin(self) -> None:
            self.limit = self.loop.call_later(HEAD_LIMIT_S, self.late)

        def end(self) -> None:
            if self.limit is not None:
                self.limit.cancel()
                self.limit = None

        def late(self) -> None:
            self.limit = None
            if self.waits():
                self.transport.abort()

    return Protocol
