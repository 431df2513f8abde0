"""What z3 takes a program for is what the interpreter does, row by row, and as terms that can be proved about."""

from __future__ import annotations

import numpy as np
import pytest
import z3

from bridge.pixelcpu import meaning
from bridge.pixelcpu.assembly import assemble
from bridge.pixelcpu.executor import State
from bridge.pixelcpu.interpreter import run_lanes, run_states
from bridge.pixelcpu.isa import FLAG_BITS, FLAGS, N_REGISTERS
from bridge.pixelcpu.memory import ArrayMemory
from bridge.pixelcpu.semantics import word_of_flags
from tests.bridge.pixelcpu.rows import EXAMPLES, A, B, D, some_states


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_rows_term_is_what_the_interpreter_does(name: str) -> None:
    before = meaning.unknown_state()
    # The conditions are the same at every width: all of them once, and then one.
    for example in EXAMPLES[name][: 16 if name == "set.8" else 1]:
        states = some_states(10, example.row.opcode + 1)
        after = meaning.after(example.program, before, meaning.unknown_memory())
        both = z3.Concat(after.registers[D], word_of_flags(meaning.ALGEBRA, after.flags))
        done = run_states(example.program, states)
        for at in range(len(states.flags)):
            given = [(before.registers[n], z3.BitVecVal(int(states.registers[at, n]), 64)) for n in (D, B, A)]
            given += [(before.flags[f], z3.BoolVal(bool(int(states.flags[at]) >> FLAG_BITS[f] & 1))) for f in FLAGS]
            found = z3.simplify(z3.substitute(both, *given)).as_long()
            assert found == (int(done.registers[at, D]) << 64) | int(done.flags[at]), (str(example), at)
        assert after.written == ({D} if example.row.has_destination else set())
        for number in set(range(N_REGISTERS)) - {D}:
            assert after.registers[number] is before.registers[number]


def proved(claim: z3.BoolRef) -> bool:
    solver = z3.Solver()
    solver.set(timeout=60_000)
    solver.add(z3.Not(claim))
    return bool(solver.check() == z3.unsat)


def _same(one: str, other: str, flags: str = "") -> z3.BoolRef:
    before = meaning.unknown_state()
    memories = meaning.unknown_memory(), meaning.unknown_memory()
    first, second = (
        meaning.after(assemble(text), before, memory) for text, memory in zip((one, other), memories, strict=True)
    )
    claims = [a == b for a, b in zip(first.registers, second.registers, strict=True)]
    claims += [first.flags[flag] == second.flags[flag] for flag in flags]
    return z3.And(*claims, memories[0].array == memories[1].array)


@pytest.mark.parametrize(
    ("one", "other", "flags", "equal"),
    [
        ("mul.32 r1, r2, 8", "shl.32 r1, r2, 3", "", True),
        ("mul.32! r1, r2, 8", "shl.32! r1, r2, 3", "C", False),
        ("sub.64! r1, r2, r3", "cmp.64! r2, r3\nsub.64 r1, r2, r3", FLAGS, True),
        ("mov.8 r1, r2", "mov.32 r1, r2", "", False),
        ("inc.64! r1, r1", "add.64! r1, r1, 1", FLAGS, False),
        ("inc.64! r1, r1", "add.64! r1, r1, 1", "PAZSO", True),
        ("cmp.64! r2, r3\ncmov.64 r2, a, r3", "minu.64 r2, r2, r3\ncmp.64! r2, r3", "", True),
        ("rol.16! r1, r2, 8", "mov.16 r1, r2\nbswap.16 r1, r1", "", True),
        ("padd.8 r1, r1, r1", "padd.16 r1, r1, r1", "", False),
        ("store.16 [r1], r2", "store.8 [r1], r2\nshr.64 r3, r3, 0\nshr.64! r2, r2, 0", "", False),
        (
            "store.16 [r1], r2\nload.8 r3, [r1 + 1]",
            "store.16 [r1], r2\nshr.16 r4, r4, 0\nload.8 r3, [r1 + 1]",
            "",
            True,
        ),
        ("storeif.8 [r1], r2 if r3", "pick.64 r4, r3, r4\nstoreif.8 [r1], r2 if r3", "", True),
        ("loadif.8 r2, [r1] if r3", "load.8 r2, [r1]", "", False),
        ("sumall.64 r1, r2", "mov.64 r1, r2", "", True),
    ],
)
def test_equal_programs_are_proved_equal_and_others_are_not(one: str, other: str, flags: str, equal: bool) -> None:
    assert proved(_same(one, other, flags)) is equal


def test_stores_and_loads_are_little_endian_bytes_as_the_interpreter_has_them() -> None:
    text = "store.32 [r1 + 1], r2\nload.64 r3, [r1]\nstore.16 [r1 + 6], r3\nload.64 r3, [r1]\nlane.64 r4"
    content = np.arange(16, dtype=np.uint8)
    registers = np.zeros(N_REGISTERS, np.uint64)
    registers[1], registers[2] = 0x2000, 0x1122334455667788
    final = run_lanes(assemble(text), 1, registers, 0, ArrayMemory(content.copy(), 0x2000))
    array = z3.K(z3.BitVecSort(64), z3.BitVecVal(0, 8))
    for place, value in enumerate(content.tolist()):
        array = z3.Store(array, z3.BitVecVal(0x2000 + place, 64), z3.BitVecVal(value, 8))
    before: State[z3.BitVecRef, z3.BoolRef] = State(
        [z3.BitVecVal(int(value), 64) for value in registers], dict.fromkeys(FLAGS, z3.BoolVal(False))
    )
    after = meaning.after(assemble(text), before, meaning.ArrayMemory(array), z3.BitVecVal(0, 64))
    assert z3.simplify(after.registers[3]).as_long() == int(final.registers[3])
