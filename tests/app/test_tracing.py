"""The window's tracer on a guest whose every instruction is known; its history, rows and leaves as pure sums."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from app.trace_looks import Look, Shown
from app.tracing import NotTraced, Tracer, Tracers, TracerState, task_names
from bridge.kernel.desk import Answer
from bridge.kernel.tasks import Tasks
from bridge.kernel.watcher import KernelWatcher
from bridge.trace.instructions import BlockClass
from bridge.trace.modes import Mode
from bridge.trace.visit import traced
from tests.bridge.machine.conftest import (  # noqa: F401 - fixtures
    _kvm_answer,
    _kvm_is_known,
    private_directories,
    shared_memory,
)
from tests.bridge.trace.conftest import LOOP_AT, ROUNDS, WAIT_AT, Counting, counting  # noqa: F401 - a fixture

PATIENCE_S = 120


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def seen(tracer: Tracer, is_it: Callable[[Look], bool]) -> Look:
    """The first look from now on that is as wished."""
    found: list[Look] = []

    def there() -> bool:
        assert not tracer.problem
        look = tracer.latest()
        found[:] = [] if look is None else [look]
        return look is not None and is_it(look)

    until(there)
    return found[0]


@pytest.fixture
def tracer(counting: Counting) -> Tracer:  # noqa: F811
    return Tracer(counting.machine)


def test_the_loop_is_seen_counted_and_listed(counting: Counting, tracer: Tracer) -> None:  # noqa: F811
    tracer.shown = Shown(60.0, blocks=True)
    assert (tracer.mode, tracer.state, tracer.latest()) == (Mode.OFF, TracerState.OFF, None)
    tracer.set_mode(Mode.TIME)
    first = seen(tracer, lambda look: not look.pending)
    assert tracer.state is TracerState.ON
    counting.count()

    def rounds(look: Look) -> int:
        return int(look.span.entered[look.span.blocks["physical"] == LOOP_AT].sum())

    def counted(look: Look) -> bool:
        return rounds(look) == ROUNDS - 1 and look.span.by_samples and look.rows[0].loop_depth > 0

    look = seen(tracer, counted)  # its first round belongs to the block before
    assert look.number > first.number
    hottest = look.rows[0]
    assert (hottest.pc, hottest.end) == (WAIT_AT, WAIT_AT + 12)
    assert (hottest.physical, hottest.loop_depth, hottest.kind) == (WAIT_AT, 1, BlockClass.MEMORY)
    assert hottest.spark[-1] > 0.5
    assert {leaf.block for leaf in look.leaves} == {row.number for row in look.rows}
    assert sum(row.share for row in look.rows) == pytest.approx(1)
    number = int(np.flatnonzero(look.span.blocks["physical"] == LOOP_AT)[0])
    tracer.shown = Shown(60.0, blocks=True, chosen=number)
    look = seen(tracer, lambda look: look.listing is not None)
    assert look.listing is not None
    lines = {line.physical: line for line in look.listing.lines}
    assert lines[LOOP_AT].text == "inc dword ptr [0x9000]"
    # An instruction runs as often as all blocks that hold it: the first round comes with the block before.
    assert [lines[LOOP_AT + at].count for at in (0, 5, 7)] == [ROUNDS] * 3
    assert lines[WAIT_AT].count > 0
    tracer.set_mode(Mode.OFF)
    tracer.join(PATIENCE_S)
    assert (tracer.state, tracer.latest()) == (TracerState.OFF, None)
    assert counting.trace.parts == 0  # the guest runs as before


def test_heat_makes_lines_of_loads_and_stores(counting: Counting, tracer: Tracer) -> None:  # noqa: F811
    tracer.set_mode(Mode.HEAT)
    seen(tracer, lambda look: bool(look.lines[:, 3].any() and look.lines[:, 4].any()))  # it waits, and counts that
    look = seen(tracer, lambda look: bool(look.lines[-1, 5] >= 2))
    assert look.rows == ()  # nobody wanted them
    assert (look.times_s <= 0).all()
    assert (np.diff(look.times_s) > 0).all()
    tracer.set_mode(Mode.TRACE)
    look = seen(tracer, lambda look: look.mode is Mode.TRACE and bool(look.lines[-1, 6] > 0))
    assert look.lines[-1, 3] == 0  # no mode of pages any more
    tracer.set_mode(Mode.OFF)
    tracer.join(PATIENCE_S)


def test_others_take_part_on_its_thread(counting: Counting, tracer: Tracer) -> None:  # noqa: F811
    with pytest.raises(NotTraced):
        tracer.run(lambda session: session.parts).result()
    tracer.set_mode(Mode.COUNTERS)
    attended: list[int] = []
    tracer.attend("test", lambda session: attended.append(session.parts))
    assert tracer.run(lambda session: session.parts).result(PATIENCE_S) == counting.trace.parts != 0
    with pytest.raises(ZeroDivisionError):
        tracer.run(lambda _: 1 / 0).result(PATIENCE_S)
    until(lambda: len(attended) > 1)
    tracer.attend("test", None)
    tracer.set_mode(Mode.OFF)
    tracer.join(PATIENCE_S)


def test_another_program_is_waited_for_and_said(counting: Counting, tracer: Tracer) -> None:  # noqa: F811
    with traced(counting.machine.name):
        tracer.set_mode(Mode.COUNTERS)
        until(lambda: tracer.state is TracerState.ELSEWHERE)
        assert "by another program" in tracer.problem
    until(lambda: tracer.state is TracerState.ON)
    assert tracer.problem == ""
    tracer.set_mode(Mode.OFF)
    tracer.join(PATIENCE_S)


def test_a_paused_machine_begins_when_it_runs_and_an_ended_one_is_over(
    counting: Counting,  # noqa: F811
) -> None:
    machine, tracers = counting.machine, Tracers()
    tracers.sync([machine])
    tracer = tracers.of(machine.name)
    assert tracer is not None
    assert tracer.why_not == ""
    machine.pause()
    tracer.set_mode(Mode.COUNTERS)
    seen(tracer, lambda look: look.pending)
    machine.resume()
    seen(tracer, lambda look: not look.pending and bool(len(look.lines)))
    assert tracers.pump()
    machine.stop()
    until(lambda: tracer.state is TracerState.FAILED)
    assert (tracer.mode, tracer.problem, tracer.why_not) == (Mode.OFF, *["The machine has ended."] * 2)
    tracers.sync([])
    assert tracers.of(machine.name) is None
    tracers.close()


def test_a_machine_without_the_plugin_says_why(counting: Counting, tmp_path: Path) -> None:  # noqa: F811
    machine = counting.machine
    assert machine.trace is not None
    machine.trace.path.unlink()
    tracer = Tracer(machine)
    tracer.set_mode(Mode.COUNTERS)
    until(lambda: tracer.state is TracerState.FAILED)
    assert "cannot be opened" in tracer.problem
    machine.trace, machine.trace_problem = None, "Only an emulated machine can be traced."
    assert tracer.why_not == "Only an emulated machine can be traced."


class Telling:
    """Answers as the kernel's process does: under a number, once."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.asked: list[str] = []

    def ask(self, name: str, argument: Any) -> int:
        self.asked.append(name)
        value = (0,) if name == "task_words" else tuple(("wait" if at == WAIT_AT else "", "rom") for _, at in argument)
        self.answers.append(Answer(len(self.answers), value))
        return len(self.answers) - 1

    def answer(self, number: int) -> Answer | None:
        return self.answers[number]


