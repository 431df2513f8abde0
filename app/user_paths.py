"""Paths that a person gives to an action: with `~` for a home, and a plain mistake where that does not exist."""

from __future__ import annotations

from pathlib import Path

from app.actions import BadArguments
from bridge.machine.plain_files import NoSuchHome, user_path


def path_argument(path: str) -> Path:
    """The path that an action's argument `path` means, absolute or not. Raises BadArguments."""
    try:
        return user_path(path)
    except NoSuchHome as error:
        raise BadArguments(f"path: {error.strerror}: {path!r}") from None
