"""Symbol cache: what was decoded of a kernel once, for the next time that the same kernel is met.

An entry is found by the kernel's BUILD-ID, but the guest says what that is, so nothing is believed for it. What an
entry says of names counts only where RAM holds, byte for byte, what those were decoded from (SHA-256); what it says of
types is held against the types in RAM, record by record (`Btf`). Addresses are not in it at all: each boot's own tables
say them, so what KASLR moves is moved and what it does not move stays. So no guest can change what is seen of another
one, and an entry of the wrong kernel is merely of no use.

The files are the user's own in a directory of the user's alone, but they may be damaged, cut short or of another
version: each has a checksum and is looked through before it is used. One that is not as it must be is removed, and made
again. That the cache cannot be read or written is never a reason to fail.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import struct
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bridge.kernel.errors import BadCacheEntry
from bridge.kernel.kallsyms import MAX_SYMBOLS, Names, RawNames, Read, Tables, copy_names
from bridge.machine.directories import cache_dir, private_dir
from bridge.machine.errors import UnsafeDirectory

SWITCH = "GLASSBOX_SYMBOL_CACHE"
"""The environment variable that turns the cache off, where it says so; children of a process inherit it."""
LIMIT_BYTES = 128 << 20
"""Of all entries: some forty distribution kernels."""
MAX_ENTRY_BYTES = 16 << 20
"""Those of distributions take 2 to 6 MiB."""

_MAGIC = b"GBXSYMS1"
_SUFFIX = ".symbols"
_MAX_VARIANTS = 4
"""Entries of one BUILD-ID: different kernels under one are built by people who play tricks."""
_STALE_S = 3600.0
"""An unfinished file that is older was left by a process that is gone."""
_BUILD_ID = re.compile(r"[0-9a-f]{8,64}")
_HEAD = struct.Struct("<8s32s32sIIII")
"""Magic, SHA-256 of all that follows it, digest of the raw names; how many symbols, bytes of raw names, bytes of text
and types.
"""
_SUMMED_FROM = 40


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of one kernel's tables."""

    digest: bytes
    """`RawNames.digest` of what the names were decoded from."""
    names: Names
    starts: npt.NDArray[np.int32]
    """`Btf.starts` of its types; (0,) where it has none."""


@dataclass(frozen=True, slots=True)
class Usage:
    """How full a cache is."""

    directory: Path
    n_entries: int
    size_bytes: int


def encode_entry(entry: Entry) -> bytes:
    """An entry as a file."""
    names = entry.names
    counts = len(names.types), names.names_bytes, len(names.text), len(entry.starts)
    rest = struct.pack("<32sIIII", entry.digest, *counts)
    rest += names.text + names.types.astype(np.uint8).tobytes() + entry.starts.astype("<i4").tobytes()
    return _MAGIC + hashlib.sha256(rest).digest() + rest


def decode_entry(data: bytes) -> Entry:
    """The entry in a file. Raises BadCacheEntry unless every part of it is as it must be."""
    if len(data) < _HEAD.size or len(data) > MAX_ENTRY_BYTES:
        raise BadCacheEntry(f"it has {len(data):,} bytes")
    magic, checksum, digest, count, names_bytes, text_bytes, n_types = _HEAD.unpack_from(data)
    if magic != _MAGIC:
        raise BadCacheEntry("it is of another version, or no such file at all")
    if len(data) != _HEAD.size + text_bytes + count + 4 * n_types:
        raise BadCacheEntry("it is not as long as it says")
    if hashlib.sha256(memoryview(data)[_SUMMED_FROM:]).digest() != checksum:
        raise BadCacheEntry("its checksum is wrong")
    text = data[_HEAD.size : _HEAD.size + text_bytes]
    types = np.frombuffer(data, np.uint8, count, _HEAD.size + text_bytes)
    starts = np.frombuffer(data, "<i4", n_types, _HEAD.size + text_bytes + count).astype(np.int32)
    if not 0 < count <= MAX_SYMBOLS or text.count(b"\0") != count - 1 or not text.isascii():
        raise BadCacheEntry("its names are not as many as it says, or not text")
    if b"\0\0" in text or text[:1] in (b"", b"\0") or text.endswith(b"\0"):
        raise BadCacheEntry("a name in it is empty")
    return Entry(digest, Names(text, types, names_bytes), starts)


