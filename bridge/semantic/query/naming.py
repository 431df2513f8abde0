"""Naming: what pages are called, by what they hold and whose they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bridge.kernel.owned import Glance
from bridge.kernel.page_classes import CLASS_TITLES, PageClass
from bridge.kernel.page_details import KERNEL_TABLES
from bridge.kernel.snapshot import PART_TITLES, Part
from bridge.semantic.query.found import Found, grouped
from bridge.semantic.query.results import I64, NOBODY, U32
from bridge.semantic.query.texts import shown

FILES = (PageClass.FILE, PageClass.SHARED_MEMORY)
_SUBJECTS = (PageClass.SLAB, PageClass.KERNEL_STACK, PageClass.MODULE, PageClass.PAGE_TABLE, *FILES)
"""Classes whose pages are told apart by what they are of."""
KERNELS_OWN = (
    PageClass.KERNEL_TEXT,
    PageClass.KERNEL_RODATA,
    PageClass.KERNEL_DATA,
    PageClass.KERNEL_BSS,
    PageClass.MODULE,
    PageClass.PER_CPU,
)
"""Classes of the kernel's image: its pages stay its own where processes map them too."""


class Processes:
    """What processes are called. It holds their names alone, so that an answer that is kept holds no more."""

    def __init__(self, pids: list[int], names: Sequence[str]) -> None:
        self._names = dict(zip(pids, names, strict=True))

    def called(self, pid: int) -> str:
        """`sshd (412)`."""
        name = self._names.get(pid)
        return f"process {pid}" if name is None else f"{shown(name, 60)} ({pid})"

    def tables(self, pid: int) -> str:
        """Whose page tables."""
        return "page tables of the kernel" if pid == KERNEL_TABLES else f"page tables of {self.called(pid)}"


class Namer:
    """Names the pages of one look."""

    def __init__(self, glance: Glance) -> None:
        self.glance = glance
        self._pids = glance.processes.pids
        self.processes = Processes(self._pids.tolist(), glance.processes.names)

    def groups(self, pages: U32) -> Found:
        """Pages told apart by what they are: of a part of a process, of a file, of a slab cache, of a class. The
        largest group first.
        """
        keys, which = self._told_apart(pages)
        order = np.argsort(-np.bincount(which, minlength=len(keys)), kind="stable")
        groups = grouped(which, pages, len(keys)).some(order)
        called = [self._called(*key) for key in keys[order].tolist()]
        pids = [NOBODY if pid is None else pid for _, _, pid in called]
        labels, kinds = [label for label, _, _ in called], [kind for _, kind, _ in called]
        return Found(labels, kinds, np.array(pids, np.int64), groups.starts, groups.pages)

    def names(self, pages: npt.NDArray[np.int64] | U32) -> list[tuple[str, str, int | None]]:
        """Label, kind and process of each page (n,)."""
        keys, which = self._told_apart(pages)
        called = [self._called(*key) for key in keys.tolist()]
        return [called[index] for index in which.tolist()]

    def _told_apart(self, pages: npt.NDArray[np.int64] | U32) -> tuple[I64, I64]:
        """(k, 4) the keys that there are, see _keys, and (n,) which of them each page has."""
        found, which = np.unique(self._keys(pages), axis=0, return_inverse=True)
        return found, which.reshape(-1)

    def _keys(self, pages: npt.NDArray[np.int64] | U32) -> I64:
        """(n, 4): class, subject, index of the first process that maps it, part of that. -1, 0: does not matter."""
        look = self.glance
        classes = look.classes[pages].astype(np.int64)
        subjects = np.where(np.isin(classes, _SUBJECTS), look.details.subjects[pages], -1)
        named = np.isin(classes, FILES) & (subjects >= 0)
        # The zero page, say, is the kernel's, however many processes map it.
        owners = np.where(named | np.isin(classes, KERNELS_OWN), -1, look.first_owner[pages])
        owned = owners >= 0  # one part of a process is one thing, whatever classes its pages have
        keys = np.where(owned, 0, classes), np.where(owned, -1, subjects), owners, np.where(owned, look.parts[pages], 0)
        return np.stack(keys, axis=1)

    def _called(self, page_class: int, subject: int, owner: int, part: int) -> tuple[str, str, int | None]:
        details = self.glance.details
        if owner >= 0:
            pid = int(self._pids[owner])
            return f"{self.processes.called(pid)} {PART_TITLES[Part(part)].lower()}", "process", pid
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
        return self.processes.tables(details.tables[subject]), "page tables", details.tables[subject] or None
