"""Heads of compound pages: the two ways in which kernels link a tail to its head say the same."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.kernel.frames import _heads, _pfns
from bridge.kernel.kernel import Kernel
from bridge.memory.physical import PhysicalReader
from bridge.memory.physical_map import PhysicalMap, RamRegion
from tests.bridge.kernel.conftest import HeldRam

VMEMMAP = 0xFFFF_EA00_0000_0000
PAGE_BYTES = 64
N_PAGES = 4096


def kernel_of(physical_map: PhysicalMap) -> Kernel:
    reader = PhysicalReader(HeldRam(np.zeros(physical_map.size_bytes, np.uint8), physical_map))
    return cast(Kernel, SimpleNamespace(reader=reader))


MAPS = {
    "flat": PhysicalMap.flat(N_PAGES << 12),
    "with a hole": PhysicalMap(
        N_PAGES << 12,
        (
            RamRegion(0, 0, N_PAGES << 11, "below"),
            RamRegion(0x1_0000_0000, N_PAGES << 11, N_PAGES << 11, "above"),
        ),
    ),
}


@pytest.mark.parametrize("name", list(MAPS))
@pytest.mark.parametrize("form", ["address", "mask"])
@given(order=st.integers(1, 10), place=st.integers(0, N_PAGES - 1))
def test_every_tail_finds_its_head(name: str, form: str, order: int, place: int) -> None:
    kernel = kernel_of(MAPS[name])
    pfns = _pfns(kernel, np.arange(N_PAGES))
    first = place >> order << order
    links = np.zeros(N_PAGES, np.uint64)
    tails = np.arange(first + 1, first + (1 << order))
    if form == "address":
        links[tails] = np.uint64(VMEMMAP + int(pfns[first]) * PAGE_BYTES + 1)
    else:
        links[tails] = np.uint64((-PAGE_BYTES << order) % (1 << 64) | 1)
    expected = np.arange(N_PAGES)
    expected[tails] = first
    heads, found_tails = _heads(kernel, links, VMEMMAP, PAGE_BYTES, N_PAGES)
    assert (heads == expected).all()
    assert (found_tails == tails).all()


@given(st.lists(st.tuples(st.integers(0, N_PAGES - 1), st.integers(0, 2**64 - 1)), max_size=50))
def test_links_that_lead_nowhere_leave_pages_their_own_heads(damage: list[tuple[int, int]]) -> None:
    kernel = kernel_of(MAPS["with a hole"])
    links = np.zeros(N_PAGES, np.uint64)
    for page, link in damage:
        links[page] = np.uint64(link)
    heads, tails = _heads(kernel, links, VMEMMAP, PAGE_BYTES, N_PAGES)
    assert ((heads >= 0) & (heads < N_PAGES)).all()
    whole = links & np.uint64(1) == 0
    assert (heads[whole] == np.flatnonzero(whole)).all()
    assert not whole[tails].any()
