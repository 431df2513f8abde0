"""Paths as people write them, and files that are none."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from bridge.machine.plain_files import NoSuchHome, home_or_plain, open_plain, user_path


def test_a_home_is_found_and_one_that_is_not_there_is_a_plain_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    assert user_path("~/x") == home_or_plain("~/x") == Path("/somewhere/x")
    assert user_path("a/~b") == Path("a/~b")
    with pytest.raises(NoSuchHome, match="there is no such home: '~nobody-of-that-name/x'") as caught:
        user_path("~nobody-of-that-name/x")
    assert isinstance(caught.value, OSError)
    assert home_or_plain("~nobody-of-that-name/x") == Path("~nobody-of-that-name/x")


def test_only_plain_files_are_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    with open_plain(tmp_path / "file") as file:
        assert file.read() == b"content"
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        for name in ("pipe", "socket", ".", "nothing"):
            with pytest.raises(OSError, match=r"no plain file|directory|No such"):
                open_plain(tmp_path / name)
    with pytest.raises(OSError, match="no plain file"):
        open_plain(Path("/dev/zero"))
