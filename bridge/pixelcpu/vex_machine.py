"""One x86-64 instruction after the other, by VEX's statements (pyvex) executed on z3 terms; flags by their definition.

Each instruction is lifted alone, so that the state between two is exact. Memory is a z3 array of bytes; a load is the
bytes that were stored last. Where VEX deviates from the processor its statements are not used: BT, BTS, BTR and BTC of
registers, which it does in scratch memory on the stack, the flags of the other forms of these but CF, which it clears,
and OF after RCL and RCR by zero.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import archinfo
import pyvex
import z3
from capstone import x86

from bridge.pixelcpu.decode import BASE, must_be_aligned
from bridge.pixelcpu.errors import Unsupported
from bridge.pixelcpu.vex_flags import condition, flags_of, is_set, pack, rotate_through_carry, unpack
from bridge.pixelcpu.vex_ops import operation, resized
from bridge.pixelcpu.x86_state import FLAGS, HALVES, REGISTERS

Term = Any

logging.getLogger("pyvex").setLevel(logging.CRITICAL)  # hostile bytes would fill the log

_DIRTY = {"CPUID": "it asks the processor what it is", "RDTSC": "it reads the time", "IN": "it does input or output"}
_KINDS = {
    "Ijk_Privileged": "it is privileged",
    "Ijk_Call": "it calls or returns",
    "Ijk_Ret": "it calls or returns",
    "Ijk_NoDecode": "its meaning is not known",
    "Ijk_EmWarn": "it computes with floating point",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The state, as z3 terms over the state before."""

    words: Mapping[str, Term]
    """By name of `REGISTERS` and `HALVES`; 64 bits each."""
    flags: Mapping[str, Term]
    """By name of `FLAGS`; one bit each."""
    memory: Term
    """An array from 64 to 8 bits."""
    next: Term
    """Where execution goes on, 64 bits; the code lies at `decode.BASE`."""


@cache
def initial() -> Outcome:
    """Any state; made once, since terms do not change."""
    words = {name: z3.BitVec(name, 64) for name in (*REGISTERS, *HALVES)}
    flags = {name: z3.BitVec(name, 1) for name in FLAGS}
    memory = z3.Array("memory", z3.BitVecSort(64), z3.BitVecSort(8))
    return Outcome(words, flags, memory, z3.BitVecVal(BASE, 64))


@cache
def _architecture() -> Any:
    return archinfo.ArchAMD64()


_GUEST = {name: place[0] for name, place in archinfo.ArchAMD64().registers.items()}
_OFFSETS = {
    **{name: _GUEST[name] for name in REGISTERS},
    **{name: _GUEST[name.split(".")[0]] + (8 if name.endswith("high") else 0) for name in HALVES},
}
_THUNK = {_GUEST[name]: name for name in ("cc_op", "cc_dep1", "cc_dep2", "cc_ndep")}
_BOOL_WIDTHS = {"Ity_I1": 1, "Ity_I8": 8, "Ity_I16": 16, "Ity_I32": 32, "Ity_I64": 64, "Ity_I128": 128, "Ity_V128": 128}


