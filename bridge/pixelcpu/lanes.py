"""What a program's shape says of its lanes: where they meet, which registers they carry, which addresses are affine.

A program is a body, which each lane runs, and a tail from its first reduction on, which is the last lane's alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from bridge.pixelcpu.errors import Unsupported
from bridge.pixelcpu.isa import N_REGISTERS, Kind, Shape
from bridge.pixelcpu.microcode import Instruction, Program
from bridge.pixelcpu.semantics import flags_read as flags_of_condition


@dataclass(frozen=True, slots=True)
class Parts:
    """A program cut at its first reduction."""

    body: tuple[Instruction, ...]
    tail: tuple[Instruction, ...]


def parts(program: Program) -> Parts:
    """Cut a program in two. Raises Unsupported where lanes would have to meet and then go on alone.

    After a reduction lanes may neither load nor store, and reduce only what they had before the first one.
    """
    reducing = [place for place, i in enumerate(program.instructions) if i.row.kind is Kind.REDUCE]
    start = reducing[0] if reducing else len(program.instructions)
    body, tail = program.instructions[:start], program.instructions[start:]
    written: set[int] = set()
    for instruction in tail:
        if instruction.row.kind in (Kind.LOAD, Kind.STORE):
            raise Unsupported("A load or store after a reduction would make the lanes wait for each other")
        if instruction.row.kind is Kind.REDUCE and instruction.immediate is None and instruction.a in written:
            raise Unsupported(
                "A reduction of what was computed after another one would need another pass over all lanes"
            )
        if instruction.row.has_destination:
            written.add(instruction.d)
    return Parts(body, tail)


def registers_read(instruction: Instruction) -> set[int]:
    """The registers on which an instruction's effects depend, the destination's kept part with them."""
    row = instruction.row
    found = set()
    if row.takes_b:
        found.add(instruction.b)
    if row.takes_a and instruction.immediate is None:
        found.add(instruction.a)
    if row.reads_destination or row.kind is Kind.STORE:
        found.add(instruction.d)
    return found


def flags_read(instruction: Instruction) -> set[str]:
    """The flags on which an instruction's effects depend."""
    row = instruction.row
    if row.takes_condition:
        return set(flags_of_condition(instruction.b))
    if row.operation in ("shl", "shr", "sar", "rol", "ror") and (
        not instruction.sets_flags
        or (instruction.immediate is not None and instruction.immediate & (63 if row.width == 64 else 31))
    ):
        return set()  # they read flags only to keep them where they shift by 0
    return set(row.reads)


def live_in(body: Sequence[Instruction]) -> tuple[set[int], set[str]]:
    """Registers and flags that a run through the body may read before it writes them."""
    registers: set[int] = set()
    flags: set[str] = set()
    written: set[int] = set()
    flags_written: set[str] = set()
    for instruction in body:
        registers |= registers_read(instruction) - written
        flags |= flags_read(instruction) - flags_written
        if instruction.row.has_destination:
            written.add(instruction.d)
        if instruction.sets_flags:
            flags_written |= set(instruction.row.writes)
    return registers, flags


_Known = int | None
"""A register from lane to lane: it grows by this much, 0 for one that all lanes share, or None for who knows."""


def strides(body: Sequence[Instruction], carried: AbstractSet[int]) -> list[int | None]:
    """For each load and store, by how many bytes its address grows from lane to lane; None where that is not known.

    `carried`: the registers with which a lane goes on from the lane before, flags too where there are any.
    """
    at_start: list[_Known] = [0] * N_REGISTERS
    for number, delta in enumerate(_deltas(body) if carried else ()):
        if number in carried:
            at_start[number] = delta
    return _walk(body, at_start, bool(carried))


def _walk(body: Sequence[Instruction], at_start: list[_Known], carried: bool) -> list[int | None]:
    known = list(at_start)
    flags: _Known = None if carried and any(i.sets_flags for i in body) else 0
    found: list[int | None] = []
    for instruction in body:
        if instruction.row.kind in (Kind.LOAD, Kind.STORE):
            base = known[instruction.b]
            more = 0
            if instruction.row.shape in (Shape.LOAD, Shape.STORE) and instruction.immediate is None:
                offset = known[instruction.a]
                base, more = (None, 0) if offset is None else (base, offset)
            found.append(None if base is None else _wrapped(base + more))
        grows = _growth(instruction, known, flags)
        if instruction.sets_flags and any(known[n] != 0 for n in registers_read(instruction)):
            flags = None
        if instruction.row.has_destination:
            known[instruction.d] = grows
    return found


def _growth(i: Instruction, known: list[_Known], flags: _Known) -> _Known:
    """By how much the result grows from lane to lane."""
    row = i.row
    if row.kind is Kind.LANE:
        return 1
    if row.kind is not Kind.PLAIN:
        return None
    b = known[i.b] if row.takes_b else 0
    a = 0 if i.immediate is not None else known[i.a] if row.takes_a else 0
    if row.width == 64 and a is not None and b is not None:
        if row.operation in ("mov", "inc", "dec"):
            return a
        if row.operation == "add":
            return _wrapped(b + a)
        if row.operation == "sub":
            return _wrapped(b - a)
        if row.operation == "neg":
            return _wrapped(-a)
        if row.operation == "shl" and i.immediate is not None:
            return _wrapped(b << (i.immediate & 63))
        if row.operation == "mul" and i.immediate is not None:
            return _wrapped(b * i.immediate)
    shared = all(known[n] == 0 for n in registers_read(i)) and (not flags_read(i) or flags == 0)
    return 0 if shared else None


def _wrapped(value: int) -> int:
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


def _deltas(body: Sequence[Instruction]) -> list[_Known]:
    """By how much each register grows in one run through the body, where that is one number whatever it held."""
    where: list[tuple[int, int] | None] = [(number, 0) for number in range(32)]  # a register at the start, and more
    for i in body:
        row = i.row
        if not row.has_destination:
            continue
        made: tuple[int, int] | None = None
        if row.width == 64:
            source = where[i.b] if row.operation in ("add", "sub") else where[i.a]
            if row.operation in ("mov", "inc", "dec") and i.immediate is None and source is not None:
                made = (source[0], source[1] + {"mov": 0, "inc": 1, "dec": -1}[row.operation])
            elif row.operation in ("add", "sub") and i.immediate is not None and source is not None:
                made = (source[0], source[1] + (i.immediate if row.operation == "add" else -i.immediate))
        where[i.d] = made
    found: list[_Known] = []
    for number, at_end in enumerate(where):
        found.append(_wrapped(at_end[1]) if at_end is not None and at_end[0] == number else None)
    return found
