"""What a few bytes may mean: numbers, text, a pointer; and the forms in which bytes are copied."""

from __future__ import annotations

import struct

MAX_COPY_BYTES = 1 << 20
COPY_FORMS = ("hex", "C array", "Python bytes", "ASCII")

_WIDTHS = (8, 16, 32, 64)
_FLOATS = (("f32", "<f"), ("f64", "<d"))


def interpretations(data: bytes) -> list[tuple[str, str]]:
    """Return (kind, value) of what the little-endian bytes at a place may be; short data gives fewer.

    A signed number is listed only where it differs from the unsigned one.
    """
    found: list[tuple[str, str]] = []
    for bits in _WIDTHS:
        piece = data[: bits // 8]
        if len(piece) == bits // 8:
            value = int.from_bytes(piece, "little")
            found.append((f"u{bits}", f"{value:,}  {value:#x}" if value > 9 else f"{value}"))
            if value >> (bits - 1):
                found.append((f"i{bits}", f"{value - (1 << bits):,}"))
    for name, form in _FLOATS:
        if len(data) >= struct.calcsize(form):
            found.append((name, f"{struct.unpack_from(form, data)[0]:.7g}"))
    if len(data) >= 8:
        found.append(("pointer", pointer_text(int.from_bytes(data[:8], "little"))))
    return found


def pointer_text(value: int) -> str:
    """Return a 64-bit value as a pointer, saying where x86-64 has it (SDM volume 1, 3.3.7.1: canonical addresses)."""
    if value < 1 << 47:
        half = "user half"
    elif value >= (1 << 64) - (1 << 47):
        half = "kernel half"
    elif value < 1 << 56 or value >= (1 << 64) - (1 << 56):
        half = "canonical with 5-level paging"
    else:
        half = "not canonical"
    return f"{value:#018x}  {half}"


def ascii_text(data: bytes) -> str:
    """Return printable ASCII as it is and a dot for every other byte."""
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in data)


def copy_text(data: bytes, form: str) -> str:
    """Return `data` written in one of `COPY_FORMS`."""
    if form == "hex":
        return data.hex(" ")
    if form == "C array":
        rows = (", ".join(f"0x{byte:02x}" for byte in data[start : start + 12]) for start in range(0, len(data), 12))
        return "{\n" + "".join(f"    {row},\n" for row in rows) + "}"
    if form == "Python bytes":
        return repr(data)
    return ascii_text(data)
