"""Give an ELF program another loader, so that it runs with libraries of its own, newer than the system's."""

from __future__ import annotations

import struct

from bridge.machine.shared_objects import NotAnElfProgram

_PT_INTERP = 3
_TABLE_AT = 32  # Elf64_Ehdr: e_phoff; e_phentsize and e_phnum follow at 54
_COUNTS_AT = 54


def with_interpreter(program: bytes, loader: bytes) -> bytes:
    """``program`` with the path ``loader`` at its end, and its PT_INTERP header leading there.

    The kernel reads the path by its offset in the file (fs/binfmt_elf.c), so that it need not lie in a segment. The
    loader finds its own name at the old address still, which it compares names of libraries with, and nothing else.
    Raises `NotAnElfProgram` where there is no such header.
    """
    if program[:6] != b"\x7fELF\x02\x01" or len(program) < 64:
        raise NotAnElfProgram("no 64-bit little-endian ELF file")
    (table,) = struct.unpack_from("<Q", program, _TABLE_AT)
    entry_size, count = struct.unpack_from("<HH", program, _COUNTS_AT)
    changed = bytearray(program)
    for header in range(table, table + entry_size * count, entry_size or 1):
        if header + 56 > len(program):
            break
        if struct.unpack_from("<I", program, header)[0] == _PT_INTERP:
            struct.pack_into("<Q", changed, header + 8, len(program))
            struct.pack_into("<QQ", changed, header + 32, len(loader) + 1, len(loader) + 1)
            return bytes(changed) + loader + b"\0"
    raise NotAnElfProgram("it asks for no loader")
