"""Recurrences that are linear bit by bit: shift registers, xorshift generators, CRCs of a bit a round; shown, and how
many rounds of them are done at once.

Each bit that a round leaves is the exclusive or of bits before it, and of something that no round changes: a matrix M
over GF(2), and a word b. There is a polynomial m with m(M) = 0 whose degree is the number of bits at most, and t^n is
some p(t) modulo m: so n rounds leave the sum of what j rounds leave, over the j with a coefficient 1 in p. Every p for
a power of 2 is worked out beforehand, a string of bits; what a kernel needs besides is the round itself, which is
proved. (Haramoto, Matsumoto, Nishimura, Panneton, L'Ecuyer, Efficient jump ahead for F2-linear random number
generators, INFORMS Journal on Computing 20(3), 2008.) A matrix for each power would be as many times as large as there
are bits, and no quicker to apply.

What is added each round costs one more factor, t + 1: it makes the sum one of an odd number of states, in which b is
added as it should be, whatever b is. [[M, b], [0, 1]] is then a root, since (A + 1) m(A) is 0 in each of its parts.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import z3

from bridge.pixelcpu.bit_forms import WORD, Forms
from bridge.pixelcpu.loop_memory import Counting
from bridge.pixelcpu.loop_terms import symbols, value_of

Term = Any
MOST_REGISTERS = 4
LANE_BITS = 32
_TRIED = 4


@dataclass(frozen=True, slots=True)
class BitLinear:
    """Registers whose bits a round takes to sums of them over GF(2)."""

    names: tuple[str, ...]
    modulus: int
    """A polynomial that the round is a root of; bit j is the coefficient of t^j."""

    @property
    def degree(self) -> int:
        """Of the polynomials of `leaps` it is the number of coefficients."""
        return self.modulus.bit_length() - 1

    @property
    def first_leap(self) -> int:
        """The least power of 2 whose rounds are more than those that a leap takes."""
        return self.degree.bit_length()

    @property
    def leaps(self) -> tuple[int, ...]:
        """For each bit k of a lane's number from `first_leap` on: t^(2^k) modulo the modulus."""
        found, power = [], remainder(0b10, self.modulus)
        for k in range(LANE_BITS):
            if k >= self.first_leap:
                found.append(power)
            power = remainder(square(power), self.modulus)
        return tuple(found)


def bit_linear_of(after: Mapping[str, Term], carried: Iterable[str], counting: Counting) -> BitLinear | None:
    """Of what is carried on; None where it was not shown.

    `after`: each register after a round, over those before.
    """
    names = tuple(sorted(carried))
    needed = frozenset[str]().union(*(symbols(after[name]) for name in names))
    if not names or len(names) > MOST_REGISTERS or needed - set(names) - counting.fixed:
        return None
    if not all(_seems_linear(after[name], names) for name in names):
        return None
    forms = Forms(names, counting.fixed)
    rows: list[int] = []
    for name in names:
        form = forms.of(z3.simplify(after[name]))
        if form is None:
            return None
        rows += form
    size = WORD * len(names)
    mine = (1 << size) - 1
    modulus = annihilator([row >> 1 & mine for row in rows])
    if any(row & 1 or row >> 1 > mine for row in rows):
        modulus = product(modulus, 0b11)
    return BitLinear(names, modulus)


def _seems_linear(term: Term, names: Sequence[str]) -> bool:
    """Whether a few states do not show that it is not: f(a + b + c) = f(a) + f(b) + f(c), whatever is fixed."""
    chance = random.Random(1)  # noqa: S311 - the same states each time
    for _ in range(_TRIED):
        fixed = {name: chance.getrandbits(WORD) for name in sorted(symbols(term))}
        states = [fixed | {name: chance.getrandbits(WORD) for name in names} for _ in range(3)]
        states.append(fixed | {name: states[0][name] ^ states[1][name] ^ states[2][name] for name in names})
        one, other, third, together = (value_of(term, state) for state in states)
        if one ^ other ^ third != together:
            return False
    return True


def annihilator(matrix: list[int]) -> int:
    """The minimal polynomial of a matrix over GF(2), whose rows are integers: the least with m(M) = 0.

    It is the first sum of powers that is nothing, found by elimination; by Cayley and Hamilton there is one.
    """
    size = len(matrix)
    power = [1 << n for n in range(size)]
    reduced: dict[int, tuple[int, int]] = {}
    for j in range(size + 1):
        rest = int.from_bytes(b"".join(row.to_bytes(-(-size // 8), "little") for row in power), "little")
        polynomial = 1 << j
        while rest:
            top = rest.bit_length()
            if top not in reduced:
                reduced[top] = rest, polynomial
                break
            rest, polynomial = rest ^ reduced[top][0], polynomial ^ reduced[top][1]
        else:
            return polynomial
        power = [_row(row, power) for row in matrix]
    raise AssertionError("more independent powers than a matrix has")


def _row(row: int, of: list[int]) -> int:
    found = 0
    while row:
        low = row & -row
        found ^= of[low.bit_length() - 1]
        row ^= low
    return found


def product(left: int, right: int) -> int:
    """Of two polynomials over GF(2)."""
    found = 0
    while right:
        low = right & -right
        found ^= left * low
        right ^= low
    return found


def square(polynomial: int) -> int:
    """Each coefficient at twice its place: all mixed products are there twice."""
    return int("0".join(f"{polynomial:b}"), 2)


def remainder(polynomial: int, modulus: int) -> int:
    """Of polynomials over GF(2)."""
    size = modulus.bit_length()
    while polynomial.bit_length() >= size:
        polynomial ^= modulus << (polynomial.bit_length() - size)
    return polynomial
