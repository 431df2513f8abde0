"""Sessions: where the databases of windows lie, which are being written now, and which are old enough to go."""

from __future__ import annotations

import contextlib
import fcntl
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bridge.machine.directories import private_dir, state_dir

FOLDER = "sessions"
_DAMAGED = ".damaged"
_BESIDE = ("-wal", "-shm", "-journal")
"""What SQLite puts beside a database."""


@dataclass(frozen=True, slots=True)
class Kept:
    """How many old sessions are kept, and how large they may be together."""

    count: int = 10
    max_bytes: int = 1 << 30


@dataclass(frozen=True, slots=True)
class Session:
    """A session's database."""

    path: Path
    size_bytes: int
    """With its log."""
    is_open: bool
    """Whether a window writes it now."""


class OpenSession:
    """A new session's place. As long as it is held, nobody takes it for an old one, not even after a kill."""

    def __init__(self, folder: Path | None = None) -> None:
        """Make a place for a database in `folder`. Raises OSError, UnsafeDirectory."""
        place = folder or sessions_dir()
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        self.path = place / f"{stamp}-{os.getpid()}.db"
        # Not the database itself: SQLite's own locks on it would be lost when another descriptor is closed.
        self._lock = os.open(_lock_of(self.path), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def close(self) -> None:
        """Let go of it. A second call does nothing."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def sessions_dir() -> Path:
    """The folder of all sessions, made when missing. Raises UnsafeDirectory."""
    return private_dir(state_dir() / FOLDER)


def sessions(folder: Path | None = None) -> tuple[Session, ...]:
    """All sessions, the newest first."""
    found = []
    for path in sorted((folder or sessions_dir()).glob("*.db"), reverse=True):
        with contextlib.suppress(FileNotFoundError):  # another window has just removed it
            size = sum(part.stat().st_size for part in _parts(path) if part.exists())
            found.append(Session(path, size, _is_open(path)))
    return tuple(found)


def remove_old(kept: Kept, folder: Path | None = None) -> int:
    """Remove the oldest sessions beyond what is kept; how many that were. Those that are written now stay."""
    count = size_bytes = removed = 0
    for session in sessions(folder):
        count += 1
        size_bytes += session.size_bytes
        if session.is_open or (count <= kept.count and size_bytes <= kept.max_bytes):
            continue
        for part in (*_parts(session.path), _lock_of(session.path)):
            part.unlink(missing_ok=True)
        removed += 1
    for lock in (folder or sessions_dir()).glob("*.lock"):  # of windows that had nothing to write
        database = lock.with_suffix(".db")
        if not database.exists() and not _is_open(database):
            lock.unlink(missing_ok=True)
    return removed


def set_aside(path: Path) -> Path:
    """Give a damaged database a name under which nobody takes it for a session's; where it lies then.

    What SQLite put beside it goes along, so that its own tools can try to recover it. Of those that were set aside
    before, none is kept. Raises OSError.
    """
    for old in path.parent.glob(f"*{_DAMAGED}*"):
        old.unlink(missing_ok=True)
    there = path.with_name(path.name + _DAMAGED)
    for part, target in zip(_parts(path), _parts(there), strict=True):
        with contextlib.suppress(FileNotFoundError):
            part.rename(target)
    return there


def _parts(path: Path) -> tuple[Path, ...]:
    return (path, *(path.with_name(path.name + ending) for ending in _BESIDE))


def _lock_of(path: Path) -> Path:
    return path.with_suffix(".lock")


def _is_open(path: Path) -> bool:
    try:
        lock = os.open(_lock_of(path), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False
