"""Naming: what pages are called, by what they hold and whose they are; and where they lie for the guest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bridge.kernel.owned import Glance
from bridge.kernel.page_classes import CLASS_TITLES, PageClass
from bridge.kernel.page_details import KERNEL_TABLES
from bridge.kernel.snapshot import PART_TITLES, Part
from bridge.memory.physical_map import PAGE_BYTES, PhysicalMap
from bridge.semantic.query.results import NO_RANGES, U32, Ranges
from bridge.semantic.query.texts import shown

I64 = npt.NDArray[np.int64]
SEVERAL = "several"
FILES = (PageClass.FILE, PageClass.SHARED_MEMORY)
_SUBJECTS = (PageClass.SLAB, PageClass.KERNEL_STACK, PageClass.MODULE, PageClass.PAGE_TABLE, *FILES)
"""Classes whose pages are told apart by what they are of."""
_KERNELS_OWN = (
    PageClass.KERNEL_TEXT,
    PageClass.KERNEL_RODATA,
    PageClass.KERNEL_DATA,
    PageClass.KERNEL_BSS,
    PageClass.MODULE,
    PageClass.PER_CPU,
)
"""Classes of the kernel's image: its pages stay its own where processes map them too."""


_FEW = 32
"""Pages that are put together one by one: for so few, arrays take longer."""


@dataclass(frozen=True, slots=True)
class Named:
    """Some pages that go by one name."""

    label: str
    kind: str
    pid: int | None
    pages: U32


class Namer:
    """Names the pages of one look."""

    def __init__(self, glance: Glance, physical_map: PhysicalMap) -> None:
        self.glance = glance
        self._map = physical_map
        self._pids = glance.processes.pids
        self._by_pid = dict(zip(self._pids.tolist(), glance.processes.names, strict=True))
        self._called_so: dict[int, str] = {}
        self._paddrs: I64 | None = None
        """(n_pages,) where each page lies for the guest, -1 for nowhere; made when it is first needed."""

    def process(self, pid: int) -> str:
        """`sshd (412)`."""
        called = self._called_so.get(pid)
        if called is None:
            called = f"{shown(self._by_pid[pid], 60)} ({pid})" if pid in self._by_pid else f"process {pid}"
            self._called_so[pid] = called
        return called

    def class_of(self, pages: U32) -> str:
        """The title of the class that pages have, or that they have several."""
        if not len(pages):
            return ""
        # An answer has thousands of matches, most of few pages: no set is made of those.
        kinds = self.glance.classes[pages]
        first = int(kinds[0])
        return CLASS_TITLES[PageClass(first)] if len(kinds) == 1 or not (kinds != first).any() else SEVERAL

    def ranges(self, pages: U32) -> Ranges:
        """(n, 2) where pages lie for the guest: start and length, those that touch as one, by address."""
        if not len(pages):
            return NO_RANGES
        if self._paddrs is None:
            offsets = np.arange(len(self.glance.classes), dtype=np.uint64) * np.uint64(PAGE_BYTES)
            self._paddrs = self._map.paddr_from_offset(offsets)
        paddrs = self._paddrs[pages]
        if len(paddrs) <= _FEW:
            return _joined(sorted(paddrs.tolist()))
        paddrs = np.sort(paddrs[paddrs >= 0])
        first = np.flatnonzero(np.diff(paddrs, prepend=-2 * PAGE_BYTES) != PAGE_BYTES)
        counts = np.diff(np.append(first, len(paddrs)))
        return np.stack([paddrs[first], counts * PAGE_BYTES], axis=1)

    def groups(self, pages: U32) -> Iterator[Named]:
        """Pages told apart by what they are: of a part of a process, of a file, of a slab cache, of a class. The
        largest group first.
        """
        keys = self._keys(pages)
        found, which = np.unique(keys, axis=0, return_inverse=True)
        order = np.argsort(which.reshape(-1), kind="stable")
        counts = np.bincount(which.reshape(-1), minlength=len(found))
        pieces = np.split(pages[order], np.cumsum(counts)[:-1]) if len(found) else []
        for index in np.argsort(-counts, kind="stable").tolist():
            yield Named(*self._called(*found[index].tolist()), np.sort(pieces[index]))

    def names(self, pages: npt.NDArray[np.int64] | U32) -> list[tuple[str, str, int | None]]:
        """Label, kind and process of each page (n,)."""
        keys = self._keys(pages)
        found, which = np.unique(keys, axis=0, return_inverse=True)
        called = [self._called(*key) for key in found.tolist()]
        return [called[index] for index in which.reshape(-1).tolist()]

    def _keys(self, pages: npt.NDArray[np.int64] | U32) -> I64:
        """(n, 4): class, subject, index of the first process that maps it, part of that. -1, 0: does not matter."""
        look = self.glance
        classes = look.classes[pages].astype(np.int64)
        subjects = np.where(np.isin(classes, _SUBJECTS), look.details.subjects[pages], -1)
        named = np.isin(classes, FILES) & (subjects >= 0)
        # The zero page, say, is the kernel's, however many processes map it.
        owners = np.where(named | np.isin(classes, _KERNELS_OWN), -1, look.first_owner[pages])
        owned = owners >= 0  # one part of a process is one thing, whatever classes its pages have
        keys = np.where(owned, 0, classes), np.where(owned, -1, subjects), owners, np.where(owned, look.parts[pages], 0)
        return np.stack(keys, axis=1)

    def _called(self, page_class: int, subject: int, owner: int, part: int) -> tuple[str, str, int | None]:
        details = self.glance.details
        if owner >= 0:
            pid = int(self._pids[owner])
            return f"{self.process(pid)} {PART_TITLES[Part(part)].lower()}", "process", pid
        title = CLASS_TITLES[PageClass(page_class)]
        if subject < 0:
            return title, "class", None
        if page_class in FILES:
            return shown(details.files[subject].path), "file", None
        if page_class == PageClass.SLAB:
            return f"slab {shown(details.caches[subject])}", "slab", None
        if page_class == PageClass.MODULE:
            return f"module {shown(details.modules[subject])}", "module", None
        if page_class == PageClass.KERNEL_STACK:
            task = details.stacks[subject]
            return f"kernel stack of {shown(task.name)} ({task.tid})", "kernel stack", task.pid
        return self.tables(details.tables[subject]), "page tables", details.tables[subject] or None

    def tables(self, pid: int) -> str:
        """Whose page tables."""
        return "page tables of the kernel" if pid == KERNEL_TABLES else f"page tables of {self.process(pid)}"


def _joined(paddrs: list[int]) -> Ranges:
    """(n, 2) the same of a few pages, ascending."""
    found: list[list[int]] = []
    for paddr in paddrs:
        if found and found[-1][0] + found[-1][1] == paddr:
            found[-1][1] += PAGE_BYTES
        elif paddr >= 0:
            found.append([paddr, PAGE_BYTES])
    return np.array(found, np.int64).reshape(-1, 2)
