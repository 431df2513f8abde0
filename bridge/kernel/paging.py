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
    """Leaves of page tables. Parallel arrays (n,): where in virtual memory, where in physical memory, how large."""

    vaddrs: U64
    paddrs: U64
    sizes: U64
    """4 KiB, 2 MiB or 1 GiB, in bytes."""
    flags: U64
    """The leaf entry; USER, WRITABLE and NO_EXECUTE hold for the whole walk."""
    tables: U64
    """(m,) physical addresses of the tables themselves, the root among them."""
    truncated: bool
    """Whether the tables led to more than a sane guest can have, and the walk stopped."""


def walk(reader: PhysicalReader, root: int, levels: int, *, half: str = "both") -> Mappings:
    """Every mapping under `root`; `half` is "user" (the lower half of the space), "kernel" or "both".

    However damaged the tables are, the walk ends: it has `levels` steps, and no step follows more tables than the
    machine has pages.
    """
    limit = reader.n_pages
    tables = np.array([root & ADDRESS_MASK], np.uint64)
    bases = np.zeros(1, np.uint64)
    allowed = np.full(1, USER | WRITABLE, np.uint64)
    forbidden = np.zeros(1, np.uint64)
    found: list[tuple[U64, U64, U64, U64]] = []
    seen = [tables]
    truncated = False
    for level in reversed(range(levels)):
        if len(tables) > limit:
            tables, bases, allowed, forbidden = tables[:limit], bases[:limit], allowed[:limit], forbidden[:limit]
            truncated = True
        rows, ok = reader.rows(tables, 4096)
        entries = rows.view("<u8").reshape(len(tables), _ENTRIES)
        present = ok[:, None] & (entries & _u(PRESENT) != 0)
        if level == levels - 1 and half != "both":
            present[:, slice(256, None) if half == "user" else slice(0, 256)] = False
        table, slot = np.nonzero(present)
        entry = entries[table, slot].astype(np.uint64)
        shift = 12 + 9 * level
        vaddr = bases[table] + (slot.astype(np.uint64) << _u(shift))
        allow, forbid = allowed[table] & entry, forbidden[table] | entry & _u(NO_EXECUTE)
        leaf = np.ones(len(entry), np.bool_) if level == 0 else (entry & _u(LARGE) != 0) & (level <= 2)
        inside = _u((1 << shift) - 1)
        found.append(
            (
                vaddr[leaf],
                entry[leaf] & _u(ADDRESS_MASK) & ~inside,
                np.full(int(leaf.sum()), 1 << shift, np.uint64),
                entry[leaf] & ~_u(USER | WRITABLE | NO_EXECUTE) | allow[leaf] | forbid[leaf],
            )
        )
        below = ~leaf
        tables, bases = entry[below] & _u(ADDRESS_MASK), vaddr[below]
        allowed, forbidden = allow[below], forbid[below]
        if not len(tables):
            break
        seen.append(np.unique(tables))
    vaddrs, paddrs, sizes, flags = (np.concatenate(parts) for parts in zip(*found, strict=True))
    # The upper half of the space has all bits set above those that the tables translate.
    top = _u(1 << (9 * levels + 11))
    vaddrs = np.where(vaddrs & top != 0, vaddrs | ~(top | (top - _u(1))), vaddrs)
    order = np.argsort(vaddrs, kind="stable")
    all_tables = np.unique(np.concatenate(seen))
    return Mappings(vaddrs[order], paddrs[order], sizes[order], flags[order], all_tables, truncated)
