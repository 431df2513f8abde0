"""Which flags an instruction leaves undefined, and when, by its page in the SDM (volume 2).

Nothing may be shown of such a flag, and code that reads one is refused. Beyond flags, BSF and BSR of zero leave the
destination as it was (AMD's manual says so, Intel's processors and QEMU do so); BSWAP of 16 bits, and SHLD and SHRD
of 16 bits by more than 16, are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import z3
from capstone import x86

from bridge.pixelcpu.decode import refuse
from bridge.pixelcpu.x86_state import FLAGS

Condition = Any
"""A z3 truth, or a Python one where it is known; over many states an array (n,) of truths."""

_ALL = frozenset(FLAGS)
_EQUAL = {"sal": "shl"}
_WRITES: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    **dict.fromkeys(("add", "sub", "adc", "sbb", "cmp", "neg", "cmpxchg", "xadd"), (_ALL, frozenset())),
    **dict.fromkeys((f"{name}{size}" for name in ("cmps", "scas") for size in "bwdq"), (_ALL, frozenset())),
    **dict.fromkeys(("inc", "dec"), (_ALL - {"CF"}, frozenset())),
    **dict.fromkeys(("and", "or", "xor", "test"), (_ALL, frozenset({"AF"}))),
    **dict.fromkeys(("mul", "imul"), (_ALL, frozenset({"SF", "ZF", "AF", "PF"}))),
    **dict.fromkeys(("bt", "bts", "btr", "btc"), (_ALL - {"ZF"}, frozenset({"OF", "SF", "AF", "PF"}))),
    **dict.fromkeys(("bsf", "bsr"), (_ALL, _ALL - {"ZF"})),
    **dict.fromkeys(("lzcnt", "tzcnt"), (_ALL, frozenset({"OF", "SF", "PF", "AF"}))),
    "popcnt": (_ALL, frozenset()),
    **dict.fromkeys(("andn", "blsi", "blsr", "blsmsk", "bzhi"), (_ALL, frozenset({"AF", "PF"}))),
    "adcx": (frozenset({"CF"}), frozenset()),
    "adox": (frozenset({"OF"}), frozenset()),
    **dict.fromkeys(("clc", "stc", "cmc"), (frozenset({"CF"}), frozenset())),
    "sahf": (_ALL - {"OF"}, frozenset()),
}
_SHIFTS = frozenset({"shl", "shr", "sar", "rol", "ror", "rcl", "rcr", "shld", "shrd"})
_READS = {
    **dict.fromkeys(("adc", "sbb", "rcl", "rcr", "cmc", "adcx"), frozenset({"CF"})),
    "adox": frozenset({"OF"}),
    "lahf": _ALL - {"OF"},
}
_CODES = ("o", "no", "b", "ae", "e", "ne", "be", "a", "s", "ns", "p", "np", "l", "ge", "le", "g")
_CODE_READS = ("OF", "CF", "ZF", "CF ZF", "SF", "PF", "SF OF", "ZF SF OF")


def condition_number(mnemonic: str) -> int | None:
    """The condition, by its number in machine code, of a Jcc, SETcc or CMOVcc; None for others."""
    for prefix in ("cmov", "set", "j"):
        if mnemonic.startswith(prefix) and mnemonic[len(prefix) :] in _CODES:
            return _CODES.index(mnemonic[len(prefix) :])
    return None


def flags_read(one: Any) -> frozenset[str]:
    """The flags that an instruction's result depends on."""
    name = one.mnemonic.split()[-1]
    number = condition_number(name)
    if number is not None:
        return frozenset(_CODE_READS[number >> 1].split())
    return _READS.get(name, frozenset())


def flags_written(one: Any) -> frozenset[str]:
    """The flags that an instruction may change."""
    name = _EQUAL.get(one.mnemonic.split()[-1], one.mnemonic.split()[-1])
    if name in ("rol", "ror", "rcl", "rcr"):
        return frozenset({"CF", "OF"})
    return _ALL if name in _SHIFTS else _WRITES.get(name, (frozenset(), frozenset()))[0]


def undefined_after(one: Any, before: Mapping[str, Condition], rcx: Any) -> dict[str, Condition]:
    """When each flag is undefined after an instruction; `before`: before it; `rcx`: the register before it.

    The register is a z3 term, or an array (n,) uint64 of states that code was run on.

    Raises Unsupported for what leaves more than flags undefined, and for what reads an undefined flag.
    """
    for flag in sorted(flags_read(one)):
        if before[flag] is not False:
            raise refuse(one, f"it reads {flag}, which the code before it leaves undefined")
    name = _EQUAL.get(one.mnemonic.split()[-1], one.mnemonic.split()[-1])
    if name == "bswap" and one.operands[0].size == 2:
        raise refuse(one, "what it gives is undefined")
    if name in _SHIFTS:
        return _after_shift(one, name, before, rcx)
    written, undefined = _WRITES.get(name, (frozenset(), frozenset()))
    return _replaced(before, written, undefined)


def _replaced(
    before: Mapping[str, Condition], written: frozenset[str], undefined: frozenset[str]
) -> dict[str, Condition]:
    return {flag: flag in undefined if flag in written else before[flag] for flag in FLAGS}


def shift_count(one: Any, rcx: Any) -> Any:
    """The masked count of a shift or rotate: a number, or what `rcx` is."""
    operands = list(one.operands)
    mask = 63 if operands[0].size == 8 else 31
    last = operands[-1]
    if len(operands) == 1:
        return 1
    if last.type == x86.X86_OP_IMM:
        return last.imm & mask
    return rcx & (mask if z3.is_expr(rcx) else np.uint64(mask))


def _after_shift(one: Any, name: str, before: Mapping[str, Condition], rcx: Any) -> dict[str, Condition]:
    count, width = shift_count(one, rcx), 8 * one.operands[0].size
    if name in ("shld", "shrd") and width == 16 and not (isinstance(count, int) and count <= 16):
        raise refuse(one, "what it gives is undefined for counts above 16")
    written = flags_written(one)
    after: dict[str, Condition] = dict.fromkeys(written, False)
    after["OF"] = count != 1
    if "AF" in written:
        after["AF"] = True
    if name in ("shl", "shr") and width < 32:
        after["CF"] = z3.UGE(count, width) if z3.is_expr(count) else count >= width
    if isinstance(count, int):
        return dict(before) if count == 0 else {**before, **after}
    still = count == 0
    return {flag: _either(still, before[flag], after[flag]) if flag in written else before[flag] for flag in FLAGS}


def _either(condition: Any, then: Condition, otherwise: Condition) -> Condition:
    if then is otherwise and isinstance(then, bool):
        return then
    if z3.is_expr(condition):
        return z3.If(condition, then, otherwise)
    return np.where(condition, then, otherwise)
