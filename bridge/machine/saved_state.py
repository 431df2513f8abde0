"""Saved machine states on disk: a guest that has booted once goes on from there the next time.

A state is a directory of three files and a description. RAM is kept as the pages that are not zero, one after the
other, so that what is not there costs nothing. Everything carries a checksum: a state that was cut short or damaged is
found out before a guest runs on it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import os
import secrets
import shutil
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bridge.machine.errors import MachineError

PAGE_BYTES = 4096
_FORMAT = 1
_DESCRIPTION = "state.json"
_RAM = "ram.bin"
_INDEX = "index.bin"
_DEVICES = "devices.bin"
_LARGEST_DESCRIPTION = 1 << 20
_LARGEST_DEVICES = 64 << 20
_CHUNK_BYTES = 8 << 20
# What a writer that was killed left behind goes when nobody can be writing it any more.
_ABANDONED_AFTER_S = 600


class SavedStateBroken(MachineError):
    """A saved state that cannot be used: damaged, cut short, or refused by QEMU."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"The saved state {path} cannot be used: {reason}.")
        self.path = path
        self.reason = reason


@dataclass(frozen=True, slots=True)
class RamImage:
    """RAM without its zero pages. `index`: (n, 2) uint64 of file offset and length in bytes, page-aligned, in order.
    `data`: (sum of lengths,) uint8."""

    index: npt.NDArray[np.uint64]
    data: npt.NDArray[np.uint8]


def file_identity(path: Path) -> str:
    """Changes whenever the file does. Raises OSError."""
    status = path.stat()
    return f"{path}:{status.st_size}:{status.st_mtime_ns}"


def state_key(parts: Sequence[str]) -> str:
    """The name of the state of a machine that is described by `parts`: equal exactly when all of them are."""
    return hashlib.sha256(json.dumps([_FORMAT, *parts]).encode()).hexdigest()[:40]


def read_ram(path: Path, extents: Sequence[tuple[int, int]]) -> npt.NDArray[np.uint8]:
    """Copy the `extents` (offset, length) of a RAM file into memory, one after the other: (total,) uint8."""
    data = np.empty(sum(length for _, length in extents), np.uint8)
    with path.open("rb", buffering=0) as file:
        position = 0
        for offset, length in extents:
            end = position + length
            while position < end:
                part = data.data[position : min(end, position + _CHUNK_BYTES)]
                count = os.preadv(file.fileno(), [part], offset + length - (end - position))
                if count == 0:
                    raise OSError(f"{path} ended early")
                position += count
    return data


