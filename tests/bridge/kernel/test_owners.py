"""Page tables turned around, against a plain walk of each: shared tables, large pages, pages that are not RAM."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.kernel.errors import NotMapped
from bridge.kernel.frames import read_frames
from bridge.kernel.kernel import Kernel, find_kernel
from bridge.kernel.module_ranges import ModuleReader
from bridge.kernel.owners import read_owners
from bridge.kernel.page_classes import PageClass
from bridge.kernel.page_types import PageLayout
from bridge.kernel.paging import LARGE, PRESENT, USER, walk_all
from bridge.kernel.snapshot import Introspector
from bridge.kernel.user_tables import UserTables, read_user_tables
from bridge.memory.physical import PhysicalReader
from tests.bridge.kernel.conftest import HeldRam, LiveGuest, write_words

N_PAGES = 1024
LEVELS = 4
ROOTS = (0x1000, 0x2000, 0x3000)

slots = st.integers(0, 2)


def owners_by_the_book(memory: np.ndarray, root: int) -> list[tuple[int, int]]:
    """(page, virtual address) of everything that one set of tables maps in its lower half, page by page."""
    found: list[tuple[int, int]] = []

    def step(table: int, level: int, base: int) -> None:
        for slot in range(256 if level == LEVELS - 1 else 512):
            if table + 8 * slot + 8 > len(memory):
                return
            entry = int(memory[table + 8 * slot : table + 8 * slot + 8].view("<u8")[0])
            if not entry & PRESENT:
                continue
            vaddr = base + (slot << (12 + 9 * level))
            if level == 0 or (level <= 2 and entry & LARGE):
                size = 1 << (12 + 9 * level)
                first = entry & 0x000F_FFFF_FFFF_F000 & ~(size - 1)
                found.extend(
                    ((first + at) >> 12, vaddr + at)
                    for at in range(0, min(size, N_PAGES * 4096), 4096)
                    if first + at < len(memory)
                )
            else:
                step(entry & 0x000F_FFFF_FFFF_F000, level - 1, vaddr)

    step(root, LEVELS - 1, 0)
    return found


@given(
    entries=st.dictionaries(
        st.tuples(st.integers(1, 12), slots), st.tuples(st.integers(0, N_PAGES + 4), st.integers(0, 9)), max_size=30
    ),
    processes=st.lists(st.sampled_from([0, *ROOTS]), max_size=6),
)
@settings(max_examples=150)
def test_each_mapping_is_found_once_for_each_process(
    entries: dict[tuple[int, int], tuple[int, int]], processes: list[int]
) -> None:
    memory = np.zeros(N_PAGES * 4096, np.uint8)
    for (page, slot), (target, kind) in entries.items():
        # Most lead to other tables, some to pages, one in ten to a large page.
        value = (target if kind < 4 else 1 + target % 12) << 12
        write_words(memory, page * 4096 + slot * 8, [value | PRESENT | USER | (LARGE if kind == 0 else 0)])
    kernel = cast(Kernel, SimpleNamespace(reader=PhysicalReader(HeldRam(memory))))
    roots = np.unique(np.array([root for root in processes if root], np.uint64))
    walked = walk_all(kernel.reader, roots, LEVELS, half="user")
    owners = read_owners(kernel, np.array(processes, np.uint64), roots, UserTables.of(walked, len(roots)))
    if walked.truncated:
        return
    expected = sorted(
        (page, index, vaddr)
        for index, root in enumerate(processes)
        if root
        for page, vaddr in owners_by_the_book(memory, root)
    )
    if len(expected) > 8 * N_PAGES:
        return  # more than is kept of tables that go in circles
    ours = zip(owners.pages.tolist(), owners.processes.tolist(), owners.vaddrs.tolist(), strict=True)
    assert sorted(ours) == expected
    assert owners.starts.tolist() == np.searchsorted(owners.pages, np.arange(N_PAGES + 1)).tolist()
    for index, root in enumerate(processes):
        assert owners.pages_of(index).tolist() == sorted({page for page, i, _ in expected if i == index}), root
    firsts = dict.fromkeys(range(N_PAGES), -1)
    firsts.update({page: index for page, index, _ in reversed(expected)})  # the lowest, wherever its tables are
    assert owners.first().tolist() == list(firsts.values())


def test_tables_of_a_process_that_has_none_any_more_are_nobodys(dump: np.ndarray) -> None:
    kernel = find_kernel(PhysicalReader(HeldRam(dump)))
    tasks = Introspector(kernel).tasks.processes()
    roots = np.unique(tasks.roots[tasks.roots != 0])
    user = read_user_tables(kernel.reader, roots, kernel.levels)
    index = tasks.names.index("counter")
    without = np.where(np.arange(len(tasks)) == index, np.uint64(0), tasks.roots)
    owners = read_owners(kernel, without, roots, user)
    everything = read_owners(kernel, tasks.roots, roots, user)
    assert not (owners.processes == index).any()
    assert len(owners.pages) == len(everything.pages) - int((everything.processes == index).sum())


def test_a_torn_list_of_modules_names_none(dump: np.ndarray, live: LiveGuest) -> None:
    live.shell.run("while read -r m; do insmod $m 2>/dev/null; done </etc/network-modules; true")
    with live.shell.held():
        memory = live.ram.bytes.copy()
    kernel = find_kernel(PhysicalReader(HeldRam(memory)))
    ranges = ModuleReader(kernel).read()
    assert len(ranges.names) >= 3
    assert (ranges.starts[1:] >= ranges.ends[:-1]).all()
    assert ranges.of(ranges.starts).tolist() == ranges.owners.tolist()
    assert ranges.of(np.array([0, 1 << 63], np.uint64)).tolist() == [-1, -1]
    head = kernel.space.image_paddr(kernel.symbols.address("modules"))
    for words in ([0, 0], [kernel.symbols.address("modules")] * 2):
        write_words(memory, head, words)
        assert ModuleReader(kernel).read().names == ()
        assert (ModuleReader(kernel).read().of(ranges.starts) == -1).all()
        seen = Introspector(kernel).look()
        assert seen.details.modules == ()
        assert seen.page_map.count(PageClass.MODULE) > 0
    assert len(dump)


def test_without_page_records_that_is_said(dump: np.ndarray) -> None:
    kernel = find_kernel(PhysicalReader(HeldRam(dump)))
    assert kernel.types is not None
    nothing: Any = walk_all(kernel.reader, np.zeros(0, np.uint64), kernel.levels)
    with pytest.raises(NotMapped, match="struct page"):
        read_frames(kernel, PageLayout.of(kernel.types), nothing)
