"""Tokens: who may ask the REST interface. A new one at each start, in a file that only this user may read."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from app.failures import UsageError
from bridge.machine.directories import runtime_dir

VARIABLE = "GLASSBOX_TOKEN"
LEAST_CHARACTERS = 16


def token_path(port: int) -> Path:
    """Where the token of the interface at a port is."""
    return runtime_dir() / f"serve-{port}.token"


@contextlib.contextmanager
def issued_token(port: int) -> Iterator[tuple[str, Path]]:
    """A token and the file that holds it for the body: the user's own (`GLASSBOX_TOKEN`), or a new one.

    Raises UsageError where the user's own is too easy to guess.
    """
    token = os.environ.get(VARIABLE) or secrets.token_urlsafe(32)
    if len(token) < LEAST_CHARACTERS or not (token.isascii() and token.isprintable()) or " " in token:
        raise UsageError(f"{VARIABLE} must be at least {LEAST_CHARACTERS} printable ASCII characters without spaces")
    path = token_path(port)
    path.unlink(missing_ok=True)  # of one that was killed, or somebody's link
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(file, "w", encoding="ascii") as stream:
        stream.write(token + "\n")
    try:
        yield token, path
    finally:
        path.unlink(missing_ok=True)
