"""Loops of several blocks in a running QEMU: their first block tells of them, and everything else is looked at."""

from __future__ import annotations

import contextlib
import re
from functools import cache

import numpy as np
import pytest

from app.benchmarks.loop_guest import AREA, FIRST_PAGE, PAGE, LoopGuest
from app.benchmarks.pixel_calls import CODE_AT
from app.benchmarks.pixel_loops import LOOPS, KnownLoop
from bridge.machine.gdb_recovery import end_server, start_server
from bridge.machine.gdbstub import GdbStub
from bridge.pixelcpu.candidates import candidates_of
from bridge.pixelcpu.hybrid import Declined, Hybrid, Live, Told
from bridge.pixelcpu.learning import Nameless
from bridge.pixelcpu.round_shape import shape_of
from bridge.trace.hot import Naming, Weights
from bridge.trace.layout import layout
from bridge.trace.modes import Mode, Wish
from bridge.trace.program import Program
from bridge.trace.session import TraceSession
from tests.bridge.machine.conftest import private_directories, shared_memory, wait_until  # noqa: F401
from tests.bridge.pixelcpu.filled_guest import RAX, RDI, WORDS, memory
from tests.bridge.pixelcpu.test_hybrid import guest, hybrid, native, the_one  # noqa: F401

NAMES = {loop.name: loop for loop in LOOPS}
COUNT, THRESHOLD = NAMES["count by a branch"], NAMES["threshold"]
N = 16 * WORDS
"""Bytes of the memory that is there."""
HIGH = 0x1A0000
"""Above 1 MiB: code below is taken for that of 16 bits where no processor is asked."""


@cache
def other(loop: KnownLoop, at: int, byte: int) -> KnownLoop:
    """The same with a byte changed."""
    code = loop.code[:at] + bytes([byte]) + loop.code[at + 1 :]
    return KnownLoop(loop.name, loop.kind, code, "", loop.element, loop.start)


def counted(made: LoopGuest, n: int = N) -> int:
    return int((memory(made)[:n] == 10).sum())


