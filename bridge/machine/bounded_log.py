"""Log files that QEMU appends to for as long as it lives: only their last part is kept and read."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

# linux/falloc.h: make a hole, and leave the file's size as it is.
_FALLOC_FL_KEEP_SIZE = 0x01
_FALLOC_FL_PUNCH_HOLE = 0x02
_BLOCK_BYTES = 4096

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


def trim(path: Path, keep_bytes: int) -> None:
    """Free all but the last `keep_bytes` (or a little more) of a log that somebody appends to.

    The beginning becomes a hole, so that no byte that is written meanwhile is lost or moved, as cutting the file
    down would. A file system without holes loses the whole log instead of filling up. A missing file is no error.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    try:
        status = os.fstat(fd)
        if status.st_blocks * 512 <= 2 * keep_bytes:
            return
        end = (status.st_size - keep_bytes) // _BLOCK_BYTES * _BLOCK_BYTES
        if end > 0 and _libc.fallocate(fd, _FALLOC_FL_PUNCH_HOLE | _FALLOC_FL_KEEP_SIZE, 0, end) != 0:
            os.ftruncate(fd, 0)
    finally:
        os.close(fd)


def read_tail(path: Path, length: int) -> bytes:
    """The last `length` bytes of a log; nothing when there is none. A hole at the beginning is left out."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            start = max(0, size - length)
            if start < size:
                start = max(start, os.lseek(file.fileno(), start, os.SEEK_DATA))
            file.seek(start)
            return file.read(length)
    except OSError:
        return b""


def last_lines(path: Path, count: int = 3, longest: int = 300) -> tuple[str, ...]:
    """The last lines of a log as printable text, each at most `longest` characters."""
    text = read_tail(path, 16 << 10).decode("utf-8", "replace")
    lines = ["".join(c if c.isprintable() else " " for c in line).strip() for line in text.splitlines()]
    return tuple(line[:longest] for line in lines if line)[-count:]
