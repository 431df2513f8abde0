"""Hybrid execution through the gdbstub of the system's own QEMU: right results, whatever happens, whoever is killed."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from app.benchmarks.loop_guest import AREA, FIRST_PAGE, MIB, PAGE, PRESENT, READY, LoopGuest, loop_guest
from app.benchmarks.pixel_calls import CODE_AT, Comparison, case_of
from app.benchmarks.pixel_loops import LOOPS, KnownLoop
from bridge.machine.states import MachineState
from bridge.pixelcpu.errors import WorkerLost
from bridge.pixelcpu.gdb_hybrid import GdbHybrid
from bridge.pixelcpu.hybrid import Declined, Hybrid, KernelTable, Live, NoTakeover, Told
from bridge.pixelcpu.native_loop import NativeLoop
from bridge.pixelcpu.prove_loop import prove_loop
from bridge.pixelcpu.takeover import takeover_of
from bridge.trace.modes import Mode, Wish
from bridge.trace.session import TraceSession
from bridge.trace.visit import Visited
from tests.bridge.machine.conftest import private_directories, shared_memory, wait_until  # noqa: F401
from tests.bridge.pixelcpu.filled_guest import RAX, RCX, RDI, WORDS, filled_guest, memory

NAMES = {loop.name: loop for loop in LOOPS}


@cache
def native(loop: KnownLoop) -> NativeLoop:
    found = prove_loop(loop.code).native
    assert found is not None
    return found


@pytest.fixture
def guest(private_directories: Path, tmp_path: Path) -> Iterator[LoopGuest]:  # noqa: F811
    with filled_guest(tmp_path) as made:
        if int(TraceSession(made.machine).memory.plugin["api"]) >= 7:
            pytest.skip("this system's own QEMU takes kernels in its plugin")
        yield made


@pytest.fixture
def hybrid(guest: LoopGuest) -> Iterator[GdbHybrid]:
    made = GdbHybrid(TraceSession(guest.machine), eager=True)
    yield made
    made.close()


def the_one(hybrid: KernelTable) -> Told:
    (told,) = hybrid.told()
    return told


def installed(guest: LoopGuest, hybrid: KernelTable, *loops: KnownLoop, verify: bool = False) -> None:
    """Put them into slots, with their code where `places` says, and have each be found there."""
    hybrid.install({LOOPS.index(loop): native(loop) for loop in loops}, verify=verify)
    found(guest, hybrid, *loops)


def found(guest: LoopGuest, hybrid: KernelTable, *loops: KnownLoop) -> None:
    """A loop is known once QEMU has translated it, and gone round."""
    for loop in loops:
        guest.run(loop.code, place(loop), loop.registers(3, AREA, AREA + WORDS * 8))
    slots = {LOOPS.index(loop) for loop in loops}
    wait_until(lambda: slots <= {one.slot for one in hybrid.told() if one.translations})


def place(loop: KnownLoop) -> int:
    return CODE_AT + 0x200 * LOOPS.index(loop)


def until_more(hybrid: KernelTable) -> None:
    """Wait for rounds that are done from now on."""
    before = the_one(hybrid).rounds
    wait_until(lambda: the_one(hybrid).rounds > before)


def until_known(hybrid: KernelTable) -> None:
    """Wait until the one loop's place is known."""
    wait_until(lambda: the_one(hybrid).translations > 0)


def until_equal(words: np.ndarray, expected: np.ndarray) -> None:
    """Wait until what is in the guest's memory is that."""
    wait_until(lambda: np.array_equal(words, expected))


def until_ended(pid: int) -> None:
    """Wait for the end of a process that is nobody's child here."""
    wait_until(lambda: not Path(f"/proc/{pid}/exe").exists())


def total(guest: LoopGuest, words: int = WORDS) -> int:
    return int(memory(guest).view(np.uint64)[:words].sum(dtype=np.uint64))


def test_this_is_the_way_for_an_older_qemu(guest: LoopGuest) -> None:
    made = takeover_of(TraceSession(guest.machine))
    try:
        assert isinstance(made, GdbHybrid)
        assert not isinstance(made, Hybrid)
        assert not made.on
    finally:
        made.close()


