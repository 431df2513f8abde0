"""A loop as a kernel: microcode that does all of its rounds side by side, a lane each.

It is made of parts that are proved by themselves: the round's microcode (`prove`), and what counts, folds and streams
do over the rounds (`loops`). The last round runs alone, after the others, with the state that they leave: so what only
the last round decides, flags and registers that each round computes anew, is exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.pixelcpu.closed_form import begun, n_registers
from bridge.pixelcpu.errors import PixelError, Unsupported
from bridge.pixelcpu.interpreter import MOST_STEPS, Final, run_lanes
from bridge.pixelcpu.isa import N_REGISTERS
from bridge.pixelcpu.llvm_leaps import Leaps
from bridge.pixelcpu.loops import Loop
from bridge.pixelcpu.memory import NO_MEMORY, Memory
from bridge.pixelcpu.microcode import Instruction, Program, make
from bridge.pixelcpu.translation import Translation
from bridge.pixelcpu.x86_state import REGISTERS

_COMBINES = {
    "sumall": "add",
    "xorall": "xor",
    "orall": "or",
    "andall": "and",
    "minuall": "minu",
    "maxuall": "maxu",
    "minsall": "mins",
    "maxsall": "maxs",
}


@dataclass(frozen=True, slots=True)
class LoopKernel:
    """Microcode for any number of a loop's rounds."""

    loop: Loop
    round: Program
    """One round, as x86 does it."""
    rounds: Program
    """Round i in lane i: counting registers begin with i steps, folded ones with what changes nothing. `carried` ones
    begin as the lane before left them."""
    carried: frozenset[int] = frozenset()
    """Registers of an ordered loop."""
    until: int | None = None
    """The register that is 0 after a round that does not go back; None where it is known beforehand which that is."""
    last_alone: bool = False
    """No lane needs another, and the last one's state is all that there is."""
    leaps: Leaps | None = None
    """How `carried` registers come to what they are before the last lane, without all lanes before it."""

    def run(
        self,
        n_rounds: int,
        registers: NDArray[np.uint64],
        flags: int = 0,
        memory: Memory = NO_MEMORY,
        most_steps: int = MOST_STEPS,
    ) -> Final:
        """Do so many rounds by the interpreter; registers (32,) are those before.

        `Loop.rounds` says how many may be done. Raises PixelError for none, and as `interpreter.run_lanes`.
        """
        if n_rounds < 1:
            raise PixelError(f"A kernel does at least one round, not {n_rounds}.")
        if self.loop.ordered:
            for _ in range(n_rounds - 1):
                registers = run_lanes(self.round, 1, registers, flags, memory, most_steps).registers
        elif n_rounds > 1:
            registers = run_lanes(self.rounds, n_rounds - 1, registers, flags, memory, most_steps).registers
        return run_lanes(self.round, 1, registers, flags, memory, most_steps)


def kernel_of(loop: Loop, translation: Translation) -> LoopKernel:
    """The kernel of a loop whose round has this microcode. Raises Unsupported where registers run out."""
    counting = {_register(name, translation): one.step for name, one in loop.inductions.items()}
    folds = {_register(name, translation): fold for name, fold in loop.folds.items()}
    used = {number for instruction in translation.program.instructions for number in _registers(instruction)}
    free = [number for number in range(len(REGISTERS), N_REGISTERS) if number not in used]
    leaps = None
    if loop.linear is not None:
        leaping = tuple(_register(name, translation) for name in loop.linear.names)
        leaps = Leaps(translation.program, loop.linear, leaping)
    if loop.closed is not None:
        kept = () if leaps is None else leaps.registers
        if len(free) >= n_registers(loop.closed) + len(kept):
            numbers = [_register(name, translation) for name in loop.closed.names]
            others = {number: step for number, step in counting.items() if number not in numbers}
            first = begun(loop.closed, numbers, others, translation.program, free, kept)
            rounds = Program.of((*first, *translation.program.instructions))
            return LoopKernel(loop, translation.program, rounds, frozenset(kept), last_alone=leaps is None, leaps=leaps)
        leaps = None  # over a part of what is carried on only
    if len(free) < len(folds) + 2:
        raise Unsupported("the kernel needs more registers than there are")
    lane, steps, *spare = free
    before: list[Instruction] = [make("lane.64", lane)] if counting else []
    for number, step in counting.items():
        if step != 1:
            before.append(make("mul.64", steps, lane, immediate=step, flags=False))
        before.append(make("add.64", number, number, lane if step == 1 else steps, flags=False))
    after: list[Instruction] = []
    for (number, fold), held in zip(folds.items(), spare, strict=False):
        before += [make("mov.64", held, a=number), make("mov.64", number, immediate=fold.neutral)]
        after.append(make(f"{fold.operation}.{fold.width}", number, a=number))
        after.append(make(f"{_COMBINES[fold.operation]}.{fold.width}", number, number, held, flags=False))
    until = None if loop.trips else translation.taken
    if until is not None and translation.elsewhere is not None:  # it may have left by another way
        after.append(make("eq.64", lane, translation.elsewhere, immediate=0))
        after.append(make("and.64", lane, lane, until, flags=False))
        until = lane
    rounds = Program.of((*before, *translation.program.instructions, *after))
    carried = frozenset(_register(name, translation) for name in loop.carried if _is_used(name, translation))
    return LoopKernel(loop, translation.program, rounds, carried, until, leaps=leaps)


def _is_used(name: str, translation: Translation) -> bool:
    return name in REGISTERS or name in translation.halves


def _register(name: str, translation: Translation) -> int:
    return REGISTERS.index(name) if name in REGISTERS else translation.halves[name]


def _registers(instruction: Instruction) -> list[int]:
    row = instruction.row
    found = [instruction.d]
    if row.takes_b:
        found.append(instruction.b)
    if row.takes_a and instruction.immediate is None:
        found.append(instruction.a)
    return found
