"""Programs of the Pixel CPU as data: instructions, their pixels, and the one way between the two.

A program has exactly one picture, and a picture is one program or none: what is no program is refused with the reason.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bridge.pixelcpu.errors import BadMicrocode
from bridge.pixelcpu.isa import (
    BY_NAME,
    BY_OPCODE,
    CONDITIONS,
    IMMEDIATE,
    N_REGISTERS,
    PIXEL_BYTES,
    WIDE,
    WRITES_FLAGS,
    Kind,
    Row,
)

MOST_INSTRUCTIONS = 4096
MOST_PIXELS = 3 * MOST_INSTRUCTIONS
"""An instruction takes three at most."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction; raises BadMicrocode where its fields do not fit its row."""

    row: Row
    d: int = 0
    """The destination register, or the value of a store."""
    b: int = 0
    """Register B, or the condition's number."""
    a: int = 0
    """Register A; 0 where A is an immediate."""
    immediate: int | None = None
    """Signed, and within the row's `immediate_width`."""
    sets_flags: bool = False

    def __post_init__(self) -> None:
        problem = _problem(self)
        if problem:
            raise BadMicrocode(f"{self.row.name}: {problem}")

    @property
    def n_pixels(self) -> int:
        """1, and the pixels of a wide immediate."""
        return 1 + (0 if self.immediate is None else _wide_pixels(self.immediate))


def make(
    name: str,
    d: int = 0,
    b: int = 0,
    a: int = 0,
    *,
    immediate: int | None = None,
    flags: bool | None = None,
) -> Instruction:
    """An instruction by its row's name (`add.32`). The immediate is taken modulo its width, whatever its sign.

    `flags` None means: only those rows write flags that do nothing else. Raises BadMicrocode.
    """
    row = BY_NAME.get(name)
    if row is None:
        raise BadMicrocode(f"there is no operation {name!r}")
    if immediate is not None:
        immediate = signed(immediate, row.immediate_width)
    return Instruction(row, d, b, a, immediate, row.must_write if flags is None else flags)


def signed(value: int, width: int) -> int:
    """A number modulo 2^width, as the signed number that stands for it."""
    value &= (1 << width) - 1
    return value - (1 << width) if value >> (width - 1) else value


@dataclass(frozen=True)
class Program:
    """Instructions in order. Raises BadMicrocode where there are too many."""

    instructions: tuple[Instruction, ...]

    def __post_init__(self) -> None:
        if len(self.instructions) > MOST_INSTRUCTIONS:
            raise BadMicrocode(f"{len(self.instructions):,} instructions, and {MOST_INSTRUCTIONS:,} are the most")

    @classmethod
    def of(cls, instructions: Iterable[Instruction]) -> Program:
        """A program of these."""
        return cls(tuple(instructions))

    @cached_property
    def pixels(self) -> NDArray[np.uint8]:
        """The program's picture: (n, 4) uint8, read only."""
        return encode(self.instructions)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the pixels, in hex."""
        return hashlib.sha256(self.pixels.tobytes()).hexdigest()

    @property
    def cost(self) -> int:
        """The sum of the rows' costs; an instruction that writes flags counts one more."""
        return sum(instruction.row.cost + instruction.sets_flags for instruction in self.instructions)

    @property
    def accesses(self) -> tuple[Instruction, ...]:
        """Its loads and stores, in order."""
        return tuple(i for i in self.instructions if i.row.kind in (Kind.LOAD, Kind.STORE))

    @property
    def writes(self) -> frozenset[int]:
        """The registers that it writes."""
        return frozenset(i.d for i in self.instructions if i.row.has_destination)

    @property
    def writes_flags(self) -> str:
        """The flags that it may write."""
        return "".join(sorted({flag for i in self.instructions if i.sets_flags for flag in i.row.writes}))

    @property
    def has_reductions(self) -> bool:
        """Whether its lanes meet."""
        return any(i.row.kind is Kind.REDUCE for i in self.instructions)


