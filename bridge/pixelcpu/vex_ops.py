"""VEX's integer and SSE2 operations as z3 terms, by their names (libVEX, libvex_ir.h).

A term's size is its VEX type's: I1 is one bit, V128 is 128 bits. What has no integer meaning is Unsupported.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any

import z3

from bridge.pixelcpu.errors import Unsupported
from bridge.pixelcpu.vex_flags import bit

Term = Any
Operation = Callable[..., Term]


@cache
def operation(name: str) -> Operation:
    """What `name`, such as ``Iop_Add64``, does with its arguments. Raises Unsupported."""
    for pattern, make in _FAMILIES:
        match = re.fullmatch("Iop_" + pattern, name)
        if match:
            return make(*match.groups())
    raise Unsupported(f"VEX's operation {name} is not taken over")


def lanes(value: Term, width: int) -> list[Term]:
    """The lanes of a vector, lowest first."""
    return [z3.Extract(at + width - 1, at, value) for at in range(0, value.size(), width)]


def joined(parts: list[Term]) -> Term:
    """A vector of lanes, lowest first."""
    return z3.Concat(*reversed(parts)) if len(parts) > 1 else parts[0]


def resized(value: Term, width: int) -> Term:
    """`value` cut off or zero-extended."""
    if value.size() == width:
        return value
    return z3.Extract(width - 1, 0, value) if value.size() > width else z3.ZeroExt(width - value.size(), value)


_TWO: dict[str, Operation] = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "And": lambda a, b: a & b,
    "Or": lambda a, b: a | b,
    "Xor": lambda a, b: a ^ b,
}
_COMPARE: dict[str, Operation] = {
    "EQ": lambda a, b: a == b,
    "NE": lambda a, b: a != b,
    "LTS": lambda a, b: a < b,
    "LTU": z3.ULT,
    "LES": lambda a, b: a <= b,
    "LEU": z3.ULE,
}
_SHIFT: dict[str, Operation] = {"Shl": lambda a, n: a << n, "Shr": z3.LShR, "Sar": lambda a, n: a >> n}
_LANE: dict[str, Operation] = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "CmpEQ": lambda a, b: _all(a == b, a.size()),
    "CmpGTS": lambda a, b: _all(a > b, a.size()),
    "CmpGTU": lambda a, b: _all(z3.UGT(a, b), a.size()),
    "MaxS": lambda a, b: z3.If(a > b, a, b),
    "MaxU": lambda a, b: z3.If(z3.UGT(a, b), a, b),
    "MinS": lambda a, b: z3.If(a < b, a, b),
    "MinU": lambda a, b: z3.If(z3.ULT(a, b), a, b),
    "MulHiS": lambda a, b: _high(z3.SignExt(a.size(), a) * z3.SignExt(a.size(), b)),
    "MulHiU": lambda a, b: _high(z3.ZeroExt(a.size(), a) * z3.ZeroExt(a.size(), b)),
    "AvgU": lambda a, b: _middle(z3.ZeroExt(1, a) + z3.ZeroExt(1, b) + 1),
    "QAddU": lambda a, b: z3.If(z3.ULT(a + b, a), z3.BitVecVal(-1, a.size()), a + b),
    "QSubU": lambda a, b: z3.If(z3.ULT(a, b), z3.BitVecVal(0, a.size()), a - b),
    "QAddS": lambda a, b: _clamped(z3.SignExt(1, a) + z3.SignExt(1, b), a.size()),
    "QSubS": lambda a, b: _clamped(z3.SignExt(1, a) - z3.SignExt(1, b), a.size()),
}


def _all(condition: Any, width: int) -> Term:
    return z3.If(condition, z3.BitVecVal(-1, width), z3.BitVecVal(0, width))


def _high(product: Term) -> Term:
    return z3.Extract(product.size() - 1, product.size() // 2, product)


def _middle(total: Term) -> Term:
    return z3.Extract(total.size() - 1, 1, total)


def _clamped(value: Term, width: int) -> Term:
    """A signed value that has more than `width` bits, at most and at least what these hold."""
    most, least = (1 << (width - 1)) - 1, -(1 << (width - 1))
    low = z3.Extract(width - 1, 0, value)
    return z3.If(value > most, z3.BitVecVal(most, width), z3.If(value < least, z3.BitVecVal(least, width), low))


def _shift(name: str, _width: str) -> Operation:
    shift = _SHIFT[name]
    return lambda value, by: shift(value, resized(by, value.size()))


def _shift_lanes(name: str, width: str) -> Operation:
    """By what is beyond the lane's width VEX shifts everything out, or the sign in."""
    shift, size = _SHIFT[name], int(width)

    def apply(value: Term, by: Term) -> Term:
        return joined([shift(lane, resized(by, size)) for lane in lanes(value, size)])

    return apply


def _shift_whole(name: str) -> Operation:
    shift = _SHIFT[name]
    return lambda value, by: shift(value, resized(by, 128))


def _count_zeros(*, leading: bool) -> Callable[[str], Operation]:
    """Of zero: as many as there are bits."""

    def make(_width: str) -> Operation:
        def apply(value: Term) -> Term:
            size = value.size()
            count = z3.BitVecVal(size, size)
            for step in range(size):
                at = step if leading else size - 1 - step
                count = z3.If(
                    z3.Extract(at, at, value) == 1, z3.BitVecVal(size - 1 - at if leading else at, size), count
                )
            return count

        return apply

    return make


