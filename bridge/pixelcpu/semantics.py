"""What each plain row of the table does, written once over an algebra; every back end takes its meaning from here.

The text of the table (`isa`) says what is meant; the tests hold this against a model of integers that is written from
the manual alone. Flags come as a function, so that those that nobody wants are never computed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from bridge.pixelcpu.algebra import Algebra
from bridge.pixelcpu.isa import FLAG_BITS, FLAGS, Row

V = TypeVar("V")
B = TypeVar("B")


@dataclass(frozen=True, slots=True)
class Inputs(Generic[V, B]):
    """What an instruction sees: words of its row's width, and the flags."""

    algebra: Algebra[V, B]
    width: int
    b: V
    a: V
    old: V
    """The destination before."""
    flags: dict[str, B]
    condition: int

    def const(self, value: int) -> V:
        """A word of the row's width."""
        return self.algebra.const(self.width, value)


@dataclass(frozen=True, slots=True)
class Outcome(Generic[V, B]):
    """What an instruction makes of it."""

    value: V | None
    flags: Callable[[], dict[str, B]]


Meaning = Callable[[Inputs[Any, Any]], Outcome[Any, Any]]


def meaning_of(row: Row) -> Meaning:
    """The meaning of a plain row."""
    return _MEANINGS[row.operation]


def holds(algebra: Algebra[V, B], flags: dict[str, B], number: int) -> B:
    """Whether the condition of that number (`isa.CONDITIONS`) holds."""
    either = algebra.either
    if number >> 1 == 0:
        found = flags["O"]
    elif number >> 1 == 1:
        found = flags["C"]
    elif number >> 1 == 2:
        found = flags["Z"]
    elif number >> 1 == 3:
        found = either(flags["C"], flags["Z"])
    elif number >> 1 == 4:
        found = flags["S"]
    elif number >> 1 == 5:
        found = flags["P"]
    elif number >> 1 == 6:
        found = algebra.differ(flags["S"], flags["O"])
    else:
        found = either(flags["Z"], algebra.differ(flags["S"], flags["O"]))
    return algebra.negate(found) if number & 1 else found


def flags_read(number: int) -> str:
    """The flags on which the condition of that number depends."""
    return ("O", "C", "Z", "CZ", "S", "P", "SO", "ZSO")[number >> 1]


def word_of_flags(algebra: Algebra[V, B], flags: dict[str, B]) -> V:
    """The flags as a 64-bit word, laid out as in RFLAGS."""
    word = algebra.const(64, 0)
    for flag in FLAGS:
        bit = algebra.bit(flags[flag], 64)
        word = algebra.or_(word, algebra.shl(bit, algebra.const(64, FLAG_BITS[flag])) if FLAG_BITS[flag] else bit)
    return word


def flags_of_word(algebra: Algebra[V, B], word: V) -> dict[str, B]:
    """The inverse."""
    return {flag: algebra.bit_at(word, FLAG_BITS[flag]) for flag in FLAGS}


def merged(algebra: Algebra[V, B], register: V, value: V) -> V:
    """A register of 64 bits after a result of its width was written to it: x86's rule."""
    width = algebra.width(value)
    if width == 64:
        return value
    wide = algebra.zero_extend(value, 64)
    if width == 32:
        return wide
    return algebra.or_(algebra.and_(register, algebra.const(64, -1 << width)), wide)


def _none() -> dict[str, Any]:
    return {}


def _only(value: Any) -> Outcome[Any, Any]:
    return Outcome(value, _none)


def _zsp(i: Inputs[V, B], value: V) -> dict[str, B]:
    g = i.algebra
    return {"Z": g.is_zero(value), "S": g.top(value), "P": g.even(value)}


def _nibble_carry(i: Inputs[V, B], result: V) -> B:
    """The carry into bit 4 of b + a or b - a."""
    g = i.algebra
    return g.bit_at(g.xor(g.xor(i.b, i.a), result), 4)


def _sum(i: Inputs[V, B], carry: B | None, *, keep_carry: bool = False) -> Outcome[V, B]:
    g = i.algebra
    plain = g.add(i.b, i.a)
    result = plain if carry is None else g.add(plain, g.bit(carry, i.width))

    def flags() -> dict[str, B]:
        found = _zsp(i, result)
        found["A"] = _nibble_carry(i, result)
        found["O"] = g.top(g.and_(g.xor(i.b, result), g.xor(i.a, result)))
        if not keep_carry:
            over = g.less_unsigned(plain, i.b)
            # Both additions cannot wrap: the first leaves 2^w - 2 at most.
            found["C"] = over if carry is None else g.either(over, g.less_unsigned(result, plain))
        return found

    return Outcome(result, flags)


