"""Paths of files, as the guest's own /proc prints them.

The kernel keeps names in dentries, each pointing to its parent, and mounts on top of each other; a path is put together
from its end (fs/d_path.c). Files without a place in the tree have names of their own.
"""

from __future__ import annotations

import drgn

from bridge.kernel.drgn_engine.program import KernelProgram, Unreadable

MAX_PARTS = 4096
"""Of a path: PATH_MAX is 4,096 characters."""
_NAME_BYTES = 256
"""NAME_MAX and its NUL."""
MAX_STEPS = 500_000
"""Of all the paths of one answer together: a few seconds, however guest memory is made."""


class Paths:
    """Puts together the paths of one answer."""

    def __init__(self, program: KernelProgram) -> None:
        self._program = program
        types = program.types
        self._mnt_in_mount = types.offset("mount", "mnt")
        self._namers: dict[int, str] = {}
        self._steps = MAX_STEPS

    def of_file(self, file: drgn.Object) -> str:
        """The path of a ``struct file *`` in its own namespace, as /proc/PID/fd has it.

        Raises drgn.FaultError, Unreadable.
        """
        return self.of(file.f_path.mnt.read_(), file.f_path.dentry.read_())

    def of(self, vfsmount: drgn.Object, dentry: drgn.Object) -> str:
        """The path of a ``struct dentry *`` in a ``struct vfsmount *``."""
        operations = dentry.d_op.read_()
        if operations and operations.d_dname:
            parent = dentry.d_parent.value_()
            if parent != dentry.value_() or vfsmount.mnt_root.value_() != dentry.value_():
                return self._own_name(operations.d_dname.value_(), dentry)
        # A dentry that is in no hash and is no root is gone from its directory (d_unlinked).
        gone = not dentry.d_hash.pprev.value_() and dentry.d_parent.value_() != dentry.value_()
        return self.walk(vfsmount, dentry)[0] + (" (deleted)" if gone else "")

    def walk(self, vfsmount: drgn.Object, dentry: drgn.Object, root: tuple[int, int] = (0, 0)) -> tuple[str, bool]:
        """The path down from `root` (addresses of its ``struct vfsmount`` and ``struct dentry``), and whether that was
        met; from the namespace's root where it was not.
        """
        mount = self._program.at("mount", vfsmount.value_() - self._mnt_in_mount)
        names: list[str] = []
        for _ in range(min(MAX_PARTS, self._steps)):
            self._steps -= 1
            here = dentry.value_()
            if (mount.value_() + self._mnt_in_mount, here) == root:
                return "/" + "/".join(reversed(names)), True
            if here == mount.mnt.mnt_root.value_():
                above = mount.mnt_parent.read_()
                if above.value_() == mount.value_():
                    return "/" + "/".join(reversed(names)), False
                dentry, mount = mount.mnt_mountpoint.read_(), above
                continue
            parent = dentry.d_parent.read_()
            if parent.value_() == here:
                return "/" + "/".join(reversed(names)), False
            names.append(self.name(dentry))
            dentry = parent
        raise Unreadable(f"The path of the dentry {dentry.value_():#x} does not end after {MAX_PARTS:,} names.")

    def name(self, dentry: drgn.Object) -> str:
        """A dentry's own name, without its directories."""
        return self._program.string(dentry.d_name.name.value_(), _NAME_BYTES)

    def _own_name(self, function: int, dentry: drgn.Object) -> str:
        """What a file system that names its files itself would say (each `d_dname` of the kernel)."""
        if function not in self._namers:
            place = self._program.kernel.symbols.place(function)
            self._namers[function] = place.name if place is not None and not place.offset else ""
        inode = dentry.d_inode
        match self._namers[function]:
            case "pipefs_dname":
                return f"pipe:[{inode.i_ino.value_()}]"
            case "sockfs_dname":
                return f"socket:[{inode.i_ino.value_()}]"
            case "anon_inodefs_dname":
                return f"anon_inode:{self.name(dentry)}"
            case "pidfs_dname":
                return "anon_inode:[pidfd]"
            case "ns_dname":
                # Not by the dentry: since v6.9 its d_fsdata is no longer the operations.
                operations = self._program.at("ns_common", inode.i_private.value_()).ops
                return f"{self._program.string(operations.name.value_(), _NAME_BYTES)}:[{inode.i_ino.value_()}]"
            case "simple_dname":
                return f"/{self.name(dentry)} (deleted)"
            case _:
                return f"{self._program.string(inode.i_sb.s_type.name.value_(), _NAME_BYTES)}:[{inode.i_ino.value_()}]"
