"""Folders as the dialog lists them: in order, bounded, and never an exception."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app import file_list
from app.file_list import folder_of, list_folder


def test_folders_come_first_then_files_by_name(tmp_path: Path) -> None:
    for name, data in (("b.raw", b"12345"), ("A.core", b"1"), (".hidden", b"")):
        (tmp_path / name).write_bytes(data)
    (tmp_path / "zoo").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    (tmp_path / os.fsdecode(b"bad\xff")).write_bytes(b"x")
    listing = list_folder(tmp_path)
    assert [(e.name, e.is_folder, e.size_bytes) for e in listing.entries] == [
        ("zoo", True, 0),
        ("A.core", False, 1),
        ("b.raw", False, 5),
        ("bad?", False, 1),
    ]
    assert not listing.problem
    assert not listing.cut


def test_what_cannot_be_listed_is_said(tmp_path: Path) -> None:
    assert "cannot be listed" in list_folder(tmp_path / "none").problem


def test_a_folder_of_any_size_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_list, "MAX_ENTRIES", 5)
    for index in range(9):
        (tmp_path / str(index)).touch()
    listing = list_folder(tmp_path)
    assert len(listing.entries) == 5
    assert listing.cut


def test_the_folder_of_what_is_typed(tmp_path: Path) -> None:
    assert folder_of(str(tmp_path)) == tmp_path
    assert folder_of(f"{tmp_path}/") == tmp_path
    assert folder_of(f"{tmp_path}/half-ty") == tmp_path
