"""Recurrences with a closed form: registers that a round takes to sums of multiples of them, shown with z3.

A round is then a matrix over the integers modulo 2^64, and n rounds are its n-th power: 32 matrices, each the square of
the one before, and what they make of what is added in each round, are worked out beforehand, and a kernel applies those
whose bit is set in the number of its lane. So lane i begins with the state that i rounds leave, and no lane needs
another. Words of 32 bits are words of 64 whose upper half is nobody's business, as long as no word of 64 bits is made
of them. (The method is that of
exponentiation by squaring: Knuth, The Art of Computer Programming, volume 2, 4.6.3.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import z3

from bridge.pixelcpu.loop_memory import Counting
from bridge.pixelcpu.loop_terms import LOW, is_proved, replaced, symbols
from bridge.pixelcpu.microcode import Instruction, Program, make

Term = Any
Matrix = tuple[tuple[int, ...], ...]
MOST_VARIABLES = 4
LANE_BITS = 32
_WORD = 1 << 64


@dataclass(frozen=True, slots=True)
class ClosedForm:
    """What a round makes of some registers: each a sum of multiples of them, and of what no round changes."""

    names: tuple[str, ...]
    matrix: Matrix
    """(n, n) modulo 2^64: by how much each is multiplied to make each."""
    steps: tuple[int | None, ...]
    """(n,): what is added in each round where that is a constant, as for those that count."""
    widths: tuple[int, ...]
    """(n,) 64, or 32: then the upper half is 0 after a round, and does not matter before."""


def closed_form_of(after: Mapping[str, Term], carried: Iterable[str], counting: Counting) -> ClosedForm | None:
    """The closed form of what is carried on, with what counts and has a part in it; None where none is found.

    `after`: each register after a round, over those before.
    """
    mine = sorted(carried)
    needed = frozenset[str]().union(*(symbols(after[name]) for name in mine))
    counts = sorted(needed & counting.steps.keys())
    names = (*mine, *counts)
    if not mine or len(names) > MOST_VARIABLES or needed - set(names) - counting.fixed:
        return None
    assumed = [z3.ULE(z3.BitVec(name, 64), LOW) for name in counts if name in counting.narrow]
    rows, widths = [], []
    for name in mine:
        row = _row(after[name], names)
        width = None if row is None else _width(after[name], names, row, assumed)
        if row is None or width is None:
            return None
        rows.append(row)
        widths.append(width)
    for name in counts:
        rows.append(tuple(int(name == other) for other in names))
        widths.append(64)
    # What has 32 bits is cut in each round, which a sum of 64 bits would have to know.
    if any(
        width == 64 and any(row[n] for n, cut in enumerate(widths) if cut == 32)
        for row, width in zip(rows, widths, strict=True)
    ):
        return None
    steps = (*(None for _ in mine), *(counting.steps[name] for name in counts))
    return ClosedForm(names, tuple(rows), steps, tuple(widths))


def _row(term: Term, names: Sequence[str]) -> tuple[int, ...] | None:
    """By how much each register seems to be multiplied."""
    base = _at(term, names, "")
    found = [z3.simplify(_at(term, names, name) - base) for name in names]
    return tuple(one.as_long() for one in found) if all(z3.is_bv_value(one) for one in found) else None


def _at(term: Term, names: Sequence[str], one: str) -> Term:
    """Where all of the registers are 0 but one, which is 1."""
    return replaced(term, {z3.BitVec(name, 64): z3.BitVecVal(int(name == one), 64) for name in names})


def _width(term: Term, names: Sequence[str], row: Sequence[int], assumed: Sequence[Term]) -> int | None:
    """In which width it is such a sum, shown; None for none."""
    total = _at(term, names, "")
    for name, times in zip(names, row, strict=True):
        total = total + z3.BitVec(name, 64) * times
    if is_proved(z3.Implies(z3.And(*assumed), term == total)):
        return 64
    low = z3.And(z3.Extract(63, 32, term) == 0, z3.Extract(31, 0, term) == z3.Extract(31, 0, total))
    return 32 if is_proved(z3.Implies(z3.And(*assumed), low)) else None


def powers(matrix: Matrix) -> list[tuple[Matrix, Matrix]]:
    """For each bit k of a lane's number M^(2^k), and the sum of M^i over i < 2^k, which is for what is added."""
    size = len(matrix)
    one = tuple(tuple(int(i == j) for j in range(size)) for i in range(size))
    found, power, total = [], matrix, one
    for _ in range(LANE_BITS):
        found.append((power, total))
        total = _added(total, _product(power, total))
        power = _product(power, power)
    return found


