"""Programs: edges are what followed what, counted by hand; static ones what the code says; loops are of places."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.trace import follows
from bridge.trace.follows import FollowCounter
from bridge.trace.layout import layout
from tests.bridge.trace.programs import JUMP, TEXT, program_of, records_of, walked

NOP, JUMP_BACK, RET = b"\x90", b"\xeb\xfd", b"\xc3"

RUNS = st.lists(
    st.tuples(
        st.integers(0, 2),  # vCPU
        st.lists(st.integers(0, 6), max_size=12),  # blocks; 0 stands for one that nobody knows
        st.integers(0, 2),  # records lost before them
        st.booleans(),  # and whether by the flag
    ),
    max_size=12,
)


def as_edges(counter: FollowCounter) -> dict[tuple[int, int], int]:
    edges = counter.edges()
    pairs = zip(edges.sources.tolist(), edges.targets.tolist(), strict=True)
    return dict(zip(pairs, edges.counts.tolist(), strict=True))


@given(RUNS, st.booleans())
@settings(max_examples=80, deadline=None)
def test_edges_are_what_followed_what_on_one_vcpu(
    runs: list[tuple[int, list[int], int, bool]], as_columns: bool
) -> None:
    known = layout().constants
    counter, expected = FollowCounter(6), Counter[tuple[int, int]]()  # number 6 is beyond the table
    head, before = Counter[int](), dict.fromkeys(range(3), 0)
    entered = Counter[int]()
    for vcpu, blocks, lost, told in runs:
        records = records_of(blocks, vcpu, head[vcpu] + (0 if told else lost))
        head[vcpu] += (0 if told else lost) + len(blocks)
        if lost and blocks:
            before[vcpu] = 0
            if told:
                records["flags"][0] = known["FLAG_LOST"]
        elif lost and not told and not as_columns:
            before[vcpu] = 0
        for block in blocks:
            here = block if block < 6 else 0
            if before[vcpu] and here:
                expected[before[vcpu], here] += 1
            before[vcpu] = here
            entered[block] += 1
        if as_columns:
            breaks = np.zeros(len(records), bool)
            breaks[:1] = lost > 0
            kinds = records["kind"] == known["RECORD_BLOCK"]
            ns = records["tsc"].astype(np.int64)
            counter.feed_columns(records["vcpu"], kinds, records["block"], ns, breaks, records["value"])
        else:
            counter.feed(records)
    assert as_edges(counter) == expected
    assert counter.entered.tolist() == [entered[n] for n in range(6)]


def test_records_of_other_kinds_lie_between_blocks_and_break_nothing() -> None:
    records = records_of([1, 1, 2, 2, 1])
    records["kind"][[1, 3]] = layout().constants["RECORD_STORE"]
    counter = FollowCounter(3)
    counter.feed(records)
    assert as_edges(counter) == {(1, 2): 1, (2, 1): 1}
    records["flags"][1] = layout().constants["FLAG_LOST"]  # a store's, but a block may have been lost as well
    counter = FollowCounter(3)
    counter.feed(records)
    assert as_edges(counter) == {(2, 1): 1}


def test_time_is_until_the_next_block_and_waiting_is_none() -> None:
    counter = FollowCounter(4)
    records = records_of([1, 2, 1, 2, 3], ticks=100)
    records["tsc"][4] += 1 << 40
    counter.feed(records, 1_000_000)
    assert counter.seconds.tolist() == pytest.approx([0, 2e-4, 1e-4 + 1e-3, 0])
    untimed = FollowCounter(4)
    untimed.feed(records)
    assert not untimed.seconds.any()


def test_what_has_too_many_edges_keeps_those_that_were_taken_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follows, "MOST_EDGES", 2)
    monkeypatch.setattr(follows, "_PENDING", 3)
    counter = FollowCounter(100)
    counter.feed(records_of([1, 2, 1, 2, 1, 2]))
    for n in range(10, 40):
        counter.feed(records_of([n, n + 1], first=1000 * n))
    found = as_edges(counter)
    assert len(found) == 2
    assert (found[1, 2], found[2, 1]) == (3, 2)


def test_without_records_edges_are_what_the_code_says() -> None:
    # 1: nop, runs into 2; 2: jump back to 1; 3: never ran; 4: returns.
    starts = [TEXT, TEXT + 1, TEXT + 3, TEXT + 4]
    program = program_of(starts, [NOP, JUMP_BACK, NOP, RET], [5, 5, 0, 1])
    edges = program.edges
    assert not edges.measured
    assert list(zip(edges.sources.tolist(), edges.targets.tolist(), strict=True)) == [(1, 2), (2, 1)]
    assert program.loops.depths.tolist() == [0, 1, 1, 0, 0]
    assert program.loops.heads.tolist() == [-1, 1, 1, -1, -1]
    assert program.loops.back.tolist() == [False, True]
    assert program.ran.tolist() == [1, 2, 4]
    assert program.decoded(2).successors == (-1,)


def test_a_process_goes_on_in_its_own_page() -> None:
    user = 0x401000
    starts = [user, user + 1, user, user + 1]
    program = program_of(starts, [NOP, JUMP_BACK] * 2, [1] * 4, physical=[0x1000, 0x1001, 0x2000, 0x2001])
    pairs = zip(program.edges.sources.tolist(), program.edges.targets.tolist(), strict=True)
    assert set(pairs) == {(1, 2), (2, 1), (3, 4), (4, 3)}
    assert program.loops.depths.tolist() == [0, 1, 1, 1, 1]


def test_measured_edges_win_and_blocks_of_one_place_are_one() -> None:
    # 2 and 3 begin at the same place: QEMU cut one of them shorter. By blocks alone 2 and 3 would be two entries.
    starts = [TEXT, TEXT + 1, TEXT + 1, TEXT + 8]
    counter = walked([[1, 2, 3, 2, 2, 4], [1, 3]], 5)
    program = program_of(starts, [JUMP, NOP + JUMP, JUMP, RET], [2, 3, 2, 1], counter)
    assert program.edges.measured
    assert program.loops.depths.tolist() == [0, 0, 1, 1, 0]
    assert program.loops.heads.tolist() == [-1, -1, 2, 2, -1]  # the one that was entered more
    assert program.seconds.sum() == pytest.approx(6e-5)
    apart = program_of(starts, [JUMP] * 4, [1] * 4, counter, physical=[1, 2, (1 << 64) - 1, 4])
    assert apart.loops.depths.tolist() == [0, 0, 1, 0, 0]  # 2 goes to itself; the cycle with 3 has two entries
    assert apart.physical_of(3) is None


def test_edges_of_blocks_that_are_not_in_the_table_are_left_out() -> None:
    counter = walked([[1, 9, 1, 2]], 10)
    program = program_of([TEXT, TEXT + 1], [NOP, RET], [2, 1], counter)
    assert program.edges.counts.tolist() == [1]


def test_functions_are_left_over_calls_and_not_by_returns_or_interrupts() -> None:
    # 1: call 5; 2: back to 1 in a loop; 3: another caller of 5; 4: behind that; 5: the function; 6: an interrupt.
    call_5, call_from_3 = b"\xe8\xfb\x00\x00\x00", b"\xe8\xdb\x00\x00\x00"
    starts = [TEXT, TEXT + 5, TEXT + 0x20, TEXT + 0x25, TEXT + 0x100, TEXT + 0x200]
    codes = [call_5, b"\x75\xf9", call_from_3, RET, NOP + RET, b"\x48\xcf"]
    runs = [[1, 5, 2, 1, 5, 2, 1, 5, 6, 2, 3, 5, 4]]
    program = program_of(starts, codes, [3, 3, 1, 1, 4, 1], walked(runs, 7))
    edges = program.within_functions
    found = dict(
        zip(zip(edges.sources.tolist(), edges.targets.tolist(), strict=True), edges.counts.tolist(), strict=True)
    )
    assert found == {(1, 5): 3, (1, 2): 3, (2, 1): 2, (3, 5): 1, (3, 4): 1}
    assert program.loops.depths.tolist() == [0, 1, 1, 0, 0, 0, 0]
    assert program.flow.successors(5).tolist() == [2, 4, 6]  # all that was seen is still told
    assert list(program.flow_within_functions.successors(5).tolist()) == []


def test_edges_of_programs_are_believed_wherever_their_code_was_seen_first() -> None:
    # A library, first seen at another address: its jump leads elsewhere by the code. An interrupt leads to the kernel.
    starts = [0x401000, 0x7F0000000010, TEXT]
    program = program_of(starts, [b"\xeb\x0e", JUMP, b"\x48\xcf"], [1, 1, 1], walked([[1, 2], [1, 3]], 4))
    edges = program.within_functions
    assert list(zip(edges.sources.tolist(), edges.targets.tolist(), strict=True)) == [(1, 2)]


def test_who_entered_a_block_is_told_by_its_records() -> None:
    records = records_of([1, 2, 1, 1, 2, 3, 7])
    records["value"] = [70, 70, 80, 80, 80, 0, 90]
    counter = FollowCounter(4)
    counter.feed(records[:4])
    counter.feed(records[4:])
    assert counter.tasks() == {1: {70: 1, 80: 2}, 2: {70: 1, 80: 1}}


def test_no_more_tasks_are_told_apart_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follows, "MOST_TASKS", 2)
    records = records_of([1, 1, 1, 1])
    records["value"] = [70, 80, 90, 70]
    counter = FollowCounter(2)
    counter.feed(records)
    assert counter.tasks() == {1: {70: 2, 80: 1}}


def test_blocks_that_wait_took_no_time() -> None:
    program = program_of([TEXT, TEXT + 1], [b"\xf4", JUMP], [1, 1], walked([[1, 2, 1, 2]], 3))
    assert program.seconds.tolist() == pytest.approx([0, 0, 1e-5])


def test_nothing_ran() -> None:
    program = program_of([], [], [])
    assert (len(program), len(program.edges), program.loops.depths.tolist()) == (1, 0, [0])
