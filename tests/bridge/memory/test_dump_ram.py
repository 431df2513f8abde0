"""Dumps as RAM files: other processes see the same bytes, and nothing is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.memory.dump_ram import open_dump_ram
from bridge.memory.errors import DumpNotFound, GuestMemoryError, MapFailed
from bridge.memory.physical import PhysicalReader
from tests.bridge.memory.open_files import open_files
from tests.bridge.memory.test_dump import PARTS, content, elf_core, lime


@pytest.mark.parametrize(("kind", "data"), [("ELF core", elf_core(PARTS)), ("LiME", lime(PARTS))])
def test_ram_that_was_copied_is_shared(tmp_path: Path, kind: str, data: bytes) -> None:
    (tmp_path / "dump").write_bytes(data)
    descriptors = open_files()
    steps: list[float] = []
    opened = open_dump_ram(tmp_path / "dump", progress=lambda _text, share: steps.append(share))
    assert (opened.kind, opened.truncated, opened.ram.size_bytes) == (kind, False, 10 * 4096)
    assert steps[-1] == 1.0
    reader = PhysicalReader(opened.ram)
    for paddr, size in PARTS.items():
        assert reader.read(paddr, size) == content(paddr, size)
    seen = subprocess.run(
        [sys.executable, "-c", "import sys; sys.stdout.buffer.write(open(sys.argv[1], 'rb').read())", opened.ram.path],
        check=True,
        stdout=subprocess.PIPE,
    ).stdout
    assert seen == opened.ram.bytes.tobytes()
    assert opened.ram.allocated_extents() == [(0, 10 * 4096)]
    # Nobody can make the file shorter under the mapping, which would end the program.
    with pytest.raises(OSError, match="not permitted"):
        os.truncate(opened.ram.path, 4096)
    del reader
    opened.ram.close()
    assert not open_files() - descriptors


def test_a_raw_dump_is_its_own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "raw").write_bytes(content(7, 3 * 4096) + b"rest")
    monkeypatch.chdir(tmp_path)
    opened = open_dump_ram(Path("raw"))
    assert (opened.kind, opened.truncated, opened.ram.n_pages) == ("raw", True, 3)
    assert opened.ram.path == tmp_path / "raw", "other processes have another working directory"
    assert opened.ram.bytes.tobytes() == content(7, 3 * 4096)
    opened.ram.close()


def test_what_is_no_dump_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    descriptors = open_files()
    with pytest.raises(DumpNotFound, match="Check its path"):
        open_dump_ram(tmp_path / "none")
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(MapFailed, match="not a regular file"):
            open_dump_ram(path)
    (tmp_path / "odd").write_bytes(elf_core({0x1000: 8192, 0x2000: 4096}))
    with pytest.raises(GuestMemoryError, match="overlap"):
        open_dump_ram(tmp_path / "odd")
    (tmp_path / "short").write_bytes(b"x")
    with pytest.raises(MapFailed, match="less than one page"):
        open_dump_ram(tmp_path / "short")
    assert not open_files() - descriptors
