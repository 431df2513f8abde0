"""Loops of a running QEMU done on the GPU: the guest computes what it always does, whoever is lost meanwhile."""

from __future__ import annotations

import contextlib
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest

from app.benchmarks.loop_guest import AREA, FIRST_PAGE, PAGE, LoopGuest
from app.benchmarks.pixel_calls import CODE_AT, Comparison
from app.benchmarks.pixel_loops import LOOPS, KnownLoop
from app.gpu_owner import GpuOwner
from bridge.machine.discovery import find_record
from bridge.pixelcpu.errors import Unsupported
from bridge.pixelcpu.gpu_back_end import BackEnd
from bridge.pixelcpu.gpu_kernel import GpuKernel, gpu_kernel
from bridge.pixelcpu.gpu_mailbox import GpuMailbox
from bridge.pixelcpu.hybrid import Hybrid, Live, Told, ToldGpu
from bridge.pixelcpu.native_loop import NativeLoop
from bridge.pixelcpu.prove_loop import LoopAttempt, prove_loop
from bridge.trace.session import TraceSession
from tests.bridge.machine.conftest import private_directories, shared_memory, wait_until  # noqa: F401
from tests.bridge.machine.newer_qemu import have_newer_qemu
from tests.bridge.pixelcpu.filled_guest import RAX, RCX, WORDS, filled_guest, memory

ROOT = Path(__file__).resolve().parents[2]
NAMES = {loop.name: loop for loop in LOOPS}


@cache
def attempt(loop: KnownLoop) -> LoopAttempt:
    return prove_loop(loop.code)


def native(loop: KnownLoop) -> NativeLoop:
    found = attempt(loop).native
    assert found is not None
    return found


@cache
def on_gpu(loop: KnownLoop) -> GpuKernel:
    rounds = attempt(loop).rounds
    assert rounds is not None
    return gpu_kernel(native(loop), rounds)


def side_by_side() -> dict[int, KnownLoop]:
    """Loops whose rounds need no order and that store in each, by their number; others are not the GPU's."""
    found = {}
    for slot, loop in enumerate(LOOPS):
        with contextlib.suppress(Unsupported):
            on_gpu(loop)
            found[slot] = loop
    assert len(found) >= 15
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
    found = Hybrid(TraceSession(guest.machine))
    found.prefer(BackEnd.GPU)
    return found


@pytest.fixture
def owner(guest: LoopGuest) -> Iterator[GpuOwner]:
    with GpuOwner.of(TraceSession(guest.machine), software=True) as made:
        yield made


def install(hybrid: Hybrid, owner: GpuOwner, loops: dict[int, KnownLoop], *, verify: bool = False) -> None:
    hybrid.install({slot: attempt(loop).native for slot, loop in loops.items()}, verify=verify)
    for slot, loop in loops.items():
        owner.load(slot, hybrid.id_of(slot), on_gpu(loop))


def the_one(hybrid: Hybrid) -> Told:
    (told,) = hybrid.told()
    return told


def by_gpu(hybrid: Hybrid) -> ToldGpu:
    told = the_one(hybrid).gpu
    assert told is not None
    return told


