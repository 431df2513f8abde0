"""Decompress what Linux packs kernels and modules with, never into more memory than the caller allows.

gzip, bzip2, xz and lzma come from the standard library. zstd comes from it too since Python 3.14, before that
from the system's libzstd (dpkg needs it, so it is there). The kernel's "legacy" LZ4 frame (lz4 -l) is decoded here.
"""

from __future__ import annotations

import bz2
import ctypes
import ctypes.util
import importlib
import lzma
import zlib
from typing import Protocol

_GZIP = b"\x1f\x8b\x08"
_BZIP2 = b"BZh"
_XZ = b"\xfd7zXZ\0"
_LZMA = b"\x5d\0\0"
_LZ4_LEGACY = b"\x02\x21\x4c\x18"
_ZSTD = b"\x28\xb5\x2f\xfd"
_LZ4_BLOCK_BYTES = 8 << 20  # a block of the legacy frame decodes to at most this


class DecompressError(Exception):
    """The data is of no known kind, damaged, cut short, or bigger than allowed."""


class DecoderMissing(DecompressError):
    """The data is compressed in a way that this system has no decoder for; ``package`` has it."""

    def __init__(self, package: str) -> None:
        super().__init__(f"no decoder for this compression is installed (package {package})")
        self.package = package


class _Stream(Protocol):
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def compression_of(data: bytes) -> str | None:
    """The name of the compression that ``data`` starts with, by its magic number."""
    for magic, name in (
        (_GZIP, "gzip"),
        (_BZIP2, "bzip2"),
        (_XZ, "xz"),
        (_LZ4_LEGACY, "lz4"),
        (_ZSTD, "zstd"),
        (_LZMA, "lzma"),
    ):
        if data.startswith(magic):
            return name
    return None


def decompress(data: bytes, cap_bytes: int) -> bytes:
    """The content of compressed ``data``; what follows the end of the stream is ignored.

    Raises `DecompressError` when that would be more than ``cap_bytes``.
    """
    name = compression_of(data)
    if name is None:
        raise DecompressError(f"unknown compression (starts with {data[:4].hex(' ') or 'nothing'})")
    if name == "lz4":
        return _decompress_lz4(data, cap_bytes)
    if name == "zstd":
        return _decompress_zstd(data, cap_bytes)
    stream: _Stream
    if name == "gzip":
        stream = zlib.decompressobj(wbits=31)
    elif name == "bzip2":
        stream = bz2.BZ2Decompressor()
    else:
        # The dictionary of a hostile xz header may ask for 4 GiB; the decoder's memory has a limit of its own.
        stream = lzma.LZMADecompressor(memlimit=cap_bytes + (64 << 20))
    return _drain(stream, data, cap_bytes, name)


def _drain(stream: _Stream, data: bytes, cap_bytes: int, name: str) -> bytes:
    try:
        content = stream.decompress(data, cap_bytes + 1)
    except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError) as error:
        raise DecompressError(f"damaged {name} data ({error})") from error
    if len(content) > cap_bytes:
        raise DecompressError(f"{name} data that unpacks to more than {cap_bytes} bytes")
    # An lzma stream without end marker has no end that could be missed; its length is for the caller to check.
    if name != "lzma" and not getattr(stream, "eof", True):
        raise DecompressError(f"{name} data that is cut short")
    return content


def _decompress_lz4(data: bytes, cap_bytes: int) -> bytes:
    out = bytearray()
    position = len(_LZ4_LEGACY)
    while position + 4 <= len(data):
        size = int.from_bytes(data[position : position + 4], "little")
        block = data[position + 4 : position + 4 + size]
        if size == 0 or len(block) < size:
            # The kernel appends the unpacked size to the frame: that, too, looks like a cut block, and ends it.
            break
        try:
            _decompress_lz4_block(block, out, min(cap_bytes, len(out) + _LZ4_BLOCK_BYTES))
        except IndexError:
            raise DecompressError("damaged lz4 data (a block ends in the middle of a sequence)") from None
        position += 4 + size
    if not out:
        raise DecompressError("lz4 data that is cut short")
    return bytes(out)


