"""Recurrences that are linear bit by bit: what is shown of a round, and that leaps do what the rounds do."""

from __future__ import annotations

import random
from functools import cache

import numpy as np
import pytest
import z3
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.pixelcpu.bit_forms import WORD, Forms
from bridge.pixelcpu.bit_linear import BitLinear, annihilator, product, remainder, square
from bridge.pixelcpu.errors import Unsupported
from bridge.pixelcpu.isa import N_REGISTERS
from bridge.pixelcpu.llvm_kernel import kernel_text
from bridge.pixelcpu.loop_kernel import kernel_of
from bridge.pixelcpu.loop_terms import is_proved, value_of
from bridge.pixelcpu.loops import loop_of
from bridge.pixelcpu.native_code import NativeCode
from bridge.pixelcpu.native_loop import NativeLoop
from bridge.pixelcpu.native_runs import run
from bridge.pixelcpu.prove_loop import prove_loop
from bridge.pixelcpu.translate import translate
from bridge.pixelcpu.x86_state import REGISTERS

XORSHIFT = "4889c248c1e20d4831d04889c248c1ea074831d04889c248c1e2114831d048ffc975dd"
ROTATIONS = "4889c248c1c2184831fa4889c348c1c3054831da48c1c0254831d048ffc975e0"
# name: code, the registers that are linear, how many coefficients a leap has
LINEAR = {
    "xorshift of 64 bits": (XORSHIFT, "rax", 64),
    "xorshift of 32 bits": ("89c2c1e20d31d089c2c1ea1131d089c2c1e20531d0ffc975e7", "rax", 33),
    "xorshift with two words": (
        "4889c24889d84889d648c1e6174831f24889d648c1ee114831f24831da4889de48c1ee1a4831f24889d348ffc975d1",
        "rax rbx",
        128,
    ),
    "xorshift with four words": (
        "4189c041c1e00b4131c089d889d389f24589c141c1e9084531c84189f141c1e9134531c84431c648ffc975d4",
        "rax rbx rdx rsi",
        129,
    ),
    "xoshiro256": ("4989d849c1e0114831c24831de4831d34831f04c31c248c1c62d48ffc975e1", "rax rbx rdx rsi", 256),
    "LFSR by sbb and and": ("d1e819d281e22083b8ed31d048ffc975ef", "rax", 33),
    "LFSR by cmov": ("89c2d1ea89d381f32083b8eda8010f45d389d048ffc975e8", "rax", 33),
    "LFSR by a jump": ("d1e87305352083b8ed48ffc975f2", "rax", 33),
    "LFSR by the sign and a jump": ("4885c0488d040079044883f01b48ffc975ee", "rax", 64),
    "LFSR by parity": ("4889c24881e28d0000000f9ac30fb6db48d1e848c1e33f4809d848ffc975e1", "rax", 65),
    "rotations, and what stays": (ROTATIONS, "rax", 9),
    "bswap; rol; xor; not": ("480fc84889c248c1c2054831d048f7d048ffc975eb", "rax", 65),
    "xor with a product of what stays": ("4889fa480fafd748c1c8034889c348c1eb054831d84831d048ffc975e3", "rax", 65),
    "xorshift; add rdi,362437; lea rsi,[rax+rdi]": (
        "4889c248c1e20d4831d04889c248c1ea074831d04889c248c1e2114831d04881c7c5870500488d343848ffc975d2",
        "rax",
        64,
    ),
    "psllq, pxor": ("660fefc8660f73f003660fefc148ffc975ee", "xmm0.high xmm0.low xmm1.high xmm1.low", 44),
}
NOT_LINEAR = {
    "sum of random numbers": "4889c248c1e20d4831d04889c248c1ea074831d04801c348ffc975e4",
    "add rax,rdx in it": "4889c248c1e20d4801d048c1c0074883f05548ffc975e9",
    "rol rax,cl: it counts": "48d3c048ffc975f8",
    "and rax,rdi: what stays decides": "48d1c04889c24821fa4831d048ffc975ef",
}
# mov rdx,rax; shl rdx,13; …; imul rdi,rdi,69069; add rdi,1234567; lea rsi,[rax+rdi]; dec rcx; jnz
BOTH = "4889c248c1e20d4831d04889c248c1ea114831d04889c248c1e22b4831d04869ffcd0d01004881c787d61200488d343848ffc975cb"
RAX, RCX, RSI, RDI = (REGISTERS.index(name) for name in ("rax", "rcx", "rsi", "rdi"))
_MASK = (1 << WORD) - 1
_ROUNDS = st.one_of(st.integers(1, 300), st.integers(1, (1 << 32) - 1))


