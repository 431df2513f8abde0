"""Terms whose bits are each the exclusive or of bits of the unknowns, and of 1: found, and shown, step by step.

A bit's form is a set of unknown bits, as an integer: bit 0 stands for 1, the others for a bit each. Exclusive or adds
two forms; taking bits, putting words together and negation only move and change them. Of any other operation z3 shows
what it makes of the bits that its operands are made of, with one unknown for each that the others do not determine: so
nothing is lost that matters, and the claims stay small. Asked about a whole round at once a solver would have to reason
on parities of dozens of bits, which takes resolution exponentially long (Urquhart, Hard examples for resolution, 1987);
composed like this it is elimination over GF(2).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import z3

from bridge.pixelcpu.loop_terms import is_proved, symbols

Term = Any
Form = tuple[int, ...]
"""Of each bit of a word from the lowest, or of a truth: the bits whose exclusive or it is."""
WORD = 64
_MOST_UNKNOWNS = 160
"""In one claim; two words and a few bits."""
_EFFORT = 1_000_000
"""The solver's for one of them, some 0.2 s; nearly all take a hundredth."""
_MOST_OPEN = 12
"""Claims that were not shown; then no other ones are made, so that a loop that has no forms is known in time."""
_TRIED = 12
_ROOM = _MOST_UNKNOWNS + 2 * WORD
_UNKNOWNS = z3.BitVec("unknown bits", _ROOM)
_ONE = z3.BitVecVal(1, 1)
_ZERO = z3.BitVecVal(0, 1)


class Forms:
    """Forms of terms over the same unknowns."""

    def __init__(self, names: Sequence[str], fixed: AbstractSet[str]) -> None:
        """`names`: registers whose bits count from 1 on, 64 of each. `fixed`: unknowns whose bits come after these, as
        do those of whatever is computed of them alone."""
        self._fixed = fixed
        self._known: dict[int, tuple[Term, Form | None]] = {}  # the term is kept: its number is its own as long
        self._next = 1
        self._open = 0
        self.leaves = {name: self._fresh(WORD) for name in names}

    def of(self, term: Term) -> Form | None:
        """The term's form; None where none was shown."""
        waiting = [term]
        while waiting:
            one = waiting[-1]
            if one.get_id() in self._known:
                waiting.pop()
                continue
            missing = [part for part in one.children() if part.get_id() not in self._known]
            if missing:
                waiting += missing
                continue
            waiting.pop()
            self._known[one.get_id()] = one, self._made(one)
        return self._known[term.get_id()][1]

    def _fresh(self, width: int) -> Form:
        found = tuple(1 << (self._next + n) for n in range(width))
        self._next += width
        return found

    def _form(self, term: Term) -> Form | None:
        return self._known[term.get_id()][1]

    def _made(self, term: Term) -> Form | None:
        """Of a term whose parts are known."""
        if z3.is_bv_value(term):
            value = term.as_long()
            return tuple(value >> n & 1 for n in range(term.size()))
        if z3.is_true(term) or z3.is_false(term):
            return (int(z3.is_true(term)),)
        if not (z3.is_bv(term) or z3.is_bool(term)):
            return None
        if z3.is_const(term):
            name = term.decl().name()
            if name in self.leaves:
                return self.leaves[name]
            return self._fresh(_size(term)) if name in self._fixed else None
        found = None
        parts = [form for part in term.children() if (form := self._form(part)) is not None]
        rule = _RULES.get(term.decl().kind())
        if rule is not None and len(parts) == term.num_args():
            found = rule(term, parts)
        if found is None and symbols(term) <= self._fixed:  # whatever it is, it stays so
            return self._fresh(_size(term))
        return self._shown(term) if found is None else found

    def _shown(self, term: Term) -> Form | None:
        """By z3, over the bits of those parts, or parts of parts, that have a form."""
        if self._open >= _MOST_OPEN:
            return None
        basis = _Basis()
        by: list[tuple[Term, Term]] = []
        waiting, seen = list(term.children()), set()
        while waiting:
            one = waiting.pop()
            if one.get_id() in seen:
                continue
            seen.add(one.get_id())
            form = self._form(one)
            if form is None:
                if z3.is_const(one):
                    return None
                waiting += one.children()
            elif any(bit > 1 for bit in form):
                by.append((one, basis.term(form, is_bool=z3.is_bool(one))))
            if basis.size > _MOST_UNKNOWNS:
                return None
        claimed = z3.substitute(term, *by) if by else term
        if z3.is_bool(claimed):
            claimed = z3.If(claimed, _ONE, _ZERO)
        claimed = z3.simplify(claimed)
        masks = _guessed(claimed, basis.size)
        if masks is None or _is_refuted(claimed, masks, basis.size):
            return None
        total = _joined([_sum(mask) for mask in masks])
        if not is_proved(claimed == total, _EFFORT):
            self._open += 1
            return None
        return tuple(basis.form(mask) for mask in masks)


