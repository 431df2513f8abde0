"""HTTP: runs an ASGI application on this machine's own address until it is asked to end."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

from app.failures import CommandFailed

HOST = "127.0.0.1"
MAX_CONNECTIONS = 64


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
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=2,
    )
    uvicorn.Server(config).run(sockets=[listener])
