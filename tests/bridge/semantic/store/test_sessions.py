"""Sessions: each window has its own, old ones go, and one that is written now never does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bridge.machine.errors import UnsafeDirectory
from bridge.semantic.store.sessions import Kept, OpenSession, remove_old, sessions, sessions_dir

_ROOT = Path(__file__).resolve().parents[4]


def made(folder: Path, name: str, size_bytes: int = 100) -> Path:
    path = folder / f"{name}.db"
    path.write_bytes(b"x" * size_bytes)
    path.with_suffix(".lock").touch()
    return path


def test_two_windows_have_two_databases(tmp_path: Path) -> None:
    first, second = OpenSession(tmp_path), OpenSession(tmp_path)
    assert first.path != second.path
    first.path.touch()
    second.path.touch()
    assert [session.path for session in sessions(tmp_path)] == [second.path, first.path]
    assert all(session.is_open for session in sessions(tmp_path))
    first.close()
    first.close()
    assert [session.is_open for session in sessions(tmp_path)] == [True, False]
    second.close()


def test_the_newest_are_kept_by_count_and_by_size(tmp_path: Path) -> None:
    paths = [made(tmp_path, f"2026010{day}T000000.000000Z-1") for day in range(1, 7)]
    for ending in ("-wal", "-shm"):
        paths[0].with_name(paths[0].name + ending).write_bytes(b"x" * 50)
    assert [session.size_bytes for session in sessions(tmp_path)] == [100] * 5 + [200]
    assert remove_old(Kept(count=4, max_bytes=1000), tmp_path) == 2
    assert [session.path for session in sessions(tmp_path)] == paths[:1:-1]
    assert remove_old(Kept(count=4, max_bytes=250), tmp_path) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        name for path in paths[4:] for name in (path.name, path.with_suffix(".lock").name)
    )
    assert remove_old(Kept(count=4, max_bytes=250), tmp_path) == 0


def test_what_is_written_now_stays_however_old(tmp_path: Path) -> None:
    opened = OpenSession(tmp_path)
    opened.path.write_bytes(b"x" * 1000)
    newer = made(tmp_path, "99990101T000000.000000Z-1")
    assert remove_old(Kept(count=1, max_bytes=10), tmp_path) == 1  # the newer one is too large, and nobody's
    assert not newer.exists()
    assert opened.path.exists()
    opened.close()
    assert remove_old(Kept(count=1, max_bytes=10), tmp_path) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_window_that_had_nothing_to_write_leaves_nothing(tmp_path: Path) -> None:
    held, left = OpenSession(tmp_path), OpenSession(tmp_path)
    left.close()
    assert remove_old(Kept(), tmp_path) == 0
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]
    assert held.path.with_suffix(".lock").exists()
    held.close()


def test_a_session_whose_window_was_killed_is_an_old_one(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from bridge.semantic.store.sessions import OpenSession\n"
        "session = OpenSession(Path(sys.argv[1])); session.path.touch(); print('held', flush=True); sys.stdin.read()"
    )
    window = subprocess.Popen(
        [sys.executable, "-P", "-c", code, str(tmp_path)],
        cwd=_ROOT,
        env={"PYTHONPATH": str(_ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert window.stdout is not None
    assert window.stdin is not None
    assert window.stdout.readline() == "held\n"
    assert sessions(tmp_path)[0].is_open
    window.kill()
    window.wait()
    assert not sessions(tmp_path)[0].is_open
    window.stdout.close()
    window.stdin.close()


def test_the_folder_is_the_users_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    folder = sessions_dir()
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.rmdir()
    folder.symlink_to(tmp_path)
    with pytest.raises(UnsafeDirectory):
        sessions_dir()
