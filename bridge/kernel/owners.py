"""Owners: which process maps which page, and where; the page tables of all processes, turned around."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bridge.kernel.kernel import Kernel
from bridge.kernel.paging import walk

Pages = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Owners:
    """Every mapping of a page of RAM by a process, ordered by page. Parallel arrays (m,)."""

    pages: Pages
    """Page of the RAM file."""
    processes: Pages
    """Which of the processes that were asked for."""
    vaddrs: U64
    flags: U64
    """The leaf entry's flags, with USER, WRITABLE and NO_EXECUTE of the whole walk."""
    starts: Pages
    """(n_pages + 1,): the mappings of page i are starts[i] to starts[i + 1]."""

    def of_page(self, page: int) -> list[tuple[int, int]]:
        """(process, virtual address) of each mapping of a page."""
        part = slice(int(self.starts[page]), int(self.starts[page + 1]))
        return list(zip(self.processes[part].tolist(), self.vaddrs[part].tolist(), strict=True))

    def counts(self) -> Pages:
        """(n_pages,) how many mappings each page has."""
        return np.diff(self.starts)

    def first(self) -> Pages:
        """(n_pages,) the first process that maps each page, -1 for none."""
        firsts = np.full(len(self.starts) - 1, -1, np.int64)
        mapped = np.flatnonzero(self.counts())
        firsts[mapped] = self.processes[self.starts[mapped]]
        return firsts

    def pages_of(self, process: int) -> Pages:
        """The pages that a process maps, ascending, each once."""
        return np.unique(self.pages[self.processes == process])


def read_owners(kernel: Kernel, roots: U64) -> Owners:
    """Walk the user half of the page tables at `roots` (n,), 0 for a process without an address space of its own."""
    reader = kernel.reader
    n_pages = reader.ram.size_bytes >> 12
    found_pages: list[Pages] = []
    found_processes: list[Pages] = []
    found_vaddrs: list[U64] = []
    found_flags: list[U64] = []
    walked: dict[int, tuple[Pages, U64, U64]] = {}
    for process, root in enumerate(roots.tolist()):
        if not root:
            continue
        if root not in walked:  # processes made by vfork or CLONE_VM share theirs
            walked[root] = _small_pages(kernel, root)
        pages, vaddrs, flags = walked[root]
        found_pages.append(pages)
        found_vaddrs.append(vaddrs)
        found_flags.append(flags)
        found_processes.append(np.full(len(pages), process, np.int64))
    if not found_pages:
        empty = np.zeros(0, np.uint64)
        return Owners(np.zeros(0, np.int64), np.zeros(0, np.int64), empty, empty, np.zeros(n_pages + 1, np.int64))
    pages = np.concatenate(found_pages)
    order = np.argsort(pages, kind="stable")
    counts = np.bincount(pages, minlength=n_pages)
    return Owners(
        pages[order],
        np.concatenate(found_processes)[order],
        np.concatenate(found_vaddrs)[order],
        np.concatenate(found_flags)[order],
        np.concatenate([[0], np.cumsum(counts)]),
    )


def _small_pages(kernel: Kernel, root: int) -> tuple[Pages, U64, U64]:
    """(file page, virtual address, flags) of everything that one process maps, large pages taken apart."""
    found = walk(kernel.reader, root, kernel.levels, half="user")
    # A damaged entry may claim a page that is larger than the machine: what is beyond its RAM is left out below.
    counts = np.minimum(found.sizes >> np.uint64(12), np.uint64(kernel.reader.n_pages)).astype(np.int64)
    total = int(counts.sum())
    if total > 16 * kernel.reader.n_pages:
        keep = np.cumsum(counts) <= 16 * kernel.reader.n_pages
        counts = np.where(keep, counts, 0)
        total = int(counts.sum())
    index = np.repeat(np.arange(len(counts)), counts)
    step = (np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)).astype(np.uint64) << np.uint64(12)
    offsets, ok = kernel.reader.offsets(found.paddrs[index] + step)
    return (offsets[ok] >> np.uint64(12)).astype(np.int64), (found.vaddrs[index] + step)[ok], found.flags[index][ok]