def test_what_ends_by_itself_is_not_for_this_way(guest: LoopGuest, hybrid: GdbHybrid) -> None:
    """Each stop costs half a millisecond, and how many rounds it would be worth is not known."""
    assert "not known beforehand" in hybrid.why_not(native(NAMES["end of a string"]))
    assert not hybrid.why_not(native(NAMES["sum"]))
    assert not hybrid.why_not(native(NAMES["hash of bytes"]))


def test_random_runs_end_as_under_qemu_alone(guest: LoopGuest, hybrid: GdbHybrid) -> None:
    """Every loop that this way is for, over pages that are scattered, absent, read-only, shared; with interrupts."""
    loops = [loop for loop in LOOPS if not hybrid.why_not(native(loop))]
    for loop in loops:
        guest.run(loop.code, place(loop), loop.registers(3, AREA, AREA + WORDS * 8))
    comparison = Comparison(guest, hybrid, {LOOPS.index(loop): native(loop) for loop in loops})
    found(guest, hybrid, *loops)
    compared = comparison.compare(range(180))
    assert compared.wrong == ()
    assert compared.runs == 180
    assert compared.calls > 100
    assert compared.rounds > 100_000
    assert compared.faults > 10
    assert {case_of(seed).loop for seed in range(180)} == set(range(len(LOOPS)))
    assert all(one.state is Live.LIVE for one in hybrid.told())
    seen = {why for one in hybrid.told() for why in one.declined}
    assert {Declined.ABSENT, Declined.RIGHTS, Declined.ACROSS} <= seen


@pytest.mark.parametrize("name", ["sum", "fill", "copy", "in place", "mixed", "vectors"])
def test_rounds_are_done(guest: LoopGuest, hybrid: GdbHybrid, name: str) -> None:
    loop = NAMES[name]
    n = WORDS * 8 // max(8, loop.element)
    registers = loop.registers(n, AREA, AREA + WORDS * 8)
    start = memory(guest).copy()
    guest.run(loop.code, place(loop), registers)
    expected = guest.run(loop.code, place(loop), registers)
    its_memory = memory(guest).copy()
    installed(guest, hybrid, loop)
    memory(guest)[:] = start
    guest.run(loop.code, place(loop), registers)
    before = the_one(hybrid).rounds
    outcome = guest.run(loop.code, place(loop), registers)
    assert np.array_equal(outcome.registers, expected.registers)
    assert np.array_equal(outcome.vectors, expected.vectors)
    assert outcome.flags == expected.flags
    assert np.array_equal(memory(guest), its_memory)
    told = the_one(hybrid)
    assert n // 2 < told.rounds - before <= n
    assert told.seconds > 0
    assert hybrid.on