def _difference(i: Inputs[V, B], borrow: B | None, *, keep_carry: bool = False) -> Outcome[V, B]:
    g = i.algebra
    plain = g.sub(i.b, i.a)
    result = plain if borrow is None else g.sub(plain, g.bit(borrow, i.width))

    def flags() -> dict[str, B]:
        found = _zsp(i, result)
        found["A"] = _nibble_carry(i, result)
        found["O"] = g.top(g.and_(g.xor(i.b, i.a), g.xor(i.b, result)))
        if not keep_carry:
            under = g.less_unsigned(i.b, i.a)
            found["C"] = under if borrow is None else g.either(under, g.less_unsigned(plain, result))
        return found

    return Outcome(result, flags)


def _with_b(i: Inputs[V, B], b: V) -> Inputs[V, B]:
    return Inputs(i.algebra, i.width, b, i.a, i.old, i.flags, i.condition)


def _by_one(i: Inputs[V, B]) -> Inputs[V, B]:
    return Inputs(i.algebra, i.width, i.a, i.const(1), i.old, i.flags, i.condition)


def _logic(i: Inputs[V, B], result: V) -> Outcome[V, B]:
    def flags() -> dict[str, B]:
        no = i.algebra.truth(False)
        return {**_zsp(i, result), "C": no, "O": no, "A": no}

    return Outcome(result, flags)


def _product(i: Inputs[V, B], low: V, over: Callable[[V], B], result: V) -> Outcome[V, B]:
    def flags() -> dict[str, B]:
        too_wide = over(low)
        return {**_zsp(i, low), "A": i.algebra.truth(False), "C": too_wide, "O": too_wide}

    return Outcome(result, flags)


def _mul(i: Inputs[V, B]) -> Outcome[V, B]:
    low = i.algebra.mul(i.b, i.a)
    return _product(i, low, lambda low: _signed_over(i, low, i.algebra.high_signed(i.b, i.a)), low)


def _signed_over(i: Inputs[V, B], low: V, high: V) -> B:
    g = i.algebra
    return g.negate(g.equal(high, g.ashr(low, i.const(i.width - 1))))


def _mulhu(i: Inputs[V, B]) -> Outcome[V, B]:
    g = i.algebra
    high = g.high_unsigned(i.b, i.a)
    return Outcome(high, lambda: _product(i, g.mul(i.b, i.a), lambda _: g.negate(g.is_zero(high)), high).flags())


def _mulhs(i: Inputs[V, B]) -> Outcome[V, B]:
    g = i.algebra
    high = g.high_signed(i.b, i.a)
    return Outcome(high, lambda: _product(i, g.mul(i.b, i.a), lambda low: _signed_over(i, low, high), high).flags())


def _count(i: Inputs[V, B]) -> V:
    """The count as x86 masks it: 0 to 31, or 63; at 8 and 16 bits it can reach beyond the width."""
    return i.algebra.and_(i.a, i.const(63 if i.width == 64 else 31))


def _shift(i: Inputs[V, B], kind: str) -> Outcome[V, B]:
    g, count = i.algebra, _count(i)
    step = {"shl": g.shl, "shr": g.lshr, "sar": g.ashr}[kind]
    nothing = g.is_zero(count)

    def by(distance: V) -> V:
        if i.width >= 32:  # a masked count is always less
            return step(i.b, distance)
        # Two of the shifts that an algebra has: the count modulo the width, and what went beyond it.
        beyond = g.negate(g.less_unsigned(distance, i.const(i.width)))
        inside = step(i.b, g.and_(distance, i.const(i.width - 1)))
        far = step(i.b, i.const(i.width - 1)) if kind == "sar" else i.const(0)
        return g.choose(beyond, far, inside)

    result = by(count)

    def flags() -> dict[str, B]:
        # For a count of 0 this is some number that is below the width or, at 8 and 16 bits, is taken for one beyond it.
        before = by(g.and_(g.sub(count, i.const(1)), i.const(63 if i.width == 64 else 31)))
        found = _zsp(i, result)
        found["C"] = g.top(before) if kind == "shl" else g.low(before)
        found["O"] = g.top(g.xor(result, before))
        found["A"] = g.truth(False)
        return {flag: g.choose_truth(nothing, i.flags[flag], truth) for flag, truth in found.items()}

    return Outcome(result, flags)


