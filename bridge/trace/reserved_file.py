"""Reserved file: written from its beginning on, with room on the disk that is asked for before it is needed.

Parquet's index stands at the end of the file: without it nothing before it can be read. So room for a piece, and for
the index behind it, is reserved before the piece is begun; where there is none, what was written so far can be ended.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
from pathlib import Path

from bridge.trace.errors import TraceError

_STEP = 16 << 20
_NOT_SUPPORTED = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)


class DiskFull(TraceError):
    """There is no room for more of a recording: the disk is full, or a file must not be larger."""


class ReservedFile(io.RawIOBase):
    """A new file, under another name until it is whole: `keep` gives it its own, `discard` takes it away."""

    def __init__(self, path: Path) -> None:
        """Raises TraceError where it cannot be made."""
        self.path = path
        self._partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        self.size = self._reserved = 0
        try:
            if path.exists() and not path.is_file():
                raise TraceError(f"{path} is no regular file.")
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
            self._fd = os.open(self._partial, flags, 0o600)
        except OSError as error:
            raise TraceError(f"{path} cannot be written: {error.strerror}.") from error

    def reserve(self, size: int) -> None:
        """Have room for so many bytes behind what was written. Raises DiskFull, TraceError."""
        wanted = self.size + size
        for step in (_STEP, 0):  # more than is needed, where there is more
            if wanted <= self._reserved:
                return
            more = wanted + step - self._reserved
            try:
                os.posix_fallocate(self._fd, self._reserved, more)
                self._reserved += more
            except OSError as error:
                if error.errno in _NOT_SUPPORTED:
                    return  # what is written will tell
                if not step:
                    raise _failure(self.path, error) from error

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: object) -> int:
        """All of it; none, once it was discarded: who writes ends his work anyway. Raises DiskFull, TraceError."""
        view = memoryview(data).cast("B")  # type: ignore[arg-type]
        size = len(view)
        if self._fd < 0:
            return size
        try:
            while view:
                done = os.pwrite(self._fd, view, self.size)
                self.size += done
                view = view[done:]
        except OSError as error:
            raise _failure(self.path, error) from error
        return size

    def tell(self) -> int:
        """Bytes written so far."""
        return self.size

    def seekable(self) -> bool:
        """Only to where it is."""
        return False

    def keep(self) -> None:
        """End it: what was reserved and not used is given back. Raises TraceError."""
        try:
            os.ftruncate(self._fd, self.size)
            os.close(self._fd)
            self._fd = -1
            self._partial.replace(self.path)
        except OSError as error:
            raise _failure(self.path, error) from error

    def discard(self) -> None:
        """Leave nothing of it behind, unless it was kept."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        with contextlib.suppress(FileNotFoundError):
            self._partial.unlink()


def _failure(path: Path, error: OSError) -> TraceError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return DiskFull(f"There is no more room for {path} ({error.strerror}).")
    return TraceError(f"{path} cannot be written: {error.strerror}.")
