"""Rows of open files and sockets: the tables of descriptors of all processes, read at once."""

from __future__ import annotations

import stat
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bridge.kernel.census.addresses import places, signed, signed_number
from bridge.kernel.census.file_names import FileNames
from bridge.kernel.census.records import Row
from bridge.kernel.census.remembered import Budget, Remembered
from bridge.kernel.drgn_engine.files import KINDS, MAX_DESCRIPTORS
from bridge.kernel.drgn_engine.program import KernelProgram, reading
from bridge.kernel.drgn_engine.sockets import read_socket
from bridge.kernel.errors import KernelError
from bridge.kernel.members import Members
from bridge.kernel.records import Socket
from bridge.kernel.tasks import Tasks

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

MAX_SLOTS = 4 << 20
"""Of all tables of descriptors together."""
MAX_FILES = 100_000
_FMODE_READ, _FMODE_WRITE = 1, 2
_MODES = ("", "r", "w", "rw")


@dataclass(frozen=True, slots=True)
class OpenDescriptors:
    """Every open descriptor of every process, by process and number. Parallel arrays (n,)."""

    pids: I64
    descriptors: I64
    files: U64
    """`struct file *`."""


class FileRows:
    """Makes the rows of one kernel's open files and sockets."""

    def __init__(self, program: KernelProgram, names: FileNames) -> None:
        types = program.types
        self._program = program
        self._names = names
        self._tasks = Members({"files": (types.offset("task_struct", "files"), 8)})
        self._tables = Members({"fdt": (types.offset("files_struct", "fdt"), 8)})
        self._slots = Members(
            {"max_fds": (types.offset("fdtable", "max_fds"), 4), "fd": (types.offset("fdtable", "fd"), 8)}
        )
        mode = types.member("file", "f_mode")
        self._files = Members(
            {
                "mode": (mode.offset, types.size(mode.type_id)),
                "position": (types.offset("file", "f_pos"), 8),
                "inode": (types.offset("file", "f_inode"), 8),
            }
        )
        self._inodes = Members(
            {
                "mode": (types.offset("inode", "i_mode"), 2),
                "number": (types.offset("inode", "i_ino"), 8),
                "size": (types.offset("inode", "i_size"), 8),
            }
        )
        self._sockets = Remembered(self._read_socket)

    @property
    def n_pending(self) -> int:
        """Sockets that there was no time for yet."""
        return self._sockets.n_pending

    def descriptors(self, processes: Tasks) -> OpenDescriptors:
        """What processes hold open."""
        space = self._program.kernel.space
        with_memory = np.flatnonzero(processes.mms)
        files = self._tasks.read(space, processes.addresses[with_memory]).u64("files")
        tables = self._tables.read(space, files).u64("fdt")
        told = self._slots.read(space, tables)
        counts, first = told.u64("max_fds").astype(np.int64), told.u64("fd")
        counts[(files == 0) | (tables == 0) | (counts > MAX_DESCRIPTORS)] = 0
        counts[np.cumsum(counts) > MAX_SLOTS] = 0
        owner = np.repeat(np.arange(len(counts)), counts)
        number = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
        held, _ = space.words(first[owner] + (number.astype(np.uint64) << np.uint64(3)))
        kept = np.flatnonzero(held)[:MAX_FILES]
        return OpenDescriptors(processes.pids[with_memory[owner[kept]]], number[kept], held[kept])

    def rows(self, held: OpenDescriptors, budget: Budget) -> tuple[list[Row], list[Row]]:
        """Rows of files, and rows of sockets."""
        space = self._program.kernel.space
        files, place = np.unique(held.files, return_inverse=True)
        told = self._files.read(space, files)
        inodes = told.u64("inode")
        nodes = self._inodes.read(space, inodes)
        modes, formats = told.u64("mode"), nodes.u64("mode")
        columns = [
            self._names.paths(files),
            [KINDS.get(stat.S_IFMT(mode), "other") for mode in formats.tolist()],
            [_MODES[mode & (_FMODE_READ | _FMODE_WRITE)] for mode in modes.tolist()],
            told.i64("position").tolist(),
            signed(nodes.u64("number")),
            nodes.i64("size").tolist(),
            *places(space, files),
            *places(space, inodes),
        ]
        of_file = list(zip(*columns, strict=True))
        rows: list[Row] = [
            (pid, descriptor, *of_file[at])
            for pid, descriptor, at in zip(held.pids.tolist(), held.descriptors.tolist(), place.tolist(), strict=True)
        ]
        is_socket = (formats[place] & np.uint64(0o170000)) == np.uint64(stat.S_IFSOCK)
        return rows, self._socket_rows(held, np.flatnonzero(is_socket), budget)

    def _socket_rows(self, held: OpenDescriptors, chosen: I64, budget: Budget) -> list[Row]:
        files = held.files[chosen]
        known = self._sockets.of(files.tolist(), budget)
        found = [known.get(file) for file in files.tolist()]
        socks = np.array([0 if one is None else one.address for one in found], np.uint64)
        space = self._program.kernel.space
        return [
            (
                pid,
                descriptor,
                one.family,
                one.kind,
                one.protocol,
                one.state,
                one.local,
                one.remote,
                signed_number(one.inode),
                *addresses,
            )
            for pid, descriptor, one, *addresses in zip(
                held.pids[chosen].tolist(),
                held.descriptors[chosen].tolist(),
                found,
                *places(space, socks),
                *places(space, files),
                strict=True,
            )
            if one is not None
        ]

    def _read_socket(self, file: int) -> Socket | None:
        try:
            with reading("a socket"):
                return read_socket(self._program, self._program.at("file", file), 0, "", 0)
        except KernelError:
            return None  # closed while it was read: the next census does not have it
