"""Flags as VEX keeps them: an operation and its operands, from which each flag is computed by definition.

VEX does not compute flags, it notes what they come from: `cc_op`, `cc_dep1`, `cc_dep2` and `cc_ndep` (libVEX,
guest_amd64_defs.h). Here each flag is a z3 bit-vector of one bit, as the SDM (volume 1, 3.4.3.1, and each
instruction's page) defines it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import z3

from bridge.pixelcpu.errors import Unsupported
from bridge.pixelcpu.x86_state import FLAG_BITS, FLAGS

Term = Any
"""A z3 bit-vector: z3 has no types of its own."""
Flags = Mapping[str, Term]

_COPY = 0
_BY_WIDTH = ("add", "sub", "adc", "sbb", "logic", "inc", "dec", "shl", "shr", "rol", "ror", "umul", "smul")
"""Operations 1, 5, 9 … each in the widths 8, 16, 32, 64."""
_WIDE_ONLY = {
    **{
        53: ("logic", 32),
        54: ("logic", 64),
        55: ("blsi", 32),
        56: ("blsi", 64),
        57: ("blsmsk", 32),
        58: ("blsmsk", 64),
    },
    **{59: ("blsr", 32), 60: ("blsr", 64), 61: ("adcx", 32), 62: ("adcx", 64), 63: ("adox", 32), 64: ("adox", 64)},
}
_ZERO, _ONE = z3.BitVecVal(0, 1), z3.BitVecVal(1, 1)
_CONDITIONS = ("o", "b", "z", "be", "s", "p", "l", "le")


def bit(condition: Any) -> Term:
    """A z3 truth as one bit."""
    return z3.If(condition, _ONE, _ZERO)


def is_set(value: Term) -> Any:
    """One bit as a z3 truth."""
    return value == _ONE


def flags_of(op: Term, dep1: Term, dep2: Term, ndep: Term) -> dict[str, Term]:
    """The six flags. An `op` that depends on a condition gives flags that do. Raises Unsupported."""
    op = z3.simplify(op)
    if z3.is_bv_value(op):
        return _flags(op.as_long(), dep1, dep2, ndep)
    if not z3.is_app_of(op, z3.Z3_OP_ITE):
        raise Unsupported("the operation that the flags come from is not known")
    condition, then, otherwise = op.children()
    yes = flags_of(then, *(_under(condition, term, 1) for term in (dep1, dep2, ndep)))
    no = flags_of(otherwise, *(_under(condition, term, 2) for term in (dep1, dep2, ndep)))
    return {name: z3.If(condition, yes[name], no[name]) for name in FLAGS}


def _under(condition: Any, term: Term, branch: int) -> Term:
    """The branch of `term` that is taken, where it depends on the same condition."""
    term = z3.simplify(term)
    same = z3.is_app_of(term, z3.Z3_OP_ITE) and term.arg(0).eq(condition)
    return term.arg(branch) if same else term


def pack(flags: Flags) -> Term:
    """RFLAGS with the six flags, the rest zero; (64 bits)."""
    word = z3.BitVecVal(0, 64)
    for name in FLAGS:
        word = word | (z3.ZeroExt(63, flags[name]) << FLAG_BITS[name])
    return z3.simplify(word)


def unpack(word: Term) -> dict[str, Term]:
    """The six flags of RFLAGS."""
    return {name: z3.simplify(z3.Extract(FLAG_BITS[name], FLAG_BITS[name], word)) for name in FLAGS}


def condition(number: int, flags: Flags) -> Term:
    """A condition of Jcc, SETcc and CMOVcc by its number in machine code (SDM volume 1, appendix B); one bit."""
    kind = _CONDITIONS[number >> 1]
    less = flags["SF"] ^ flags["OF"]
    holds = {
        "o": flags["OF"],
        "b": flags["CF"],
        "z": flags["ZF"],
        "be": flags["CF"] | flags["ZF"],
        "s": flags["SF"],
        "p": flags["PF"],
        "l": less,
        "le": less | flags["ZF"],
    }[kind]
    return ~holds if number & 1 else holds


def parity(result: Term) -> Term:
    """PF: whether the low byte has an even number of ones."""
    byte = z3.Extract(7, 0, result)
    for step in (4, 2, 1):
        byte = byte ^ z3.LShR(byte, step)
    return bit(z3.Not(is_set(z3.Extract(0, 0, byte))))


def _flags(op: int, dep1: Term, dep2: Term, ndep: Term) -> dict[str, Term]:
    if op == _COPY:
        return unpack(dep1)
    if op in _WIDE_ONLY:
        kind, width = _WIDE_ONLY[op]
    elif 1 <= op <= 4 * len(_BY_WIDTH):
        kind, width = _BY_WIDTH[(op - 1) // 4], 8 << ((op - 1) % 4)
    else:
        raise Unsupported(f"flags of VEX's operation {op} are not known")
    left, right = (dep if width == 64 else z3.Extract(width - 1, 0, dep) for dep in (dep1, dep2))
    if kind in ("adcx", "adox"):
        return _add_one_flag("CF" if kind == "adcx" else "OF", left, right, unpack(ndep))
    return _KINDS[kind](width, left, right, ndep)


def _of_result(result: Term, carry: Term, overflow: Term, adjust: Term) -> dict[str, Term]:
    top = result.size() - 1
    return {
        "CF": carry,
        "PF": parity(result),
        "AF": adjust,
        "ZF": bit(result == 0),
        "SF": z3.Extract(top, top, result),
        "OF": overflow,
    }


def _top(value: Term) -> Term:
    return z3.Extract(value.size() - 1, value.size() - 1, value)


def _adjust(left: Term, right: Term, result: Term) -> Term:
    return bit(is_set(z3.Extract(4, 4, left ^ right ^ result)))


def _add(_width: int, left: Term, right: Term, _ndep: Term) -> dict[str, Term]:
    result = left + right
    overflow = _top((left ^ result) & (right ^ result))
    return _of_result(result, bit(z3.ULT(result, left)), overflow, _adjust(left, right, result))


def _sub(_width: int, left: Term, right: Term, _ndep: Term) -> dict[str, Term]:
    result = left - right
    overflow = _top((left ^ right) & (left ^ result))
    return _of_result(result, bit(z3.ULT(left, right)), overflow, _adjust(left, right, result))


def _adc(width: int, left: Term, right: Term, ndep: Term) -> dict[str, Term]:
    carry = z3.Extract(0, 0, ndep)
    right = right ^ z3.ZeroExt(width - 1, carry)
    plain = left + right
    result = plain + z3.ZeroExt(width - 1, carry)
    out = bit(z3.Or(z3.ULT(plain, left), z3.ULT(result, plain)))  # of either addition; never of both
    return _of_result(result, out, _top((left ^ result) & (right ^ result)), _adjust(left, right, result))


def _sbb(width: int, left: Term, right: Term, ndep: Term) -> dict[str, Term]:
    carry = z3.Extract(0, 0, ndep)
    right = right ^ z3.ZeroExt(width - 1, carry)
    plain = left - right
    result = plain - z3.ZeroExt(width - 1, carry)
    out = bit(z3.Or(z3.ULT(left, right), z3.ULT(plain, result)))
    return _of_result(result, out, _top((left ^ right) & (left ^ result)), _adjust(left, right, result))


def _logic(_width: int, left: Term, _right: Term, _ndep: Term) -> dict[str, Term]:
    return _of_result(left, _ZERO, _ZERO, _ZERO)


def _inc(width: int, left: Term, _right: Term, ndep: Term) -> dict[str, Term]:
    overflow = bit(left == (1 << (width - 1)))
    return _of_result(left, z3.Extract(0, 0, ndep), overflow, z3.Extract(4, 4, left ^ (left - 1) ^ 1))


def _dec(width: int, left: Term, _right: Term, ndep: Term) -> dict[str, Term]:
    overflow = bit(left == (1 << (width - 1)) - 1)
    return _of_result(left, z3.Extract(0, 0, ndep), overflow, z3.Extract(4, 4, left ^ (left + 1) ^ 1))


def _shl(_width: int, left: Term, right: Term, _ndep: Term) -> dict[str, Term]:
    return _of_result(left, _top(right), _top(left ^ right), _ZERO)


def _shr(_width: int, left: Term, right: Term, _ndep: Term) -> dict[str, Term]:
    return _of_result(left, z3.Extract(0, 0, right), _top(left ^ right), _ZERO)


def _rol(_width: int, left: Term, _right: Term, ndep: Term) -> dict[str, Term]:
    low = z3.Extract(0, 0, left)
    return {**unpack(ndep), "CF": low, "OF": low ^ _top(left)}


def _ror(width: int, left: Term, _right: Term, ndep: Term) -> dict[str, Term]:
    return {**unpack(ndep), "CF": _top(left), "OF": _top(left) ^ z3.Extract(width - 2, width - 2, left)}


def _umul(width: int, left: Term, right: Term, _ndep: Term) -> dict[str, Term]:
    whole = z3.ZeroExt(width, left) * z3.ZeroExt(width, right)
    carry = bit(z3.Extract(2 * width - 1, width, whole) != 0)
    return _of_result(left * right, carry, carry, _ZERO)


def _smul(width: int, left: Term, right: Term, _ndep: Term) -> dict[str, Term]:
    whole = z3.SignExt(width, left) * z3.SignExt(width, right)
    low = left * right
    carry = bit(z3.Extract(2 * width - 1, width, whole) != low >> (width - 1))
    return _of_result(low, carry, carry, _ZERO)


def _blsi(_width: int, left: Term, right: Term, _ndep: Term) -> dict[str, Term]:
    return {**_of_result(left, bit(right != 0), _ZERO, _ZERO), "PF": _ZERO}


def _blsr(_width: int, left: Term, right: Term, _ndep: Term) -> dict[str, Term]:
    return {**_of_result(left, bit(right == 0), _ZERO, _ZERO), "PF": _ZERO}


def _blsmsk(width: int, left: Term, right: Term, ndep: Term) -> dict[str, Term]:
    return {**_blsr(width, left, right, ndep), "ZF": _ZERO}


_KINDS = {
    **{"add": _add, "sub": _sub, "adc": _adc, "sbb": _sbb, "logic": _logic, "inc": _inc, "dec": _dec, "shl": _shl},
    **{"shr": _shr, "rol": _rol, "ror": _ror, "umul": _umul, "smul": _smul},
    **{"blsi": _blsi, "blsr": _blsr, "blsmsk": _blsmsk},
}


def _add_one_flag(name: str, left: Term, right: Term, before: dict[str, Term]) -> dict[str, Term]:
    carry = before[name]
    wide = z3.ZeroExt(left.size() - 1, carry)
    result = left + (right ^ wide) + wide
    out = z3.If(is_set(carry), bit(z3.ULE(result, left)), bit(z3.ULT(result, left)))
    return {**before, name: out}


def rotate_through_carry(
    value: Term, count: Term, flags: Flags, width: int, *, left: bool
) -> tuple[Term, dict[str, Term]]:
    """RCL and RCR of 64-bit terms, `width` bits of which count: the value and the flags (SDM, RCL/RCR/ROL/ROR).

    VEX's own helper changes OF where the count is zero; the SDM says that no flag changes, and so it is here.
    """
    masked = count & (63 if width == 64 else 31)
    steps = z3.URem(masked, z3.BitVecVal(width + 1, 64))
    ring = z3.Concat(flags["CF"], z3.Extract(width - 1, 0, value))
    by = z3.ZeroExt(0, z3.Extract(width, 0, z3.ZeroExt(1, steps)) if width == 64 else z3.Extract(width, 0, steps))
    back = z3.BitVecVal(width + 1, width + 1) - by
    turned = (ring << by) | z3.LShR(ring, back) if left else z3.LShR(ring, by) | (ring << back)
    result, carry = z3.Extract(width - 1, 0, turned), z3.Extract(width, width, turned)
    before = _top(z3.Extract(width - 1, 0, value)) ^ flags["CF"]
    overflow = _top(result) ^ carry if left else before
    moved = masked != 0
    changed = {**flags, "CF": carry, "OF": z3.If(moved, overflow, flags["OF"])}
    return z3.ZeroExt(64 - width, result) if width < 64 else result, changed
