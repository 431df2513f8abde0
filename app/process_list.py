"""The list of a guest's processes as people read it: rows, their tree, filter and order. No drawing here.

Everything comes from guest memory: two processes may claim one number, and parents may go round in a circle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, Literal, NamedTuple

import numpy as np

from bridge.kernel.tasks import Tasks

SortColumn = Literal["name", "pid", "state", "user", "threads", "memory"]
SORT_COLUMNS: tuple[SortColumn, ...] = ("name", "pid", "state", "user", "threads", "memory")
STATE_WORDS: dict[str, str] = {
    "R": "Running",
    "S": "Sleeping",
    "D": "Waiting for a device",
    "T": "Stopped",
    "t": "Traced",
    "Z": "Ended, not yet fetched",
    "X": "Ending",
    "I": "Idle",
    "P": "Parked",
}
MAX_ROWS = 20_000
"""Of a list that guest memory makes as long as it likes; vm.pid_max is 32,768 unless it is raised."""
_ROOT = "root"


class ProcessRow(NamedTuple):  # made anew at each look, for each process: a dataclass takes three times as long
    """One process."""

    pid: int
    ppid: int
    name: str
    state: str
    """As ps prints it: a key of STATE_WORDS."""
    uid: int
    threads: int
    rss_bytes: int
    is_kernel: bool
    """A thread of the kernel, which has no memory of its own."""
    task: int
    """Address of its `struct task_struct`."""
    root: int
    """Physical address of its topmost page table; 0 for none."""
    started_s: float
    """After boot."""
    command: str = ""
    """Its command line; empty where it has none or it is not known yet."""

    @property
    def user(self) -> str:
        """Whose it is: only root is called the same in every guest."""
        return _ROOT if self.uid == 0 else str(self.uid)

    @property
    def label(self) -> str:
        """What it is called everywhere: `sshd (412)`."""
        return f"{self.name} ({self.pid})"


class Line(NamedTuple):
    """One line of the list."""

    row: ProcessRow
    depth: int = 0
    n_below: int = 0
    """How many processes descend from it."""
    folded: bool = False
    """Whether they are hidden."""
    matches: bool = True
    """False for one that is shown only because something below it matches."""


_KEYS: dict[SortColumn, Callable[[ProcessRow], Any]] = {
    "name": lambda row: row.name.casefold(),
    "pid": lambda row: row.pid,
    "state": lambda row: "RDSTtZXIP".find(row.state),
    "user": lambda row: row.uid,
    "threads": lambda row: row.threads,
    "memory": lambda row: row.rss_bytes,
}


def process_rows(
    processes: Tasks, threads: Tasks | None, commands: Mapping[tuple[int, str], str]
) -> tuple[ProcessRow, ...]:
    """Rows in the kernel's order, MAX_ROWS at most. `commands`: command lines by (pid, name)."""
    counts = np.ones(len(processes), np.int64)
    if threads is not None and len(threads):
        known, found = np.unique(threads.tgids, return_counts=True)
        place = np.minimum(np.searchsorted(known, processes.pids), len(known) - 1)
        counts = np.where(known[place] == processes.pids, found[place], 1)
    kernel = processes.is_kernel_thread().tolist()
    columns = (processes.pids, processes.ppids, processes.uids, counts, processes.rss_bytes)
    pids, ppids, uids, n_threads, rss = (column.tolist() for column in columns)
    tasks, roots, starts = processes.addresses.tolist(), processes.roots.tolist(), processes.start_ns.tolist()
    return tuple(
        ProcessRow(
            pids[i],
            ppids[i],
            name,
            processes.states[i],
            uids[i],
            n_threads[i],
            rss[i],
            kernel[i],
            tasks[i],
            roots[i],
            starts[i] / 1e9,
            commands.get((pids[i], name), ""),
        )
        for i, name in enumerate(processes.names[:MAX_ROWS])
    )


