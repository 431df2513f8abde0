"""The few operations on words that the meaning of every instruction is built from; each back end is one algebra.

Words have a width of 8, 16, 32 or 64 bits, and all of an operation's words have the same. `V` is a back end's word,
`B` its truth value: arrays over lanes, z3 terms, LLVM values, or names in a text of WGSL. What has a default here is
composed of the rest, and a back end replaces it where it has better.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

from bridge.pixelcpu.packed import by_whole_words

V = TypeVar("V")
B = TypeVar("B")


class Algebra(ABC, Generic[V, B]):
    """Words and truth values of one back end."""

    @abstractmethod
    def width(self, value: V) -> int:
        """Bits of a word."""

    @abstractmethod
    def const(self, width: int, value: int) -> V:
        """A word of a number, taken modulo 2^width."""

    @abstractmethod
    def truth(self, value: bool) -> B:
        """A constant truth value."""

    @abstractmethod
    def add(self, left: V, right: V) -> V:
        """Modulo 2^width, as `sub` and `mul`."""

    @abstractmethod
    def sub(self, left: V, right: V) -> V: ...

    @abstractmethod
    def mul(self, left: V, right: V) -> V: ...

    @abstractmethod
    def high_unsigned(self, left: V, right: V) -> V:
        """The high half of the product of unsigned words."""

    @abstractmethod
    def and_(self, left: V, right: V) -> V: ...

    @abstractmethod
    def or_(self, left: V, right: V) -> V: ...

    @abstractmethod
    def xor(self, left: V, right: V) -> V: ...

    @abstractmethod
    def not_(self, value: V) -> V: ...

    @abstractmethod
    def shl(self, value: V, count: V) -> V:
        """The count is less than the width, as with the other shifts."""

    @abstractmethod
    def lshr(self, value: V, count: V) -> V: ...

    @abstractmethod
    def ashr(self, value: V, count: V) -> V: ...

    @abstractmethod
    def equal(self, left: V, right: V) -> B: ...

    @abstractmethod
    def less_unsigned(self, left: V, right: V) -> B: ...

    @abstractmethod
    def less_signed(self, left: V, right: V) -> B: ...

    @abstractmethod
    def choose(self, condition: B, yes: V, no: V) -> V: ...

    @abstractmethod
    def choose_truth(self, condition: B, yes: B, no: B) -> B: ...

    @abstractmethod
    def either(self, left: B, right: B) -> B: ...

    @abstractmethod
    def differ(self, left: B, right: B) -> B: ...

    @abstractmethod
    def negate(self, condition: B) -> B: ...

    @abstractmethod
    def zero_extend(self, value: V, width: int) -> V:
        """To a width that is not smaller."""

    @abstractmethod
    def sign_extend(self, value: V, width: int) -> V: ...

    @abstractmethod
    def truncate(self, value: V, width: int) -> V:
        """To a width that is not larger."""

    def high_signed(self, left: V, right: V) -> V:
        """The high half of the product of signed words: a negative one counts 2^width less (Hacker's Delight, 8-3)."""
        none = self.const(self.width(left), 0)
        high = self.sub(self.high_unsigned(left, right), self.choose(self.top(left), right, none))
        return self.sub(high, self.choose(self.top(right), left, none))

    @abstractmethod
    def byte_swap(self, value: V) -> V:
        """The bytes in reverse order."""

    def packed(self, operation: str, part: int, left: V, right: V) -> V:
        """Part by part of so many bits: `add`, `sub`, `minu`, `maxu`, `mins`, `maxs`; `eq` and `gt` (signed) make
        ones where it holds, else zeros."""
        return by_whole_words(self, operation, part, left, right)

    def bit(self, condition: B, width: int) -> V:
        """1 where it is true, else 0."""
        return self.choose(condition, self.const(width, 1), self.const(width, 0))

    def is_zero(self, value: V) -> B:
        """Whether no bit is set."""
        return self.equal(value, self.const(self.width(value), 0))

    def top(self, value: V) -> B:
        """The highest bit."""
        return self.less_signed(value, self.const(self.width(value), 0))

    def low(self, value: V) -> B:
        """The lowest bit."""
        width = self.width(value)
        return self.equal(self.and_(value, self.const(width, 1)), self.const(width, 1))

    def bit_at(self, value: V, place: int) -> B:
        """The bit of a number that is known."""
        return self.low(self.lshr(value, self.const(self.width(value), place)) if place else value)

    def min_unsigned(self, left: V, right: V) -> V:
        """The smaller."""
        return self.choose(self.less_unsigned(right, left), right, left)

    def max_unsigned(self, left: V, right: V) -> V:
        """The larger."""
        return self.choose(self.less_unsigned(left, right), right, left)

    def min_signed(self, left: V, right: V) -> V:
        """The smaller."""
        return self.choose(self.less_signed(right, left), right, left)

    def max_signed(self, left: V, right: V) -> V:
        """The larger."""
        return self.choose(self.less_signed(left, right), right, left)

    def even(self, value: V) -> B:
        """Whether the low 8 bits have an even number of set bits: the parity flag."""
        byte = self.truncate(value, 8)
        for step in (4, 2, 1):
            byte = self.xor(byte, self.lshr(byte, self.const(8, step)))
        return self.negate(self.low(byte))

    def popcount(self, value: V) -> V:
        """How many bits are set: neighbouring sums, each step twice as wide (Warren, Hacker's Delight, 5-1)."""
        width, step = self.width(value), 1
        while step < width:
            ones = ((1 << width) - 1) // ((1 << step) + 1)  # of each 2 * step bits the low half
            mask, count = self.const(width, ones), self.const(width, step)
            value = self.add(self.and_(value, mask), self.and_(self.lshr(value, count), mask))
            step *= 2
        return value

    def leading_zeros(self, value: V) -> V:
        """The width for 0: every bit below the highest is set, and what is not set above is counted."""
        width, step = self.width(value), 1
        while step < width:
            value = self.or_(value, self.lshr(value, self.const(width, step)))
            step *= 2
        return self.popcount(self.not_(value))

    def trailing_zeros(self, value: V) -> V:
        """The width for 0."""
        below = self.and_(self.not_(value), self.sub(value, self.const(self.width(value), 1)))
        return self.popcount(below)
