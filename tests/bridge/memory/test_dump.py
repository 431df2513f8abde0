"""Dumps: raw, ELF core and LiME hold the same RAM as the machine they were made of; broken ones say what is wrong."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.memory.dump import Dump
from bridge.memory.errors import FileNotFound, GuestMemoryError, MapFailed
from bridge.memory.physical import PhysicalReader

PARTS = {0x0: 5 * 4096, 0x10_0000: 3 * 4096, 0x10_3000: 2 * 4096}


def content(paddr: int, size: int) -> bytes:
    return np.random.default_rng(paddr).integers(0, 256, size, np.uint8).tobytes()


def elf_core(parts: dict[int, int], *, many: bool = False) -> bytes:
    """An ELF64 core as QEMU writes it; with `many`, the number of segments is in a section header."""
    head, table = 64, 64
    n = len(parts) + 1
    data_at = head + 56 * n + 64 + 13  # an odd offset
    note = struct.pack("<IIQQQQQQ", 4, 0, data_at, 0, 0, 0, 0, 0)
    headers, body = [note], b""
    for paddr, size in parts.items():
        headers.append(struct.pack("<IIQQQQQQ", 1, 7, data_at + len(body), 0, paddr, size, size, 0))
        body += content(paddr, size)
    sections_at = head + 56 * n
    identity = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    count = 0xFFFF if many else n
    header = identity + struct.pack("<HHIQQQIHHHHHH", 4, 62, 1, 0, table, sections_at, 0, 64, 56, count, 64, 1, 0)
    section = bytes(44) + struct.pack("<I", n) + bytes(16)
    return header + b"".join(headers) + section + bytes(13) + body


def lime(parts: dict[int, int]) -> bytes:
    return b"".join(
        struct.pack("<4sIQQQ", b"EMiL", 1, paddr, paddr + size - 1, 0) + content(paddr, size)
        for paddr, size in parts.items()
    )


@pytest.mark.parametrize(
    ("kind", "data"), [("ELF core", elf_core(PARTS)), ("ELF core", elf_core(PARTS, many=True)), ("LiME", lime(PARTS))]
)
def test_every_byte_is_where_it_was(tmp_path: Path, kind: str, data: bytes) -> None:
    (tmp_path / "dump").write_bytes(data)
    steps: list[float] = []
    dump = Dump.open(tmp_path / "dump", progress=lambda _text, share: steps.append(share))
    assert (dump.kind, dump.truncated, dump.size_bytes) == (kind, False, 10 * 4096)
    assert [(r.paddr, r.size_bytes) for r in dump.physical_map.regions] == [(0, 5 * 4096), (0x10_0000, 5 * 4096)]
    reader = PhysicalReader(dump)
    for paddr, size in PARTS.items():
        assert reader.read(paddr, size) == content(paddr, size)
    assert steps[-1] == 1.0
    dump.close()


def test_raw_dumps_are_mapped(tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(content(7, 3 * 4096) + b"rest")
    dump = Dump.open(tmp_path / "raw")
    assert (dump.kind, dump.truncated, dump.size_bytes) == ("raw", True, 3 * 4096)
    assert dump.bytes.tobytes() == content(7, 3 * 4096)
    assert isinstance(dump.bytes, np.memmap)


@pytest.mark.parametrize("make", [elf_core, lime])
def test_a_dump_that_was_cut_short_holds_what_is_there(tmp_path: Path, make: object) -> None:
    (tmp_path / "cut").write_bytes(make(PARTS)[: -4096 - 5])  # type: ignore[operator]
    dump = Dump.open(tmp_path / "cut")
    assert dump.truncated
    assert dump.size_bytes == 8 * 4096
    assert PhysicalReader(dump).read(0, 4096) == content(0, 5 * 4096)[:4096]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "less than one page"),
        (b"\x7fELF\x01\x01".ljust(5000, b"\0"), "64-bit little-endian"),
        (b"\x7fELF\x02\x01".ljust(5000, b"\0"), "not a core dump"),
        (b"EMiL".ljust(5000, b"\0"), "header at 0x0 makes no sense"),
        (lime({0: 8192, 4096: 8192}), "overlap"),
        (elf_core({0x123: 8192}), "impossible address"),
        (elf_core({}).ljust(5000, b"\0"), "holds no RAM"),
    ],
)
def test_what_cannot_be_a_dump(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "bad").write_bytes(data)
    with pytest.raises(MapFailed, match=words):
        Dump.open(tmp_path / "bad")


def test_paths_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(FileNotFound):
        Dump.open(tmp_path / "nothing")
    with pytest.raises(MapFailed):
        Dump.open(tmp_path)


@given(st.data())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_headers_never_crash(tmp_path: Path, data: st.DataObject) -> None:
    whole = bytearray(data.draw(st.sampled_from([elf_core(PARTS), elf_core(PARTS, many=True), lime(PARTS)])))
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(4, 400))] = data.draw(st.integers(0, 255))
    (tmp_path / "damaged").write_bytes(whole)
    with contextlib.suppress(GuestMemoryError):
        dump = Dump.open(tmp_path / "damaged")
        assert dump.size_bytes <= len(whole)


def test_a_small_file_is_no_huge_machine(tmp_path: Path) -> None:
    """Segments at different addresses that are the same bytes of the file."""
    n = 600
    identity = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header = identity + struct.pack("<HHIQQQIHHHHHH", 4, 62, 1, 0, 64, 0, 0, 64, 56, n, 64, 0, 0)
    at, size = 64 + 56 * n, 16 * 4096
    segments = [struct.pack("<IIQQQQQQ", 1, 7, at, 0, index * size, size, size, 0) for index in range(n)]
    (tmp_path / "dump").write_bytes(header + b"".join(segments) + bytes(size))
    with pytest.raises(MapFailed, match="its parts share bytes"):
        Dump.open(tmp_path / "dump")
