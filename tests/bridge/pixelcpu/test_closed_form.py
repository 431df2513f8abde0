"""Recurrences with a closed form: their last round is had without those before, after any number of rounds."""

from __future__ import annotations

import random
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.pixelcpu.closed_form import LANE_BITS, powers
from bridge.pixelcpu.errors import Unsupported
from bridge.pixelcpu.interpreter import run_lanes
from bridge.pixelcpu.isa import N_REGISTERS
from bridge.pixelcpu.loops import loop_of
from bridge.pixelcpu.native_code import NativeCode
from bridge.pixelcpu.native_loop import NativeLoop
from bridge.pixelcpu.native_runs import run
from bridge.pixelcpu.prove_loop import prove_loop
from bridge.pixelcpu.x86_state import REGISTERS

# name: code, the registers that the closed form is of, their widths
CLOSED = {
    "mov rdx,rax; add rax,rbx; mov rbx,rdx; dec rcx; jnz": ("4889c24801d84889d348ffc975f2", "rax rbx", (64, 64)),
    "imul rax,rax,1103515245; add rax,12345; …": ("4869c06d4ec64148053930000048ffc975ee", "rax", (64,)),
    "imul eax,eax,1103515245; add eax,12345; dec ecx; …": ("69c06d4ec6410539300000ffc975f1", "rax", (32,)),
    "lea rax,[rax+rax*2]; add rax,rcx; dec rcx; jnz": ("488d04404801c848ffc975f4", "rax rcx", (64, 64)),
    "lea eax,[rax+rax*2]; add eax,ecx; dec ecx; jnz": ("8d044001c8ffc975f7", "rax rcx", (32, 64)),
    "add rax,rbx; add rbx,rcx; dec rcx; jnz": ("4801d84801cb48ffc975f5", "rax rbx rcx", (64, 64, 64)),
    "imul rax,rax,77; add rax,rdx; mov rbx,rax; add rsi,3; …": ("486bc04d4801d04889c34883c60348ffc975ed", "rax", (64,)),
}
NOT_CLOSED = {
    "imul rax,rdx; dec rcx; jnz": "480fafc248ffc975f7",
    "mov rdx,rax; shl rdx,13; xor rax,rdx; …": "4889c248c1e20d4831d04889c248c1ea074831d048ffc975e7",
    "imul rax,rax; dec rcx; jnz": "480fafc048ffc975f7",
    "add rax,rbx; mov ebx,eax; dec rcx; jnz": "4801d889c348ffc975f6",  # 64 bits of one, 32 of the other
}
RAX, RCX = REGISTERS.index("rax"), REGISTERS.index("rcx")
_WORD = 1 << 64


@cache
def native_of(code: str) -> NativeLoop:
    found = prove_loop(bytes.fromhex(code))
    assert found.native is not None, found.reason
    assert found.loop is not None
    assert found.loop.closed
    return found.native


@pytest.mark.parametrize("name", CLOSED)
def test_a_closed_form_does_what_the_rounds_do(name: str) -> None:
    code, names, widths = CLOSED[name]
    closed = loop_of(bytes.fromhex(code)).closed
    assert closed is not None
    assert (" ".join(closed.names), closed.widths) == (names, widths)
    record = run(native_of(code), 3000)
    assert (record.first, record.n_mismatches) == ("", 0)
    assert record.n_runs >= 3000


@pytest.mark.parametrize("name", NOT_CLOSED)
def test_what_has_none_is_done_round_by_round(name: str) -> None:
    code = bytes.fromhex(NOT_CLOSED[name])
    assert loop_of(code).closed is None
    found = prove_loop(code)
    assert found.native is not None
    assert found.loop is not None
    assert (found.loop.ordered, found.loop.closed) == (True, False)


@settings(max_examples=200, deadline=None)
@given(begin=st.integers(0, _WORD - 1), rounds=st.integers(1, (1 << 32) - 1))
def test_any_number_of_rounds_is_right(begin: int, rounds: int) -> None:
    """A linear congruential generator, by the formula of its n-th number."""
    times, more = 1103515245, 12345
    # (times^n - 1) / (times - 1) modulo 2^64, where times - 1 is even: divided before the modulus is taken.
    power = pow(times, rounds, _WORD * (times - 1))
    expected = (power * begin + more * ((power - 1) % (_WORD * (times - 1)) // (times - 1))) % _WORD
    code = NativeCode(native_of(CLOSED["imul rax,rax,1103515245; add rax,12345; …"][0]))
    words = np.zeros(N_REGISTERS + 1, np.uint64)
    words[[RAX, RCX]] = begin, rounds + 1
    assert code.run(words.ctypes.data, 0, rounds) == rounds
    assert [int(words[RAX]), int(words[RCX])] == [expected, 1]


def test_each_lane_of_its_microcode_is_a_round() -> None:
    """As for loops without an order: lane i is round i."""
    program = prove_loop(bytes.fromhex(CLOSED["mov rdx,rax; add rax,rbx; mov rbx,rdx; dec rcx; jnz"][0])).rounds
    assert program is not None
    registers = np.zeros(N_REGISTERS, np.uint64)
    registers[[RAX, RCX]] = 1, 1000
    one, other = 1, 0
    for n in range(1, 40):
        one, other = one + other, one
        done = run_lanes(program, n, registers)
        assert [int(done.registers[REGISTERS.index(name)]) for name in ("rax", "rbx", "rdx", "rcx")] == [
            one,
            other,
            other,
            1000 - n,
        ]


_ROWS = st.integers(1, 4).flatmap(
    lambda n: st.lists(st.lists(st.integers(0, _WORD - 1), min_size=n, max_size=n), min_size=n, max_size=n)
)


@given(_ROWS)
def test_powers_are_squares_and_sums_of_powers(rows: list[list[int]]) -> None:
    matrix = np.array(rows, object)
    found = powers(tuple(map(tuple, rows)))
    assert len(found) == LANE_BITS
    power, total = np.eye(len(rows), dtype=object) * 1, np.zeros_like(matrix)
    for i in range(1 << 6):
        if i & (i - 1) == 0 and i:
            bit = i.bit_length() - 1
            assert (np.array(found[bit][0], object) == power).all()
            assert (np.array(found[bit][1], object) == total).all()
        total, power = (total + power) % _WORD, power.dot(matrix) % _WORD


_PARTS = (
    *(
        "4801d8",
        "01d8",
        "89c3",
        "4889c3",
        "4889d8",
        "6bc007",
        "486bdb0b",
        "488d0440",
        "8d045b",
        "4801c8",
        "01c8",
        "29c3",
    ),
    *("4829d8", "4883c005", "83c309", "f7d8", "48f7db", "4889c2", "89c2", "4801d0", "01d3"),
)
"""Sums, differences and multiples of rax, rbx, rcx and rdx, with 64 bits and with 32."""


def test_whatever_is_given_a_closed_form_has_it() -> None:
    chance = random.Random(11)
    closed = 0
    for _ in range(60):
        body = bytes.fromhex(
            "".join(chance.choices(_PARTS, k=chance.randint(1, 4))) + chance.choice(("48ffc9", "ffc9"))
        )
        code = body + b"\x75" + bytes([-(len(body) + 2) & 0xFF])
        try:
            if loop_of(code).closed is None:
                continue
        except Unsupported:
            continue
        record = run(native_of(code.hex()), 200)
        assert record.first == "", code.hex()
        closed += record.n_runs >= 200
    assert closed > 10