class _Basis:
    """Forms as sums of unknown bits that are independent of each other."""

    def __init__(self) -> None:
        self._forms: list[int] = []
        """What each stands for."""
        self._reduced: dict[int, tuple[int, int]] = {}
        """By its highest bit: a form, and the unknowns whose sum it is."""

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self._forms)

    def term(self, form: Form, *, is_bool: bool) -> Term:
        """A word, or a truth, over the unknowns; new ones are made where it takes them."""
        word = _joined([_sum(self._mask(bit)) for bit in form])
        return word == _ONE if is_bool else word

    def form(self, mask: int) -> int:
        """What a sum stands for. `mask`: bit 0 for 1, then one for each unknown."""
        found = mask & 1
        for number, form in enumerate(self._forms, 1):
            if mask >> number & 1:
                found ^= form
        return found

    def _mask(self, bit: int) -> int:
        rest, mask = bit & ~1, bit & 1
        while rest:
            top = rest.bit_length()
            if top not in self._reduced:
                self._forms.append(bit & ~1)
                mine = 1 << len(self._forms)
                self._reduced[top] = rest, mask & ~1 ^ mine
                return bit & 1 | mine
            form, of = self._reduced[top]
            rest, mask = rest ^ form, mask ^ of
        return mask


def _size(term: Term) -> int:
    return 1 if z3.is_bool(term) else int(term.size())


def _sum(mask: int) -> Term:
    """Of unknown bits. `mask`: bit 0 for 1, bit n for the n-th."""
    found = None
    for number in range(1, mask.bit_length()):
        if mask >> number & 1:
            one = z3.Extract(number - 1, number - 1, _UNKNOWNS)
            found = one if found is None else found ^ one
    if found is None:
        return _ONE if mask & 1 else _ZERO
    return ~found if mask & 1 else found


def _joined(bits: Sequence[Term]) -> Term:
    """Bits from the lowest as a word."""
    return bits[0] if len(bits) == 1 else z3.Concat(*reversed(bits))


def _guessed(term: Term, size: int) -> list[int] | None:
    """By bit: what the word seems to be a sum of, from what it is where at most one of `size` unknowns is 1."""
    values = []
    for one in (0, *(1 << n for n in range(size))):
        value = _value(term, one)
        if value is None:
            return None
        values.append(value)
    values[1:] = [value ^ values[0] for value in values[1:]]
    return [sum((value >> n & 1) << number for number, value in enumerate(values)) for n in range(term.size())]


def _is_refuted(term: Term, masks: Sequence[int], size: int) -> bool:
    """Whether a few words of all unknowns show that it is another sum: sooner than the solver would."""
    chance = random.Random(1)  # noqa: S311 - the same each time
    for _ in range(_TRIED):
        word = chance.getrandbits(size)
        sums = [(mask & (word << 1 | 1)).bit_count() & 1 for mask in masks]
        if _value(term, word) != sum(bit << n for n, bit in enumerate(sums)):
            return True
    return False


def _value(term: Term, word: int) -> int | None:
    value = z3.simplify(z3.substitute(term, (_UNKNOWNS, z3.BitVecVal(word, _ROOM))))
    return int(value.as_long()) if z3.is_bv_value(value) else None


def _xor(_term: Term, parts: Sequence[Form]) -> Form:
    found = parts[0]
    for part in parts[1:]:
        found = tuple(a ^ b for a, b in zip(found, part, strict=True))
    return found


def _not(_term: Term, parts: Sequence[Form]) -> Form:
    return tuple(bit ^ 1 for bit in parts[0])


def _extract(term: Term, parts: Sequence[Form]) -> Form:
    high, low = term.params()
    return parts[0][low : high + 1]


def _concat(_term: Term, parts: Sequence[Form]) -> Form:
    return tuple(bit for part in reversed(parts) for bit in part)


def _if(_term: Term, parts: Sequence[Form]) -> Form | None:
    """Where the ways differ in bits that are known, or in what decides."""
    found = []
    (decides,), one, other = parts
    for this, that in zip(one, other, strict=True):
        apart = this ^ that
        if apart not in (0, 1, decides, decides ^ 1):
            return None
        found.append(that if apart in (0, decides ^ 1) else that ^ decides)
    return tuple(found)


_RULES: dict[int, Callable[[Term, Sequence[Form]], Form | None]] = {
    z3.Z3_OP_BXOR: _xor,
    z3.Z3_OP_XOR: _xor,
    z3.Z3_OP_BNOT: _not,
    z3.Z3_OP_NOT: _not,
    z3.Z3_OP_EXTRACT: _extract,
    z3.Z3_OP_CONCAT: _concat,
    z3.Z3_OP_ITE: _if,
}
