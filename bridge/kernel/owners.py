"""Owners: which process maps which page, and where; the page tables of all processes, turned around."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bridge.kernel.kernel import Kernel
from bridge.kernel.user_tables import Leaves, UserTables

Pages = npt.NDArray[np.int64]
I32 = npt.NDArray[np.int32]
U64 = npt.NDArray[np.uint64]

_MAX_MAPPINGS = 16
"""Mappings a page of RAM, on average, that are kept."""


@dataclass(frozen=True, slots=True)
class Owners:
    """Every mapping of a page of RAM by a process, ordered by page. Parallel arrays (m,)."""

    processes: I32
    """Which of the processes that were asked for."""
    vaddrs: U64
    starts: Pages
    """(n_pages + 1,): the mappings of page i of the RAM file are starts[i] to starts[i + 1]."""

    @property
    def pages(self) -> Pages:
        """(m,) the page of the RAM file that is mapped."""
        return np.repeat(np.arange(len(self.starts) - 1), self.counts())

    def of_page(self, page: int) -> list[tuple[int, int]]:
        """(process, virtual address) of each mapping of a page."""
        part = slice(int(self.starts[page]), int(self.starts[page + 1]))
        return list(zip(self.processes[part].tolist(), self.vaddrs[part].tolist(), strict=True))

    def counts(self) -> Pages:
        """(n_pages,) how many mappings each page has."""
        return np.diff(self.starts)

    def first(self) -> I32:
        """(n_pages,) the first process that maps each page, -1 for none."""
        firsts = np.full(len(self.starts) - 1, -1, np.int32)
        mapped = np.flatnonzero(self.counts())
        firsts[mapped] = self.processes[self.starts[mapped]]
        return firsts

    def pages_of(self, process: int) -> Pages:
        """The pages that a process maps, ascending, each once."""
        return np.unique(self.pages[self.processes == process])


def read_owners(kernel: Kernel, process_roots: U64, roots: U64, user: UserTables) -> Owners:
    """Turn page tables around. `user` are the tables under `roots` (k,), ascending; `process_roots` (n,) says which is
    each process's, 0 for a process without an address space of its own.
    """
    n_pages = kernel.reader.ram.size_bytes >> 12
    leaves = _small(user.leaves, kernel.reader.n_pages)
    spaces, processes = _who_has(process_roots, roots, leaves, kernel.reader.n_pages)
    parts = [np.arange(leaves.starts[space], leaves.starts[space + 1]) for space in spaces.tolist()]
    index = np.concatenate([np.zeros(0, np.int64), *parts])
    owner = np.repeat(processes, [len(part) for part in parts])
    offsets, ok = kernel.reader.offsets(leaves.paddrs[index])
    pages = (offsets[ok] >> np.uint64(12)).astype(np.int64)
    order = np.argsort(pages, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(pages, minlength=n_pages))])
    return Owners(owner[ok][order].astype(np.int32), leaves.vaddrs[index[ok][order]], starts)


class OwnerReader:
    """As `read_owners`, again and again, with compiled code.

    What the same processes map in the same places is the same object.
    """

    def __init__(self, kernel: Kernel) -> None:
        from bridge.kernel import table_loops  # not above: it loads a compiler

        self._loops = table_loops
        self._kernel = kernel
        self._asked: tuple[U64, U64, Leaves] | None = None
        self._told: Owners | None = None

    def read(self, process_roots: U64, roots: U64, user: UserTables) -> Owners:
        """What `read_owners` says."""
        if self._told is not None and self._asked is not None:
            before = self._asked
            if (
                before[2] is user.leaves
                and np.array_equal(before[0], process_roots)
                and np.array_equal(before[1], roots)
            ):
                return self._told
        reader = self._kernel.reader
        leaves = _small(user.leaves, reader.n_pages)
        spaces, processes = _who_has(process_roots, roots, leaves, reader.n_pages)
        n_most = int((leaves.starts[spaces + 1] - leaves.starts[spaces]).sum())
        starts = np.zeros((reader.ram.size_bytes >> 12) + 1, np.int64)
        owners, vaddrs = np.empty(n_most, np.int32), np.empty(n_most, np.uint64)
        n_found = self._loops.by_page(
            leaves.paddrs,
            leaves.vaddrs,
            leaves.starts,
            spaces,
            processes,
            reader.region_table,
            np.empty(len(leaves.paddrs), np.int32),
            starts,
            owners,
            vaddrs,
        )
        self._asked = (process_roots, roots, user.leaves)
        self._told = Owners(owners[:n_found], vaddrs[:n_found], starts)
        return self._told


def _who_has(process_roots: U64, roots: U64, leaves: Leaves, n_pages: int) -> tuple[Pages, Pages]:
    """Which of `roots` belongs to which process: spaces (m,) and processes (m,), in the order of the processes.

    What is mapped by those that share a space, made by vfork or CLONE_VM, is everyone's. So the first mapping of a page
    is that of the process that comes first, wherever in RAM the kernel has put anyone's tables.
    """
    with_one = np.flatnonzero(process_roots)
    space_of = np.searchsorted(roots, process_roots[with_one])
    spaces, firsts = np.unique(space_of, return_index=True)
    others = np.ones(len(with_one), np.bool_)
    others[firsts] = False
    spaces = np.concatenate([spaces, space_of[others]])
    processes = np.concatenate([with_one[firsts], with_one[others]])
    # Damaged lists may have everyone share the largest space: each space counts once before any does again.
    kept = np.cumsum(leaves.starts[spaces + 1] - leaves.starts[spaces]) <= 2 * _MAX_MAPPINGS * n_pages
    in_order = np.argsort(processes[kept])
    return spaces[kept][in_order], processes[kept][in_order]


def _small(leaves: Leaves, n_pages: int) -> Leaves:
    """The same with large pages taken apart."""
    if not leaves.levels.any():
        return leaves
    # A damaged entry may claim a page that is larger than the machine: what is beyond its RAM is left out later.
    sizes = np.int64(1) << (np.int64(9) * leaves.levels)
    counts = np.minimum(sizes, n_pages)
    counts[np.cumsum(counts) > _MAX_MAPPINGS * n_pages] = 0
    ends = np.cumsum(counts)
    index = np.repeat(np.arange(len(counts)), counts)
    step = (np.arange(len(index)) - np.repeat(ends - counts, counts)).astype(np.uint64) << np.uint64(12)
    starts = np.concatenate([[0], ends])[leaves.starts]
    levels = np.zeros(len(index), np.uint8)
    return Leaves(leaves.vaddrs[index] + step, leaves.paddrs[index] + step, levels, starts)