def test_what_a_branch_counts_and_stores_is_what_qemu_does(guest: LoopGuest, hybrid: Hybrid) -> None:  # noqa: F811
    hybrid.install({0: native(COUNT), 1: native(THRESHOLD)})
    for n in (N, N - 1, 1000):
        outcome = guest.run(COUNT.code, CODE_AT, COUNT.registers(n, AREA, 0))
        assert int(outcome.registers[RAX]) == counted(guest, n)
        assert int(outcome.registers[RDI]) == AREA + n
    before = memory(guest).copy()
    guest.run(THRESHOLD.code, CODE_AT + 0x200, THRESHOLD.registers(N - 7, 0, AREA))
    assert np.array_equal(memory(guest)[: N - 7], np.minimum(before[: N - 7], 100))
    assert np.array_equal(memory(guest)[N - 7 :], before[N - 7 :])
    assert [one.rounds > N // 2 for one in hybrid.told()] == [True, True]
    assert {one.state for one in hybrid.told()} == {Live.LIVE}


@pytest.mark.parametrize("name", ["count by a branch", "threshold", "either way"])
def test_verification_finds_them_right(guest: LoopGuest, hybrid: Hybrid, name: str) -> None:  # noqa: F811
    loop, n = NAMES[name], 20_000
    hybrid.install({0: native(loop)}, verify=True)
    guest.run(loop.code, CODE_AT, loop.registers(n, AREA, AREA + 8 * WORDS), timer_hz=1000)
    told = the_one(hybrid)
    assert told.state is Live.LIVE
    assert told.verified >= 3
    assert told.verified_rounds > n // 2
    assert told.abandoned == 0


def test_a_kernels_rounds_count_as_entries_of_the_first_block(
    guest: LoopGuest,  # noqa: F811
    hybrid: Hybrid,  # noqa: F811
) -> None:
    session = TraceSession(guest.machine)
    session.set(Wish(Mode.COUNTERS))
    hybrid.install({3: native(COUNT)})
    before = session.counts()
    for _ in range(4):
        guest.run(COUNT.code, HIGH, COUNT.registers(N, AREA, 0))
    after, told = session.counts(), the_one(hybrid)
    assert told.rounds > 2 * N
    program = Program.from_counts(after, session.code_of, before)
    blocks = {program.code_of(int(n)): int(program.entered[n]) for n in program.ran}
    assert blocks[COUNT.code[:5]] == 4 * N, "whoever did a round"
    assert blocks[COUNT.code[5:]] < 4 * N - told.rounds // 2, "of others only QEMU's count"
    # And by such counts it is found.
    weights = Weights.of(program, np.empty(0, layout()["sample"]))
    (found,) = [one for one in candidates_of(program, weights, Naming(program, Nameless()), 64) if len(one.code) == 16]
    assert found.code == COUNT.code
    assert found.entered == 4 * N
    assert found.n_instructions == 5


def test_a_way_that_was_never_taken_does_not_hide_a_loop(guest: LoopGuest, hybrid: Hybrid) -> None:  # noqa: F811
    """No byte is the one that is counted, so that QEMU never came to where it is."""
    session = TraceSession(guest.machine)
    session.set(Wish(Mode.COUNTERS))
    memory(guest)[memory(guest) == 10] = 11
    before = session.counts()
    guest.run(COUNT.code, HIGH + 0x4000, COUNT.registers(N, AREA, 0))
    program = Program.from_counts(session.counts(), session.code_of, before)
    weights = Weights.of(program, np.empty(0, layout()["sample"]))
    naming = Naming(program, Nameless())
    assert COUNT.code not in [one.code for one in candidates_of(program, weights, naming, 64)]
    assert COUNT.code in [one.code for one in candidates_of(program, weights, naming, 64, session.ram_at)]
    # And it is done, the way included that it never went before.
    memory(guest)[:4000] = 10
    hybrid.install({0: native(COUNT)})
    outcome = guest.run(COUNT.code, HIGH + 0x4000, COUNT.registers(N, AREA, 0))
    assert int(outcome.registers[RAX]) == 4000
    assert the_one(hybrid).rounds > N // 2


def test_code_behind_the_first_block_that_was_changed(guest: LoopGuest, hybrid: Hybrid) -> None:  # noqa: F811
    """The guest makes `inc rax` `dec rax`: QEMU's first block is what it was, and the kernel is not used."""
    hybrid.install({0: native(COUNT)})
    guest.run(COUNT.code, CODE_AT, COUNT.registers(N, AREA, 0))
    done = the_one(hybrid).rounds
    assert done > N // 2
    guest.run(bytes.fromhex("c60425") + (CODE_AT + 7).to_bytes(4, "little") + b"\xc8", CODE_AT + 0x1000, [0] * 16)
    outcome = guest.run(other(COUNT, 7, 0xC8).code, CODE_AT, COUNT.registers(N, AREA, 0))
    assert int(outcome.registers[RAX]) == -counted(guest) % (1 << 64)
    told = the_one(hybrid)
    assert told.rounds == done
    assert told.declined.get(Declined.CHANGED, 0) > 0 or told.translations >= 1


def test_two_loops_with_one_first_block_are_told_apart(guest: LoopGuest, hybrid: Hybrid) -> None:  # noqa: F811
    downwards = other(COUNT, 7, 0xC8)
    assert native(downwards).code[:5] == COUNT.code[:5]
    hybrid.install({0: native(downwards), 1: native(COUNT)})
    outcome = guest.run(COUNT.code, CODE_AT, COUNT.registers(N, AREA, 0))
    assert int(outcome.registers[RAX]) == counted(guest)
    outcome = guest.run(downwards.code, CODE_AT + 0x200, downwards.registers(N, AREA, 0))
    assert int(outcome.registers[RAX]) == -counted(guest) % (1 << 64)
    assert [one.rounds > N // 2 for one in hybrid.told()] == [True, True]


def test_across_the_end_of_a_page_it_is_left_to_qemu(guest: LoopGuest, hybrid: Hybrid) -> None:  # noqa: F811
    """QEMU does not say of a breakpoint in the second page while it translates the first block."""
    hybrid.install({0: native(COUNT)})
    for behind in (4, 5, 9, 15):
        at = CODE_AT + 2 * behind * PAGE - behind
        outcome = guest.run(COUNT.code, at, COUNT.registers(N, AREA, 0))
        assert int(outcome.registers[RAX]) == counted(guest)
        assert the_one(hybrid).rounds == 0
    guest.run(COUNT.code, CODE_AT + PAGE - 16, COUNT.registers(N, AREA, 0))
    assert the_one(hybrid).rounds > 0


def test_what_is_stepped_through_traps_at_each_instruction(guest: LoopGuest, hybrid: Hybrid) -> None:  # noqa: F811
    hybrid.install({0: native(COUNT)})
    outcome = guest.run(COUNT.code, CODE_AT, COUNT.registers(3000, AREA, 0), flags=0x102)
    assert int(outcome.registers[RAX]) == counted(guest, 3000)
    assert outcome.traps >= 5 * 3000
    assert the_one(hybrid).rounds == 0


def test_a_breakpoint_behind_the_first_block_is_met(guest: LoopGuest, hybrid: Hybrid) -> None:  # noqa: F811
    shape = shape_of(COUNT.code)
    assert shape is not None
    hybrid.install({0: native(COUNT)})
    guest.run(COUNT.code, CODE_AT, COUNT.registers(N, AREA, 0))
    done = the_one(hybrid).rounds
    assert done > 0
    machine, breakpoint_at = guest.machine, CODE_AT + shape.first_bytes

    def register(name: str) -> int:
        told = machine.qmp("human-monitor-command", **{"command-line": "info registers"})
        return int(re.search(rf"{name}=([0-9a-f]+)", told)[1], 16)  # type: ignore[index]

    with contextlib.closing(GdbStub.open(start_server(machine.name))) as stub:
        stub.ask("?")
        stub.insert_breakpoint(breakpoint_at)
        stub.go_on()
        guest.start(COUNT.code, CODE_AT, COUNT.registers(N, AREA, 0))
        wait_until(lambda: machine.qmp("query-status")["status"] == "debug")
        assert register("RIP") == breakpoint_at
        assert register("RAX") == 0
        assert register("RDI") == AREA + int((memory(guest) == 10).argmax())
    assert the_one(hybrid).rounds == done
    with contextlib.closing(GdbStub.open(start_server(machine.name))) as stub:
        stub.ask("?")
        stub.detach()
    wait_until(lambda: the_one(hybrid).rounds > done)
    end_server(machine.name)


def test_conditional_stores_leave_pages_alone_that_may_not_be_written(
    guest: LoopGuest,  # noqa: F811
    hybrid: Hybrid,  # noqa: F811
) -> None:
    """No byte of the page is above the threshold: x86 never writes it, and neither faults nor rounds are lost."""
    hybrid.install({0: native(THRESHOLD)})
    n_pages = 8
    content = memory(guest)[: n_pages * PAGE]
    content[3 * PAGE : 4 * PAGE] = 7
    expected = np.minimum(content, 100)
    guest.map_pages(0, FIRST_PAGE // PAGE + np.arange(n_pages))
    guest.entries[3] &= ~np.uint64(2)  # read-only
    outcome = guest.run(THRESHOLD.code, CODE_AT, THRESHOLD.registers(n_pages * PAGE, 0, AREA))
    assert outcome.faults == 0
    assert np.array_equal(content, expected)
    told: Told = the_one(hybrid)
    assert told.rounds > 0
    assert told.declined.get(Declined.RIGHTS, 0) > 0