class Machine:
    """The state while code is executed."""

    def __init__(self, before: Outcome, aligned: dict[str, Term]) -> None:
        """`aligned`: more addresses that must be aligned are put there."""
        self._aligned = aligned
        self._is_aligned = False
        self.words: dict[int, Term] = {_OFFSETS[name]: term for name, term in before.words.items()}
        self.thunk: Mapping[str, Term] = _initial_thunk() if before is initial() else _copied(before.flags)
        self.memory = before.memory
        self.next = before.next
        self._flags: Mapping[str, Term] | None = before.flags
        self._temporaries: dict[int, Term] = {}
        self.only_if: Term = z3.BoolVal(True)
        """The condition of the way on which the code came here."""
        self.stored: list[tuple[Term, Term, Term]] = []
        """Condition, address and byte of what was stored since that was emptied."""

    def word(self, name: str) -> Term:
        """A register, of `REGISTERS` or `HALVES`."""
        return self.words[_OFFSETS[name]]

    def outcome(self) -> Outcome:
        """The state."""
        words = {name: self.words[at] for name, at in _OFFSETS.items()}
        return Outcome(words, self.flags(), self.memory, self.next)

    def goes_on_at(self, address: int) -> bool:
        """Whether execution goes on there and nowhere else."""
        here = z3.simplify(self.next)
        return bool(z3.is_bv_value(here) and here.as_long() == address)

    def flags(self) -> Mapping[str, Term]:
        """The six flags."""
        if self._flags is None:
            self._flags = flags_of(*(self.thunk[name] for name in _THUNK.values()))
        return self._flags

    def _set_flags(self, flags: Mapping[str, Term]) -> None:
        self.thunk, self._flags = _copied(flags), flags

    def step(self, one: Any) -> None:
        """Execute one instruction. Raises Unsupported."""
        name = one.mnemonic.split()[-1]
        self._is_aligned = must_be_aligned(one)
        if name in ("bt", "bts", "btr", "btc") and all(operand.type == x86.X86_OP_REG for operand in one.operands):
            self._bit_test(one, name)
            return
        if name in ("bt", "bts", "btr", "btc"):
            before = self.flags()
            self._by_vex(one)
            self._set_flags({**before, "CF": self.flags()["CF"]})
        else:
            self._by_vex(one)

    def _by_vex(self, one: Any) -> None:
        block = _lifted(bytes(one.bytes), one.address)
        if block.size != one.size:
            raise Unsupported("its meaning is not known")
        if block.jumpkind != "Ijk_Boring":
            raise Unsupported(_KINDS.get(block.jumpkind, "it enters the kernel or stops"))
        self._temporaries = {}
        exits: list[tuple[Term, Outcome]] = []
        for statement in block.statements:
            self._execute(statement, exits)
        self.next = self._value(block.next)
        for taken, there in reversed(exits):
            self._merge(taken, there)

    def _merge(self, taken: Term, there: Outcome) -> None:
        here = self.outcome()
        if z3.is_false(z3.simplify(taken)):
            return
        words = {_OFFSETS[name]: choice(taken, there.words[name], here.words[name]) for name in here.words}
        flags = {name: choice(taken, there.flags[name], here.flags[name]) for name in FLAGS}
        if any(not flags[name].eq(here.flags[name]) for name in FLAGS):
            self._set_flags(flags)
        self.words = words
        self.memory = choice(taken, there.memory, here.memory)
        self.next = choice(taken, there.next, here.next)

    def _execute(self, statement: Any, exits: list[tuple[Term, Outcome]]) -> None:
        tag = statement.tag
        if tag in ("Ist_IMark", "Ist_NoOp", "Ist_AbiHint"):
            return
        if tag == "Ist_WrTmp":
            self._temporaries[statement.tmp] = self._value(statement.data)
        elif tag == "Ist_Put":
            self._put(statement.offset, self._value(statement.data))
        elif tag == "Ist_Store":
            self._store(self._value(statement.addr), self._value(statement.data))
        elif tag == "Ist_Exit":
            if statement.jumpkind == "Ijk_SigSEGV" and self._is_aligned:
                return  # VEX looks at the address of some instructions, not of all that fault
            if statement.jumpkind != "Ijk_Boring":
                raise Unsupported("it may fault")
            here = self.outcome()
            there = Outcome(here.words, here.flags, here.memory, z3.BitVecVal(statement.dst.value, 64))
            exits.append((is_set(self._value(statement.guard)), there))
        elif tag == "Ist_Dirty":
            name = statement.cee.name
            reason = next((text for part, text in _DIRTY.items() if part in name), "it needs the whole processor")
            raise Unsupported(reason)
        elif tag in ("Ist_CAS", "Ist_LLSC", "Ist_MBE"):
            raise Unsupported("other processors must see it as one step")
        else:
            raise Unsupported("it computes with floating point")

    def _value(self, expression: Any) -> Term:
        tag = expression.tag
        if tag == "Iex_RdTmp":
            return self._temporaries[expression.tmp]
        if tag == "Iex_Const":
            return _constant(expression.con)
        if tag == "Iex_Get":
            return self._get(expression.offset, _width(expression.ty))
        if tag in ("Iex_Unop", "Iex_Binop"):
            return operation(expression.op)(*(self._value(argument) for argument in expression.args))
        if tag == "Iex_Load":
            return self._load(self._value(expression.addr), _width(expression.ty))
        if tag == "Iex_ITE":
            taken = is_set(self._value(expression.cond))
            return z3.If(taken, self._value(expression.iftrue), self._value(expression.iffalse))
        if tag == "Iex_CCall":
            return self._called(expression.callee.name, [self._value(argument) for argument in expression.args])
        raise Unsupported("it computes with floating point")

    def _called(self, name: str, arguments: list[Term]) -> Term:
        if name == "amd64g_calculate_rflags_all":
            return pack(self._flags_of(arguments))
        if name == "amd64g_calculate_rflags_c":
            return z3.ZeroExt(63, self._flags_of(arguments)["CF"])
        if name == "amd64g_calculate_condition":
            number = z3.simplify(arguments[0])
            return z3.ZeroExt(63, condition(number.as_long(), self._flags_of(arguments[1:])))
        if name in ("amd64g_calculate_RCL", "amd64g_calculate_RCR"):
            value, count, before, size = arguments
            n_bytes = z3.simplify(size).as_signed_long()
            turned, flags = rotate_through_carry(
                value, count, unpack(before), 8 * abs(n_bytes), left=name.endswith("L")
            )
            return turned if n_bytes > 0 else pack(flags)
        raise Unsupported("VEX computes it by a helper that is not taken over")

    def _flags_of(self, thunk: list[Term]) -> Mapping[str, Term]:
        same = all(given.eq(self.thunk[name]) for given, name in zip(thunk, _THUNK.values(), strict=True))
        return self.flags() if same else flags_of(*thunk)

    def _get(self, offset: int, width: int) -> Term:
        if offset in _THUNK:
            return self.thunk[_THUNK[offset]]
        if offset == _GUEST["d"]:
            return z3.BitVecVal(1, 64)
        base, shift = offset & ~7, 8 * (offset & 7)
        if width == 128:
            return z3.Concat(self._get(offset + 8, 64), self._get(offset, 64))
        if base not in self.words or shift + width > 64:
            raise Unsupported(_unknown(offset))
        return self.words[base] if width == 64 else z3.Extract(shift + width - 1, shift, self.words[base])

    def _put(self, offset: int, value: Term) -> None:
        width = value.size()
        if offset in _THUNK:
            self.thunk = {**self.thunk, _THUNK[offset]: value}
            self._flags = None
            return
        if offset == _GUEST["rip"]:
            return
        if offset == _GUEST["d"] and z3.simplify(value - 1).eq(z3.BitVecVal(0, 64)):
            return
        if width == 128:
            self._put(offset, z3.Extract(63, 0, value))
            self._put(offset + 8, z3.Extract(127, 64, value))
            return
        base, shift = offset & ~7, 8 * (offset & 7)
        if base not in self.words or shift + width > 64:
            raise Unsupported(_unknown(offset))
        before = self.words[base]
        parts = [z3.Extract(63, shift + width, before)] if shift + width < 64 else []
        parts += [value, *([z3.Extract(shift - 1, 0, before)] if shift else [])]
        self.words[base] = z3.Concat(*parts) if len(parts) > 1 else value

    def _load(self, address: Term, width: int) -> Term:
        self._accessed(address, width)
        found = [z3.Select(self.memory, address + at) for at in range(width // 8)]
        return z3.Concat(*reversed(found)) if len(found) > 1 else found[0]

    def _accessed(self, address: Term, width: int) -> None:
        if self._is_aligned and width == 128:
            address = z3.simplify(address)
            self._aligned[address.sexpr()] = address

    def _store(self, address: Term, value: Term) -> None:
        self._accessed(address, value.size())
        for at in range(value.size() // 8):
            byte = z3.Extract(8 * at + 7, 8 * at, value)
            self.memory = z3.Store(self.memory, address + at, byte)
            self.stored.append((self.only_if, address + at, byte))

    def _bit_test(self, one: Any, name: str) -> None:
        """BT, BTS, BTR, BTC of registers (SDM): CF is the bit that the second names, modulo the width of the first."""
        target, source = one.operands
        width = 8 * target.size
        at, by_at = (_OFFSETS[_whole(one, operand.reg)] for operand in (target, source))
        value, by = self._get(at, width), self._get(by_at, width) & (width - 1)
        mask = z3.BitVecVal(1, width) << by
        self._set_flags({**self.flags(), "CF": z3.Extract(0, 0, z3.LShR(value, by))})
        changed = {"bt": value, "bts": value | mask, "btr": value & ~mask, "btc": value ^ mask}[name]
        if name != "bt":
            self._put(at, resized(changed, 64) if width == 32 else changed)
        self.next = z3.BitVecVal(one.address + one.size, 64)


def _whole(one: Any, register: int) -> str:
    """The 64-bit register that one of 16 to 64 bits is part of."""
    name = str(one.reg_name(register))
    if name in REGISTERS:
        return name
    if name.startswith("r"):
        return name.rstrip("dw")
    return "r" + name.removeprefix("e")


def _copied(flags: Mapping[str, Term]) -> dict[str, Term]:
    """The thunk that says: the flags are those."""
    nothing = z3.BitVecVal(0, 64)
    return {"cc_op": nothing, "cc_dep1": pack(flags), "cc_dep2": nothing, "cc_ndep": nothing}


@cache
def _initial_thunk() -> Mapping[str, Term]:
    return _copied(initial().flags)


def choice(taken: Any, then: Term, otherwise: Term) -> Term:
    """One of two terms; that which both are."""
    return then if then.eq(otherwise) else z3.If(taken, then, otherwise)


def _width(kind: str) -> int:
    if kind not in _BOOL_WIDTHS:
        raise Unsupported("it computes with floating point or wider vectors")
    return _BOOL_WIDTHS[kind]


def _constant(constant: Any) -> Term:
    value, kind = constant.value, constant.type
    if kind == "Ity_V128":  # one bit a byte
        value = sum(0xFF << (8 * at) for at in range(16) if value >> at & 1)
    return z3.BitVecVal(int(value), _width(kind))


def _unknown(offset: int) -> str:
    if offset in (_GUEST["fs"], _GUEST["gs"]):
        return "it reads memory through a segment register"
    if _GUEST["cr0"] <= offset <= _GUEST["cr8"]:
        return "it is privileged"
    if _GUEST["ymm0"] <= offset < _GUEST["cr0"]:
        return "it uses vectors of more than 128 bits"
    return "it touches more of the processor than integer registers and flags"


def _lifted(code: bytes, address: int) -> Any:
    try:
        return pyvex.lift(code, address, _architecture(), max_inst=1, opt_level=1)
    except Exception as error:  # pyvex raises its own kinds and, on odd bytes, others
        raise Unsupported("its meaning is not known") from error
