"""Microcode being written for one block: registers given out, operands read and written as x86 does.

The sixteen general registers are the Pixel CPU's first sixteen, under the same numbers. SSE registers take two of the
others each, from the top down; what is left holds what is computed on the way.
"""

from __future__ import annotations

from typing import Any

from capstone import x86

from bridge.pixelcpu.errors import Unsupported
from bridge.pixelcpu.isa import N_REGISTERS
from bridge.pixelcpu.microcode import Instruction, make
from bridge.pixelcpu.x86_state import HALVES, REGISTERS

RAX, RCX, RDX, _RBX, RSP, RBP, RSI, RDI = range(8)
"""The general registers' numbers, in the order of `REGISTERS`."""
_FIRST_FREE = len(REGISTERS)
_NARROW = {
    **{name: number for number, name in enumerate(REGISTERS)},
    **{f"e{name[1:]}": number for number, name in enumerate(REGISTERS[:8])},
    **{name[1:]: number for number, name in enumerate(REGISTERS[:8])},
    **{low: number for number, low in enumerate(("al", "cl", "dl", "bl", "spl", "bpl", "sil", "dil"))},
    **{f"r{number}{letter}": number for number in range(8, 16) for letter in "dwb"},
}
_HIGH = {"ah": 0, "ch": 1, "dh": 2, "bh": 3}

Value = int | tuple[int]
"""A register's number, or a 1-tuple of an immediate."""


class Emitter:
    """Collects the instructions of a block."""

    def __init__(self) -> None:
        self.instructions: list[Instruction] = []
        self.halves: dict[str, int] = {}
        """The register that each half of an SSE register lies in."""
        self._held: list[int] = []
        self._temporary = _FIRST_FREE
        self.taken: int | None = None
        """The register that says whether the last jump is taken."""

    def emit(self, name: str, d: int = 0, b: int = 0, a: Value = 0, *, flags: bool | None = None) -> int:
        """Append an instruction; returns `d`."""
        if isinstance(a, tuple):
            self.instructions.append(make(name, d, b, immediate=a[0], flags=flags))
        else:
            self.instructions.append(make(name, d, b, a, flags=flags))
        return d

    def temporary(self) -> int:
        """A register of this instruction's own. Raises Unsupported where there is none left."""
        if self._temporary >= N_REGISTERS - len(self.halves) - (self.taken is not None):
            raise Unsupported("the block needs more registers than there are")
        self._temporary += 1
        return self._temporary - 1

    def next_instruction(self) -> None:
        """What the last one computed on the way is needed no more."""
        self._temporary = _FIRST_FREE

    def take_jump(self) -> int:
        """The register that says whether the jump at the end is taken."""
        register = N_REGISTERS - len(self.halves) - 1
        if register < self._temporary:
            raise Unsupported("the block needs more registers than there are")
        self.taken = register
        return register

    def half(self, name: str) -> int:
        """The register of an SSE register's half. Raises Unsupported."""
        if name not in HALVES:
            raise Unsupported("it computes with MMX or with vectors of more than 128 bits")
        if name not in self.halves:
            register = N_REGISTERS - 1 - len(self.halves)
            if register < max(self._temporary, _FIRST_FREE + 4):
                raise Unsupported("the block uses more SSE registers than are held")
            self.halves[name] = register
        return self.halves[name]

    def const(self, value: int) -> int:
        """A register with a number."""
        return self.emit("mov.64", self.temporary(), a=(value,))

    def address(self, one: Any, operand: Any) -> tuple[int, int]:
        """Where a memory operand lies: a register and what is added to it."""
        mem = operand.mem
        base = _number(one, mem.base) if mem.base else None
        index = _number(one, mem.index) if mem.index and mem.index != x86.X86_REG_RIZ else None
        narrow = one.addr_size == 4
        disp = mem.disp
        if index is None and base is not None and not narrow:
            return base, disp
        where = self.temporary()
        if index is None:
            self.emit("mov.64", where, a=(0,) if base is None else base)
        else:
            if mem.scale > 1:
                self.emit("shl.64", where, index, (mem.scale.bit_length() - 1,))
                index = where
            if base is None:
                self.emit("mov.64", where, a=index) if index != where else None
            else:
                self.emit("add.64", where, index, base)
        if narrow:
            if disp:
                self.emit("add.64", where, where, (disp,))
            self.emit("zx32.64", where, a=where)
            disp = 0
        return where, disp

    def read(self, one: Any, operand: Any) -> Value:
        """A source operand: a register whose low bits are its value, or an immediate."""
        if operand.type == x86.X86_OP_IMM:
            return (operand.imm,)
        if operand.type == x86.X86_OP_MEM:
            base, disp = self.address(one, operand)
            return self.emit(f"load.{8 * operand.size}", self.temporary(), base, (disp,))
        name = one.reg_name(operand.reg)
        if name in _HIGH:
            return self.emit("shr.64", self.temporary(), _HIGH[name], (8,))
        return _number(one, operand.reg)

    def in_register(self, value: Value) -> int:
        """A value in a register."""
        return self.const(value[0]) if isinstance(value, tuple) else value

    def place(self, one: Any, operand: Any) -> Place:
        """A destination operand."""
        return Place(self, one, operand)


class Place:
    """A destination that may also be read: a register, a high byte, or memory."""

    def __init__(self, emitter: Emitter, one: Any, operand: Any) -> None:
        self.width = 8 * operand.size
        self._emitter = emitter
        self._at: tuple[int, int] | None = None
        self._high: int | None = None
        if operand.type == x86.X86_OP_MEM:
            self._at = emitter.address(one, operand)
            self.register = emitter.temporary()
            """What is computed with."""
        else:
            name = one.reg_name(operand.reg)
            if name in _HIGH:
                self._high = _HIGH[name]
                self.register = emitter.temporary()
            else:
                self.register = _number(one, operand.reg)

    @property
    def is_memory(self) -> bool:
        """Whether it lies in memory."""
        return self._at is not None

    @property
    def is_plain(self) -> bool:
        """Whether it is a register's low bits."""
        return self._at is None and self._high is None

    def load(self) -> int:
        """Fetch its value, where that is not in a register of its own; returns `register`."""
        if self._at is not None:
            self._emitter.emit(f"load.{self.width}", self.register, self._at[0], (self._at[1],))
        elif self._high is not None:
            self._emitter.emit("shr.64", self.register, self._high, (8,))
        return self.register

    def store(self) -> None:
        """Put what `register` holds where it belongs."""
        emit = self._emitter.emit
        if self._at is not None:
            emit(f"store.{self.width}", self.register, self._at[0], (self._at[1],))
        elif self._high is not None:
            emit("ror.64", self._high, self._high, (8,), flags=False)
            emit("mov.8", self._high, a=self.register)
            emit("rol.64", self._high, self._high, (8,), flags=False)


def _number(one: Any, register: int) -> int:
    name = str(one.reg_name(register))
    if name not in _NARROW:
        raise Unsupported(f"the register {name} is not taken over")
    return _NARROW[name]
