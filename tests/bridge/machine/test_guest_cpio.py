"""The initramfs writer, read back by GNU cpio and by busybox's."""

import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.machine import cpio

_NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=20).filter(
    lambda name: name not in (".", "..") and len(name.encode()) < 200 and name != "TRAILER!!!"
)


def _unpack(archive: bytes, directory: Path, tool: tuple[str, ...]) -> None:
    directory.mkdir()
    subprocess.run([*tool, "-idmu"], input=archive, cwd=directory, check=True, capture_output=True)


@pytest.mark.parametrize("tool", [("cpio",), ("busybox", "cpio")], ids=["gnu", "busybox"])
def test_other_programs_read_what_was_written(tool: tuple[str, ...], tmp_path: Path) -> None:
    archive = cpio.write_archive(
        [
            cpio.file("usr/bin/tool", b"#!/bin/sh\n", 0o755),
            cpio.directory("usr/bin", 0o700),
            cpio.symlink("init", "usr/bin/tool"),
            cpio.file("empty", b""),
            *(cpio.file(f"sizes/{size}", bytes(size)) for size in range(9)),
        ]
    )
    root = tmp_path / "root"
    _unpack(archive, root, tool)
    assert (root / "usr/bin/tool").read_bytes() == b"#!/bin/sh\n"
    assert stat.S_IMODE((root / "usr/bin/tool").stat().st_mode) == 0o755
    assert stat.S_IMODE((root / "usr/bin").stat().st_mode) == 0o700
    assert (root / "init").readlink() == Path("usr/bin/tool")
    assert [(root / "sizes" / str(size)).stat().st_size for size in range(9)] == list(range(9))


def test_device_nodes_are_listed_with_their_numbers() -> None:
    archive = cpio.write_archive([cpio.character_device("dev/console", 5, 1)])
    listing = subprocess.run(["cpio", "-itv"], input=archive, capture_output=True, check=True).stdout.decode()
    assert any(
        line.startswith("crw-------") and "5,   1" in line and "dev/console" in line for line in listing.split("\n")
    )


@given(st.dictionaries(st.lists(_NAMES, min_size=1, max_size=3).map("/".join), st.binary(max_size=99), max_size=8))
def test_the_archive_is_a_function_of_its_content(files: dict[str, bytes]) -> None:
    """In whatever order; every file is found by a reader that follows the format's description."""
    entries = [cpio.file(path, data) for path, data in files.items()]
    if any(path.startswith(f"{other}/") for path in files for other in files):
        return  # a file cannot be a directory as well
    archive = cpio.write_archive(entries)
    assert archive == cpio.write_archive(reversed(entries))
    found, position, inodes = {}, 0, []
    while True:
        assert archive[position : position + 6] == b"070701"
        fields = [int(archive[position + 6 + 8 * i : position + 14 + 8 * i], 16) for i in range(13)]
        name_end = position + 110 + fields[11]
        name = archive[position + 110 : name_end - 1].decode()
        data_start = (name_end + 3) & ~3
        data = archive[data_start : data_start + fields[6]]
        position = (data_start + fields[6] + 3) & ~3
        if name == "TRAILER!!!":
            break
        inodes.append(fields[0])
        if stat.S_ISREG(fields[1]):
            found[name] = data
        else:
            assert not data
            assert any(path.startswith(f"{name}/") for path in files)
        if "/" in name:
            assert name.rpartition("/")[0] not in found
    assert position == len(archive)
    assert found == files
    assert len(set(inodes)) == len(inodes)


@pytest.mark.parametrize("path", ["", "/etc", "a/../b", "..", "a\0b"])
def test_a_path_that_leads_out_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="no path inside an archive"):
        cpio.write_archive([cpio.file(path, b"")])


def test_the_same_path_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        cpio.write_archive([cpio.file("a", b"1"), cpio.file("a", b"2")])
    with pytest.raises(ValueError, match="twice"):
        cpio.write_archive([cpio.file("a/b", b"1"), cpio.file("a", b"2")])
    cpio.write_archive([cpio.directory("a"), cpio.directory("a", 0o700)])
