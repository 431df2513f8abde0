"""What a loop does over all of its rounds, from what one round does: proved, round by induction, with z3.

A loop here is a block of x86 code whose last instruction may go back to its first. Of each register and flag it is
shown what it is from round to round: unchanged, counting by a constant, folded over all rounds, or computed anew.
Addresses that count are streams. Then rounds need no order: lane i is round i. Nothing is assumed but what
`Loop.rounds` looks at each time.

Where that cannot be shown, rounds are done in their order, each going on with what the one before left: hashes, other
recurrences, what stores where it loads. Such a loop's end may also be found only on the way, as a search does it. What
is needed even then, addresses that count, is refused with the reason where it cannot be shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import z3

from bridge.pixelcpu.bit_linear import BitLinear
from bridge.pixelcpu.closed_form import ClosedForm
from bridge.pixelcpu.decode import ALIGNMENT, BASE
from bridge.pixelcpu.errors import Unsupported
from bridge.pixelcpu.loop_memory import MEMORY, Counting, Stream, streams_in_order, streams_of
from bridge.pixelcpu.loop_terms import LANE, LOW, advanced, change_of, is_proved, replaced, symbols, value_of, within
from bridge.pixelcpu.loop_trips import MOST_ROUNDS, Trips, trips_of
from bridge.pixelcpu.recurrences import Recurrence, recurrence_of
from bridge.pixelcpu.vex import Meaning, meaning
from bridge.pixelcpu.x86_state import FLAGS, HALVES, REGISTERS

Term = Any
Kind = Literal["registers", "reduction", "fill", "copy", "map", "recurrence", "hash", "search", "sequence"]


@dataclass(frozen=True, slots=True)
class Induction:
    """A register that counts: in round i it is what it was at first, plus i steps."""

    step: int
    width: int
    """64, or 32: then its upper half is 0, and it must not pass 0 or 2^32."""


@dataclass(frozen=True, slots=True)
class Fold:
    """A register that every round combines with a word that no earlier round had a part in."""

    operation: str
    """As the reduction in `isa` is called: `sumall`, `xorall` …"""
    width: int
    neutral: int
    """The word that changes nothing."""
    operand: Term
    """The word, of `width` bits, over the registers and the memory before the round."""
    narrow: bool = False
    """It is one only where the register's upper half is 0, which it then stays: a round may leave it as it is."""


