"""Write an initramfs: a cpio archive in the "newc" format, the same bytes for the same content.

The format is the one that the kernel's Documentation/driver-api/early-userspace/buffer-format.rst describes.
Owner is root and every time stamp is 0, so that an archive is a function of its entries alone.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass

_TRAILER = "TRAILER!!!"
_ALIGNMENT = 4
_FIELD_MAX = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, directory, symlink (its target is ``data``) or device node of the archive."""

    path: str
    """Relative to the root, without a leading slash."""
    mode: int
    """Type and permission bits, as in ``st_mode``."""
    data: bytes = b""
    device: tuple[int, int] = (0, 0)
    """Major and minor number of a device node."""


def directory(path: str, permissions: int = 0o755) -> Entry:
    return Entry(path, stat.S_IFDIR | permissions)


def file(path: str, data: bytes, permissions: int = 0o644) -> Entry:
    return Entry(path, stat.S_IFREG | permissions, data)


def symlink(path: str, target: str) -> Entry:
    return Entry(path, stat.S_IFLNK | 0o777, target.encode())


def character_device(path: str, major: int, minor: int, permissions: int = 0o600) -> Entry:
    return Entry(path, stat.S_IFCHR | permissions, device=(major, minor))


def _with_parents(entries: Iterable[Entry]) -> list[Entry]:
    # The kernel unpacks in order and makes no parent directory by itself.
    by_path: dict[str, Entry] = {}
    for entry in entries:
        if not entry.path or entry.path.startswith("/") or ".." in entry.path.split("/") or "\0" in entry.path:
            raise ValueError(f"{entry.path!r} is no path inside an archive")
        parts = entry.path.split("/")
        for depth in range(1, len(parts)):
            parent = "/".join(parts[:depth])
            by_path.setdefault(parent, directory(parent))
        known = by_path.get(entry.path)
        if known is not None and not (stat.S_ISDIR(known.mode) and stat.S_ISDIR(entry.mode)):
            raise ValueError(f"{entry.path!r} is in the archive twice")
        by_path[entry.path] = entry
    # Sorted by components, so that a directory comes before what it holds.
    return [by_path[path] for path in sorted(by_path, key=lambda path: path.split("/"))]


def write_archive(entries: Iterable[Entry]) -> bytes:
    """The archive that holds ``entries`` and the directories that they need, in the order of their paths."""
    archive = bytearray()
    for inode, entry in enumerate(_with_parents(entries), start=1):
        _append(archive, entry, inode)
    _append(archive, Entry(_TRAILER, 0), 0)
    return bytes(archive)


def _append(archive: bytearray, entry: Entry, inode: int) -> None:
    name = entry.path.encode() + b"\0"
    if len(entry.data) > _FIELD_MAX:  # pragma: no cover - needs 4 GiB in memory
        raise ValueError(f"{entry.path!r} is too big for a cpio archive")
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    major, minor = entry.device
    fields = (inode, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, major, minor, len(name), 0)
    archive += b"070701" + b"".join(b"%08X" % field for field in fields) + name
    archive += bytes(-len(archive) % _ALIGNMENT)
    archive += entry.data
    archive += bytes(-len(archive) % _ALIGNMENT)