def test_a_page_that_is_not_there_and_one_that_is_read_only(guest: LoopGuest, hybrid: GdbHybrid) -> None:
    loop, n_pages = NAMES["copy"], 16
    installed(guest, hybrid, loop)
    before = the_one(hybrid).rounds
    for middle in (0, PRESENT):
        guest.map_pages(0, FIRST_PAGE // PAGE + np.arange(2 * n_pages))
        bits = guest.entries[: 2 * n_pages]
        for page in (5, n_pages + 9):
            bits[page] = int(bits[page]) & ~READY | middle
        memory(guest)[n_pages * PAGE : 2 * n_pages * PAGE] = 0
        outcome = guest.run(loop.code, place(loop), loop.registers(n_pages * PAGE // 8, AREA, AREA + n_pages * PAGE))
        assert outcome.faults == (2 if middle == 0 else 1)
        held = memory(guest)
        assert np.array_equal(held[: n_pages * PAGE], held[n_pages * PAGE : 2 * n_pages * PAGE])
    assert the_one(hybrid).rounds - before > n_pages * PAGE // 8


@pytest.mark.parametrize("count", [0, (1 << 64) - 1])
def test_a_count_without_end_can_be_stopped(guest: LoopGuest, hybrid: GdbHybrid, count: int) -> None:
    """2^64 rounds: the kernel does them in pieces, and the machine stops between two of them, and goes on."""
    loop = NAMES["mixed"]
    installed(guest, hybrid, loop)
    registers = loop.registers(1, 0, 0)
    registers[RCX] = count
    guest.start(loop.code, place(loop), registers)
    for _ in range(5):
        until_more(hybrid)
        guest.machine.pause()
        assert guest.machine.info.state is MachineState.PAUSED
        done, held = the_one(hybrid).rounds, guest.machine.qmp("query-status")
        assert not held["running"]
        looked = the_one(hybrid).looks
        assert (the_one(hybrid).rounds, the_one(hybrid).looks) == (done, looked)
        guest.machine.resume()
        until_more(hybrid)
        wait_until(lambda: guest.machine.runs)


def test_a_machine_that_is_paused_stays_so(guest: LoopGuest, hybrid: GdbHybrid) -> None:
    """Whoever comes and goes: kernels are installed, and the process ends, while it stands."""
    loop = NAMES["sum"]
    installed(guest, hybrid, loop)
    guest.machine.pause()
    hybrid.install({40: native(NAMES["fill"])})
    assert not guest.machine.qmp("query-status")["running"]
    hybrid.close()
    assert not guest.machine.qmp("query-status")["running"]
    other = GdbHybrid(TraceSession(guest.machine), eager=True)
    try:
        assert not guest.machine.qmp("query-status")["running"]
        guest.machine.resume()
        outcome = guest.run(loop.code, place(loop), loop.registers(WORDS, AREA, 0))
        assert int(outcome.registers[RAX]) == total(guest)
    finally:
        other.close()
    assert guest.machine.qmp("query-status")["running"]


def test_who_stops_it_and_lets_it_go_on_all_the_time_changes_nothing(guest: LoopGuest, hybrid: GdbHybrid) -> None:
    """Its owner, visitors, and a reset of what is watched, at any moment of a call."""
    loop, chance = NAMES["in place"], random.Random(5)
    words = memory(guest).view(np.uint32)[:WORDS]
    registers = loop.registers(WORDS, AREA, AREA)
    installed(guest, hybrid, loop)
    expected = words.copy()
    session = TraceSession(guest.machine)
    visitor = Visited(guest.machine.name, guest.machine.trace, guest.machine.ram)
    for _ in range(60):
        guest.start(loop.code, place(loop), registers)
        expected += np.uint32(3)
        for _ in range(chance.randrange(4)):
            time.sleep(chance.random() * 0.002)
            what = chance.randrange(4)
            if what == 0:
                guest.machine.kick()
            elif what == 1:
                visitor.kick()
            elif what == 2:
                session.set(Wish(chance.choice((Mode.COUNTERS, Mode.TIME))))
            else:
                guest.machine.pause()
                before = memory(guest).copy()
                looks = the_one(hybrid).looks
                time.sleep(chance.random() * 0.003)
                assert np.array_equal(memory(guest), before)
                assert the_one(hybrid).looks == looks
                assert not guest.machine.qmp("query-status")["running"]
                guest.machine.resume()
        until_equal(words, expected)
    assert the_one(hybrid).rounds > 20 * WORDS
    assert hybrid.on


def test_a_reset_is_survived(guest: LoopGuest, hybrid: GdbHybrid) -> None:
    loop = NAMES["mixed"]
    installed(guest, hybrid, loop)
    registers = loop.registers(1, 0, 0)
    registers[RCX] = 0
    guest.start(loop.code, place(loop), registers)
    until_more(hybrid)
    guest.ram[0x1000] = 0
    guest.machine.reset()
    wait_until(lambda: int(guest.ram[0x1000]) == 0x23)  # its boot sector has made page tables anew
    assert guest.machine.runs
    other = LoopGuest(guest.machine, guest.ram)
    outcome = other.run(loop.code, place(loop), loop.registers(WORDS, 0, 0))
    assert int(outcome.registers[RCX]) == 0
    assert hybrid.on


def test_code_that_was_changed_is_no_longer_taken_over(guest: LoopGuest, hybrid: GdbHybrid) -> None:
    loop = NAMES["sum"]
    at = place(loop)
    installed(guest, hybrid, loop)
    guest.run(loop.code, at, loop.registers(WORDS, AREA, 0))
    done = the_one(hybrid).rounds
    assert done
    # The guest itself changes add to sub, as QEMU then sees: mov byte [at+1], 0x2b
    guest.run(bytes.fromhex("c60425") + (at + 1).to_bytes(4, "little") + b"\x2b", CODE_AT + 0x8000, [0] * 16)
    changed = loop.code[:1] + b"\x2b" + loop.code[2:]
    outcome = guest.run(changed, at, loop.registers(5000, AREA, 0))
    assert int(outcome.registers[RAX]) == -total(guest, 5000) % (1 << 64)
    assert the_one(hybrid).rounds == done
    assert the_one(hybrid).declined.get(Declined.CHANGED, 0) > 0


def test_where_code_is_nothing_is_stored(guest: LoopGuest, hybrid: GdbHybrid) -> None:
    """A fill that runs over the page of its own code: QEMU does what the processor would."""
    loop = NAMES["fill"]
    installed(guest, hybrid, loop)
    frame = place(loop) // PAGE
    guest.map_pages(0, [FIRST_PAGE // PAGE, frame, FIRST_PAGE // PAGE + 1])
    at = AREA + PAGE + 0x100
    n = 100
    outcome = guest.run(loop.code, place(loop), loop.registers(n, 0, at))
    assert int(outcome.registers[RDI]) == at + 8 * n
    assert the_one(hybrid).declined.get(Declined.CODE, 0) > 0
    here = frame * PAGE + at - AREA - PAGE
    assert (guest.ram[here : here + 8 * n].view(np.uint64) == 0x0123456789ABCDEF).all()


def test_two_addresses_of_one_page_are_seen(guest: LoopGuest, hybrid: GdbHybrid) -> None:
    """copy from a page to itself, a word further on: each word becomes the first, which only an order gives."""
    loop = NAMES["copy"]
    installed(guest, hybrid, loop)
    guest.map_pages(0, [FIRST_PAGE // PAGE, FIRST_PAGE // PAGE])
    first = int(memory(guest).view(np.uint64)[0])
    guest.run(loop.code, place(loop), loop.registers(500, AREA, AREA + PAGE + 8))
    assert (memory(guest).view(np.uint64)[:501] == first).all()
    assert the_one(hybrid).declined.get(Declined.MEET, 0) > 0


def test_what_is_stepped_through_traps_at_each_instruction(guest: LoopGuest, hybrid: GdbHybrid) -> None:
    loop, trap_flag, n = NAMES["sum"], 0x102, 300
    installed(guest, hybrid, loop)
    before = the_one(hybrid).rounds
    outcome = guest.run(loop.code, place(loop), loop.registers(n, AREA, 0), flags=trap_flag)
    assert int(outcome.registers[RAX]) == total(guest, n)
    assert outcome.traps >= 4 * n
    assert the_one(hybrid).rounds == before


def test_interrupts_come_meanwhile(guest: LoopGuest, hybrid: GdbHybrid) -> None:
    loop = NAMES["sum"]
    installed(guest, hybrid, loop)
    ticks = 0
    for _ in range(20):
        outcome = guest.run(loop.code, place(loop), loop.registers(WORDS, AREA, 0), timer_hz=5000)
        assert int(outcome.registers[RAX]) == total(guest)
        ticks += outcome.ticks
    assert ticks > 0
    assert the_one(hybrid).rounds > 10 * WORDS


@pytest.mark.parametrize("name", ["copy", "sum", "in place"])
def test_verification_compares_and_uses_nothing(guest: LoopGuest, hybrid: GdbHybrid, name: str) -> None:
    loop = NAMES[name]
    installed(guest, hybrid, loop, verify=True)

    def again() -> bool:
        guest.run(loop.code, place(loop), loop.registers(2000, AREA, AREA + WORDS * 8), timer_hz=1000)
        return the_one(hybrid).verified >= 2

    wait_until(again)
    told = the_one(hybrid)
    assert told.state is Live.LIVE
    assert told.verified >= 2
    assert told.verified_rounds > 100
    assert told.abandoned == 0


@pytest.mark.parametrize(("name", "other"), [("sum", "4833074883c70848ffc975f4"), ("fill", "48890f4883c7084839d772f4")])
def test_a_kernel_that_is_wrong_is_found_out(guest: LoopGuest, hybrid: GdbHybrid, name: str, other: str) -> None:
    """Of another loop: a xor instead of a sum; another register is stored."""
    loop = NAMES[name]
    wrong = prove_loop(bytes.fromhex(other)).native
    assert wrong is not None
    reads = wrong.reads | native(loop).reads
    hybrid.install({0: dataclasses.replace(wrong, code=loop.code, reads=reads)}, verify=True)
    guest.run(loop.code, place(loop), loop.registers(3, AREA, AREA))
    until_known(hybrid)
    outcomes = []

    def again() -> bool:
        outcomes.append(guest.run(loop.code, place(loop), loop.registers(2000, AREA, AREA)))
        return the_one(hybrid).state is Live.WRONG

    wait_until(again)
    told = the_one(hybrid)
    assert told.state is Live.WRONG
    assert told.wrong.startswith("rax" if name == "sum" else "stream 0")
    assert told.verified == 0
    if name == "sum":
        assert int(outcomes[-1].registers[RAX]) == total(guest, 2000), "QEMU's result is the guest's"


def test_where_accesses_are_watched_qemu_makes_them(guest: LoopGuest, hybrid: GdbHybrid) -> None:
    loop = NAMES["sum"]
    installed(guest, hybrid, loop)
    session = TraceSession(guest.machine)
    session.set(Wish(Mode.HEAT))
    before, loads = the_one(hybrid).rounds, session.memory.heat["loads"].sum(dtype=np.uint64)
    guest.run(loop.code, place(loop), loop.registers(5000, AREA, 0))
    assert int(session.memory.heat["loads"].sum(dtype=np.uint64) - loads) >= 5000
    assert the_one(hybrid).rounds == before


def test_all_can_be_taken_back(guest: LoopGuest, hybrid: GdbHybrid) -> None:
    loop = NAMES["sum"]
    installed(guest, hybrid, loop)
    guest.run(loop.code, place(loop), loop.registers(WORDS, AREA, 0))
    hybrid.switch(on=False)
    looks = the_one(hybrid).looks
    assert looks
    guest.run(loop.code, place(loop), loop.registers(WORDS, AREA, 0))
    assert the_one(hybrid).looks == looks
    hybrid.clear()
    assert hybrid.told() == []
    assert not hybrid.on


def test_several_processors(private_directories: Path, tmp_path: Path) -> None:  # noqa: F811
    with loop_guest(tmp_path, cpus=2) as made:
        if int(TraceSession(made.machine).memory.plugin["api"]) >= 7:
            pytest.skip("this system's own QEMU takes kernels in its plugin")
        made.map_pages(0, FIRST_PAGE // PAGE + np.arange(2 * MIB // PAGE))
        hybrid = GdbHybrid(TraceSession(made.machine), eager=True)
        try:
            loop = NAMES["fill"]
            installed(made, hybrid, loop)
            made.run(loop.code, place(loop), loop.registers(WORDS, AREA, AREA))
            assert (memory(made).view(np.uint64)[:WORDS] == 0x0123456789ABCDEF).all()
            assert the_one(hybrid).rounds > WORDS // 2
        finally:
            hybrid.close()


def test_a_machine_that_ends_ends_it(guest: LoopGuest, hybrid: GdbHybrid) -> None:
    loop = NAMES["mixed"]
    installed(guest, hybrid, loop)
    registers = loop.registers(1, 0, 0)
    registers[RCX] = 0
    guest.start(loop.code, place(loop), registers)
    until_more(hybrid)
    guest.machine.stop()
    assert guest.machine.info.state is MachineState.STOPPED

    def ended() -> bool:
        try:
            hybrid.check()
        except WorkerLost:
            return True
        return False

    wait_until(ended)
    assert not hybrid.on


def test_there_is_one_who_does_it(guest: LoopGuest, hybrid: GdbHybrid) -> None:
    with pytest.raises(NoTakeover, match="already"):
        GdbHybrid(TraceSession(guest.machine))
    installed(guest, hybrid, NAMES["sum"])  # which is not harmed
    hybrid.close()
    with contextlib.closing(GdbHybrid(TraceSession(guest.machine))) as other:
        assert len(other.told()) == 1, "the table is the machine's"


def test_what_is_worth_it_is_found_out(guest: LoopGuest) -> None:
    """By measuring: short loops are left to QEMU, for ever longer; nobody is asked."""
    loop = NAMES["sum"]
    with contextlib.closing(GdbHybrid(TraceSession(guest.machine))) as hybrid:
        installed(guest, hybrid, loop)

        def looked() -> bool:
            outcome = guest.run(loop.code, place(loop), loop.registers(1000, AREA, 0))
            assert int(outcome.registers[RAX]) == total(guest, 1000)
            return Declined.FEW in the_one(hybrid).declined

        wait_until(looked)
        assert the_one(hybrid).rounds == 0


def test_who_runs_kernels_is_killed_at_random(guest: LoopGuest) -> None:
    """In the middle of calls that cannot simply be made again: each word must be counted up exactly once a run."""
    loop, chance = NAMES["in place"], random.Random(2)
    words = memory(guest).view(np.uint32)[:WORDS]
    expected = words.copy()
    registers = loop.registers(WORDS, AREA, AREA)
    calls = 0
    for _ in range(12):
        hybrid = GdbHybrid(TraceSession(guest.machine), eager=True)
        hybrid.install({0: native(loop)})
        guest.run(loop.code, place(loop), registers)
        expected += np.uint32(3)
        until_known(hybrid)
        for _ in range(chance.randrange(1, 4)):
            guest.run(loop.code, place(loop), registers)
            expected += np.uint32(3)
        started = guest.start(loop.code, place(loop), registers)
        expected += np.uint32(3)
        time.sleep(chance.random() * 0.004)
        calls += the_one(hybrid).calls
        os.kill(hybrid.pid, signal.SIGKILL)
        hybrid.close()
        wait_until(lambda: bool(guest.machine.qmp("query-status")["running"]))
        guest.wait(started)
        assert np.array_equal(words, expected)
        outcome = guest.run(loop.code, place(loop), registers)
        expected += np.uint32(3)
        assert np.array_equal(words, expected)
        assert int(outcome.registers[RCX]) == 0
    assert calls > 12
    with pytest.raises(WorkerLost):
        hybrid.install({0: native(loop)})


_RUNS_FOR_EVER = """
import pickle, sys
from bridge.pixelcpu.gdb_hybrid import GdbHybrid
from bridge.trace.visit import traced
with traced(sys.argv[1]) as session:
    hybrid = GdbHybrid(session, eager=True)
    hybrid.install(pickle.loads(sys.stdin.buffer.read()))
    print(hybrid.pid, flush=True)
    while True:
        hybrid.told()
"""


@pytest.mark.parametrize("both", [False, True], ids=["Glassbox", "Glassbox and its worker"])
def test_glassbox_is_killed_at_random(guest: LoopGuest, *, both: bool) -> None:
    """It is another process here. Its worker clears up; where that is killed too, the machine's owner does."""
    import pickle

    loop, chance = NAMES["in place"], random.Random(3)
    words = memory(guest).view(np.uint32)[:WORDS]
    expected = words.copy()
    registers = loop.registers(WORDS, AREA, AREA)
    table = KernelTable(TraceSession(guest.machine))
    for _ in range(5):
        with subprocess.Popen(
            [sys.executable, "-c", _RUNS_FOR_EVER, guest.machine.name], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(pickle.dumps({0: native(loop)}))
            process.stdin.close()
            worker = int(process.stdout.readline())
            guest.run(loop.code, place(loop), registers)
            until_known(table)
            guest.run(loop.code, place(loop), registers)
            assert the_one(table).rounds > WORDS // 2
            started = guest.start(loop.code, place(loop), registers)
            expected += np.uint32(9)
            time.sleep(chance.random() * 0.004)
            process.kill()
            if both:
                os.kill(worker, signal.SIGKILL)
        if both:
            until_ended(worker)  # and the guest's owner clears up
        wait_until(lambda: guest.machine.runs and bool(guest.machine.qmp("query-status")["running"]))
        guest.wait(started)
        assert np.array_equal(words, expected)
        guest.run(loop.code, place(loop), registers)
        expected += np.uint32(3)
        assert np.array_equal(words, expected)