def _product(left: Matrix, right: Matrix) -> Matrix:
    return tuple(
        tuple(sum(a * b for a, b in zip(row, column, strict=True)) % _WORD for column in zip(*right, strict=True))
        for row in left
    )


def _added(left: Matrix, right: Matrix) -> Matrix:
    return tuple(
        tuple((a + b) % _WORD for a, b in zip(one, other, strict=True)) for one, other in zip(left, right, strict=True)
    )


def n_registers(closed: ClosedForm) -> int:
    """How many `begun` needs besides the round's own, its lane's number included."""
    return 2 * len(closed.names) + 3


def begun(
    closed: ClosedForm,
    numbers: Sequence[int],
    others: Mapping[int, int],
    one_round: Program,
    free: Sequence[int],
    kept: Sequence[int] = (),
) -> list[Instruction]:
    """Microcode that takes the state before the first round to that before round i, in lane i.

    `numbers`: the registers of `closed.names`. `others`: registers that count besides, and their steps. `free`: as many
    as `n_registers`, and one more for each of `kept`, that the round does not use. `kept`: registers that are left as
    they are. Registers that each round computes anew are left as they come.
    """
    size = len(numbers)
    lane, part, bit, *rest = free
    added, made, spare = rest[:size], rest[size : 2 * size], rest[2 * size :]
    program = [make("lane.64", lane)]
    # What a round adds is what it makes of zeros; those that count would not stay within 32 bits.
    for number, held in zip(numbers, made, strict=True):
        program += [make("mov.64", held, a=number), make("mov.64", number, immediate=0)]
    held_apart = list(zip(kept, spare, strict=False))
    program += [make("mov.64", held, a=number) for number, held in held_apart]
    program += one_round.instructions
    program += [make("mov.64", number, a=held) for number, held in held_apart]
    for number, held, more, step in zip(numbers, made, added, closed.steps, strict=True):
        program.append(make("mov.64", more, a=number) if step is None else make("mov.64", more, immediate=step))
        program.append(make("mov.64", number, a=held))
    for number, step in others.items():  # they counted just now
        program += [
            make("mul.64", part, lane, immediate=step, flags=False),
            make("sub.64", part, part, immediate=step, flags=False),
            make("add.64", number, number, part, flags=False),
        ]
    for k, (power, total) in enumerate(powers(closed.matrix)):
        for row, target in enumerate(made):
            terms = [*zip(numbers, power[row], strict=True), *zip(added, total[row], strict=True)]
            program += _sum(target, [(number, times) for number, times in terms if times], part)
        program.append(make("shr.64", bit, lane, immediate=k, flags=False))
        program.append(make("and.64", bit, bit, immediate=1, flags=False))
        program += [make("pick.64", number, bit, new) for number, new in zip(numbers, made, strict=True)]
    for number, width in zip(numbers, closed.widths, strict=True):
        if width == 32:  # after a round; before the first it is what it was
            program += [make("zx32.64", part, a=number), make("pick.64", number, lane, part)]
    return program


def _sum(target: int, terms: Sequence[tuple[int, int]], part: int) -> list[Instruction]:
    program = [make("mov.64", target, immediate=0)]
    for number, times in terms:
        if times == 1:
            program.append(make("add.64", target, target, number, flags=False))
        else:
            program.append(make("mul.64", part, number, immediate=times, flags=False))
            program.append(make("add.64", target, target, part, flags=False))
    return program
