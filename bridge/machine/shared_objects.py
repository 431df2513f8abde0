"""Read from an ELF program which shared libraries it asks for, so that a small guest carries just those."""

from __future__ import annotations

import struct

_PT_LOAD = 1
_PT_DYNAMIC = 2
_DT_NULL = 0
_DT_NEEDED = 1
_DT_STRTAB = 5
_HEADER = struct.Struct("<IIQQQQ")  # Elf64_Phdr up to p_filesz: type, flags, offset, vaddr, paddr, filesz
_ENTRY = struct.Struct("<QQ")
_MAX_ENTRIES = 4096


class NotAnElfProgram(Exception):
    """The data is no 64-bit little-endian ELF file, or one whose headers point outside it."""


def needed_libraries(program: bytes) -> tuple[str, ...]:
    """The names (``libc.so.6``) in the DT_NEEDED entries of ``program``; none for a static one."""
    try:
        return _needed(program)
    except (struct.error, ValueError) as error:
        raise NotAnElfProgram(f"damaged ELF file ({error})") from error


def _needed(program: bytes) -> tuple[str, ...]:
    if program[:6] != b"\x7fELF\x02\x01":
        raise NotAnElfProgram("no 64-bit little-endian ELF file")
    (table,) = struct.unpack_from("<Q", program, 32)
    entry_size, count = struct.unpack_from("<HH", program, 54)
    headers = [_HEADER.unpack_from(program, table + index * entry_size) for index in range(count)]
    dynamic = next((header for header in headers if header[0] == _PT_DYNAMIC), None)
    if dynamic is None:
        return ()
    names: list[int] = []
    strings: int | None = None
    for index in range(min(dynamic[5] // _ENTRY.size, _MAX_ENTRIES)):
        tag, value = _ENTRY.unpack_from(program, dynamic[2] + index * _ENTRY.size)
        if tag == _DT_NULL:
            break
        if tag == _DT_NEEDED:
            names.append(value)
        elif tag == _DT_STRTAB:
            strings = _offset(headers, value)
    if names and strings is None:
        raise NotAnElfProgram("no table that holds the names")
    return tuple(_string(program, (strings or 0) + name) for name in names)


def _offset(headers: list[tuple[int, ...]], address: int) -> int:
    for kind, _flags, offset, vaddr, _paddr, size in headers:
        if kind == _PT_LOAD and vaddr <= address < vaddr + size:
            return offset + address - vaddr
    raise NotAnElfProgram(f"the address {address:#x} lies in no segment")


def _string(program: bytes, offset: int) -> str:
    if offset >= len(program):
        raise NotAnElfProgram("a name lies outside the file")
    return program[offset : program.index(b"\0", offset, offset + 256)].decode()
