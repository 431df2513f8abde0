"""Page files: which file an address space of the page cache belongs to, by path, for thousands of them at once.

`struct address_space` -> inode -> one of its names (dentry) -> up along the parents -> where that file system is
mounted -> on up, as d_path does (fs/d_path.c).
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bridge.kernel.btf import Btf
from bridge.kernel.errors import MissingType, NotMapped
from bridge.kernel.kernel import Kernel
from bridge.kernel.lists import Peek
from bridge.kernel.members import Members

U64 = npt.NDArray[np.uint64]

_FRESH_S = 5.0
"""How long the path of a directory is believed: a file's own name and place are looked at each time."""
_MAX_DEPTH = 256
"""Directories and mounts above a file that are followed; PATH_MAX allows 2,048 of one letter."""
_MAX_MOUNTS = 256
"""Mounts of one file system that are tried for one in the first process's namespace."""
_MAX_NAME = 255
_MAX_PATH = 4096
_S_IFMT, _S_IFBLK = 0o170000, 0o060000


@dataclass(frozen=True, slots=True)
class CachedFile:
    """A file with pages in memory."""

    path: str
    """As the first process sees it; ` (deleted)` behind a name that is gone, `[block device 254:0]` for a disk's own
    pages, `[inode 12 of vda1]` where the kernel knows no name.
    """
    inode: int
    size_bytes: int
    address: int
    """`struct address_space *`."""


class FileNames:
    """Names the files of one kernel. Raises MissingType when it is made, if the kernel has no known form of them."""

    def __init__(self, kernel: Kernel) -> None:
        if kernel.types is None:
            raise MissingType(f"type information: {kernel.types_problem}")
        types = kernel.types
        self._space = kernel.space
        self._spaces = Members({"host": (types.offset("address_space", "host"), 8)})
        self._inodes = Members(
            {
                "ino": (types.offset("inode", "i_ino"), 8),
                "size": (types.offset("inode", "i_size"), 8),
                "mode": (types.offset("inode", "i_mode"), 2),
                "device": (types.offset("inode", "i_rdev"), 4),
                "super": (types.offset("inode", "i_sb"), 8),
                "alias": (types.offset("inode", "i_dentry.first"), 8),
            }
        )
        # Newer kernels take members out of their unions.
        self._alias = np.uint64(_first(types, ("dentry", "d_u.d_alias"), ("dentry", "d_alias")))
        self._directories = _Directories(kernel)
        self._dentries = Members({name: (offset, 8) for name, offset in self._directories.dentry.items()})
        self._paths: dict[tuple[int, ...], str] = {}
        self._evidence: tuple[U64, ...] = ()
        self._told: tuple[CachedFile | None, ...] = ()
        self._stale_s = 0.0

    def of(self, spaces: U64) -> tuple[CachedFile | None, ...]:
        """The file of each of these `struct address_space *` (n,); None for what is none."""
        space = self._space
        hosts = self._spaces.read(space, spaces).u64("host")
        inodes = self._inodes.read(space, hosts)
        names = ("ino", "mode", "device", "super", "alias")
        ino, mode, device, supers, aliases = (inodes.u64(name) for name in names)
        dentries = np.where(aliases != 0, aliases - self._alias, np.uint64(0))
        own = self._dentries.read(space, dentries)
        columns = [own.u64(name) for name in ("parent", "name", "hash_and_length", "pprev")]
        columns[3] = (columns[3] != 0).astype(np.uint64)
        evidence = (spaces, ino, mode, device, supers, dentries, *columns, inodes.u64("size"))
        now_s = time.monotonic()
        if now_s > self._stale_s:
            self._directories.forget()
            self._paths.clear()
            self._stale_s = now_s + _FRESH_S
        elif len(evidence) == len(self._evidence) and all(map(np.array_equal, evidence, self._evidence)):
            return self._told
        keys = list(zip(*(column.tolist() for column in evidence[1:-1]), strict=True))
        found: list[CachedFile | None] = []
        rows = zip(spaces.tolist(), inodes.ok.tolist(), keys, inodes.i64("size").tolist(), strict=True)
        for address, ok, key, size in rows:
            if not ok:
                found.append(None)
                continue
            path = self._paths.get(key)
            if path is None:
                path = self._paths[key] = self._path(*key)
            found.append(CachedFile(path, key[0], max(size, 0), address))
        self._evidence, self._told = evidence, tuple(found)
        return self._told

    def _path(self, ino: int, mode: int, device: int, super_block: int, dentry: int, parent: int, *_name: int) -> str:
        del parent
        if dentry:
            try:
                return self._directories.path(dentry, super_block)
            except NotMapped:
                pass  # said below: the file is real, its name cannot be read
        if mode & _S_IFMT == _S_IFBLK:
            return f"[block device {device >> 20}:{device & 0xFFFFF}]"
        return f"[inode {ino} of {self._directories.super_name(super_block) or 'an unknown file system'}]"


