"""Native code of loops beside Unicorn: what is right passes, and what is wrong in any way is found out."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from app.benchmarks.pixel_loops import LOOPS
from bridge.pixelcpu import prover as prover_module
from bridge.pixelcpu.errors import PixelError, Unsupported, WorkerLost
from bridge.pixelcpu.estimate import qemu_round_ns, speed_up
from bridge.pixelcpu.learned import State
from bridge.pixelcpu.learner import N_RUNS, Learner
from bridge.pixelcpu.loop_library import LoopLibrary
from bridge.pixelcpu.native_figures import measure
from bridge.pixelcpu.native_loop import Figures, NativeLoop
from bridge.pixelcpu.native_runs import run
from bridge.pixelcpu.prove import Attempt
from bridge.pixelcpu.prove_loop import LoopAttempt, prove_loop
from bridge.pixelcpu.prover import Prover
from bridge.pixelcpu.unicorn_runs import run_states
from bridge.pixelcpu.x86_state import REGISTERS, States, random_states
from tests.bridge.pixelcpu.test_loops import KNOWN

OTHERS = {
    "where it loads is fixed: add ebx,[rax*4+0x404060]; …; cmp rax,100; jne": "031c856040400048ffc04883f86475f0",
    "where it stores is fixed: mov [rax*4+0x404060],ebx; …": "891c856040400048ffc04883f86475f0",
    "two widths: mov ebx,[rdi+rcx*4]; mov [rsi+rcx*8],rbx; …": "8b1c8f48891cce48ffc14839d172f1",
    "two widths of one array: add rax,[rdi+rcx*8]; add ebx,[rdi+rcx*4]; …": "480304cf031c8f48ffc14839d172f1",
    "32-bit addresses: add eax,[edi]; add edi,4; cmp edi,esi; jb": "6703 07 83c704 39f7 72f6",
    "columns: add rax,[rdi]; add rdi,0x8000; dec rcx; jnz": "480307 4881c700800000 48ffc9 75f1",
    "on the stack: mov rax,[rsp+rcx*8]; add rbx,rax; dec rcx; jns": "488b04cc4801c348ffc979f4",
    "halves: mov [rdi+8],rax; mov [rdi],rbx; add rdi,16; loop": "4889470848891f4883c710e2f3",
    "where it ends is where it begins: mov eax,[rdi+r8*4]; add rdi,8; cmp rdi,r8; jb": "428b04874883c7084c39c772f3",
    "down to 0: movdqu xmm0,[rsi]; movdqu [rdi],xmm0; sub rdi,24; cmp rdi,r8; jb": "f30f6f06f30f7f074883ef184c39c772ef",
    "an immediate like a jump: and ebx,0x800f; add eax,ebx; mov ebx,ecx; dec ecx; jnz": "89cb81e30f80000001d8ffc975f2",
}
CODES = {code.replace(" ", "") for code in (*(one[0] for one in KNOWN.values()), *OTHERS.values())}
CODES |= {loop.code.hex() for loop in LOOPS}

SUM = "4803074883c70848ffc975f4"  # add rax,[rdi]; add rdi,8; dec rcx; jnz
FILL = "4889074883c7084839d772f4"  # mov [rdi],rax; add rdi,8; cmp rdi,rdx; jb
MAP = "8b048e6bc00583f05589048f48ffc14839d17cec"
BACKWARDS = "488b44cef8488944cff848ffc975f1"


@cache
def native_of(code: str) -> NativeLoop:
    native = prove_loop(bytes.fromhex(code)).native
    assert native is not None
    return native


@pytest.fixture(scope="module")
def prover() -> Iterator[Prover]:
    with Prover() as one:
        yield one


@pytest.mark.parametrize("code", sorted(CODES))
def test_what_is_made_of_loops_does_what_they_do(code: str) -> None:
    record = run(native_of(code), 2000)
    assert (record.n_mismatches, record.first) == (0, "")
    assert record.n_runs >= 2000
    assert record.n_rounds > 5 * record.n_runs


def test_as_many_are_run_as_are_wanted() -> None:
    record = run(native_of(FILL), N_RUNS)
    assert record.n_runs >= N_RUNS
    assert record.n_mismatches == 0
    assert record == run(native_of(FILL), N_RUNS)
    assert record != run(native_of(FILL), N_RUNS, seed=2)


def behind(native: NativeLoop, entry: str, before: bytes, after: bytes) -> NativeLoop:
    """With code around its `plan` or its `run`, on a stack aligned as calls have it."""
    content = native.native + bytes(-len(native.native) % 64)
    text = before + b"\xe8"
    text += struct.pack("<i", getattr(native, entry) - (len(content) + len(text) + 4)) + after
    changed = replace(native, native=content + text)
    return replace(changed, plan=len(content)) if entry == "plan" else replace(changed, run=len(content))


def one_round_more(native: NativeLoop) -> NativeLoop:
    """sub rsp,8; call plan; inc rax; add rsp,8; ret."""
    return behind(native, "plan", b"\x48\x83\xec\x08", b"\x48\xff\xc0\x48\x83\xc4\x08\xc3")


def one_byte_more(native: NativeLoop) -> NativeLoop:
    """push rsi; call run; pop rsi; mov rcx,[rsi+16]; add rcx,[rsi+8]; inc byte [rcx]; ret: behind the first window."""
    return behind(native, "run", b"\x56", b"\x5e\x48\x8b\x4e\x10\x48\x03\x4e\x08\xfe\x01\xc3")


def one_byte_less(native: NativeLoop) -> NativeLoop:
    """… dec byte [rcx-1]: the last one that it stored, or that its page has."""
    return behind(native, "run", b"\x56", b"\x5e\x48\x8b\x4e\x10\x48\x03\x4e\x08\xfe\x49\xff\xc3")


def one_round_not_told(native: NativeLoop) -> NativeLoop:
    """… dec rax: it says that it did a round less than it did."""
    return behind(native, "run", b"\x48\x83\xec\x08", b"\x48\xff\xc8\x48\x83\xc4\x08\xc3")


def a_word_behind_the_state(native: NativeLoop) -> NativeLoop:
    """push rdi; call run; pop rdi; inc qword [rdi+33*8]; ret."""
    return behind(native, "run", b"\x57", b"\x5f\x48\xff\x87\x08\x01\x00\x00\xc3")


def a_plan_that_writes(native: NativeLoop) -> NativeLoop:
    """push rdi; call plan; pop rdi; inc qword [rdi+15*8]; ret: r15."""
    return behind(native, "plan", b"\x57", b"\x5f\x48\xff\x47\x78\xc3")


def another_stride(native: NativeLoop) -> NativeLoop:
    return replace(native, streams=tuple(replace(one, stride=one.stride // 2) for one in native.streams))


def other_code(code: str) -> Callable[[NativeLoop], NativeLoop]:
    """Code of another loop, said to be of this one."""
    return lambda native: replace(native_of(code), code=native.code)


WRONG: list[tuple[str, Callable[[NativeLoop], NativeLoop], str]] = [
    (SUM, one_round_more, "the loop's end"),
    (FILL, one_round_more, "the loop's end"),
    (BACKWARDS, one_round_more, "the loop's end"),
    (FILL, one_byte_more, "memory at"),
    (SUM, one_byte_more, "memory at"),
    (FILL, one_byte_less, "memory at"),
    (SUM, one_round_not_told, "rounds"),
    (SUM, a_word_behind_the_state, "behind the state"),
    (SUM, a_plan_that_writes, "plan changed the state"),
    (FILL, another_stride, "rounds"),
    (BACKWARDS, another_stride, "rounds"),
    (MAP, other_code("8b048e6bc00783f05589048f48ffc14839d17cec"), "memory at"),  # times 7 instead of 5
    (SUM, other_code("4803074883c71048ffc975f4"), "rdi"),  # add rdi,16
    (SUM, other_code("4833074883c70848ffc975f4"), "rax"),  # xor rax,[rdi]
    (FILL, other_code("48891f4883c7084839d772f4"), "memory at"),  # mov [rdi],rbx
    (SUM, lambda native: replace(native, writes=native.writes - {REGISTERS.index("rdi")}), "rdi"),
]


@pytest.mark.parametrize(("code", "change", "what"), WRONG)
def test_what_is_wrong_is_found_out(
    code: str, change: Callable[[NativeLoop], NativeLoop], what: str, prover: Prover
) -> None:
    record = prover.run_native(change(native_of(code)), 1)
    assert record.n_mismatches > 0
    assert what in record.first


def test_what_is_computed_of_a_sum_is_left_as_it_was(prover: Prover) -> None:
    native = native_of(KNOWN["a sum that is looked at"][0])
    rdx = REGISTERS.index("rdx")
    assert rdx not in native.writes
    record = prover.run_native(replace(native, writes=native.writes | {rdx}), 1)
    assert "rdx" in record.first


def test_rounds_too_far_apart_are_not_run() -> None:
    with pytest.raises(Unsupported, match="too far apart"):
        run(native_of("4803074881c70000000148ffc975f1"))  # add rdi,0x1000000


class Tampering(Prover):
    """Whose native code is changed before anybody sees it."""

    def __init__(self, change: Callable[[NativeLoop], NativeLoop]) -> None:
        super().__init__()
        self._change = change

    def prove_loop(self, code: bytes, time_limit_s: float = 5.0, attempt: Attempt | None = None) -> LoopAttempt:
        found = super().prove_loop(code, time_limit_s, attempt)
        assert found.native is not None
        return replace(found, native=self._change(found.native))


def in_place_of(entry: str, text: bytes) -> Callable[[NativeLoop], NativeLoop]:
    def changed(native: NativeLoop) -> NativeLoop:
        at = getattr(native, entry)
        return replace(native, native=native.native[:at] + text + native.native[at + len(text) :])

    return changed


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (in_place_of("run", b"\x0f\x0b"), "could not be run. The process that proves ended with -4"),
        (in_place_of("plan", b"\x31\xc0\xc3"), "Only 0 runs of its native code"),
        (one_round_more, "Its native code, run beside Unicorn, differs"),
    ],
)
def test_native_code_that_fails_is_refused_for_good(
    change: Callable[[NativeLoop], NativeLoop], reason: str, tmp_path: Path
) -> None:
    loops = LoopLibrary(tmp_path / "loops", tmp_path / "key")
    with Tampering(change) as prover:
        found = Learner(tmp_path, prover).learn(bytes.fromhex(SUM))
        assert (found.state, found.reached, found.native) == (State.QEMU_ONLY, State.PROVED, None)
        assert reason in found.reason
        assert prover.prove(b"\x90").proof.status == "proved"
    assert loops.find(bytes.fromhex(SUM)) == found


def test_native_code_that_does_not_end_costs_a_process(prover: Prover, monkeypatch: pytest.MonkeyPatch) -> None:
    endless = in_place_of("run", b"\xeb\xfe")(native_of(SUM))
    prover.prove(b"\x90")
    process = prover._process
    assert process is not None
    monkeypatch.setattr(prover_module, "TIME_LIMIT_S", 1.0)
    monkeypatch.setattr(prover_module, "_MORE_S", 1.0)
    with pytest.raises(WorkerLost, match="gave no answer"):
        prover.run_native(endless)
    assert process.poll() is not None


def test_figures_are_told() -> None:
    figures = measure(native_of(SUM))
    assert figures.round_ns > 0
    assert figures.far_round_ns > 0
    assert figures.call_ns > figures.round_ns
    assert figures.slowest_ns == max(figures.round_ns, figures.far_round_ns)
    registers = measure(native_of(KNOWN["xor eax,ecx; dec ecx; jnz"][0]))
    assert registers.round_ns > 0
    assert registers.far_round_ns == 0.0
    length = measure(native_of("48ffc7803f0075f8"))  # inc rdi; cmp byte [rdi],0; jne
    assert length.round_ns > 0
    # Of a search that finds what it looks for at once nothing is guessed: cmp byte [rdi],1
    assert measure(native_of("48ffc7803f0175f8")).round_ns == 0.0
    # It ends after a hundred rounds, and its memory is where it is: little can be measured, and nothing is guessed.
    assert measure(native_of(OTHERS["where it stores is fixed: mov [rax*4+0x404060],ebx; …"])).far_round_ns == 0.0


def test_estimates() -> None:
    # A quarter of two processors' four seconds each, and two thousand million rounds: a nanosecond each.
    assert qemu_round_ns(0.25, 8.0, 2_000_000_000) == pytest.approx(1.0)
    assert qemu_round_ns(0.25, 8.0, 0) == 0.0
    figures = Figures(0.25, 0.5, 20.0)
    assert speed_up(2.0, figures) == pytest.approx(4.0)
    assert speed_up(2.0, figures, call_ns=1000.0) == pytest.approx(4.0)  # how many rounds a call has is not known
    assert speed_up(2.0, figures, call_ns=1000.0, rounds_a_call=2000.0) == pytest.approx(2.0)
    assert speed_up(2.0, None) is None
    assert speed_up(0.0, figures) is None
    assert speed_up(2.0, Figures(0.0, 0.0, 20.0)) is None


# The loop within Unicorn.


def looped(code: bytes, rounds: list[int], rcx: int, at: int = 0x4000_0000) -> tuple[States, list[int], bytes]:
    registers = np.zeros((len(rounds), 16), np.uint64)
    registers[:, REGISTERS.index("rcx")] = rcx
    registers[:, REGISTERS.index("rdi")] = at
    states = replace(random_states(len(rounds), 1), registers=registers)
    memory = np.zeros(4096, np.uint8)
    done = run_states(code, states, memory, rounds=np.array(rounds, np.uint64), memory_at=at)
    assert not memory.any()
    return done.states, done.rounds_left.tolist(), done.memory.tobytes()


def rcx_of(states: States) -> list[int]:
    return [int(one) for one in states.registers[:, REGISTERS.index("rcx")]]


@pytest.mark.parametrize("at", [0x4000_0000, 0xFFFF_8881_0000_0000])
def test_unicorn_goes_back_so_often(at: int) -> None:
    fill = bytes.fromhex("c6070148ffc748ffc975f5")  # mov byte [rdi],1; inc rdi; dec rcx; jnz
    states, left, memory = looped(fill, [1, 5, 9, 10, 11, 1000], 10, at)
    assert rcx_of(states) == [9, 5, 1, 0, 0, 0]  # the tenth round does not go back
    assert left == [0, 0, 0, 1, 2, 991]
    assert memory == b"\1" * 10 + bytes(4086)


def test_a_far_jump_goes_back_as_well() -> None:
    near = bytes.fromhex("48ffc975fb")
    far = bytes.fromhex("48ffc9" + "0f85" + struct.pack("<i", -9).hex())
    for code in (near, far):
        states, left, _ = looped(code, [3, 10, 11], 10)
        assert (rcx_of(states), left) == ([7, 0, 0], [0, 1, 2])


@pytest.mark.parametrize(
    ("rounds", "at"), [([0], 0x4000_0000), ([1 << 40], 0x4000_0000), ([1], 0x4000_0001), ([1], 0x6F00_0000)]
)
def test_what_cannot_be_run_is_refused(rounds: list[int], at: int) -> None:
    with pytest.raises(ValueError, match=r"rounds are|memory cannot"):
        looped(bytes.fromhex("48ffc975fb"), rounds, 10, at)


def test_a_loop_that_faults_is_told() -> None:
    with pytest.raises(PixelError, match="Unicorn stopped"):
        looped(bytes.fromhex("c6070148ffc748ffc975f5"), [1 << 20], 1 << 30)