def compress_zero_pages(extents: Sequence[tuple[int, int]], data: npt.NDArray[np.uint8]) -> RamImage:
    """Leave out the pages of `data` (read by `read_ram`) that are all zero."""
    starts = [np.arange(offset, offset + length, PAGE_BYTES, dtype=np.uint64) for offset, length in extents]
    offsets = np.concatenate(starts) if starts else np.empty(0, np.uint64)
    filled = data.view(np.uint64).reshape(len(offsets), PAGE_BYTES // 8).any(axis=1)
    offsets = offsets[filled]
    breaks = np.flatnonzero(np.diff(offsets) != PAGE_BYTES) + 1 if len(offsets) else np.empty(0, np.int64)
    runs = np.split(offsets, breaks) if len(offsets) else []
    index = np.array([(run[0], len(run) * PAGE_BYTES) for run in runs], np.uint64).reshape(-1, 2)
    return RamImage(index, data.reshape(-1, PAGE_BYTES)[filled].reshape(-1))


class StateStore:
    """The saved states in one directory, the least recently used of which go when they are too many."""

    def __init__(self, directory: Path, *, largest_bytes: int = 2 << 30) -> None:
        self.directory = directory
        self.largest_bytes = largest_bytes

    def find(self, key: str) -> SavedState | None:
        """The state of this key, if there is one; whether it is whole shows when it is used."""
        path = self.directory / key
        return SavedState(path) if path.is_dir() else None

    def save(self, key: str, image: RamImage, devices: bytes, ram_bytes: int, console: bytes) -> None:
        """Keep a state, in place of the one that was there. Raises OSError, having left nothing half-written."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._remove_abandoned()
        partial = self.directory / f".{key}.{secrets.token_hex(4)}"
        index = image.index.astype("<u8").tobytes()
        description = {
            "format": _FORMAT,
            "ram_bytes": ram_bytes,
            "console": console.hex(),
            "files": {
                _RAM: [len(image.data), zlib.crc32(image.data.data)],
                _INDEX: [len(index), zlib.crc32(index)],
                _DEVICES: [len(devices), zlib.crc32(devices)],
            },
        }
        partial.mkdir(mode=0o700)
        try:
            for name, data in ((_RAM, image.data.data), (_INDEX, index), (_DEVICES, devices)):
                with (partial / name).open("wb") as file:
                    file.write(data)
            (partial / _DESCRIPTION).write_text(json.dumps(description), encoding="utf-8")
            self.remove(key)
            partial.rename(self.directory / key)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        self._forget_oldest(keep=key)

    def remove(self, key: str) -> None:
        """Forget a state; one that is not there is no error."""
        shutil.rmtree(self.directory / key, ignore_errors=True)

    def size_bytes(self) -> int:
        """What all states take."""
        return sum(_size(path) for path in self._states())

    def _states(self) -> list[Path]:
        if not self.directory.is_dir():
            return []
        return [path for path in self.directory.iterdir() if path.is_dir() and not path.name.startswith(".")]

    def _forget_oldest(self, keep: str) -> None:
        by_age = sorted(self._states(), key=_last_use)
        total = sum(_size(path) for path in by_age)
        for path in by_age:
            if total <= self.largest_bytes:
                return
            if path.name != keep:
                total -= _size(path)
                self.remove(path.name)

    def _remove_abandoned(self) -> None:
        for path in self.directory.glob(".*"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > _ABANDONED_AFTER_S:
                    shutil.rmtree(path, ignore_errors=True)


class SavedState:
    """One saved state, to be restored."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def describe(self, ram_bytes: int) -> bytes:
        """Check the description, mark the state as used now, and return what the console had shown.

        Raises `SavedStateBroken`.
        """
        description = self._description()
        if description.get("ram_bytes") != ram_bytes:
            raise SavedStateBroken(self.path, "it belongs to a machine with other RAM")
        try:
            console = bytes.fromhex(description["console"])
        except (KeyError, TypeError, ValueError) as error:
            raise SavedStateBroken(self.path, "its description makes no sense") from error
        with contextlib.suppress(OSError):
            os.utime(self.path / _DESCRIPTION)
        return console

    def restore_devices(self, target: Path) -> None:
        """Write the device state to a file for QEMU to read. Raises `SavedStateBroken`."""
        data = self._read(_DEVICES, _LARGEST_DEVICES)
        target.write_bytes(data)

    def restore_ram(self, target: Path, given_up: Callable[[], bool]) -> None:
        """Fill the RAM file `target`, which is new and empty. Stops early when `given_up()`.

        Raises `SavedStateBroken`; OSError for trouble with the target.
        """
        ram_bytes = self._description().get("ram_bytes")
        raw_index = self._read(_INDEX, _LARGEST_DEVICES)
        if not isinstance(ram_bytes, int) or len(raw_index) % 16:
            raise SavedStateBroken(self.path, "its index makes no sense")
        index = np.frombuffer(raw_index, "<u8").reshape(-1, 2)
        size, checksum = self._expected(_RAM)
        # Python integers: a damaged index must not wrap around.
        runs = [(int(offset), int(length)) for offset, length in index]
        if sum(length for _, length in runs) != size or any(offset + length > ram_bytes for offset, length in runs):
            raise SavedStateBroken(self.path, "its index does not fit")
        if not runs:
            return
        try:
            with (self.path / _RAM).open("rb") as file:
                if os.fstat(file.fileno()).st_size != size:
                    raise SavedStateBroken(self.path, f"{_RAM} was cut short")
                source = mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ)
        except OSError as error:
            raise SavedStateBroken(self.path, f"{_RAM} cannot be read ({error.strerror})") from error
        with source, memoryview(source) as view, target.open("r+b", buffering=0) as file:
            position, seen = 0, 0
            for offset, length in runs:
                end = position + length
                while position < end:
                    if given_up():
                        return
                    with view[position : min(end, position + _CHUNK_BYTES)] as part:
                        seen = zlib.crc32(part, seen)
                        position += os.pwrite(file.fileno(), part, offset + length - (end - position))
        if seen != checksum:
            raise SavedStateBroken(self.path, f"{_RAM} is damaged")

    def remove(self) -> None:
        """Forget the state."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _description(self) -> dict[str, Any]:
        try:
            with (self.path / _DESCRIPTION).open("rb") as file:
                description = json.loads(file.read(_LARGEST_DESCRIPTION))
        except (OSError, ValueError, RecursionError) as error:
            raise SavedStateBroken(self.path, "its description cannot be read") from error
        if not isinstance(description, dict) or description.get("format") != _FORMAT:
            raise SavedStateBroken(self.path, "its description makes no sense")
        return description

    def _expected(self, name: str) -> tuple[int, int]:
        try:
            size, checksum = self._description()["files"][name]
            return int(size), int(checksum)
        except (KeyError, TypeError, ValueError) as error:
            raise SavedStateBroken(self.path, "its description makes no sense") from error

    def _read(self, name: str, largest_bytes: int) -> bytes:
        size, checksum = self._expected(name)
        try:
            with (self.path / name).open("rb") as file:
                data = file.read(min(size, largest_bytes) + 1)
        except OSError as error:
            raise SavedStateBroken(self.path, f"{name} cannot be read ({error.strerror})") from error
        if len(data) != size or zlib.crc32(data) != checksum:
            raise SavedStateBroken(self.path, f"{name} is damaged or was cut short")
        return data


def _size(path: Path) -> int:
    total = 0
    for file in path.iterdir():
        with contextlib.suppress(OSError):
            total += file.stat().st_size
    return total


def _last_use(path: Path) -> float:
    try:
        return (path / _DESCRIPTION).stat().st_mtime
    except OSError:
        return 0.0