def test_code_goes_by_what_the_kernel_calls_it(counting: Counting, tracer: Tracer) -> None:  # noqa: F811
    telling = Telling()
    tracer.shown = Shown(60.0, blocks=True)
    tracer.tell(cast(KernelWatcher, telling), {})
    tracer.set_mode(Mode.COUNTERS)
    look = seen(tracer, lambda look: bool(look.rows) and look.rows[0].symbol == "wait")
    assert (look.named, look.rows[0].process) == (True, "rom")
    assert {(leaf.process, leaf.symbol) for leaf in look.leaves} >= {("rom", "wait")}
    assert telling.asked[0] == "task_words"
    tracer.tell(None, {})  # another kernel, or none any more: what the first one said is forgotten
    look = seen(tracer, lambda look: bool(look.rows) and not look.rows[0].symbol)
    assert not look.named
    tracer.set_mode(Mode.OFF)
    tracer.join(PATIENCE_S)


def test_threads_are_named_as_their_process() -> None:
    def tasks(*rows: tuple[int, int, int, str]) -> Tasks:
        none = np.zeros(len(rows), np.int64)
        numbers = [np.array([row[at] for row in rows], np.int64) for at in range(3)]
        unsigned = none.astype(np.uint64)
        return Tasks(
            addresses=numbers[0].astype(np.uint64), pids=numbers[1], tgids=numbers[2], ppids=none, uids=none,
            names=tuple(row[3] for row in rows), states=("S",) * len(rows), flags=none, mms=unsigned, roots=unsigned,
            rss_bytes=none, stacks=unsigned, start_ns=none, consistency="live",
        )  # fmt: skip

    processes = tasks((64, 7, 7, "sshd"), (128, 9, 9, "sh"))
    threads = tasks((64, 7, 7, "sshd"), (192, 8, 7, "sshd/1"), (256, 30, 29, "gone"))
    assert task_names(processes, threads) == {64: "sshd (7)", 128: "sh (9)", 192: "sshd (7)"}
    assert task_names(processes, None) == {64: "sshd (7)", 128: "sh (9)"}
    assert task_names(None, threads) == {}