def encode(instructions: Iterable[Instruction]) -> NDArray[np.uint8]:
    """Instructions -> pixels (n, 4) uint8, read only."""
    content = bytearray()
    for instruction in instructions:
        immediate = instruction.immediate
        modifiers = (WRITES_FLAGS if instruction.sets_flags else 0) | (IMMEDIATE if immediate is not None else 0)
        wide = 0 if immediate is None else _wide_pixels(immediate)
        a = instruction.a if immediate is None else wide or immediate & 0xFF
        content += bytes((instruction.row.opcode, instruction.d | modifiers | (WIDE if wide else 0), instruction.b, a))
        if immediate is not None and wide:
            content += immediate.to_bytes(wide * PIXEL_BYTES, "little", signed=True)
    return np.frombuffer(bytes(content), np.uint8).reshape(-1, PIXEL_BYTES)


def decode(pixels: NDArray[np.uint8]) -> Program:
    """Pixels (n, 4) uint8 -> the program whose picture they are. Raises BadMicrocode with the pixel that is wrong."""
    if pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape[1] != PIXEL_BYTES:
        raise BadMicrocode(f"a program is (n, 4) uint8, not {pixels.shape} {pixels.dtype}")
    if len(pixels) > MOST_PIXELS:
        raise BadMicrocode(f"{len(pixels):,} pixels, and {MOST_PIXELS:,} are the most")
    return Program.of(_decoded(pixels.tolist()))


def _decoded(pixels: list[list[int]]) -> Iterator[Instruction]:
    at = 0
    while at < len(pixels):
        red, green, blue, alpha = pixels[at]
        row = BY_OPCODE.get(red)
        if row is None:
            raise BadMicrocode(f"no instruction has the opcode {red:#04x}", at)
        immediate, more = None, 0
        if green & WIDE:
            if not green & IMMEDIATE:
                raise BadMicrocode(f"{row.name}: a wide immediate without an immediate", at)
            if alpha not in (1, 2):
                raise BadMicrocode(f"{row.name}: an immediate of {alpha} pixels", at)
            more = alpha
            if at + more >= len(pixels):
                raise BadMicrocode(f"{row.name}: the immediate is cut short", at)
            content = b"".join(map(bytes, pixels[at + 1 : at + 1 + more]))
            immediate = int.from_bytes(content, "little", signed=True)
            if _wide_pixels(immediate) != more:
                raise BadMicrocode(f"{row.name}: the immediate {immediate} has a shorter form", at)
        elif green & IMMEDIATE:
            immediate = signed(alpha, 8)
        a = 0 if green & IMMEDIATE else alpha
        try:
            yield Instruction(row, green & (N_REGISTERS - 1), blue, a, immediate, bool(green & WRITES_FLAGS))
        except BadMicrocode as bad:
            raise BadMicrocode(bad.problem, at) from None
        at += 1 + more


def _wide_pixels(immediate: int) -> int:
    """How many pixels an immediate takes besides its instruction's."""
    if -128 <= immediate < 128:
        return 0
    return 1 if -(1 << 31) <= immediate < 1 << 31 else 2


def _problem(i: Instruction) -> str:
    """Why it cannot be, or nothing."""
    row = i.row
    if not 0 <= i.d < N_REGISTERS:
        return f"there is no register {i.d}"
    if row.takes_condition and not 0 <= i.b < len(CONDITIONS):
        return f"there is no condition {i.b}"
    if not 0 <= i.b < (N_REGISTERS if row.takes_b or row.takes_condition else 1):
        return f"there is no register {i.b}" if row.takes_b else "it takes no B"
    if not 0 <= i.a < (N_REGISTERS if row.takes_a else 1):
        return f"there is no register {i.a}" if row.takes_a else "it takes no A"
    if row.must_write and i.d:
        return "it has no destination"
    if i.sets_flags and not row.writes:
        return "it has no flags to write"
    if row.must_write and not i.sets_flags:
        return "it does nothing but write flags, and may not"
    if i.immediate is not None:
        if not row.may_be_immediate:
            return "its A is no immediate"
        if i.a:
            return "its A is both a register and an immediate"
        if signed(i.immediate, row.immediate_width) != i.immediate:
            return f"the immediate {i.immediate} does not fit into {row.immediate_width} bits"
    return ""
