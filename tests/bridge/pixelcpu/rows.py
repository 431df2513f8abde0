"""For each row of the table an instruction that shows all of it, states for it, and what the model makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.pixelcpu.assembly import assemble
from bridge.pixelcpu.interpreter import States
from bridge.pixelcpu.isa import FLAG_BITS, FLAGS, FLAGS_MASK, N_REGISTERS, ROWS, Kind, Row
from bridge.pixelcpu.microcode import Instruction, Program
from tests.bridge.pixelcpu.model import MODEL, Given

D, B, A = 1, 2, 3
"""The registers of the instructions here."""

_CORNERS = sorted(
    {
        value + by & (1 << 64) - 1
        for place in (0, 3, 4, 5, 7, 8, 15, 16, 31, 32, 63, 64)
        for value in (1 << place,)
        for by in (-1, 0, 1)
    }
    | {0x0101010101010101, 0x8080808080808080, 0x7F7F7F7F7F7F7F7F, 0x00FF00FF00FF00FF, 0x8000000080000000}
)


@dataclass(frozen=True)
class Example:
    """An instruction of a plain row that writes the row's flags."""

    row: Row
    program: Program
    condition: int

    def __str__(self) -> str:
        return self.row.name + (f"-{self.condition}" if self.row.takes_condition else "")


def _example(row: Row, condition: int) -> Example:
    instruction = Instruction(
        row,
        d=D if row.has_destination else 0,
        b=condition if row.takes_condition else B if row.takes_b else 0,
        a=A if row.takes_a else 0,
        sets_flags=bool(row.writes),
    )
    return Example(row, Program.of([instruction]), condition)


PLAIN = tuple(row for row in ROWS if row.kind is Kind.PLAIN)
EXAMPLES = {row.name: [_example(row, number) for number in range(16 if row.takes_condition else 1)] for row in PLAIN}
"""Of each plain row by its name: one, or one for each condition."""


