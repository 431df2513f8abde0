"""RAM dumps as if they were machines: raw, ELF core (QEMU's dump-guest-memory, kdump's uncompressed form), LiME.

A raw dump that begins at address 0 is mapped. The other two put RAM at odd offsets behind headers, so they are copied
once into memory, page after page: everything else counts in pages.
"""

from __future__ import annotations

import contextlib
import mmap
import struct
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil

from bridge.memory.errors import DumpNotFound, MapFailed, PermissionDenied
from bridge.memory.physical_map import PAGE_BYTES, PhysicalMap, RamRegion

Progress = Callable[[str, float], None]
Allocate = Callable[[int], npt.NDArray[np.uint8]]
"""Gives room for so many bytes, (size_bytes,) uint8. Raises OSError."""

_ELF_MAGIC, _LIME_MAGIC = b"\x7fELF", b"EMiL"
_PT_LOAD, _ET_CORE, _EM_X86_64 = 1, 4, 62
_PN_XNUM = 0xFFFF
_MAX_SEGMENTS = 65536
_LIME_HEADER = struct.Struct("<4sIQQQ")
_ADDRESS_END = 1 << 52
"""No x86-64 processor has more physical address bits (Intel SDM vol. 3A, 4.1.4)."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """`size` bytes of the file from `offset` on are RAM from physical address `paddr` on."""

    paddr: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class _Copying:
    progress: Progress | None
    allocate: Allocate


class Dump:
    """A dump that was opened. Holds bytes and a memory map as `GuestRam` does."""

    def __init__(
        self, path: Path, kind: str, data: npt.NDArray[np.uint8], physical_map: PhysicalMap, *, truncated: bool
    ) -> None:
        self.path = path
        self.kind = kind
        """"raw", "ELF core" or "LiME"."""
        self.bytes = data
        self.size_bytes = len(data)
        self.physical_map = physical_map
        self.truncated = truncated
        """Whether the file ends before what its headers promise."""

    @classmethod
    def open(cls, path: Path, *, progress: Progress | None = None, allocate: Allocate | None = None) -> Dump:
        """Open a dump. Raises DumpNotFound, PermissionDenied, MapFailed.

        `allocate`: where RAM goes that has to be copied; by default memory of this process alone.
        """
        path = Path(path)
        copying = _Copying(progress, allocate or (lambda size_bytes: np.empty(size_bytes, np.uint8)))
        try:
            if path.exists() and not path.is_file():  # reading a FIFO would wait for a writer
                raise MapFailed(path, "it is not a regular file.")
            with path.open("rb") as file:
                size = file.seek(0, 2)
                file.seek(0)
                head = file.read(64)
                if size < PAGE_BYTES:
                    raise MapFailed(path, f"it has {size:,} bytes, less than one page.")
                with contextlib.closing(mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ)) as mapping:
                    if head.startswith(_ELF_MAGIC):
                        return cls._copied(path, "ELF core", mapping, _elf_pieces(path, mapping), copying)
                    if head.startswith(_LIME_MAGIC):
                        return cls._copied(path, "LiME", mapping, _lime_pieces(path, mapping), copying)
                whole = size // PAGE_BYTES * PAGE_BYTES
                data = np.memmap(file, np.uint8, "r", shape=(whole,))
        except FileNotFoundError as error:
            raise DumpNotFound(path) from error
        except PermissionError as error:
            raise PermissionDenied(path) from error
        except (OSError, ValueError) as error:
            raise MapFailed(path, f"opening it failed: {error}.") from error
        return cls(path, "raw", data, PhysicalMap.flat(whole), truncated=whole != size)

    @classmethod
    def _copied(cls, path: Path, kind: str, mapping: mmap.mmap, pieces: list[_Piece], copying: _Copying) -> Dump:
        pieces = sorted(pieces, key=lambda piece: piece.paddr)
        for before, after in pairwise(pieces):
            if before.paddr + before.size > after.paddr:
                raise MapFailed(path, f"its parts at {before.paddr:#x} and {after.paddr:#x} overlap.")
        present = [_Piece(p.paddr, p.offset, min(p.size, len(mapping) - p.offset)) for p in pieces]
        present = [_Piece(p.paddr, p.offset, p.size // PAGE_BYTES * PAGE_BYTES) for p in present if p.size > 0]
        truncated = sum(p.size for p in present) < sum(p.size for p in pieces)
        total = sum(p.size for p in present)
        if not total:
            raise MapFailed(path, "it holds no RAM.")
        if total > len(mapping):  # each byte of RAM is a byte of the file: a small one must not become a huge machine
            raise MapFailed(path, f"its parts share bytes: {total:,} bytes of RAM in a file of {len(mapping):,}.")
        if total > psutil.virtual_memory().available * 0.8:
            raise MapFailed(path, f"its {total:,} bytes of RAM do not fit the memory that is free here.")
        data = copying.allocate(total)
        regions: list[RamRegion] = []
        at = 0
        view = np.frombuffer(mapping, np.uint8)
        try:
            for piece in present:
                data[at : at + piece.size] = view[piece.offset : piece.offset + piece.size]
                if regions and regions[-1].paddr_end == piece.paddr:
                    last = regions.pop()
                    regions.append(RamRegion(last.paddr, last.offset, last.size_bytes + piece.size, "dump"))
                elif piece.size:
                    regions.append(RamRegion(piece.paddr, at, piece.size, "dump"))
                at += piece.size
                if copying.progress is not None:
                    copying.progress(f"Reading {path.name}", at / total)
        finally:
            del view
        data.flags.writeable = False
        return cls(path, kind, data, PhysicalMap(total, tuple(regions)), truncated=truncated)

    def close(self) -> None:
        """Let go of the bytes. Views that were given out stay valid."""
        self.bytes = np.zeros(0, np.uint8)


def _elf_pieces(path: Path, mapping: mmap.mmap) -> list[_Piece]:
    """The PT_LOAD segments of an ELF64 core (the ELF specification, System V ABI)."""
    if len(mapping) < 64 or mapping[4] != 2 or mapping[5] != 1:
        raise MapFailed(path, "it is an ELF file, but not a 64-bit little-endian one.")
    kind, machine = struct.unpack_from("<HH", mapping, 16)
    if kind != _ET_CORE or machine != _EM_X86_64:
        raise MapFailed(path, "it is an ELF file, but not a core dump of an x86-64 machine.")
    table, sections = struct.unpack_from("<QQ", mapping, 32)
    entry_bytes, count = struct.unpack_from("<HH", mapping, 54)
    if count == _PN_XNUM:  # too many for 16 bits: the number is in the first section header's sh_info
        if sections + 64 > len(mapping):
            raise MapFailed(path, "its header points beyond its end.")
        count = struct.unpack_from("<I", mapping, sections + 44)[0]
    if entry_bytes < 56 or count > _MAX_SEGMENTS or table + entry_bytes * count > len(mapping):
        raise MapFailed(path, f"its table of {count:,} segments makes no sense.")
    pieces = []
    for index in range(count):
        kind, _, offset, _, paddr, size = struct.unpack_from("<IIQQQQ", mapping, table + index * entry_bytes)
        if kind != _PT_LOAD or not size:
            continue
        if paddr + size > _ADDRESS_END or paddr % PAGE_BYTES:
            raise MapFailed(path, f"it has a segment at the impossible address {paddr:#x}.")
        pieces.append(_Piece(paddr, offset, size))
    return pieces


def _lime_pieces(path: Path, mapping: mmap.mmap) -> list[_Piece]:
    """The ranges of a LiME file, each behind a header of 32 bytes (LiME's documentation, "lime" format version 1)."""
    pieces: list[_Piece] = []
    at = 0
    while at + _LIME_HEADER.size <= len(mapping) and len(pieces) <= _MAX_SEGMENTS:
        magic, version, first, last, _ = _LIME_HEADER.unpack_from(mapping, at)
        if magic != _LIME_MAGIC or version != 1 or last < first or last >= _ADDRESS_END or first % PAGE_BYTES:
            raise MapFailed(path, f"its header at {at:#x} makes no sense.")
        size = last - first + 1
        pieces.append(_Piece(first, at + _LIME_HEADER.size, size))
        at += _LIME_HEADER.size + size
    return pieces