def _rotate(i: Inputs[V, B], *, left: bool) -> Outcome[V, B]:
    g, count = i.algebra, _count(i)
    mask = i.const(i.width - 1)
    here = g.and_(count, mask)
    other = g.and_(g.sub(i.const(0), count), mask)
    up, down = (here, other) if left else (other, here)
    result = g.or_(g.shl(i.b, up), g.lshr(i.b, down))

    def flags() -> dict[str, B]:
        nothing = g.is_zero(count)
        if left:
            carry = g.low(result)
            over = g.differ(carry, g.top(result))
        else:
            carry = g.top(result)
            over = g.differ(carry, g.bit_at(result, i.width - 2))
        return {
            "C": g.choose_truth(nothing, i.flags["C"], carry),
            "O": g.choose_truth(nothing, i.flags["O"], over),
        }

    return Outcome(result, flags)


def _rotate_through_carry(i: Inputs[V, B], *, left: bool) -> Outcome[V, B]:
    g, count = i.algebra, _count(i)
    for turns in {8: (18, 9), 16: (17,)}.get(i.width, ()):  # 0..31 modulo 9 or 17: 27 = 18 + 9
        count = g.choose(g.less_unsigned(count, i.const(turns)), count, g.sub(count, i.const(turns)))
    nothing = g.is_zero(count)
    mask = i.const(i.width - 1)
    one, whole = i.const(1), i.const(i.width)
    less = g.and_(g.sub(count, one), mask)  # count - 1, for counts of 1 to the width
    rest = g.and_(g.sub(whole, count), mask)  # width - count: 0 to width - 1
    carry = g.bit(i.flags["C"], i.width)
    if left:
        moved = g.or_(g.shl(g.shl(i.b, less), one), g.lshr(g.lshr(i.b, rest), one))
        moved = g.or_(moved, g.shl(carry, less))
        out = g.low(g.lshr(i.b, rest))
    else:
        moved = g.or_(g.lshr(g.lshr(i.b, less), one), g.shl(g.shl(i.b, rest), one))
        moved = g.or_(moved, g.shl(carry, rest))
        out = g.low(g.lshr(i.b, less))
    result = g.choose(nothing, i.b, moved)

    def flags() -> dict[str, B]:
        over = g.top(g.xor(result, i.b))
        return {
            "C": g.choose_truth(nothing, i.flags["C"], out),
            "O": g.choose_truth(nothing, i.flags["O"], over),
        }

    return Outcome(result, flags)


def _counted(i: Inputs[V, B], result: V, *, carry: bool) -> Outcome[V, B]:
    def flags() -> dict[str, B]:
        g = i.algebra
        no = g.truth(False)
        found = {"C": no, "P": no, "A": no, "S": no, "O": no, "Z": g.is_zero(result)}
        if carry:
            found["C"] = g.is_zero(i.a)
        return found

    return Outcome(result, flags)


def _bt(i: Inputs[V, B]) -> Outcome[V, B]:
    g = i.algebra
    return Outcome(None, lambda: {"C": g.low(g.lshr(i.b, g.and_(i.a, i.const(i.width - 1))))})


def _extend(i: Inputs[V, B], width: int, *, signed: bool) -> Outcome[V, B]:
    g = i.algebra
    narrow = g.truncate(i.a, width)
    return _only(g.sign_extend(narrow, i.width) if signed else g.zero_extend(narrow, i.width))


def _write_flags(i: Inputs[V, B]) -> Outcome[V, B]:
    g = i.algebra

    def flags() -> dict[str, B]:
        new, chosen = flags_of_word(g, i.b), flags_of_word(g, i.a)
        return {flag: g.choose_truth(chosen[flag], new[flag], i.flags[flag]) for flag in FLAGS}

    return Outcome(None, flags)


def _truth(i: Inputs[V, B], condition: B) -> Outcome[V, B]:
    return _only(i.algebra.bit(condition, i.width))


def _packed(i: Inputs[V, B], operation: str) -> Outcome[V, B]:
    """The packed rows' words have 64 bits; `width` is that of their parts."""
    return _only(i.algebra.packed(operation, i.width, i.b, i.a))


