"""Colours of processes: the same while they live and in every run, far from each other, one each."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from app.colour_book import FILE, MAX_EACH, MAX_NAMES, ColourBook
from app.panels.highlights import rgba_of
from app.process_colours import N_COLOURS, ProcessColours, process_palette, wishes
from bridge.kernel.tasks import Tasks
from bridge.kernel.worker import Assignment, Watch
from bridge.memory.physical_map import PhysicalMap


@pytest.fixture(scope="module")
def seen(demo_dump: Path) -> Tasks:
    """The processes of a demo guest."""
    watch = Watch(Assignment(demo_dump, PhysicalMap.flat(demo_dump.stat().st_size), 0.0, 1.0))
    found = watch.look().processes
    watch.ram.close()
    assert found is not None
    return found


def tasks(seen: Tasks, *rows: tuple[int, str, int], rss: int = 4096) -> Tasks:
    """Processes by number, name and start."""
    numbers = np.arange(len(rows))
    like = seen.chosen(np.zeros(len(rows), np.int64))
    return dataclasses.replace(
        like,
        pids=np.array([row[0] for row in rows], np.int64),
        names=tuple(row[1] for row in rows),
        start_ns=np.array([row[2] for row in rows], np.int64),
        rss_bytes=np.full(len(rows), rss) - numbers,
    )


def test_a_process_keeps_its_colour_while_it_lives(seen: Tasks) -> None:
    colours = ProcessColours()
    first = colours.follow(tasks(seen, (1, "init", 1), (40, "sh", 5), (41, "sh", 6), (42, "sshd", 9)))
    assert len(set(first.values())) == 4
    after = colours.follow(tasks(seen, (42, "sshd", 9), (41, "sh", 6), (50, "sh", 20), (1, "init", 1)))
    assert {pid: after[pid] for pid in (1, 41, 42)} == {pid: first[pid] for pid in (1, 41, 42)}
    assert 40 not in after
    again = colours.follow(tasks(seen, (1, "other", 99)))
    assert again[1] == wishes("other")[0], "another process that has the number of one that ended"
    assert colours.colour_of(42) is None


def test_the_same_program_has_the_same_colour_in_every_run(seen: Tasks) -> None:
    rows = [(pid, name, pid) for pid, name in ((1, "init"), (30, "getty"), (77, "sshd"), (90, "bash"))]
    one, other = ProcessColours(), ProcessColours()
    assert one.follow(tasks(seen, *rows)) == other.follow(tasks(seen, *rows[::-1])), "in whatever order they are listed"
    alone = ProcessColours().follow(tasks(seen, (5, "sshd", 1)))
    assert alone[5] == wishes("sshd")[0] == ProcessColours().follow(tasks(seen, (912, "sshd", 8)))[912]
    colour = one.colour_of(77)
    assert colour is not None
    assert rgba_of(colour)[:3] == pytest.approx(process_palette()[one.follow(tasks(seen, *rows))[77]], abs=1 / 255)


def test_colours_are_far_apart_and_never_shared(seen: Tasks) -> None:
    palette = process_palette()
    assert palette.shape == (N_COLOURS, 3)
    assert len(np.unique(np.round(palette * 255), axis=0)) == N_COLOURS
    few = ProcessColours().follow(tasks(seen, *[(pid, f"program {pid}", pid) for pid in range(1, 13)]))
    shown = palette[list(few.values())]
    apart = np.abs(shown[:, None] - shown[None]).sum(axis=2)
    assert apart[~np.eye(len(shown), dtype=bool)].min() > 0.12
    many = ProcessColours().follow(tasks(seen, *[(pid, "same", pid) for pid in range(1, 400)], rss=4096 * 400))
    assert len(many) == N_COLOURS
    assert sorted(many.values()) == list(range(N_COLOURS))
    assert set(many) == set(range(1, N_COLOURS + 1)), "the largest have them"


def test_only_what_has_memory_of_its_own_has_a_colour(seen: Tasks) -> None:
    colours = ProcessColours()
    found = colours.follow(seen)
    own = {int(pid) for pid, rss in zip(seen.pids, seen.rss_bytes, strict=True) if rss > 0}
    assert set(found) == own
    assert 0 < len(own) < len(seen)
    for name in ("\x1b[31m", "\udcff", "", "x" * 1000):
        assert len(wishes(name)) > 10


def two_alike() -> tuple[str, str]:
    """Programs whose names give the same colour."""
    by_wish: dict[int, str] = {}
    for number in range(10_000):
        name = f"program {number}"
        if (other := by_wish.setdefault(wishes(name)[0], name)) != name:
            return other, name
    raise AssertionError


def test_what_gave_way_has_the_same_colour_in_the_next_run_whoever_comes_first(seen: Tasks, tmp_path: Path) -> None:
    first, second = two_alike()
    before = ColourBook()
    assert before.load(tmp_path) is None
    given = ProcessColours(before).follow(tasks(seen, (1, first, 1), (2, second, 2), (3, first, 3)))
    assert len(set(given.values())) == 3
    before.save()
    book = ColourBook()
    assert book.load(tmp_path) is None
    after = ProcessColours(book).follow(tasks(seen, (8, second, 1), (9, first, 2)))
    assert after == {8: given[2], 9: given[1]}
    alone = ProcessColours(book).follow(tasks(seen, (5, second, 7)))
    assert alone == {5: given[2]}, "also where there is nobody to give way to"
    many = ProcessColours(book).follow(tasks(seen, *[(pid, first, pid) for pid in range(1, 60)]))
    assert len(set(many.values())) == 59, "no two share one"


def test_a_book_is_bounded_written_seldom_and_set_aside_when_it_is_damaged(tmp_path: Path) -> None:
    book = ColourBook()
    book.load(tmp_path)
    for number in range(MAX_NAMES + 50):
        book.note(f"\x1b{number}\udcff", 3)
    for place in range(MAX_EACH + 5):
        book.note("\x1b0\udcff", place)
    assert book.given("\x1b0\udcff")[:2] == (3, 0)
    assert len(book.given("\x1b0\udcff")) == MAX_EACH
    assert book.given(f"\x1b{MAX_NAMES}\udcff") == ()
    book.pump(10.0)
    book.pump(10.5)
    assert not (tmp_path / FILE).exists(), "a guest that starts is one write"
    book.pump(20.0)
    kept = (tmp_path / FILE).stat()
    book.pump(40.0)
    assert (tmp_path / FILE).stat().st_mtime_ns == kept.st_mtime_ns, "nothing is new"
    again = ColourBook()
    assert again.load(tmp_path) is None
    assert again.given("\x1b1\udcff") == (3,)
    for broken in ("{", "[]", '{"a": [999]}', '{"a": 3}', '{"a": [true]}'):
        (tmp_path / FILE).write_text(broken)
        reader, owner = ColourBook(), ColourBook()
        assert reader.load(tmp_path, keep=False) is None
        assert (tmp_path / FILE).exists(), "who only reads leaves it"
        problem = owner.load(tmp_path)
        assert problem is not None
        assert not (tmp_path / FILE).exists()
        assert owner.given("a") == ()
