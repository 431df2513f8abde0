"""Keep what is assembled for guests: complete or not there, made once by one process, noticed when damaged."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from bridge.machine.guest import GuestCancelled

_MANIFEST = "manifest.json"
_LOCK_POLL_S = 0.1
_KEPT_VERSIONS = 3


@dataclass(frozen=True, slots=True)
class _Record:
    size_bytes: int
    mtime_ns: int
    sha256: str


def key_of(*parts: Path | str) -> str:
    """A short name for "made from exactly this": of the content of files and directories, and of strings."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            digest.update(f"text {len(part)} {part}".encode())
            continue
        files = sorted(path for path in part.rglob("*") if path.is_file()) if part.is_dir() else [part]
        for path in files:
            data = path.read_bytes()
            digest.update(f"file {path.relative_to(part).as_posix()} {len(data)} ".encode() + data)
    return digest.hexdigest()[:16]


def is_intact(directory: Path) -> bool:
    """Whether ``directory`` holds every file as it was made.

    A file with the size and time stamp that were noted is trusted, any other is read and compared: so this takes
    no time as a rule, and what was written to since is noticed.
    """
    try:
        manifest = json.loads((directory / _MANIFEST).read_bytes())
        records = {name: _Record(**record) for name, record in manifest.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return False
    return bool(records) and all(_is_as_noted(directory / name, record) for name, record in records.items())


def _is_as_noted(path: Path, record: _Record) -> bool:
    try:
        status = path.stat()
        if status.st_size != record.size_bytes:
            return False
        if status.st_mtime_ns == record.mtime_ns:
            return True
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == record.sha256
    except OSError:
        return False


def put(directory: Path, files: Mapping[str, bytes]) -> None:
    """Have exactly ``files`` in ``directory``, in place of what was there; all of them at once."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        records = {}
        for name, data in files.items():
            path = unfinished / name
            path.write_bytes(data)
            status = path.stat()
            records[name] = asdict(_Record(status.st_size, status.st_mtime_ns, hashlib.sha256(data).hexdigest()))
        (unfinished / _MANIFEST).write_text(json.dumps(records, indent=1))
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(directory)
        unfinished.rename(directory)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


@contextlib.contextmanager
def work_directory(parent: Path) -> Iterator[Path]:
    """An empty directory to work in, gone afterwards."""
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".work-", dir=parent) as path:
        yield Path(path)


def remove_old(parent: Path, prefix: str, current: Path) -> None:
    """Keep ``current`` and the few other directories ``prefix``* that were used last; mark ``current`` as used."""
    os.utime(current)
    others = [path for path in parent.glob(f"{prefix}*") if path.is_dir() and path != current]
    for path in sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)[_KEPT_VERSIONS - 1 :]:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def lock(parent: Path, cancelled: Callable[[], bool] | None = None) -> Iterator[None]:
    """Let one process at a time make things under ``parent``; raises `GuestCancelled` when asked to stop waiting."""
    parent.mkdir(parents=True, exist_ok=True)
    with (parent / ".lock").open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if cancelled is not None and cancelled():
                    raise GuestCancelled(
                        "Another Glassbox is assembling this guest; waiting for it was stopped."
                    ) from None
                time.sleep(_LOCK_POLL_S)
        yield