def _count_ones(_width: str) -> Operation:
    def apply(value: Term) -> Term:
        size = value.size()
        parts = [z3.ZeroExt(size - 1, z3.Extract(at, at, value)) for at in range(size)]
        return sum(parts[1:], parts[0])

    return apply


def _extend(source: str, sign: str, target: str) -> Operation:
    by = int(target) - int(source)
    return (lambda value: z3.SignExt(by, value)) if sign == "S" else (lambda value: z3.ZeroExt(by, value))


def _cut(_source: str, target: str) -> Operation:
    return lambda value: z3.Extract(int(target) - 1, 0, value)


def _high_half(_source: str, target: str) -> Operation:
    return lambda value: z3.Extract(2 * int(target) - 1, int(target), value)


def _set_low(width: str) -> Operation:
    size = int(width)
    return lambda vector, value: z3.Concat(z3.Extract(127, size, vector), value)


def _lanewise(name: str, width: str, sign: str) -> Operation:
    each, size = _LANE.get(name + sign) or _LANE.get(name), int(width)
    if each is None:
        raise Unsupported(f"VEX's vector operation {name}{width}{sign} is not taken over")
    apply = each
    return lambda a, b: joined([apply(x, y) for x, y in zip(lanes(a, size), lanes(b, size), strict=True)])


def _interleave(half: str, width: str) -> Operation:
    def apply(high: Term, low: Term) -> Term:
        size = int(width)
        first, second = lanes(low, size), lanes(high, size)
        n_lanes = len(first) // 2
        chosen = range(n_lanes, 2 * n_lanes) if half == "HI" else range(n_lanes)
        return joined([part for at in chosen for part in (first[at], second[at])])

    return apply


def _narrow(width: str, to_sign: str) -> Operation:
    """Saturating: signed lanes to signed or unsigned ones of half the width."""
    size = int(width)
    half = size // 2
    most = (1 << (half - 1)) - 1 if to_sign == "S" else (1 << half) - 1
    least = -(1 << (half - 1)) if to_sign == "S" else 0

    def one(lane: Term) -> Term:
        low = z3.Extract(half - 1, 0, lane)
        return z3.If(lane > most, z3.BitVecVal(most, half), z3.If(lane < least, z3.BitVecVal(least, half), low))

    return lambda high, low: joined([one(lane) for lane in [*lanes(low, size), *lanes(high, size)]])


def _signs(value: Term) -> Term:
    return z3.Concat(*[z3.Extract(at + 7, at + 7, value) for at in reversed(range(0, value.size(), 8))])


def _reverse_bytes(_bits: str) -> Operation:
    return lambda value: joined(list(reversed(lanes(value, 8))))


def _wide_multiply(sign: str, width: str) -> Operation:
    by = int(width)
    if sign == "S":
        return lambda a, b: z3.SignExt(by, a) * z3.SignExt(by, b)
    return lambda a, b: z3.ZeroExt(by, a) * z3.ZeroExt(by, b)


_WIDTH = "(8|16|32|64)"
_FAMILIES: list[tuple[str, Callable[..., Operation]]] = [
    (f"(Add|Sub|Mul|And|Or|Xor){_WIDTH}", lambda name, _width: _TWO[name]),
    ("(And|Or|Xor)(1|V128)", lambda name, _width: _TWO[name]),
    (f"Not({_WIDTH[1:-1]}|1|V128)", lambda _width: lambda a: ~a),
    (f"(Shl|Shr|Sar){_WIDTH}", _shift),
    (f"(?:Cas|Exp)?Cmp(EQ|NE){_WIDTH}", lambda name, _width: lambda a, b: bit(_COMPARE[name](a, b))),
    ("Cmp(LT|LE)(32|64)(S|U)", lambda name, _width, sign: lambda a, b: bit(_COMPARE[name + sign](a, b))),
    (f"CmpNEZ{_WIDTH}", lambda _width: lambda a: bit(a != 0)),
    (f"CmpwNEZ{_WIDTH}", lambda _width: lambda a: _all(a != 0, a.size())),
    (f"Mull(S|U){_WIDTH}", _wide_multiply),
    ("Clz(?:Nat)?(32|64)", _count_zeros(leading=True)),
    ("Ctz(?:Nat)?(32|64)", _count_zeros(leading=False)),
    ("PopCount(32|64)", _count_ones),
    ("Reverse8sIn(32|64)_x1", _reverse_bytes),
    ("(1|8|16|32)(U|S)to(8|16|32|64)", _extend),
    ("(16|32|64|128|V128)to(1|8|16|32|64)", _cut),
    ("(16|32|64|128|V128)HIto(8|16|32|64)", _high_half),
    ("(?:8HLto16|16HLto32|32HLto64|64HLto128|64HLtoV128)", lambda: z3.Concat),
    ("(?:32|64)UtoV128", lambda: lambda value: resized(value, 128)),
    ("SetV128lo(32|64)", _set_low),
    ("(Shl|Shr|Sar)N(8|16|32|64)x(?:16|8|4|2)", _shift_lanes),
    ("(Shl|Shr)V128", _shift_whole),
    (
        "(Add|Sub|Mul|MulHi|CmpEQ|CmpGT|Max|Min|Avg|QAdd|QSub)(8|16|32|64)(S|U|)x(?:16|8|4|2)",
        _lanewise,
    ),
    ("Interleave(HI|LO)(8|16|32|64)x(?:16|8|4|2)", _interleave),
    ("QNarrowBin(16|32)Sto(?:8|16)(S|U)x(?:16|8)", _narrow),
    ("GetMSBs8x(?:8|16)", lambda: _signs),
]
