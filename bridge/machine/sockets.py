"""Unix sockets at paths of any length: an address holds 107 bytes, a runtime directory may be longer."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

# The kernel's struct ucred: pid, uid, gid (unix(7), SO_PEERCRED).
_UCRED = struct.Struct("iII")


def listen(path: Path) -> socket.socket:
    """A listening socket at `path`, mode 0600. Raises OSError; one that is there already is an error (EADDRINUSE)."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _short_address(path) as address:
            server.bind(address)
            os.chmod(address, 0o600)  # noqa: PTH101 - through the short address
        server.listen(8)
    except BaseException:
        server.close()
        raise
    return server


def connect(path: Path, timeout_s: float | None = None) -> socket.socket:
    """A socket connected to `path`. With `timeout_s`, it is not blocking afterwards. Raises OSError."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        client.settimeout(timeout_s)
        with _short_address(path) as address:
            client.connect(address)
        if timeout_s is not None:
            client.setblocking(False)
    except BaseException:
        client.close()
        raise
    return client


def peer_pid(connected: socket.socket) -> int | None:
    """The process that listens at the other end; None when the kernel does not tell (another pid namespace)."""
    credentials = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid: int = _UCRED.unpack(credentials)[0]
    return pid if pid > 0 else None


@contextlib.contextmanager
def _short_address(path: Path) -> Iterator[str]:
    # The directory is opened, and the socket reached through it: the address is then short, whatever the path.
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
