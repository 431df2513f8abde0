"""What the plugin tells of a guest whose every instruction is known: counts, heat, hits and records are what it did."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bridge.trace.errors import TraceError
from bridge.trace.layout import layout
from bridge.trace.modes import Filters, Mode, Policy, Recorded, Wish
from tests.bridge.machine.conftest import wait_until
from tests.bridge.trace.conftest import COUNTER, DONE, GO, LOOP_AT, ROUNDS, WAIT_AT, WORK_AT, Counting

LOOP_BYTES = bytes.fromhex("66ff060090" + "6649" + "75f7")


def entered(counting: Counting) -> int:
    """How often the loop's first instruction was run, by the counts of all blocks that hold it."""
    counts = counting.trace.counts()
    blocks, total = counts.blocks, counts.total
    starts = blocks["physical"].astype(np.int64)
    holds = (starts <= LOOP_AT) & (starts + blocks["bytes"] > LOOP_AT)
    for block in blocks[holds]:
        code = counting.trace.code_of(block)
        assert LOOP_BYTES in code
        assert int(block["virtual_first"]) == int(block["physical"])  # no paging yet
    return int(total[holds].sum())


def all_records(counting: Counting, until_s: float = 60) -> np.ndarray[Any, Any]:
    """What the ring has, read until the guest has counted and nothing more comes."""
    reader = counting.trace.rings()[0]
    before, parts, deadline = counting.word(DONE), [], time.monotonic() + until_s
    counting.write(GO, b"\1")
    ended = False
    while not ended or reader.waiting():
        assert time.monotonic() < deadline
        if not ended and counting.word(DONE) != before and not reader.waiting():
            counting.settle()
            ended = True
        got = reader.read()
        assert got.lost == 0
        parts.append(got.records)
        if not len(got.records):
            time.sleep(0.001)
    assert reader.dropped == 0
    return np.concatenate(parts)


def test_blocks_are_counted_exactly(counting: Counting) -> None:
    assert not counting.trace.set(Wish(Mode.COUNTERS)).pending
    counting.count()
    assert entered(counting) == ROUNDS
    counting.count()
    assert entered(counting) == 2 * ROUNDS
    counting.trace.set(Wish(Mode.OFF))
    counting.count()
    assert entered(counting) == 2 * ROUNDS  # what is off costs nothing and tells nothing
    counting.trace.set(Wish(Mode.COUNTERS))
    counting.count()
    assert entered(counting) == 3 * ROUNDS  # the same blocks, however often they were translated
    assert counting.word(COUNTER) == 4 * ROUNDS % (1 << 32)


def test_heat_is_the_number_of_loads_and_stores(counting: Counting) -> None:
    counting.trace.set(Wish(Mode.HEAT))
    before = counting.trace.memory.heat[0].copy()
    counting.count()
    heat = counting.trace.memory.heat[0]
    page = COUNTER >> 12
    assert int(heat["loads"][page] - before["loads"][page]) == ROUNDS
    assert int(heat["stores"][page] - before["stores"][page]) == ROUNDS
    page = DONE >> 12
    assert int(heat["stores"][page] - before["stores"][page]) == 2  # GO taken back, DONE told
    assert int(heat["loads"][page] - before["loads"][page]) > 0  # it waited


def test_who_wrote_a_page_is_known(counting: Counting) -> None:
    counting.trace.set(Wish(Mode.WATCH))
    counting.trace.watch(np.array([DONE >> 12]))
    began = time.monotonic_ns()
    counting.count()
    hits, dropped = counting.trace.hits()
    assert dropped == 0
    assert hits["physical"].tolist() == [GO, DONE]
    assert hits["pc"].tolist() == [WORK_AT, LOOP_AT + 9]
    assert hits["size"].tolist() == [1, 4]
    assert (hits["flags"] & layout().constants["FLAG_STORE"]).all()
    assert hits["value"].tolist()[0] == 0
    assert (hits["ns"] >= began).all()
    loaded, stored = counting.trace.last_touches(np.array([DONE >> 12]))[0]
    assert int(stored["physical"]) == DONE
    assert int(stored["value"]) == counting.word(DONE)
    assert int(loaded["sequence"]) == 0
    counting.trace.watch(np.array([GO >> 12]), loads=True, stores=False)
    wait_until(lambda: int(counting.trace.last_touches(np.array([GO >> 12]))[0, 0]["sequence"]) > 0)
    assert int(counting.trace.last_touches(np.array([GO >> 12]))[0, 0]["pc"]) == WAIT_AT + 5
    with pytest.raises(TraceError, match="numbered from 0"):
        counting.trace.watch(np.array([1 << 40]))


