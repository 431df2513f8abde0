"""BTF: the kernel's own description of its types, as struct layouts (Documentation/bpf/btf.rst).

The section is a header, a run of type records and a table of strings. Records differ in length, so they are indexed in
one pass; what a record says is looked up when it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

import numpy as np
import numpy.typing as npt

from bridge.kernel.errors import BadTypes, MissingType

MAGIC = 0xEB9F
_MAX_TYPES = 1 << 20
_MAX_BYTES = 64 << 20
_MAX_DEPTH = 64
"""Of typedefs, qualifiers, arrays and anonymous members inside each other: a damaged section may go in circles."""


class Kind(IntEnum):
    """What a record describes."""

    VOID = 0
    INT = 1
    POINTER = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FORWARD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNCTION = 12
    FUNCTION_PROTOTYPE = 13
    VARIABLE = 14
    DATA_SECTION = 15
    FLOAT = 16
    DECLARATION_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


# Words after the three of every record: fixed ones, and for each of its `vlen` elements.
_FIXED_WORDS = {Kind.INT: 1, Kind.ARRAY: 3, Kind.VARIABLE: 1, Kind.DECLARATION_TAG: 1}
_ELEMENT_WORDS = {
    Kind.STRUCT: 3,
    Kind.UNION: 3,
    Kind.ENUM: 2,
    Kind.FUNCTION_PROTOTYPE: 2,
    Kind.DATA_SECTION: 3,
    Kind.ENUM64: 3,
}
_FIXED = [_FIXED_WORDS.get(kind, 0) for kind in Kind]
_ELEMENT = [_ELEMENT_WORDS.get(kind, 0) for kind in Kind]
_TRANSPARENT = frozenset({Kind.TYPEDEF, Kind.VOLATILE, Kind.CONST, Kind.RESTRICT, Kind.TYPE_TAG})
_COMPOSITE = frozenset({Kind.STRUCT, Kind.UNION})


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a struct or union, as seen from the outermost one that was asked."""

    name: str
    bit_offset: int
    type_id: int
    bit_size: int
    """0 unless it is a bit field."""

    @property
    def offset(self) -> int:
        """In bytes, of the byte that holds its first bit."""
        return self.bit_offset // 8


@dataclass(frozen=True, slots=True)
class Integer:
    """How an integer is stored."""

    signed: bool
    boolean: bool
    bit_offset: int
    bits: int
    """Fewer than its size has for a bit field of a section that does not flag them."""


