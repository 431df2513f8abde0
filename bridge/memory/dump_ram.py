"""A dump as RAM that other processes can map too: what a window needs, whose scanners and watchers share a file."""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bridge.memory.dump import Dump, Progress
from bridge.memory.ram import GuestRam

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW


@dataclass(frozen=True, slots=True)
class DumpRam:
    """A dump's RAM, and what is known of the dump."""

    ram: GuestRam
    kind: str
    """"raw", "ELF core" or "LiME"."""
    truncated: bool
    """Whether the file ends before what its headers promise."""


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)


def open_dump_ram(path: Path, *, progress: Progress | None = None) -> DumpRam:
    """Open a dump as a mapped RAM file. Raises DumpNotFound, PermissionDenied, MapFailed.

    A raw dump is that file. The RAM of other formats lies at odd offsets: it is copied into a nameless file in memory
    (memfd_create(2)), which this process's children reach under /proc and which goes with this process, whatever ends
    it.
    """
    shared: list[int] = []

    def in_shared_memory(size_bytes: int) -> npt.NDArray[np.uint8]:
        fd = os.memfd_create(f"glassbox {path.name}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        shared.append(fd)
        os.ftruncate(fd, size_bytes)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
        return np.frombuffer(mmap.mmap(fd, size_bytes), np.uint8)

    with contextlib.ExitStack() as undo:
        undo.callback(lambda: _close(shared))
        dump = Dump.open(path, progress=progress, allocate=in_shared_memory)
        kind, physical_map, truncated = dump.kind, dump.physical_map, dump.truncated
        dump.close()  # the bytes stay in the file
        if not shared:
            return DumpRam(GuestRam.open(path.absolute(), physical_map), kind, truncated)
        undo.pop_all()
    # GuestRam takes the descriptor over, also when it fails.
    fd = shared.pop()
    return DumpRam(
        GuestRam(Path(f"/proc/{os.getpid()}/fd/{fd}"), fd, physical_map.size_bytes, physical_map), kind, truncated
    )