def arrange(
    rows: Sequence[ProcessRow],
    *,
    needle: str = "",
    tree: bool = True,
    sort: SortColumn = "pid",
    descending: bool = False,
    toggled: Set[int] = frozenset(),
) -> tuple[Line, ...]:
    """The lines to show: a tree of parents and children, or a flat list, in which every word of `needle` is found.

    In a tree, siblings are in order; what the kernel's own threads hang from is folded unless its pid is `toggled`,
    everything else is open unless it is. A filter opens everything, and shows where in the tree a match stands.
    """
    words = needle.casefold().split()
    matches = [not words or _matches(row, words) for row in rows]
    order = sorted(range(len(rows)), key=lambda i: _KEYS[sort](rows[i]), reverse=descending)
    if not tree:
        return tuple(Line(rows[i]) for i in order if matches[i])
    below, roots = _children(rows, order)
    lines = [Line(rows[i], depth, n_below, False, matches[i]) for i, depth, n_below in _walk(below, roots)]
    return _with_ancestors(lines) if words else _unfolded(lines, toggled)


def _matches(row: ProcessRow, words: Sequence[str]) -> bool:
    hay = f"{row.name} {row.pid} {row.user} {row.command}".casefold()
    return all(word in hay for word in words)


def _children(rows: Sequence[ProcessRow], order: Sequence[int]) -> tuple[list[list[int]], list[int]]:
    """The children of each row, and the rows that have no parent, both in `order`."""
    place: dict[int, int] = {}
    for i, row in enumerate(rows):
        place.setdefault(row.pid, i)
    parents = [place.get(row.ppid) for row in rows]
    heads = _circle_heads(parents)
    below: list[list[int]] = [[] for _ in rows]
    roots: list[int] = []
    for i in order:
        parent = parents[i]
        if parent is None or i in heads:
            roots.append(i)
        else:
            below[parent].append(i)
    return below, roots


def _circle_heads(parents: Sequence[int | None]) -> set[int]:
    """Of each circle of parents, the lowest member: where its tree is made to begin. Each row is looked at once."""
    heads: set[int] = set()
    seen = [0] * len(parents)  # the number of the walk that came by
    for number, start in enumerate(range(len(parents)), start=1):
        path: list[int] = []
        i: int | None = start
        while i is not None and not seen[i]:
            seen[i] = number
            path.append(i)
            i = parents[i]
        if i is not None and seen[i] == number:
            heads.add(min(path[path.index(i) :]))
    return heads


def _walk(below: Sequence[Sequence[int]], roots: Sequence[int]) -> list[tuple[int, int, int]]:
    """(row, depth, number of descendants) of all rows, parents first. Without recursion: a chain may be long."""
    order: list[tuple[int, int]] = []
    waiting = [(root, 0) for root in reversed(roots)]
    while waiting:
        i, depth = waiting.pop()
        order.append((i, depth))
        waiting += [(child, depth + 1) for child in reversed(below[i])]
    counts = [0] * len(below)
    for i, _ in reversed(order):
        counts[i] = sum(1 + counts[child] for child in below[i])
    return [(i, depth, counts[i]) for i, depth in order]


def _unfolded(lines: Sequence[Line], toggled: Set[int]) -> tuple[Line, ...]:
    """What is left when what is below folded lines is hidden."""
    shown: list[Line] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        folded = line.n_below > 0 and line.row.is_kernel != (line.row.pid in toggled)
        shown.append(line._replace(folded=True) if folded else line)
        at += 1 + (line.n_below if folded else 0)
    return tuple(shown)


def _with_ancestors(lines: Sequence[Line]) -> tuple[Line, ...]:
    """The lines that match and those above them."""
    kept: list[Line] = []
    wanted = -1  # the depth above which the next ancestor stands
    for line in reversed(lines):
        if line.matches or line.depth < wanted:
            kept.append(line)
            wanted = line.depth
    kept.reverse()
    return tuple(kept)