@dataclass(frozen=True, slots=True)
class Loop:
    """A loop whose rounds may run in any order, or, where it is `ordered`, one after the other."""

    code: bytes
    meaning: Meaning
    inductions: Mapping[str, Induction]
    folds: Mapping[str, Fold]
    fresh: frozenset[str]
    """Registers and flags that each round computes anew before it uses them: what they hold between two rounds does not
    matter, and they are the last round's at the end."""
    streams: tuple[Stream, ...]
    aligned: tuple[Term, ...]
    """Addresses in the first round that are multiples of 16, and so those of all rounds are; looked at each time."""
    apart: tuple[tuple[int, int], ...]
    """Pairs of streams that must not meet, by their numbers; looked at each time. None of an ordered loop."""
    trips: Trips | None
    """None: each round looks whether another one follows; only of an ordered loop."""
    carried: frozenset[str] = frozenset()
    """Registers with which a round goes on as the round before left them; only of an ordered loop."""
    ordered: bool = False
    closed: ClosedForm | None = None
    """Of what is carried on, where rounds touch no memory: then the last one can be had without those before."""
    linear: BitLinear | None = None
    """Of what is carried on, or of what of it has no closed form: then many rounds are done at once."""

    @property
    def of_folds(self) -> frozenset[str]:
        """The registers of `fresh` that are computed of what is folded: they are some round's, seen between two."""
        after = self.meaning.after.words
        return frozenset(
            name for name in self.fresh & after.keys() if symbols(z3.simplify(after[name])) & self.folds.keys()
        )

    @property
    def kind(self) -> Kind:
        """What it is called."""
        stores = [stream for stream in self.streams if stream.is_store]
        if self.ordered:
            if stores:
                return "sequence"
            return "search" if self.trips is None else "hash" if self.streams else "recurrence"
        if not self.streams:
            return "registers"
        if not stores:
            return "reduction"
        if all(MEMORY not in symbols(stream.value) for stream in stores):
            return "fill"
        loads = {byte.sexpr() for stream in self.streams if not stream.is_store for byte in stream.loaded()}
        return "copy" if all(byte.sexpr() in loads for stream in stores for byte in stream.bytes_) else "map"

    def rounds(self, words: Mapping[str, int]) -> int:
        """How many rounds from this state may run, each of them going back to the first instruction.

        `words`: the registers at the first instruction. After so many rounds the state is that at the first
        instruction again. 0 where the state is not what was assumed. Where `trips` is None it is a limit: each round
        has to look whether it goes back.
        """
        most = MOST_ROUNDS if self.trips is None else self.trips.rounds(words)
        for name, counting in self.inductions.items():
            if counting.width == 32:
                low = words[name]
                if low > LOW:
                    return 0
                room = LOW - low if counting.step > 0 else low
                most = min(most, room // abs(counting.step))
        if any(fold.narrow and words[name] > LOW for name, fold in self.folds.items()):
            return 0
        if any(value_of(address, words) % ALIGNMENT for address in self.aligned):
            return 0
        for one, other in self.apart:
            most = min(most, self.streams[one].rounds_apart(self.streams[other], words, most))
        return most

    def after(self, words: Mapping[str, int], n_rounds: int) -> dict[str, int]:
        """The counting registers after so many rounds."""
        return {name: (words[name] + one.step * n_rounds) % (1 << 64) for name, one in self.inductions.items()}


def loop_of(code: bytes) -> Loop:
    """What `code` does as a loop. Raises BadCode; Unsupported with the reason where nothing can be made of it."""
    one_round = meaning(code)
    # Of a round that goes back: no other one is done by a kernel.
    words = {name: z3.simplify(one_round.back.words[name]) for name in (*REGISTERS, *HALVES)}
    flags = {name: z3.simplify(one_round.back.flags[name]) for name in FLAGS}
    goes_on = z3.simplify(one_round.after.next)
    back = z3.simplify(goes_on == BASE)
    if z3.is_false(back):
        raise Unsupported("It is no loop: its last instruction does not go back to its first")
    if z3.is_true(back):
        raise Unsupported("It has no end: its last instruction always goes back to its first")
    before = {**one_round.before.words, **one_round.before.flags}
    after = {**words, **flags}
    fixed = {name for name, term in after.items() if term.eq(before[name])}
    inductions = {
        name: found
        for name in (*REGISTERS, *HALVES)
        if name not in fixed and (found := _induction(before[name], words[name])) is not None
    }
    counting = Counting(
        {name: one.step for name, one in inductions.items()},
        frozenset(name for name, one in inductions.items() if one.width == 32),
        fixed,
    )
    _show(counting, words)
    aligned = _aligned(one_round.aligned.values(), counting)
    loop = _Found(code, one_round, words, flags, back, inductions, counting, aligned)
    try:
        return _in_any_order(loop)
    except Unsupported:
        return _in_order(loop)


@dataclass(frozen=True, slots=True)
class _Found:
    """What is known of a loop before it is known whether its rounds need an order."""

    code: bytes
    one_round: Meaning
    words: Mapping[str, Term]
    flags: Mapping[str, Term]
    back: Term
    inductions: Mapping[str, Induction]
    counting: Counting
    aligned: tuple[Term, ...]

    @property
    def changing(self) -> list[str]:
        """Registers and flags that neither count nor stay."""
        known = self.counting.fixed | self.inductions.keys()
        return [name for name in (*self.words, *self.flags) if name not in known]


def _in_any_order(loop: _Found) -> Loop:
    """Raises Unsupported."""
    before = {**loop.one_round.before.words, **loop.one_round.before.flags}
    after = {**loop.words, **loop.flags}
    memory = streams_of(loop.one_round, loop.counting)
    used = _uses(after, {**memory.terms, "next": loop.back})
    folds: dict[str, Fold] = {}
    fresh = set()
    for name in loop.changing:
        users = used.get(name, set())
        if not users:
            fresh.add(name)
            continue
        # What is computed of it and never used does not matter: the next round computes it anew.
        others = {user for user in users - {name} if user not in after or used.get(user)}
        if others or name not in loop.words:
            raise Unsupported(f"A round needs {name} as the round before it left it")
        folds[name] = _fold(name, before[name], after[name])
    for fold in folds.values():
        if symbols(fold.operand) & (folds.keys() | fresh):
            raise Unsupported("What is folded depends on what was folded before")
    trips = trips_of(loop.back, loop.counting)
    return Loop(
        loop.code,
        loop.one_round,
        loop.inductions,
        folds,
        frozenset(fresh),
        memory.streams,
        loop.aligned,
        memory.apart,
        trips,
    )


def _in_order(loop: _Found) -> Loop:
    """Raises Unsupported."""
    streams = streams_in_order(loop.one_round, loop.counting)
    used = _uses({**loop.words, **loop.flags}, {MEMORY: loop.one_round.after.memory, "next": loop.back})
    carried = frozenset(name for name in loop.changing if name in loop.words and used.get(name))
    fresh = frozenset(loop.changing) - carried
    trips: Trips | None
    try:
        trips = trips_of(loop.back, loop.counting)
    except Unsupported:
        trips = None
        if not (carried or loop.inductions or any(stream.is_store for stream in streams)):
            raise Unsupported("It waits for memory to become something else") from None
    found = Recurrence()
    if not streams and trips is not None and carried:
        found = recurrence_of(loop.words, carried, loop.counting)
    return Loop(
        loop.code,
        loop.one_round,
        loop.inductions,
        {},
        fresh,
        streams,
        loop.aligned,
        (),
        trips,
        carried=carried,
        ordered=True,
        closed=found.closed,
        linear=found.linear,
    )


def _aligned(addresses: Iterable[Term], counting: Counting) -> tuple[Term, ...]:
    """Those that tell of all: multiples of 16 in every round if they are in the first. Raises Unsupported."""
    found: list[Term] = []
    for address in addresses:
        others = symbols(address) - counting.steps.keys() - counting.fixed
        if others:
            raise Unsupported("Whether what it loads or stores is aligned depends on what it finds")
        stride = change_of(address, counting.steps, counting.narrow)
        if stride is None or stride % ALIGNMENT:
            raise Unsupported("What it loads or stores must be aligned, and is not in every round")
        away = [z3.simplify(z3.Extract(3, 0, address - one)) for one in found]
        if not any(z3.is_bv_value(one) and one.as_long() == 0 for one in away):
            found.append(address)
    return tuple(found)


def _induction(before: Term, after: Term) -> Induction | None:
    step = z3.simplify(after - before)
    if z3.is_bv_value(step):
        return Induction(step.as_signed_long(), 64)
    low = z3.simplify(z3.Extract(31, 0, after) - z3.Extract(31, 0, before))
    high = z3.simplify(z3.Extract(63, 32, after))
    if z3.is_bv_value(low) and low.as_long() and z3.is_bv_value(high) and high.as_long() == 0:
        return Induction(low.as_signed_long(), 32)
    return None


def _uses(after: Mapping[str, Term], others: Mapping[str, Term]) -> dict[str, set[str]]:
    """Which terms need each register or flag of before."""
    used: dict[str, set[str]] = {}
    for user, term in (*after.items(), *others.items()):
        for name in symbols(term):
            if name != user or not term.eq(_symbol(term, name)):
                used.setdefault(name, set()).add(user)
    return used


def _symbol(term: Term, name: str) -> Term:
    return z3.Const(name, term.sort())


def _folds(width: int) -> tuple[tuple[str, int, Any], ...]:
    """Operation, the word that changes nothing, and what it does."""
    top = 1 << (width - 1)
    return (
        ("sumall", 0, lambda a, b: a + b),
        ("xorall", 0, lambda a, b: a ^ b),
        ("orall", 0, lambda a, b: a | b),
        ("andall", 2 * top - 1, lambda a, b: a & b),
        ("minuall", 2 * top - 1, lambda a, b: z3.If(z3.ULT(b, a), b, a)),
        ("maxuall", 0, lambda a, b: z3.If(z3.ULT(a, b), b, a)),
        ("minsall", top - 1, lambda a, b: z3.If(b < a, b, a)),
        ("maxsall", top, lambda a, b: z3.If(a < b, b, a)),
    )


def _fold(name: str, before: Term, after: Term) -> Fold:
    for width, narrow in ((64, False), (32, False), (32, True)):
        held = before if width == 64 else z3.Extract(31, 0, before)
        assumed = z3.Extract(63, 32, before) == 0 if narrow else z3.BoolVal(True)
        for operation, neutral, combine in _folds(width):
            operand = replaced(after, {before: z3.BitVecVal(neutral, 64)})
            operand = operand if width == 64 else z3.simplify(z3.Extract(31, 0, operand))
            combined = combine(held, operand)
            whole = combined if width == 64 else z3.ZeroExt(32, combined)
            if is_proved(z3.Implies(assumed, after == whole)):
                return Fold(operation, width, neutral, operand, narrow)
    raise Unsupported(f"What becomes of {name} in a round depends on the rounds before it, and no fold is known for it")


def _show(counting: Counting, after: Mapping[str, Term]) -> None:
    """That a round takes the state of round i to that of round i + 1, within the limits that are looked at."""
    lane = z3.BitVec(LANE, 64)
    at = advanced(counting.steps, lane)
    for name, step in counting.steps.items():
        then = z3.BitVec(name, 64) + step * (lane + 1)
        assumed = z3.And(*within(counting.steps, counting.narrow & {name}, lane))
        if not is_proved(z3.Implies(assumed, replaced(after[name], at) == then)):
            raise Unsupported(f"It could not be shown that {name} counts by {step}")
