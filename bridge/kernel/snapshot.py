"""A semantic snapshot: what the guest's kernel says at one instant, ready to be shown."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from bridge.kernel.kernel import Kernel
from bridge.kernel.lists import RETRIES
from bridge.kernel.maps import VM_EXEC, VM_GROWSDOWN, MapReader, Vmas
from bridge.kernel.owners import OwnerReader, Owners, read_owners
from bridge.kernel.page_classes import PageClassifier, PageMap
from bridge.kernel.page_details import PageDetailer, PageDetails
from bridge.kernel.tasks import Consistency, TaskReader, Tasks
from bridge.kernel.user_tables import UserTableReader, UserTables, read_user_tables

U64 = npt.NDArray[np.uint64]

_PAGE_BITS = 44


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
    details: PageDetails

    @property
    def consistency(self) -> Consistency:
        """How sure it is that all this was so at one instant."""
        return self.threads.consistency

    def called(self, consistency: Consistency) -> SemanticSnapshot:
        """The same, with another word for how sure it is."""
        processes, threads = (replace(tasks, consistency=consistency) for tasks in (self.processes, self.threads))
        return replace(self, processes=processes, threads=threads)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a look reads, before what follows from it is worked out."""

    started_s: float
    processes: Tasks
    threads: Tasks
    roots: U64
    """(k,) the page tables of all threads, ascending, each once."""
    user: UserTables
    vmas: Vmas
    kinds: npt.NDArray[np.uint8]
    """Part that each of `vmas` is."""
    page_map: PageMap
    details: PageDetails
    consistency: Consistency


class Introspector:
    """Takes semantic snapshots of one kernel. Raises MissingType if the kernel has no known form.

    One that will look again and again is told so by `remember`. What it remembers of earlier looks never decides what
    it says: everything is read anew, and only what follows from the same bytes is not worked out again.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.tasks = TaskReader(kernel)
        self.maps = MapReader(kernel)
        self.pages = PageClassifier(kernel)
        self.details = PageDetailer(kernel)
        self.stands: Callable[[], bool] = _runs
        """Whether the machine stands still for longer than a look: it was paused, or is a dump. Asked before and after
        each reading: what was read in between is frozen.
        """
        self._tables: UserTableReader | None = None
        self._owners: OwnerReader | None = None
        # What was told last, and what it followed from.
        self._vmas_told: tuple[Vmas, npt.NDArray[np.int64], Vmas] | None = None
        self._parts_told: tuple[npt.NDArray[np.uint8], Vmas, Owners, npt.NDArray[np.uint8]] | None = None

    def remember(self) -> None:
        """Be ready for many looks, by compiled code, and keep what the last one found."""
        if self._tables is None:
            self._tables = UserTableReader(self.kernel.reader, self.kernel.levels)
            self._owners = OwnerReader(self.kernel)
            self.kernel.space.remember()
            self.pages.remember()
            self.tasks.remember()
            self.maps.remember()

    def look(self, *, frozen: bool = False) -> SemanticSnapshot:
        """Take one. `frozen`: the caller sees to it that nothing changes meanwhile.

        Raises KernelError where the kernel's records cannot be followed.
        """
        return self.finish(self.read(frozen=frozen))

    def read(self, *, frozen: bool = False) -> Reading:
        """The part of a look for which the guest's memory is read. See `look`."""
        started = time.monotonic()
        stood = not frozen and self.stands()
        processes, threads = self.tasks.both()
        roots = np.unique(threads.roots[threads.roots != 0])
        user = self._user_tables(roots)
        vmas, again = self._vmas(processes, frozen)
        if not frozen and not (unchanged := self.tasks.unchanged(threads)).all():
            # Who ended while we looked has given its tables back: what was found in them may be anything.
            kept = np.isin(roots, threads.roots[unchanged])
            user = user.tables_of(kept)
            processes, threads = (tasks.without_memory(roots[~kept]) for tasks in (processes, threads))
            vmas = vmas.only(processes.mms[vmas.owners] != 0)
        kinds = self.vma_parts(processes, vmas)
        page_map = self.pages.classify(threads, user)
        details = self.details.tell(page_map, threads, roots, user)
        standing = frozen or (stood and self.stands())
        consistency = "frozen" if standing else "retried" if again else threads.consistency
        return Reading(started, processes, threads, roots, user, vmas, kinds, page_map, details, consistency)

    def finish(self, reading: Reading) -> SemanticSnapshot:
        """What follows from what was read, without the guest's memory. Before the next is read."""
        processes, vmas, page_map = reading.processes, reading.vmas, reading.page_map
        owners = self._owners_of(processes.roots, reading.roots, reading.user)
        parts = self._parts(reading.kinds, vmas, owners, len(page_map.classes))
        took_s = time.monotonic() - reading.started_s
        threads, details = reading.threads, reading.details
        seen = SemanticSnapshot(reading.started_s, took_s, processes, threads, vmas, page_map, owners, parts, details)
        return seen.called(reading.consistency)

    def _parts(self, kinds: npt.NDArray[np.uint8], vmas: Vmas, owners: Owners, n_pages: int) -> npt.NDArray[np.uint8]:
        before = self._parts_told
        if before is None or before[1] is not vmas or before[2] is not owners or not np.array_equal(before[0], kinds):
            before = self._parts_told = kinds, vmas, owners, _parts(kinds, vmas, owners, n_pages)
        return before[3]

    def _user_tables(self, roots: U64) -> UserTables:
        if self._tables is not None:
            return self._tables.read(roots)
        return read_user_tables(self.kernel.reader, roots, self.kernel.levels)

    def _owners_of(self, process_roots: U64, roots: U64, user: UserTables) -> Owners:
        if self._owners is not None:
            return self._owners.read(process_roots, roots, user)
        return read_owners(self.kernel, process_roots, roots, user)

    def _vmas(self, processes: Tasks, frozen: bool) -> tuple[Vmas, bool]:
        """The memory maps of all processes, and whether they had to be asked for again."""
        own = np.flatnonzero(processes.mms)
        vmas = self.maps.vmas(processes.mms[own])
        retries = 0
        while not vmas.complete and not frozen and retries < RETRIES:
            vmas = self.maps.vmas(processes.mms[own])
            retries += 1
        before = self._vmas_told
        if before is None or before[0] is not vmas or not np.array_equal(before[1], own):
            before = self._vmas_told = vmas, own, _for_processes(vmas, own)
        return before[2], retries > 0

    def vma_parts(self, processes: Tasks, vmas: Vmas) -> npt.NDArray[np.uint8]:
        """(n,) Part that each region of these processes is."""
        kinds = np.full(len(vmas), Part.OTHER, np.uint8)
        kinds[vmas.files != 0] = Part.DATA
        kinds[vmas.flags & np.uint64(VM_EXEC) != 0] = Part.CODE
        kinds[vmas.flags & np.uint64(VM_GROWSDOWN) != 0] = Part.STACK
        start, end = self.maps.heaps(processes.mms)
        inside = (vmas.starts < end[vmas.owners]) & (vmas.ends > start[vmas.owners])
        kinds[inside & (vmas.files == 0)] = Part.HEAP
        return kinds


