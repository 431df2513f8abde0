"""The guest's RAM as a read-only mapping of QEMU's memory backend file: no copy, no way to write."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import stat
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from bridge.memory.errors import FileNotFound, InvalidAddress, MapFailed, PermissionDenied, RamClosed
from bridge.memory.physical_map import PAGE_BYTES, PhysicalMap
from bridge.memory.snapshot import Snapshot, take_snapshot


class GuestRam:
    """A mapped RAM file.

    Views that were given out stay valid after `close()`; the mapping goes when the last of them does.

    A page of the file that the guest never touched is a hole. Reading a hole through a shared mapping of tmpfs makes
    the kernel allocate it, so who reads a lot asks `allocated_extents()` first.
    """

    path: Path
    size_bytes: int
    n_pages: int

    def __init__(self, path: Path, fd: int, size_bytes: int, physical_map: PhysicalMap) -> None:
        """Use `GuestRam.open`. Takes over `fd`, also when it raises."""
        self.path = path
        self.size_bytes = size_bytes
        self.n_pages = size_bytes // PAGE_BYTES
        self._physical_map = physical_map
        self._fd = fd
        self._mapping: mmap.mmap | None = None
        try:
            self._mapping = mmap.mmap(fd, size_bytes, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
        except (OSError, ValueError, OverflowError) as error:
            self.close()
            raise MapFailed(path, f"mapping {size_bytes:,} bytes failed: {error}.") from error

    @classmethod
    def open(cls, path: Path, physical_map: PhysicalMap | None = None) -> GuestRam:
        """Maps `path` read-only. Without a map, all RAM is taken to lie in one piece from address 0.

        Raises `FileNotFound`, `PermissionDenied`, or `MapFailed`.
        """
        path = Path(path)
        try:
            # Not blocking: a FIFO put in the file's place must not hang us.
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError as error:
            raise FileNotFound(path) from error
        except PermissionError as error:
            raise PermissionDenied(path) from error
        except (OSError, ValueError) as error:
            raise MapFailed(path, f"opening it failed: {error}.") from error
        status = os.fstat(fd)
        size_bytes = physical_map.size_bytes if physical_map else status.st_size
        problem = None
        if not stat.S_ISREG(status.st_mode):
            problem = "it is not a regular file. Is it the machine's memory-backend-file?"
        elif status.st_size < size_bytes:
            problem = f"it has {status.st_size:,} bytes, but the machine has {size_bytes:,} bytes of RAM."
        elif size_bytes == 0 or size_bytes % PAGE_BYTES:
            problem = f"its size of {size_bytes:,} bytes is not a number of {PAGE_BYTES}-byte pages."
        if problem:
            os.close(fd)
            raise MapFailed(path, problem)
        return cls(path, fd, size_bytes, physical_map or PhysicalMap.flat(size_bytes))

    @property
    def closed(self) -> bool:
        """True after `close()`."""
        return self._mapping is None

    @property
    def physical_map(self) -> PhysicalMap:
        """Where in the guest's address space the file lies. Can be replaced, since firmware changes it as it boots."""
        return self._physical_map

    @physical_map.setter
    def physical_map(self, physical_map: PhysicalMap) -> None:
        if physical_map.size_bytes != self.size_bytes:
            raise MapFailed(
                self.path, f"it has {self.size_bytes:,} bytes, the new memory map {physical_map.size_bytes:,}."
            )
        self._physical_map = physical_map

    @property
    def bytes(self) -> npt.NDArray[np.uint8]:
        """All RAM by file offset: (size_bytes,) uint8, read-only, no copy."""
        return np.frombuffer(self._open_mapping(), np.uint8)

    @property
    def pages(self) -> npt.NDArray[np.uint8]:
        """All RAM by page: (n_pages, 4096) uint8, read-only, no copy."""
        return self.bytes.reshape(self.n_pages, PAGE_BYTES)

    def read_physical(self, address: int, length: int) -> memoryview:
        """A read-only view of `length` bytes at guest-physical `address`; they must be RAM in one piece."""
        mapping = self._open_mapping()
        offset = self._physical_map.contiguous_offset(address, length)
        return memoryview(mapping)[offset : offset + length]

    def read_offset(self, offset: int, length: int) -> memoryview:
        """A read-only view of `length` bytes at an offset of the RAM file."""
        mapping = self._open_mapping()
        if offset < 0 or length < 0 or offset + length > self.size_bytes:
            raise InvalidAddress(offset, length, self.size_bytes, "This is an offset in the RAM file.")
        return memoryview(mapping)[offset : offset + length]

    def allocated_extents(self) -> list[tuple[int, int]]:
        """(offset, length) of the parts of the file that exist, page-aligned, in order; all else is zero."""
        self._open_mapping()
        extents: list[tuple[int, int]] = []
        position = 0
        while position < self.size_bytes:
            try:
                start = os.lseek(self._fd, position, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:  # no data from here on
                    break
                raise MapFailed(self.path, f"looking for its holes failed: {error}.") from error
            start -= start % PAGE_BYTES
            if start >= self.size_bytes:
                break
            # There is always a hole at the end of a file; its pages may be smaller than ours on other file systems.
            end = os.lseek(self._fd, max(start, position), os.SEEK_HOLE)
            end = min(-(-end // PAGE_BYTES) * PAGE_BYTES, self.size_bytes)
            extents.append((start, end - start))
            position = end
        return extents

    def snapshot(self, *, pause: contextlib.AbstractContextManager[object] | None = None, retries: int = 3) -> Snapshot:
        """A copy of all RAM, and whether it is of one instant; see `bridge.memory.snapshot`."""
        return take_snapshot(self, pause=pause, retries=retries)

    def check_intact(self) -> os.stat_result:
        """Raises `MapFailed` when the file has become shorter than the mapping.

        Reading what was cut off would end the program (SIGBUS). QEMU never shortens its RAM file; this check, before
        each sweep, keeps the time in which somebody else could hurt us to milliseconds.
        """
        self._open_mapping()
        status = os.fstat(self._fd)
        if status.st_size < self.size_bytes:
            raise MapFailed(
                self.path, f"it shrank from {self.size_bytes:,} to {status.st_size:,} bytes. Detach the machine."
            )
        return status

    def duplicate_fd(self) -> int:
        """A file descriptor of the RAM file of the caller's own, to be closed by it."""
        self._open_mapping()
        return os.dup(self._fd)

    def close(self) -> None:
        """Gives up the mapping. Does nothing the second time."""
        mapping, self._mapping = self._mapping, None
        fd, self._fd = self._fd, -1
        if mapping is not None:
            # With views still out, closing is refused; the mapping then ends with the last of them.
            with contextlib.suppress(BufferError):
                mapping.close()
        if fd >= 0:
            os.close(fd)

    def _open_mapping(self) -> mmap.mmap:
        if self._mapping is None:
            raise RamClosed(self.path)
        return self._mapping

    def __enter__(self) -> GuestRam:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
