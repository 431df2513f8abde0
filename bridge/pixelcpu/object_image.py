"""An object file as one piece of code that runs wherever it lies: its sections in a row, references filled in.

Relocatable ELF for x86-64, as LLVM writes it (System V ABI, AMD64 supplement, 4.4). What refers to anything outside of
itself, or needs its own address, is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from bridge.pixelcpu.errors import Unsupported

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELA = struct.Struct("<QQq")
_PROGBITS, _SYMTAB, _RELA_TYPE, _NOBITS = 1, 2, 4, 8
_ALLOC = 2
_RELOCATABLE, _X86_64 = 1, 62
_PC32, _PLT32 = 2, 4
_UNDEFINED, _RESERVED = 0, 0xFF00
_MOST_BYTES = 1 << 20
_MOST_ALIGNED = 4096


@dataclass(frozen=True, slots=True)
class Image:
    """Code and its constants. Aligned to 64 bytes it runs anywhere."""

    content: bytes
    entries: Mapping[str, int]
    """Where each function begins."""


@dataclass(frozen=True, slots=True)
class _Section:
    name: str
    kind: int
    flags: int
    offset: int
    size: int
    link: int
    info: int
    align: int


def image_of(data: bytes, functions: tuple[str, ...]) -> Image:
    """Lay out an object file's sections. Raises Unsupported where it needs anything that is not in it."""
    try:
        return _laid_out(data, functions)
    except (struct.error, IndexError, UnicodeDecodeError, ValueError, OverflowError) as error:
        raise Unsupported(f"LLVM's object file is not as it should be ({error})") from error


def _laid_out(data: bytes, functions: tuple[str, ...]) -> Image:
    head = _HEADER.unpack_from(data)
    if head[0][:6] != b"\x7fELF\x02\x01" or head[1] != _RELOCATABLE or head[2] != _X86_64:
        raise Unsupported("LLVM wrote no object file for x86-64")
    sections = _sections(data, head[6], head[12], head[13])
    places: dict[int, int] = {}
    image = bytearray()
    for number, one in enumerate(sections):
        if not one.flags & _ALLOC or not one.size or one.name.startswith(".eh_frame"):
            continue
        if one.kind not in (_PROGBITS, _NOBITS):
            continue
        if one.align > _MOST_ALIGNED or one.size > _MOST_BYTES:  # asked before as much is taken
            raise Unsupported("the kernel's code is too large")
        image += bytes(-len(image) % max(one.align, 16))
        places[number] = len(image)
        image += data[one.offset : one.offset + one.size] if one.kind == _PROGBITS else bytes(one.size)
        if len(image) > _MOST_BYTES:
            raise Unsupported("the kernel's code is too large")
    table = next((one for one in sections if one.kind == _SYMTAB), None)
    if table is None:
        raise Unsupported("LLVM's object file has no symbols")
    symbols = [_SYMBOL.unpack_from(data, at) for at in range(table.offset, table.offset + table.size, _SYMBOL.size)]
    names = sections[table.link]

    def place_of(symbol: int) -> int:
        name, _, _, section, value, _ = symbols[symbol]
        if section == _UNDEFINED or section >= _RESERVED or section not in places:
            raise Unsupported(f"the kernel's code needs {_text(data, names.offset + name) or 'what is not in it'}")
        return places[section] + int(value)

    for one in sections:
        if one.kind != _RELA_TYPE or one.info not in places:
            continue
        for at in range(one.offset, one.offset + one.size, _RELA.size):
            where, what, more = _RELA.unpack_from(data, at)
            if what & 0xFFFFFFFF not in (_PC32, _PLT32):
                raise Unsupported("the kernel's code depends on where it lies")
            target = places[one.info] + where
            struct.pack_into("<i", image, target, place_of(what >> 32) + more - target)
    found = {_text(data, names.offset + symbol[0]): number for number, symbol in enumerate(symbols) if symbol[0]}
    missing = [name for name in functions if name not in found]
    if missing:
        raise Unsupported(f"the kernel's code has no {missing[0]}")
    return Image(bytes(image), {name: place_of(found[name]) for name in functions})


def _sections(data: bytes, start: int, count: int, names: int) -> list[_Section]:
    raw = [_SECTION.unpack_from(data, start + number * _SECTION.size) for number in range(count)]
    return [
        _Section(_text(data, raw[names][4] + one[0]), one[1], one[2], one[4], one[5], one[6], one[7], one[8])
        for one in raw
    ]


def _text(data: bytes, at: int) -> str:
    return data[at : data.index(b"\0", at)].decode("ascii")