class Btf:
    """One section. Raises BadTypes for one that does not hold together, MissingType for what it does not have."""

    def __init__(self, section: bytes, starts: npt.NDArray[np.int32] | None = None) -> None:
        """`starts` are those of an equal section, so that its records need not be followed again. They are checked, and
        those of another one are of no use but do no harm.
        """
        if len(section) < 24 or len(section) > _MAX_BYTES:
            raise BadTypes(f"A BTF section of {len(section):,} bytes makes no sense.")
        magic, version = int.from_bytes(section[:2], "little"), section[2]
        header_length, type_off, type_len, str_off, str_len = (
            int.from_bytes(section[at : at + 4], "little") for at in range(4, 24, 4)
        )
        if magic != MAGIC or version != 1:
            raise BadTypes(f"The section begins with {section[:4].hex()}, not with BTF's magic number and version 1.")
        if header_length < 24 or max(type_off + type_len, str_off + str_len) + header_length > len(section):
            raise BadTypes("The BTF header points beyond its section.")
        types = section[header_length + type_off :][: type_len & ~3]
        self._words = memoryview(types).cast("I")  # gives ints, as a list would, without making a million of them
        self._strings = section[header_length + str_off :][:str_len]
        known = starts is not None and self._begin_at(starts)
        self.starts: npt.NDArray[np.int32] = starts if starts is not None and known else self._index()
        """(n,) where each type's record begins, in words, from type 1 on: void has none."""
        self._starts = memoryview(self.starts.data)
        self._layouts: dict[int, dict[str, Member]] = {}

    def _begin_at(self, starts: npt.NDArray[np.int32]) -> bool:
        """Whether the records begin at `starts` (n,): the first at 0, each other one where the one before it ends."""
        words = np.frombuffer(self._words, np.uint32)
        if starts.ndim != 1 or starts.dtype != np.int32 or not 0 < len(starts) < _MAX_TYPES:
            return False
        at = starts.astype(np.int64)
        if at.min() < 0 or at.max() + 3 > len(words):
            return False
        info = words[at + 1].astype(np.int64)
        kind = info >> 24 & 31
        if not kind.all() or kind.max() >= len(_FIXED):
            return False
        ends = at + 3 + np.array(_FIXED)[kind] + np.array(_ELEMENT)[kind] * (info & 0xFFFF)
        return at[0] == 0 and bool((ends == np.append(at[1:], len(words))).all())

    def _index(self) -> npt.NDArray[np.int32]:
        """Where each type's record begins, from type 1 on."""
        words, fixed, element = self._words, _FIXED, _ELEMENT
        starts: list[int] = []
        at, end = 0, len(words)
        while at + 3 <= end:
            info = words[at + 1]
            kind = info >> 24 & 31
            if kind >= len(fixed) or not kind:
                raise BadTypes(f"Type {len(starts) + 1:,} is of the unknown kind {kind}.")
            starts.append(at)
            at += 3 + fixed[kind] + element[kind] * (info & 0xFFFF)
        if at != end or len(starts) >= _MAX_TYPES:
            raise BadTypes("The BTF records do not end where their section does.")
        return np.array(starts, np.int32)

    def __len__(self) -> int:
        return len(self._starts) + 1

    # ----- records

    def kind(self, type_id: int) -> Kind:
        """What a type is."""
        return Kind(self._words[self._record(type_id) + 1] >> 24 & 31) if type_id else Kind.VOID

    def name(self, type_id: int) -> str:
        """Its name; empty for an anonymous one."""
        return self.string(self._words[self._record(type_id)]) if type_id else "void"

    def _record(self, type_id: int) -> int:
        if not 0 < type_id <= len(self._starts):
            raise BadTypes(f"There is no type {type_id:,}.")
        return self._starts[type_id - 1]

    def string(self, offset: int) -> str:
        """The string at an offset of the table."""
        if offset >= len(self._strings):
            raise BadTypes("A name lies beyond the table of strings.")
        end = self._strings.find(b"\0", offset, offset + 1024)
        return self._strings[offset : end if end >= 0 else offset].decode("utf-8", "backslashreplace")

    def referred(self, type_id: int) -> int:
        """What a pointer, typedef, qualifier, function, variable or tag refers to."""
        return self._words[self._record(type_id) + 2]

    def resolve(self, type_id: int) -> int:
        """The type behind typedefs and qualifiers."""
        for _ in range(_MAX_DEPTH):
            if self.kind(type_id) not in _TRANSPARENT:
                return type_id
            type_id = self.referred(type_id)
        raise BadTypes(f"Typedefs go in circles at type {type_id:,}.")

    def size(self, type_id: int) -> int:
        """In bytes."""
        count = 1
        for _ in range(_MAX_DEPTH):
            type_id = self.resolve(type_id)
            kind = self.kind(type_id)
            if kind == Kind.POINTER:
                return 8 * count
            if kind != Kind.ARRAY:
                sized = (Kind.INT, Kind.STRUCT, Kind.UNION, Kind.ENUM, Kind.FLOAT, Kind.ENUM64, Kind.DATA_SECTION)
                return self._words[self._record(type_id) + 2] * count if kind in sized else 0
            element, length = self.array(type_id)
            type_id, count = element, count * length
        raise BadTypes(f"Arrays go in circles at type {type_id:,}.")

    def integer(self, type_id: int) -> Integer:
        """How an integer is stored. Raises MissingType for another kind of type."""
        record = self._record(self.resolve(type_id))
        if self._words[record + 1] >> 24 & 31 != Kind.INT:
            raise MissingType(f"integer type {type_id:,}")
        word = self._words[record + 3]
        return Integer(bool(word >> 24 & 1), bool(word >> 24 & 4), word >> 16 & 0xFF, word & 0xFF)

    def array(self, type_id: int) -> tuple[int, int]:
        """(element type, number of elements) of an array."""
        record = self._record(self.resolve(type_id))
        if self._words[record + 1] >> 24 & 31 != Kind.ARRAY:
            raise MissingType(f"array type {type_id:,}")
        return self._words[record + 3], self._words[record + 5]

    def integer_encoding(self, type_id: int) -> tuple[bool, bool]:
        """(signed, boolean) of an integer type."""
        encoding = self._words[self._record(type_id) + 3] >> 24
        return bool(encoding & 1), bool(encoding & 4)

    def members(self, type_id: int) -> Iterator[Member]:
        """The direct members of a struct or union, anonymous ones with an empty name."""
        record = self._record(type_id)
        info = self._words[record + 1]
        if info >> 24 & 31 not in _COMPOSITE:
            return
        for at in range(record + 3, record + 3 + 3 * (info & 0xFFFF), 3):
            name, member_type, place = self._words[at : at + 3]
            bits = place >> 24 if info >> 31 else 0
            yield Member(self.string(name), place & 0xFFFFFF if info >> 31 else place, member_type, bits)

    def enumerators(self, type_id: int) -> dict[str, int]:
        """Names and values of an enumeration."""
        record = self._record(type_id)
        info = self._words[record + 1]
        kind, count, signed = info >> 24 & 31, info & 0xFFFF, bool(info >> 31)
        if kind not in (Kind.ENUM, Kind.ENUM64):
            return {}
        step, values = _ELEMENT_WORDS[Kind(kind)], {}
        for at in range(record + 3, record + 3 + step * count, step):
            value = self._words[at + 1] | (self._words[at + 2] << 32 if step == 3 else 0)
            bits = 64 if step == 3 else 32
            values[self.string(self._words[at])] = value - (1 << bits) if signed and value >> (bits - 1) else value
        return values

    # ----- by name

    @cached_property
    def _heads(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The name's place in the table of strings, and the kind, of every type (n,)."""
        words = np.frombuffer(self._words, np.uint32).astype(np.int64)
        starts = self.starts.astype(np.int64)
        return np.concatenate([[0], words[starts]]), np.concatenate([[0], words[starts + 1] >> 24 & 31])

    def find(self, name: str, *kinds: Kind) -> int | None:
        """The id of the first type of that name and of one of `kinds`, or None."""
        needle, at = b"\0" + name.encode() + b"\0", -1
        names, all_kinds = self._heads
        while (at := self._strings.find(needle, at + 1)) >= 0:
            for type_id in np.flatnonzero(names == at + 1).tolist():
                if all_kinds[type_id] in kinds:
                    return int(type_id)
        return None

    def struct(self, name: str) -> int:
        """The id of a struct or union, also by a typedef of it. Raises MissingType."""
        type_id = self.find(name, Kind.STRUCT, Kind.UNION)
        if type_id is None and (typedef := self.find(name, Kind.TYPEDEF)) is not None:
            type_id = self.resolve(typedef)
        if type_id is None:
            raise MissingType(f"struct {name}")
        return type_id

    def layout(self, type_id: int) -> dict[str, Member]:
        """The members of a struct or union by name, those of anonymous ones inside it included."""
        if type_id not in self._layouts:
            layout: dict[str, Member] = {}
            self._flatten(type_id, 0, layout, 0)
            self._layouts[type_id] = layout
        return self._layouts[type_id]

    def _flatten(self, type_id: int, bit_offset: int, layout: dict[str, Member], depth: int) -> None:
        if depth > _MAX_DEPTH or len(layout) > 1 << 16:
            raise BadTypes("Anonymous members go in circles.")
        for member in self.members(type_id):
            at = bit_offset + member.bit_offset
            if member.name:
                layout.setdefault(member.name, Member(member.name, at, member.type_id, member.bit_size))
            else:
                self._flatten(self.resolve(member.type_id), at, layout, depth + 1)

    def member(self, struct: str, path: str) -> Member:
        """A member by its path ("se.vruntime", "tasks.next"). Raises MissingType."""
        type_id, bit_offset, found = self.struct(struct), 0, None
        for name in path.split("."):
            found = self.layout(self.resolve(type_id)).get(name)
            if found is None:
                raise MissingType(f"member {struct}.{path}")
            bit_offset += found.bit_offset
            type_id = found.type_id
        assert found is not None
        return Member(path, bit_offset, type_id, found.bit_size)

    def offset(self, struct: str, path: str) -> int:
        """Where a member lies, in bytes. Raises MissingType."""
        return self.member(struct, path).offset

    def has(self, struct: str, path: str = "") -> bool:
        """Whether the kernel has a struct, or a member of it."""
        try:
            if path:
                self.member(struct, path)
            else:
                self.struct(struct)
        except MissingType:
            return False
        return True

    def struct_size(self, name: str) -> int:
        """In bytes. Raises MissingType."""
        return self.size(self.struct(name))

    def enumerator(self, name: str) -> int | None:
        """The value of an enumerator, wherever it is defined, or None."""
        names, type_ids = self._enumerators
        needle, at = b"\0" + name.encode() + b"\0", -1
        while (at := self._strings.find(needle, at + 1)) >= 0:
            for index in np.flatnonzero(names == at + 1)[:1].tolist():
                return self.enumerators(int(type_ids[index]))[name]
        return None

    @cached_property
    def _enumerators(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The name's place in the table of strings, and the type, of every enumerator (n,) of all enumerations."""
        _, kinds = self._heads
        words = np.frombuffer(self._words, np.uint32).astype(np.int64)
        type_ids = np.flatnonzero((kinds == Kind.ENUM) | (kinds == Kind.ENUM64))
        records = self.starts[type_ids - 1].astype(np.int64)
        counts = words[records + 1] & 0xFFFF
        nth = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        steps = np.where(kinds[type_ids] == Kind.ENUM, _ELEMENT[Kind.ENUM], _ELEMENT[Kind.ENUM64])
        return words[np.repeat(records + 3, counts) + nth * np.repeat(steps, counts)], np.repeat(type_ids, counts)
