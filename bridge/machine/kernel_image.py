"""Tell what kind of kernel a file is before QEMU is asked to start it, and unpack the ELF kernel from a bzImage.

QEMU starts three kinds with ``-kernel``: a Linux bzImage (Documentation/arch/x86/boot.rst), an ELF file with the
PVH entry note (XEN_ELFNOTE_PHYS32_ENTRY of xen/interface/elfnote.h), and a Multiboot kernel. The unpacked ELF
kernel starts faster than its bzImage, because nothing has to be decompressed and relocated under emulation.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from enum import StrEnum
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from bridge.machine.decompress import DecompressError, decompress
from bridge.machine.guest import GuestFileNotFound, GuestKernelInvalid

KERNEL_CAP_BYTES = 256 << 20
"""No kernel is bigger when unpacked; a file that claims to be is refused."""

_SECTOR = 512
_ELF_MAGIC = b"\x7fELF"
_PT_NOTE = 4
_PT_LOAD = 1
_NOTE_PHYS32_ENTRY = 18  # XEN_ELFNOTE_PHYS32_ENTRY
_NOTES_CAP_BYTES = 1 << 20
_HEADERS_CAP = 256
_MULTIBOOT_SEARCH_BYTES = 8192
_MULTIBOOT_MAGIC = 0x1BADB002


class KernelFormat(StrEnum):
    """How QEMU will start a kernel."""

    BZIMAGE = "Linux bzImage"
    PVH = "ELF with PVH entry"
    MULTIBOOT = "Multiboot"


@dataclass(frozen=True, slots=True)
class _Segment:
    kind: int
    offset: int
    size_bytes: int


def check_kernel(path: Path) -> KernelFormat:
    """What ``path`` is.

    Raises `GuestKernelInvalid` when QEMU could not start it, `GuestFileNotFound` when it cannot be read.
    """
    try:
        size_bytes = path.stat().st_size
        with path.open("rb") as file:
            return _check(path, file, size_bytes)
    except OSError as error:
        raise GuestFileNotFound(path, "kernel", f"cannot be read ({error.strerror})") from error


def _check(path: Path, file: BinaryIO, size_bytes: int) -> KernelFormat:
    head = file.read(_MULTIBOOT_SEARCH_BYTES)
    if not head:
        raise GuestKernelInvalid(path, "the file is empty")
    try:
        return _format(head, file, size_bytes)
    except _Invalid as error:
        raise GuestKernelInvalid(path, str(error)) from None


class _Invalid(Exception):
    """The reason, for the typed error that names the file."""


def _format(head: bytes, file: BinaryIO, size_bytes: int) -> KernelFormat:
    if _has_multiboot_header(head):
        return KernelFormat.MULTIBOOT
    if not head.startswith(_ELF_MAGIC):
        _check_bzimage(head, size_bytes)
        return KernelFormat.BZIMAGE
    segments = _segments(head, file)
    _check_loads(segments, size_bytes)
    if not _has_pvh_note(segments, file):
        raise _Invalid("an ELF file without the PVH entry note (build the kernel with CONFIG_PVH=y)")
    return KernelFormat.PVH


def _has_multiboot_header(head: bytes) -> bool:
    # Multiboot specification 0.6.96, 3.1: 32-bit aligned in the first 8192 bytes; magic + flags + checksum = 0.
    for magic, flags, checksum in (struct.unpack_from("<III", head, offset) for offset in range(0, len(head) - 11, 4)):
        if magic == _MULTIBOOT_MAGIC and (magic + flags + checksum) & 0xFFFFFFFF == 0:
            return True
    return False


def _check_bzimage(head: bytes, size_bytes: int) -> None:
    if len(head) < 0x260 or head[0x1FE:0x200] != b"\x55\xaa" or head[0x202:0x206] != b"HdrS":
        raise _Invalid("neither a Linux bzImage, nor an ELF file with a PVH entry, nor a Multiboot kernel")
    setup_sectors = head[0x1F1] or 4
    paragraphs = struct.unpack_from("<I", head, 0x1F4)[0]
    expected = (setup_sectors + 1) * _SECTOR + paragraphs * 16
    if size_bytes < expected:
        raise _Invalid(f"it is cut short: {size_bytes:,} of {expected:,} bytes are there")


def _segments(head: bytes, file: BinaryIO) -> tuple[_Segment, ...]:
    if len(head) < 64:
        raise _Invalid("the ELF header is cut short")
    is_64_bit = head[4] == 2
    if head[4] not in (1, 2) or head[5] != 1:
        raise _Invalid("an ELF file, but not for a PC (class or byte order)")
    machine = struct.unpack_from("<H", head, 18)[0]
    if machine not in (3, 62):  # EM_386, EM_X86_64
        raise _Invalid(f"an ELF file for another processor (e_machine {machine})")
    if is_64_bit:
        table_offset, entry_size, count = *struct.unpack_from("<Q", head, 32), *struct.unpack_from("<HH", head, 54)
        layout, fields = struct.Struct("<IIQQQQ"), (0, 2, 5)
    else:
        table_offset, entry_size, count = *struct.unpack_from("<I", head, 28), *struct.unpack_from("<HH", head, 42)
        layout, fields = struct.Struct("<IIIII"), (0, 1, 4)
    if not 0 < count <= _HEADERS_CAP or entry_size < layout.size:
        raise _Invalid("an ELF file without program headers")
    table = _read_at(file, table_offset, entry_size * count)
    segments = []
    for index in range(count):
        values = layout.unpack_from(table, index * entry_size)
        segments.append(_Segment(*(values[field] for field in fields)))
    return tuple(segments)


def _read_at(file: BinaryIO, offset: int, size_bytes: int) -> bytes:
    if offset + size_bytes > file.seek(0, os.SEEK_END):
        raise _Invalid("it is cut short: an ELF header points behind its end")
    file.seek(offset)
    return file.read(size_bytes)


def _check_loads(segments: tuple[_Segment, ...], size_bytes: int) -> None:
    loads = [segment for segment in segments if segment.kind == _PT_LOAD and segment.size_bytes > 0]
    end = max((segment.offset + segment.size_bytes for segment in loads), default=0)
    if not loads:
        raise _Invalid("an ELF file with nothing to load")
    if end > size_bytes:
        raise _Invalid(f"it is cut short: {size_bytes:,} of {end:,} bytes are there")


def _has_pvh_note(segments: tuple[_Segment, ...], file: BinaryIO) -> bool:
    for segment in segments:
        if segment.kind != _PT_NOTE:
            continue
        if segment.size_bytes > _NOTES_CAP_BYTES:
            raise _Invalid(f"its ELF notes claim {segment.size_bytes:,} bytes")
        notes = _read_at(file, segment.offset, segment.size_bytes)
        position = 0
        while position + 12 <= len(notes):
            name_size, data_size, kind = struct.unpack_from("<III", notes, position)
            name = notes[position + 12 : position + 12 + name_size]
            if kind == _NOTE_PHYS32_ENTRY and name.rstrip(b"\0") == b"Xen":
                return True
            position += 12 + (name_size + 3 & ~3) + (data_size + 3 & ~3)
    return False


def has_pvh_entry(kernel: bytes) -> bool:
    """Whether QEMU can start the ELF file ``kernel`` as it is."""
    try:
        return _format(kernel[:_MULTIBOOT_SEARCH_BYTES], BytesIO(kernel), len(kernel)) is KernelFormat.PVH
    except _Invalid:
        return False


def unpack_kernel(path: Path, image: bytes) -> bytes:
    """The ELF kernel in the payload of the bzImage ``image``, which came from ``path`` (named in errors).

    Raises `GuestKernelInvalid` when there is none.
    """
    try:
        return _unpack(image)
    except (_Invalid, DecompressError) as error:
        raise GuestKernelInvalid(path, str(error)) from error


def _unpack(image: bytes) -> bytes:
    _check_bzimage(image[:_MULTIBOOT_SEARCH_BYTES], len(image))
    version = struct.unpack_from("<H", image, 0x206)[0]
    if version < 0x208:
        raise _Invalid(f"its boot protocol {version >> 8}.{version & 0xFF:02} is older than 2.08")
    setup_bytes = ((image[0x1F1] or 4) + 1) * _SECTOR
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = setup_bytes + offset
    if length < 8 or start + length > len(image):
        raise _Invalid("its payload lies outside the file")
    kernel = decompress(image[start : start + length], KERNEL_CAP_BYTES)
    # The build appends the unpacked size to every payload (gzip ends with it anyway).
    expected = int.from_bytes(image[start + length - 4 : start + length], "little")
    if len(kernel) != expected:
        raise _Invalid(f"its payload unpacks to {len(kernel):,} bytes instead of {expected:,}")
    if not kernel.startswith(_ELF_MAGIC):
        raise _Invalid("its payload is no ELF file")
    return kernel
