"""Memory shares: how much of a machine's RAM is of which kind, and whose or of what that is: a tree of two levels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from app.chosen import OF, PAGE_BYTES, Key, printable
from app.kernel_channels import CLASS_LABELS, shown_classes
from bridge.kernel.page_details import KERNEL_TABLES

if TYPE_CHECKING:
    from bridge.kernel.page_details import PageDetails
    from bridge.kernel.worker import Sighting

MAX_PARTS = 200
"""Parts of one category that are told apart; what is left is one more."""


@dataclass(frozen=True, slots=True)
class Share:
    """Some pages of a machine, and how to choose them."""

    title: str
    n_pages: int
    category: int
    """Index into CLASS_LABELS: its colour."""
    kind: str
    """What `choose.pages_of` takes; empty where they cannot be chosen."""
    key: Key
    parts: tuple[Share, ...] = ()

    @property
    def size_bytes(self) -> int:
        """How much it is."""
        return self.n_pages * PAGE_BYTES


def shares_of(sighting: Sighting) -> tuple[Share, ...]:
    """The categories that there are pages of, the largest first, with their parts; none where nothing is known."""
    if sighting.classes is None or sighting.parts is None:
        return ()
    shown = shown_classes(sighting)
    counts = np.bincount(shown, minlength=len(CLASS_LABELS))
    found = []
    for category in np.argsort(-counts, kind="stable").tolist():
        if not counts[category]:
            break
        label = CLASS_LABELS[category]
        divide = _DIVIDED.get(label)
        parts = () if divide is None else divide(sighting, np.flatnonzero(shown == category), category)
        found.append(Share(label, int(counts[category]), category, "category", label, parts))
    return tuple(found)


Pages = NDArray[np.int64]


def _ranked(
    subjects: NDArray[np.integer], category: int, tell: Callable[[int], tuple[str, str, Key] | None]
) -> tuple[Share, ...]:
    """Parts by subject (n,), one a page, the largest first. `tell`: title, kind and key of a subject; None: unknown."""
    known, counts = np.unique(subjects, return_counts=True)
    order = np.argsort(-counts, kind="stable").tolist()
    parts: list[Share] = []
    rest = 0
    for index in order:
        told = tell(int(known[index])) if len(parts) < MAX_PARTS else None
        if told is None:
            rest += int(counts[index])
        else:
            parts.append(Share(told[0], int(counts[index]), category, told[1], told[2]))
    if rest:
        parts.append(Share("Others" if parts else "Not told apart", rest, category, "", ""))
    return tuple(sorted(parts, key=lambda part: -part.n_pages))


def _by_process(sighting: Sighting, pages: Pages, category: int) -> tuple[Share, ...]:
    tasks = sighting.processes
    if tasks is None or sighting.first_owner is None:
        return ()
    pids, names = tasks.pids, tasks.names

    def tell(index: int) -> tuple[str, str, Key] | None:
        if index < 0:
            return None
        pid = int(pids[index])
        return f"{printable(names[index])} ({pid})", "category", f"{CLASS_LABELS[category]}{OF}{pid}"

    return _ranked(sighting.first_owner[pages], category, tell)


def _by_detail(
    name: Callable[[PageDetails, int], tuple[str, str, Key] | None],
) -> Callable[[Sighting, Pages, int], tuple[Share, ...]]:
    def divide(sighting: Sighting, pages: Pages, category: int) -> tuple[Share, ...]:
        details = sighting.details
        if details is None:
            return ()
        return _ranked(details.subjects[pages], category, lambda index: None if index < 0 else name(details, index))

    return divide


def _file(details: PageDetails, index: int) -> tuple[str, str, Key]:
    path = details.files[index].path
    return printable(path), "file", path


def _cache(details: PageDetails, index: int) -> tuple[str, str, Key]:
    return printable(details.caches[index]), "slab", details.caches[index]


def _module(details: PageDetails, index: int) -> tuple[str, str, Key]:
    return printable(details.modules[index]), "module", details.modules[index]


def _stack(details: PageDetails, index: int) -> tuple[str, str, Key]:
    task = details.stacks[index]
    return f"{printable(task.name)} ({task.tid})", "stack", task.tid


def _table(details: PageDetails, index: int) -> tuple[str, str, Key]:
    pid = details.tables[index]
    return "The kernel's own" if pid == KERNEL_TABLES else f"Of process {pid}", "tables", pid


_DIVIDED: Mapping[str, Callable[[Sighting, Pages, int], tuple[Share, ...]]] = {
    "Heaps": _by_process,
    "Stacks": _by_process,
    "Anonymous memory": _by_process,
    "Program code": _by_detail(_file),
    "File pages": _by_detail(_file),
    "Shared memory": _by_detail(_file),
    "Slabs": _by_detail(_cache),
    "Modules": _by_detail(_module),
    "Kernel stacks": _by_detail(_stack),
    "Page tables": _by_detail(_table),
}
"""What the pages of a category are divided by."""
