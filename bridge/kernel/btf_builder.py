"""Makes a BTF section out of types that come from elsewhere, so that everything that reads BTF reads them too."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

from bridge.kernel.btf import MAGIC, Btf, Kind
from bridge.kernel.errors import BadTypes

_MAX_ELEMENTS = 0xFFFF
_MAX_FLAGGED_BITS = 1 << 24
VOID = 0


class BtfBuilder:
    """Types by number, from one up; 0 is void. A number can be reserved before what it stands for is known."""

    def __init__(self) -> None:
        self._records: list[tuple[int, ...] | None] = []
        self._strings = bytearray(b"\0")
        self._places: dict[str, int] = {"": 0}
        self._pointers: dict[int, int] = {}
        self._arrays: dict[tuple[int, int], int] = {}
        self._index: int | None = None

    def reserve(self) -> int:
        """A number for a type that comes later."""
        self._records.append(None)
        return len(self._records)

    def _add(self, record: tuple[int, ...], number: int | None = None) -> int:
        number = self.reserve() if number is None else number
        self._records[number - 1] = record
        return number

    def _head(self, kind: Kind, name: str, third: int, n_elements: int = 0, *, flag: bool = False) -> tuple[int, ...]:
        if n_elements > _MAX_ELEMENTS:
            raise BadTypes(f"{name!r} has {n_elements:,} members, more than BTF can hold.")
        return (self._string(name), n_elements | kind << 24 | flag << 31, third)

    def _string(self, text: str) -> int:
        if text not in self._places:
            self._places[text] = len(self._strings)
            self._strings += text.replace("\0", "").encode("utf-8", "replace") + b"\0"
        return self._places[text]

    def integer(self, name: str, size: int, *, signed: bool = False, boolean: bool = False) -> int:
        """An integer of `size` bytes."""
        encoding = signed | boolean << 2
        return self._add((*self._head(Kind.INT, name, size), encoding << 24 | 8 * size))

    def floating(self, name: str, size: int) -> int:
        """A floating point number of `size` bytes."""
        return self._add(self._head(Kind.FLOAT, name, size))

    def pointer(self, target: int) -> int:
        """A pointer to a type."""
        if target not in self._pointers:
            self._pointers[target] = self._add(self._head(Kind.POINTER, "", target))
        return self._pointers[target]

    def array(self, element: int, count: int) -> int:
        """`count` of a type."""
        if self._index is None:
            self._index = self.integer("__ARRAY_SIZE_TYPE__", 8)
        if (element, count) not in self._arrays:
            self._arrays[element, count] = self._add((*self._head(Kind.ARRAY, "", 0), element, self._index, count))
        return self._arrays[element, count]

    def typedef(self, name: str, target: int, number: int | None = None) -> int:
        """Another name for a type."""
        return self._add(self._head(Kind.TYPEDEF, name, target), number)

    def forward(self, name: str) -> int:
        """A struct that is only declared."""
        return self._add(self._head(Kind.FORWARD, name, 0))

    def function(self) -> int:
        """A function, of which nothing is known."""
        return self._add(self._head(Kind.FUNCTION_PROTOTYPE, "", VOID))

    def composite(
        self,
        name: str,
        size: int,
        members: Sequence[tuple[str, int, int, int]],
        *,
        union: bool = False,
        number: int | None = None,
    ) -> int:
        """A struct or union of `size` bytes; members are (name, type, offset in bits, bits of a bit field or 0)."""
        flag = any(bits for *_, bits in members)
        words: list[int] = []
        for member, type_id, offset, bits in members:
            if flag and (offset >= _MAX_FLAGGED_BITS or bits > 0xFF):
                raise BadTypes(f"{name}.{member} lies too far in for BTF.")
            words += (self._string(member), type_id, offset | bits << 24)
        head = self._head(Kind.UNION if union else Kind.STRUCT, name, size, len(members), flag=flag)
        return self._add((*head, *words), number)

    def enumeration(self, name: str, size: int, values: Mapping[str, int], number: int | None = None) -> int:
        """An enumeration of `size` bytes."""
        signed = any(value < 0 for value in values.values())
        kind = Kind.ENUM64 if size == 8 else Kind.ENUM
        words: list[int] = []
        for text, value in values.items():
            words += (self._string(text), value & 0xFFFF_FFFF)
            if kind == Kind.ENUM64:
                words.append(value >> 32 & 0xFFFF_FFFF)
        return self._add((*self._head(kind, name, size, len(values), flag=signed), *words), number)

    def section(self) -> bytes:
        """The section. Raises BadTypes where a value does not fit, or a number was reserved and never used."""
        words: list[int] = []
        for number, record in enumerate(self._records, start=1):
            if record is None:
                raise BadTypes(f"Type {number:,} was announced and never described.")
            words += record
        try:
            types = struct.pack(f"<{len(words)}I", *words)
        except struct.error as error:
            raise BadTypes(f"A size or offset does not fit 32 bits: {error}.") from error
        header = struct.pack("<HBBIIIII", MAGIC, 1, 0, 24, 0, len(types), len(types), len(self._strings))
        return header + types + bytes(self._strings)

    def btf(self) -> Btf:
        """The types, ready to be asked. Raises BadTypes."""
        return Btf(self.section())