class _Directories:
    """Paths of dentries, remembered until `forget`."""

    def __init__(self, kernel: Kernel) -> None:
        types = kernel.types
        assert types is not None
        self._space = kernel.space
        self._peek = Peek(kernel.space)
        name = _first(types, ("dentry", "d_name"), ("dentry", "__d_name"))
        self.dentry = {
            "parent": types.offset("dentry", "d_parent"),
            "hash_and_length": name + types.offset("qstr", "hash_len"),
            "name": name + types.offset("qstr", "name"),
            "pprev": types.offset("dentry", "d_hash.pprev"),
        }
        self._id = types.offset("super_block", "s_id")
        self._mounts = types.offset("super_block", "s_mounts")
        # Newer kernels chain the mounts of a super block without a list head.
        self._listed = types.has("mount", "mnt_instance")
        self._next = _first(types, ("mount", "mnt_instance"), ("mount", "mnt_next_for_sb"))
        places = ("mnt_parent", "mnt_mountpoint", "mnt.mnt_root", "mnt_ns")
        self._parent, self._point, self._root, self._namespace = (types.offset("mount", place) for place in places)
        self._init_namespace = self._namespace_of_init(kernel, types)
        self._known: dict[int, tuple[int, str]] = {}
        self._mount_of: dict[int, int] = {}

    def forget(self) -> None:
        """What was read may have changed."""
        self._known.clear()
        self._mount_of.clear()

    def path(self, dentry: int, super_block: int) -> str:
        """The whole path of a dentry. Raises NotMapped."""
        # What has no place in the hash of names is gone, unless it is a root (d_unlinked, include/linux/dcache.h).
        gone = not self._peek(dentry + self.dentry["pprev"]) and self._peek(dentry + self.dentry["parent"]) != dentry
        mount, pieces, length = self._mount(super_block), [], 0
        self._known.pop(dentry, None)  # files are renamed more often than what is above them
        for _ in range(_MAX_DEPTH):
            root = self._peek(mount + self._root) if mount else 0
            parent, name = self._named(dentry)
            if dentry in (root, parent):
                above = self._peek(mount + self._parent) if mount else 0
                if not above or above == mount:
                    break
                dentry, mount = self._peek(mount + self._point), above
                continue
            pieces.append(name)
            length += len(name) + 1
            if length > _MAX_PATH:
                break
            dentry = parent
        return "/" + "/".join(reversed(pieces)) + (" (deleted)" if gone else "")

    def super_name(self, super_block: int) -> str:
        """What a file system calls itself: `vda1`, `tmpfs`; empty where it cannot be read."""
        try:
            return self._space.string(super_block + self._id, 32)
        except NotMapped:
            return ""

    def _named(self, dentry: int) -> tuple[int, str]:
        found = self._known.get(dentry)
        if found is None:
            length = min(self._peek(dentry + self.dentry["hash_and_length"]) >> 32, _MAX_NAME)
            name = self._space.string(self._peek(dentry + self.dentry["name"]), max(length, 1))
            found = self._known[dentry] = (self._peek(dentry + self.dentry["parent"]), name)
        return found

    def _mount(self, super_block: int) -> int:
        """A mount of a file system: one that the first process sees, or any; 0 for none."""
        if super_block in self._mount_of:
            return self._mount_of[super_block]
        first = self._peek(super_block + self._mounts)
        chosen, at = 0, first
        for _ in range(_MAX_MOUNTS):
            if not at or at == super_block + self._mounts:
                break
            mount = at - self._next if self._listed else at
            namespace = self._peek(mount + self._namespace)
            chosen = chosen or mount
            if namespace and namespace == self._init_namespace:
                chosen = mount
                break
            at = self._peek(at if self._listed else at + self._next)
        self._mount_of[super_block] = chosen
        return chosen

    def _namespace_of_init(self, kernel: Kernel, types: Btf) -> int:
        """The mount namespace of task 0, in which the first process lives, too; 0 where it cannot be read."""
        try:
            proxy = self._peek(kernel.symbols.address("init_task") + types.offset("task_struct", "nsproxy"))
            return self._peek(proxy + types.offset("nsproxy", "mnt_ns"))
        except (NotMapped, MissingType):
            return 0


def _first(types: Btf, *places: tuple[str, str]) -> int:
    for struct, path in places:
        if types.has(struct, path):
            return types.offset(struct, path)
    raise MissingType(f"member {' or '.join(f'{struct}.{path}' for struct, path in places)}")
