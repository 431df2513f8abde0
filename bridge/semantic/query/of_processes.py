"""Of processes: their memory and its parts, their threads, page tables, open files and sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from bridge.kernel.owned import Owned
from bridge.kernel.page_classes import PageClass
from bridge.kernel.page_details import KERNEL_TABLES
from bridge.kernel.snapshot import PART_TITLES, Part
from bridge.semantic.query.found import Found, Groups, Made, grouped, one
from bridge.semantic.query.model import Relation
from bridge.semantic.query.naming import FILES
from bridge.semantic.query.places import bytes_at
from bridge.semantic.query.results import I64, NO_PAGES, NOBODY
from bridge.semantic.query.sight import Sight
from bridge.semantic.query.texts import shown

PARTS = {
    Relation.HEAP: Part.HEAP,
    Relation.STACK: Part.STACK,
    Relation.CODE: Part.CODE,
    Relation.DATA: Part.DATA,
    Relation.OTHER: Part.OTHER,
}
_FEW = 8
"""Processes whose regions are told with their files' paths: finding those takes a millisecond each."""
Pids = tuple[int, ...]


def of_processes(sight: Sight, relation: Relation, indices: I64) -> Iterator[Found]:
    """What of some processes is meant."""
    pids: Pids = tuple(sight.look.processes.pids[indices].tolist())
    if relation is Relation.MEMORY:
        return memory(sight, indices)
    if relation is Relation.REGIONS or relation in PARTS:
        return _regions(sight, pids, PARTS.get(relation))
    if relation is Relation.CHILDREN:
        return memory(sight, np.flatnonzero(np.isin(sight.look.processes.ppids, pids)))
    return _OTHERS[relation](sight, pids)


def memory(sight: Sight, indices: I64) -> Iterator[Found]:
    """All that each process maps; of a thread of the kernel its stack, which is all it has to itself."""
    processes, called = sight.look.processes, sight.called
    users = indices[processes.mms[indices] != 0]
    groups = _mapped(sight, users)
    if len(users) < len(indices):
        stacks = sight.by_subject((PageClass.KERNEL_STACK,))
        at = {task.tid: number for number, task in enumerate(sight.look.details.stacks)}
        threads = np.setdiff1d(indices, users)
        own = stacks.some(np.array([at.get(pid, -1) for pid in processes.pids[threads].tolist()], np.int64))
        groups = _either(groups, own).some(np.argsort(np.append(users, threads), kind="stable"))
    pids = processes.pids[indices].astype(np.int64)
    numbers = pids.tolist()
    labels = Made(lambda row: called.called(numbers[row]), np.arange(len(pids)))
    yield Found(labels, ["process"] * len(pids), pids, groups.starts, groups.pages)


def _either(some: Groups, more: Groups) -> Groups:
    """Groups, and behind them others."""
    starts = np.concatenate([some.starts, some.starts[-1] + more.starts[1:]])
    return Groups(starts, np.concatenate([some.pages, more.pages]))


def _mapped(sight: Sight, indices: I64) -> Groups:
    """The pages that each of some processes maps."""
    processes = sight.look.processes
    if len(indices) > _FEW:
        whose, pages = sight.ask("mapped", None)
    else:
        owned: Owned = sight.ask("owned", tuple(processes.pids[indices].tolist()), None)
        whose, pages = owned.processes, owned.pages
    return grouped(whose, pages, len(processes)).some(indices)


def _regions(sight: Sight, pids: Pids, part: Part | None) -> Iterator[Found]:
    everyone = len(pids) == len(sight.look.processes)
    owned: Owned = sight.ask("owned", None if everyone else pids, None if part is None else int(part))
    vmas, paths, called = owned.vmas, _paths(sight, pids), sight.called
    groups = grouped(owned.regions, owned.pages, len(vmas))
    owners = sight.look.processes.pids[vmas.owners].astype(np.int64)
    whose, starts, ends, parts = owners.tolist(), vmas.starts, vmas.ends, owned.parts

    def label(row: int) -> str:
        pid, start = whose[row], int(starts[row])
        what = PART_TITLES[Part(int(parts[row]))].lower()
        path = paths.get((pid, start), "")
        return f"{called.called(pid)} {what} {start:#x}-{int(ends[row]):#x}" + (f" {path}" if path else "")

    kind = "region" if part is None else PART_TITLES[part].lower()
    labels = Made(label, np.arange(len(vmas)))
    yield Found(labels, [kind] * len(vmas), owners, groups.starts, groups.pages, None, part is None)
    lost = len(np.unique(owned.pages[owned.regions < 0]))
    if lost:
        sight.note(f"{lost:,} mapped pages are in no region of a memory map: it changed while it was read.")