_MEANINGS: dict[str, Meaning] = {
    "mov": lambda i: _only(i.a),
    "add": lambda i: _sum(i, None),
    "adc": lambda i: _sum(i, i.flags["C"]),
    "sub": lambda i: _difference(i, None),
    "sbb": lambda i: _difference(i, i.flags["C"]),
    "inc": lambda i: _sum(_by_one(i), None, keep_carry=True),
    "dec": lambda i: _difference(_by_one(i), None, keep_carry=True),
    "neg": lambda i: _difference(_with_b(i, i.const(0)), None),
    "cmp": lambda i: Outcome(None, _difference(i, None).flags),
    "and": lambda i: _logic(i, i.algebra.and_(i.b, i.a)),
    "or": lambda i: _logic(i, i.algebra.or_(i.b, i.a)),
    "xor": lambda i: _logic(i, i.algebra.xor(i.b, i.a)),
    "not": lambda i: _only(i.algebra.not_(i.a)),
    "test": lambda i: Outcome(None, _logic(i, i.algebra.and_(i.b, i.a)).flags),
    "mul": _mul,
    "mulhu": _mulhu,
    "mulhs": _mulhs,
    "shl": lambda i: _shift(i, "shl"),
    "shr": lambda i: _shift(i, "shr"),
    "sar": lambda i: _shift(i, "sar"),
    "rol": lambda i: _rotate(i, left=True),
    "ror": lambda i: _rotate(i, left=False),
    "rcl": lambda i: _rotate_through_carry(i, left=True),
    "rcr": lambda i: _rotate_through_carry(i, left=False),
    "bswap": lambda i: _only(i.algebra.byte_swap(i.a)),
    "popcnt": lambda i: _counted(i, i.algebra.popcount(i.a), carry=False),
    "lzcnt": lambda i: _counted(i, i.algebra.leading_zeros(i.a), carry=True),
    "tzcnt": lambda i: _counted(i, i.algebra.trailing_zeros(i.a), carry=True),
    "bt": _bt,
    "zx8": lambda i: _extend(i, 8, signed=False),
    "zx16": lambda i: _extend(i, 16, signed=False),
    "zx32": lambda i: _extend(i, 32, signed=False),
    "sx8": lambda i: _extend(i, 8, signed=True),
    "sx16": lambda i: _extend(i, 16, signed=True),
    "sx32": lambda i: _extend(i, 32, signed=True),
    "padd": lambda i: _packed(i, "add"),
    "psub": lambda i: _packed(i, "sub"),
    "pcmpeq": lambda i: _packed(i, "eq"),
    "pcmpgt": lambda i: _packed(i, "gt"),
    "pminu": lambda i: _packed(i, "minu"),
    "pmaxu": lambda i: _packed(i, "maxu"),
    "pmins": lambda i: _packed(i, "mins"),
    "pmaxs": lambda i: _packed(i, "maxs"),
    "rdf": lambda i: _only(word_of_flags(i.algebra, i.flags)),
    "wrf": _write_flags,
    "set": lambda i: _truth(i, holds(i.algebra, i.flags, i.condition)),
    "cmov": lambda i: _only(i.algebra.choose(holds(i.algebra, i.flags, i.condition), i.a, i.old)),
    "pick": lambda i: _only(i.algebra.choose(i.algebra.is_zero(i.b), i.old, i.a)),
    "eq": lambda i: _truth(i, i.algebra.equal(i.b, i.a)),
    "ne": lambda i: _truth(i, i.algebra.negate(i.algebra.equal(i.b, i.a))),
    "ltu": lambda i: _truth(i, i.algebra.less_unsigned(i.b, i.a)),
    "leu": lambda i: _truth(i, i.algebra.negate(i.algebra.less_unsigned(i.a, i.b))),
    "lts": lambda i: _truth(i, i.algebra.less_signed(i.b, i.a)),
    "les": lambda i: _truth(i, i.algebra.negate(i.algebra.less_signed(i.a, i.b))),
    "minu": lambda i: _only(i.algebra.min_unsigned(i.b, i.a)),
    "maxu": lambda i: _only(i.algebra.max_unsigned(i.b, i.a)),
    "mins": lambda i: _only(i.algebra.min_signed(i.b, i.a)),
    "maxs": lambda i: _only(i.algebra.max_signed(i.b, i.a)),
}
