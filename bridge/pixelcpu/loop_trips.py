"""How many rounds a loop surely runs, from the condition under which it goes back, shown for every state.

The condition compares something that counts with something that stays. Their distance becomes less by the same step
each round, and as long as there are two steps left, a round that goes back is followed by one that does, whichever of
x86's comparisons it is. By induction, distance / step rounds go back if the first does, rounded down. Which of the
condition's terms is such a distance is found by trying; z3 shows the step of the induction.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import z3

from bridge.pixelcpu.errors import Unsupported
from bridge.pixelcpu.loop_memory import Counting
from bridge.pixelcpu.loop_terms import advanced, change_of, is_proved, replaced, symbols, value_of, within

Term = Any
MOST_ROUNDS = (1 << 32) - 1
"""That are spoken of at once."""
_MOST_TRIED = 24


@dataclass(frozen=True, slots=True)
class Trips:
    """The number of rounds that surely go back to the first instruction, one after the other."""

    begins: Term
    """Whether the first does: a truth over the registers at the first instruction."""
    distance: Term
    """How far it is to the end: 64 bits, over the same."""
    step: int
    """By how much each round comes nearer."""

    def rounds(self, words: Mapping[str, int]) -> int:
        """For these registers."""
        if not value_of(z3.If(self.begins, z3.BitVecVal(1, 1), z3.BitVecVal(0, 1)), words):
            return 0
        return min(value_of(self.distance, words) // self.step, MOST_ROUNDS)


def trips_of(back: Term, counting: Counting) -> Trips:
    """From the condition `back` of a round, over its registers before. Raises Unsupported."""
    others = symbols(back) - counting.steps.keys() - counting.fixed
    if others:
        raise Unsupported(f"When it ends depends on {', '.join(sorted(others))}, not on a count")
    mine = {name: step for name, step in counting.steps.items() if name in symbols(back)}
    next_back = replaced(back, advanced(mine, 1))
    limits = within(mine, counting.narrow & mine.keys())
    for distance, step in _distances(back, counting):
        claim = z3.Implies(z3.And(back, z3.UGE(distance, 2 * step), *limits), next_back)
        if is_proved(claim):
            return Trips(back, distance, step)
    raise Unsupported("How many rounds it runs could not be shown")


def _distances(back: Term, counting: Counting) -> Iterator[tuple[Term, int]]:
    """Terms of 64 bits that may be the distance to the end, and by how much a round lessens it."""
    tried = 0
    seen: set[str] = set()
    for difference in _differences(back):
        name = difference.sexpr()
        if name in seen or tried == _MOST_TRIED:
            continue
        seen.add(name)
        step = change_of(difference, counting.steps, counting.narrow)
        if not step or abs(step) >= 1 << 31:
            continue
        tried += 1
        rest = z3.simplify(difference if step < 0 else -difference)
        yield rest if rest.size() == 64 else z3.ZeroExt(64 - rest.size(), rest), abs(step)


def _differences(back: Term) -> Iterator[Term]:
    """What is compared, one less the other; then every other word in the condition; then registers less constants,
    whose comparison z3 takes apart into those of their upper and lower bits."""
    waiting, seen = [back], set()
    words: list[Term] = []
    constants: set[int] = set()
    while waiting:
        one = waiting.pop(0)
        if one.get_id() in seen:
            continue
        seen.add(one.get_id())
        waiting += one.children()
        if z3.is_bool(one) and one.num_args() == 2 and z3.is_bv(one.arg(0)) and one.arg(0).size() in (32, 64):
            yield z3.simplify(one.arg(0) - one.arg(1))
        elif z3.is_bv(one) and one.size() in (32, 64) and not z3.is_bv_value(one):
            words.append(one)
        elif z3.is_bv_value(one) and one.size() > 1:
            constants.add(one.as_long())
    yield from words
    for word in words:
        if z3.is_const(word):
            yield from (z3.simplify(word - constant) for constant in sorted(constants) if constant)