def test_rounds_on_the_gpu_are_right(guest: LoopGuest, hybrid: Hybrid, owner: GpuOwner) -> None:
    """Each loop by itself, at odd addresses, many rounds at once."""
    before = memory(guest).copy()
    for number, loop in side_by_side().items():
        install(hybrid, owner, {number: loop})
        n = min(WORDS - 3, (8 * WORDS - 16) // max(1, loop.element))
        registers = loop.registers(n, AREA + 5, AREA + WORDS * 8 + 3)

        def ran(
            loop: KnownLoop = loop, number: int = number, registers: list[int] = registers
        ) -> tuple[list[int], int, np.ndarray]:
            memory(guest)[:] = before
            outcome = guest.run(loop.code, CODE_AT + 0x200 * number, registers)
            return outcome.registers.tolist(), outcome.flags, memory(guest).copy()

        hybrid.switch(on=False)
        expected = ran()
        hybrid.switch(on=True)

        def enough(
            ran: Callable[[], tuple[list[int], int, np.ndarray]] = ran,
            expected: tuple[list[int], int, np.ndarray] = expected,
            n: int = n,
            name: str = loop.name,
        ) -> bool:
            """On a busy host answers come too late now and then, and the host does the rounds."""
            found = ran()
            assert found[:2] == expected[:2], name
            np.testing.assert_array_equal(found[2], expected[2], name)
            told = the_one(hybrid).gpu
            return told is not None and told.rounds > n

        wait_until(enough)
        told = by_gpu(hybrid)
        assert (told.refused, told.wrong) == (0, "")
        assert told.call_ns > 0
        assert told.rounds <= the_one(hybrid).rounds
        hybrid.install({number: None})


def test_random_runs_end_as_under_qemu_alone(guest: LoopGuest, hybrid: Hybrid, owner: GpuOwner) -> None:
    """Every loop, at any alignment, over pages that are scattered, absent, read-only, shared; with interrupts."""
    loops = side_by_side()
    comparison = Comparison(guest, hybrid, {slot: native(loop) for slot, loop in enumerate(LOOPS)})
    for slot, loop in loops.items():
        owner.load(slot, hybrid.id_of(slot), on_gpu(loop))
    found = comparison.compare(range(300))
    assert found.wrong == ()
    told = [one.gpu for one in hybrid.told() if one.gpu is not None]
    assert len(told) == len(loops)
    assert sum(one.calls for one in told) > 200
    assert sum(one.rounds for one in told) > 500_000
    assert sum(one.unfit for one in told) > 0, "pages with two addresses, and streams that meet, are the host's"
    assert found.rounds > sum(one.rounds for one in told)


def test_verification_compares_the_gpu(guest: LoopGuest, hybrid: Hybrid, owner: GpuOwner) -> None:
    for name in ("sum", "copy", "vectors", "fill backwards", "mixed"):
        loop = NAMES[name]
        install(hybrid, owner, {0: loop}, verify=True)
        registers = loop.registers(20_000, AREA, AREA + WORDS * 8)

        def compared(loop: KnownLoop = loop, registers: list[int] = registers) -> bool:
            guest.run(loop.code, CODE_AT + 0x200 * LOOPS.index(loop), registers, timer_hz=1000)
            told = the_one(hybrid)
            assert (told.state, told.wrong) == (Live.LIVE, "")
            return told.gpu is not None and told.gpu.verified >= 2

        wait_until(compared)
        assert by_gpu(hybrid).wrong == ""
        assert by_gpu(hybrid).verified <= the_one(hybrid).verified


def test_a_gpu_that_is_wrong_is_found_out_and_the_host_goes_on(
    guest: LoopGuest, hybrid: Hybrid, owner: GpuOwner
) -> None:
    loop, other = NAMES["sum"], prove_loop(bytes.fromhex("4833074883c70848ffc975f4"))  # a xor
    assert other.native is not None
    assert other.rounds is not None
    hybrid.install({0: attempt(loop).native}, verify=True)
    owner.load(0, hybrid.id_of(0), gpu_kernel(other.native, other.rounds))

    def compared() -> Told:
        outcome = guest.run(loop.code, CODE_AT, loop.registers(20_000, AREA, AREA))
        words = memory(guest).view(np.uint64)[:20_000]
        assert int(outcome.registers[RAX]) == int(words.sum(dtype=np.uint64)), "QEMU's result is the guest's"
        return the_one(hybrid)

    wait_until(lambda: (told := compared().gpu) is not None and told.wrong.startswith("rax"))
    assert by_gpu(hybrid).verified == 0
    assert by_gpu(hybrid).calls == 1, "it is not asked again"
    before = the_one(hybrid).verified
    wait_until(lambda: compared().verified > before)
    assert the_one(hybrid).state is Live.LIVE, "the host's code is compared as before"


def test_who_has_the_gpu_is_killed_at_random(guest: LoopGuest, hybrid: Hybrid) -> None:
    """In the middle of calls: every result is QEMU's, and another process goes on."""
    loops = dict(enumerate(LOOPS))
    comparison = Comparison(guest, hybrid, {slot: native(loop) for slot, loop in loops.items()})
    chance = random.Random(2)
    wrong: list[str] = []
    done = 0
    few = {slot: loop for slot, loop in side_by_side().items() if loop.name in ("mixed", "sum", "fill", "copy")}
    for turn in range(3):
        with GpuOwner.of(TraceSession(guest.machine), software=True) as other:
            for slot, loop in few.items():
                other.load(slot, hybrid.id_of(slot), on_gpu(loop))
            before = sum(one.gpu.calls for one in hybrid.told() if one.gpu is not None)

            def kill(pid: int = other.pid, calls: int = before + chance.randrange(3, 10)) -> None:
                deadline = time.monotonic() + 20
                while time.monotonic() < deadline:
                    if sum(one.gpu.calls for one in hybrid.told() if one.gpu is not None) >= calls:
                        break
                    time.sleep(chance.random() / 500)
                os.kill(pid, signal.SIGKILL)

            killer = threading.Thread(target=kill)
            killer.start()
            found = comparison.compare(range(2000 + 64 * turn, 2064 + 64 * turn))
            killer.join()
            wrong += found.wrong
            done += sum(one.gpu.calls for one in hybrid.told() if one.gpu is not None)
    assert wrong == []
    assert done > 0


_TAKES_OVER = """
import pickle, sys
from pathlib import Path
from types import SimpleNamespace
from app.gpu_owner import GpuOwner
from bridge.pixelcpu.gpu_back_end import BackEnd
from bridge.pixelcpu.hybrid import Hybrid
from bridge.trace.session import TraceSession
from bridge.trace.shared_memory import TraceMemory
trace, ram = map(Path, sys.argv[1:])
machine = SimpleNamespace(
    name="loops", trace=TraceMemory.open(trace), trace_problem="", ram=None, runs=False, kick=lambda: None
)
natives, kernels = pickle.loads(sys.stdin.buffer.read())
hybrid = Hybrid(TraceSession(machine))
hybrid.prefer(BackEnd.GPU)
hybrid.install(natives)
with GpuOwner(trace, ram, software=True) as owner:
    for slot, kernel in kernels.items():
        owner.load(slot, hybrid.id_of(slot), kernel)
    print(owner.pid, flush=True)
    while True:
        owner.check()
        hybrid.told()
"""


def test_all_of_glassbox_is_killed_at_random(guest: LoopGuest, hybrid: Hybrid) -> None:
    """Who installed the kernels and who has the GPU, both at once, in the middle of calls: every result is QEMU's."""
    loops = {slot: native(loop) for slot, loop in enumerate(LOOPS)}
    few = {slot: on_gpu(loop) for slot, loop in side_by_side().items() if loop.name in ("mixed", "sum", "fill", "copy")}
    comparison = Comparison(guest, hybrid, loops)
    trace = guest.machine.trace
    assert trace is not None
    paths = [str(trace.path), str(find_record(guest.machine.name).ram_path)]
    chance = random.Random(4)
    wrong: list[str] = []
    done = 0

    def calls() -> int:
        return sum(one.gpu.calls for one in hybrid.told() if one.gpu is not None)

    for turn in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", _TAKES_OVER, *paths],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            start_new_session=True,
        ) as glassbox:
            assert glassbox.stdin is not None
            assert glassbox.stdout is not None
            glassbox.stdin.write(pickle.dumps((loops, few)))
            glassbox.stdin.close()
            worker = int(glassbox.stdout.readline())
            assert os.getpgid(worker) == glassbox.pid
            enough, in_time = calls() + chance.randrange(3, 10), threading.Event()

            def kill(group: int = glassbox.pid, enough: int = enough, in_time: threading.Event = in_time) -> None:
                while calls() < enough and not in_time.wait(chance.random() / 500):
                    pass
                os.killpg(group, signal.SIGKILL)

            killer = threading.Thread(target=kill)
            killer.start()
            try:
                found = comparison.compare(range(5000 + 40 * turn, 5040 + 40 * turn))
            finally:
                in_time.set()
                killer.join()
        assert glassbox.returncode == -signal.SIGKILL
        wait_until(lambda worker=worker: not _lives(worker))  # type: ignore[misc]
        wrong += found.wrong
        done += calls()
        assert Live.BAD not in {one.state for one in hybrid.told()}
    assert wrong == []
    assert done > 0
    hybrid.clear()
    guest.map_pages(0, FIRST_PAGE // PAGE + np.arange(2 * WORDS * 8 // PAGE))  # in order again
    with GpuOwner.of(TraceSession(guest.machine), software=True) as next_one:
        install(hybrid, next_one, {0: NAMES["sum"]})
        words = int(memory(guest).view(np.uint64)[:WORDS].sum(dtype=np.uint64))

        def runs_on_gpu() -> bool:
            loop = NAMES["sum"]
            outcome = guest.run(loop.code, CODE_AT, loop.registers(WORDS, AREA, 0))
            assert int(outcome.registers[RAX]) == words
            return (told := the_one(hybrid).gpu) is not None and told.calls > 0

        wait_until(runs_on_gpu)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_it_begins_anew_after_it_was_lost(guest: LoopGuest, hybrid: Hybrid, owner: GpuOwner) -> None:
    loop = NAMES["sum"]
    install(hybrid, owner, {0: loop})
    registers = loop.registers(WORDS, AREA, 0)
    total = int(memory(guest).view(np.uint64)[:WORDS].sum(dtype=np.uint64))

    def runs_on_gpu() -> bool:
        before = 0 if (told := the_one(hybrid).gpu) is None else told.calls
        assert int(guest.run(loop.code, CODE_AT, registers).registers[RAX]) == total
        return (told := the_one(hybrid).gpu) is not None and told.calls > before

    wait_until(runs_on_gpu)
    first = owner.pid
    os.kill(first, signal.SIGKILL)

    def another() -> bool:
        owner.check()
        return owner.pid != first

    wait_until(another)
    wait_until(runs_on_gpu)


def test_an_answer_that_is_none_changes_nothing(guest: LoopGuest, hybrid: Hybrid) -> None:
    """Somebody who says that he has the GPU, and answers other requests, other rounds, or never."""
    loop = NAMES["fill"]
    hybrid.install({0: attempt(loop).native})
    machine_memory = guest.machine.trace
    assert machine_memory is not None
    box = GpuMailbox(machine_memory)
    machine_memory.gpu_staging[: 1 << 20] = 0xEE
    registers = loop.registers(WORDS, 0, AREA)

    def filled() -> bool:
        memory(guest)[:] = 0
        guest.run(loop.code, CODE_AT, registers)
        held = memory(guest)
        return bool((held[: WORDS * 8].view(np.uint64) == 0x0123456789ABCDEF).all()) and not held[WORDS * 8 :].any()

    def failed(before: ToldGpu | None, answer: str) -> bool:
        assert filled()
        return _failed(the_one(hybrid).gpu, before, answer)

    for answer in ("stale", "rounds", "never"):
        before = the_one(hybrid).gpu
        ends = threading.Event()

        def answering(answer: str = answer, ends: threading.Event = ends) -> None:
            box.set_ready(0, hybrid.id_of(0))
            while not ends.is_set():
                request = box.wait(0.01)
                if request is not None and answer == "stale":
                    machine_memory.gpu_worker["rounds"] = request.rounds
                    machine_memory.gpu_worker["answered"] = request.number - 1
                elif request is not None and answer == "rounds":
                    machine_memory.gpu_worker["rounds"] = request.rounds - 1
                    machine_memory.gpu_worker["answered"] = request.number
            box.set_ready(0, 0)

        thread = threading.Thread(target=answering)
        thread.start()
        try:
            wait_until(partial(failed, before, answer))
        finally:
            ends.set()
            thread.join()
    assert by_gpu(hybrid).rounds == 0


def _failed(now: ToldGpu | None, before: ToldGpu | None, answer: str) -> bool:
    if now is None:
        return False
    if answer == "rounds":
        return now.refused > (before.refused if before else 0)
    return now.timeouts > (before.timeouts if before else 0)


def start_endless(guest: LoopGuest, hybrid: Hybrid, owner: GpuOwner) -> None:
    """2^64 rounds."""
    loop = NAMES["mixed"]
    install(hybrid, owner, {0: loop})
    registers = loop.registers(1, 0, 0)
    registers[RCX] = 0
    guest.start(loop.code, CODE_AT, registers)


def test_the_machine_stops_while_the_gpu_is_asked(guest: LoopGuest, hybrid: Hybrid, owner: GpuOwner) -> None:
    start_endless(guest, hybrid, owner)
    wait_until(lambda: (told := the_one(hybrid).gpu) is not None and told.calls > 20)
    os.kill(owner.pid, signal.SIGSTOP)
    try:
        wait_until(lambda: by_gpu(hybrid).timeouts > 0)
        guest.machine.pause()
        done = the_one(hybrid).rounds
        guest.machine.resume()
        wait_until(lambda: the_one(hybrid).rounds > done)
    finally:
        os.kill(owner.pid, signal.SIGCONT)
    calls = by_gpu(hybrid).calls
    wait_until(lambda: by_gpu(hybrid).calls > calls)


def test_a_stop_comes_through_in_the_middle_of_a_call(guest: LoopGuest, hybrid: Hybrid, owner: GpuOwner) -> None:
    """Who has the GPU is held for good: the call ends by its own limit, and the machine stands."""
    start_endless(guest, hybrid, owner)

    def stopped_in_a_call() -> bool:
        """Whether a call was under way when the machine was asked to stop, and was given up for it to stand."""
        calls = 0 if (told := the_one(hybrid).gpu) is None else told.calls
        wait_until(lambda: (told := the_one(hybrid).gpu) is not None and told.calls > calls)
        os.kill(owner.pid, signal.SIGSTOP)
        try:
            before = by_gpu(hybrid).timeouts
            guest.machine.pause()
            assert guest.machine.qmp("query-status")["running"] is False
            held = the_one(hybrid).rounds, by_gpu(hybrid).calls, by_gpu(hybrid).timeouts
            assert (the_one(hybrid).rounds, by_gpu(hybrid).calls, by_gpu(hybrid).timeouts) == held
        finally:
            os.kill(owner.pid, signal.SIGCONT)
            guest.machine.resume()
        return held[2] > before

    wait_until(stopped_in_a_call)
    assert the_one(hybrid).state is Live.LIVE


def test_the_cheapest_by_what_was_measured_is_taken(guest: LoopGuest, hybrid: Hybrid, owner: GpuOwner) -> None:
    """Whoever loses by the plugin's own figures does next to nothing; both were tried."""
    loop = NAMES["mixed"]
    hybrid.prefer(BackEnd.AUTO)
    install(hybrid, owner, {0: loop})
    registers = loop.registers(1, 0, 0)
    registers[RCX] = 0
    guest.start(loop.code, CODE_AT, registers)
    wait_until(lambda: (told := the_one(hybrid).gpu) is not None and told.round_ns > 0 and told.call_ns > 0)
    before = the_one(hybrid)
    wait_until(lambda: the_one(hybrid).calls > before.calls + 300)
    after = the_one(hybrid)
    assert before.gpu is not None
    assert after.gpu is not None
    gpu_calls, all_calls = after.gpu.calls - before.gpu.calls, after.calls - before.calls
    assert after.gpu.host_round_ns > 0
    if after.gpu.round_ns > 2 * after.gpu.host_round_ns:
        assert gpu_calls < all_calls / 10
    elif after.gpu.round_ns + after.gpu.call_ns / 1e5 < after.gpu.host_round_ns / 2:
        assert gpu_calls > all_calls / 2


def test_the_host_alone_is_asked_where_it_is_chosen(guest: LoopGuest, hybrid: Hybrid, owner: GpuOwner) -> None:
    loop = NAMES["sum"]
    hybrid.prefer(BackEnd.HOST)
    install(hybrid, owner, {0: loop})
    for _ in range(4):
        guest.run(loop.code, CODE_AT, loop.registers(WORDS, AREA, 0))
    assert the_one(hybrid).rounds > 0
    assert the_one(hybrid).gpu is None
