"""Pointers: the kernel's own graph of memory, task -> mm -> VMA -> page, of all processes of one look."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from bridge.kernel.snapshot import PART_TITLES, Part, SemanticSnapshot, find_vmas
from bridge.trace.flow import Flow, flow_from_edges


class Kind(StrEnum):
    """What a node is."""

    TASK = "task"
    MM = "mm"
    VMA = "vma"
    PAGE = "page"


@dataclass(frozen=True, slots=True)
class Node:
    """One of the graph, as it is told."""

    kind: Kind
    address: int
    """Of the kernel's record, virtual; of a page, physical."""
    label: str
    """What people call it; guest text, to be made printable."""
    process: str = ""
    """Whose it is, where it is one process's."""


class PointerGraph:
    """Tasks first, then mms, VMAs and pages that are mapped; each kind ascending."""

    flow: Flow

    def __init__(self, snapshot: SemanticSnapshot, physical: NDArray[np.uint64]) -> None:
        """`physical`: (n_pages,) the guest's address of each page of the RAM file."""
        self._snapshot, self._physical = snapshot, physical
        processes, vmas, owners = snapshot.processes, snapshot.vmas, snapshot.owners
        self._mms = np.unique(processes.mms[processes.mms != 0])
        self._pages = np.flatnonzero(owners.counts())
        sizes = len(processes.pids), len(self._mms), len(vmas), len(self._pages)
        self._first = np.cumsum([0, *sizes])
        tasks = np.flatnonzero(processes.mms)
        mm_of = np.full(len(processes.pids), -1, np.int64)
        mm_of[tasks] = np.searchsorted(self._mms, processes.mms[tasks])
        held = np.flatnonzero(mm_of[vmas.owners] >= 0) if len(vmas) else np.zeros(0, np.int64)
        found = find_vmas(vmas, owners.processes, owners.vaddrs)
        page = np.searchsorted(self._pages, owners.pages)
        # What is mapped in no region hangs on the mm itself.
        bare = np.flatnonzero((found < 0) & (mm_of[owners.processes] >= 0))
        inside = np.flatnonzero(found >= 0)
        mm, vma, leaf = (int(self._first[n]) for n in (1, 2, 3))
        sources = (tasks, mm + mm_of[vmas.owners[held]], vma + found[inside], mm + mm_of[owners.processes[bare]])
        targets = (mm + mm_of[tasks], vma + held, leaf + page[inside], leaf + page[bare])
        pairs = np.unique(np.concatenate(sources).astype(np.int64) * len(self) + np.concatenate(targets))
        self.flow = flow_from_edges(len(self), pairs // max(1, len(self)), pairs % max(1, len(self)))

    def __len__(self) -> int:
        return int(self._first[-1])

    def kinds(self, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
        """(k,): the number of each one's Kind, in their order."""
        return np.searchsorted(self._first, nodes, side="right") - 1

    def node(self, number: int) -> Node:
        """What one is called."""
        kind = list(Kind)[int(np.searchsorted(self._first, number, side="right")) - 1]
        at = number - int(self._first[list(Kind).index(kind)])
        processes, vmas = self._snapshot.processes, self._snapshot.vmas
        if kind is Kind.TASK:
            return Node(kind, int(processes.addresses[at]), f"{processes.names[at]} ({int(processes.pids[at])})")
        if kind is Kind.MM:
            users = np.flatnonzero(processes.mms == self._mms[at])
            return Node(kind, int(self._mms[at]), f"memory of {processes.names[users[0]]}")
        if kind is Kind.VMA:
            start, end, owner = int(vmas.starts[at]), int(vmas.ends[at]), int(vmas.owners[at])
            name, pid = processes.names[owner], int(processes.pids[owner])
            return Node(kind, int(vmas.addresses[at]), f"{start:#x}-{end:#x} of {name}", f"{name} ({pid})")
        page = int(self._pages[at])
        part = PART_TITLES[Part(int(self._snapshot.parts[page]))]
        return Node(kind, int(self._physical[page]), part.lower())

    def find(self, kind: Kind, value: int) -> list[int]:
        """The nodes of a process's number, of a record's address, or of the page that holds a physical address."""
        processes, vmas = self._snapshot.processes, self._snapshot.vmas
        if kind is Kind.TASK:
            found = np.flatnonzero((processes.pids == value) | (processes.addresses == np.uint64(value)))
        elif kind is Kind.MM:
            found = np.flatnonzero(self._mms == np.uint64(value))
        elif kind is Kind.VMA:
            found = np.flatnonzero(vmas.addresses == np.uint64(value))
        else:
            found = np.flatnonzero(self._physical[self._pages] == np.uint64(value & ~0xFFF))
        nodes: list[int] = (found + self._first[list(Kind).index(kind)]).tolist()
        return nodes

    def physical_of(self, nodes: NDArray[np.int64]) -> NDArray[np.uint64]:
        """The physical addresses of the pages among some nodes."""
        pages = nodes[nodes >= self._first[3]] - self._first[3]
        addresses: NDArray[np.uint64] = self._physical[self._pages[pages]]
        return addresses
