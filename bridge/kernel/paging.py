"""Page-table walks on x86-64, four and five levels, pages of 4 KiB, 2 MiB and 1 GiB, many addresses at a time.

Intel SDM vol. 3A, chapter 4 ("Paging"): an entry's bit 0 says that it is present, bit 7 in the second and third level
from below that it maps a large page; bits 12 to 51 are a physical address.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bridge.memory.physical import Mask, PhysicalReader

U64 = npt.NDArray[np.uint64]

PRESENT, WRITABLE, USER, LARGE, NO_EXECUTE = 1 << 0, 1 << 1, 1 << 2, 1 << 7, 1 << 63
ADDRESS_MASK = 0x000F_FFFF_FFFF_F000
_ENTRIES = 512


def _u(value: int) -> np.uint64:
    return np.uint64(value)


def is_canonical(vaddrs: U64, levels: int) -> Mask:
    """Whether all bits above the ones that the tables translate are copies of the highest of those."""
    top = vaddrs.astype(np.int64) >> np.int64(9 * levels + 11)
    canonical: Mask = (top == 0) | (top == -1)
    return canonical


def translate(reader: PhysicalReader, root: int, levels: int, vaddrs: U64) -> tuple[U64, U64, Mask]:
    """Virtual addresses (n,) through the tables at physical address `root`.

    Returns physical addresses (n,), the leaf entries with the flags gathered on the way (n,): USER and WRITABLE only
    where every level says so, NO_EXECUTE where any does, and a mask (n,) of what is mapped; zeros elsewhere.
    """
    vaddrs = np.asarray(vaddrs, np.uint64)
    tables = np.full(len(vaddrs), root & ADDRESS_MASK, np.uint64)
    walking = is_canonical(vaddrs, levels)
    paddrs = np.zeros(len(vaddrs), np.uint64)
    leaves = np.zeros(len(vaddrs), np.uint64)
    allowed = np.full(len(vaddrs), USER | WRITABLE, np.uint64)
    forbidden = np.zeros(len(vaddrs), np.uint64)
    mapped = np.zeros(len(vaddrs), np.bool_)
    for level in reversed(range(levels)):
        shift = _u(12 + 9 * level)
        entries, ok = reader.words(tables + ((vaddrs >> shift) & _u(511)) * _u(8))
        walking &= ok & (entries & _u(PRESENT) != 0)
        allowed &= entries
        forbidden |= entries & _u(NO_EXECUTE)
        done = walking if level == 0 else walking & (entries & _u(LARGE) != 0) & (level <= 2)
        inside = (_u(1) << shift) - _u(1)
        paddrs = np.where(done, (entries & _u(ADDRESS_MASK) & ~inside) | (vaddrs & inside), paddrs)
        leaves = np.where(done, entries & ~_u(USER | WRITABLE | NO_EXECUTE) | allowed | forbidden, leaves)
        mapped |= done
        walking = walking & ~done
        tables = entries & _u(ADDRESS_MASK)
        if not walking.any():
            break
    return paddrs, leaves, mapped


@dataclass(frozen=True, slots=True)
class Mappings:
    """Leaves of page tables, ordered by space and address. Parallel arrays (n,): where in virtual memory, where in
    physical memory, how large.
    """

    vaddrs: U64
    paddrs: U64
    sizes: U64
    """4 KiB, 2 MiB or 1 GiB, in bytes."""
    flags: U64
    """The leaf entry; USER, WRITABLE and NO_EXECUTE hold for the whole walk."""
    spaces: npt.NDArray[np.int64]
    """Which of the roots that were walked."""
    tables: U64
    """(m,) physical addresses of the tables themselves, the roots among them, ascending, each once."""
    table_spaces: npt.NDArray[np.int64]
    """(m,) under which root each table was found first."""
    table_levels: npt.NDArray[np.uint8]
    """(m,) 0 for tables of pages of 4 KiB, up to levels - 1 for a root."""
    truncated: bool
    """Whether the tables led to more than a sane guest can have, and the walk stopped."""

    def translate(self, vaddrs: U64) -> tuple[U64, Mask]:
        """As `AddressSpace.translate`, by these mappings of one space: a search instead of a walk."""
        if not len(self.vaddrs):
            return np.zeros(len(vaddrs), np.uint64), np.zeros(len(vaddrs), np.bool_)
        index = np.searchsorted(self.vaddrs, vaddrs, side="right") - 1
        mapped = index >= 0
        index = np.maximum(index, 0)
        inside = vaddrs - self.vaddrs[index]
        mapped &= inside < self.sizes[index]
        return np.where(mapped, self.paddrs[index] + inside, _u(0)), mapped


def walk(reader: PhysicalReader, root: int, levels: int, *, half: str = "both") -> Mappings:
    """Every mapping under `root`: `walk_all` of one."""
    return walk_all(reader, np.array([root], np.uint64), levels, half=half)


def walk_all(
    reader: PhysicalReader,
    roots: U64,
    levels: int,
    *,
    half: str = "both",
    contents: list[tuple[U64, npt.NDArray[np.uint8]]] | None = None,
) -> Mappings:
    """Every mapping under each of `roots` (k,); `half` is "user" (the lower half of the space), "kernel" or "both".

    All trees are walked together, a level a step. However damaged they are, the walk ends: no step follows more tables
    than the machine has pages, and no more leaves are kept than a few times that number. `contents`, where given, gets
    what was read: addresses of tables (t,), and their bytes (t, 4096).
    """
    limit = reader.n_pages
    level_in = _Tables(
        roots & _u(ADDRESS_MASK),
        np.arange(len(roots)),
        np.zeros(len(roots), np.uint64),
        np.full(len(roots), USER | WRITABLE, np.uint64),
        np.zeros(len(roots), np.uint64),
    )
    found: list[tuple[U64, U64, U64, U64, npt.NDArray[np.int64]]] = []
    seen: list[tuple[U64, npt.NDArray[np.int64], int]] = [(level_in.paddrs, level_in.spaces, levels - 1)]
    truncated = False
    n_leaves = 0
    for level in reversed(range(levels)):
        below: list[_Tables] = []
        for first in range(0, len(level_in.paddrs), _STEP):
            part = level_in.part(slice(first, first + _STEP))
            rows, _ = reader.rows(part.paddrs, 4096)  # what is not RAM is zero: nothing in it is present
            if contents is not None:
                contents.append((part.paddrs, rows))
            leaves, tables = _step(rows, part, level, half if level == levels - 1 else "both")
            n_leaves += len(leaves[0])
            if n_leaves > MAX_LEAVES * limit or sum(len(b.paddrs) for b in below) + len(tables.paddrs) > limit:
                truncated = True
                break
            found.append(leaves)
            below.append(tables)
        if not below:
            break
        level_in = _Tables.joined(below)
        if not len(level_in.paddrs):
            break
        seen.append((level_in.paddrs, level_in.spaces, level - 1))
    if not found:
        found.append((*(np.zeros(0, np.uint64) for _ in range(4)), np.zeros(0, np.int64)))  # type: ignore[arg-type]
    vaddrs, paddrs, sizes, flags = (np.concatenate([part[i] for part in found]) for i in range(4))
    spaces = np.concatenate([part[4] for part in found])
    # The upper half of the space has all bits set above those that the tables translate.
    top = _u(1 << (9 * levels + 11))
    vaddrs = np.where(vaddrs & top != 0, vaddrs | ~(top | (top - _u(1))), vaddrs)
    if np.count_nonzero([len(part[0]) for part in found]) > 1:  # the leaves of one step are in order already
        order = np.lexsort((vaddrs, spaces))
        vaddrs, paddrs, sizes, flags, spaces = (a[order] for a in (vaddrs, paddrs, sizes, flags, spaces))
    all_tables, places = np.unique(np.concatenate([tables for tables, _, _ in seen]), return_index=True)
    return Mappings(
        vaddrs,
        paddrs,
        sizes,
        flags,
        spaces,
        all_tables,
        np.concatenate([spaces for _, spaces, _ in seen])[places],
        np.concatenate([np.full(len(tables), level, np.uint8) for tables, _, level in seen])[places],
        truncated,
    )


_STEP = 4096
"""Tables that are read at once: 16 MiB of them."""
MAX_LEAVES = 16
"""Mappings a page of RAM, on average, that a walk keeps: a page of the C library has one in every process."""


@dataclass(frozen=True, slots=True)
class _Tables:
    """Tables of one level that wait to be read. Parallel arrays."""

    paddrs: U64
    spaces: npt.NDArray[np.int64]
    bases: U64
    """The first virtual address that each one translates."""
    allowed: U64
    forbidden: U64

    def part(self, which: slice) -> _Tables:
        return _Tables(
            self.paddrs[which], self.spaces[which], self.bases[which], self.allowed[which], self.forbidden[which]
        )

    @classmethod
    def joined(cls, parts: list[_Tables]) -> _Tables:
        if len(parts) == 1:
            return parts[0]
        return cls(
            np.concatenate([part.paddrs for part in parts]),
            np.concatenate([part.spaces for part in parts]),
            np.concatenate([part.bases for part in parts]),
            np.concatenate([part.allowed for part in parts]),
            np.concatenate([part.forbidden for part in parts]),
        )


def _step(
    rows: npt.NDArray[np.uint8], tables: _Tables, level: int, half: str
) -> tuple[tuple[U64, U64, U64, U64, npt.NDArray[np.int64]], _Tables]:
    """Leaves of tables of one level (virtual and physical addresses, sizes, flags, spaces), and the tables below."""
    entries = rows.view("<u8").reshape(len(rows), _ENTRIES)
    present = (entries & _u(PRESENT)).astype(np.bool_)
    if half != "both":
        present[:, slice(256, None) if half == "user" else slice(0, 256)] = False
    at = np.flatnonzero(present)
    table, entry = at >> 9, entries.reshape(-1)[at]
    shift = 12 + 9 * level
    vaddr = tables.bases[table] + ((at & 511).astype(np.uint64) << _u(shift))
    allow, forbid = tables.allowed[table] & entry, tables.forbidden[table] | entry & _u(NO_EXECUTE)
    spaces = tables.spaces[table]
    if level == 0:
        leaf = np.ones(len(entry), np.bool_)
    else:
        leaf = (entry & _u(LARGE) != 0) if level <= 2 else np.zeros(len(entry), np.bool_)
    inside = _u((1 << shift) - 1)
    kept = entry[leaf]
    leaves = (
        vaddr[leaf],
        kept & _u(ADDRESS_MASK) & ~inside,
        np.full(len(kept), 1 << shift, np.uint64),
        kept & ~_u(USER | WRITABLE | NO_EXECUTE) | allow[leaf] | forbid[leaf],
        spaces[leaf],
    )
    below = ~leaf
    return leaves, _Tables(entry[below] & _u(ADDRESS_MASK), spaces[below], vaddr[below], allow[below], forbid[below])