@cache
def native_of(code: str) -> NativeLoop:
    found = prove_loop(bytes.fromhex(code))
    assert found.native is not None, found.reason
    assert found.loop is not None
    assert (found.loop.ordered, found.loop.closed, found.loop.leaps) == (True, False, True)
    return found.native


@pytest.mark.parametrize("name", LINEAR)
def test_leaps_do_what_the_rounds_do(name: str) -> None:
    code, names, degree = LINEAR[name]
    loop = loop_of(bytes.fromhex(code))
    assert loop.closed is None
    assert loop.linear is not None
    assert (" ".join(loop.linear.names), loop.linear.degree) == (names, degree)
    record = run(native_of(code), 3000)
    assert (record.first, record.n_mismatches) == ("", 0)
    assert record.n_runs >= 3000


@pytest.mark.parametrize("name", NOT_LINEAR)
def test_what_is_not_linear_is_done_round_by_round(name: str) -> None:
    code = bytes.fromhex(NOT_LINEAR[name])
    loop = loop_of(code)
    assert (loop.ordered, loop.closed, loop.linear) == (True, None, None)
    found = prove_loop(code).loop
    assert found is not None
    assert not found.leaps


def test_a_part_may_be_linear_in_bits_and_another_in_words() -> None:
    loop = loop_of(bytes.fromhex(BOTH))
    assert loop.closed is not None
    assert loop.linear is not None
    assert (loop.closed.names, loop.linear.names) == (("rdi",), ("rax",))
    record = run(native_of(BOTH), 3000)
    assert (record.first, record.n_mismatches) == ("", 0)
    assert record.n_runs >= 3000


# Any number of rounds, against powers of the matrix that the round's code has when it is run a bit at a time.


def _xorshift(x: int) -> int:
    for left, right in ((13, 0), (0, 7), (17, 0)):
        x ^= (x << left & _MASK) if left else x >> right
    return x


def _rol(x: int, n: int) -> int:
    return (x << n | x >> (WORD - n)) & _MASK


def _after(step: list[int], begin: int, rounds: int) -> int:
    """`step`: what a linear round makes of each bit."""

    def applied(columns: list[int], word: int) -> int:
        found = 0
        for n, column in enumerate(columns):
            found ^= column if word >> n & 1 else 0
        return found

    while rounds:
        if rounds & 1:
            begin = applied(step, begin)
        step = [applied(step, column) for column in step]
        rounds >>= 1
    return begin


@settings(max_examples=60, deadline=None)
@given(begin=st.integers(0, _MASK), rounds=_ROUNDS)
def test_any_number_of_rounds_is_right(begin: int, rounds: int) -> None:
    words = np.zeros(N_REGISTERS + 1, np.uint64)
    words[[RAX, RCX]] = begin, rounds + 1
    assert NativeCode(native_of(XORSHIFT)).run(words.ctypes.data, 0, rounds) == rounds
    expected = _after([_xorshift(1 << n) for n in range(WORD)], begin, rounds)
    assert [int(words[RAX]), int(words[RCX])] == [expected, 1]


@settings(max_examples=60, deadline=None)
@given(begin=st.integers(0, _MASK), stays=st.integers(0, _MASK), rounds=_ROUNDS)
def test_what_is_added_each_round_is_added_in_any_number_of_them(begin: int, stays: int, rounds: int) -> None:
    words = np.zeros(N_REGISTERS + 1, np.uint64)
    words[[RAX, RCX, RDI]] = begin, rounds + 1, stays
    assert NativeCode(native_of(ROTATIONS)).run(words.ctypes.data, 0, rounds) == rounds
    columns = [_rol(x, 24) ^ _rol(x, 5) ^ _rol(x, 37) for x in (1 << n for n in range(WORD))]
    # One more bit, which stays 1, adds it.
    expected = _after([*columns, stays | 1 << WORD], begin | 1 << WORD, rounds)
    assert int(words[RAX]) == expected & _MASK


