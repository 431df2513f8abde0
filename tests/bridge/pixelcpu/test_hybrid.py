"""Hybrid execution: kernels in the plugin of a running QEMU do what QEMU does, whatever becomes of pages and counts."""

from __future__ import annotations

import dataclasses
import os
import pickle
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

from app.benchmarks.loop_guest import AREA, FIRST_PAGE, MIB, PAGE, PRESENT, READY, USER, LoopGuest, loop_guest
from app.benchmarks.pixel_calls import CODE_AT, Comparison, case_of
from app.benchmarks.pixel_loops import LOOPS, KnownLoop
from bridge.pixelcpu.hybrid import Declined, Hybrid, Live, NoRoom, NoTakeover, Told
from bridge.pixelcpu.native_loop import NativeLoop
from bridge.pixelcpu.prove_loop import prove_loop
from bridge.trace.layout import layout
from bridge.trace.modes import Mode, Wish
from bridge.trace.session import TraceSession
from tests.bridge.machine.conftest import private_directories, shared_memory, wait_until  # noqa: F401
from tests.bridge.machine.newer_qemu import have_newer_qemu
from tests.bridge.pixelcpu.filled_guest import RAX, RCX, RDI, WORDS, filled_guest, memory

# add eax,[rdi]; mov edx,eax; add rdi,4; dec ecx; jnz: no lane knows edx, and QEMU's round computes it anew
_LOOKED_AT = bytes.fromhex("030789c24883c704ffc975f4")
LOOKED_AT = KnownLoop(
    "sum that is looked at", "reduction", _LOOKED_AT, "", 4, lambda n, a, _b: {"rcx": n, "rdi": a, "rdx": 7}
)
NAMES = {loop.name: loop for loop in (*LOOPS, LOOKED_AT)}


@cache
def native(loop: KnownLoop) -> NativeLoop:
    found = prove_loop(loop.code).native
    assert found is not None
    return found


