"""Kernel-style LZ4 data made by the system's liblz4 (apt needs it): a truth that owes nothing to our decoder."""

import ctypes

import pytest

BLOCK_BYTES = 8 << 20


def lz4_legacy(data: bytes) -> bytes:
    """``data`` as `lz4 -l` writes it: a magic number, then blocks, each after its size."""
    try:
        library = ctypes.CDLL("liblz4.so.1")
    except OSError:
        pytest.skip("liblz4 is not installed")
    frame = b"\x02\x21\x4c\x18"
    for start in range(0, len(data), BLOCK_BYTES):
        block = data[start : start + BLOCK_BYTES]
        target = ctypes.create_string_buffer(library.LZ4_compressBound(len(block)))
        size = library.LZ4_compress_default(block, target, len(block), len(target))
        assert size > 0
        frame += size.to_bytes(4, "little") + target.raw[:size]
    return frame
