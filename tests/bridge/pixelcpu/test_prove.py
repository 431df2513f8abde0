"""The proof finds what is wrong: broken microcode is refuted by a state that Unicorn confirms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import z3

from bridge.pixelcpu import prove as prove_module
from bridge.pixelcpu.assembly import assemble
from bridge.pixelcpu.differential import run
from bridge.pixelcpu.errors import BadCode
from bridge.pixelcpu.isa import BY_NAME
from bridge.pixelcpu.microcode import Instruction, Program
from bridge.pixelcpu.prove import Proof, check_equal, prove, prove_equal
from bridge.pixelcpu.translate import translate
from bridge.pixelcpu.translation import Translation
from bridge.pixelcpu.unicorn_runs import run_once
from bridge.pixelcpu.x86_state import FLAG_BITS, FLAGS, HALVES, REGISTERS

_OTHER = {
    **{"add": "sub", "sub": "add", "and": "or", "or": "xor", "xor": "and", "shl": "shr", "shr": "sar", "adc": "add"},
    **{"mul": "add", "inc": "dec", "cmp": "test", "rol": "ror", "mov": "not", "neg": "not", "sbb": "sub"},
}


def mutations(program: Program) -> list[Program]:
    """Programs with one instruction broken: another operation, no flags, other operands, or left out."""
    found = []
    for place, one in enumerate(program.instructions):
        changed: list[Instruction | None] = [None]
        other = BY_NAME.get(f"{_OTHER.get(one.row.operation, '')}.{one.row.width}")
        if other is not None and other.shape is one.row.shape and not (one.sets_flags and not other.writes):
            changed.append(replace(one, row=other))
        if one.sets_flags and not one.row.must_write:
            changed.append(replace(one, sets_flags=False))
        if one.immediate is not None and one.row.operation != "mov":
            changed.append(replace(one, immediate=one.immediate ^ 1))
        for new in changed:
            before, after = program.instructions[:place], program.instructions[place + 1 :]
            found.append(Program.of((*before, *(() if new is None else (new,)), *after)))
    return found


def replayed(code: bytes, proof: Proof) -> None:
    """Hold a counterexample against Unicorn: x86 does leave there what the proof says."""
    example = proof.counterexample
    assert example is not None
    assert example.differs
    flags = sum(value << FLAG_BITS[name] for name, value in example.flags.items())
    asked = [int(name[1:-1], 16) for name in example.differs if name.startswith("[")]
    once = run_once(code, example.registers, flags, example.memory, example.memory_default, asked)
    for name, (x86, pixel) in example.differs.items():
        assert x86 != pixel
        if name in FLAGS:
            assert once.flags >> FLAG_BITS[name] & 1 == x86
        elif name in REGISTERS or name in HALVES:
            assert once.registers[name] == x86
        elif name.startswith("["):
            assert once.bytes[int(name[1:-1], 16)] == x86


@pytest.mark.parametrize(
    "form", ["4801d8", "480fafc3", "11d8", "48c1e005", "4801d84831c8", "89d8c1e80731d8", "f7d8", "38d8", "660fefc1"]
)
def test_broken_microcode_is_refuted_by_a_state_that_unicorn_confirms(form: str) -> None:
    code = bytes.fromhex(form)
    translation = translate(code)
    broken = mutations(translation.program)
    assert broken
    n_refuted = 0
    for program in broken:
        wrong = replace(translation, program=program)
        proof = prove_equal(code, wrong)
        if proof.status == "proved":  # a mutation that changes nothing: random states see none either
            assert run(code, wrong, 500).n_mismatches == 0
            continue
        assert proof.status == "refuted"
        replayed(code, proof)
        n_refuted += 1
    assert n_refuted >= 0.7 * len(broken)


def test_a_store_to_the_wrong_place_is_refuted() -> None:
    code = bytes.fromhex("8903")  # mov [rbx], eax
    right = translate(code)
    for text in ("store.32 [r3 + 1], r0", "store.16 [r3], r0", "store.32 [r3], r1"):
        proof = prove_equal(code, replace(right, program=assemble(text)))
        assert proof.status == "refuted"
        example = proof.counterexample
        assert example is not None
        assert all(name.startswith("[") for name in example.differs)
        document = example.as_json()
        assert set(document) == {"registers", "flags", "memory", "memory_default", "differs"}
        assert str(example).startswith("[0x")


def test_stores_in_another_order_that_leave_the_same_memory_are_equal() -> None:
    code = bytes.fromhex("8803886301")  # mov [rbx], al; mov [rbx + 1], ah
    other = "shr.64 r16, r0, 8\nstore.8 [r3 + 1], r16\nstore.8 [r3], r0"
    assert prove_equal(code, replace(translate(code), program=assemble(other))).status == "proved"
    assert prove_equal(code, replace(translate(code), program=assemble("store.16 [r3], r0"))).status == "proved"


def test_where_a_jump_goes_is_part_of_the_proof() -> None:
    code = bytes.fromhex("4801d875f0")
    right = translate(code)
    assert prove_equal(code, right).status == "proved"
    swapped = replace(right, goes_on=right.target, target=right.goes_on)
    proof = prove_equal(code, swapped)
    assert proof.status == "refuted"
    assert proof.counterexample is not None
    assert set(proof.counterexample.differs) == {"next"}


def test_what_is_unsupported_says_which_instruction_and_why() -> None:
    for form, words in {
        "0fa2": "asks the processor",
        "0f31": "reads the time",
        "0f20c0": "privileged",
        "e460": "input or output",
        "f4": "",
        "0f05": "enters the kernel",
        "f20f58c1": "no microcode",
        "d8c1": "floating point",
        "48f7f3": "may fault",
        "f00fb10b": "one step",
        "8703": "one step",
        "648b00": "segment",
        "8b0500000000": "where the code lies",
        "c3": "calls or returns",
        "ffe0": "computed",
        "f3a44801d8": "before its end",
        "d3e00f90c0": "OF, which the code before it leaves undefined",
        "660fc8": "undefined",
        "660fa4d811": "undefined",
        "480fa303": "far from its operand",
        "c5fd6fc1": "",
        "0f0b": "",
        "9c": "flags beyond",
        "0fb1d9": "disagree",
    }.items():
        attempt = prove(bytes.fromhex(form))
        assert attempt.proof.status == "unsupported", form
        assert attempt.proof.reason.startswith("“"), form
        assert words in attempt.proof.reason, f"{form}: {attempt.proof.reason}"


@pytest.mark.parametrize("code", [b"", b"\x06", b"\x48", b"\x90" * 513, b"\x90" * 129])
def test_what_is_no_code_is_said_to_be_none(code: bytes) -> None:
    with pytest.raises(BadCode):
        prove(code)


def test_a_solver_without_time_decides_nothing() -> None:
    # A prime is no product of two words of 32 bits: true, and more than a solver finds out in hours.
    one = assemble("zx32.64 r1, r2\nzx32.64 r4, r3\nmul.64 r4, r4, r1\neq.64 r1, r4, 0x1fffffffffffffff\nmov.64 r4, 0")
    other = assemble("mov.64 r1, 0\nmov.64 r4, 0")
    proof = check_equal(one, other, time_limit_s=0.1)
    assert proof.status == "timeout"
    assert "neither" in proof.reason


def test_states_are_tried_out_where_the_solver_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.pixelcpu.prove._checked", _never_soon(prove_module._checked))
    code = bytes.fromhex("480fafc3")
    proof = prove_equal(code, replace(translate(code), program=assemble("add.64! r0, r0, r3")))
    assert proof.status == "refuted"
    replayed(code, proof)
    proof = check_equal(assemble("mul.64! r1, r2, r3\nstore.64 [r4], r1"), assemble("add.64! r1, r2, r3"))
    assert proof.status == "refuted"
    assert check_equal(assemble("add.64 r1, r2, r2"), assemble("shl.64 r1, r2, 1")).status == "proved"


def _never_soon(checked: Callable[[Any, float], Any]) -> Callable[[Any, float], Any]:
    """A solver that decides nothing in its first half second."""
    asked: set[int] = set()

    def check(solver: Any, time_limit_s: float) -> Any:
        goal = solver.assertions()
        first = len(goal) == 1 and id(solver) not in asked
        asked.add(id(solver))
        return z3.unknown if first else checked(solver, time_limit_s)

    return check


def test_programs_are_compared() -> None:
    double = assemble("add.64 r1, r2, r2")
    assert check_equal(double, assemble("shl.64 r1, r2, 1")).status == "proved"
    refuted = check_equal(double, assemble("shl.64! r1, r2, 1"))
    assert refuted.status == "refuted"
    assert refuted.counterexample is not None
    assert set(refuted.counterexample.differs) <= {"CF", "PF", "AF", "ZF", "SF", "OF"}
    assert check_equal(double, assemble("add.64 r1, r2, r3")).status == "refuted"
    assert check_equal(assemble("store.8 [r1], r2"), assemble("store.8 [r1], r3")).status == "refuted"
    assert check_equal(assemble("lane.64 r1"), assemble("mov.64 r1, 0")).status == "refuted"
    assert check_equal(assemble("sumall.64 r1, r2"), assemble("mov.64 r1, r2")).status == "unsupported"


def test_a_difference_seen_by_the_proof_is_seen_by_unicorn_too() -> None:
    code = bytes.fromhex("4801d8")
    wrong: Translation = replace(translate(code), program=assemble("or.64! r0, r0, r3"))
    record = run(code, wrong, 500)
    assert record.n_mismatches > 300
    assert "rax" in record.first


def test_states_whose_accesses_leave_their_memory_are_put_aside() -> None:
    code = bytes.fromhex("8b042578563412")  # mov eax, [0x12345678]
    record = run(code, translate(code), 50)
    assert (record.n_states, record.n_put_aside) == (0, 50)
