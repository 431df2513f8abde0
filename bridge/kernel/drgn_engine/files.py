"""Open files of a process: its table of descriptors, as /proc/PID/fd and fdinfo show it."""

from __future__ import annotations

import stat

import drgn
import numpy as np
import numpy.typing as npt

from bridge.kernel.drgn_engine.paths import Paths
from bridge.kernel.drgn_engine.program import KernelProgram, Unreadable, reading
from bridge.kernel.errors import KernelError
from bridge.kernel.records import OpenFile

U64 = npt.NDArray[np.uint64]

MAX_DESCRIPTORS = 1 << 20
"""fs.nr_open's default: no process has more."""
_MAX_FILES = 100_000
"""Of one answer."""
_FMODE_READ, _FMODE_WRITE = 1, 2
KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFSOCK: "socket",
    stat.S_IFIFO: "pipe",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
    stat.S_IFLNK: "link",
}
"""What the upper bits of an inode's mode say that it is."""


def descriptor_table(program: KernelProgram, task: drgn.Object) -> U64:
    """(n,) address of the ``struct file`` behind each descriptor of a ``struct task_struct *``, 0 for none.

    Raises Unreadable, NotMapped, drgn.FaultError.
    """
    files = task.files.read_()
    if not files:
        return np.zeros(0, np.uint64)  # a zombie has given them back
    table = files.fdt.read_()
    count = table.max_fds.value_()
    if count > MAX_DESCRIPTORS:
        raise Unreadable(f"The table of descriptors at {table.value_():#x} would have {count:,} entries.")
    slots: U64 = np.frombuffer(program.kernel.space.read(table.fd.value_(), 8 * count), "<u8").astype(np.uint64)
    return slots


def read_files(program: KernelProgram, task: drgn.Object, pid: int) -> tuple[OpenFile, ...]:
    """The open files of a ``struct task_struct *``, by descriptor. Raises KernelError."""
    paths = Paths(program)
    with reading(f"the open files of process {pid}"):
        slots = descriptor_table(program, task)
        return tuple(
            _open_file(paths, pid, descriptor, program.at("file", int(slots[descriptor])))
            for descriptor in np.flatnonzero(slots)[:_MAX_FILES].tolist()
        )


def _open_file(paths: Paths, pid: int, descriptor: int, file: drgn.Object) -> OpenFile:
    inode = file.f_inode.read_()
    flags = file.f_mode.value_()
    letters = ("r" if flags & _FMODE_READ else "") + ("w" if flags & _FMODE_WRITE else "")
    try:
        path = paths.of_file(file)
    except KernelError as error:
        path = f"? ({error})"
    return OpenFile(
        pid=pid,
        descriptor=descriptor,
        path=path,
        kind=KINDS.get(stat.S_IFMT(inode.i_mode.value_()), "other"),
        mode=letters,
        position=file.f_pos.value_(),
        inode=inode.i_ino.value_(),
        size_bytes=inode.i_size.value_(),
        address=file.value_(),
    )
