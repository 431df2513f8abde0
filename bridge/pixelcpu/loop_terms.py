"""Small tools for z3 terms of a loop's round: what they depend on, replacing, proving, evaluating."""

from __future__ import annotations

import random
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import z3

Term = Any
LANE = "lane"
"""The name of the round's number, from 0, 64 bits."""
LOW = (1 << 32) - 1
"""The largest value of a register that counts within 32 bits."""
_MEMORY_LIMIT_MIB = 1024
_EFFORT = 20_000_000
"""What the solver may spend on one claim, in its own units, some 5 million a second: the answer is then the same on a
slow machine. Most claims take a few thousand."""
_TRIED = 24


def symbols(term: Term) -> frozenset[str]:
    """The names of the unknowns that a term is made of."""
    found, seen, waiting = set(), set(), [term]
    while waiting:
        one = waiting.pop()
        if one.get_id() in seen:
            continue
        seen.add(one.get_id())
        if z3.is_const(one):
            if one.decl().kind() == z3.Z3_OP_UNINTERPRETED:
                found.add(one.decl().name())
        else:
            waiting += one.children()
    return frozenset(found)


def replaced(term: Term, by: Mapping[Term, Term]) -> Term:
    """The term with unknowns in it replaced, simplified."""
    return z3.simplify(z3.substitute(term, *by.items()))


def is_proved(claim: Term, effort: int = _EFFORT) -> bool:
    """Whether z3 shows, with limited effort, that the claim holds for all unknowns."""
    simple = z3.simplify(claim)
    if z3.is_true(simple) or _is_refuted(simple):
        return bool(z3.is_true(simple))
    solver = z3.SolverFor("QF_AUFBV")
    solver.set("rlimit", effort)
    solver.set("max_memory", _MEMORY_LIMIT_MIB)
    solver.add(z3.Not(simple))
    try:
        return bool(solver.check() == z3.unsat)
    except z3.Z3Exception:  # out of memory
        return False


def _is_refuted(claim: Term) -> bool:
    """Whether a few states, tried out, show that the claim is wrong: sooner than the solver would."""
    unknown = [one for name in sorted(symbols(claim)) for one in _named(claim, name)]
    if any(not z3.is_bv(one) for one in unknown):
        return bool(z3.is_false(claim))
    chance = random.Random(1)  # noqa: S311 - the same states each time
    for number in range(_TRIED):
        bits = (4, 8, 16, 32, 64)[number % 5]
        by = [(one, z3.BitVecVal(chance.getrandbits(min(bits, one.size())), one.size())) for one in unknown]
        if z3.is_false(z3.simplify(z3.substitute(claim, *by))):
            return True
    return False


def _named(term: Term, name: str) -> list[Term]:
    waiting, seen = [term], set()
    while waiting:
        one = waiting.pop()
        if one.get_id() in seen:
            continue
        seen.add(one.get_id())
        if z3.is_const(one) and one.decl().name() == name:
            return [one]
        waiting += one.children()
    return []


def advanced(steps: Mapping[str, int], rounds: Term | int) -> dict[Term, Term]:
    """The registers that count, `rounds` later; for `replaced`."""
    return {z3.BitVec(name, 64): z3.BitVec(name, 64) + step * rounds for name, step in steps.items()}


def within(steps: Mapping[str, int], narrow: AbstractSet[str], rounds: Term | int = 0) -> list[Term]:
    """That the registers of `narrow` do not pass 32 bits, `rounds` later and in the round after that."""
    return [z3.ULE(z3.BitVec(name, 64) + steps[name] * (rounds + more), LOW) for name in narrow for more in (0, 1)]


def change_of(term: Term, steps: Mapping[str, int], narrow: AbstractSet[str]) -> int | None:
    """By how much a word changes from one round to the next, signed; None where that is no constant, or not shown."""
    known = symbols(term)
    mine = {name: step for name, step in steps.items() if name in known}
    change = z3.simplify(replaced(term, advanced(mine, 1)) - term)
    if not z3.is_bv_value(change):
        by = [(z3.BitVec(name, 64), z3.BitVecVal(4096 + 64 * n, 64)) for n, name in enumerate(sorted(known))]
        guess = z3.simplify(z3.substitute(change, *by))
        if not z3.is_bv_value(guess):
            return None
        claim = z3.Implies(z3.And(*within(mine, narrow & mine.keys())), change == guess)
        if not is_proved(claim):
            return None
        change = guess
    return int(change.as_signed_long())


def value_of(term: Term, words: Mapping[str, int]) -> int:
    """A term's value where its unknowns have these; unsigned. All of its unknowns must be given."""
    by = [(z3.BitVec(name, 64), z3.BitVecVal(words[name], 64)) for name in symbols(term)]
    return int(z3.simplify(z3.substitute(term, *by)).as_long())
