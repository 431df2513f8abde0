"""Where a search reads RAM from: the file behind a mapping or, for a dump that was copied into memory, that memory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bridge.memory.dump import Dump
from bridge.memory.errors import DumpNotFound, MapFailed
from bridge.memory.physical import HoldsRam
from bridge.memory.ram import GuestRam
from bridge.semantic.search.places import Places


@dataclass(frozen=True, slots=True)
class Source:
    """RAM to read from while it is open."""

    fd: int
    """Of the RAM file; -1 where there is none."""
    data: npt.NDArray[np.uint8]
    """(size_bytes,) what is read where there is no file; else empty."""

    @property
    def address(self) -> int:
        """Where `data` is in this process."""
        return int(self.data.ctypes.data)

    def read(self, places: Places, position: int, length: int) -> bytes:
        """Bytes of the places, in their order, across pieces whether joined or not; less where there are no more."""
        target = bytearray(max(min(length, places.n_bytes - position), 0))
        self.read_into(places, position, memoryview(target))
        return bytes(target)

    def read_into(self, places: Places, position: int, target: memoryview) -> int:
        """The same into memory that is there, all of which the places must have. What the RAM file does not have any
        more is zero; gives how much that is.
        """
        done, missing = 0, 0
        piece = int(np.searchsorted(places.starts, position, side="right")) - 1
        while done < len(target):
            n = min(int(places.starts[piece + 1]) - position, len(target) - done)
            offset = int(places.offsets[piece]) + position - int(places.starts[piece])
            missing += self._fill(target[done : done + n], offset)
            position, done, piece = position + n, done + n, piece + 1
        return missing

    def _fill(self, target: memoryview, offset: int) -> int:
        if self.fd < 0:
            np.asarray(target)[:] = self.data[offset : offset + len(target)]
            return 0
        done = 0
        while done < len(target):
            n = os.preadv(self.fd, [target[done:]], offset + done)
            if n == 0:
                target[done:] = bytes(len(target) - done)
                break
            done += n
        return len(target) - done


@contextlib.contextmanager
def open_source(ram: HoldsRam) -> Iterator[Source]:
    """Open what holds RAM for reading. Raises RamClosed, DumpNotFound, MapFailed."""
    fd = _descriptor(ram)
    try:
        yield Source(fd, np.zeros(0, np.uint8) if fd >= 0 else np.asarray(ram.bytes))
    finally:
        if fd >= 0:
            os.close(fd)


def _descriptor(ram: HoldsRam) -> int:
    if isinstance(ram, GuestRam):
        return ram.duplicate_fd()
    if isinstance(ram, Dump) and ram.kind == "raw":
        return _open(ram.path)
    return -1


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise DumpNotFound(path) from error
    except OSError as error:
        raise MapFailed(path, f"opening it again failed: {error}.") from error
