"""The runtime directory is private or refused; the others follow the XDG base directory specification."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from app.settings import Settings, load_settings, save_settings
from bridge.machine import directories
from bridge.machine.errors import NoDirectory, UnsafeDirectory


@pytest.mark.parametrize(
    ("variable", "function"),
    [
        ("XDG_CACHE_HOME", directories.cache_dir),
        ("XDG_CONFIG_HOME", directories.config_dir),
        ("XDG_STATE_HOME", directories.state_dir),
        ("XDG_RUNTIME_DIR", directories.runtime_dir),
    ],
)
def test_directory_follows_its_variable_and_is_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, function: Callable[[], Path]
) -> None:
    monkeypatch.setenv(variable, str(tmp_path))
    path = function()
    assert path == tmp_path / "glassbox"
    assert path.is_dir()
    assert function() == path


@pytest.mark.parametrize(
    ("variable", "function", "below_home"),
    [
        ("XDG_CACHE_HOME", directories.cache_dir, ".cache/glassbox"),
        ("XDG_CONFIG_HOME", directories.config_dir, ".config/glassbox"),
        ("XDG_STATE_HOME", directories.state_dir, ".local/state/glassbox"),
    ],
)
@pytest.mark.parametrize("value", ["", "relative/path"])
def test_unset_or_relative_variable_means_the_default(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    variable: str,
    function: Callable[[], Path],
    below_home: str,
    value: str,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(variable, value)
    assert function() == tmp_path / below_home


def test_runtime_directory_is_private_even_when_it_was_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "glassbox").mkdir()
    (tmp_path / "glassbox").chmod(0o755)
    assert stat.S_IMODE(directories.runtime_dir().stat().st_mode) == 0o700


def test_runtime_directory_without_a_session_is_per_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    checked: list[Path] = []

    def private_dir(path: Path) -> Path:
        checked.append(path)
        return path

    monkeypatch.setattr(directories, "private_dir", private_dir)
    assert directories.runtime_dir() == Path(f"/tmp/glassbox-{os.getuid()}")
    assert checked == [Path(f"/tmp/glassbox-{os.getuid()}")]


def test_planted_symlink_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnsafeDirectory, match="symbolic link"):
        directories.private_dir(tmp_path / "link")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UnsafeDirectory, match="symbolic link"):
        directories.private_dir(tmp_path / "dangling")


def test_file_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UnsafeDirectory, match="not a directory"):
        directories.private_dir(tmp_path / "file")


def test_missing_parent_is_told(tmp_path: Path) -> None:
    with pytest.raises(UnsafeDirectory, match="cannot be made"):
        directories.private_dir(tmp_path / "missing" / "glassbox")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a directory away")
def test_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 65534, 65534)
    with pytest.raises(UnsafeDirectory, match="belongs to user 65534"):
        directories.private_dir(tmp_path / "theirs")


@pytest.mark.parametrize(
    ("variable", "function"), [("XDG_CACHE_HOME", directories.cache_dir), ("XDG_STATE_HOME", directories.state_dir)]
)
def test_a_folder_that_cannot_be_made_says_which_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, function: Callable[[], Path]
) -> None:
    (tmp_path / "file").touch()  # no folder can be made in it, also by root
    monkeypatch.setenv(variable, str(tmp_path / "file"))
    with pytest.raises(NoDirectory, match=f"file/glassbox cannot be made: Not a directory.*{variable}") as caught:
        function()
    assert isinstance(caught.value, OSError)
    assert caught.value.filename == str(tmp_path / "file" / "glassbox")


def test_without_a_folder_of_settings_all_is_as_it_comes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    folder = directories.config_dir()
    assert folder == tmp_path / "file" / "glassbox"
    settings, problem = load_settings(folder)
    assert settings == Settings()
    assert problem is not None
    assert "Not a directory" in problem
    with pytest.raises(OSError, match="Not a directory"):
        save_settings(folder, Settings())
