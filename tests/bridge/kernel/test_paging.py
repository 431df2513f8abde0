"""Page-table walks against an independent walker in plain Python, on made-up and on damaged tables."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.kernel.paging import LARGE, NO_EXECUTE, PRESENT, USER, WRITABLE, is_canonical, translate, walk
from bridge.memory.physical import PhysicalReader
from bridge.memory.physical_map import PhysicalMap, RamRegion
from tests.bridge.kernel.conftest import HeldRam, write_words

N_PAGES = 64
MASK = 0x000F_FFFF_FFFF_F000


def scalar_walk(memory: np.ndarray, root: int, levels: int, vaddr: int) -> tuple[int, bool, bool, bool] | None:
    """(physical address, user, writable, no-execute), by the book; None where nothing is mapped."""
    sign = vaddr >> (9 * levels + 11)
    if sign not in (0, (1 << (64 - 9 * levels - 11)) - 1):
        return None
    table, user, writable, no_execute = root, True, True, False
    for level in range(levels - 1, -1, -1):
        at = table + (vaddr >> (12 + 9 * level) & 511) * 8
        if at + 8 > len(memory):
            return None
        entry = int.from_bytes(memory[at : at + 8].tobytes(), "little")
        if not entry & PRESENT:
            return None
        user, writable = user and bool(entry & USER), writable and bool(entry & WRITABLE)
        no_execute = no_execute or bool(entry & NO_EXECUTE)
        if level == 0 or (level <= 2 and entry & LARGE):
            inside = (1 << (12 + 9 * level)) - 1
            return (entry & MASK & ~inside) | (vaddr & inside), user, writable, no_execute
        table = entry & MASK
    return None


entries = st.builds(
    lambda page, flags, large: (page << 12) | flags | (LARGE if large else 0),
    st.integers(0, N_PAGES + 8),
    st.sampled_from([0, PRESENT, PRESENT | USER, PRESENT | WRITABLE, PRESENT | USER | WRITABLE | NO_EXECUTE]),
    st.booleans(),
)
slots = st.sampled_from([0, 1, 255, 256, 510, 511])


@given(
    tables=st.dictionaries(st.tuples(st.integers(0, 15), slots), entries, max_size=60),
    levels=st.sampled_from([4, 5]),
    picks=st.lists(st.tuples(slots, slots, slots, slots, slots, st.integers(0, 4095)), min_size=1, max_size=20),
)
@settings(max_examples=200)
def test_translations_are_by_the_book(
    tables: dict[tuple[int, int], int], levels: int, picks: list[tuple[int, ...]]
) -> None:
    memory = np.zeros(N_PAGES * 4096, np.uint8)
    for (page, slot), entry in tables.items():
        write_words(memory, page * 4096 + slot * 8, [entry])
    vaddrs = []
    for *indices, inside in picks:
        vaddr = inside
        for level, index in enumerate(indices[:levels]):
            vaddr |= index << (12 + 9 * level)
        if vaddr >> (9 * levels + 11) & 1:
            vaddr |= ((1 << 64) - 1) & ~((1 << (9 * levels + 12)) - 1)
        vaddrs.append(vaddr)
    reader = PhysicalReader(HeldRam(memory))
    paddrs, flags, mapped = translate(reader, 0, levels, np.array(vaddrs, np.uint64))
    for vaddr, paddr, flag, is_mapped in zip(vaddrs, paddrs.tolist(), flags.tolist(), mapped.tolist(), strict=True):
        expected = scalar_walk(memory, 0, levels, vaddr)
        assert is_mapped == (expected is not None)
        if expected is not None:
            assert (paddr, bool(flag & USER), bool(flag & WRITABLE), bool(flag & NO_EXECUTE)) == expected
    # A walk of everything finds the same pages and no others.
    found = walk(reader, 0, levels)
    if not found.truncated:
        begins = np.searchsorted(found.vaddrs, np.array(vaddrs, np.uint64), side="right") - 1
        for vaddr, at, is_mapped in zip(vaddrs, begins.tolist(), mapped.tolist(), strict=True):
            inside = at >= 0 and vaddr - int(found.vaddrs[at]) < int(found.sizes[at])
            assert inside == is_mapped


def test_tables_that_hold_themselves_end() -> None:
    """Every entry of one page points at that page: a walk of 512^4 mappings is cut short and says so."""
    memory = np.zeros(16 * 4096, np.uint8)
    write_words(memory, 0, [PRESENT] * 512)
    found = walk(PhysicalReader(HeldRam(memory)), 0, 5)
    assert found.truncated
    assert len(found.vaddrs) <= 16 * 512
    assert found.tables.tolist() == [0]


def test_halves_and_addresses_that_cannot_be() -> None:
    memory = np.zeros(8 * 4096, np.uint8)
    write_words(memory, 0, [0x1000 | PRESENT])
    write_words(memory, 511 * 8, [0x1000 | PRESENT])
    write_words(memory, 0x1000, [LARGE | PRESENT])
    reader = PhysicalReader(HeldRam(memory))
    assert walk(reader, 0, 4, half="user").vaddrs.tolist() == [0]
    assert walk(reader, 0, 4, half="kernel").vaddrs.tolist() == [0xFFFF_FF80_0000_0000]
    assert walk(reader, 0, 4).sizes.tolist() == [1 << 30, 1 << 30]
    assert is_canonical(np.array([0, 1 << 47, 0xFFFF_8000_0000_0000], np.uint64), 4).tolist() == [True, False, True]
    assert is_canonical(np.array([1 << 47, 1 << 56], np.uint64), 5).tolist() == [True, False]
    assert not translate(reader, 0x9_0000, 4, np.zeros(3, np.uint64))[2].any(), "a root outside of RAM maps nothing"


@pytest.fixture
def split() -> PhysicalReader:
    """RAM in two pieces: 8 KiB at 0, and the other 8 KiB of the file at 16 KiB."""
    regions = (RamRegion(0, 0, 0x2000, "low"), RamRegion(0x4000, 0x2000, 0x2000, "high"))
    return PhysicalReader(HeldRam(np.arange(0x4000, dtype=np.uint16).astype(np.uint8), PhysicalMap(0x4000, regions)))


def test_reads_across_the_hole(split: PhysicalReader) -> None:
    paddrs = np.array([0, 0x1FF8, 0x1FF9, 0x2000, 0x3FFF, 0x4000, 0x5FF8, 0x5FF9, 2**64 - 8], np.uint64)
    offsets, ok = split.offsets(paddrs, 8)
    assert ok.tolist() == [True, True, False, False, False, True, True, False, False]
    assert offsets[ok].tolist() == [0, 0x1FF8, 0x2000, 0x3FF8]
    values, ok = split.words(np.array([8, 0x4008, 0x3000], np.uint64))
    assert ok.tolist() == [True, True, False]
    assert values.tolist() == [0x0F0E0D0C0B0A0908, 0x0F0E0D0C0B0A0908, 0]
    assert split.words(np.array([1], np.uint64))[0].tolist() == [0x0807060504030201], "unaligned"
    assert split.rows(np.array([3, 0x2000], np.uint64), 2)[0].tolist() == [[3, 4], [0, 0]]
    assert split.end_paddr == 0x6000
    assert split.n_pages == 4
