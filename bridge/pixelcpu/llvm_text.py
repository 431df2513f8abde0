"""Words as values in a text of LLVM's intermediate language: each operation of the algebra is a line or a few."""

from __future__ import annotations

from dataclasses import dataclass

from bridge.pixelcpu.algebra import Algebra


@dataclass(frozen=True, slots=True)
class Word:
    """A value's name or a constant, and its width."""

    text: str
    width: int

    @property
    def typed(self) -> str:
        """As an operand: `i32 %5`."""
        return f"i{self.width} {self.text}"


class Text:
    """The lines of one function while it is written, with fresh names and the block that is being written."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.intrinsics: set[str] = set()
        self.block = "entry"
        self._count = 0

    def name(self, hint: str = "v") -> str:
        """A name that nothing has yet."""
        self._count += 1
        return f"%{hint}{self._count}"

    def put(self, line: str) -> None:
        """A line that makes no value."""
        self.lines.append("  " + line)

    def let(self, line: str) -> str:
        """A line that makes a value; its name."""
        name = self.name()
        self.lines.append(f"  {name} = {line}")
        return name

    def begin(self, block: str) -> None:
        """Begin a block."""
        self.block = block
        self.lines.append(f"{block}:")

    def call(self, intrinsic: str, width: int, *operands: str) -> str:
        """Call an intrinsic whose result and operands are words of one width, or of i1 as written."""
        types = ", ".join(operand.split()[0] for operand in operands)
        self.intrinsics.add(f"declare i{width} @llvm.{intrinsic}.i{width}({types})")
        return self.let(f"call i{width} @llvm.{intrinsic}.i{width}({', '.join(operands)})")


_PARTS = {
    "add": "add",
    "sub": "sub",
    "eq": "eq",
    "gt": "sgt",
    "minu": "ult",
    "maxu": "ugt",
    "mins": "slt",
    "maxs": "sgt",
}
"""Operations on vectors, and comparisons by which one of two parts is chosen."""


class LlvmAlgebra(Algebra[Word, str]):
    """Truth values are names of i1, or `true` and `false`."""

    def __init__(self, text: Text) -> None:
        self.text = text

    def _two(self, operation: str, left: Word, right: Word) -> Word:
        return Word(self.text.let(f"{operation} {left.typed}, {right.text}"), left.width)

    def _called(self, intrinsic: str, value: Word, *more: str) -> Word:
        return Word(self.text.call(intrinsic, value.width, value.typed, *more), value.width)

    def _compare(self, how: str, left: Word, right: Word) -> str:
        return self.text.let(f"icmp {how} {left.typed}, {right.text}")

    def width(self, value: Word) -> int:
        return value.width

    def const(self, width: int, value: int) -> Word:
        return Word(str(value & ((1 << width) - 1)), width)

    def truth(self, value: bool) -> str:
        return "true" if value else "false"

    def add(self, left: Word, right: Word) -> Word:
        return self._two("add", left, right)

    def sub(self, left: Word, right: Word) -> Word:
        return self._two("sub", left, right)

    def mul(self, left: Word, right: Word) -> Word:
        return self._two("mul", left, right)

    def high_unsigned(self, left: Word, right: Word) -> Word:
        return self._high("zext", left, right)

    def high_signed(self, left: Word, right: Word) -> Word:
        return self._high("sext", left, right)

    def _high(self, extend: str, left: Word, right: Word) -> Word:
        double = 2 * left.width
        wide = [self.text.let(f"{extend} {word.typed} to i{double}") for word in (left, right)]
        product = self.text.let(f"mul i{double} {wide[0]}, {wide[1]}")
        high = self.text.let(f"lshr i{double} {product}, {left.width}")
        return Word(self.text.let(f"trunc i{double} {high} to i{left.width}"), left.width)

    def and_(self, left: Word, right: Word) -> Word:
        return self._two("and", left, right)

    def or_(self, left: Word, right: Word) -> Word:
        return self._two("or", left, right)

    def xor(self, left: Word, right: Word) -> Word:
        return self._two("xor", left, right)

    def not_(self, value: Word) -> Word:
        return self._two("xor", value, Word("-1", value.width))

    def packed(self, operation: str, part: int, left: Word, right: Word) -> Word:
        vector = f"<{left.width // part} x i{part}>"
        one, other = (self.text.let(f"bitcast {word.typed} to {vector}") for word in (left, right))
        how = _PARTS[operation]
        if operation in ("add", "sub"):
            made = self.text.let(f"{how} {vector} {one}, {other}")
        else:
            holds = self.text.let(f"icmp {how} {vector} {one}, {other}")
            if operation in ("eq", "gt"):
                made = self.text.let(f"sext <{left.width // part} x i1> {holds} to {vector}")
            else:
                made = self.text.let(f"select <{left.width // part} x i1> {holds}, {vector} {one}, {vector} {other}")
        return Word(self.text.let(f"bitcast {vector} {made} to i{left.width}"), left.width)

    def shl(self, value: Word, count: Word) -> Word:
        return self._two("shl", value, count)

    def lshr(self, value: Word, count: Word) -> Word:
        return self._two("lshr", value, count)

    def ashr(self, value: Word, count: Word) -> Word:
        return self._two("ashr", value, count)

    def equal(self, left: Word, right: Word) -> str:
        return self._compare("eq", left, right)

    def less_unsigned(self, left: Word, right: Word) -> str:
        return self._compare("ult", left, right)

    def less_signed(self, left: Word, right: Word) -> str:
        return self._compare("slt", left, right)

    def choose(self, condition: str, yes: Word, no: Word) -> Word:
        return Word(self.text.let(f"select i1 {condition}, {yes.typed}, {no.typed}"), yes.width)

    def choose_truth(self, condition: str, yes: str, no: str) -> str:
        return self.text.let(f"select i1 {condition}, i1 {yes}, i1 {no}")

    def both(self, left: str, right: str) -> str:
        return self.text.let(f"and i1 {left}, {right}")

    def either(self, left: str, right: str) -> str:
        return self.text.let(f"or i1 {left}, {right}")

    def differ(self, left: str, right: str) -> str:
        return self.text.let(f"xor i1 {left}, {right}")

    def negate(self, condition: str) -> str:
        return self.text.let(f"xor i1 {condition}, true")

    def zero_extend(self, value: Word, width: int) -> Word:
        return value if width == value.width else Word(self.text.let(f"zext {value.typed} to i{width}"), width)

    def sign_extend(self, value: Word, width: int) -> Word:
        return value if width == value.width else Word(self.text.let(f"sext {value.typed} to i{width}"), width)

    def truncate(self, value: Word, width: int) -> Word:
        return value if width == value.width else Word(self.text.let(f"trunc {value.typed} to i{width}"), width)

    def bit(self, condition: str, width: int) -> Word:
        return Word(self.text.let(f"zext i1 {condition} to i{width}"), width)

    def low(self, value: Word) -> str:
        return self.text.let(f"trunc {value.typed} to i1")

    def min_unsigned(self, left: Word, right: Word) -> Word:
        return self._called("umin", left, right.typed)

    def max_unsigned(self, left: Word, right: Word) -> Word:
        return self._called("umax", left, right.typed)

    def min_signed(self, left: Word, right: Word) -> Word:
        return self._called("smin", left, right.typed)

    def max_signed(self, left: Word, right: Word) -> Word:
        return self._called("smax", left, right.typed)

    def even(self, value: Word) -> str:
        count = self.popcount(self.truncate(value, 8))
        return self.negate(self.low(count))

    def popcount(self, value: Word) -> Word:
        return self._called("ctpop", value)

    def leading_zeros(self, value: Word) -> Word:
        return self._called("ctlz", value, "i1 false")

    def trailing_zeros(self, value: Word) -> Word:
        return self._called("cttz", value, "i1 false")

    def byte_swap(self, value: Word) -> Word:
        return self._called("bswap", value)
