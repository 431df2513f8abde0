"""What processes map, place by place, is what the look's owners and memory maps say."""

from __future__ import annotations

import numpy as np
import pytest

from bridge.kernel.desk import Desk
from bridge.kernel.errors import KernelError
from bridge.kernel.snapshot import Introspector, Part
from tests.bridge.kernel.conftest import LiveGuest


@pytest.fixture(scope="module")
def desk(live: LiveGuest) -> Desk:
    return Desk(Introspector(live.kernel))


def test_regions_hold_the_pages_that_are_mapped_there(desk: Desk) -> None:
    snapshot = desk.snapshot
    index = snapshot.processes.names.index("allocator")
    pid = int(snapshot.processes.pids[index])
    own = desk.owned((pid,), None)
    assert set(own.processes.tolist()) == {index}
    assert np.unique(own.pages).tolist() == snapshot.owners.pages_of(index).tolist()
    inside = own.regions >= 0
    assert inside.mean() > 0.99
    region = own.regions[inside]
    assert (own.vmas.starts[region] <= own.vaddrs[inside]).all()
    assert (own.vaddrs[inside] < own.vmas.ends[region]).all()
    heap = desk.owned((pid,), int(Part.HEAP))
    assert set(heap.parts.tolist()) == {int(Part.HEAP)}
    assert set(heap.pages.tolist()) < set(own.pages.tolist())
    parts = [len(desk.owned((pid,), int(part)).pages) for part in Part]
    assert sum(parts) == len(own.pages)
    assert not len(desk.owned((999_999,), None).pages)
    with pytest.raises(KernelError, match="no part 77"):
        desk.owned(None, 77)


def test_who_maps_pages_is_told_of_all_and_of_some(desk: Desk) -> None:
    snapshot = desk.snapshot
    processes, pages = desk.mapped(None)
    assert len(processes) == len(pages) == len(snapshot.owners.processes)
    wanted = np.unique(pages)[::7]
    some, theirs = desk.mapped(np.append(wanted, np.uint32(1 << 30)))
    expected = np.isin(pages, wanted)
    assert theirs.tolist() == pages[expected].tolist()
    assert some.tolist() == processes[expected].tolist()


def test_symbols_reach_to_the_next_one(desk: Desk) -> None:
    found = desk.symbol_range("schedule")
    assert found is not None
    address, size = found
    following = int(min(a for a in desk.introspector.kernel.symbols.symbols.addresses.tolist() if a > address))
    assert size == following - address
    assert desk.symbol_range("no_such_symbol") is None
    look = desk.glance()
    assert look.first_owner.tolist() == desk.snapshot.owners.first().tolist()
    assert look.classes is desk.snapshot.page_map.classes
