"""Who wrote a byte, on a guest whose every instruction is known: by watched pages, and backwards by the rings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bridge.trace.layout import layout
from bridge.trace.modes import Filters, Mode, Policy, Recorded, Wish
from bridge.trace.ring import newest
from bridge.trace.writers import Access, access_of_touch, backwards, overlapping
from tests.bridge.machine.conftest import private_directories, shared_memory  # noqa: F401 - fixtures
from tests.bridge.trace.conftest import COUNTER, DONE, GO, LOOP_AT, ROUNDS, WORK_AT, Counting, counting  # noqa: F401


def test_a_hit_tells_the_instruction_where_it_lies_and_what_it_wrote(counting: Counting) -> None:  # noqa: F811
    session = counting.trace
    session.set(Wish(Mode.WATCH))
    session.watch(np.array([DONE >> 12]))
    counting.count()
    hits, _ = session.hits()
    took, told = (access_of_touch(session, hit) for hit in hits)
    assert (took.physical, took.size, took.value, took.is_store) == (GO, 1, 0, True)
    assert (took.pc, took.code, took.text) == (WORK_AT, WORK_AT, "mov byte ptr [0x8000], 0")
    assert (told.physical, told.size, told.value) == (DONE, 4, counting.word(DONE))
    assert told.text == "inc dword ptr [0x8004]"
    assert took.at_ns <= told.at_ns
    assert (told.vcpu, told.task) == (0, 0)
    assert overlapping(hits, DONE, DONE + 1).tolist() == [False, True]
    assert overlapping(hits, GO + 1, DONE).tolist() == [False, False]
    assert overlapping(hits, DONE + 3, DONE + 4).tolist() == [False, True]


def test_the_rings_tell_who_wrote_before_it_was_asked(counting: Counting) -> None:  # noqa: F811
    session = counting.trace
    records = frozenset({Recorded.BLOCKS, Recorded.STORES})
    session.set(Wish(Mode.TRACE, records, Policy.OVERWRITE, Filters(WORK_AT, 0x7D00)))
    counting.count()
    counting.count()
    found = backwards(session, COUNTER, COUNTER + 1, 5)
    assert [one.value for one in found] == [2 * ROUNDS - n for n in range(5)]
    assert {(one.pc, one.text) for one in found} == {(LOOP_AT, "inc dword ptr [0x9000]")}
    assert [one.at_ns for one in found] == sorted((one.at_ns for one in found), reverse=True)
    # Asking takes nothing away, and what is nowhere in them is told as nothing.
    again = backwards(session, COUNTER, COUNTER + 1, 5)
    assert [replace(one, at_ns=0) for one in again] == [replace(one, at_ns=0) for one in found]  # the rate gets better
    assert backwards(session, 0x200000, 0x201000, 5) == []
    done = backwards(session, DONE, DONE + 1, 5)
    assert [one.value for one in done] == [counting.word(DONE)]  # the one before is no longer held
    both = backwards(session, DONE, COUNTER + 1, 2)  # asked at once: by one and the same rate of the clock
    assert [one.physical for one in both] == [DONE, COUNTER]
    assert both[0].at_ns > both[1].at_ns
    size = session.memory.ring_records
    kept = newest(session.memory, 0)
    head = int(session.memory.plugin["rings"][0]["head"])
    assert kept["sequence"].tolist() == list(range(head - size, head))
    assert newest(session.memory, 0, 3)["sequence"].tolist() == [head - 3, head - 2, head - 1]


def test_damaged_touches_tell_what_can_be_told(counting: Counting) -> None:  # noqa: F811
    session, none = counting.trace, layout().constants["NONE"]
    session.set(Wish(Mode.COUNTERS))
    counting.count()
    touch = np.zeros(3, layout()["touch"])
    touch["block"] = [0, 0xFFFFFFFF, 1]
    touch["physical"] = [none, (1 << 64) - 8, 0x5000]
    touch["size"] = [255, 255, 0]
    touch["pc"] = [0, 5, none]
    assert overlapping(touch, 0, 1 << 63).tolist() == [False, False, True]
    told: list[Access] = [access_of_touch(session, one) for one in touch]
    assert [(one.text, one.code) for one in told[:2]] == [("", None)] * 2
    assert all(one.size <= 64 and one.value is None for one in told)
