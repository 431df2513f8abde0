"""Cheaper microcode for the same code: a superoptimiser by counterexamples (CEGIS) over the table of instructions.

From a translation that is proved, programs are tried that leave an instruction out, write no flags where it did, or do
in one what two or three did. A candidate is first run on examples: states, with what x86 code makes of them. What
survives is proved, and the counterexample of what is refuted becomes an example: no mistake is made twice. What is
given back is proved, or is what was given.

Solar-Lezama, "Program synthesis by sketching", 2008, has the loop; Massalin, "Superoptimizer", 1987, the search.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from bridge.pixelcpu import interpreter
from bridge.pixelcpu.counterexample import Counterexample
from bridge.pixelcpu.decode import decode
from bridge.pixelcpu.differential import Windows, defined_flags, interpreted, with_pointers
from bridge.pixelcpu.isa import CONDITIONS, ROWS, Kind, Row, Shape
from bridge.pixelcpu.microcode import Instruction, Program, signed
from bridge.pixelcpu.prove import Proof, prove_equal
from bridge.pixelcpu.translation import Translation
from bridge.pixelcpu.unicorn_runs import WINDOW
from bridge.pixelcpu.x86_state import FLAG_BITS, FLAGS, HALVES, REGISTERS, States, random_states

TIME_LIMIT_S = 2.0
_N_EXAMPLES = 48
_PROOF_S = 1.0
_LENGTHS = (2, 3, 1)
"""Of windows for which one instruction is tried."""
_SIMPLE = (Shape.UNARY, Shape.BINARY, Shape.CONDITIONAL, Shape.CHOICE)


@dataclass(frozen=True, slots=True)
class Improved:
    """What became of a translation."""

    translation: Translation
    proof: Proof | None
    """Of the translation, where it is another than was given."""
    n_tried: int
    """Candidates that were run on the examples."""
    n_refuted: int
    """Those that survived the examples, and were refuted by the solver."""
    ms: float


def improve(code: bytes, translation: Translation, time_limit_s: float = TIME_LIMIT_S) -> Improved:
    """The cheapest translation that is found in time; `translation` is proved. Raises BadCode, Unsupported."""
    began = perf_counter()
    deadline = began + time_limit_s
    examples = _Examples(code, translation)
    best, best_proof, n_tried, n_refuted = translation, None, 0, 0
    better = True
    while better and perf_counter() < deadline:
        better = False
        for program in _candidates(best, examples, deadline):
            if perf_counter() >= deadline:
                break
            if program.cost >= best.program.cost:
                continue
            n_tried += 1
            candidate = replace(best, program=program)
            if not examples.agree(candidate):
                continue
            proof = prove_equal(code, candidate, min(_PROOF_S, max(0.01, deadline - perf_counter())))
            if proof.status == "proved":
                best, best_proof, better = candidate, proof, True
                break
            if proof.counterexample is not None:
                n_refuted += 1
                examples.add(proof.counterexample)
    return Improved(best, best_proof, n_tried, n_refuted, 1000 * (perf_counter() - began))


class _Examples:
    """States, and what the translation that is proved makes of them."""

    def __init__(self, code: bytes, translation: Translation) -> None:
        self._code, self._right = code, translation
        self._instructions = decode(code)
        self._states = with_pointers(self._instructions, random_states(_N_EXAMPLES, 11), 11)
        self._expect()

    def _expect(self) -> None:
        self._memory = np.random.default_rng(5).integers(0, 256, len(self._states) * WINDOW, np.uint8)
        self._expected, self._left = self._run(self._right)
        self._defined = defined_flags(self._code, self._instructions, self._states)

    def _run(self, translation: Translation) -> tuple[interpreter.States, NDArray[np.uint8]]:
        memory = self._memory.copy()
        return interpreted(translation, self._states, Windows(memory)), memory

    def agree(self, translation: Translation) -> bool:
        """Whether another does the same with all of them."""
        after, memory = self._run(translation)
        numbers = [*range(len(REGISTERS)), *translation.halves.values()]
        if translation.taken is not None:
            numbers.append(translation.taken)
        if translation.elsewhere is not None:
            numbers.append(translation.elsewhere)
        if not np.array_equal(after.registers[:, numbers], self._expected.registers[:, numbers]):
            return False
        differs = after.flags ^ self._expected.flags
        for flag in FLAGS:
            if ((differs >> np.uint64(FLAG_BITS[flag]) & np.uint64(1)).astype(bool) & self._defined[flag]).any():
                return False
        return np.array_equal(memory, self._left)

    def add(self, example: Counterexample) -> None:
        """One more; bytes of memory are not held, which costs a proof and nothing else."""
        registers = np.array([[example.registers[name] for name in REGISTERS]], np.uint64)
        halves = np.array([[example.registers[name] for name in HALVES]], np.uint64)
        flags = np.array([sum(value << FLAG_BITS[name] for name, value in example.flags.items())], np.uint64)
        before = self._states
        self._states = States(
            np.concatenate((before.registers, registers)),
            np.concatenate((before.flags, flags)),
            np.concatenate((before.halves, halves)),
        )
        self._expect()

    def after(self, translation: Translation, n_instructions: int) -> interpreter.States:
        """Registers and flags after the first instructions."""
        program = Program.of(translation.program.instructions[:n_instructions])
        return self._run(replace(translation, program=program))[0]


def _candidates(best: Translation, examples: _Examples, deadline: float) -> Iterator[Program]:
    """Programs like this one: the ones that are likely first."""
    instructions = best.program.instructions
    for place, one in enumerate(instructions):
        yield _with(instructions, place, 1)
        if one.sets_flags and not one.row.must_write:
            yield _with(instructions, place, 1, replace(one, sets_flags=False))
        if one.row.operation == "mov" and one.immediate is None:
            yield _forwarded(instructions, place)
    for length in _LENGTHS:
        for place in range(len(instructions) - length + 1):
            window = instructions[place : place + length]
            if all(one.row.kind is Kind.PLAIN for one in window):
                before, after = examples.after(best, place), examples.after(best, place + length)
                for new in _alike(window, before, after, deadline):
                    yield _with(instructions, place, length, new)


def _forwarded(instructions: tuple[Instruction, ...], place: int) -> Program:
    """Without a copy: what reads it reads what was copied, until it is written again."""
    copy, rest = instructions[place], list(instructions[place + 1 :])
    for at, one in enumerate(rest):
        row = one.row
        a = copy.a if row.takes_a and one.immediate is None and one.a == copy.d else one.a
        b = copy.a if row.takes_b and one.b == copy.d else one.b
        value = not row.has_destination and row.kind is Kind.STORE
        rest[at] = replace(one, a=a, b=b, d=copy.a if value and one.d == copy.d else one.d)
        if row.has_destination and one.d == copy.d:
            break
    return Program.of((*instructions[:place], *rest))


def _with(instructions: tuple[Instruction, ...], place: int, length: int, *new: Instruction) -> Program:
    return Program.of((*instructions[:place], *new, *instructions[place + length :]))


def _alike(
    window: tuple[Instruction, ...], before: interpreter.States, after: interpreter.States, deadline: float
) -> Iterator[Instruction]:
    """Single instructions that leave in a register what these leave there, in every example."""
    most = sum(one.row.cost + one.sets_flags for one in window)
    targets = {one.d for one in window if one.row.has_destination}
    registers = sorted({number for one in window for number in _read(one)} | targets)
    immediates = _immediates(window)
    writes, widths = any(one.sets_flags for one in window), {one.row.width for one in window}
    for row in ROWS:
        if row.kind is not Kind.PLAIN or row.shape not in _SIMPLE or not row.has_destination or row.cost >= most:
            continue
        if row.width not in widths:
            continue
        for target in targets:
            wanted = after.registers[:, target]
            for new in _forms(row, target, registers, immediates):
                if perf_counter() >= deadline:
                    return
                done = interpreter.run_states(Program.of([new]), before)
                if np.array_equal(done.registers[:, target], wanted):
                    if writes and row.writes:
                        yield replace(new, sets_flags=True)
                    yield new


def _forms(row: Row, target: int, registers: list[int], immediates: list[int]) -> Iterator[Instruction]:
    firsts = registers if row.takes_b else range(len(CONDITIONS)) if row.takes_condition else (0,)
    fitting = sorted({signed(value, row.immediate_width) for value in immediates}) if row.may_be_immediate else []
    for b in firsts:
        for a in registers:
            yield Instruction(row, target, b, a)
        for immediate in fitting:
            yield Instruction(row, target, b, 0, immediate)


def _read(one: Instruction) -> list[int]:
    found = [one.b] if one.row.takes_b else []
    if one.row.takes_a and one.immediate is None:
        found.append(one.a)
    return found


def _immediates(window: tuple[Instruction, ...]) -> list[int]:
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
