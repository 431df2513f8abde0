"""Small files that are kernels as far as their headers go."""

import struct

PVH_NOTE = struct.pack("<III4sQ", 4, 8, 18, b"Xen\0", 0x1000000)


def elf(
    *,
    notes: bytes = PVH_NOTE,
    bits: int = 64,
    machine: int = 62,
    load: bytes = b"code" * 100,
    n_headers: int | None = None,
) -> bytes:
    """An ELF file with a segment to load and one of notes."""
    header_size, entry_size = (64, 56) if bits == 64 else (52, 32)
    start = header_size + 2 * entry_size
    segments = [(1, start, len(load)), (4, start + len(load), len(notes))]
    ident = b"\x7fELF" + bytes((2 if bits == 64 else 1, 1, 1)) + bytes(9)
    count = 2 if n_headers is None else n_headers
    if bits == 64:
        head = struct.pack("<16sHHIQQQIHHHHHH", ident, 2, machine, 1, 0, 64, 0, 0, 64, 56, count, 0, 0, 0)
        table = b"".join(struct.pack("<IIQQQQQQ", k, 5, o, 0, 0, size, size, 1) for k, o, size in segments)
    else:
        head = struct.pack("<16sHHIIIIIHHHHHH", ident, 2, machine, 1, 0, 52, 0, 0, 52, 32, count, 0, 0, 0)
        table = b"".join(struct.pack("<IIIIIIII", k, o, 0, 0, size, size, 5, 1) for k, o, size in segments)
    return head + table + load + notes


def bzimage(payload: bytes, *, version: int = 0x20F, setup_sectors: int = 4) -> bytes:
    """A bzImage whose protected-mode part is 64 bytes of code, then ``payload``."""
    setup = bytearray((setup_sectors + 1) * 512)
    code = bytes(64) + payload
    code += bytes(-len(code) % 16)
    setup[0x1F1] = setup_sectors
    struct.pack_into("<I", setup, 0x1F4, len(code) // 16)
    setup[0x1FE:0x200] = b"\x55\xaa"
    setup[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", setup, 0x206, version)
    struct.pack_into("<II", setup, 0x248, 64, len(payload))
    return bytes(setup) + code


def multiboot() -> bytes:
    """A Multiboot header behind some code."""
    return bytes(64) + struct.pack("<III", 0x1BADB002, 3, -(0x1BADB002 + 3) & 0xFFFFFFFF) + bytes(200)
