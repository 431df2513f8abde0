"""Templates: what a piece of microcode became when cheaper was found, with its registers and immediates left open.

Pieces that differ in registers and immediates alone have one outline: they are a cluster. What was found for one of
them is tried first for the next. A template is a hint and no more: whatever comes of it is proved like anything else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import Protocol

from bridge.pixelcpu.errors import BadMicrocode
from bridge.pixelcpu.isa import BY_OPCODE, Shape
from bridge.pixelcpu.microcode import Instruction, signed

MOST_INSTRUCTIONS = 64
"""Of an outline: there are no templates for more."""
_MOST_WAYS = 16
"""In which all of a template's immediates may be made of those that are there …"""
_MOST_FORMULAS = 4
"""… and each of them."""

NO_PLACE = -1
CONSTANT = "constant"
Formula = tuple[str, int, int]
"""How an immediate is made of those of the outline: what is done, and with which two of them; a constant has its value
instead."""

_MADE_OF_TWO: Mapping[str, Callable[[int, int], int]] = {
    "sum": lambda one, other: one + other,
    "difference": lambda one, other: one - other,
    "and": lambda one, other: one & other,
    "or": lambda one, other: one | other,
    "xor": lambda one, other: one ^ other,
    "product": lambda one, other: one * other,
}
_MADE_OF_ONE: Mapping[str, Callable[[int], int]] = {
    "same": lambda one: one,
    "minus": lambda one: -one,
    "not": lambda one: ~one,
    "power": lambda one: 1 << one % 64,
    "mask": lambda one: (1 << one % 64) - 1,
}
FORMULAS = frozenset({CONSTANT, *_MADE_OF_ONE, *_MADE_OF_TWO})


@dataclass(frozen=True, slots=True)
class Part:
    """An instruction, its registers by their places in an outline."""

    opcode: int
    sets_flags: bool
    d: int
    b: int
    """Or a condition's number."""
    a: int


@dataclass(frozen=True, slots=True)
class Outline:
    """Instructions, apart from what their registers and immediates are."""

    parts: tuple[Part, ...]
    places: tuple[int, ...]
    """Which of the immediates each instruction has; NO_PLACE: none."""
    registers: tuple[int, ...]
    """Those of these instructions, in the order in which they come."""
    immediates: tuple[int, ...]
    """The same of them."""

    @property
    def name(self) -> str:
        """The cluster's: SHA-256 of all but the registers and immediates."""
        parts = [(one.opcode, one.sets_flags, one.d, one.b, one.a) for one in self.parts]
        return hashlib.sha256(json.dumps([parts, self.places]).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Template:
    """What the instructions of a cluster may become."""

    parts: tuple[Part, ...]
    formulas: tuple[tuple[Formula, ...], ...]
    """Of each instruction's immediate the ways in which it may be made, the likeliest first; none: it has none."""

    def of(self, outline: Outline) -> Iterator[tuple[Instruction, ...]]:
        """What it makes of instructions of its cluster, in each of the ways."""
        for ways in islice(product(*(one or (None,) for one in self.formulas)), _MOST_WAYS):
            try:
                yield tuple(_instruction(*pair, outline) for pair in zip(self.parts, ways, strict=True))
            except (BadMicrocode, IndexError, KeyError):  # it does not fit these
                continue


class Templates(Protocol):
    """Where templates are kept."""

    def find(self, outline: Outline, /) -> Template | None:
        """That of its cluster."""
        ...


class NoTemplates:
    """Nothing is known."""

    def find(self, _outline: Outline, /) -> Template | None:
        """None."""
        return None


def outline_of(instructions: Sequence[Instruction]) -> Outline:
    """Their outline."""
    registers: dict[int, int] = {}
    immediates: dict[int, int] = {}
    parts, places = [], []
    for one in instructions:
        parts.append(_part(one, lambda number: registers.setdefault(number, len(registers))))
        places.append(NO_PLACE if one.immediate is None else immediates.setdefault(one.immediate, len(immediates)))
    return Outline(tuple(parts), tuple(places), tuple(registers), tuple(immediates))


def template_of(outline: Outline, instructions: Sequence[Instruction]) -> Template | None:
    """What makes these of those of the outline; None where they need what is not there."""
    place = {number: place for place, number in enumerate(outline.registers)}
    parts, formulas = [], []
    for one in instructions:
        try:
            parts.append(_part(one, place.__getitem__))
        except KeyError:
            return None
        ways = () if one.immediate is None else _formulas(one.immediate, one.row.immediate_width, outline.immediates)
        formulas.append(tuple(islice(ways, _MOST_FORMULAS)))
    return Template(tuple(parts), tuple(formulas))


def _part(one: Instruction, place: Callable[[int], int]) -> Part:
    """`place`: of a register. Its destination's comes first, then those of B and of A."""
    row = one.row
    return Part(
        row.opcode,
        one.sets_flags,
        place(one.d) if row.shape is not Shape.COMPARE else 0,
        place(one.b) if row.takes_b else one.b,
        place(one.a) if row.takes_a and one.immediate is None else 0,
    )


def _instruction(part: Part, formula: Formula | None, outline: Outline) -> Instruction:
    """Raises BadMicrocode, IndexError, KeyError."""
    row, registers = BY_OPCODE[part.opcode], outline.registers
    immediate = None if formula is None else signed(_value(formula, outline.immediates), row.immediate_width)
    return Instruction(
        row,
        registers[part.d] if row.shape is not Shape.COMPARE else 0,
        registers[part.b] if row.takes_b else part.b,
        registers[part.a] if row.takes_a and immediate is None else 0,
        immediate,
        part.sets_flags,
    )


def _value(formula: Formula, immediates: Sequence[int]) -> int:
    """Raises IndexError, KeyError."""
    made, one, other = formula
    if made == CONSTANT:
        return one
    if made in _MADE_OF_ONE:
        return _MADE_OF_ONE[made](immediates[one])
    return _MADE_OF_TWO[made](immediates[one], immediates[other])


def _formulas(value: int, width: int, immediates: Sequence[int]) -> Iterator[Formula]:
    """How a value can be made of the immediates."""
    places = range(len(immediates))
    for formula in (
        *(("same", one, one) for one in places),
        *((made, one, other) for made in _MADE_OF_TWO for one in places for other in places if one != other),
        (CONSTANT, value, 0),
        *((made, one, one) for made in _MADE_OF_ONE if made != "same" for one in places),
        *((made, one, one) for made in _MADE_OF_TWO for one in places),
    ):
        if signed(_value(formula, immediates), width) == value:
            yield formula