def _paths(sight: Sight, pids: Pids) -> dict[tuple[int, int], str]:
    """What is mapped, by process and first address; of few processes only."""
    found: dict[tuple[int, int], str] = {}
    for pid in pids if len(pids) <= _FEW else ():
        found |= {(pid, entry.start): shown(entry.path) for entry in sight.ask_or_note("maps", pid) or ()}
    return found


def stacks(sight: Sight, pids: Pids | None) -> Iterator[Found]:
    """The kernel stack of each thread of some processes, or of all."""
    wanted = None if pids is None else set(pids)
    tasks = sight.look.details.stacks
    kept = [at for at, task in enumerate(tasks) if wanted is None or task.pid in wanted or task.tid in wanted]
    rows = np.array(kept, np.int64)
    groups = sight.by_subject((PageClass.KERNEL_STACK,)).some(rows)
    labels = Made(lambda at: f"kernel stack of {shown(tasks[at].name, 60)} ({tasks[at].tid})", rows)
    owners = np.array([tasks[at].pid for at in kept], np.int64)
    yield Found(labels, ["kernel stack"] * len(kept), owners, groups.starts, groups.pages)


def _threads(sight: Sight, pids: Pids) -> Iterator[Found]:
    threads, called = sight.look.threads, sight.called
    rows = np.flatnonzero(np.isin(threads.tgids, pids))
    at = {task.tid: number for number, task in enumerate(sight.look.details.stacks)}
    tids, owners = threads.pids.tolist(), threads.tgids.tolist()
    groups = sight.by_subject((PageClass.KERNEL_STACK,)).some(
        np.array([at.get(tids[row], -1) for row in rows.tolist()], np.int64)
    )

    def label(row: int) -> str:
        tid, pid = tids[row], owners[row]
        own = f"{shown(threads.names[row], 60)} ({tid})"
        return own if tid == pid else f"{own}, a thread of {called.called(pid)}"

    whose = threads.tgids[rows].astype(np.int64)
    yield Found(Made(label, rows), ["thread"] * len(rows), whose, groups.starts, groups.pages)


def tables(sight: Sight, pids: Pids | None) -> Iterator[Found]:
    """Page tables of some processes, or all that there are."""
    called, owners = sight.called, np.array(sight.look.details.tables, np.int64)
    by_table = sight.by_subject((PageClass.PAGE_TABLE,)).some(np.arange(len(owners)))
    whose, number = np.unique(owners, return_inverse=True)
    # Whose each page is: a process has several tables.
    of_page = np.repeat(number.reshape(-1), np.diff(by_table.starts))
    order = np.argsort(by_table.pages, kind="stable")
    groups = grouped(of_page[order], by_table.pages[order], len(whose))
    rows = np.arange(len(whose)) if pids is None else np.flatnonzero(np.isin(whose, pids))
    groups, names = groups.some(rows), whose.tolist()
    theirs = np.where(whose[rows] == KERNEL_TABLES, NOBODY, whose[rows])
    labels = Made(lambda row: called.tables(names[row]), rows)
    yield Found(labels, ["page tables"] * len(rows), theirs, groups.starts, groups.pages)
    if pids is None and len(nobody := sight.of_nobody(PageClass.PAGE_TABLE)):
        yield one("page tables of nobody that is known", "page tables", None, nobody)


def _files(sight: Sight, pids: Pids) -> Iterator[Found]:
    """Open files, with what of them is in the page cache."""
    cached = sight.by_subject(FILES)
    by_path: dict[str, list[int]] = {}
    for at, file in enumerate(sight.look.details.files):
        by_path.setdefault(file.path, []).append(at)
    for pid in pids:
        for file in sight.ask_or_note("files", pid) or ():
            pieces = [cached.of(at) for at in by_path.get(file.path, ())]
            pages = np.unique(np.concatenate(pieces)) if pieces else NO_PAGES
            yield one(f"{sight.called.called(pid)} {file.descriptor}: {shown(file.path)}", "file", pid, pages)


def _sockets(sight: Sight, pids: Pids) -> Iterator[Found]:
    wanted = set(pids)
    for socket in sight.ask("sockets"):
        if socket.pid not in wanted:
            continue
        ends = " ".join(shown(end, 80) for end in (socket.local, socket.remote) if end)
        label = f"{sight.called.called(socket.pid)} {socket.descriptor}: {shown(socket.family, 20)} "
        label += f"{shown(socket.kind, 20)} {shown(socket.state, 20)} {ends}".strip()
        pages, ranges = bytes_at(sight, socket.address, 1, None)
        yield one(label, "socket", socket.pid, pages, ranges)


_OTHERS: dict[Relation, Callable[[Sight, Pids], Iterator[Found]]] = {
    Relation.KERNEL_STACK: stacks,
    Relation.PAGE_TABLES: tables,
    Relation.THREADS: _threads,
    Relation.FILES: _files,
    Relation.SOCKETS: _sockets,
}
