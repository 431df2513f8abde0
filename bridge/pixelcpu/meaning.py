"""What a program means to z3: registers, flags and memory after, as terms of those before. One lane.

A reduction over one lane is the lane's own word; that lanes may run beside each other is another proof.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

import z3

from bridge.pixelcpu.algebra import Algebra
from bridge.pixelcpu.executor import State, execute
from bridge.pixelcpu.guarded_stores import guarded
from bridge.pixelcpu.isa import FLAGS, N_REGISTERS
from bridge.pixelcpu.microcode import Program

Word: TypeAlias = z3.BitVecRef
Truth: TypeAlias = z3.BoolRef


class Z3Algebra(Algebra[Word, Truth]):
    """Stateless; terms are of z3's main context."""

    def width(self, value: Word) -> int:
        return int(value.size())

    def const(self, width: int, value: int) -> Word:
        return z3.BitVecVal(value, width)

    def truth(self, value: bool) -> Truth:
        return z3.BoolVal(value)

    def add(self, left: Word, right: Word) -> Word:
        return left + right

    def sub(self, left: Word, right: Word) -> Word:
        return left - right

    def mul(self, left: Word, right: Word) -> Word:
        return left * right

    def high_unsigned(self, left: Word, right: Word) -> Word:
        width = self.width(left)
        return z3.Extract(2 * width - 1, width, z3.ZeroExt(width, left) * z3.ZeroExt(width, right))

    def high_signed(self, left: Word, right: Word) -> Word:
        width = self.width(left)
        return z3.Extract(2 * width - 1, width, z3.SignExt(width, left) * z3.SignExt(width, right))

    def and_(self, left: Word, right: Word) -> Word:
        return left & right

    def or_(self, left: Word, right: Word) -> Word:
        return left | right

    def xor(self, left: Word, right: Word) -> Word:
        return left ^ right

    def not_(self, value: Word) -> Word:
        return ~value

    def shl(self, value: Word, count: Word) -> Word:
        return value << count

    def lshr(self, value: Word, count: Word) -> Word:
        return z3.LShR(value, count)

    def ashr(self, value: Word, count: Word) -> Word:
        return value >> count

    def equal(self, left: Word, right: Word) -> Truth:
        return left == right

    def less_unsigned(self, left: Word, right: Word) -> Truth:
        return z3.ULT(left, right)

    def less_signed(self, left: Word, right: Word) -> Truth:
        return left < right

    def choose(self, condition: Truth, yes: Word, no: Word) -> Word:
        return z3.If(condition, yes, no)

    def choose_truth(self, condition: Truth, yes: Truth, no: Truth) -> Truth:
        return z3.If(condition, yes, no)

    def either(self, left: Truth, right: Truth) -> Truth:
        return z3.Or(left, right)

    def differ(self, left: Truth, right: Truth) -> Truth:
        return z3.Xor(left, right)

    def negate(self, condition: Truth) -> Truth:
        return z3.Not(condition)

    def zero_extend(self, value: Word, width: int) -> Word:
        return z3.ZeroExt(width - value.size(), value)

    def sign_extend(self, value: Word, width: int) -> Word:
        return z3.SignExt(width - value.size(), value)

    def truncate(self, value: Word, width: int) -> Word:
        return value if width == value.size() else z3.Extract(width - 1, 0, value)

    def top(self, value: Word) -> Truth:
        return self._bit(value, value.size() - 1)

    def low(self, value: Word) -> Truth:
        return self._bit(value, 0)

    def bit_at(self, value: Word, place: int) -> Truth:
        return self._bit(value, place)

    @staticmethod
    def _bit(value: Word, place: int) -> Truth:
        return z3.Extract(place, place, value) == 1

    def byte_swap(self, value: Word) -> Word:
        return z3.Concat(*[z3.Extract(place + 7, place, value) for place in range(0, value.size(), 8)])

    def packed(self, operation: str, part: int, left: Word, right: Word) -> Word:
        """Each part by itself, which the solver sees through sooner."""
        parts = [
            _PARTS[operation](*(z3.Extract(place + part - 1, place, word) for word in (left, right)))
            for place in range(0, left.size(), part)
        ]
        return z3.Concat(*reversed(parts))


_PARTS: dict[str, Callable[[Word, Word], Word]] = {
    "add": lambda left, right: left + right,
    "sub": lambda left, right: left - right,
    "eq": lambda left, right: _ones(left == right, left.size()),
    "gt": lambda left, right: _ones(left > right, left.size()),
    "minu": lambda left, right: z3.If(z3.ULT(left, right), left, right),
    "maxu": lambda left, right: z3.If(z3.UGT(left, right), left, right),
    "mins": lambda left, right: z3.If(left < right, left, right),
    "maxs": lambda left, right: z3.If(left > right, left, right),
}


def _ones(condition: Truth, width: int) -> Word:
    return z3.If(condition, z3.BitVecVal(-1, width), z3.BitVecVal(0, width))


ALGEBRA = Z3Algebra()


class SymbolicMemory(Protocol):
    """What loads and stores go to; addresses are words of 64 bits."""

    def load(self, address: Word, size: int) -> Word:
        """The word of `size` bytes there."""
        ...

    def store(self, address: Word, value: Word, only_if: Truth | None) -> None:
        """Write a word, where `only_if` is true or None."""
        ...


class ArrayMemory:
    """Memory as an array of z3's from 64-bit addresses to bytes; addresses wrap around."""

    def __init__(self, array: z3.ArrayRef) -> None:
        self.array = array

    def load(self, address: Word, size: int) -> Word:
        """The word of `size` bytes there, little-endian."""
        content = [z3.Select(self.array, address + place) for place in reversed(range(size))]
        return content[0] if size == 1 else z3.Concat(*content)

    def store(self, address: Word, value: Word, only_if: Truth | None) -> None:
        """Write a word."""
        for place in range(value.size() // 8):
            byte = z3.Extract(8 * place + 7, 8 * place, value)
            if only_if is None:
                self.array = z3.Store(self.array, address + place, byte)
            else:
                self.array = guarded(self.array, only_if, address + place, byte)


def unknown_state(name: str = "") -> State[Word, Truth]:
    """Registers and flags of which nothing is known: `r0` to `r31` and `C` … `O`, with `name` before."""
    registers = [z3.BitVec(f"{name}r{number}", 64) for number in range(N_REGISTERS)]
    return State(registers, {flag: z3.Bool(f"{name}{flag}") for flag in FLAGS})


def unknown_memory(name: str = "memory") -> ArrayMemory:
    """Memory of which nothing is known."""
    return ArrayMemory(z3.Array(name, z3.BitVecSort(64), z3.BitVecSort(8)))


def after(
    program: Program, before: State[Word, Truth], memory: SymbolicMemory, lane: Word | None = None
) -> State[Word, Truth]:
    """Registers and flags after the program ran in one lane; `memory` is changed. `lane` None: lane 0."""
    state = before.copy()
    execute(program.instructions, ALGEBRA, state, _OneLane(memory, z3.BitVecVal(0, 64) if lane is None else lane))
    return state


class _OneLane:
    def __init__(self, memory: SymbolicMemory, lane: Word) -> None:
        self._memory, self._lane = memory, lane

    def load(self, address: Word, width: int, _only_if: Truth | None) -> Word:
        return self._memory.load(address, width // 8)

    def store(self, address: Word, value: Word, only_if: Truth | None) -> None:
        self._memory.store(address, value, only_if)

    def lane(self) -> Word:
        return self._lane

    def reduce(self, _operation: str, value: Word) -> Word:
        return value