def test_each_access_is_recorded_once(counting: Counting) -> None:
    known = layout().constants
    filters = Filters(first_virtual=WORK_AT, last_virtual=0x7D00)  # not the waiting
    counting.trace.set(Wish(Mode.TRACE, frozenset(Recorded) - {Recorded.REGISTERS}, Policy.HOLD, filters))
    records = all_records(counting)
    assert (np.diff(records["sequence"].astype(np.int64)) == 1).all()
    assert (np.diff(records["tsc"].astype(np.int64)) >= 0).all()
    stores = records[(records["kind"] == known["RECORD_STORE"]) & (records["physical"] == COUNTER)]
    loads = records[(records["kind"] == known["RECORD_LOAD"]) & (records["physical"] == COUNTER)]
    assert stores["value"].tolist() == list(range(1, ROUNDS + 1))
    assert loads["value"].tolist() == list(range(ROUNDS))
    assert set(stores["pc"].tolist()) == {LOOP_AT}
    assert set(stores["size"].tolist()) == {4}
    steps = records[(records["kind"] == known["RECORD_INSN"]) & (records["pc"] >= LOOP_AT)]
    counts = dict(zip(*(part.tolist() for part in np.unique(steps["pc"], return_counts=True)), strict=True))
    assert [counts[LOOP_AT + at] for at in (0, 5, 7)] == [ROUNDS] * 3


def test_registers_are_told_at_each_block(counting: Counting) -> None:
    known = layout().constants
    filters = Filters(first_virtual=LOOP_AT, last_virtual=LOOP_AT)
    counting.trace.set(Wish(Mode.TRACE, frozenset({Recorded.BLOCKS, Recorded.REGISTERS}), Policy.HOLD, filters))
    records = all_records(counting)
    first = records[(records["kind"] == known["RECORD_REGISTERS"]) & (records["instruction"] == 0)]
    # rax, rbx, rcx, rdx, rsi: the counter goes down; its first round belongs to the block before.
    assert first["virtual_address"].tolist() == list(range(ROUNDS - 1, 0, -1))
    blocks = records[records["kind"] == known["RECORD_BLOCK"]]
    assert set(blocks["pc"].tolist()) == {LOOP_AT}


def test_what_is_full_drops_and_says_so_or_overwrites(counting: Counting) -> None:
    size = counting.trace.memory.ring_records
    wish = Wish(Mode.TRACE, frozenset({Recorded.STORES}), Policy.DROP, Filters(WORK_AT, 0x7D00))
    counting.trace.set(wish)
    reader = counting.trace.rings()[0]
    counting.count()
    counted = ROUNDS + 2
    assert reader.dropped == counted - size
    assert len(reader.read().records) == size
    counting.trace.set(Wish(Mode.TRACE, frozenset({Recorded.STORES}), Policy.OVERWRITE, wish.filters))
    counting.count()
    assert reader.waiting() == size
    got = reader.read()
    assert len(got.records) == size
    assert got.lost == counted - size
    stores = got.records[got.records["physical"] == COUNTER]
    assert int(stores["value"][-1]) == counting.word(COUNTER)
    flags = got.records["flags"]
    assert int(flags[0]) & layout().constants["FLAG_LOST"] == 0


def test_a_guest_is_not_held_by_a_reader_that_died(counting: Counting) -> None:
    counting.trace.set(Wish(Mode.TRACE, frozenset({Recorded.STORES}), Policy.HOLD, Filters(WORK_AT, 0x7D00)))
    reader = counting.trace.rings()[0]
    before, began = counting.word(DONE), time.monotonic()
    counting.write(GO, b"\1")
    while reader.waiting() < counting.trace.memory.ring_records:
        reader.beat()  # alive until it is full, and never again
        time.sleep(0.001)
    wait_until(lambda: counting.word(DONE) != before)
    counting.settle()
    assert time.monotonic() - began < 60
    assert reader.dropped == ROUNDS + 2 - counting.trace.memory.ring_records
    assert 0.5 < reader.waited_s < 20


def test_samples_say_where_it_is(counting: Counting) -> None:
    counting.trace.set(Wish(Mode.TIME, samples_per_s=2000))
    counting.count()
    counted = int(counting.trace.memory.plugin["sample_head"])
    wait_until(lambda: int(counting.trace.memory.plugin["sample_head"]) > counted + 400)
    samples, lost = counting.trace.samples()
    assert lost == 0
    counts = counting.trace.counts()
    waiting = np.flatnonzero(counts.blocks["physical"] == WAIT_AT)
    share = np.isin(samples["block"][-200:], waiting).mean()
    assert share > 0.9  # it waits for GO now
    assert (np.diff(samples["ns"].astype(np.int64)) > 0).all()


