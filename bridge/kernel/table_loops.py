"""The compiled loops that read the page tables of all processes, and turn them around: millions of entries a second."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bridge.memory.native import compiled, inlined

U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
I32 = npt.NDArray[np.int32]

_PRESENT, _LARGE = np.uint64(1 << 0), np.uint64(1 << 7)
_ADDRESS = np.uint64(0x000F_FFFF_FFFF_F000)
_NOWHERE = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
_MAX_LEVELS = 5

WALKED, NO_ROOM, TOO_MUCH = 0, 1, 2
"""How a walk ended: well; the arrays were too short; there was more than a sane guest has."""


@inlined
def _place_of(paddr: np.uint64, regions: U64, length: int) -> np.uint64:
    """Where in the file a physical address lies, if `length` bytes there are RAM, in one region; else NOWHERE."""
    for region in range(len(regions)):
        if paddr >= regions[region, 0] and paddr < regions[region, 1]:
            if regions[region, 1] - paddr >= np.uint64(length):
                return np.uint64(paddr + regions[region, 2])
            return _NOWHERE
    return _NOWHERE


@inlined
def _any_present(words: U64, line: int) -> bool:
    """Whether any of eight entries is present. Most tables are nearly empty."""
    some = words[line] | words[line + 1] | words[line + 2] | words[line + 3]
    some |= words[line + 4] | words[line + 5] | words[line + 6] | words[line + 7]
    return bool(some & _PRESENT != np.uint64(0))


@compiled(nogil=True)
def walk_user(
    words: U64,
    regions: U64,
    roots: U64,
    levels: int,
    max_tables: int,
    max_leaves: int,
    vaddrs: U64,
    paddrs: U64,
    leaf_levels: U8,
    leaf_starts: I64,
    tables: U64,
    table_levels: U8,
    table_starts: I64,
) -> tuple[int, int, int]:
    """Follow the lower half of each of `roots` (k,), depth first.

    `words` is the RAM; `regions` (r, 3) where each region of it starts and ends in physical memory, and what is added
    to an address for its place in the file. Leaves go to `vaddrs`, `paddrs` and `leaf_levels`, those of root i from
    leaf_starts[i] on (k + 1,); tables likewise, with the roots. Returns how it ended, how many leaves, how many tables.
    """
    places = np.zeros(_MAX_LEVELS, np.int64)
    entries = np.zeros(_MAX_LEVELS, np.int64)
    bases = np.zeros(_MAX_LEVELS, np.uint64)
    counts = np.zeros(_MAX_LEVELS, np.int64)
    n_leaves = 0
    n_tables = 0
    for space in range(len(roots)):
        leaf_starts[space] = n_leaves
        table_starts[space] = n_tables
        level = levels - 1
        paddr = roots[space] & _ADDRESS
        base = np.uint64(0)
        entering = True
        while level < levels:
            if entering:
                entering = False
                if n_tables == len(tables):
                    return NO_ROOM, n_leaves, n_tables
                tables[n_tables] = paddr
                table_levels[n_tables] = level
                n_tables += 1
                offset = _place_of(paddr, regions, 4096)
                place = np.int64(offset >> np.uint64(3))
                if offset == _NOWHERE or place + 512 > len(words):
                    level += 1  # what is not RAM is zero: nothing in it is present
                    continue
                if level > 0:
                    places[level] = place
                    entries[level] = 0
                    bases[level] = base
                    continue
                if n_leaves + 512 > len(vaddrs):
                    return NO_ROOM, n_leaves, n_tables
                for line in range(place, place + 512, 8):
                    if not _any_present(words, line):
                        continue
                    for at in range(line, line + 8):
                        entry = words[at]
                        if entry & _PRESENT != np.uint64(0):
                            vaddrs[n_leaves] = base + (np.uint64(at - place) << np.uint64(12))
                            paddrs[n_leaves] = entry & _ADDRESS
                            leaf_levels[n_leaves] = 0
                            n_leaves += 1
                if n_leaves > max_leaves:
                    return TOO_MUCH, n_leaves, n_tables
                level += 1
                continue
            place = places[level]
            at = entries[level]
            end = 256 if level == levels - 1 else 512
            entry = np.uint64(0)
            while at < end:
                if at & 7 == 0 and not _any_present(words, place + at):
                    at += 8
                    continue
                entry = words[place + at]
                if entry & _PRESENT != np.uint64(0):
                    break
                at += 1
            entries[level] = at + 1
            if at >= end:
                level += 1
                continue
            shift = np.uint64(12 + 9 * level)
            base = bases[level] + (np.uint64(at) << shift)
            if level <= 2 and entry & _LARGE != np.uint64(0):
                if n_leaves == len(vaddrs):
                    return NO_ROOM, n_leaves, n_tables
                vaddrs[n_leaves] = base
                paddrs[n_leaves] = (entry & _ADDRESS) >> shift << shift
                leaf_levels[n_leaves] = level
                n_leaves += 1
                if n_leaves > max_leaves:
                    return TOO_MUCH, n_leaves, n_tables
                continue
            counts[level] += 1
            if counts[level] > max_tables:
                return TOO_MUCH, n_leaves, n_tables
            paddr = entry & _ADDRESS
            level -= 1
            entering = True
    leaf_starts[len(roots)] = n_leaves
    table_starts[len(roots)] = n_tables
    return WALKED, n_leaves, n_tables


@compiled(nogil=True)
def by_page(
    paddrs: U64,
    vaddrs: U64,
    leaf_starts: I64,
    spaces: I64,
    processes: I64,
    regions: U64,
    pages: I32,
    starts: I64,
    processes_out: I32,
    vaddrs_out: U64,
) -> int:
    """Sort by page what is mapped at `vaddrs` (n,), in pages of 4 KiB, those of root i from leaf_starts[i] on.

    Each of `spaces` (m,) is that of one of `processes` (m,), in this order; a space may have none, or several. `pages`
    (n,) is room; `starts` (n_pages + 1,), zeros, becomes where each page's begin. Returns how many there are.
    """
    n_pages = len(starts) - 1
    for i in range(len(paddrs)):
        place = _place_of(paddrs[i], regions, 1)
        pages[i] = np.int64(place >> np.uint64(12)) if place >> np.uint64(12) < np.uint64(n_pages) else -1
    for own in range(len(spaces)):
        for i in range(leaf_starts[spaces[own]], leaf_starts[spaces[own] + 1]):
            if pages[i] >= 0:
                starts[pages[i] + 1] += 1
    for page in range(n_pages):
        starts[page + 1] += starts[page]
    at = starts[:n_pages].copy()
    for own in range(len(spaces)):
        process = processes[own]
        for i in range(leaf_starts[spaces[own]], leaf_starts[spaces[own] + 1]):
            if pages[i] >= 0:
                to = at[pages[i]]
                at[pages[i]] = to + 1
                processes_out[to] = process
                vaddrs_out[to] = vaddrs[i]
    return int(starts[n_pages])
