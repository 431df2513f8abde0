"""Code of several basic blocks: its meaning and its microcode are what Unicorn does, on every way through it."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from bridge.pixelcpu.decode import BASE, decode
from bridge.pixelcpu.differential import Windows, interpreted, run, way_taken, with_pointers
from bridge.pixelcpu.errors import Unsupported
from bridge.pixelcpu.isa import FLAGS_MASK
from bridge.pixelcpu.prove import prove, prove_equal
from bridge.pixelcpu.translate import translate
from bridge.pixelcpu.unicorn_runs import WINDOW, WINDOWS_AT, run_states
from bridge.pixelcpu.vex import meaning
from bridge.pixelcpu.x86_state import random_states
from tests.bridge.pixelcpu.branches import laid_out, some_code
from tests.bridge.pixelcpu.test_prove import mutations, replayed

MAX = bytes.fromhex("8b1739c27e0289d04883c704ffc975f0")  # mov edx,[rdi]; cmp edx,eax; jle; mov eax,edx; …; jnz
THRESHOLD = bytes.fromhex("0fb6074038f0760340883748ffc748ffc975ed")  # …; cmp al,sil; jbe; mov [rdi],sil; …; jnz
EITHER = bytes.fromhex("8b0685c078048907eb04f7d889074883c6044883c70448ffc975e5")  # if: mov [rdi],eax; else: neg first
EXIT = bytes.fromhex("4839d67307880648ffc6ebf4")  # cmp rsi,rdx; jae out; mov [rsi],al; inc rsi; jmp
KNOWN = (MAX, THRESHOLD, EITHER, EXIT)


@pytest.mark.parametrize("code", KNOWN)
def test_known_ones_are_proved_and_do_what_unicorn_does(code: bytes) -> None:
    attempt = prove(code)
    assert attempt.proof.status == "proved", attempt.proof.reason
    assert attempt.translation is not None
    record = run(code, attempt.translation, 2000)
    assert record.n_mismatches == 0, record.first
    assert record.n_states > 1800


def test_random_ones_are_proved_and_do_what_unicorn_does() -> None:
    """Every way out of some, and both ways at most jumps, are gone by some state."""
    proved = 0
    ways_gone = ways = 0
    for seed in range(120):
        code = some_code(random.Random(seed), vectors=seed % 4 == 0, back=seed % 2 == 0)
        try:
            translation = translate(code)
            attempt = prove(code, 3.0)
        except Unsupported:
            continue
        if attempt.proof.status == "unsupported":
            assert "leaves undefined" in attempt.proof.reason
            continue
        assert attempt.proof.status in ("proved", "timeout"), (code.hex(), attempt.proof.reason)
        proved += attempt.proof.status == "proved"
        record = run(code, translation, 400, seed)
        assert record.n_mismatches == 0, (code.hex(), record.first)
        if translation.taken is not None:
            states = with_pointers(decode(code), random_states(400, seed), seed)
            memory = np.random.default_rng(seed).integers(0, 256, 400 * WINDOW, np.uint8)
            went = way_taken(translation, interpreted(translation, states, Windows(memory)))
            ways += 2 + len(translation.others)
            ways_gone += len(np.unique(went))
            assert int(went.max()) < 2 + len(translation.others)
    assert proved > 90
    assert ways_gone > 0.8 * ways > 100


def test_a_wrong_translation_is_refuted() -> None:
    for code in KNOWN:
        translation = translate(code)
        broken = mutations(translation.program)
        n_refuted = 0
        for program in broken:
            wrong = replace(translation, program=program)
            proof = prove_equal(code, wrong)
            if proof.status == "proved":
                assert run(code, wrong, 500).n_mismatches == 0
                continue
            assert proof.status == "refuted"
            assert proof.counterexample is not None
            assert proof.counterexample.differs
            n_refuted += 1
        assert n_refuted >= 0.7 * len(broken) > 0
    # Of what does not go round and stores nowhere, Unicorn says the same.
    code = bytes.fromhex("39d8760431d8d1e101c8")  # cmp eax,ebx; jbe; xor eax,ebx; shl ecx,1; add eax,ecx
    for program in mutations(translate(code).program):
        proof = prove_equal(code, replace(translate(code), program=program))
        if proof.status == "refuted":
            replayed(code, proof)


def test_a_way_out_that_goes_elsewhere_is_refuted() -> None:
    translation = translate(EXIT)
    assert {translation.goes_on, translation.target} == {BASE, BASE + len(EXIT)}
    for wrong in (
        replace(translation, goes_on=translation.target, target=translation.goes_on),
        replace(translation, target=translation.target + 1),
        replace(translation, taken=None),
    ):
        proof = prove_equal(EXIT, wrong)
        assert proof.status == "refuted"
        assert proof.counterexample is not None
        assert "next" in proof.counterexample.differs
    several = laid_out([bytes.fromhex("39d8"), (4, 9), (2, -1), bytes.fromhex("ffc0"), (5, 0)])
    translation = translate(several)
    assert len(translation.others) == 2
    assert prove_equal(several, translation).status == "proved"
    swapped = replace(translation, others=translation.others[::-1])
    assert prove_equal(several, swapped).status == "refuted"
    record = run(several, swapped, 500)
    assert record.n_mismatches > 0
    assert record.first.startswith("next")


def test_a_load_is_made_on_its_way_alone() -> None:
    """What x86 does not touch the microcode does not: rbx points nowhere where it is not loaded from."""
    # test rbx,rbx; je; add edi,[rbx+4]; mov ecx,[rbx]; mov [rax],ecx; add rbx,1
    code = bytes.fromhex("4885db7407037b048b0b89084883c301")
    assert prove(code).proof.status == "proved"
    translation = translate(code)
    states = random_states(64, 1)
    registers = states.registers.copy()
    starts = np.uint64(WINDOWS_AT) + np.arange(64, dtype=np.uint64) * np.uint64(WINDOW)
    registers[:, 3] = np.where(np.arange(64) % 2, starts, np.uint64(0))
    registers[:, 0] = starts + np.uint64(32)
    windows = Windows(np.zeros(64 * WINDOW, np.uint8))
    interpreted(translation, replace(states, registers=registers), windows)
    assert not windows.outside.any()
    there = run_states(code, replace(states, registers=registers), np.zeros(64 * WINDOW, np.uint8), ways=(BASE + 16,))
    assert not there.went.any()


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("85c07401ebfbffc0", "middle of an instruction"),
        ("ffc039d875fc39d07400ffc9", "makes another loop"),
        ("e30201d8ffc0", "at the end of a single block"),
        ("85c07403f3a490ffc0", "before its end"),
        ("85c07402f3a4", "a loop of its own"),
        ("0fafc3740201d8", "leaves undefined"),
    ],
)
def test_what_is_refused_says_why(code: str, reason: str) -> None:
    attempt = prove(bytes.fromhex(code))
    assert attempt.proof.status == "unsupported"
    assert reason in attempt.proof.reason


def test_ways_that_never_meet_undefined_flags_are_read() -> None:
    """imul leaves ZF undefined on one way; where they meet it is so for who came from there."""
    code = bytes.fromhex("39d874030fafc3" + "90")  # cmp; je over imul; nop
    found = meaning(code)
    assert found.undefined["CF"] is False
    assert not isinstance(found.undefined["ZF"], bool)
    assert prove(code).proof.status == "proved"


def test_flags_of_states_are_laid_out_as_in_rflags() -> None:
    states = random_states(500, 3)
    there = run_states(MAX, with_pointers(decode(MAX), states, 3), np.zeros(500 * WINDOW, np.uint8), ways=_ways_of(MAX))
    assert set(np.unique(there.went).tolist()) <= {0, 1}
    assert not (there.states.flags & ~np.uint64(FLAGS_MASK)).any()


def _ways_of(code: bytes) -> tuple[int, ...]:
    translation = translate(code)
    return translation.goes_on, translation.target, *translation.others
