"""Carries a program out over any algebra: registers, flags, x86's rule of partial writes; memory and lanes by hooks.

The numpy interpreter, the z3 meaning and both code generators are this, with their own words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from bridge.pixelcpu.algebra import Algebra
from bridge.pixelcpu.isa import Kind, Shape
from bridge.pixelcpu.microcode import Instruction
from bridge.pixelcpu.semantics import Inputs, meaning_of, merged

V = TypeVar("V")
B = TypeVar("B")
C = TypeVar("C", contravariant=True)


@dataclass(slots=True)
class State(Generic[V, B]):
    """Registers and flags while a program runs."""

    registers: list[V]
    """32 words of 64 bits."""
    flags: dict[str, B]
    """Each of `isa.FLAGS`."""
    written: set[int] = field(default_factory=set)
    """The registers that were written."""

    def copy(self) -> State[V, B]:
        """One that can go its own way."""
        return State(list(self.registers), dict(self.flags), set(self.written))


class Hooks(Protocol[V, C]):
    """What only a back end can do."""

    def load(self, address: V, width: int, only_if: C | None, /) -> V:
        """The word of `width` bits there; where `only_if` is false nothing is read, and the word does not matter."""
        ...

    def store(self, address: V, value: V, only_if: C | None, /) -> None:
        """Write a word."""
        ...

    def lane(self) -> V:
        """The lane's number, a word of 64 bits."""
        ...

    def reduce(self, operation: str, value: V, /) -> V:
        """A word folded over all lanes; `operation` is that of the row."""
        ...


def execute(
    instructions: Sequence[Instruction],
    algebra: Algebra[V, B],
    state: State[V, B],
    hooks: Hooks[V, B],
    before: Callable[[int], None] | None = None,
) -> None:
    """Run straight through, changing `state`. `before` is told each instruction's place before it is carried out."""
    for place, instruction in enumerate(instructions):
        if before is not None:
            before(place)
        one(instruction, algebra, state, hooks)


def one(instruction: Instruction, algebra: Algebra[V, B], state: State[V, B], hooks: Hooks[V, B]) -> None:
    """Carry out one instruction."""
    row, width = instruction.row, instruction.row.word_width

    def register(number: int, bits: int = width) -> V:
        value = state.registers[number]
        return value if bits == 64 else algebra.truncate(value, bits)

    def a(bits: int = width) -> V:
        if instruction.immediate is None:
            return register(instruction.a, bits)
        return algebra.const(bits, instruction.immediate)

    def write(value: V) -> None:
        state.registers[instruction.d] = merged(algebra, state.registers[instruction.d], value)
        state.written.add(instruction.d)

    if row.kind is Kind.LANE:
        write(hooks.lane())
    elif row.kind is Kind.REDUCE:
        write(hooks.reduce(row.operation, a()))
    elif row.kind in (Kind.LOAD, Kind.STORE):
        address, only_if = register(instruction.b, 64), None
        if row.shape in (Shape.LOAD_IF, Shape.STORE_IF):
            only_if = algebra.negate(algebra.is_zero(register(instruction.a, 64)))
        elif instruction.immediate != 0:
            address = algebra.add(address, a(64))
        if row.kind is Kind.STORE:
            hooks.store(address, register(instruction.d), only_if)
        else:
            value = hooks.load(address, width, only_if)
            write(value if only_if is None else algebra.choose(only_if, value, register(instruction.d)))
    else:
        # What a row does not take is not read: reading costs, where words are arrays.
        nothing = algebra.const(width, 0)
        outcome = meaning_of(row)(
            Inputs(
                algebra,
                row.width,
                register(instruction.b) if row.takes_b else nothing,
                a() if row.takes_a else nothing,
                register(instruction.d) if row.shape in (Shape.CONDITIONAL, Shape.CHOICE) else nothing,
                state.flags,
                instruction.b if row.takes_condition else 0,
            )
        )
        if outcome.value is not None:
            write(outcome.value)
        if instruction.sets_flags:
            state.flags = {**state.flags, **outcome.flags()}
