"""Open files of a process: its table of descriptors, as /proc/PID/fd and fdinfo show it."""

from __future__ import annotations

import stat
from collections.abc import Iterator

import drgn
import numpy as np

from bridge.kernel.drgn_paths import Paths
from bridge.kernel.drgn_program import KernelProgram, Unreadable, reading
from bridge.kernel.errors import KernelError
from bridge.kernel.records import OpenFile

MAX_DESCRIPTORS = 1 << 20
"""fs.nr_open's default: no process has more."""
_FMODE_READ, _FMODE_WRITE = 1, 2
_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFSOCK: "socket",
    stat.S_IFIFO: "pipe",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
    stat.S_IFLNK: "link",
}


def descriptors(program: KernelProgram, task: drgn.Object) -> Iterator[tuple[int, drgn.Object]]:
    """(descriptor, ``struct file *``) of each file that a ``struct task_struct *`` has open.

    Raises Unreadable, NotMapped, drgn.FaultError.
    """
    files = task.files.read_()
    if not files:
        return  # a zombie has given them back
    table = files.fdt.read_()
    count = table.max_fds.value_()
    if count > MAX_DESCRIPTORS:
        raise Unreadable(f"The table of descriptors at {table.value_():#x} would have {count:,} entries.")
    slots = np.frombuffer(program.kernel.space.read(table.fd.value_(), 8 * count), "<u8")
    for descriptor in np.flatnonzero(slots).tolist():
        yield descriptor, program.at("file", int(slots[descriptor]))


def read_files(program: KernelProgram, paths: Paths, task: drgn.Object, pid: int) -> tuple[OpenFile, ...]:
    """The open files of a ``struct task_struct *``, by descriptor. Raises KernelError."""
    with reading(f"the open files of process {pid}"):
        return tuple(_open_file(paths, pid, descriptor, file) for descriptor, file in descriptors(program, task))


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
        kind=_KINDS.get(stat.S_IFMT(inode.i_mode.value_()), "other"),
        mode=letters,
        position=file.f_pos.value_(),
        inode=inode.i_ino.value_(),
        size_bytes=inode.i_size.value_(),
        address=file.value_(),
    )
