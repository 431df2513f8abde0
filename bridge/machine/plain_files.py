"""Plain files: what a user's path means, and opened only if it is one: opening a pipe waits for who writes into it."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


class NoSuchHome(FileNotFoundError):
    """A path begins with `~` and a user who does not exist, or `~` alone and there is no home."""

    def __init__(self, path: str) -> None:
        super().__init__(errno.ENOENT, "there is no such home", path)


def user_path(text: str | Path) -> Path:
    """A path as a person writes it, whose `~` and `~user` are homes. Raises NoSuchHome."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise NoSuchHome(str(text)) from None


def home_or_plain(text: str | Path) -> Path:
    """The same where a path need not lead anywhere yet: left as it is written where its home does not exist."""
    try:
        return user_path(text)
    except NoSuchHome:
        return Path(text)


def open_plain(path: Path) -> BinaryIO:
    """Open a file for reading. Raises OSError, EINVAL where it is a pipe, a device or a socket."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    mode = os.fstat(file).st_mode
    if not stat.S_ISREG(mode):
        os.close(file)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        raise OSError(errno.EINVAL, "it is no plain file", str(path))
    return os.fdopen(file, "rb")
