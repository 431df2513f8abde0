"""What each operation does, step by step on integers, from the SDM's pseudo-code: the back ends are held against it.

Works on arrays of int64 where nothing can grow beyond them (8 bits), and on arrays of Python's integers otherwise. It
shares nothing with `semantics`: sums are made wide and looked at, shifts and rotates go one bit at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Numbers = Any
"""(n,) of int64 or of object."""


@dataclass
class Given:
    """Operands of one width, 0 to 2^width - 1, and the flags as 0 or 1."""

    width: int
    b: Numbers
    a: Numbers
    old: Numbers
    flags: dict[str, Numbers]
    condition: int = 0

    @property
    def modulus(self) -> int:
        return 1 << self.width

    def signed(self, x: Numbers) -> Numbers:
        return np.where(x >> (self.width - 1) == 1, x - self.modulus, x)


@dataclass
class Made:
    """The result, 0 to 2^width - 1, and the flags that are written."""

    value: Numbers = None
    flags: dict[str, Numbers] = field(default_factory=dict)


def one_if(condition: Numbers) -> Numbers:
    return np.where(np.asarray(condition, np.bool_), 1, 0)


def zsp(g: Given, x: Numbers) -> dict[str, Numbers]:
    ones = sum((x >> place) & 1 for place in range(8))
    return {"Z": one_if(x == 0), "S": (x >> (g.width - 1)) & 1, "P": one_if(ones % 2 == 0)}


def add(g: Given, carry: Numbers) -> Made:
    whole, true = g.b + g.a + carry, g.signed(g.b) + g.signed(g.a) + carry
    x = whole % g.modulus
    return Made(
        x,
        {
            **zsp(g, x),
            "C": one_if(whole >= g.modulus),
            "O": one_if((true < -(g.modulus // 2)) | (true >= g.modulus // 2)),
            "A": one_if((g.b % 16) + (g.a % 16) + carry >= 16),
        },
    )


def subtract(g: Given, b: Numbers, a: Numbers, borrow: Numbers) -> Made:
    whole, true = b - a - borrow, g.signed(b) - g.signed(a) - borrow
    x = whole % g.modulus
    return Made(
        x,
        {
            **zsp(g, x),
            "C": one_if(whole < 0),
            "O": one_if((true < -(g.modulus // 2)) | (true >= g.modulus // 2)),
            "A": one_if((b % 16) - (a % 16) - borrow < 0),
        },
    )


def without(made: Made, flags: str) -> Made:
    return Made(made.value, {flag: bit for flag, bit in made.flags.items() if flag not in flags})


def logic(g: Given, x: Numbers) -> Made:
    none = x * 0
    return Made(x, {**zsp(g, x), "C": none, "O": none, "A": none})


def multiply(g: Given, *, signed: bool, high: bool) -> Made:
    whole = g.signed(g.b) * g.signed(g.a) if signed else g.b * g.a
    low = whole % g.modulus
    over = one_if(whole != (g.signed(low) if signed else low))
    return Made((whole // g.modulus) % g.modulus if high else low, {**zsp(g, low), "A": low * 0, "C": over, "O": over})


def shift(g: Given, kind: str) -> Made:
    count = g.a % (64 if g.width == 64 else 32)
    x, carry, before = g.b, g.flags["C"], g.b
    for step in range(64 if g.width == 64 else 32):
        going = step < count
        before = np.where(going, x, before)
        if kind == "shl":
            out, moved = (x >> (g.width - 1)) & 1, (x * 2) % g.modulus
        else:
            out, moved = x & 1, x >> 1
            if kind == "sar":
                moved = moved | (((x >> (g.width - 1)) & 1) << (g.width - 1))
        carry, x = np.where(going, out, carry), np.where(going, moved, x)
    found = {**zsp(g, x), "C": carry, "O": ((x ^ before) >> (g.width - 1)) & 1, "A": x * 0}
    return Made(x, {flag: np.where(count == 0, g.flags[flag], bit) for flag, bit in found.items()})


def rotate(g: Given, *, left: bool) -> Made:
    count = g.a % (64 if g.width == 64 else 32)
    x = g.b
    for step in range(64 if g.width == 64 else 32):
        turned = (x * 2) % g.modulus + (x >> (g.width - 1)) if left else (x >> 1) + ((x & 1) << (g.width - 1))
        x = np.where(step < count, turned, x)
    top, next_, low = (x >> (g.width - 1)) & 1, (x >> (g.width - 2)) & 1, x & 1
    carry, over = (low, top ^ low) if left else (top, top ^ next_)
    return Made(x, {"C": np.where(count == 0, g.flags["C"], carry), "O": np.where(count == 0, g.flags["O"], over)})


def rotate_through_carry(g: Given, *, left: bool) -> Made:
    count = (g.a % (64 if g.width == 64 else 32)) % (g.width + 1)
    x, carry = g.b, g.flags["C"]
    for step in range(g.width):
        if left:
            out, turned = (x >> (g.width - 1)) & 1, (x * 2) % g.modulus + carry
        else:
            out, turned = x & 1, (x >> 1) + carry * (g.modulus // 2)
        carry, x = np.where(step < count, out, carry), np.where(step < count, turned, x)
    over = ((x ^ g.b) >> (g.width - 1)) & 1
    return Made(x, {"C": carry, "O": np.where(count == 0, g.flags["O"], over)})


def counted(g: Given, which: str) -> Made:
    x = g.a * 0
    open_ = np.ones(len(g.a), np.bool_)
    for place in range(g.width):
        bit = (g.a >> (g.width - 1 - place if which == "lzcnt" else place)) & 1
        if which == "popcnt":
            x = x + bit
        else:
            open_ = open_ & np.asarray(bit == 0, np.bool_)
            x = x + one_if(open_)
    none = g.a * 0
    flags = {"Z": one_if(x == 0), "C": none, "S": none, "P": none, "O": none, "A": none}
    if which != "popcnt":
        flags["C"] = one_if(g.a == 0)
    return Made(x, flags)


def swapped(g: Given) -> Made:
    x = g.a * 0
    for place in range(0, g.width, 8):
        x = x + (((g.a >> place) % 256) << (g.width - 8 - place))
    return Made(x)


def extend(g: Given, width: int, *, signed: bool) -> Made:
    low = g.a % (1 << width)
    return Made(np.where((low >> (width - 1)) & signed == 1, low - (1 << width), low) % g.modulus)


def as_signed(word: Numbers, modulo: int) -> Numbers:
    """A part's word as the signed number that stands for it."""
    return np.where(word >= modulo // 2, word - modulo, word)


def parts(g: Given, make: Callable[[Numbers, Numbers, int], Numbers]) -> Made:
    modulus, x = 1 << g.width, g.b * 0
    for place in range(0, 64, g.width):
        x = x + (make((g.b >> place) % modulus, (g.a >> place) % modulus, modulus) << place)
    return Made(x)


BITS = {"C": 0, "P": 2, "A": 4, "Z": 6, "S": 7, "O": 11}


def condition(g: Given) -> Numbers:
    """Whether the condition holds: SDM volume 1, appendix B."""
    f = g.flags
    plain = [
        f["O"] == 1,
        f["C"] == 1,
        f["Z"] == 1,
        (f["C"] == 1) | (f["Z"] == 1),
        f["S"] == 1,
        f["P"] == 1,
        f["S"] != f["O"],
        (f["Z"] == 1) | (f["S"] != f["O"]),
    ][g.condition // 2]
    return one_if(plain) ^ (g.condition % 2)


def write_flags(g: Given) -> Made:
    return Made(
        None,
        {flag: np.where((g.a >> place) & 1 == 1, (g.b >> place) & 1, g.flags[flag]) for flag, place in BITS.items()},
    )


def read_flags(g: Given) -> Made:
    return Made(sum(g.flags[flag] << place for flag, place in BITS.items()))


MODEL: dict[str, Callable[[Given], Made]] = {
    "mov": lambda g: Made(g.a),
    "add": lambda g: add(g, g.a * 0),
    "adc": lambda g: add(g, g.flags["C"]),
    "sub": lambda g: subtract(g, g.b, g.a, g.a * 0),
    "sbb": lambda g: subtract(g, g.b, g.a, g.flags["C"]),
    "inc": lambda g: without(add(Given(g.width, g.a, g.a * 0 + 1, g.old, g.flags), g.a * 0), "C"),
    "dec": lambda g: without(subtract(g, g.a, g.a * 0 + 1, g.a * 0), "C"),
    "neg": lambda g: subtract(g, g.a * 0, g.a, g.a * 0),
    "cmp": lambda g: Made(None, subtract(g, g.b, g.a, g.a * 0).flags),
    "and": lambda g: logic(g, g.b & g.a),
    "or": lambda g: logic(g, g.b | g.a),
    "xor": lambda g: logic(g, g.b ^ g.a),
    "not": lambda g: Made(g.modulus - 1 - g.a),
    "test": lambda g: Made(None, logic(g, g.b & g.a).flags),
    "mul": lambda g: multiply(g, signed=True, high=False),
    "mulhu": lambda g: multiply(g, signed=False, high=True),
    "mulhs": lambda g: multiply(g, signed=True, high=True),
    "shl": lambda g: shift(g, "shl"),
    "shr": lambda g: shift(g, "shr"),
    "sar": lambda g: shift(g, "sar"),
    "rol": lambda g: rotate(g, left=True),
    "ror": lambda g: rotate(g, left=False),
    "rcl": lambda g: rotate_through_carry(g, left=True),
    "rcr": lambda g: rotate_through_carry(g, left=False),
    "bswap": swapped,
    "popcnt": lambda g: counted(g, "popcnt"),
    "lzcnt": lambda g: counted(g, "lzcnt"),
    "tzcnt": lambda g: counted(g, "tzcnt"),
    "bt": lambda g: Made(None, {"C": (g.b >> (g.a % g.width)) & 1}),
    "zx8": lambda g: extend(g, 8, signed=False),
    "zx16": lambda g: extend(g, 16, signed=False),
    "zx32": lambda g: extend(g, 32, signed=False),
    "sx8": lambda g: extend(g, 8, signed=True),
    "sx16": lambda g: extend(g, 16, signed=True),
    "sx32": lambda g: extend(g, 32, signed=True),
    "padd": lambda g: parts(g, lambda b, a, m: (b + a) % m),
    "psub": lambda g: parts(g, lambda b, a, m: (b - a) % m),
    "pcmpeq": lambda g: parts(g, lambda b, a, m: np.where(b == a, b * 0 + (m - 1), b * 0)),
    "pcmpgt": lambda g: parts(g, lambda b, a, m: np.where(as_signed(b, m) > as_signed(a, m), b * 0 + (m - 1), b * 0)),
    "pminu": lambda g: parts(g, lambda b, a, m: np.where(b < a, b, a)),
    "pmaxu": lambda g: parts(g, lambda b, a, m: np.where(b < a, a, b)),
    "pmins": lambda g: parts(g, lambda b, a, m: np.where(as_signed(b, m) < as_signed(a, m), b, a)),
    "pmaxs": lambda g: parts(g, lambda b, a, m: np.where(as_signed(b, m) < as_signed(a, m), a, b)),
    "rdf": read_flags,
    "wrf": write_flags,
    "set": lambda g: Made(condition(g)),
    "cmov": lambda g: Made(np.where(condition(g) == 1, g.a, g.old)),
    "pick": lambda g: Made(np.where(g.b != 0, g.a, g.old)),
    "eq": lambda g: Made(one_if(g.b == g.a)),
    "ne": lambda g: Made(one_if(g.b != g.a)),
    "ltu": lambda g: Made(one_if(g.b < g.a)),
    "leu": lambda g: Made(one_if(g.b <= g.a)),
    "lts": lambda g: Made(one_if(g.signed(g.b) < g.signed(g.a))),
    "les": lambda g: Made(one_if(g.signed(g.b) <= g.signed(g.a))),
    "minu": lambda g: Made(np.where(g.b < g.a, g.b, g.a)),
    "maxu": lambda g: Made(np.where(g.b < g.a, g.a, g.b)),
    "mins": lambda g: Made(np.where(g.signed(g.b) < g.signed(g.a), g.b, g.a)),
    "maxs": lambda g: Made(np.where(g.signed(g.b) < g.signed(g.a), g.a, g.b)),
}
