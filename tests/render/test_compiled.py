"""Where compiled loops are kept, that old ones go, and that a store never waits for them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from render import brick_upload, compiled, warm_up
from render.brick_upload import Loops, in_threads

ROOT = Path(__file__).resolve().parents[2]


def test_kept_code_changes_its_place_with_every_source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A threshold in another file is compiled in: numba alone would go on with the old one."""
    for name in compiled._SOURCES:
        (tmp_path / f"{name}.py").write_text("1")
    monkeypatch.setattr(compiled, "_HERE", tmp_path)
    places = {compiled.kept_code_dir()}
    for name in compiled._SOURCES:
        (tmp_path / f"{name}.py").write_text("2")
        places.add(compiled.kept_code_dir())
    assert len(places) == 1 + len(compiled._SOURCES)
    assert all(place.parent == tmp_path / "__pycache__" for place in places)


def test_a_source_that_cannot_be_written_beside_uses_the_users_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert compiled.kept_code_dir().parent == tmp_path / "glassbox" / "compiled"
    monkeypatch.setenv("XDG_CACHE_HOME", "not absolute")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert compiled.kept_code_dir().parent == tmp_path / ".cache" / "glassbox" / "compiled"


def test_old_code_is_forgotten(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    current = tmp_path / "render-loops-now"
    for place in (current, tmp_path / "render-loops-old", tmp_path / "loops-of-another-room"):
        place.mkdir()
    monkeypatch.setattr(compiled, "kept_code_dir", lambda: current)
    compiled.forget_old_code()
    assert sorted(place.name for place in tmp_path.iterdir()) == ["loops-of-another-room", "render-loops-now"]


def test_without_any_directory_loops_still_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise RuntimeError("no locator available")

    monkeypatch.setattr(compiled, "kept_code_dir", nowhere)

    def add(a: int, b: int) -> int:
        return a + b

    assert compiled.compiled(add)(2, 3) == 5


def test_warming_up_leaves_code_for_the_next_process(tmp_path: Path) -> None:
    """What the set-up runs: afterwards a process that loads the loops compiles nothing."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", "render.warm_up"], cwd=tmp_path, env=environment, check=True)
    ask = (
        "from render.brick_upload import loops; loop = loops.wait();"
        "print(sum(loop.stats.cache_hits.values()), sum(loop.stats.cache_misses.values()))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", ask], cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
    )
    assert answer.stdout.split() == ["1", "0"]


def test_warm_up_is_quick_the_second_time() -> None:
    warm_up.warm_up()
    assert brick_upload.loops.ready() is not None


def test_what_went_wrong_with_the_loops_is_told_to_who_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else notices: the shader does the work."""
    fresh = Loops()
    monkeypatch.setitem(sys.modules, "render.classify", None)
    with pytest.raises(ImportError):
        fresh.wait()
    assert fresh.ready() is None
    fresh.start()
    with pytest.raises(ImportError):
        fresh.wait()


@pytest.mark.parametrize("n_pages", [0, 1, 127, 128, 129, 1000, 2048])
def test_threads_do_each_page_once(n_pages: int) -> None:
    done = np.zeros(n_pages, int)
    names = set()

    def work(begin: int, end: int) -> None:
        done[begin:end] += 1
        names.add(threading.current_thread().name)

    in_threads(work, n_pages)
    assert (done == 1).all()
    if n_pages <= 128:
        assert names == {threading.current_thread().name}, "a few pages are not worth a thread"


def test_a_failure_in_a_thread_is_the_callers() -> None:
    def work(begin: int, end: int) -> None:
        raise MemoryError(f"{begin}")

    with pytest.raises(MemoryError):
        in_threads(work, 1000)
