"""Where Glassbox keeps its files: cache, settings, state, and the private directory of what runs now.

Only the runtime directory holds sockets and control files, so it alone is checked: a real directory of this
user with mode 0700, never a symlink that somebody else planted in /tmp.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from bridge.machine.errors import NoDirectory, UnsafeDirectory

_PROGRAM = "glassbox"


def _from_environment(variable: str, fallback: Path) -> Path:
    # The XDG base directory specification: a value that is not absolute is to be ignored.
    value = os.environ.get(variable, "")
    return Path(value) if value.startswith("/") else fallback


def _made(path: Path, variable: str) -> Path:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise NoDirectory(path, error, variable) from error
    return path


def cache_path() -> Path:
    """Where `cache_dir` is, for who only looks or makes it later."""
    return _from_environment("XDG_CACHE_HOME", Path.home() / ".cache") / _PROGRAM


def cache_dir() -> Path:
    """What can be made again: guest images, saved machine states. Made when missing. Raises NoDirectory."""
    return _made(cache_path(), "XDG_CACHE_HOME")


def config_dir() -> Path:
    """What the user sets: settings, own guests. Made when missing and possible: without it all is as it comes, and who
    writes there fails.
    """
    path = _from_environment("XDG_CONFIG_HOME", Path.home() / ".config") / _PROGRAM
    with contextlib.suppress(NoDirectory):
        _made(path, "XDG_CONFIG_HOME")
    return path


def state_dir() -> Path:
    """What should outlive a run but is nobody's setting: window layout, log. Made when missing. Raises NoDirectory."""
    return _made(_from_environment("XDG_STATE_HOME", Path.home() / ".local" / "state") / _PROGRAM, "XDG_STATE_HOME")


def runtime_dir() -> Path:
    """The private directory of running machines and of the window's socket. Made when missing.

    Raises `UnsafeDirectory` when it is not a directory of this user alone.
    """
    fallback = Path("/tmp") / f"{_PROGRAM}-{os.getuid()}"  # noqa: S108  (owner, mode and links are checked below)
    base = _from_environment("XDG_RUNTIME_DIR", fallback)
    return private_dir(base if base == fallback else base / _PROGRAM)


def private_dir(path: Path) -> Path:
    """Make `path` (one level) if missing, and insist that it is a directory of this user with mode 0700.

    A directory of our own with a wider mode is narrowed; anything else raises `UnsafeDirectory`.
    """
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise UnsafeDirectory(path, f"it cannot be made: {error.strerror}") from error
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        raise UnsafeDirectory(path, "it is a symbolic link")
    if not stat.S_ISDIR(found.st_mode):
        raise UnsafeDirectory(path, "it is not a directory")
    if found.st_uid != os.getuid():
        raise UnsafeDirectory(path, f"it belongs to user {found.st_uid}, not to you ({os.getuid()})")
    if stat.S_IMODE(found.st_mode) != 0o700:
        path.chmod(0o700)
    return path
