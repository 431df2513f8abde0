"""Regions: what each is, what it is called, and how much there is of each kind."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.region_list import KIND_WORDS, KINDS, UNKNOWN, kind_of, region_at, seen_regions, summary, title_of, totals
from bridge.kernel.maps import VM_EXEC, VM_READ, VM_SHARED, VM_WRITE, Vmas
from bridge.kernel.records import MapEntry
from bridge.kernel.worker import Sighting
from tests.app.test_process_list import tasks

CAT = (
    MapEntry(0x400000, 0x402000, "r-xp", 0, "/bin/cat", 4096),
    MapEntry(0x402000, 0x403000, "r--p", 0x2000, "/bin/cat", 4096),
    MapEntry(0x500000, 0x520000, "rw-p", 0, "[heap]", 8192),
    MapEntry(0x7F00_0000, 0x7F01_0000, "rw-p", 0, "", 0),
    MapEntry(0x7F10_0000, 0x7F11_0000, "rw-s", 0, "", 4096),
    MapEntry(0x7F20_0000, 0x7F22_0000, "rw-p", 0, "[stack]", 4096),
    MapEntry(0x7F30_0000, 0x7F30_1000, "r-xp", 0, "[vdso]", 4096),
    MapEntry(0x7F40_0000, 0x7F40_1000, "rw-p", 0, "[anon:jit]", 4096),
)


def test_every_region_has_a_kind_and_a_name() -> None:
    assert [kind_of(entry) for entry in CAT] == [
        *("code", "file", "heap", "anonymous", "shared", "stack", "kernel", "anonymous")
    ]
    assert [title_of(entry) for entry in CAT][:4] == ["cat", "cat", "[heap]", "0x7f000000"]
    assert set(KIND_WORDS) == set(KINDS)


def test_totals_leave_nothing_out() -> None:
    found = totals(CAT)
    assert [part.kind for part in found] == [kind for kind in KINDS if any(kind_of(e) == kind for e in CAT)]
    assert sum(part.regions for part in found) == len(CAT)
    assert sum(part.size_bytes for part in found) == sum(e.end - e.start for e in CAT)
    assert sum(part.resident_bytes for part in found) == sum(e.resident_bytes for e in CAT)


def test_the_summary_says_what_is_known() -> None:
    assert summary(CAT) == "8 regions  ·  32 KiB of 404 KiB in memory"
    unknown = (MapEntry(0, 4096, "r--p", 0, "", UNKNOWN),)
    assert summary(unknown) == "1 region  ·  4 KiB"
    assert totals(unknown)[0].resident_bytes == 0


@given(st.integers(0, 0x7F41_0000))
def test_an_address_is_in_one_region_or_none(address: int) -> None:
    found = region_at(CAT, address)
    holding = [e for e in CAT if e.start <= address < e.end]
    assert [found] == holding if holding else found is None


def test_regions_are_known_at_once_from_a_look() -> None:
    vmas = Vmas(
        addresses=np.zeros(3, np.uint64),
        owners=np.array([0, 1, 1]),
        starts=np.array([0x1000, 0x2000, 0x5000], np.uint64),
        ends=np.array([0x2000, 0x4000, 0x6000], np.uint64),
        flags=np.array([VM_READ, VM_READ | VM_EXEC, VM_READ | VM_WRITE | VM_SHARED], np.uint64),
        files=np.array([0, 77, 0], np.uint64),
        page_offsets=np.array([3, 5, 9], np.uint64),
        complete=True,
    )
    seen = Sighting(0.0, 0.0, "", processes=tasks([10, 20], [10, 20], [False, False]), vmas=vmas)
    assert seen_regions(seen, 20) == (
        MapEntry(0x2000, 0x4000, "r-xp", 0x5000, "", UNKNOWN),
        MapEntry(0x5000, 0x6000, "rw-s", 0, "", UNKNOWN),
    )
    assert seen_regions(seen, 99) == ()
    assert seen_regions(None, 20) == ()
    assert seen_regions(Sighting(0.0, 0.0, "gone"), 20) == ()
