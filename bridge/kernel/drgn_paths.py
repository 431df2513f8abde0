"""Paths of files and the mounts that they lead through, as the guest's own /proc prints them.

The kernel keeps names in dentries, each pointing to its parent, and mounts on top of each other; a path is put together
from its end (fs/d_path.c). Files without a place in the tree have names of their own.
"""

from __future__ import annotations

import drgn

from bridge.kernel.drgn_program import KernelProgram, Unreadable, reading
from bridge.kernel.records import Mount

MAX_PARTS = 4096
"""Of a path: PATH_MAX is 4,096 characters."""
_MAX_MOUNTS = 100_000
"""fs.mount-max's default, of one namespace."""
_NAME_BYTES = 256
"""NAME_MAX and its NUL."""

# Flags of a mount and of its file system, in the order that /proc prints them (include/linux/mount.h,
# fs/proc_namespace.c).
_MNT_READONLY, _SB_READONLY = 0x40, 0x1
_SUPER_OPTIONS = ((0x10, "sync"), (0x80, "dirsync"), (0x40, "mand"), (0x200_0000, "lazytime"))
_MOUNT_OPTIONS = (
    (0x01, "nosuid"),
    (0x02, "nodev"),
    (0x04, "noexec"),
    (0x08, "noatime"),
    (0x10, "nodiratime"),
    (0x20, "relatime"),
    (0x80, "nosymfollow"),
)


class Paths:
    """Puts paths together."""

    def __init__(self, program: KernelProgram) -> None:
        self._program = program
        types = program.types
        self._mnt_in_mount = types.offset("mount", "mnt")
        self._namers: dict[int, str] = {}

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
        for _ in range(MAX_PARTS):
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
                operations = self._program.at("proc_ns_operations", dentry.d_fsdata.value_())
                return f"{self._program.string(operations.name.value_(), _NAME_BYTES)}:[{inode.i_ino.value_()}]"
            case "simple_dname":
                return f"/{self.name(dentry)} (deleted)"
            case _:
                return f"{self._program.string(inode.i_sb.s_type.name.value_(), _NAME_BYTES)}:[{inode.i_ino.value_()}]"


def read_mounts(program: KernelProgram, paths: Paths, task: drgn.Object) -> tuple[Mount, ...]:
    """The mounts that a ``struct task_struct *`` sees under its root, in the order of its namespace.

    Raises KernelError.
    """
    with reading("the list of mounts"):
        if not task.nsproxy or not task.fs:
            return ()  # a zombie has given them back
        namespace = task.nsproxy.mnt_ns.read_()
        root = task.fs.root.mnt.value_(), task.fs.root.dentry.value_()
        found = []
        for mount in _mounts_of(program, namespace):
            if not mount.mnt.mnt_sb.value_():
                continue  # the cursor of somebody who reads /proc/mounts (v5.8 to v6.7)
            path, seen = paths.walk(mount.mnt.address_of_(), mount.mnt.mnt_root.read_(), root)
            if seen:
                found.append(_mount(program, mount, path))
        return tuple(found)


def _mounts_of(program: KernelProgram, namespace: drgn.Object) -> list[drgn.Object]:
    if program.types.has("mnt_namespace", "list"):
        head = namespace.value_() + program.types.offset("mnt_namespace", "list")
        return program.entries(head, "mount", "mnt_list", _MAX_MOUNTS)
    # Linux commit 2eea9ce4310d ("mounts: keep list of mounts in an rbtree", in v6.8).
    offset = program.types.offset("mount", "mnt_node")
    nodes = program.tree(namespace.mounts.rb_node.value_(), _MAX_MOUNTS)
    return [program.at("mount", node - offset) for node in nodes]


def _mount(program: KernelProgram, mount: drgn.Object, path: str) -> Mount:
    inner = mount.mnt
    super_block = inner.mnt_sb.read_()
    flags, super_flags = inner.mnt_flags.value_(), super_block.s_flags.value_()
    device = super_block.s_dev.value_()
    kind = program.string(super_block.s_type.name.value_(), _NAME_BYTES)
    subtype = program.string(super_block.s_subtype.value_(), _NAME_BYTES)
    options = ["ro" if flags & _MNT_READONLY or super_flags & _SB_READONLY else "rw"]
    options += [name for bit, name in _SUPER_OPTIONS if super_flags & bit]
    options += [name for bit, name in _MOUNT_OPTIONS if flags & bit]
    return Mount(
        mount_id=mount.mnt_id.value_(),
        parent_id=mount.mnt_parent.mnt_id.value_(),
        # MAJOR and MINOR of a dev_t inside the kernel (include/linux/kdev_t.h).
        device=f"{device >> 20}:{device & 0xFFFFF}",
        path=path,
        source=program.string(mount.mnt_devname.value_()) or "none",
        file_system=f"{kind}.{subtype}" if subtype else kind,
        options=",".join(options),
        address=mount.value_(),
    )
