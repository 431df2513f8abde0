"""Words as names in a text of WGSL: up to 32 bits in a u32 whose upper bits are 0, 64 in a vec2<u32>, low half first.

WGSL has no words of 64 bits; what they need is in `WORDS`, functions that every text of ours begins with.
"""

from __future__ import annotations

from dataclasses import dataclass

from bridge.pixelcpu.algebra import Algebra

WORDS = """
fn add64(l: vec2<u32>, r: vec2<u32>) -> vec2<u32> {
    let low = l.x + r.x;
    return vec2<u32>(low, l.y + r.y + select(0u, 1u, low < l.x));
}
fn sub64(l: vec2<u32>, r: vec2<u32>) -> vec2<u32> {
    return vec2<u32>(l.x - r.x, l.y - r.y - select(0u, 1u, l.x < r.x));
}
fn high32(l: u32, r: u32) -> u32 {
    let ll = l & 0xffffu;
    let lh = l >> 16u;
    let rl = r & 0xffffu;
    let rh = r >> 16u;
    let crossed = lh * rl;
    let other = ll * rh;
    let middle = ((ll * rl) >> 16u) + (crossed & 0xffffu) + (other & 0xffffu);
    return lh * rh + (crossed >> 16u) + (other >> 16u) + (middle >> 16u);
}
fn mul64(l: vec2<u32>, r: vec2<u32>) -> vec2<u32> {
    return vec2<u32>(l.x * r.x, high32(l.x, r.x) + l.x * r.y + l.y * r.x);
}
fn high64(l: vec2<u32>, r: vec2<u32>) -> vec2<u32> {
    let crossed = vec2<u32>(l.y * r.x, high32(l.y, r.x));
    let other = vec2<u32>(l.x * r.y, high32(l.x, r.y));
    let middle = add64(add64(vec2<u32>(high32(l.x, r.x), 0u), vec2<u32>(crossed.x, 0u)), vec2<u32>(other.x, 0u));
    let top = add64(vec2<u32>(l.y * r.y, high32(l.y, r.y)), vec2<u32>(crossed.y, 0u));
    return add64(add64(top, vec2<u32>(other.y, 0u)), vec2<u32>(middle.y, 0u));
}
fn shl64(v: vec2<u32>, n: u32) -> vec2<u32> {
    let s = n & 31u;
    let over = (v.x >> 1u) >> (31u - s);
    return select(vec2<u32>(v.x << s, (v.y << s) | over), vec2<u32>(0u, v.x << s), n >= 32u);
}
fn lshr64(v: vec2<u32>, n: u32) -> vec2<u32> {
    let s = n & 31u;
    let over = (v.y << 1u) << (31u - s);
    return select(vec2<u32>((v.x >> s) | over, v.y >> s), vec2<u32>(v.y >> s, 0u), n >= 32u);
}
fn ashr64(v: vec2<u32>, n: u32) -> vec2<u32> {
    let s = n & 31u;
    let over = (v.y << 1u) << (31u - s);
    let high = bitcast<u32>(bitcast<i32>(v.y) >> s);
    let sign = bitcast<u32>(bitcast<i32>(v.y) >> 31u);
    return select(vec2<u32>((v.x >> s) | over, high), vec2<u32>(high, sign), n >= 32u);
}
fn ltu64(l: vec2<u32>, r: vec2<u32>) -> bool {
    return l.y < r.y || (l.y == r.y && l.x < r.x);
}
fn lts64(l: vec2<u32>, r: vec2<u32>) -> bool {
    return bitcast<i32>(l.y) < bitcast<i32>(r.y) || (l.y == r.y && l.x < r.x);
}
fn popcnt64(v: vec2<u32>) -> vec2<u32> {
    return vec2<u32>(countOneBits(v.x) + countOneBits(v.y), 0u);
}
fn lzcnt64(v: vec2<u32>) -> vec2<u32> {
    return vec2<u32>(select(countLeadingZeros(v.y), 32u + countLeadingZeros(v.x), v.y == 0u), 0u);
}
fn tzcnt64(v: vec2<u32>) -> vec2<u32> {
    return vec2<u32>(select(countTrailingZeros(v.x), 32u + countTrailingZeros(v.y), v.x == 0u), 0u);
}
fn bswap32(v: u32) -> u32 {
    return (v << 24u) | ((v & 0xff00u) << 8u) | ((v >> 8u) & 0xff00u) | (v >> 24u);
}
"""