class SymbolCache:
    """A directory of entries. No method raises for the state of the directory or of what is in it."""

    def __init__(self, directory: Path, limit_bytes: int = LIMIT_BYTES) -> None:
        self.directory = directory
        self._limit_bytes = limit_bytes

    def recall(self, build_id: str, read: Read, tables: Tables) -> Entry | None:
        """The entry of the kernel whose names lie where `tables` say, or None.

        Raises BadSymbolTable for tables that make no sense, and what `read` raises.
        """
        copies: dict[int, RawNames] = {}
        for path in self._of_build(build_id)[:_MAX_VARIANTS]:
            try:
                data = _read(path)
                entry = decode_entry(data)
            except OSError:
                continue
            except BadCacheEntry:
                _remove(path)
                continue
            size = entry.names.names_bytes
            if size not in copies:
                copies[size] = copy_names(read, tables, size)
            if copies[size].count == len(entry.names.types) and copies[size].digest(size) == entry.digest:
                with contextlib.suppress(OSError):
                    os.utime(path)  # what was used last is kept longest
                return entry
        return None

    def keep(self, build_id: str, entry: Entry) -> bool:
        """Keep an entry for the next time; says whether that could be done. Whoever reads at the same time finds the
        old file or the new one, whole.
        """
        data = encode_entry(entry)
        if _BUILD_ID.fullmatch(build_id) is None or len(data) > min(MAX_ENTRY_BYTES, self._limit_bytes):
            return False
        try:
            private_dir(self.directory)
            path = self.directory / f"{build_id}-{entry.digest[:8].hex()}{_SUFFIX}"
            fd, unfinished = tempfile.mkstemp(prefix=".", suffix=_SUFFIX, dir=self.directory)
            try:
                with os.fdopen(fd, "wb") as file:
                    file.write(data)
                Path(unfinished).replace(path)
            except BaseException:
                _remove(Path(unfinished))
                raise
        except (OSError, UnsafeDirectory):
            return False
        self._evict(path)
        return True

    def usage(self) -> Usage:
        """What there is."""
        sizes = [size for _, _, size in self._entries()]
        return Usage(self.directory, len(sizes), sum(sizes))

    def clear(self) -> Usage:
        """Remove all entries, and say what there was."""
        usage = self.usage()
        for path in self._files():
            _remove(path)
        return usage

    def _files(self) -> list[Path]:
        """All files that are ours, unfinished ones among them."""
        try:
            return [path for path in self.directory.iterdir() if path.name.endswith(_SUFFIX)]
        except OSError:
            return []

    def _entries(self) -> list[tuple[float, Path, int]]:
        """(last use, file, size) of each entry, those used last first."""
        found = []
        for path in self._files():
            with contextlib.suppress(OSError):
                status = path.lstat()
                if not path.name.startswith("."):
                    found.append((status.st_mtime, path, status.st_size))
        return sorted(found, reverse=True)

    def _of_build(self, build_id: str) -> list[Path]:
        if _BUILD_ID.fullmatch(build_id) is None:
            return []
        return [path for _, path, _ in self._entries() if path.name.startswith(f"{build_id}-")]

    def _evict(self, newest: Path) -> None:
        """Keep within the limits, and `newest` in any case."""
        entries = self._entries()
        total = sum(size for _, path, size in entries if path == newest)
        build, n_same = newest.name.partition("-")[0] + "-", 1
        for _, path, size in entries:
            if path == newest:
                continue
            total += size
            n_same += path.name.startswith(build)
            if total > self._limit_bytes:  # and so are all that were last used before it
                _remove(path)
            elif path.name.startswith(build) and n_same > _MAX_VARIANTS:
                _remove(path)
                total -= size
        for path in self._files():
            with contextlib.suppress(OSError):
                if path.name.startswith(".") and path.lstat().st_mtime < time.time() - _STALE_S:
                    _remove(path)


def is_turned_off() -> bool:
    """Whether the user wants no cache."""
    return os.environ.get(SWITCH, "").lower() in ("off", "0", "no")


def open_users_cache() -> SymbolCache:
    """The cache in the user's cache directory, turned off or not. Raises OSError, UnsafeDirectory."""
    return SymbolCache(private_dir(cache_dir() / "symbols"))


def users_cache() -> SymbolCache | None:
    """The user's cache; None where it is turned off, or there can be none."""
    try:
        return None if is_turned_off() else open_users_cache()
    except (OSError, UnsafeDirectory):
        return None


def _read(path: Path) -> bytes:
    """A file's bytes. Raises OSError, BadCacheEntry."""
    # Neither a link nor, by waiting for a writer, a FIFO in its place.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(fd, "rb", buffering=0) as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.getuid():
            raise BadCacheEntry("it is not a file of yours")
        if status.st_size > MAX_ENTRY_BYTES:
            raise BadCacheEntry(f"it has {status.st_size:,} bytes")
        return file.read(MAX_ENTRY_BYTES + 1)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
