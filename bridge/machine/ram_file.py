"""RAM files: made sparse and private before QEMU starts, found by their owner and name, removed when it has ended."""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from bridge.machine.errors import ShmFull

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - files in it are made with O_EXCL and mode 0600


def ram_file_name(machine: str) -> str:
    """A fresh name for the RAM file of a machine."""
    return f"glassbox-{os.getuid()}-{machine}-{secrets.token_hex(4)}.ram"


def is_ram_file_name(name: str) -> bool:
    """Say whether a file of this name is a RAM file of this user's."""
    return re.fullmatch(rf"glassbox-{os.getuid()}-[a-z0-9][a-z0-9._-]{{0,31}}-[0-9a-f]{{8}}\.ram", name) is not None


def trace_file_of(ram_path: Path) -> Path:
    """Where the shared memory of the plugin that watches the guest's execution lies: beside its RAM."""
    return ram_path.with_suffix(".trace")


def create_ram_file(path: Path, size_bytes: int) -> None:
    """Make an empty (sparse) file of `size_bytes`, mode 0600.

    Raises `ShmFull` when the file system has not that much left, counting what the RAM files that are there may
    still grow to. Raises OSError otherwise.
    """
    free_bytes = free_for_ram(path.parent)
    if free_bytes < size_bytes:
        raise ShmFull(size_bytes, max(0, free_bytes), path.parent)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.ftruncate(fd, size_bytes)
    except BaseException:
        path.unlink()
        raise
    finally:
        os.close(fd)


def free_for_ram(directory: Path) -> int:
    """Bytes that a new RAM file may take: what is free, less what our other RAM files have yet to fill."""
    space = os.statvfs(directory)
    free_bytes = space.f_bavail * space.f_frsize
    promised_bytes = 0
    for path in ram_files(directory):
        try:
            status = path.lstat()
        except FileNotFoundError:
            continue
        promised_bytes += max(0, status.st_size - status.st_blocks * 512)
    return free_bytes - promised_bytes


def ram_files(directory: Path) -> Iterator[Path]:
    """The RAM files of this user in a directory."""
    for path in directory.iterdir():
        if is_ram_file_name(path.name):
            yield path


def remove_stray_traces(directory: Path) -> list[str]:
    """Remove the traces whose RAM file is gone: each is made after it, and removed with it. Returns their names."""
    removed = []
    for path in directory.glob(f"glassbox-{os.getuid()}-*.trace"):
        ram = path.with_suffix(".ram")
        if is_ram_file_name(ram.name) and not ram.exists():
            path.unlink(missing_ok=True)
            removed.append(path.name)
    return removed


def remove_ram_file(path: Path) -> bool:
    """Remove a RAM file of ours, and the trace beside it; what is not one is left alone. Mappings of them stay valid.

    True when it was there.
    """
    try:
        status = path.lstat()
        if not (is_ram_file_name(path.name) and stat.S_ISREG(status.st_mode) and status.st_uid == os.getuid()):
            return False
        trace_file_of(path).unlink(missing_ok=True)
        path.unlink()
    except FileNotFoundError:
        if is_ram_file_name(path.name):  # somebody deleted it; the trace beside it is ours all the same
            trace_file_of(path).unlink(missing_ok=True)
        return False
    return True
