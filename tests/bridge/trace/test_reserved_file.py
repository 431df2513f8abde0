"""A file with room that is reserved: whole or not there, whatever the disk and the directory do."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from bridge.trace.errors import TraceError
from bridge.trace.reserved_file import DiskFull, ReservedFile


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One that nobody else writes to."""
    own = tmp_path / "own"
    own.mkdir()
    return own


def refusing(number: int, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def refuse(*_arguments: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, refuse)


def test_what_was_reserved_and_not_used_is_given_back(folder: Path) -> None:
    file = ReservedFile(folder / "x")
    file.reserve(1000)
    assert not (folder / "x").exists(), "it has another name until it is whole"
    assert file.write(b"abc") == 3
    assert (file.tell(), file.writable(), file.seekable()) == (3, True, False)
    file.keep()
    file.discard()  # what was kept stays
    assert (folder / "x").read_bytes() == b"abc"
    assert [path.name for path in folder.iterdir()] == ["x"]


def test_what_is_discarded_leaves_nothing_behind(folder: Path) -> None:
    file = ReservedFile(folder / "x")
    file.write(b"abc")
    file.discard()
    file.discard()
    assert file.write(b"more") == 4, "who writes on ends his work anyway"
    assert not list(folder.iterdir())


def test_where_room_cannot_be_reserved_writing_tells(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = ReservedFile(folder / "x")
    refusing(errno.EOPNOTSUPP, monkeypatch, "posix_fallocate")
    file.reserve(1 << 40)
    file.write(b"abc")
    file.keep()
    assert (folder / "x").read_bytes() == b"abc"


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOSPC, DiskFull), (errno.EFBIG, DiskFull), (errno.EIO, TraceError)]
)
@pytest.mark.parametrize("call", ["posix_fallocate", "pwrite", "ftruncate"])
def test_a_disk_that_fails_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception], call: str
) -> None:
    file = ReservedFile(folder / "x")
    file.write(b"abc")
    with monkeypatch.context() as patch:
        refusing(number, patch, call)
        with pytest.raises(kind, match="no more room for" if kind is DiskFull else "cannot be written") as caught:
            {"posix_fallocate": lambda: file.reserve(10), "pwrite": lambda: file.write(b"d"), "ftruncate": file.keep}[
                call
            ]()
    assert type(caught.value) is kind
    file.discard()
    assert not list(folder.iterdir())


def test_a_place_that_is_none_is_refused(folder: Path) -> None:
    with pytest.raises(TraceError, match="no regular file"):
        ReservedFile(folder)
    with pytest.raises(TraceError, match="cannot be written: No such file or directory"):
        ReservedFile(folder / "none" / "x")
    file = ReservedFile(folder / "x")
    (folder / "x").mkdir()
    with pytest.raises(TraceError, match="cannot be written"):
        file.keep()
