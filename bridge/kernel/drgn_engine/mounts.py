"""Mounts, as a process's /proc/PID/mountinfo lists them."""

from __future__ import annotations

import drgn

from bridge.kernel.drgn_engine.paths import Paths
from bridge.kernel.drgn_engine.program import KernelProgram, reading
from bridge.kernel.records import Mount

_MAX_MOUNTS = 100_000
"""fs.mount-max's default, of one namespace."""
_NAME_BYTES = 256

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


def read_mounts(program: KernelProgram, task: drgn.Object) -> tuple[Mount, ...]:
    """The mounts that a ``struct task_struct *`` sees under its root, in the order of its namespace.

    Raises KernelError.
    """
    paths = Paths(program)
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
