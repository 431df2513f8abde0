"""Types out of an ISF file, the form that Volatility 3 uses, as BTF."""

from __future__ import annotations

import base64
import binascii
import bz2
import json
import lzma
import zlib
from typing import Any

from bridge.kernel.btf import Btf
from bridge.kernel.btf_builder import VOID, BtfBuilder
from bridge.kernel.errors import BadTypes

_MAX_UNPACKED = 512 << 20
"""ISF files of debug kernels have up to 100 MiB; a small file can unpack to any size."""
_MAX_DEPTH = 64


def read_isf(data: bytes) -> dict[str, Any]:
    """The document in `data`, which may be packed (xz, gzip, bzip2). Raises BadTypes."""
    try:
        document = json.loads(_unpacked(data))
    except (ValueError, RecursionError, lzma.LZMAError, zlib.error, OSError, EOFError) as error:
        raise BadTypes(f"The file is no ISF: {error}.") from error
    tables = ("base_types", "user_types", "enums", "symbols")
    if not isinstance(document, dict) or not all(isinstance(document.get(table), dict) for table in tables):
        raise BadTypes(f"The file is no ISF: it lacks one of {', '.join(tables)}.")
    return document


def _unpacked(data: bytes) -> bytes:
    if data.startswith(b"\xfd7zXZ\0"):
        unpacked = lzma.LZMADecompressor(memlimit=256 << 20).decompress(data, _MAX_UNPACKED + 1)
    elif data.startswith(b"\x1f\x8b"):
        unpacked = zlib.decompressobj(wbits=31).decompress(data, _MAX_UNPACKED + 1)
    elif data.startswith(b"BZh"):
        unpacked = bz2.BZ2Decompressor().decompress(data, _MAX_UNPACKED + 1)
    else:
        unpacked = data
    if len(unpacked) > _MAX_UNPACKED:
        raise BadTypes(f"The file unpacks to more than {_MAX_UNPACKED >> 20} MiB.")
    return unpacked


def isf_banner(document: dict[str, Any]) -> str:
    """The text of the kernel that it is of; empty where it does not say."""
    symbol = document["symbols"].get("linux_banner")
    try:
        text = base64.b64decode(symbol["constant_data"], validate=True)
    except (TypeError, KeyError, ValueError, binascii.Error):
        return ""
    return text.split(b"\0")[0].decode("utf-8", "replace").strip()


def isf_types(document: dict[str, Any]) -> Btf:
    """Its types. Raises BadTypes for what does not hold together."""
    try:
        return _Converter(document).btf()
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, OverflowError) as error:
        raise BadTypes(f"The ISF does not hold together ({type(error).__name__}: {error}).") from error


class _Converter:
    def __init__(self, document: dict[str, Any]) -> None:
        self._builder = builder = BtfBuilder()
        self._base: dict[str, int] = {"void": VOID}
        self._size: dict[str, int] = {}
        for name, base in document["base_types"].items():
            if name in ("void", "pointer"):
                continue
            self._size[name] = size = _bounded(base["size"])
            if base["kind"] == "float":
                self._base[name] = builder.floating(name, size)
            else:
                self._base[name] = builder.integer(
                    name, size, signed=bool(base["signed"]), boolean=base["kind"] == "bool"
                )
        self._function = builder.function()
        self._user = {name: builder.reserve() for name in document["user_types"]}
        self._enums = {name: builder.reserve() for name in document["enums"]}
        self._forwards: dict[str, int] = {}
        for name, enum in document["enums"].items():
            values = {str(text): int(value) for text, value in enum["constants"].items()}
            builder.enumeration(_tag(name), _bounded(enum["size"]), values, self._enums[name])
        for name, user in document["user_types"].items():
            members = [self._member(text, field) for text, field in user["fields"].items()]
            union = user["kind"] == "union"
            builder.composite(_tag(name), _bounded(user["size"]), members, union=union, number=self._user[name])

    def _member(self, name: str, field: dict[str, Any]) -> tuple[str, int, int, int]:
        offset, kind = 8 * _bounded(field["offset"]), field["type"]
        bits = 0
        if kind["kind"] == "bitfield":
            offset, bits, kind = offset + _bounded(kind["bit_position"]), _bounded(kind["bit_length"]), kind["type"]
        return "" if field.get("anonymous") else name, self._type(kind, 0), offset, bits

    def _type(self, kind: dict[str, Any], depth: int) -> int:
        if depth > _MAX_DEPTH:
            raise BadTypes("Its pointers and arrays are nested too deeply.")
        word = kind["kind"]
        if word == "pointer":
            return self._builder.pointer(self._type(kind["subtype"], depth + 1))
        if word == "array":
            return self._builder.array(self._type(kind["subtype"], depth + 1), _bounded(kind["count"]))
        if word == "function":
            return self._function
        name = kind["name"]
        if word == "base":
            return self._base[name]
        if word == "enum":
            return self._enums[name]
        if name in self._user:
            return self._user[name]
        if name not in self._forwards:
            self._forwards[name] = self._builder.forward(name)
        return self._forwards[name]

    def btf(self) -> Btf:
        return self._builder.btf()


def _tag(name: str) -> str:
    """ISF has to call nameless types something; here they have no name."""
    return "" if name.startswith("unnamed_") else name


def _bounded(value: Any) -> int:
    number = int(value)
    if not 0 <= number < 1 << 32:
        raise BadTypes(f"A size, offset or count of {number:,} makes no sense.")
    return number
