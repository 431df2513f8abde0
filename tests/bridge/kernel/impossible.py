"""What no look at a sane machine may say, however fast its kernel changes while it is read."""

from __future__ import annotations

import numpy as np

from bridge.kernel.page_classes import PageClass
from bridge.kernel.snapshot import Part, SemanticSnapshot
from bridge.kernel.tasks import Tasks

_PID_LIMIT = 1 << 22


def impossible_tasks(tasks: Tasks) -> list[str]:
    """Everything that cannot be, in sentences."""
    wrong = []
    n = len(tasks)
    for index in range(n):
        what = f"{tasks.names[index]!r} ({tasks.pids[index]})"
        if not 0 < tasks.pids[index] < _PID_LIMIT or not 0 < tasks.tgids[index] < _PID_LIMIT:
            wrong.append(f"{what} has the number {tasks.pids[index]} in group {tasks.tgids[index]}")
        if not 0 <= tasks.ppids[index] < _PID_LIMIT:
            wrong.append(f"{what} has the parent {tasks.ppids[index]}")
        if not tasks.names[index] or not tasks.names[index].isprintable():
            wrong.append(f"{what} has an impossible name")
        if tasks.states[index] not in "RSDTtZXIP":
            wrong.append(f"{what} is in state {tasks.states[index]}")
        if tasks.uids[index] != 0:
            wrong.append(f"{what} belongs to user {tasks.uids[index]}, and there is only one")
    if len(set(tasks.addresses.tolist())) != n:
        wrong.append("a task is told twice")
    if len(set(tasks.pids.tolist())) != n:
        wrong.append("two tasks have one number")
    return wrong


def impossible(snapshot: SemanticSnapshot, ram_bytes: int) -> list[str]:
    """Everything in a look that cannot be, in sentences."""
    processes, owners = snapshot.processes, snapshot.owners
    n_pages = ram_bytes >> 12
    wrong = impossible_tasks(processes) + impossible_tasks(snapshot.threads)
    if (processes.rss_bytes < 0).any() or (processes.rss_bytes > ram_bytes).any():
        wrong.append("a process has more memory than the machine")
    if (processes.roots >= ram_bytes).any() or (processes.roots & np.uint64(4095)).any():
        wrong.append("a page table lies outside of RAM")
    if len(snapshot.page_map.classes) != n_pages or not np.isin(snapshot.page_map.classes, list(PageClass)).all():
        wrong.append("a page has no class, or one that there is not")
    if not np.isin(snapshot.parts, list(Part)).all():
        wrong.append("a page is a part that there is not")
    first = owners.first()
    if len(first) != n_pages or (first < -1).any() or (first >= len(processes)).any():
        wrong.append("a page belongs to a process that there is not")
    vmas = snapshot.vmas
    if (vmas.starts >= vmas.ends).any() or (vmas.ends > np.uint64(1 << 56)).any():
        wrong.append("a region of memory is empty or no user's")
    if (vmas.owners < 0).any() or (vmas.owners >= len(processes)).any():
        wrong.append("a region of memory belongs to a process that there is not")
    return wrong
