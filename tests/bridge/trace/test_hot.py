"""Hot blocks of a guest whose loop is known: what is hottest, how often it was entered, in how many loops it is."""

from __future__ import annotations

import numpy as np
import pytest

from bridge.trace.errors import NoPlugin, TraceError
from bridge.trace.hot import hottest
from bridge.trace.instructions import BlockClass
from bridge.trace.layout import layout
from bridge.trace.modes import Mode, Wish
from bridge.trace.session import Counts
from bridge.trace.visit import traced
from tests.bridge.trace.conftest import LOOP_AT, ROUNDS, WAIT_AT, Counting


class Nobody:
    """Knows one name and one task."""

    def place(self, physical: int | None, address: int) -> tuple[str, str]:
        return ("loop" if address == LOOP_AT else "", "" if physical is None else "firmware")

    def process_of_task(self, task: int) -> str:
        return {7: "counter (81)"}.get(task, "")


def test_the_loop_is_the_hottest(counting: Counting) -> None:
    session = counting.trace
    session.set(Wish(Mode.COUNTERS))
    counting.count()  # the firmware's way into the loop, a second one, is behind it
    before, _ = session.counts(), session.samples()
    counting.count()
    after = session.counts()
    none = np.empty(0, layout()["sample"])
    by_count = hottest(before, after, none, session.code_of, Nobody(), 100)
    assert not by_count.by_samples
    found = {one.pc: one for one in by_count.blocks}
    loop, waiting = found[LOOP_AT], found[WAIT_AT]
    assert loop.count == ROUNDS - 1  # its first round belongs to the block before
    assert (loop.symbol, loop.process, loop.kind) == ("loop", "firmware", BlockClass.ALU)
    assert loop.disassembly == ("inc dword ptr [0x9000]", "dec ecx", f"jne {LOOP_AT:#x}")
    # In itself and in the one that begins anew; loops that begin at the same block are one.
    assert (loop.loop_depth, waiting.loop_depth) == (2, 1)
    assert sum(one.share for one in by_count.blocks) == pytest.approx(1, abs=0.01)
    samples = np.zeros(200, layout()["sample"])
    number = int(np.flatnonzero(after.blocks["physical"] == LOOP_AT)[0])
    samples["block"][:150], samples["task"][:150] = number, 7
    by_time = hottest(before, after, samples, session.code_of, Nobody(), 1)
    (hottest_one,) = by_time.blocks
    assert by_time.by_samples
    assert (hottest_one.pc, hottest_one.share, hottest_one.process) == (LOOP_AT, 1.0, "counter (81)")
    assert by_time.idle_share == 0.25
    assert set(hottest_one.document()) == {
        *("pc", "end", "count", "share", "symbol", "process", "loop_depth", "class", "disassembly")
    }


def test_nothing_that_ran_is_an_empty_answer() -> None:
    nothing = Counts(np.zeros(1, layout()["block"]), np.zeros((1, 1), np.uint64), 0)
    hot = hottest(nothing, nothing, np.empty(0, layout()["sample"]), lambda _: b"", Nobody(), 10)
    assert hot.blocks == ()
    assert (hot.entered, hot.instructions, hot.samples) == (0, 0, 0)


def test_a_visitor_traces_a_machine_of_another_owner_one_at_a_time(counting: Counting) -> None:
    name = counting.machine.name
    with traced(name) as session:
        session.set(Wish(Mode.COUNTERS))
        counting.count()
        assert int(session.counts().total.sum()) > ROUNDS
        with pytest.raises(TraceError, match="by another program"), traced(name):
            pass
    assert counting.trace.parts == 0  # it is as it was
    counting.machine.pause()
    with traced(name) as session:
        assert session.set(Wish(Mode.COUNTERS)).pending
    counting.machine.trace.path.unlink()  # type: ignore[union-attr]
    with pytest.raises(NoPlugin, match="without the plugin"), traced(name):
        pass
