"""The feeder: what is seen is written, once; what went wrong is said, and made good when it goes again."""

from __future__ import annotations

import contextlib
import logging
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bridge.kernel.census.records import Census
from bridge.kernel.desk import Answer
from bridge.semantic.store import feeder as feeding
from bridge.semantic.store.errors import StoreFull
from bridge.semantic.store.feeder import Feeder, Watched
from bridge.semantic.store.reader import ReadOnly
from bridge.semantic.store.writer import Store
from tests.bridge.semantic.store.made_up import census, row, symbols


class Watching:
    """Looks at a machine that is made up: one more process at each look."""

    def __init__(self, *, n_pending: int = 0, answers: bool = True) -> None:
        self.n_seen = 0
        self.number = 0
        self.told_of = 0
        self.n_pending = n_pending
        self.answers = answers
        self.problem = ""
        self.asked: list[tuple[str, tuple[Any, ...]]] = []

    def look(self) -> None:
        self.n_seen += 1

    def ask(self, name: str, *arguments: Any) -> int:
        self.asked.append((name, arguments))
        return len(self.asked)

    def wait_for(self, number: int, timeout_s: float) -> Answer | None:
        if not self.answers:
            time.sleep(min(timeout_s, 0.01))
            return None
        name, arguments = self.asked[number - 1]
        if self.problem:
            return Answer(number, None, self.problem)
        value = symbols(("a", 0x1000, "t"), ("b", 0x2000, "t")) if name == "symbol_table" else self._census(*arguments)
        return Answer(number, value, taken_s=time.monotonic(), took_s=0.0)

    def _census(self, known: int) -> Census:
        since = known if known == self.number else 0
        self.number += 1
        first = self.told_of if since else 0
        rows = [row("processes", pid) for pid in range(first, self.n_seen)]
        self.told_of = self.n_seen
        made = census(self.number, since, {"processes": (rows, [])})
        pending, self.n_pending = self.n_pending, max(0, self.n_pending - 1)
        return replace(made, taken_s=time.monotonic(), n_pending=pending)


