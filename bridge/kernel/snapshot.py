"""A semantic snapshot: what the guest's kernel says at one instant, ready to be shown."""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from bridge.kernel.kernel import Kernel
from bridge.kernel.maps import VM_EXEC, VM_GROWSDOWN, MapReader, Vmas
from bridge.kernel.owners import Owners, read_owners
from bridge.kernel.page_classes import PageClassifier, PageMap
from bridge.kernel.tasks import TaskReader, Tasks

U64 = npt.NDArray[np.uint64]


class Part(IntEnum):
    """What part of a process a mapped page is."""

    NONE = 0
    CODE = 1
    STACK = 2
    HEAP = 3
    DATA = 4
    OTHER = 5


PART_TITLES: dict[Part, str] = {
    Part.NONE: "Not mapped",
    Part.CODE: "Program code",
    Part.STACK: "Stack",
    Part.HEAP: "Heap",
    Part.DATA: "File data",
    Part.OTHER: "Other memory",
}


@dataclass(frozen=True, slots=True)
class SemanticSnapshot:
    """One look at one machine. Frozen: it crosses threads."""

    taken_s: float
    """time.monotonic() when the look began."""
    duration_s: float
    processes: Tasks
    threads: Tasks
    vmas: Vmas
    """`owners` are indices into `processes`."""
    page_map: PageMap
    owners: Owners
    parts: npt.NDArray[np.uint8]
    """(n_pages,) Part of the first process that maps each page."""


class Introspector:
    """Takes semantic snapshots of one kernel. Raises MissingType if the kernel has no known form."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.tasks = TaskReader(kernel)
        self.maps = MapReader(kernel)
        self.pages = PageClassifier(kernel)

    def look(self) -> SemanticSnapshot:
        """Take one. Raises KernelError where the kernel's records cannot be followed."""
        started = time.monotonic()
        processes, threads = self.tasks.processes(), self.tasks.threads()
        page_map = self.pages.classify(threads)
        own = np.flatnonzero(processes.mms)
        vmas = _for_processes(self.maps.vmas(processes.mms[own]), own)
        owners = read_owners(self.kernel, processes.roots)
        parts = self._parts(processes, vmas, owners, len(page_map.classes))
        return SemanticSnapshot(started, time.monotonic() - started, processes, threads, vmas, page_map, owners, parts)

    def _parts(self, processes: Tasks, vmas: Vmas, owners: Owners, n_pages: int) -> npt.NDArray[np.uint8]:
        parts = np.zeros(n_pages, np.uint8)
        if not len(owners.pages):
            return parts
        kinds = self._vma_parts(processes, vmas)
        mapped = np.flatnonzero(owners.counts())
        first = owners.starts[mapped]
        vma = find_vmas(vmas, owners.processes[first], owners.vaddrs[first])
        parts[mapped] = np.where(vma >= 0, kinds[np.maximum(vma, 0)], Part.OTHER) if len(kinds) else Part.OTHER
        return parts

    def _vma_parts(self, processes: Tasks, vmas: Vmas) -> npt.NDArray[np.uint8]:
        kinds = np.full(len(vmas), Part.OTHER, np.uint8)
        kinds[vmas.files != 0] = Part.DATA
        kinds[vmas.flags & np.uint64(VM_EXEC) != 0] = Part.CODE
        kinds[vmas.flags & np.uint64(VM_GROWSDOWN) != 0] = Part.STACK
        for process in np.unique(vmas.owners).tolist():
            marks = self.maps.marks(int(processes.mms[process]))
            inside = (vmas.owners == process) & (vmas.starts < np.uint64(marks["brk"]))
            kinds[inside & (vmas.ends > np.uint64(marks["start_brk"])) & (vmas.files == 0)] = Part.HEAP
        return kinds


def find_vmas(vmas: Vmas, processes: npt.NDArray[np.int64], vaddrs: U64) -> npt.NDArray[np.int64]:
    """Which VMA holds each address (n,) of each process (n,); -1 for none."""
    found = np.full(len(vaddrs), -1, np.int64)
    for process in np.unique(processes).tolist():
        own = np.flatnonzero(vmas.owners == process)
        asked = np.flatnonzero(processes == process)
        if not len(own):
            continue
        index = np.searchsorted(vmas.starts[own], vaddrs[asked], side="right") - 1
        good = (index >= 0) & (vaddrs[asked] < vmas.ends[own][np.maximum(index, 0)])
        found[asked[good]] = own[index[good]]
    return found


def _for_processes(vmas: Vmas, own: npt.NDArray[np.int64]) -> Vmas:
    return Vmas(
        vmas.addresses,
        own[vmas.owners],
        vmas.starts,
        vmas.ends,
        vmas.flags,
        vmas.files,
        vmas.page_offsets,
        vmas.complete,
    )
