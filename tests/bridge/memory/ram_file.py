"""A RAM file for tests: anonymous tmpfs memory, as QEMU's is, which the test writes as a guest would."""

import ctypes
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bridge.memory.physical_map import PAGE_BYTES

_libc = ctypes.CDLL(None, use_errno=True)
_PUNCH_HOLE_KEEP_SIZE = 3


class RamFile:
    """The guest's side: `pages` is writable memory."""

    def __init__(self, n_pages: int) -> None:
        self.fd = os.memfd_create("ram")
        os.ftruncate(self.fd, n_pages * PAGE_BYTES)
        self.path = Path(f"/proc/{os.getpid()}/fd/{self.fd}")
        self.pages: npt.NDArray[np.uint8] = np.frombuffer(mmap.mmap(self.fd, n_pages * PAGE_BYTES), np.uint8).reshape(
            n_pages, PAGE_BYTES
        )

    @property
    def allocated_bytes(self) -> int:
        return os.fstat(self.fd).st_blocks * 512

    def punch_hole(self, page: int, n_pages: int = 1) -> None:
        """Gives memory back, as a balloon does."""
        offset, length = ctypes.c_long(page * PAGE_BYTES), ctypes.c_long(n_pages * PAGE_BYTES)
        if _libc.fallocate(self.fd, _PUNCH_HOLE_KEEP_SIZE, offset, length):
            raise OSError(ctypes.get_errno(), "fallocate")

    def content(self) -> npt.NDArray[np.uint8]:
        """All bytes, read without touching holes."""
        size = os.fstat(self.fd).st_size
        return np.frombuffer(os.pread(self.fd, size, 0), np.uint8).reshape(-1, PAGE_BYTES)


@contextmanager
def ram_file(n_pages: int) -> Iterator[RamFile]:
    file = RamFile(n_pages)
    try:
        yield file
    finally:
        os.close(file.fd)