def test_time_in_which_the_host_ran_something_else_is_not_the_guests(counting: Counting) -> None:
    """A vCPU that waits for its turn is in some block, which takes no time of it."""
    tasks = Path(f"/proc/{counting.machine.info.pid}/task")
    vcpu = next(task for task in tasks.iterdir() if (task / "comm").read_text().startswith("CPU 0"))
    core = min(os.sched_getaffinity(0))

    def spent_s() -> float:
        fields = (vcpu / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    rate = 2000
    counting.trace.set(Wish(Mode.TIME, samples_per_s=rate))
    os.sched_setaffinity(int(vcpu.name), {core})
    with subprocess.Popen(["/bin/sh", "-c", "while :; do :; done"]) as other:
        try:
            os.sched_setaffinity(other.pid, {core})
            wait_until(lambda: int(counting.trace.memory.plugin["sample_head"]) > 0)
            began_s = spent_s()
            counting.trace.samples()
            first = int(counting.trace.memory.plugin["sample_head"])
            wait_until(lambda: spent_s() - began_s >= 1.0)
            taken, took_s = int(counting.trace.memory.plugin["sample_head"]) - first, spent_s() - began_s
        finally:
            other.kill()
    assert 0 < taken <= 1.35 * took_s * rate + 50


def test_a_paused_machine_changes_its_mode_when_it_runs(counting: Counting) -> None:
    counting.machine.pause()
    wait_until(lambda: not counting.machine.runs)
    assert counting.trace.set(Wish(Mode.COUNTERS)).pending
    counting.machine.resume()
    wait_until(lambda: counting.trace.parts != 0)
    counting.count()
    assert entered(counting) == ROUNDS


def test_modes_change_within_milliseconds_and_often(counting: Counting) -> None:
    took: list[float] = []
    for round_ in range(20):
        modes = (Mode.COUNTERS, Mode.HEAT, Mode.WATCH, Mode.TRACE, Mode.OFF)
        took.extend(counting.trace.set(Wish(mode, policy=Policy.OVERWRITE)).took_s for mode in modes)
        assert counting.trace.parts == 0, round_
    counting.trace.set(Wish(Mode.COUNTERS))
    before = entered(counting)
    counting.count()
    assert entered(counting) == before + ROUNDS
    assert len(took) == 100


def test_after_a_reset_counting_goes_on(counting: Counting) -> None:
    counting.trace.set(Wish(Mode.COUNTERS))
    counting.count()
    counting.machine.reset()
    before = counting.trace.counts().total.sum()
    wait_until(lambda: counting.trace.counts().total.sum() > before)

    def told_again() -> bool:  # the firmware comes first, and may write over it
        counting.write(GO, b"\1")
        return entered(counting) >= 2 * ROUNDS

    wait_until(told_again)


def test_a_machine_that_ended_keeps_its_last_counts(counting: Counting) -> None:
    session = counting.trace
    session.set(Wish(Mode.COUNTERS))
    counting.count()
    counting.machine.stop()
    assert session.ended
    assert entered(counting) == ROUNDS
    with pytest.raises(TraceError, match="has ended"):
        session.set(Wish(Mode.OFF))


def test_a_trace_of_one_process_has_no_other(counting: Counting) -> None:
    """There is no paging here: CR3 is 0, which is the address space of all, and of no other."""
    records = frozenset({Recorded.STORES, Recorded.BLOCKS, Recorded.INSTRUCTIONS})
    limits = {"first_virtual": WORK_AT, "last_virtual": 0x7D00}
    counting.trace.set(Wish(Mode.TRACE, records, Policy.OVERWRITE, Filters(**limits, page_table=0x5000)))
    counting.count()
    reader = counting.trace.rings()[0]
    assert reader.waiting() == 0
    counting.trace.set(Wish(Mode.TRACE, records, Policy.OVERWRITE, Filters(**limits, page_table=0)))
    counting.count()
    assert reader.waiting() > 0


def test_one_of_many_blocks(counting: Counting) -> None:
    counting.trace.set(Wish(Mode.COUNTERS))
    counting.count()
    filters = Filters(0x7C00, 0x7D00, one_of=3)
    counting.trace.set(Wish(Mode.TRACE, frozenset({Recorded.BLOCKS}), Policy.HOLD, filters))
    records = all_records(counting)
    assert set((records["block"] % 3).tolist()) <= {0}
