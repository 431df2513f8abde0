"""Places: which memory is searched, in which order, and what of it belongs together.

All pieces are counted through, one after the other: a *position* is a byte in that order. Pieces that are joined go on
where the one before ends, so a match may begin in one and end in the next.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bridge.memory.physical_map import PAGE_BYTES, PhysicalMap

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class VirtualPages:
    """Pages of one address space, in any order: a process's heap, all that it maps."""

    vaddrs: U64
    """(n,) where each page begins in the address space; multiples of 4,096."""
    pages: npt.NDArray[np.uint32]
    """(n,) the page of the RAM file that is mapped there."""


@dataclass(frozen=True, slots=True)
class Places:
    """Pieces of a RAM file in the order in which they are searched."""

    offsets: I64
    """(n,) where each begins in the RAM file."""
    starts: I64
    """(n + 1,) position of each, and of the end."""
    joined: npt.NDArray[np.uint8]
    """(n,) 1 where a piece goes on where the one before ends."""
    vaddrs: U64 | None = None
    """(n,) virtual address of each, in an address space."""

    @property
    def n_bytes(self) -> int:
        """How much there is to search."""
        return int(self.starts[-1])

    def offsets_of(self, positions: I64) -> U64:
        """(n,) offsets in the RAM file."""
        piece = np.searchsorted(self.starts, positions, side="right") - 1
        return (self.offsets[piece] + positions - self.starts[piece]).astype(np.uint64)

    def vaddrs_of(self, positions: I64) -> U64:
        """(n,) virtual addresses; only of places in an address space."""
        assert self.vaddrs is not None
        piece = np.searchsorted(self.starts, positions, side="right") - 1
        return self.vaddrs[piece] + (positions - self.starts[piece]).astype(np.uint64)

    def parts_of(self, positions: I64, lengths: I64) -> I64:
        """(m, 3) the parts of each match: its index, offset in the RAM file, length. One where it lies in one piece."""
        first = np.searchsorted(self.starts, positions, side="right") - 1
        last = np.searchsorted(self.starts, positions + np.maximum(lengths, 1) - 1, side="right") - 1
        n_parts = last - first + 1
        index = np.repeat(np.arange(len(positions)), n_parts)
        piece = np.arange(len(index)) - np.repeat(np.cumsum(n_parts) - n_parts, n_parts) + first[index]
        begin = np.maximum(positions[index], self.starts[piece])
        end = np.minimum(positions[index] + lengths[index], self.starts[piece + 1])
        return np.column_stack([index, self.offsets[piece] + begin - self.starts[piece], end - begin])


def physical_places(physical_map: PhysicalMap, size_bytes: int, pages: Mask | None = None) -> Places:
    """All of RAM, or the pages of a mask (n_pages,), by offset in the file.

    Memory goes on from one page to the next where the guest's physical addresses do.
    """
    cuts = _cuts(physical_map, size_bytes)
    if pages is None:
        begins, ends = cuts[:-1], cuts[1:]
    else:
        wanted = np.zeros(size_bytes // PAGE_BYTES + 2, np.int8)
        wanted[1:-1] = pages
        change = np.diff(wanted)
        begins, ends = np.flatnonzero(change == 1) * PAGE_BYTES, np.flatnonzero(change == -1) * PAGE_BYTES
        at = np.searchsorted(begins, cuts, side="right") - 1
        inside = cuts[(at >= 0) & (cuts < np.append(ends, 0)[at])]
        begins, ends = np.union1d(begins, inside), np.union1d(ends, inside[~np.isin(inside, begins)])
    return _places(begins, ends - begins, np.zeros(len(begins), np.bool_), None)


def virtual_places(virtual: VirtualPages, n_pages: int) -> Places:
    """Pages in the order of their virtual addresses. Memory goes on where those do, wherever the pages lie.

    Pages that the RAM file does not have are left out.
    """
    order = np.argsort(virtual.vaddrs, kind="stable")
    vaddrs, pages = virtual.vaddrs[order], virtual.pages[order].astype(np.int64)
    there = pages < n_pages
    vaddrs, pages = vaddrs[there], pages[there]
    if not len(pages):
        return _places(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.bool_), vaddrs)
    goes_on = np.diff(vaddrs) == PAGE_BYTES
    # Pages that lie one after the other in the file too are read in one go.
    new = np.concatenate([[True], ~(goes_on & (np.diff(pages) == 1))])
    first = np.flatnonzero(new)
    n = np.diff(np.append(first, len(pages)))
    joined = np.concatenate([[False], goes_on])[first]
    return _places(pages[first] * PAGE_BYTES, n * PAGE_BYTES, joined, vaddrs[first])


def _cuts(physical_map: PhysicalMap, size_bytes: int) -> I64:
    """Offsets, from 0 to the end, at which memory does not go on in the guest's physical addresses."""
    edges = {0, size_bytes}
    for region in (*physical_map.regions, *physical_map.shadowed):
        for edge in (region.offset, region.offset_end):
            if 0 < edge < size_bytes:
                before, after = physical_map.paddr_from_offset(np.array([edge - 1, edge], np.uint64)).tolist()
                if after != before + 1:
                    edges.add(edge)
    return np.array(sorted(edges), np.int64)


def _places(offsets: I64, lengths: I64, joined: Mask, vaddrs: U64 | None) -> Places:
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Places(offsets.astype(np.int64), starts, joined.astype(np.uint8), vaddrs)
