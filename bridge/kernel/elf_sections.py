"""The sections of a 64-bit little-endian ELF file (System V ABI), as far as types need them."""

from __future__ import annotations

import mmap
import struct

from bridge.kernel.errors import BadTypes

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_MAX_SECTIONS = 100_000  # kernels built with a section a function have tens of thousands
_MAX_SECTION_BYTES = 64 << 20
_SHF_COMPRESSED = 0x800
_NT_GNU_BUILD_ID = 3


class ElfFile:
    """Sections by name. Raises BadTypes for a file that does not hold together."""

    def __init__(self, data: mmap.mmap | bytes) -> None:
        self._data = data
        self._places: dict[str, tuple[int, int, int]] = {}
        try:
            head = _HEADER.unpack_from(data, 0)
        except struct.error as error:
            raise BadTypes("The ELF file ends in its header.") from error
        if head[0][4:6] != b"\x02\x01":
            raise BadTypes("The ELF file is not a 64-bit little-endian one.")
        table, entry_bytes, count, names = head[6], head[11], head[12], head[13]
        if not table or entry_bytes < _SECTION.size:
            return
        if not count:  # more than 16 bits hold: the first section's size says it
            count = self._entry(table, entry_bytes, 0)[5]
        if count > _MAX_SECTIONS or names >= count:
            raise BadTypes(f"The ELF file's table of {count:,} sections makes no sense.")
        *_, strings, strings_bytes, _, _, _, _ = self._entry(table, entry_bytes, names)
        for index in range(count):
            name, _, flags, _, offset, size, _, _, _, _ = self._entry(table, entry_bytes, index)
            if name < strings_bytes and strings + name < len(data):
                text = bytes(data[strings + name : strings + name + 64]).split(b"\0")[0].decode("ascii", "replace")
                self._places.setdefault(text, (offset, size, flags))

    def _entry(self, table: int, entry_bytes: int, index: int) -> tuple[int, ...]:
        try:
            return _SECTION.unpack_from(self._data, table + index * entry_bytes)
        except struct.error as error:
            raise BadTypes("The ELF file's table of sections lies beyond its end.") from error

    def has(self, name: str) -> bool:
        """Whether there is a section of that name."""
        return name in self._places

    def section(self, name: str) -> bytes | None:
        """A section's bytes, or None where there is none. Raises BadTypes where it is compressed or cut short."""
        if name not in self._places:
            return None
        offset, size, flags = self._places[name]
        if flags & _SHF_COMPRESSED or size > _MAX_SECTION_BYTES or offset + size > len(self._data):
            raise BadTypes(f"The section {name} is compressed, cut short, or larger than any sane one.")
        return bytes(self._data[offset : offset + size])

    def build_id(self) -> str:
        """The BUILD-ID in lower-case hex; empty where there is none."""
        for name in (".notes", ".note.gnu.build-id"):
            note = self.section(name) or b""
            at = 0
            while at + 12 <= len(note):
                name_bytes, value_bytes, kind = struct.unpack_from("<III", note, at)
                begin = at + 12 + (name_bytes + 3 & ~3)
                if kind == _NT_GNU_BUILD_ID and note[at + 12 : at + 16] == b"GNU\0":
                    return note[begin : begin + min(value_bytes, 64)].hex()
                at = begin + (value_bytes + 3 & ~3)
        return ""