@dataclass(frozen=True, slots=True)
class Word:
    """An expression without side effects, short enough to be said twice, and its width."""

    text: str
    width: int


def type_of(width: int) -> str:
    """WGSL's type of a word."""
    return "vec2<u32>" if width == 64 else "u32"


class WgslAlgebra(Algebra[Word, str]):
    """Writes a line for each operation; `lines` are those so far. Truth values are expressions of bool."""

    def __init__(self, indent: str = "    ") -> None:
        self.lines: list[str] = []
        self._indent = indent
        self._count = 0

    def put(self, line: str) -> None:
        """A line that makes no value."""
        self.lines.append(self._indent + line)

    def let(self, expression: str) -> str:
        """Name a value."""
        self._count += 1
        self.put(f"let v{self._count} = {expression};")
        return f"v{self._count}"

    def _word(self, width: int, expression: str) -> Word:
        return Word(self.let(expression), width)

    def _kept(self, width: int, expression: str) -> Word:
        """Of an operation whose result may have more bits than the word."""
        return self._word(width, expression if width == 32 else f"({expression}) & {(1 << width) - 1:#x}u")

    def _signed(self, value: Word) -> str:
        if value.width == 32:
            return f"bitcast<i32>({value.text})"
        return f"(bitcast<i32>({value.text} << {32 - value.width}u) >> {32 - value.width}u)"

    def width(self, value: Word) -> int:
        return value.width

    def const(self, width: int, value: int) -> Word:
        value &= (1 << width) - 1
        if width == 64:
            return Word(f"vec2<u32>({value & 0xFFFFFFFF:#x}u, {value >> 32:#x}u)", 64)
        return Word(f"{value:#x}u", width)

    def truth(self, value: bool) -> str:
        return "true" if value else "false"

    def add(self, left: Word, right: Word) -> Word:
        return self._arithmetic("add64", "+", left, right)

    def sub(self, left: Word, right: Word) -> Word:
        return self._arithmetic("sub64", "-", left, right)

    def mul(self, left: Word, right: Word) -> Word:
        return self._arithmetic("mul64", "*", left, right)

    def _arithmetic(self, function: str, sign: str, left: Word, right: Word) -> Word:
        if left.width == 64:
            return self._word(64, f"{function}({left.text}, {right.text})")
        return self._kept(left.width, f"{left.text} {sign} {right.text}")

    def high_unsigned(self, left: Word, right: Word) -> Word:
        if left.width == 64:
            return self._word(64, f"high64({left.text}, {right.text})")
        if left.width == 32:
            return self._word(32, f"high32({left.text}, {right.text})")
        return self._word(left.width, f"({left.text} * {right.text}) >> {left.width}u")

    def and_(self, left: Word, right: Word) -> Word:
        return self._word(left.width, f"{left.text} & {right.text}")

    def or_(self, left: Word, right: Word) -> Word:
        return self._word(left.width, f"{left.text} | {right.text}")

    def xor(self, left: Word, right: Word) -> Word:
        return self._word(left.width, f"{left.text} ^ {right.text}")

    def not_(self, value: Word) -> Word:
        return self._kept(value.width, f"~{value.text}") if value.width != 64 else self._word(64, f"~{value.text}")

    def shl(self, value: Word, count: Word) -> Word:
        if value.width == 64:
            return self._word(64, f"shl64({value.text}, ({count.text}).x)")
        return self._kept(value.width, f"{value.text} << {count.text}")

    def lshr(self, value: Word, count: Word) -> Word:
        if value.width == 64:
            return self._word(64, f"lshr64({value.text}, ({count.text}).x)")
        return self._word(value.width, f"{value.text} >> {count.text}")

    def ashr(self, value: Word, count: Word) -> Word:
        if value.width == 64:
            return self._word(64, f"ashr64({value.text}, ({count.text}).x)")
        return self._kept(value.width, f"bitcast<u32>({self._signed(value)} >> {count.text})")

    def equal(self, left: Word, right: Word) -> str:
        same = f"{left.text} == {right.text}"
        return self.let(f"all({same})" if left.width == 64 else same)

    def less_unsigned(self, left: Word, right: Word) -> str:
        if left.width == 64:
            return self.let(f"ltu64({left.text}, {right.text})")
        return self.let(f"{left.text} < {right.text}")

    def less_signed(self, left: Word, right: Word) -> str:
        if left.width == 64:
            return self.let(f"lts64({left.text}, {right.text})")
        return self.let(f"{self._signed(left)} < {self._signed(right)}")

    def choose(self, condition: str, yes: Word, no: Word) -> Word:
        return self._word(yes.width, f"select({no.text}, {yes.text}, {condition})")

    def choose_truth(self, condition: str, yes: str, no: str) -> str:
        return self.let(f"select({no}, {yes}, {condition})")

    def either(self, left: str, right: str) -> str:
        return self.let(f"{left} || {right}")

    def differ(self, left: str, right: str) -> str:
        return self.let(f"{left} != {right}")

    def negate(self, condition: str) -> str:
        return self.let(f"!{condition}")

    def zero_extend(self, value: Word, width: int) -> Word:
        if width == 64 and value.width < 64:
            return self._word(64, f"vec2<u32>({value.text}, 0u)")
        return Word(value.text, width)

    def sign_extend(self, value: Word, width: int) -> Word:
        if value.width == width:
            return value
        wide = f"bitcast<u32>({self._signed(value)})"
        if width < 64:
            return self._kept(width, wide)
        low = self.let(wide)
        return self._word(64, f"vec2<u32>({low}, bitcast<u32>(bitcast<i32>({low}) >> 31u))")

    def truncate(self, value: Word, width: int) -> Word:
        if value.width == width:
            return value
        low = f"({value.text}).x" if value.width == 64 else value.text
        return self._kept(width, low)

    def top(self, value: Word) -> str:
        if value.width == 64:
            return self.let(f"(({value.text}).y >> 31u) == 1u")
        return self.let(f"({value.text} >> {value.width - 1}u) == 1u")

    def low(self, value: Word) -> str:
        word = f"({value.text}).x" if value.width == 64 else value.text
        return self.let(f"({word} & 1u) == 1u")

    def even(self, value: Word) -> str:
        word = f"({value.text}).x" if value.width == 64 else value.text
        return self.let(f"(countOneBits({word} & 0xffu) & 1u) == 0u")

    def popcount(self, value: Word) -> Word:
        return self._word(value.width, f"{'popcnt64' if value.width == 64 else 'countOneBits'}({value.text})")

    def leading_zeros(self, value: Word) -> Word:
        if value.width == 64:
            return self._word(64, f"lzcnt64({value.text})")
        return self._word(value.width, f"countLeadingZeros({value.text}) - {32 - value.width}u")

    def trailing_zeros(self, value: Word) -> Word:
        if value.width == 64:
            return self._word(64, f"tzcnt64({value.text})")
        return self._word(value.width, f"min(countTrailingZeros({value.text}), {value.width}u)")

    def byte_swap(self, value: Word) -> Word:
        if value.width == 64:
            return self._word(64, f"vec2<u32>(bswap32(({value.text}).y), bswap32(({value.text}).x))")
        return self._word(value.width, f"bswap32({value.text}) >> {32 - value.width}u")
