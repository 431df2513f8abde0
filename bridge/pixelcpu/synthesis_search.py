"""The search of the superoptimiser: which one instruction leaves in a register what several do, in every example.

All forms of a row (its registers, its immediates) are carried out at once, side by side as lanes of one numpy run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from bridge.pixelcpu.executor import State, execute
from bridge.pixelcpu.interpreter import ALGEBRA, LaneHooks, Lanes
from bridge.pixelcpu.isa import CONDITIONS, FLAGS, N_REGISTERS, ROWS, Kind, Row, Shape
from bridge.pixelcpu.memory import NO_MEMORY
from bridge.pixelcpu.microcode import Instruction, signed
from bridge.pixelcpu.numpy_algebra import Word

_SIMPLE = (Shape.UNARY, Shape.BINARY, Shape.CONDITIONAL, Shape.CHOICE)
_ROWS = sorted(
    (row for row in ROWS if row.kind is Kind.PLAIN and row.shape in _SIMPLE and row.has_destination),
    key=lambda row: row.cost,
)
_D, _B, _A = 0, 1, 2
"""Where the operands of a trial lie."""


def alike(
    window: Sequence[Instruction], before: Lanes, after: Lanes, n_examples: int, deadline: float
) -> Iterator[Instruction]:
    """Single instructions, the cheaper ones first, that are cheaper than these and leave a register as they do.

    `before`, `after`: the examples at the window's two ends. `deadline`: by `perf_counter`.
    """
    most = sum(one.row.cost + one.sets_flags for one in window)
    targets = sorted({one.d for one in window if one.row.has_destination})
    if not targets:
        return
    registers = sorted({number for one in window for number in _read(one)} | set(targets))
    immediates = _immediates(window)
    writes, widths = any(one.sets_flags for one in window), {one.row.width for one in window}
    wanted = {target: _wide(after.registers[target], n_examples) for target in targets}
    words = {number: _wide(before.registers[number], n_examples) for number in registers}
    for row in _ROWS:
        if row.cost >= most or row.width not in widths:
            continue
        if perf_counter() >= deadline:
            return
        fitting = sorted({signed(value, row.immediate_width) for value in immediates}) if row.may_be_immediate else []
        for target, b, a in _found(row, registers, fitting, words, wanted, before, n_examples):
            is_register = a < len(registers)
            new = Instruction(
                row, target, b, registers[a] if is_register else 0, None if is_register else fitting[a - len(registers)]
            )
            if writes and row.writes:
                yield replace(new, sets_flags=True)
            yield new


def _found(
    row: Row,
    registers: Sequence[int],
    immediates: Sequence[int],
    words: dict[int, Word],
    wanted: dict[int, Word],
    before: Lanes,
    n_examples: int,
) -> Iterator[tuple[int, int, int]]:
    """Forms that do: the target, register B or the condition, and which one A is, of registers and immediates."""
    values = [words[number] for number in registers]
    values += [np.full(n_examples, value & (1 << 64) - 1, np.uint64) for value in immediates]
    held = registers if row.takes_b else range(len(CONDITIONS)) if row.takes_condition else (0,)
    repeat = len(held) * len(values) if row.takes_b else len(values)
    a = np.concatenate(values * len(held)) if row.takes_b else np.concatenate(values)
    b = np.repeat(np.stack([words[number] for number in held]), len(values), axis=0).ravel() if row.takes_b else None
    flags = {
        flag: np.tile(np.broadcast_to(before.flags[flag], n_examples), repeat) for flag in FLAGS if flag in row.reads
    }
    olds = wanted if row.reads_destination else (next(iter(wanted)),)
    for condition in held if row.takes_condition else (0,):
        for old in olds:
            d = np.tile(words[old], repeat) if row.reads_destination else None
            made = _made(row, d, b, a, condition, flags).reshape(repeat, n_examples)
            for target in (old,) if row.reads_destination else wanted:
                for form in np.flatnonzero((made == wanted[target]).all(axis=1)).tolist():
                    which, number = divmod(form, len(values))
                    yield target, held[which] if row.takes_b else condition, number


def _made(
    row: Row, d: Word | None, b: Word | None, a: Word, condition: int, flags: dict[str, NDArray[np.bool_]]
) -> Word:
    """What the row makes of operands, all forms side by side."""
    nothing = np.zeros(1, np.uint64)
    registers: list[Word] = [nothing] * N_REGISTERS
    registers[_D] = nothing if d is None else d
    registers[_B] = nothing if b is None else b
    registers[_A] = a
    truths = {flag: flags.get(flag, np.zeros(1, np.bool_)) for flag in FLAGS}
    state = State(registers, truths)
    one = Instruction(row, _D, _B if row.takes_b else condition, _A)
    execute([one], ALGEBRA, state, LaneHooks(len(a), NO_MEMORY))
    return np.broadcast_to(state.registers[_D], len(a))


def _wide(word: Word, n_examples: int) -> Word:
    return np.broadcast_to(word, n_examples)


def _read(one: Instruction) -> list[int]:
    found = [one.b] if one.row.takes_b else []
    if one.row.takes_a and one.immediate is None:
        found.append(one.a)
    return found


def _immediates(window: Sequence[Instruction]) -> list[int]:
    """Those that are there, and what two of them make together."""
    there = [one.immediate for one in window if one.immediate is not None]
    found = {0, 1, -1, *there}
    for one in there:
        found |= {-one, ~one}
        if 0 <= one < 64:
            found |= {1 << one, (1 << one) - 1}
        for other in there:
            found |= {one + other, one - other, one & other, one | other, one ^ other}
    return sorted(found)
