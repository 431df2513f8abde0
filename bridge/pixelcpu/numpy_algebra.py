"""Words as numpy arrays over lanes: one operation of numpy for most operations of the algebra.

A word is (n_lanes,) of an unsigned type, or (1,) where all lanes have the same; truth values are the same of bool.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.pixelcpu.algebra import Algebra

Word = NDArray[Any]
Truth = NDArray[np.bool_]

UNSIGNED: dict[int, type[np.unsignedinteger[Any]]] = {8: np.uint8, 16: np.uint16, 32: np.uint32, 64: np.uint64}
SIGNED: dict[int, type[np.signedinteger[Any]]] = {8: np.int8, 16: np.int16, 32: np.int32, 64: np.int64}

_EVEN = np.array([value.bit_count() % 2 == 0 for value in range(256)])


@cache
def _const(width: int, value: int) -> Word:
    word = np.array([value], UNSIGNED[width])
    word.flags.writeable = False
    return word


def _signed(value: Word) -> Word:
    return value.view(SIGNED[8 * value.itemsize])


class NumpyAlgebra(Algebra[Word, Truth]):
    """Stateless."""

    def width(self, value: Word) -> int:
        return 8 * value.itemsize

    def const(self, width: int, value: int) -> Word:
        return _const(width, value & ((1 << width) - 1))

    def truth(self, value: bool) -> Truth:
        return np.array([value])

    def add(self, left: Word, right: Word) -> Word:
        return left + right

    def sub(self, left: Word, right: Word) -> Word:
        return left - right

    def mul(self, left: Word, right: Word) -> Word:
        return left * right

    def high_unsigned(self, left: Word, right: Word) -> Word:
        width = self.width(left)
        if width < 64:
            product = left.astype(np.uint64) * right.astype(np.uint64)
            return (product >> np.uint64(width)).astype(UNSIGNED[width])
        half, low = np.uint64(32), np.uint64(0xFFFFFFFF)
        left_low, left_high, right_low, right_high = left & low, left >> half, right & low, right >> half
        crossed, other = left_low * right_high, left_high * right_low
        middle = (left_low * right_low >> half) + (crossed & low) + (other & low)
        high: Word = left_high * right_high + (crossed >> half) + (other >> half) + (middle >> half)
        return high

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
        return value >> count

    def ashr(self, value: Word, count: Word) -> Word:
        return (_signed(value) >> _signed(count)).view(value.dtype)

    def equal(self, left: Word, right: Word) -> Truth:
        same: Truth = left == right
        return same

    def less_unsigned(self, left: Word, right: Word) -> Truth:
        return left < right

    def less_signed(self, left: Word, right: Word) -> Truth:
        return _signed(left) < _signed(right)

    def choose(self, condition: Truth, yes: Word, no: Word) -> Word:
        return np.where(condition, yes, no)

    def choose_truth(self, condition: Truth, yes: Truth, no: Truth) -> Truth:
        return np.where(condition, yes, no)

    def either(self, left: Truth, right: Truth) -> Truth:
        return left | right

    def differ(self, left: Truth, right: Truth) -> Truth:
        return left ^ right

    def negate(self, condition: Truth) -> Truth:
        return ~condition

    def zero_extend(self, value: Word, width: int) -> Word:
        return value.astype(UNSIGNED[width])

    def sign_extend(self, value: Word, width: int) -> Word:
        return _signed(value).astype(SIGNED[width]).view(UNSIGNED[width])

    def truncate(self, value: Word, width: int) -> Word:
        return value.astype(UNSIGNED[width])

    def bit(self, condition: Truth, width: int) -> Word:
        return condition.astype(UNSIGNED[width])

    def even(self, value: Word) -> Truth:
        even: Truth = _EVEN[value.astype(np.uint8)]
        return even

    def popcount(self, value: Word) -> Word:
        return np.bitwise_count(value).astype(value.dtype)

    def min_unsigned(self, left: Word, right: Word) -> Word:
        return np.minimum(left, right)

    def max_unsigned(self, left: Word, right: Word) -> Word:
        return np.maximum(left, right)

    def min_signed(self, left: Word, right: Word) -> Word:
        return np.minimum(_signed(left), _signed(right)).view(left.dtype)

    def max_signed(self, left: Word, right: Word) -> Word:
        return np.maximum(_signed(left), _signed(right)).view(left.dtype)

    def byte_swap(self, value: Word) -> Word:
        return value.byteswap()

    def packed(self, operation: str, part: int, left: Word, right: Word) -> Word:
        left, right = np.broadcast_arrays(left, right)
        signed = SIGNED[part] if operation in ("gt", "mins", "maxs") else UNSIGNED[part]
        one, other = (np.ascontiguousarray(word).view(signed) for word in (left, right))
        made = _PARTS[operation](one, other)
        if made.dtype == np.bool_:
            made = np.negative(made.astype(SIGNED[part]))
        whole: Word = made.view(left.dtype)
        return whole


_PARTS: dict[str, np.ufunc] = {
    "add": np.add,
    "sub": np.subtract,
    "eq": np.equal,
    "gt": np.greater,
    "minu": np.minimum,
    "maxu": np.maximum,
    "mins": np.minimum,
    "maxs": np.maximum,
}
_FOLDS: dict[str, np.ufunc] = {
    "sumall": np.add,
    "xorall": np.bitwise_xor,
    "andall": np.bitwise_and,
    "orall": np.bitwise_or,
    "minuall": np.minimum,
    "maxuall": np.maximum,
    "minsall": np.minimum,
    "maxsall": np.maximum,
}


def fold(operation: str, value: Word, lanes: int) -> Word:
    """A word folded over all lanes, (1,); `operation` is a reducing row's."""
    if len(value) == 1 and lanes > 1:
        if operation == "sumall":
            times: Word = value * np.array([lanes], np.uint64).astype(value.dtype)
            return times
        if operation == "xorall" and lanes % 2 == 0:
            return np.zeros(1, value.dtype)
        return value
    words = _signed(value) if operation in ("minsall", "maxsall") else value
    return np.asarray(_FOLDS[operation].reduce(words, keepdims=True)).astype(words.dtype, copy=False).view(value.dtype)
