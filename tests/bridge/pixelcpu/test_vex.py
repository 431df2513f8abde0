"""The meaning of x86 code itself, held against Unicorn, also where there is no microcode for it yet."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import z3

from bridge.pixelcpu.errors import Unsupported
from bridge.pixelcpu.unicorn_runs import UnicornFailed, run_once
from bridge.pixelcpu.vex import meaning
from bridge.pixelcpu.vex_machine import initial
from bridge.pixelcpu.x86_state import FLAG_BITS, FLAGS, HALVES, REGISTERS, random_states

_VECTORS = """
660fecc1 660fedc1 660fdcc1 660fddc1 660fe8c1 660fe9c1 660fd8c1 660fd9c1 660fe0c1 660fe3c1 660fdac1 660fdec1 660feac1
660feec1 660f64c1 660f65c1 660f66c1 660fd5c1 660fe4c1 660fe5c1 660f60c1 660f61c1 660f68c1 660f69c1 660f63c1 660f6bc1
660f67c1 660fd2c1 660ff2c1 660fe2c1 660fd3c1 660f70c1e4 f20f70c11b f30f70c11b f20f10c1 f30f10c1 0f12c1 0f16c1 660f14c1
"""


@pytest.mark.parametrize("form", _VECTORS.split())
def test_vectors_mean_what_unicorn_does(form: str) -> None:
    code = bytes.fromhex(form)
    found = meaning(code)
    states = random_states(6, 3)
    for at in range(len(states)):
        registers = {name: int(value) for name, value in zip(REGISTERS, states.registers[at], strict=True)}
        registers |= {name: int(value) for name, value in zip(HALVES, states.halves[at], strict=True)}
        if at % 2:
            registers |= {"xmm1.low": at, "xmm1.high": 0}  # as a shift's count
        once = run_once(code, registers, 0, {}, 0, [])
        for name in ("xmm0.low", "xmm0.high", "xmm1.low", "rax"):
            assert value_of(found.after.words[name], registers) == once.registers[name], name


def value_of(term: Any, registers: dict[str, int]) -> int:
    before = initial()
    pairs = [(before.words[name], z3.BitVecVal(value, 64)) for name, value in registers.items()]
    pairs += [(before.flags[name], z3.BitVecVal(0, 1)) for name in FLAGS]
    return int(z3.simplify(z3.substitute(term, pairs)).as_long())


def test_flags_that_bits_of_bmi_leave_are_those_of_the_manual() -> None:
    for form, carry_of_zero in {"c4e270f3d3": 1, "c4e270f3cb": 1}.items():  # blsmsk, blsr: CF says that it was 0
        found = meaning(bytes.fromhex(form))
        for value in (0, 1, 6, 1 << 31):
            assert value_of(found.after.flags["CF"], {"rbx": value}) == (carry_of_zero if not value else 0)


def test_what_vex_does_not_know_is_unsupported() -> None:
    for form in ("0fa2", "0f31", "c5fd6fc1", "d8c1", "f20f58c1", "0f01d0", "9b", "c5f877", "660f3800c1", "0fc7f8"):
        with pytest.raises(Unsupported):
            meaning(bytes.fromhex(form))


def test_code_that_faults_in_unicorn_is_told() -> None:
    with pytest.raises(UnicornFailed):
        run_once(b"\x0f\x0b", dict.fromkeys(REGISTERS, 0), 0, {}, 0, [])


def test_random_states_have_corners_and_all_flags() -> None:
    states = random_states(1000, 9)
    assert np.bitwise_or.reduce(states.flags) == sum(1 << bit for bit in FLAG_BITS.values())
    assert {0, 1, (1 << 64) - 1, 1 << 63} <= set(states.registers.ravel().tolist())