def _decompress_lz4_block(block: bytes, out: bytearray, cap_bytes: int) -> None:
    """Append the content of one block (format: lz4_Block_format.md of the LZ4 project)."""
    position = 0
    end = len(block)
    while position < end:
        token = block[position]
        position += 1
        literals = token >> 4
        if literals == 15:
            more = 255
            while more == 255:
                more = block[position]
                position += 1
                literals += more
        if literals:
            if position + literals > end:
                raise IndexError
            out += block[position : position + literals]
            position += literals
        if position >= end:
            break
        offset = block[position] | block[position + 1] << 8
        position += 2
        match = (token & 15) + 4
        if match == 19:
            more = 255
            while more == 255:
                more = block[position]
                position += 1
                match += more
        start = len(out) - offset
        if offset == 0 or start < 0:
            raise DecompressError("damaged lz4 data (a match that starts before the data)")
        if len(out) + match > cap_bytes:
            raise DecompressError(f"lz4 data that unpacks to more than {cap_bytes} bytes")
        if offset >= match:
            out += out[start : start + match]
        else:
            out += (out[start:] * (match // offset + 1))[:match]
    if len(out) > cap_bytes:
        raise DecompressError(f"lz4 data that unpacks to more than {cap_bytes} bytes")


def _decompress_zstd(data: bytes, cap_bytes: int) -> bytes:
    try:
        zstd = importlib.import_module("compression.zstd")  # since Python 3.14
    except ImportError:
        return _decompress_zstd_by_library(data, cap_bytes)
    # Not reached where the tests run on an older Python.
    stream = zstd.ZstdDecompressor()  # pragma: no cover
    try:  # pragma: no cover
        content: bytes = stream.decompress(data, cap_bytes + 1)
    except zstd.ZstdError as error:  # pragma: no cover
        raise DecompressError(f"damaged zstd data ({error})") from error
    if len(content) > cap_bytes:  # pragma: no cover
        raise DecompressError(f"zstd data that unpacks to more than {cap_bytes} bytes")
    if not stream.eof:  # pragma: no cover
        raise DecompressError("zstd data that is cut short")
    return content  # pragma: no cover


class _ZstdBuffer(ctypes.Structure):
    _fields_ = (("data", ctypes.c_void_p), ("size", ctypes.c_size_t), ("position", ctypes.c_size_t))


_ZSTD_MAX_WINDOW_LOG = 27  # 128 MiB, what `zstd --ultra -22` uses


def _decompress_zstd_by_library(data: bytes, cap_bytes: int) -> bytes:
    name = ctypes.util.find_library("zstd") or "libzstd.so.1"
    try:
        library = ctypes.CDLL(name)
    except OSError:  # pragma: no cover - dpkg itself needs the library
        raise DecoderMissing("libzstd1") from None
    library.ZSTD_createDStream.restype = ctypes.c_void_p
    library.ZSTD_freeDStream.argtypes = (ctypes.c_void_p,)
    library.ZSTD_DCtx_setParameter.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_int)
    library.ZSTD_DCtx_setParameter.restype = ctypes.c_size_t
    library.ZSTD_decompressStream.argtypes = (
        ctypes.c_void_p,
        ctypes.POINTER(_ZstdBuffer),
        ctypes.POINTER(_ZstdBuffer),
    )
    library.ZSTD_decompressStream.restype = ctypes.c_size_t
    library.ZSTD_isError.argtypes = (ctypes.c_size_t,)
    library.ZSTD_getErrorName.argtypes = (ctypes.c_size_t,)
    library.ZSTD_getErrorName.restype = ctypes.c_char_p
    stream = library.ZSTD_createDStream()
    if not stream:  # pragma: no cover - only without memory
        raise DecompressError("zstd cannot start")
    try:
        # ZSTD_d_windowLogMax = 100: bounds what a hostile header makes the decoder allocate.
        library.ZSTD_DCtx_setParameter(stream, 100, _ZSTD_MAX_WINDOW_LOG)
        source = ctypes.create_string_buffer(data, len(data))
        taken = _ZstdBuffer(ctypes.cast(source, ctypes.c_void_p), len(data), 0)
        chunk = ctypes.create_string_buffer(min(cap_bytes + 1, 1 << 20))
        out = bytearray()
        while True:
            made = _ZstdBuffer(ctypes.cast(chunk, ctypes.c_void_p), len(chunk), 0)
            status: int = library.ZSTD_decompressStream(stream, ctypes.byref(made), ctypes.byref(taken))
            if library.ZSTD_isError(status):
                reason = library.ZSTD_getErrorName(status).decode()
                raise DecompressError(f"damaged zstd data ({reason})")
            out += memoryview(chunk)[: made.position]
            if len(out) > cap_bytes:
                raise DecompressError(f"zstd data that unpacks to more than {cap_bytes} bytes")
            if status == 0:
                return bytes(out)
            if made.position == 0 and taken.position == taken.size:
                raise DecompressError("zstd data that is cut short")
    finally:
        library.ZSTD_freeDStream(stream)
