"""Owners: which process maps which page, and where; the page tables of all processes, turned around."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bridge.kernel.kernel import Kernel
from bridge.kernel.paging import Mappings

Pages = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

_MAX_MAPPINGS = 16
"""Mappings a page of RAM, on average, that are kept."""


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


def read_owners(kernel: Kernel, process_roots: U64, roots: U64, user: Mappings) -> Owners:
    """Turn page tables around. `user` are the tables under `roots` (k,), ascending; `process_roots` (n,) says which is
    each process's, 0 for a process without an address space of its own.
    """
    n_pages = kernel.reader.ram.size_bytes >> 12
    pages, vaddrs, flags, spaces = _small_pages(kernel, user)
    with_one = np.flatnonzero(process_roots)
    space_of = np.searchsorted(roots, process_roots[with_one])
    first = np.full(len(roots), -1, np.int64)
    first[space_of[::-1]] = with_one[::-1]
    processes = first[spaces] if len(roots) else spaces
    # Processes made by vfork or CLONE_VM share their tables: what is mapped there is everyone's.
    sharing = with_one[first[space_of] != with_one]
    if len(sharing):
        again = [np.flatnonzero(spaces == np.searchsorted(roots, process_roots[process])) for process in sharing]
        index = np.concatenate([np.arange(len(pages)), *again])
        others = [np.full(len(found), process) for found, process in zip(again, sharing, strict=True)]
        processes = np.concatenate([processes, *others])
        pages, vaddrs, flags = pages[index], vaddrs[index], flags[index]
    if (processes < 0).any():  # of a thread whose process has given up its own already
        real = processes >= 0
        pages, vaddrs, flags, processes = pages[real], vaddrs[real], flags[real], processes[real]
    order = np.argsort(pages, kind="stable")
    counts = np.bincount(pages, minlength=n_pages)
    return Owners(
        pages[order],
        processes[order],
        vaddrs[order],
        flags[order],
        np.concatenate([[0], np.cumsum(counts)]),
    )


def _small_pages(kernel: Kernel, found: Mappings) -> tuple[Pages, U64, U64, Pages]:
    """(file page, virtual address, flags, space) of everything that is mapped, large pages taken apart."""
    large = np.flatnonzero(found.sizes != 4096)
    paddrs, vaddrs, flags, spaces = found.paddrs, found.vaddrs, found.flags, found.spaces
    if len(large):
        # A damaged entry may claim a page that is larger than the machine: what is beyond its RAM is left out below.
        limit = kernel.reader.n_pages
        counts = np.minimum(found.sizes >> np.uint64(12), np.uint64(limit)).astype(np.int64)
        counts[np.cumsum(counts) > _MAX_MAPPINGS * limit] = 0
        index = np.repeat(np.arange(len(counts)), counts)
        steps = np.arange(len(index)) - np.repeat(np.cumsum(counts) - counts, counts)
        step = steps.astype(np.uint64) << np.uint64(12)
        paddrs, vaddrs, flags, spaces = paddrs[index] + step, vaddrs[index] + step, flags[index], spaces[index]
    offsets, ok = kernel.reader.offsets(paddrs)
    pages = (offsets >> np.uint64(12)).astype(np.int64)
    if ok.all():
        return pages, vaddrs, flags, spaces
    return pages[ok], vaddrs[ok], flags[ok], spaces[ok]
