"""Eight processors that work at once: every block, access and record of each is told, and of no other."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from app.benchmarks import trace_guest
from app.benchmarks.trace_guest import WorkingGuest, working_guest
from bridge.trace.layout import layout
from bridge.trace.modes import Filters, Mode, Policy, Recorded, Wish
from bridge.trace.session import TraceSession
from tests.bridge.machine.conftest import (  # noqa: F401 - fixtures
    _kvm_answer,
    _kvm_is_known,
    private_directories,
    wait_until,
)

CPUS, ROUNDS = 8, 1500
SECTOR = 0x7C00
CODE = trace_guest._CODE
LOOP_AT = SECTOR + CODE.index(bytes.fromhex("4889c248c1e20d"))
CALLED_AT = SECTOR + CODE.index(bytes.fromhex("5251488b13"))
"""f, which each round calls once. (The loop's first round is of a block that starts the other processors, by a device:
QEMU enters such a block again for each access to a device in its midst.)"""
DATA, DATA_BYTES, STACKS = 0x100000, 0x10000, 0x90000
MASK = (1 << 64) - 1


@dataclass(slots=True)
class Did:
    """What one processor's work does to memory, by page."""

    loads: Counter[int] = field(default_factory=Counter)
    stores: Counter[int] = field(default_factory=Counter)


def done_by(cpu: int, rounds: int = ROUNDS) -> Did:
    """The work of `app.benchmarks.trace_guest`, done here."""
    did, number = Did(), 0x12345678 + cpu
    stack = (STACKS >> 12) - cpu - 1
    for _ in range(rounds):
        number ^= number << 13 & MASK
        number ^= number >> 7
        number ^= number << 17 & MASK
        at = DATA + cpu * DATA_BYTES + (number & 0x7FF8)
        did.loads[at >> 12] += 2  # here, and in f
        did.stores[at >> 12] += number & 1
        did.stores[stack] += 3  # call f, push, push
        did.loads[stack] += 3
        if not number >> 8 & 0x30:
            did.stores[stack] += 2
            did.loads[stack] += 2
            for word in range(8):
                did.loads[at + 8 * word >> 12] += 1
                did.stores[at + 8 * word + 8 >> 12] += 1
    return did


@pytest.fixture(scope="module")
def expected() -> list[Did]:
    """By processor."""
    return [done_by(cpu) for cpu in range(CPUS)]


@pytest.fixture
def eight(tmp_path: Path, private_directories: Path) -> Iterator[tuple[WorkingGuest, TraceSession]]:  # noqa: F811
    with working_guest(tmp_path, traceable=True, cpus=CPUS) as guest:
        session = TraceSession(guest.machine)
        assert int(session.memory.plugin["vcpus"]) == CPUS
        yield guest, session


def settle(session: TraceSession) -> None:
    """Wait until the plugin was told of what the guest itself told of already."""
    session.set(Wish())  # stops them all first


def test_nothing_is_lost_or_told_of_another(eight: tuple[WorkingGuest, TraceSession], expected: list[Did]) -> None:
    guest, session = eight
    _counts_and_heat(guest, session, expected)
    _who_wrote(guest, session, expected)
    _records(guest, session, expected)


def _counts_and_heat(guest: WorkingGuest, session: TraceSession, expected: list[Did]) -> None:
    session.set(Wish(Mode.HEAT))
    before = session.memory.heat.copy()
    counted = session.counts().entered.copy()
    guest.work(ROUNDS)
    settle(session)
    heat = session.memory.heat
    counts = session.counts()
    starts = counts.blocks["physical"].astype(np.int64)
    holds = (starts <= CALLED_AT) & (starts + counts.blocks["bytes"] > CALLED_AT)
    entered = counts.entered[:, holds].sum(axis=1) - counted[:, np.flatnonzero(holds[: counted.shape[1]])].sum(axis=1)
    assert entered.tolist() == [ROUNDS] * CPUS
    for cpu, did in enumerate(expected):
        for page in did.loads.keys() | did.stores.keys():
            if cpu == 0 and page == (STACKS >> 12) - 1:
                continue  # timer interrupts use it as well
            found = {name: int(heat[name][cpu, page] - before[name][cpu, page]) for name in ("loads", "stores")}
            assert found == {"loads": did.loads[page], "stores": did.stores[page]}, (cpu, hex(page << 12))
        others = [one for one in range(CPUS) if one != cpu]
        pages = [page for page in did.stores if page >= DATA >> 12]
        assert not (heat["stores"][others][:, pages] - before["stores"][others][:, pages]).any()


def _who_wrote(guest: WorkingGuest, session: TraceSession, expected: list[Did]) -> None:
    cpu = 5
    page, stores = max(
        ((page, count) for page, count in expected[cpu].stores.items() if page >= DATA >> 12), key=lambda one: one[1]
    )
    assert stores < len(session.memory.hits)
    session.set(Wish(Mode.WATCH))
    session.watch(np.array([page]))
    session.hits()
    guest.work(ROUNDS)
    settle(session)
    hits, dropped = session.hits()
    assert (len(hits), dropped) == (stores, 0)
    assert set(hits["vcpu"].tolist()) == {cpu}
    assert (np.diff(hits["sequence"].astype(np.int64)) == 1).all()


def _records(guest: WorkingGuest, session: TraceSession, expected: list[Did]) -> None:
    records = frozenset({Recorded.BLOCKS, Recorded.STORES})
    readers = session.rings()
    assert len(readers) == CPUS
    session.set(Wish(Mode.TRACE, records, Policy.HOLD, Filters(LOOP_AT, SECTOR + 512)))
    working = threading.Thread(target=guest.work, args=(ROUNDS,))
    working.start()
    taken: list[list[np.ndarray]] = [[] for _ in readers]
    while True:
        ended = not working.is_alive()
        if ended:
            settle(session)
        found = 0
        for cpu, reader in enumerate(readers):
            got = reader.read()
            assert got.lost == 0
            taken[cpu].append(got.records)
            found += len(got.records)
        if ended and not found:
            break
        if not found:
            time.sleep(0.001)
    working.join()
    for cpu, parts in enumerate(taken):
        told = np.concatenate(parts)
        assert (np.diff(told["sequence"].astype(np.int64)) == 1).all()
        assert set(told["vcpu"].tolist()) == {cpu}
        assert (np.diff(told["tsc"].astype(np.int64)) >= 0).all()
        stores = told[(told["kind"] == layout().constants["RECORD_STORE"]) & (told["physical"] >= DATA)]
        pages = Counter((stores["physical"] >> 12).tolist())
        assert pages == Counter({page: n for page, n in expected[cpu].stores.items() if page >= DATA >> 12 and n})
        assert readers[cpu].dropped == 0
