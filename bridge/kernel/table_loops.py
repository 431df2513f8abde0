"""The compiled loops that go through page tables: to single words, to all that processes map, and turned around."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bridge.memory.native import VECTOR_WORDS, any_bits, compiled, inlined

U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
I32 = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]

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


@compiled(nogil=True)
def _word_at(words: U64, paddr: np.uint64, regions: U64) -> tuple[np.uint64, bool]:
    """The word at a physical address, on any byte; and whether all of it is RAM, in one region."""
    offset = _place_of(paddr, regions, 8)
    at = np.int64(offset >> np.uint64(3))
    inside = (offset & np.uint64(7)) << np.uint64(3)
    if offset == _NOWHERE or at >= len(words):
        return np.uint64(0), False
    if inside == np.uint64(0):
        return words[at], True
    if at + 1 >= len(words):
        return np.uint64(0), False
    return words[at] >> inside | words[at + 1] << (np.uint64(64) - inside), True


@compiled(nogil=True)
def _physical(
    words: U64, regions: U64, root: np.uint64, levels: int, direct_map: np.uint64, end: np.uint64, vaddr: np.uint64
) -> tuple[np.uint64, bool]:
    """The physical address of a virtual one, and whether it is mapped. What lies in the direct map, from `direct_map`
    on and `end` bytes long, is found by arithmetic.
    """
    if vaddr >= direct_map and vaddr - direct_map < end:
        return vaddr - direct_map, True
    top = np.int64(vaddr) >> np.int64(9 * levels + 11)
    if top != np.int64(0) and top != np.int64(-1):
        return np.uint64(0), False
    table = root & _ADDRESS
    level = levels - 1
    while level >= 0:
        shift = np.uint64(12 + 9 * level)
        entry, ok = _word_at(words, table + (((vaddr >> shift) & np.uint64(511)) << np.uint64(3)), regions)
        if not ok or entry & _PRESENT == np.uint64(0):
            return np.uint64(0), False
        if level == 0 or (level <= 2 and entry & _LARGE != np.uint64(0)):
            inside = (np.uint64(1) << shift) - np.uint64(1)
            return (entry & _ADDRESS & ~inside) | (vaddr & inside), True
        table = entry & _ADDRESS
        level -= 1
    return np.uint64(0), False


@compiled(nogil=True)
def translate(
    words: U64,
    regions: U64,
    root: np.uint64,
    levels: int,
    direct_map: np.uint64,
    end: np.uint64,
    vaddrs: U64,
    paddrs: U64,
    mapped: Mask,
) -> None:
    """Physical addresses (n,) of `vaddrs` (n,), zero where the mask (n,) is False."""
    for i in range(len(vaddrs)):
        if vaddrs[i] >= direct_map and vaddrs[i] - direct_map < end:
            paddrs[i], mapped[i] = vaddrs[i] - direct_map, True
            continue
        paddrs[i], mapped[i] = _physical(words, regions, root, levels, direct_map, end, vaddrs[i])


@compiled(nogil=True)
def read_words(
    words: U64,
    regions: U64,
    root: np.uint64,
    levels: int,
    direct_map: np.uint64,
    end: np.uint64,
    objects: U64,
    offsets: U64,
    values: U64,
    mapped: Mask,
) -> None:
    """The words at `offsets` (m,) of each of `objects` (n,), virtual addresses: values (n, m), zero where the mask
    (n, m) is False.
    """
    for i in range(len(objects)):
        for j in range(len(offsets)):
            vaddr = objects[i] + offsets[j]
            # Nearly all lie here, and a call would take as long as to read.
            if vaddr >= direct_map and vaddr - direct_map < end and (vaddr - direct_map) & np.uint64(7) == np.uint64(0):
                place = _place_of(vaddr - direct_map, regions, 8)
                mapped[i, j] = place != _NOWHERE and place >> np.uint64(3) < np.uint64(len(words))
                values[i, j] = words[place >> np.uint64(3)] if mapped[i, j] else np.uint64(0)
                continue
            paddr, ok = _physical(words, regions, root, levels, direct_map, end, vaddr)
            value = np.uint64(0)
            if ok:
                value, ok = _word_at(words, paddr, regions)
            values[i, j] = value
            mapped[i, j] = ok


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
) -> tuple[int, int, int, bool]:
    """Follow the lower half of each of `roots` (k,), depth first.

    `words` is the RAM; `regions` (r, 3) where each region of it starts and ends in physical memory, and what is added
    to an address for its place in the file. Leaves go to `vaddrs`, `paddrs` and `leaf_levels`, those of root i from
    leaf_starts[i] on (k + 1,); tables likewise, with the roots. What stands there already is not written again. Returns
    how it ended, how many leaves, how many tables, and whether anything had to be written.
    """
    begins = words.ctypes.data
    changed = False
    places = np.zeros(_MAX_LEVELS, np.int64)
    entries = np.zeros(_MAX_LEVELS, np.int64)
    bases = np.zeros(_MAX_LEVELS, np.uint64)
    counts = np.zeros(_MAX_LEVELS, np.int64)
    n_leaves = 0
    n_tables = 0
    for space in range(len(roots)):
        changed |= leaf_starts[space] != n_leaves or table_starts[space] != n_tables
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
                    return NO_ROOM, n_leaves, n_tables, True
                if tables[n_tables] != paddr or table_levels[n_tables] != level:
                    tables[n_tables], table_levels[n_tables] = paddr, level
                    changed = True
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
                    return NO_ROOM, n_leaves, n_tables, True
                for block in range(place, place + 512, VECTOR_WORDS):
                    if any_bits(np.uintp(begins + 8 * block)) & _PRESENT == np.uint64(0):
                        continue
                    for line in range(block, block + VECTOR_WORDS, 8):
                        if not _any_present(words, line):
                            continue
                        for at in range(line, line + 8):
                            entry = words[at]
                            if entry & _PRESENT != np.uint64(0):
                                vaddr = base + (np.uint64(at - place) << np.uint64(12))
                                paddr = entry & _ADDRESS
                                if vaddrs[n_leaves] != vaddr or paddrs[n_leaves] != paddr or leaf_levels[n_leaves] != 0:
                                    vaddrs[n_leaves], paddrs[n_leaves], leaf_levels[n_leaves] = vaddr, paddr, 0
                                    changed = True
                                n_leaves += 1
                if n_leaves > max_leaves:
                    return TOO_MUCH, n_leaves, n_tables, True
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
                    return NO_ROOM, n_leaves, n_tables, True
                paddr = (entry & _ADDRESS) >> shift << shift
                if vaddrs[n_leaves] != base or paddrs[n_leaves] != paddr or leaf_levels[n_leaves] != level:
                    vaddrs[n_leaves], paddrs[n_leaves], leaf_levels[n_leaves] = base, paddr, level
                    changed = True
                n_leaves += 1
                if n_leaves > max_leaves:
                    return TOO_MUCH, n_leaves, n_tables, True
                continue
            counts[level] += 1
            if counts[level] > max_tables:
                return TOO_MUCH, n_leaves, n_tables, True
            paddr = entry & _ADDRESS
            level -= 1
            entering = True
    changed |= leaf_starts[len(roots)] != n_leaves or table_starts[len(roots)] != n_tables
    leaf_starts[len(roots)] = n_leaves
    table_starts[len(roots)] = n_tables
    return WALKED, n_leaves, n_tables, changed


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