def some_states(count: int, seed: int) -> States:
    """Every pair of corners in B and A as far as `count` goes, then random values of all sizes."""
    rng = np.random.default_rng(seed)
    registers = rng.integers(0, 1 << 64, (count, N_REGISTERS), np.uint64)
    registers[1::2] >>= rng.integers(0, 64, registers[1::2].shape, np.uint64)
    pairs = np.array([(b, a) for b in _CORNERS for a in _CORNERS], np.uint64)
    n = min(len(pairs), count // 2)
    registers[:n, [B, A]] = rng.permutation(pairs)[:n]
    return States(registers, words_of(rng.integers(0, 2, (count, 6), np.uint64)))


def words_of(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Bits (n, 6) in the order of `FLAGS` -> words of flags (n,)."""
    words: NDArray[np.uint64] = sum(
        (bits[:, place] << np.uint64(FLAG_BITS[flag]) for place, flag in enumerate(FLAGS)),
        np.zeros(len(bits), np.uint64),
    )
    return words


def expected(example: Example, states: States) -> States:
    """What the model makes of the states."""
    row, width = example.row, example.row.word_width
    mask = np.uint64((1 << width) - 1)

    def operand(number: int) -> Any:
        return (states.registers[:, number] & mask).astype(object)

    flags = {flag: (states.flags >> np.uint64(FLAG_BITS[flag]) & np.uint64(1)).astype(object) for flag in FLAGS}
    made = MODEL[row.operation](Given(row.width, operand(B), operand(A), operand(D), flags, example.condition))
    registers = states.registers.copy()
    if row.has_destination:
        value = np.asarray(made.value).astype(np.uint64)
        keep = np.uint64((1 << 64) - (1 << width) if width < 32 else 0)
        registers[:, D] = (registers[:, D] & keep) | value
    assert set(made.flags) == set(row.writes)
    bits = np.stack([np.asarray(made.flags.get(flag, flags[flag])).astype(np.uint64) for flag in FLAGS], axis=1)
    return States(registers, words_of(bits))


EVERY_LANES = 1 << 17
_EVERY_FLAGS = FLAGS_MASK & ~1


def every_pair(example: Example) -> Program:
    """The example's instruction at 8 bits for every pair of operands and either carry, a lane each.

    Lane n has n % 256 in B and what was in D, n / 256 % 256 in A, n / 65536 for the carry and all other flags set. It
    stores what it finds in D, and the flags' word, as two bytes each, at 4 n from register 0 on.
    """
    return Program.of(
        [
            *assemble(
                f"lane.64 r9\nmov.64 r{B}, r9\nmov.64 r{D}, r9\nshr.64 r{A}, r9, 8\nshr.64 r4, r9, 16\n"
                f"wrf.64! r4, 1\nmov.64 r5, {_EVERY_FLAGS}\nwrf.64! r5, {_EVERY_FLAGS}\n"
            ).instructions,
            *example.program.instructions,
            *assemble(
                f"rdf.64 r5\nshl.64 r6, r9, 2\nadd.64 r6, r6, r0\nstore.16 [r6], r{D}\nstore.16 [r6 + 2], r5\n"
            ).instructions,
        ]
    )


def every_expected(example: Example) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """What the model makes of `every_pair`: the low 16 bits of D, and the flags' words."""
    lanes = np.arange(EVERY_LANES, dtype=np.int64)
    flags = {flag: lanes >> 16 if flag == "C" else lanes * 0 + 1 for flag in FLAGS}
    given = Given(8, lanes % 256, (lanes >> 8) % 256, lanes % 256, flags, example.condition)
    made = MODEL[example.row.operation](given)
    value = lanes % 256 if made.value is None else made.value
    low = (lanes % (1 << 16)) - lanes % 256 + value
    words = sum((made.flags.get(flag, flags[flag]) << FLAG_BITS[flag] for flag in FLAGS), lanes * 0)
    return low.astype(np.uint16), words.astype(np.uint16)


def assert_same(found: States, wanted: States, before: States, what: str) -> None:
    """Every register and flag of every state, or the first state that differs is told."""
    wrong = (found.registers != wanted.registers).any(axis=1) | (found.flags != wanted.flags)
    if wrong.any():
        at = int(wrong.argmax())
        d, b, a = (int(before.registers[at, number]) for number in (D, B, A))
        raise AssertionError(
            f"{what}: {int(wrong.sum())} of {len(wrong)} states differ; d={d:#x} b={b:#x} a={a:#x}"
            f" flags={int(before.flags[at]):#x}: d {int(found.registers[at, D]):#x} for"
            f" {int(wanted.registers[at, D]):#x}, flags {int(found.flags[at]):#x} for {int(wanted.flags[at]):#x}"
        )


PROBED = tuple(example for name, each in EXAMPLES.items() for example in each[: 16 if name == "set.8" else 1])
"""Every plain row, and every condition once."""
GIVEN_BYTES, FOUND_BYTES = 32, 12


def probe(examples: tuple[Example, ...]) -> Program:
    """Each lane runs all the examples on a state of its own.

    It loads D, B, A and the flags from register 0 + 32 lane on; to register 6 + lane * 12 n on it stores, for each of
    the n examples, D in 8 bytes and the flags in 4.
    """
    start = f"""
        lane.64 r9
        shl.64 r10, r9, 5
        add.64 r10, r10, r0
        load.64 r5, [r10]
        load.64 r{B}, [r10 + 8]
        load.64 r{A}, [r10 + 16]
        load.64 r4, [r10 + 24]
        mul.64 r11, r9, {FOUND_BYTES * len(examples)}
        add.64 r11, r11, r6
    """
    done = [*assemble(start).instructions]
    before = assemble(f"mov.64 r{D}, r5\nwrf.64! r4, {FLAGS_MASK}\n").instructions
    for number, example in enumerate(examples):
        place = FOUND_BYTES * number
        done += [*before, *example.program.instructions]
        done += assemble(
            f"rdf.64 r12\nstore.64 [r11 + {place}], r{D}\nstore.32 [r11 + {place + 8}], r12\n"
        ).instructions
    return Program.of(done)


def probe_memory(examples: tuple[Example, ...], states: States) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """What a probe of these states finds in memory, and what it leaves there: (n_bytes,) each.

    Registers are to be 0, and register 6 `GIVEN_BYTES` * n_states.
    """
    given = np.column_stack([states.registers[:, D], states.registers[:, B], states.registers[:, A], states.flags])
    found = np.zeros((len(states.flags), len(examples), FOUND_BYTES), np.uint8)
    before = np.concatenate([np.ascontiguousarray(given).view(np.uint8).ravel(), found.ravel()])
    for number, example in enumerate(examples):
        wanted = expected(example, states)
        found[:, number, :8] = np.ascontiguousarray(wanted.registers[:, D]).view(np.uint8).reshape(-1, 8)
        found[:, number, 8:] = wanted.flags.astype(np.uint32).view(np.uint8).reshape(-1, 4)
    return before, np.concatenate([before[: given.nbytes], found.ravel()])


def assert_probed(after: NDArray[np.uint8], wanted: NDArray[np.uint8], examples: tuple[Example, ...], n: int) -> None:
    """That memory is what the model left, or which rows differ."""
    at = n * GIVEN_BYTES
    np.testing.assert_array_equal(after[:at], wanted[:at])
    wrong = (after[at:] != wanted[at:]).reshape(n, len(examples), FOUND_BYTES).any(axis=2).sum(axis=0)
    differ = {str(examples[place]): f"{wrong[place]} of {n}" for place in np.flatnonzero(wrong)}
    assert not differ, differ