def until(done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 120
    while not done():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


@pytest.fixture
def machines() -> dict[str, Watched]:
    return {}


@pytest.fixture
def feeder(tmp_path: Path, machines: dict[str, Watched], monkeypatch: pytest.MonkeyPatch) -> Iterator[Feeder]:
    monkeypatch.setattr(feeding, "_PAUSE_S", 0.05)
    monkeypatch.setattr(feeding, "_FORGET_EVERY_S", 0.05)
    made = Feeder(lambda: dict(machines), folder=tmp_path)
    made.start()
    yield made
    made.close()


def asked(feeder: Feeder, sql: str) -> tuple[tuple[Any, ...], ...]:
    assert feeder.path is not None
    with ReadOnly(feeder.path) as store:
        return store.query(sql).rows


def processes(feeder: Feeder) -> dict[str, int]:
    rows = asked(feeder, "SELECT machine, count(*) FROM now_processes GROUP BY 1")
    return dict(rows)


def test_looks_are_written_as_they_come(feeder: Feeder, machines: dict[str, Watched], tmp_path: Path) -> None:
    time.sleep(0.3)
    assert list(tmp_path.iterdir()) == []  # nothing is known: no file is made
    one, two = Watching(), Watching()
    one.look()
    machines |= {"one": Watched(one, 4096, False), "two": Watched(two, 8192, True)}
    until(lambda: feeder.n_written >= 1, "the first look")
    assert processes(feeder) == {"one": 1}
    one.look()
    two.look()
    until(lambda: feeder.path is not None and processes(feeder) == {"one": 2, "two": 1}, "the next looks")
    # Only what changed was told, and written once.
    assert [arguments for name, arguments in one.asked if name == "census"] == [(0,), (1,)]
    assert asked(feeder, "SELECT count(*) FROM processes") == ((3,),)
    assert asked(feeder, "SELECT name, ram_bytes, is_dump FROM machines ORDER BY 1") == (
        ("one", 4096, 0),
        ("two", 8192, 1),
    )
    until(
        lambda: asked(feeder, "SELECT count(*) FROM symbols") == ((2,),), "symbols, once for two machines of a kernel"
    )
    assert [name for name, _ in (*one.asked, *two.asked)].count("symbol_table") == 1
    n_asked = len(one.asked)
    time.sleep(0.4)
    assert len(one.asked) == n_asked  # nothing was looked at: nothing is asked
    feeder.close()
    assert processes(feeder) == {"one": 2, "two": 1}  # what was known last


def test_a_machine_that_goes_is_closed_and_one_of_its_name_is_another(
    feeder: Feeder, machines: dict[str, Watched]
) -> None:
    first = Watching()
    first.look()
    machines["demo"] = Watched(first, 1, False)
    until(lambda: feeder.n_written == 1, "the first")
    second = Watching()
    second.look()
    machines["demo"] = Watched(second, 1, False)
    until(lambda: feeder.n_written == 2, "the second")
    del machines["demo"]
    until(lambda: asked(feeder, "SELECT count(gone_s) FROM machines") == ((2,),), "both should be gone")
    assert processes(feeder) == {}
    found = asked(feeder, "SELECT machine_id, valid_to > valid_from FROM processes")
    assert found == ((1, 1), (2, 1))


def test_names_that_there_was_no_time_for_are_asked_for_again(feeder: Feeder, machines: dict[str, Watched]) -> None:
    still = Watching(n_pending=2)
    still.look()
    machines["dump"] = Watched(still, 1, True)
    until(lambda: feeder.n_written == 3, "until all is told")
    time.sleep(0.3)
    assert feeder.n_written == 3


def test_after_a_failure_everything_is_told_again(
    feeder: Feeder, machines: dict[str, Watched], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one = Watching()
    one.look()
    machines["one"] = Watched(one, 1, False)
    until(lambda: feeder.n_written == 1, "the first")
    full = threading.Event()
    full.set()
    write = Store.write

    def fails(self: Store, *arguments: Any) -> int:
        if full.is_set():
            raise StoreFull(self.path, "the disk is full")
        return write(self, *arguments)

    monkeypatch.setattr(Store, "write", fails)
    one.look()
    until(lambda: "the disk is full" in feeder.problem, "the failure should be said")
    one.look()
    time.sleep(0.3)
    full.clear()
    until(lambda: feeder.n_written == 2, "it should go on")
    assert feeder.problem == ""
    assert processes(feeder) == {"one": 3}
    told = [record for record in caplog.records if "disk is full" in record.getMessage()]
    assert len(told) == 1


def test_what_cannot_be_read_is_logged_once(
    feeder: Feeder, machines: dict[str, Watched], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    one = Watching()
    one.problem = "There is no kernel."
    machines["one"] = Watched(one, 1, False)
    for _ in range(3):
        one.look()
        until(lambda: len(one.asked) == one.n_seen, "it should be asked")
    until(lambda: caplog.text.count("There is no kernel.") > 0, "it should be logged")
    assert caplog.text.count("There is no kernel.") == 1
    assert feeder.n_written == 0


@pytest.mark.parametrize("how", ["removed", "replaced", "with its folder"])
def test_a_database_that_is_taken_away_is_followed_by_another(
    how: str, feeder: Feeder, machines: dict[str, Watched], tmp_path: Path
) -> None:
    one = Watching()
    one.look()
    machines["one"] = Watched(one, 1, False)
    until(lambda: feeder.n_written == 1, "the first look")
    first = feeder.path
    assert first is not None
    if how == "with its folder":
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()
    else:
        first.unlink()
    if how == "replaced":
        first.write_bytes(b"somebody else's")
    one.look()
    until(lambda: feeder.path not in (None, first), "another database")
    assert processes(feeder) == {"one": 2}  # all is told anew: nothing of the first is needed
    until(lambda: asked(feeder, "SELECT count(*) FROM symbols") == ((2,),), "the symbols, anew")
    if how == "replaced":
        assert first.read_bytes() == b"somebody else's"


def empty_log(database: Path) -> None:
    """Have all that the log holds in the file: what is damaged there is not read as long as the log has it."""
    with contextlib.closing(sqlite3.connect(database)) as another:
        until(lambda: another.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0, "the log, emptied")


@pytest.mark.parametrize("how", ["its head", "its pages", "its end"])
def test_a_database_that_is_damaged_in_place_is_set_aside_and_followed_by_another(
    how: str, feeder: Feeder, machines: dict[str, Watched], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = Watching()
    one.look()
    machines["one"] = Watched(one, 1, False)
    until(lambda: feeder.n_written == 1, "the first look")
    first = feeder.path
    assert first is not None
    empty_log(first)
    size = first.stat().st_size
    with first.open("r+b") as file:
        if how == "its end":
            file.truncate(size // 2 + 100)
        else:
            begin, length = (0, 100) if how == "its head" else (100, size - 100)
            file.seek(begin)
            file.write(bytes(byte ^ 0x5A for byte in first.read_bytes()[begin : begin + length]))
    until(lambda: "set aside" in caplog.text, "it should be noticed without a look")
    one.look()
    until(lambda: feeder.path not in (None, first), "another database")
    assert processes(feeder) == {"one": 2}
    assert not first.exists()
    assert [path.name for path in tmp_path.glob("*.db.damaged")] == [f"{first.name}.damaged"]
    assert caplog.text.count("set aside as") == 1
    assert feeder.problem == ""


def test_a_damaged_database_that_cannot_be_set_aside_is_left_all_the_same(
    feeder: Feeder, machines: dict[str, Watched], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(path: Path) -> Path:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(feeding, "set_aside", refused)
    one = Watching()
    one.look()
    machines["one"] = Watched(one, 1, False)
    until(lambda: feeder.n_written == 1, "the first look")
    first = feeder.path
    assert first is not None
    empty_log(first)
    with first.open("r+b") as file:
        file.write(b"x" * first.stat().st_size)
    until(lambda: "Nor can it be set aside" in caplog.text, "it should be said")
    one.look()
    until(lambda: feeder.path not in (None, first), "another database")
    assert processes(feeder) == {"one": 2}


def test_it_ends_while_it_waits_for_an_answer(feeder: Feeder, machines: dict[str, Watched]) -> None:
    silent = Watching(answers=False)
    silent.look()
    machines["silent"] = Watched(silent, 1, False)
    until(lambda: len(silent.asked) == 1, "it should be asked")
    feeder.close()
    assert not feeder._thread.is_alive()
    assert feeder.path is None


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    one = Watching()
    one.look()
    made = Feeder(lambda: {"one": Watched(one, 1, False)}, folder=tmp_path / "nowhere")
    made.start()
    until(lambda: made.problem != "", "it should be said")
    assert "nowhere" in made.problem
    made.close()