@pytest.fixture
def guest(
    guest_cache: Path,
    private_directories: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[LoopGuest]:
    monkeypatch.setenv("GLASSBOX_QEMU", str(have_newer_qemu(guest_cache)))
    with filled_guest(tmp_path) as made:
        yield made


@pytest.fixture
def hybrid(guest: LoopGuest) -> Hybrid:
    return Hybrid(TraceSession(guest.machine))


def parts_of(hybrid: Hybrid) -> bool:
    return hybrid.on


def the_one(hybrid: Hybrid) -> Told:
    (told,) = hybrid.told()
    return told


def test_random_runs_end_as_under_qemu_alone(guest: LoopGuest, hybrid: Hybrid) -> None:
    """Every loop, over pages that are scattered, absent, read-only, shared; with interrupts."""
    comparison = Comparison(guest, hybrid, {number: native(loop) for number, loop in enumerate(LOOPS)})
    found = comparison.compare(range(600))
    assert found.wrong == ()
    assert found.runs == 600
    assert found.calls > 500
    assert found.rounds > 1_000_000
    assert found.faults > 50
    assert found.interrupts > 0
    assert {case_of(seed).loop for seed in range(600)} == set(range(len(LOOPS)))
    assert all(one.state is Live.LIVE and one.calls for one in hybrid.told())
    seen = {why for one in hybrid.told() for why in one.declined}
    assert {Declined.FEW, Declined.ABSENT, Declined.RIGHTS, Declined.ACROSS} <= seen


def test_rounds_are_done_and_counted(guest: LoopGuest, hybrid: Hybrid) -> None:
    loop = NAMES["sum"]
    session = TraceSession(guest.machine)
    session.set(Wish(Mode.COUNTERS))
    hybrid.install({3: native(loop)})
    total = int(memory(guest).view(np.uint64)[:WORDS].sum(dtype=np.uint64))
    before = session.counts()
    for _ in range(4):
        outcome = guest.run(loop.code, CODE_AT, loop.registers(WORDS, AREA, 0))
        assert int(outcome.registers[RAX]) == total
        assert int(outcome.registers[RDI]) == AREA + 8 * WORDS
        assert int(outcome.registers[RCX]) == 0
    told = the_one(hybrid)
    assert (told.slot, told.state, told.wrong) == (3, Live.LIVE, "")
    assert told.translations >= 1
    assert 3 * WORDS < told.rounds <= 4 * WORDS
    assert told.round_ns > 0
    assert told.call_ns > 0
    assert told.speed_up > 0
    after = session.counts()
    mine = [n for n in range(1, len(after.blocks)) if session.code_of(after.blocks[n]) == loop.code]
    entered = sum(int(after.total[n]) - (int(before.total[n]) if n < len(before.total) else 0) for n in mine)
    assert entered == 4 * WORDS, "rounds count as entries, whoever did them"


def test_another_installs_and_all_can_be_taken_back(guest: LoopGuest, hybrid: Hybrid) -> None:
    first, second = NAMES["sum"], NAMES["fill"]
    hybrid.install({0: native(first), 1: native(second)})
    assert [one.slot for one in hybrid.told()] == [0, 1]
    assert 0 not in hybrid.free_slots()
    assert parts_of(hybrid)
    hybrid.install({0: None})
    guest.run(first.code, CODE_AT, first.registers(WORDS, AREA, 0))
    guest.run(second.code, CODE_AT + 0x200, second.registers(WORDS, 0, AREA))
    assert (memory(guest).view(np.uint64)[:WORDS] == 0x0123456789ABCDEF).all()
    assert the_one(hybrid).slot == 1
    assert the_one(hybrid).rounds > WORDS // 2
    hybrid.switch(on=False)
    assert not parts_of(hybrid)
    done = the_one(hybrid).rounds
    guest.run(second.code, CODE_AT + 0x200, second.registers(WORDS, 0, AREA))
    assert the_one(hybrid).rounds == done
    hybrid.clear()
    assert hybrid.told() == []
    assert len(hybrid.free_slots()) == layout().constants["MAX_KERNELS"]


@pytest.mark.parametrize(
    "name",
    [
        *("copy", "sum", "vectors", "in place", "fill backwards", LOOKED_AT.name),
        *("random numbers of two words", "random numbers in two ways", "shift register"),
    ],
)
def test_verification_compares_and_uses_nothing(guest: LoopGuest, hybrid: Hybrid, name: str) -> None:
    loop = NAMES[name]
    hybrid.install({0: native(loop)}, verify=True)
    n = 20_000
    guest.run(loop.code, CODE_AT, loop.registers(n, AREA, AREA + WORDS * 8), timer_hz=1000)
    told = the_one(hybrid)
    assert told.state is Live.LIVE
    assert told.verified >= 3
    assert told.verified_rounds > n // 2
    assert told.abandoned == 0


@pytest.mark.parametrize(("name", "other"), [("sum", "4833074883c70848ffc975f4"), ("fill", "48890f4883c7084839d772f4")])
def test_a_kernel_that_is_wrong_is_found_out(guest: LoopGuest, hybrid: Hybrid, name: str, other: str) -> None:
    """Of another loop: a xor instead of a sum; another register is stored."""
    loop = NAMES[name]
    wrong = prove_loop(bytes.fromhex(other)).native
    assert wrong is not None
    reads = wrong.reads | native(loop).reads
    hybrid.install({0: dataclasses.replace(wrong, code=loop.code, reads=reads)}, verify=True)
    outcome = guest.run(loop.code, CODE_AT, loop.registers(20_000, AREA, AREA))
    told = the_one(hybrid)
    assert told.state is Live.WRONG
    assert told.wrong.startswith("rax" if name == "sum" else "stream 0")
    assert told.verified == 0
    if name == "sum":
        words = memory(guest).view(np.uint64)[:20_000]
        assert int(outcome.registers[RAX]) == int(words.sum(dtype=np.uint64)), "QEMU's result is the guest's"
    looks = told.looks
    guest.run(loop.code, CODE_AT, loop.registers(20_000, AREA, AREA))
    assert the_one(hybrid).looks <= looks + 1


def test_code_that_was_changed_is_no_longer_taken_over(guest: LoopGuest, hybrid: Hybrid) -> None:
    loop = NAMES["sum"]
    hybrid.install({0: native(loop)})
    guest.run(loop.code, CODE_AT, loop.registers(WORDS, AREA, 0))
    done = the_one(hybrid).rounds
    assert done
    # The guest itself changes add to sub, as QEMU then sees: mov byte [CODE_AT+1], 0x2b
    guest.run(bytes.fromhex("c60425") + (CODE_AT + 1).to_bytes(4, "little") + b"\x2b", CODE_AT + 0x1000, [0] * 16)
    changed = loop.code[:1] + b"\x2b" + loop.code[2:]
    outcome = guest.run(changed, CODE_AT, loop.registers(WORDS, AREA, 0))
    words = memory(guest).view(np.uint64)[:WORDS]
    assert int(outcome.registers[RAX]) == -int(words.sum(dtype=np.uint64)) % (1 << 64)
    assert the_one(hybrid).rounds == done


def test_where_its_own_code_is_nothing_is_stored(guest: LoopGuest, hybrid: Hybrid) -> None:
    """A fill that runs over its own code: QEMU does what the processor would."""
    loop = NAMES["fill"]
    hybrid.install({0: native(loop)})
    frame = CODE_AT // PAGE
    for on in (True, False):
        hybrid.switch(on=on)
        guest.map_pages(0, [FIRST_PAGE // PAGE, frame, FIRST_PAGE // PAGE + 1])
        # Behind its own code, and the jump that is behind it.
        at = AREA + PAGE + 0x100
        outcome = guest.run(loop.code, CODE_AT, loop.registers(400, 0, at))
        assert int(outcome.registers[RDI]) == at + 3200
    assert the_one(hybrid).declined.get(Declined.CODE, 0) > 0
    assert (guest.ram[CODE_AT + 0x100 : CODE_AT + 0x100 + 3200].view(np.uint64) == 0x0123456789ABCDEF).all()


def test_two_addresses_of_one_page_are_seen(guest: LoopGuest, hybrid: Hybrid) -> None:
    """copy from a page to itself, a word further on: each word becomes the first, which only an order gives."""
    loop = NAMES["copy"]
    hybrid.install({0: native(loop)})
    guest.map_pages(0, [FIRST_PAGE // PAGE, FIRST_PAGE // PAGE])
    first = int(memory(guest).view(np.uint64)[0])
    guest.run(loop.code, CODE_AT, loop.registers(500, AREA, AREA + PAGE + 8))
    assert (memory(guest).view(np.uint64)[:501] == first).all()
    assert the_one(hybrid).declined.get(Declined.MEET, 0) > 0


def test_what_is_stepped_through_traps_at_each_instruction(guest: LoopGuest, hybrid: Hybrid) -> None:
    loop, trap_flag, n = NAMES["sum"], 0x102, 3000
    hybrid.install({0: native(loop)})
    outcome = guest.run(loop.code, CODE_AT, loop.registers(n, AREA, 0), flags=trap_flag)
    assert int(outcome.registers[RAX]) == int(memory(guest).view(np.uint64)[:n].sum(dtype=np.uint64))
    assert outcome.traps >= 4 * n
    assert the_one(hybrid).rounds == 0
    # What it waits in, and what loads its registers, is stepped through until the flag is taken back.
    assert guest.run(loop.code, CODE_AT, loop.registers(n, AREA, 0)).traps < n
    assert the_one(hybrid).rounds > 0


def test_code_across_two_pages_is_taken_over_and_looked_at(guest: LoopGuest, hybrid: Hybrid) -> None:
    """QEMU cuts its block where the page ends; what is behind is read each time."""
    loop = NAMES["sum"]
    hybrid.install({0: native(loop)})
    total = int(memory(guest).view(np.uint64)[:WORDS].sum(dtype=np.uint64))
    for behind in (3, 7, 10):  # bytes in the first page: one instruction, two, three
        at = CODE_AT + 2 * behind * PAGE - behind  # each elsewhere: QEMU is not told of code that its host writes
        before = the_one(hybrid)
        outcome = guest.run(loop.code, at, loop.registers(WORDS, AREA, 0))
        assert int(outcome.registers[RAX]) == total
        done = the_one(hybrid).rounds - before.rounds
        assert (done > WORDS // 2) == (behind > 3), "one instruction may be one that is stepped through"
    # The guest changes dec rcx, in the second page, to dec rdx.
    at = CODE_AT + 2 * 7 * PAGE - 7
    guest.run(bytes.fromhex("c60425") + (at + 9).to_bytes(4, "little") + b"\xca", CODE_AT, [0] * 16)
    changed = loop.code[:9] + b"\xca" + loop.code[10:]
    registers = loop.registers(1, AREA, 0)
    registers[2] = 5000
    done = the_one(hybrid).rounds
    outcome = guest.run(changed, at, registers)
    assert int(outcome.registers[RDI]) == AREA + 8 * 5000
    assert the_one(hybrid).rounds == done


@pytest.mark.parametrize("count", [0, (1 << 64) - 1])
def test_a_count_without_end_can_be_stopped(guest: LoopGuest, hybrid: Hybrid, count: int) -> None:
    """2^64 rounds: the kernel does them in pieces, and the machine stops between two of them."""
    loop = NAMES["mixed"]
    hybrid.install({0: native(loop)})
    registers = loop.registers(1, 0, 0)
    registers[RCX] = count
    guest.start(loop.code, CODE_AT, registers)
    wait_until(lambda: the_one(hybrid).rounds > 1_000_000)
    guest.machine.pause()
    done = the_one(hybrid).rounds
    guest.machine.resume()
    wait_until(lambda: the_one(hybrid).rounds > done)
    told = the_one(hybrid)
    assert told.rounds / told.calls < 100_000_000


def test_where_accesses_are_watched_qemu_makes_them(guest: LoopGuest, hybrid: Hybrid) -> None:
    loop = NAMES["sum"]
    session = TraceSession(guest.machine)
    hybrid.install({0: native(loop)})
    session.set(Wish(Mode.HEAT))
    before = session.memory.heat["loads"].sum(dtype=np.uint64)
    guest.run(loop.code, CODE_AT, loop.registers(WORDS, AREA, 0))
    assert int(session.memory.heat["loads"].sum(dtype=np.uint64) - before) >= WORDS
    assert the_one(hybrid).rounds == 0
    session.set(Wish())
    guest.run(loop.code, CODE_AT, loop.registers(WORDS, AREA, 0))
    assert the_one(hybrid).rounds > 0


def test_nonsense_in_the_table_is_refused_and_the_machine_lives(guest: LoopGuest, hybrid: Hybrid) -> None:
    loop = NAMES["sum"]
    good = native(loop)
    bad = {
        0: dataclasses.replace(good, plan=len(good.native)),
        1: dataclasses.replace(good, run=1 << 31),
        2: dataclasses.replace(good, access_streams=(7,)),
        3: dataclasses.replace(good, streams=(dataclasses.replace(good.streams[0], size=0),)),
        4: dataclasses.replace(good, halves={5: 3}),
        5: dataclasses.replace(good, native=b""),
    }
    hybrid.install(dict(bad))
    assert [one.state for one in hybrid.told()] == [Live.BAD] * len(bad)
    outcome = guest.run(loop.code, CODE_AT, loop.registers(WORDS, AREA, 0))
    assert int(outcome.registers[RAX]) == int(memory(guest).view(np.uint64)[:WORDS].sum(dtype=np.uint64))
    with pytest.raises(NoRoom):
        hybrid.install({6: dataclasses.replace(good, native=bytes(2 << 20))})


def test_whoever_installed_it_may_go(guest: LoopGuest, hybrid: Hybrid) -> None:
    """Nothing is asked of Glassbox while kernels run: another session finds them, and what they did."""
    loop = NAMES["sum"]
    hybrid.install({0: native(loop)})
    del hybrid
    guest.run(loop.code, CODE_AT, loop.registers(WORDS, AREA, 0))
    other = Hybrid(TraceSession(guest.machine))
    assert the_one(other).rounds > 0
    other.install({1: native(NAMES["fill"])})
    assert [one.slot for one in other.told()] == [0, 1]


_INSTALLS_FOR_EVER = """
import pickle, sys
from pathlib import Path
from types import SimpleNamespace
from bridge.pixelcpu.hybrid import Hybrid
from bridge.trace.session import TraceSession
from bridge.trace.shared_memory import TraceMemory
machine = SimpleNamespace(
    name="loops", trace=TraceMemory.open(Path(sys.argv[1])), trace_problem="", ram=None, runs=False, kick=lambda: None
)
hybrid = Hybrid(TraceSession(machine))
loops = pickle.loads(sys.stdin.buffer.read())
print("ready", flush=True)
while True:
    hybrid.install(loops)
    hybrid.install(dict.fromkeys(loops))
"""


def test_who_installs_is_killed_at_random(guest: LoopGuest, hybrid: Hybrid) -> None:
    """Whatever it left in the table is taken by the next who asks, and the guest computes what it always does."""
    loops = {number: native(loop) for number, loop in enumerate(LOOPS)}
    comparison = Comparison(guest, hybrid, loops)
    chance = random.Random(1)
    wrong: list[str] = []
    calls = 0
    path = guest.machine.trace
    assert path is not None
    for turn in range(8):
        with subprocess.Popen(
            [sys.executable, "-c", _INSTALLS_FOR_EVER, str(path.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(pickle.dumps(loops))
            process.stdin.close()
            try:
                assert process.stdout.readline() == b"ready\n"
                hybrid.switch(on=True)  # takes what there is, in the middle of it
                time.sleep(chance.random() / 20)
            finally:
                process.kill()
        found = comparison.compare(range(1000 + 64 * turn, 1064 + 64 * turn))
        wrong += found.wrong
        calls += found.calls
        assert Live.BAD not in {one.state for one in hybrid.told()}
        hybrid.install(loops)
    assert wrong == []
    assert calls > 0


def test_a_killed_machine_leaves_what_was_told(guest: LoopGuest, hybrid: Hybrid) -> None:
    loop = NAMES["mixed"]
    hybrid.install({0: native(loop)})
    registers = loop.registers(1, 0, 0)
    registers[RCX] = 0
    guest.start(loop.code, CODE_AT, registers)
    wait_until(lambda: the_one(hybrid).rounds > 100_000)
    pid = guest.machine.info.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert the_one(hybrid).rounds > 100_000


def test_pages_that_come_and_go_meanwhile(guest: LoopGuest, hybrid: Hybrid) -> None:
    """A page in the middle is not there: the guest's handler is asked once, and all is copied."""
    loop = NAMES["copy"]
    hybrid.install({0: native(loop)})
    n_pages = 32
    for missing in (0, 7, 31):
        guest.map_pages(0, FIRST_PAGE // PAGE + np.arange(2 * n_pages))
        guest.entries[missing] &= ~np.uint64(PRESENT)
        guest.entries[n_pages + missing] &= ~np.uint64(READY & ~PRESENT)
        memory(guest)[n_pages * PAGE : 2 * n_pages * PAGE] = 0
        outcome = guest.run(loop.code, CODE_AT, loop.registers(n_pages * PAGE // 8, AREA, AREA + n_pages * PAGE))
        assert outcome.faults == 2
        held = memory(guest)
        assert np.array_equal(held[: n_pages * PAGE], held[n_pages * PAGE : 2 * n_pages * PAGE])
    assert the_one(hybrid).rounds > 0


def test_a_supervisor_touches_users_pages_as_smap_says(guest: LoopGuest, hybrid: Hybrid) -> None:
    loop, n_pages, ac = NAMES["copy"], 16, 1 << 18
    words = n_pages * PAGE // 8
    registers = loop.registers(words, AREA, AREA + n_pages * PAGE)
    guest.map_pages(0, FIRST_PAGE // PAGE + np.arange(n_pages))
    guest.map_pages(n_pages, FIRST_PAGE // PAGE + n_pages + np.arange(n_pages), READY | USER)
    target = memory(guest)[n_pages * PAGE : 2 * n_pages * PAGE]
    hybrid.install({0: native(loop)})

    def copied(flags: int) -> bool:
        """Whether the kernel did it, and rightly."""
        target[:] = 0
        before = the_one(hybrid).rounds
        guest.run(loop.code, CODE_AT, registers, flags=flags)
        assert np.array_equal(target, memory(guest)[: n_pages * PAGE])
        return the_one(hybrid).rounds > before

    assert any(copied(2) for _ in range(4))  # SMAP is off; and QEMU is measured now and then
    # mov rax, cr4; or eax, 1 << 21; mov cr4, rax; elsewhere: QEMU is not told that the host writes other code
    guest.run(bytes.fromhex("0f20e00d000020000f22e0"), CODE_AT + 2 * PAGE, [0] * 16)
    assert any(copied(2 | ac) for _ in range(4))
    target[:] = 0
    told, faults = the_one(hybrid), guest.faults
    guest.start(loop.code, CODE_AT, registers)  # the handler makes pages present, and that is no help
    wait_until(lambda: guest.faults >= faults + 20)
    assert not target.any()
    assert the_one(hybrid).rounds == told.rounds


def test_an_older_qemu_says_what_would_do(
    private_directories: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    with loop_guest(tmp_path) as made:
        session = TraceSession(made.machine)
        if int(session.memory.plugin["api"]) >= 7:
            pytest.skip("this system's own QEMU is new enough")
        with pytest.raises(NoTakeover, match="qemu fetch"):
            Hybrid(session)
        loop = NAMES["sum"]
        session.take_over(on=True)
        made.map_pages(0, FIRST_PAGE // PAGE + np.arange(16))
        made.run(loop.code, CODE_AT, loop.registers(4096, AREA, 0))
        assert not int(session.memory.plugin["parts"]) & layout().constants["KERNELS"]


def test_several_processors_keep_their_order_of_stores(
    guest_cache: Path,
    private_directories: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GLASSBOX_QEMU", str(have_newer_qemu(guest_cache)))
    with loop_guest(tmp_path, cpus=2) as made:
        hybrid = Hybrid(TraceSession(made.machine))
        made.map_pages(0, FIRST_PAGE // PAGE + np.arange(2 * MIB // PAGE))
        hybrid.install({0: native(NAMES["fill"]), 1: native(NAMES["sum"])})
        for number, name in enumerate(("fill", "sum")):
            made.run(NAMES[name].code, CODE_AT + 0x200 * number, NAMES[name].registers(WORDS, AREA, AREA))
        fill, total = hybrid.told()
        assert fill.rounds == 0
        assert fill.declined[Declined.SMP] > 0
        assert total.rounds > 0