def _parts(kinds: npt.NDArray[np.uint8], vmas: Vmas, owners: Owners, n_pages: int) -> npt.NDArray[np.uint8]:
    """(n_pages,) the Part that each page is of the first process that maps it; `kinds` is that of each region."""
    parts = np.zeros(n_pages, np.uint8)
    # The first mapping of each page.
    pages = np.flatnonzero(owners.counts())
    first = owners.starts[pages]
    vma = find_vmas(vmas, owners.processes[first], owners.vaddrs[first])
    found = np.where(vma >= 0, kinds[np.maximum(vma, 0)], Part.OTHER) if len(kinds) else Part.OTHER
    parts[pages] = found
    return parts


def _runs() -> bool:
    return False


def find_vmas(vmas: Vmas, processes: npt.NDArray[np.integer[Any]], vaddrs: U64) -> npt.NDArray[np.int64]:
    """Which VMA holds each address (n,) of each process (n,); -1 for none."""
    if not len(vmas):
        return np.full(len(vaddrs), -1, np.int64)
    # VMAs are whole pages and in the order of process and address, so one number says both.
    index = np.searchsorted(_key(vmas.owners, vmas.starts), _key(processes, vaddrs), side="right") - 1
    at = np.maximum(index, 0)
    good = (index >= 0) & (vmas.owners[at] == processes) & (vaddrs < vmas.ends[at])
    return np.where(good, index, -1)


def _key(processes: npt.NDArray[np.integer[Any]], vaddrs: U64) -> U64:
    # Addresses of users have 56 bits at most, 44 without the place in a page.
    page = np.minimum(vaddrs >> np.uint64(12), np.uint64((1 << _PAGE_BITS) - 1))
    key: U64 = (processes.astype(np.uint64) << np.uint64(_PAGE_BITS)) | page
    return key


def _for_processes(vmas: Vmas, own: npt.NDArray[np.int64]) -> Vmas:
    return replace(vmas, owners=own[vmas.owners])
