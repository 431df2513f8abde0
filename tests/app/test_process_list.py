"""The list of processes: every row once, parents above children, filters and folds, whatever a guest claims."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import process_list
from app.panels.kernel_notes import broken
from app.process_list import SORT_COLUMNS, Line, ProcessRow, arrange, process_rows
from bridge.kernel.tasks import PF_KTHREAD, Tasks


def row(
    pid: int, ppid: int, name: str = "a", *, kernel: bool = False, rss: int = 0, command: str = "", uid: int = 0
) -> ProcessRow:
    return ProcessRow(pid, ppid, name, "S", uid, 1, rss, kernel, 0xFFFF_8880_0000_0000 + pid, 0, 1.5, command)


INIT = (
    row(1, 0, "init"),
    row(2, 0, "kthreadd", kernel=True),
    row(3, 2, "rcu", kernel=True),
    row(4, 2, "kworker/0", kernel=True),
    row(10, 1, "sshd", rss=900, command="/usr/sbin/sshd -D", uid=0),
    row(11, 10, "sh", rss=400, uid=1000),
    row(12, 11, "vim", rss=800, uid=1000),
    row(13, 1, "cron", rss=500),
)

# Few numbers, so that they are claimed twice, point at themselves and in circles.
anything = st.lists(
    st.builds(row, st.integers(0, 8), st.integers(0, 8), st.sampled_from("abc"), kernel=st.booleans()), max_size=14
)


def pids(lines: Sequence[Line]) -> list[int]:
    return [line.row.pid for line in lines]


def test_a_tree_says_who_started_whom() -> None:
    lines = arrange(INIT)
    assert [(line.row.pid, line.depth, line.n_below) for line in lines] == [
        *((1, 0, 4), (10, 1, 2), (11, 2, 1), (12, 3, 0), (13, 1, 0), (2, 0, 2))
    ]
    assert lines[-1].folded, "the kernel's own threads are many, and seldom what one looks for"
    opened = arrange(INIT, toggled={2, 10})
    assert pids(opened) == [1, 10, 13, 2, 3, 4]
    assert opened[1].folded


def test_a_filter_shows_where_in_the_tree_its_matches_stand() -> None:
    lines = arrange(INIT, needle="vim", toggled={1})
    assert [(line.row.pid, line.matches) for line in lines] == [(1, False), (10, False), (11, False), (12, True)]
    assert pids(arrange(INIT, needle="kworker")) == [2, 4]
    assert pids(arrange(INIT, needle="root SBIN")) == [1, 10]
    assert pids(arrange(INIT, needle="1000", tree=False)) == [11, 12]
    assert arrange(INIT, needle="nothing") == ()


def test_siblings_and_lists_are_in_order() -> None:
    assert pids(arrange(INIT, sort="memory", descending=True)) == [1, 10, 11, 12, 13, 2]
    assert pids(arrange(INIT, sort="name", tree=False)) == [13, 1, 2, 4, 3, 11, 10, 12]
    assert pids(arrange(INIT, sort="memory", descending=True, tree=False))[:4] == [10, 12, 13, 11]


@given(anything, st.sampled_from(SORT_COLUMNS), st.booleans())
def test_every_process_is_in_the_tree_once(rows: list[ProcessRow], sort: str, descending: bool) -> None:
    kernel = {r.pid for r in rows if r.is_kernel}
    everything = arrange(rows, sort=sort, descending=descending, toggled=kernel)  # type: ignore[arg-type]
    # A number that is claimed by a thread of the kernel and a process is toggled for both.
    mixed = any(r.pid in kernel and not r.is_kernel for r in rows)
    if not mixed:
        assert Counter(map(id, (line.row for line in everything))) == Counter(map(id, rows))
    flat = arrange(rows, sort=sort, descending=descending, tree=False)  # type: ignore[arg-type]
    assert Counter(map(id, (line.row for line in flat))) == Counter(map(id, rows))
    for above, line in itertools.pairwise(everything):
        assert line.depth <= above.depth + 1
        if line.depth == above.depth + 1:
            assert line.row.ppid == above.row.pid
    assert not everything or everything[0].depth == 0


@given(anything, st.sampled_from(["a", "b 1", "root", ""]))
def test_a_filter_keeps_all_matches_and_only_what_is_above_them(rows: list[ProcessRow], needle: str) -> None:
    if not needle:
        return
    lines = arrange(rows, needle=needle)
    flat = arrange(rows, needle=needle, tree=False)
    assert Counter(id(line.row) for line in lines if line.matches) == Counter(id(line.row) for line in flat)
    for at, line in enumerate(lines):
        if not line.matches:  # then the next line stands below it
            assert lines[at + 1].depth == line.depth + 1
            assert lines[at + 1].row.ppid == line.row.pid


@given(anything)
def test_what_is_below_a_folded_line_is_hidden(rows: list[ProcessRow]) -> None:
    lines = arrange(rows)
    for above, line in itertools.pairwise(lines):
        if above.folded:
            assert line.depth <= above.depth
    n_hidden = sum(line.n_below for line in lines if line.folded)
    assert n_hidden + len(lines) == len(rows)


def test_a_long_chain_is_no_problem() -> None:
    rows = [row(pid, pid - 1) for pid in range(1, 20_001)]
    lines = arrange(rows)
    assert lines[-1].depth == 19_999
    circle = [row(pid, pid % 20_000 + 1) for pid in range(1, 20_001)]
    assert [line.depth for line in arrange(circle)] == list(range(20_000))


@given(st.text("ab cd", max_size=60), st.integers(1, 12))
def test_notes_are_broken_into_lines(text: str, width: int) -> None:
    lines = broken(text, width, len)
    assert " ".join(lines).split() == text.split()
    assert all(len(line) <= width or " " not in line for line in lines)
    for line, after in itertools.pairwise(lines):
        assert len(line) + 1 + len(after.split()[0]) > width, "the first word of a line did not fit the one before"


def tasks(pids: list[int], tgids: list[int], kernel: list[bool]) -> Tasks:
    n = len(pids)
    number, address = np.zeros(n, np.int64), np.arange(n, dtype=np.uint64)
    return Tasks(
        addresses=address,
        pids=np.array(pids, np.int64),
        tgids=np.array(tgids, np.int64),
        ppids=number,
        uids=number,
        names=tuple(f"task{pid}" for pid in pids),
        states=("S",) * n,
        flags=np.array([PF_KTHREAD if k else 0 for k in kernel], np.int64),
        mms=address,
        roots=address * np.uint64(4096),
        rss_bytes=np.array(pids, np.int64) * 4096,
        stacks=address,
        start_ns=np.full(n, 2_500_000_000, np.int64),
        consistency="live",
    )


def test_rows_are_made_of_what_a_look_saw(monkeypatch: pytest.MonkeyPatch) -> None:
    processes = tasks([7, 9, 30], [7, 9, 30], [False, True, False])
    threads = tasks([7, 8, 9, 12], [7, 7, 9, 7], [False] * 4)
    rows = process_rows(processes, threads, {(7, "task7"): "/bin/seven --all", (9, "other"): "old"})
    assert [(r.pid, r.threads, r.is_kernel, r.command) for r in rows] == [
        *((7, 3, False, "/bin/seven --all"), (9, 1, True, ""), (30, 1, False, ""))
    ]
    assert (rows[0].rss_bytes, rows[0].started_s, rows[2].root) == (7 * 4096, 2.5, 8192)
    assert rows[0].label == "task7 (7)"
    assert [r.threads for r in process_rows(processes, None, {})] == [1, 1, 1]
    assert process_rows(tasks([], [], []), threads, {}) == ()
    monkeypatch.setattr(process_list, "MAX_ROWS", 2)
    assert len(process_rows(processes, threads, {})) == 2
