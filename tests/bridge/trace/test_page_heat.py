"""Page heat: what a guest whose code is known did to each page; wrapping counters, two pages, damaged tables."""

from __future__ import annotations

import numpy as np

from bridge.memory.physical_map import PhysicalMap, RamRegion
from bridge.trace.layout import layout
from bridge.trace.modes import Mode, Wish
from bridge.trace.page_heat import PageHeat, executed_pages
from bridge.trace.session import Counts
from tests.bridge.machine.conftest import private_directories, shared_memory  # noqa: F401 - fixtures
from tests.bridge.trace.conftest import COUNTER, DONE, LOOP_AT, ROUNDS, Counting, counting  # noqa: F401

NONE = layout().constants["NONE"]


def counts(*blocks: tuple[int, int, int, int]) -> Counts:
    """Of blocks at a physical address, of so many bytes and instructions, that go on at another one."""
    table = np.zeros(len(blocks), layout()["block"])
    for row, (physical, size, instructions, behind) in zip(table, blocks, strict=True):
        row["physical"], row["bytes"], row["instructions"], row["physical_behind"] = (
            physical,
            size,
            instructions,
            behind,
        )
    return Counts(table, np.zeros((1, len(blocks)), np.uint64), 1)


def test_pages_have_what_the_guest_did_to_them(counting: Counting) -> None:  # noqa: F811
    ram = counting.machine.ram
    assert ram is not None
    counting.trace.set(Wish(Mode.HEAT))
    heat = PageHeat(counting.trace)
    first = heat.take(ram.physical_map)
    assert first.seconds == 0
    assert [int(part.sum()) for part in (first.executed, first.loads, first.stores)] == [0, 0, 0]
    counting.count()
    second = heat.take(ram.physical_map)
    assert second.seconds > 0
    assert second.at_ns > first.at_ns
    page = COUNTER >> 12
    assert (second.loads[page], second.stores[page]) == (ROUNDS, ROUNDS)
    assert second.stores[DONE >> 12] == 2
    code = LOOP_AT >> 12
    # Three instructions a round; how long it waited before and after nobody knows.
    assert second.executed[code] >= 3 * ROUNDS
    assert second.executed.sum() == second.executed[code]
    third = heat.take(ram.physical_map)
    assert third.stores[page] == 0


def test_a_block_over_two_pages_is_in_both_by_its_bytes() -> None:
    told = counts((0x1FF0, 64, 8, 0x5000), (0x2000, 10, 3, NONE))
    executed = executed_pages(told, np.array([10, 7]), PhysicalMap.flat(8 << 12), 8)
    assert executed.tolist() == [0, 80 * 16 / 64, 21, 0, 0, 80 * 48 / 64, 0, 0]


def test_addresses_lead_to_pages_of_the_file_and_what_is_no_ram_is_left_out() -> None:
    above = PhysicalMap(4 << 12, (RamRegion(0, 0, 2 << 12, "low"), RamRegion(1 << 32, 2 << 12, 2 << 12, "high")))
    told = counts(((1 << 32) + 0x1000, 4, 5, NONE), (0x2000, 4, 5, NONE), (NONE, 4, 5, NONE), (0x1000, 4, 5, NONE))
    assert executed_pages(told, np.array([1, 1, 1, 2]), above, 4).tolist() == [0, 10, 0, 5]


def test_a_damaged_table_makes_no_more_of_it_than_can_be() -> None:
    told = counts((0x1000, 0, 0xFFFFFFFF, 0x2000), (0x1FFF, 0xFFFFFFFF, 1, 0x2000))
    executed = executed_pages(told, np.array([1, 1]), PhysicalMap.flat(4 << 12), 4)
    assert np.isfinite(executed).all()
    assert (executed >= 0).all()
    assert executed.sum() <= 4096 + 1
