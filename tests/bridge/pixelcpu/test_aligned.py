"""SSE instructions that fault where memory is not aligned: loops with them run where it is, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from app.benchmarks.loop_guest import AREA, LoopGuest
from app.benchmarks.pixel_calls import CODE_AT
from app.benchmarks.pixel_loops import LOOPS
from app.loop_words import loop_words
from bridge.pixelcpu.decode import decode, must_be_aligned
from bridge.pixelcpu.errors import Unsupported
from bridge.pixelcpu.hybrid import Hybrid, Live
from bridge.pixelcpu.loops import loop_of
from bridge.pixelcpu.native_runs import run
from bridge.pixelcpu.prove_loop import prove_loop
from bridge.pixelcpu.x86_state import HALVES, REGISTERS
from tests.bridge.machine.conftest import private_directories, shared_memory  # noqa: F401
from tests.bridge.pixelcpu.filled_guest import WORDS, memory
from tests.bridge.pixelcpu.test_hybrid import guest, hybrid, native, the_one  # noqa: F401
from tests.bridge.pixelcpu.test_loop_native import Loaded, planned

NAMES = {loop.name: loop for loop in LOOPS}
COPY, SMALLEST = NAMES["aligned copy"], NAMES["smallest of bytes"]
# movdqa xmm0,[rax]; pminub xmm0,[rax+16]; movdqa xmm1,[rax+32]; pminub xmm1,[rax+48]; pminub xmm0,xmm1;
# pcmpeqb xmm0,xmm3; pmovmskb edx,xmm0; add rax,64; test edx,edx; je: as the C library looks for a string's end
LENGTH = bytes.fromhex("660f6f00660fda4010660f6f4820660fda4830660fdac1660f74c3660fd7d04883c04085d274d9")


@pytest.mark.parametrize(
    ("code", "must"),
    [
        ("660f6f07", True),  # movdqa xmm0,[rdi]
        ("660f7f07", True),
        ("0f2807", True),  # movaps
        ("0f2907", True),
        ("660fe707", True),  # movntdq
        ("660f7407", True),  # pcmpeqb xmm0,[rdi]
        ("660f6207", True),  # punpckldq xmm0,[rdi]
        ("660f70071b", True),  # pshufd xmm0,[rdi],27
        ("f30f6f07", False),  # movdqu
        ("0f1007", False),  # movups
        ("660f1007", False),  # movupd
        ("f20ff007", False),  # lddqu
        ("f30f7e07", False),  # movq xmm0,[rdi]
        ("660f6e07", False),  # movd
        ("660f6fc1", False),  # movdqa xmm0,xmm1
        ("480307", False),
    ],
)
def test_what_must_be_aligned(code: str, must: bool) -> None:
    (one,) = decode(bytes.fromhex(code))
    assert must_be_aligned(one) == must


def test_it_is_told_once_for_all_that_lie_a_multiple_apart() -> None:
    loop = prove_loop(COPY.code).loop
    assert loop is not None
    assert loop.aligned == ("rdi",)
    assert "  checks  rdi is a multiple of 16" in loop_words(loop)
    odd = prove_loop(bytes.fromhex("660fda07660fda4f084883c7104839f775ee")).loop  # of [rdi] and of [rdi+8]
    assert odd is not None
    assert odd.aligned == ("rdi", "rdi + 8"), "which never are both"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("660fef074883c71848ffc975f3", "not in every round"),  # pxor xmm0,[rdi]; add rdi,24; dec rcx; jnz
        # mov rax,[rsi]; pxor xmm0,[rax]; add rsi,8; dec rcx; jnz
        ("488b06660fef004883c60848ffc975f0", "depends on what it finds"),
    ],
)
def test_where_it_may_become_unaligned_it_is_refused(code: str, reason: str) -> None:
    with pytest.raises(Unsupported, match=reason):
        loop_of(bytes.fromhex(code))


@pytest.mark.parametrize("code", [COPY.code, SMALLEST.code, LENGTH], ids=["copy", "smallest", "length"])
def test_no_round_is_planned_where_it_would_fault(code: bytes) -> None:
    loop, made = loop_of(code), prove_loop(code).native
    assert made is not None
    loaded = Loaded(made.native)
    for off in range(17):
        at = {"rdi": AREA + off, "rsi": AREA + off + 16 * 64, "rdx": AREA + off + 64 * 64, "rax": AREA + off}
        words = {**dict.fromkeys((*REGISTERS, *HALVES), 0), **at}
        assert (loop.rounds(words) > 0) == (off % 16 == 0)
        assert (planned(made, loaded, words)[0] > 0) == (off % 16 == 0)


@pytest.mark.parametrize("code", [COPY.code, SMALLEST.code, LENGTH], ids=["copy", "smallest", "length"])
def test_native_code_does_what_unicorn_does(code: bytes) -> None:
    made = prove_loop(code).native
    assert made is not None
    record = run(made, 2000)
    assert record.n_runs >= 2000
    assert record.n_mismatches == 0
    assert record.n_put_aside > 0, "some are not aligned"


@pytest.mark.parametrize("verify", [False, True])
def test_a_guests_copy_is_done(guest: LoopGuest, hybrid: Hybrid, verify: bool) -> None:  # noqa: F811
    hybrid.install({0: native(COPY)}, verify=verify)
    n = WORDS // 8 - 2
    before = memory(guest).copy()
    guest.run(COPY.code, CODE_AT, COPY.registers(n, AREA + 5, AREA + 8 * WORDS))
    assert np.array_equal(memory(guest)[8 * WORDS : 8 * WORDS + 64 * n], before[5 : 5 + 64 * n])
    told = the_one(hybrid)
    assert told.state is Live.LIVE
    assert (told.verified_rounds if verify else told.rounds) > n // 2
