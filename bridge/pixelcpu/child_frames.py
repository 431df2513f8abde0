"""Messages between a program and its own child: pickles, each behind its length; a child's answer has a deadline."""

from __future__ import annotations

import os
import pickle
import selectors
import struct
from time import monotonic
from typing import IO, Any

UNINTERRUPTED = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
"""What a child begins with: Ctrl+C at a terminal is for all that run there, and the parent ends its own children."""
_LENGTH = struct.Struct("<Q")
_PIECE = 1 << 16


def write_frame(stream: IO[bytes], message: object) -> None:
    """Send one message. Raises OSError when nobody reads any more."""
    data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    stream.write(_LENGTH.pack(len(data)) + data)
    stream.flush()


def read_frame(stream: IO[bytes]) -> Any | None:
    """The next message, however long it takes; None at the end."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    return pickle.loads(stream.read(_LENGTH.unpack(head)[0]))  # noqa: S301 - between a program and its own child


def read_frame_by(stream: IO[bytes], deadline: float) -> Any:
    """The next message, by a monotonic time; nothing else may read the stream. Raises TimeoutError, EOFError."""
    size = _LENGTH.unpack(_exactly(stream, _LENGTH.size, deadline))[0]
    return pickle.loads(_exactly(stream, size, deadline))  # noqa: S301 - from our own child


def _exactly(stream: IO[bytes], n_bytes: int, deadline: float) -> bytes:
    pieces = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while len(pieces) < n_bytes:
            if not selector.select(max(0.0, deadline - monotonic())):
                raise TimeoutError
            piece = os.read(stream.fileno(), min(_PIECE, n_bytes - len(pieces)))
            if not piece:
                raise EOFError
            pieces += piece
    return bytes(pieces)
