"""ISF: a kernel's symbols and types in the form that Volatility 3 reads (its schema 6.2.0, schemas/schema-6.2.0.json).

Types come from BTF. What BTF does not have, the types of global variables, is in `symbol_types`. Addresses are those
that the kernel was linked for: Volatility finds out by itself how far KASLR moved it.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import lzma
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bridge.kernel.btf import Btf, Kind, Member
from bridge.kernel.errors import BadTypes, KernelError, MissingSymbol
from bridge.kernel.kernel import Kernel
from bridge.kernel.space import KERNEL_MAP
from bridge.kernel.symbol_types import symbol_types, timekeeper

FORMAT = "6.2.0"
_MAX_BANNER = 1024
_MAX_DEPTH = 32
"""Of pointers and arrays in each other: more than C's own minimum (5.2.4.1) of 12, less than a loop's."""
_LINKED_TEXT = KERNEL_MAP + (16 << 20)
"""Where `_text` is linked: CONFIG_PHYSICAL_START is 16 MiB wherever KASLR is on."""
_WRITERS: dict[str, Callable[[bytes], bytes]] = {
    ".json": lambda data: data,
    # Level 1 takes a twelfth of the default level's time for a file that is a quarter larger.
    ".json.xz": lambda data: lzma.compress(data, preset=1),
    ".json.gz": lambda data: gzip.compress(data, 6),
}
SUFFIXES = tuple(_WRITERS)

Descriptor = dict[str, Any]


def save_isf(kernel: Kernel, path: Path) -> None:
    """Write the kernel's ISF, packed as the name's end says. Raises ValueError for an end that is none of SUFFIXES,
    BadTypes, MissingSymbol, NotMapped, OSError; nothing is left behind then.
    """
    pack = next((pack for suffix, pack in _WRITERS.items() if path.name.endswith(suffix)), None)
    if pack is None:
        raise ValueError(f"The name {path.name!r} must end in one of {', '.join(SUFFIXES)}.")
    data = pack(json.dumps(isf_document(kernel), separators=(",", ":")).encode())
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        umask = os.umask(0)
        os.umask(umask)
        Path(name).chmod(0o666 & ~umask)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def isf_document(kernel: Kernel) -> dict[str, Any]:
    """The whole ISF of a kernel. Raises BadTypes where it has no types, MissingSymbol where it has no banner."""
    if kernel.types is None:
        raise BadTypes(kernel.types_problem)
    types = IsfTypes(kernel.types)
    return {
        "metadata": {
            "format": FORMAT,
            "producer": {"name": "glassbox", "version": "1.0.0"},
            "linux": {"symbols": [], "types": []},
        },
        "base_types": types.base_types,
        "user_types": types.user_types,
        "enums": types.enums,
        "symbols": _symbols(kernel, types),
    }


def linked_offset(kernel: Kernel) -> int:
    """How far KASLR moved the image in virtual memory, in bytes. Raises MissingSymbol."""
    return kernel.kernel_offset if kernel.info is not None else kernel.symbols.address("_text") - _LINKED_TEXT


def banner(kernel: Kernel) -> bytes:
    """The text of `linux_banner` with the zero byte that ends it: by this, Volatility knows a kernel. Raises
    MissingSymbol, NotMapped.
    """
    text = kernel.space.read(kernel.symbols.address("linux_banner"), _MAX_BANNER)
    end = text.find(b"\0")
    if end < 0 or not text.startswith(b"Linux version "):
        raise MissingSymbol("linux_banner")
    return text[: end + 1]


_VOID: Descriptor = {"kind": "base", "name": "void"}


def _symbols(kernel: Kernel, types: IsfTypes) -> dict[str, Descriptor]:
    assert kernel.types is not None
    table = kernel.symbols.symbols
    offset = linked_offset(kernel)
    symbols: dict[str, Descriptor] = {}
    for name, address in zip(table.names, table.addresses.tolist(), strict=True):
        # The first of a name wins, as in the kernel's own lookup. What is not in the image (offsets into a
        # processor's area, absolute numbers) was not moved with it.
        if name not in symbols:
            symbols[name] = {"address": address - offset if address >= KERNEL_MAP else address}
    if kernel.info is not None:  # its note names some, kallsyms' own tables, that kallsyms does not
        for name, address in kernel.info.symbols.items():
            symbols.setdefault(name, {"address": address - offset if address >= KERNEL_MAP else address})
    for name, descriptor in types.variables.items():
        if name in symbols:
            symbols[name]["type"] = descriptor
    for name, descriptor in symbol_types(kernel, types.descriptor).items():
        if name in symbols:
            symbols[name].setdefault("type", descriptor)
    if (clock := timekeeper(kernel, types.descriptor)) is not None:
        place, types.user_types["tk_core"] = clock
        symbols["tk_core"] = {"address": place - offset, "type": {"kind": "struct", "name": "tk_core"}}
    for symbol in symbols.values():
        symbol.setdefault("type", _VOID)  # as other makers of ISF do: some plugins want no more than the address
    text = banner(kernel)
    symbols["linux_banner"]["constant_data"] = base64.b64encode(text).decode()
    symbols["linux_banner"]["type"] = {
        "kind": "array",
        "count": len(text),
        "subtype": {"kind": "base", "name": "char"},
    }
    return symbols


def _base_type(size: int, kind: str, *, signed: bool) -> Descriptor:
    return {"size": size, "signed": signed, "kind": kind, "endian": "little"}


_ALWAYS: dict[str, Descriptor] = {
    # Volatility asks for these by name, whether the kernel uses them or not.
    "void": _base_type(0, "void", signed=False),
    "pointer": _base_type(8, "int", signed=False),
    "char": _base_type(1, "char", signed=True),
    "signed char": _base_type(1, "char", signed=True),
    "unsigned char": _base_type(1, "char", signed=False),
    "short int": _base_type(2, "int", signed=True),
    "short unsigned int": _base_type(2, "int", signed=False),
    "int": _base_type(4, "int", signed=True),
    "unsigned int": _base_type(4, "int", signed=False),
    "long int": _base_type(8, "int", signed=True),
    "long unsigned int": _base_type(8, "int", signed=False),
    "long long int": _base_type(8, "int", signed=True),
    "long long unsigned int": _base_type(8, "int", signed=False),
    "_Bool": _base_type(1, "bool", signed=False),
}
_UNSIGNED = {1: "unsigned char", 2: "short unsigned int", 4: "unsigned int", 8: "long unsigned int"}
_SIGNED = {1: "signed char", 2: "short int", 4: "int", 8: "long int"}


class IsfTypes:
    """The types of a BTF section as ISF's dictionaries. Raises BadTypes for a section that does not hold together."""

    def __init__(self, btf: Btf) -> None:
        self._btf = btf
        self._names: dict[int, str] = {}
        self._by_name: dict[tuple[str, str], int] = {}
        self.base_types: dict[str, Descriptor] = {name: dict(base) for name, base in _ALWAYS.items()}
        self.user_types: dict[str, Descriptor] = {}
        self.enums: dict[str, Descriptor] = {}
        self.variables: dict[str, Descriptor] = {}
        """Types of the variables that BTF has: per-cpu ones, on new kernels all."""
        self._descriptors: dict[int, Descriptor] = {}
        kinds = [btf.kind(type_id) for type_id in range(len(btf))]
        self._name_types(kinds)
        for type_id, kind in enumerate(kinds):
            if kind in (Kind.STRUCT, Kind.UNION):
                self.user_types[self._names[type_id]] = self._user_type(type_id, kind)
            elif kind in (Kind.ENUM, Kind.ENUM64):
                self.enums[self._names[type_id]] = self._enum(type_id)
            elif kind in (Kind.INT, Kind.FLOAT):
                self._add_base_type(type_id, kind)
            elif kind == Kind.VARIABLE:
                self.variables.setdefault(btf.name(type_id), self.descriptor(btf.referred(type_id)))

    def _name_types(self, kinds: list[Kind]) -> None:
        """A name for every struct, union and enumeration: its tag; a typedef's name for an anonymous one; a number for
        what nobody named, and behind a tag that another type has already. Enumerations have a dictionary of their own:
        files of the kernel that never meet use one tag for a struct and for an enumeration.
        """
        btf = self._btf
        structs, enums = (Kind.STRUCT, Kind.UNION), (Kind.ENUM, Kind.ENUM64)
        tagged = structs + enums
        names: tuple[set[str], set[str]] = set(), set()
        for type_id, kind in enumerate(kinds):
            if kind in tagged and (name := btf.name(type_id)):
                taken = names[kind in enums]
                self._names[type_id] = name if name not in taken else f"{name}_{type_id}"
                taken.add(name)
        for type_id, kind in enumerate(kinds):
            if kind == Kind.TYPEDEF:
                target = btf.resolve(type_id)
                name = btf.name(type_id)
                if kinds[target] in tagged and target not in self._names and name not in names[kinds[target] in enums]:
                    self._names[target] = name
                    names[kinds[target] in enums].add(name)
        for type_id, kind in enumerate(kinds):
            if kind in tagged and type_id not in self._names:
                self._names[type_id] = f"unnamed_{type_id}"

    def _add_base_type(self, type_id: int, kind: Kind) -> None:
        name, size = self._btf.name(type_id), self._btf.size(type_id)
        if name in self.base_types:
            return
        if kind == Kind.FLOAT:
            self.base_types[name] = _base_type(size, "float", signed=True)
        else:
            integer = self._btf.integer(type_id)
            self.base_types[name] = _base_type(size, "bool" if integer.boolean else "int", signed=integer.signed)

    def _enum(self, type_id: int) -> Descriptor:
        constants = self._btf.enumerators(type_id)
        size = self._btf.size(type_id)
        names = _SIGNED if any(value < 0 for value in constants.values()) else _UNSIGNED
        return {"size": size, "base": names.get(size, "unsigned int"), "constants": constants}

    def _user_type(self, type_id: int, kind: Kind) -> Descriptor:
        fields: dict[str, Descriptor] = {}
        for index, member in enumerate(self._btf.members(type_id)):
            field = self._field(member)
            if member.name:
                fields.setdefault(member.name, field)
            elif field["type"]["kind"] in ("struct", "union"):
                fields[f"unnamed_field_{index}"] = {**field, "anonymous": True}
        return {
            "kind": "struct" if kind == Kind.STRUCT else "union",
            "size": self._btf.size(type_id),
            "fields": fields,
        }

    def _field(self, member: Member) -> Descriptor:
        btf, target = self._btf, self._btf.resolve(member.type_id)
        bits, start = member.bit_size, member.bit_offset
        kind = btf.kind(target)
        if not bits and kind == Kind.INT:
            # Sections that do not flag bit fields say it in the integer: how many bits, from which on.
            integer = btf.integer(target)
            if integer.bits != 8 * btf.size(target):
                bits, start = integer.bits, start + integer.bit_offset
        if not bits:
            return {"offset": member.offset, "type": self.descriptor(member.type_id)}
        size = max(btf.size(target), 1)
        offset = start // (8 * size) * size
        position = start - 8 * offset
        if position + bits > 8 * size:  # packed: it reaches into the next unit
            offset, position = start // 8, start % 8
            size = next((wide for wide in (1, 2, 4, 8) if 8 * wide >= position + bits), 8)
        base = self.descriptor(target)
        if kind not in (Kind.ENUM, Kind.ENUM64) or size != btf.size(target):
            signed = kind == Kind.INT and btf.integer(target).signed
            base = {"kind": "base", "name": (_SIGNED if signed else _UNSIGNED).get(size, "unsigned int")}
        return {
            "offset": offset,
            "type": {"kind": "bitfield", "bit_position": position, "bit_length": bits, "type": base},
        }

    def descriptor(self, type_id: int, depth: int = 0) -> Descriptor:
        """How ISF refers to a type."""
        type_id = self._btf.resolve(type_id)
        if type_id not in self._descriptors:
            self._descriptors[type_id] = self._describe(type_id, depth)
        return self._descriptors[type_id]

    def _describe(self, type_id: int, depth: int) -> Descriptor:
        btf = self._btf
        kind = btf.kind(type_id)
        if depth > _MAX_DEPTH:
            raise BadTypes(f"Pointers and arrays go in circles at type {type_id:,}.")
        if kind == Kind.POINTER:
            return {"kind": "pointer", "subtype": self.descriptor(btf.referred(type_id), depth + 1)}
        if kind == Kind.ARRAY:
            element, count = btf.array(type_id)
            return {"kind": "array", "count": count, "subtype": self.descriptor(element, depth + 1)}
        if kind in (Kind.STRUCT, Kind.UNION, Kind.ENUM, Kind.ENUM64):
            words = {Kind.STRUCT: "struct", Kind.UNION: "union"}
            return {"kind": words.get(kind, "enum"), "name": self._names[type_id]}
        if kind == Kind.FORWARD:
            return self._forward(btf.name(type_id))
        if kind in (Kind.INT, Kind.FLOAT):
            return {"kind": "base", "name": btf.name(type_id)}
        if kind in (Kind.FUNCTION, Kind.FUNCTION_PROTOTYPE):
            return {"kind": "function"}
        return {"kind": "base", "name": "void"}

    def _forward(self, name: str) -> Descriptor:
        """A struct or union that is only declared: the one of that name if there is one, else one without members."""
        found = self._btf.find(name, Kind.STRUCT, Kind.UNION)
        if found is None:
            self.user_types.setdefault(name, {"kind": "struct", "size": 0, "fields": {}})
            return {"kind": "struct", "name": name}
        return self.descriptor(found)


def isf_problem(kernel: Kernel) -> str:
    """Why there can be no ISF of this kernel, in a sentence; empty if there can."""
    try:
        banner(kernel)
        linked_offset(kernel)
    except KernelError as error:
        return str(error)
    return kernel.types_problem