@settings(max_examples=60, deadline=None)
@given(begin=st.integers(0, _MASK), other=st.integers(0, _MASK), rounds=_ROUNDS)
def test_both_parts_are_right_after_any_number_of_rounds(begin: int, other: int, rounds: int) -> None:
    words = np.zeros(N_REGISTERS + 1, np.uint64)
    words[[RAX, RCX, RDI]] = begin, rounds + 1, other
    assert NativeCode(native_of(BOTH)).run(words.ctypes.data, 0, rounds) == rounds

    def one(x: int) -> int:
        x ^= x << 13 & _MASK
        x ^= x >> 17
        return x ^ (x << 43 & _MASK)

    bits = _after([one(1 << n) for n in range(WORD)], begin, rounds)
    modulus = (1 << WORD) * 69068
    power = pow(69069, rounds, modulus)
    word = (power * other + 1234567 * ((power - 1) % modulus // 69068)) & _MASK
    assert [int(words[n]) for n in (RAX, RDI, RSI)] == [bits, word, (bits + word) & _MASK]


# Random rounds.

_PARTS = (
    *("4831d8", "31d8", "4831d0", "4889c2", "89c2", "4889c3", "4889d8", "89d0", "4889d3", "4831c3", "4831da"),
    *("48c1e005", "48c1e803", "48c1ea0b", "48c1e309", "c1e803", "c1e205", "48c1c811", "48c1c20d", "c1c007"),
    *("480fc8", "0fca", "48f7d0", "f7d3", "4825ff00ff00", "4883f055", "0d00000000", "0fb6d0", "480fbec0"),
    *("d1e819d281e22083b8ed31d0", "4801c04819d24883e21b4831d0", "a8010f45d3", "4885c0480f48c2"),
)
"""Linear in bits each: xor, moves, shifts, rotations, masks, complements, extensions, shift registers, choices."""


def test_random_rounds_of_linear_parts_are_found_and_right() -> None:
    chance = random.Random(5)
    found = 0
    for _ in range(24):
        body = bytes.fromhex("".join(chance.choices(_PARTS, k=chance.randint(2, 7))) + "48ffc9")
        code = body + b"\x75" + bytes([-(len(body) + 2) & 0xFF])
        try:
            loop = loop_of(code)
        except Unsupported:
            continue
        if loop.linear is None:
            continue
        attempt = prove_loop(code)
        assert attempt.native is not None
        record = run(attempt.native, 200)
        assert (record.first, record.n_mismatches) == ("", 0), code.hex()
        found += record.n_runs >= 200
    assert found > 8


# Forms.

_A, _B, _FIXED = (z3.BitVec(name, WORD) for name in ("a", "b", "stays"))
FORMS = {
    "shifts": _A << 13 ^ z3.LShR(_B, 7) ^ (_A >> 3),
    "rotation": z3.RotateLeft(_A, 24) | 0,
    "masks": (_A & 0xFF00FF00) | (_B & 0x00FF00FF),
    "a sum of what does not meet": (_A & 0xF0) + (_B & 0x0F),
    "a product by what does not carry": (_A & 0x0101010101010101) * 0xFF,
    "a choice between what differs by a constant": z3.If(z3.Extract(3, 3, _A) == 1, _B, _B ^ 0x1B),
    "a choice by a sign": z3.If(_A < 0, z3.BitVecVal(7, WORD), z3.BitVecVal(0, WORD)),
    "a negated bit": -(_A & 1) & 0xEDB88320,
    "a difference that borrows nothing": _A - (_A & 0xFF),
    "what stays, whatever is made of it": (_FIXED * _FIXED) ^ _A,
}
NO_FORMS = {
    "a sum": _A + _B,
    "a product of bits": _A & _B,
    "a product": _A * 3,
    "a choice between words": z3.If(z3.Extract(3, 3, _A) == 1, _B, z3.BitVecVal(0, WORD)),
    "what stays decides": _A & _FIXED,
    "a comparison": z3.If(z3.ULT(_A, 1000), z3.BitVecVal(1, WORD), z3.BitVecVal(0, WORD)),
    "another unknown": z3.BitVec("nobody", WORD) ^ _A,
}


@pytest.mark.parametrize("name", FORMS)
def test_forms_are_what_the_term_is(name: str) -> None:
    forms = Forms(("a", "b"), frozenset({"stays"}))
    term = z3.simplify(FORMS[name])
    form = forms.of(term)
    assert form is not None
    chance = random.Random(1)
    for _ in range(50):
        words = {known: chance.getrandbits(WORD) for known in ("a", "b", "stays")}
        nothing = value_of(term, {"a": 0, "b": 0, "stays": words["stays"]})
        mine = words["a"] << 1 | words["b"] << (WORD + 1)
        parities = [(bit & mine & ~1).bit_count() & 1 for bit in form]
        assert value_of(term, words) ^ nothing == sum(parity << n for n, parity in enumerate(parities))
    if name != "what stays, whatever is made of it":
        bits = z3.Concat(_B, _A)
        for n, bit in enumerate(form):
            total = z3.BitVecVal(bit & 1, 1)
            for place in range(2 * WORD):
                total = total ^ z3.Extract(place, place, bits) if bit >> (place + 1) & 1 else total
            assert is_proved(z3.Extract(n, n, term) == total)


@pytest.mark.parametrize("name", NO_FORMS)
def test_what_has_no_form_gets_none(name: str) -> None:
    assert Forms(("a", "b"), frozenset({"stays"})).of(z3.simplify(NO_FORMS[name])) is None


# Polynomials.

_MATRIX = st.integers(1, 12).flatmap(lambda n: st.lists(st.integers(0, (1 << n) - 1), min_size=n, max_size=n))


def _times(matrix: list[int], word: int) -> int:
    return sum(((row & word).bit_count() & 1) << n for n, row in enumerate(matrix))


def _of(polynomial: int, matrix: list[int], added: int, word: int) -> int:
    """The sum of what j rounds leave over the coefficients."""
    found = 0
    while polynomial:
        found ^= word if polynomial & 1 else 0
        word, polynomial = _times(matrix, word) ^ added, polynomial >> 1
    return found


@given(_MATRIX)
def test_the_least_polynomial_of_which_a_matrix_is_a_root(matrix: list[int]) -> None:
    found = annihilator(matrix)
    units = [1 << n for n in range(len(matrix))]
    assert all(_of(found, matrix, 0, unit) == 0 for unit in units)
    assert found.bit_length() - 1 <= len(matrix)
    degree = found.bit_length() - 1
    assert all(any(_of(other, matrix, 0, unit) for unit in units) for other in range(1, 1 << min(degree, 6)))


@given(_MATRIX, st.data())
def test_leaps_are_powers_of_two_of_rounds(matrix: list[int], data: st.DataObject) -> None:
    added, begin = (data.draw(st.integers(0, (1 << len(matrix)) - 1)) for _ in range(2))
    modulus = product(annihilator(matrix), 0b11)
    linear = BitLinear(("rax",), modulus)
    word, rounds = begin, 0
    for k, leap in enumerate(linear.leaps[:6], linear.first_leap):
        while rounds < 1 << k:
            word, rounds = _times(matrix, word) ^ added, rounds + 1
        assert leap.bit_length() <= linear.degree
        assert _of(leap, matrix, added, begin) == word


@given(st.integers(0, 1 << 80), st.integers(0, 1 << 80), st.integers(1, 1 << 40))
def test_polynomials_are_a_ring(one: int, other: int, modulus: int) -> None:
    assert product(one, other) == product(other, one)
    assert square(one) == product(one, one)
    rest = remainder(one, modulus)
    assert rest.bit_length() < modulus.bit_length()
    assert remainder(product(one, other), modulus) == remainder(product(rest, other), modulus)


def test_a_kernel_that_carries_something_else_may_not_leap() -> None:
    code = bytes.fromhex(XORSHIFT)
    kernel = kernel_of(loop_of(code), translate(code))
    with pytest.raises(Unsupported):
        kernel_text(kernel.rounds, carried=kernel.carried | {RCX}, leaps=kernel.leaps)
