"""Runs programs in numpy, an instruction at a time over all lanes: the back end that the others are held against."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.pixelcpu.errors import PixelError, TooManySteps
from bridge.pixelcpu.executor import State, execute
from bridge.pixelcpu.isa import FLAG_BITS, FLAGS, N_REGISTERS
from bridge.pixelcpu.memory import NO_MEMORY, Memory
from bridge.pixelcpu.microcode import Program
from bridge.pixelcpu.numpy_algebra import UNSIGNED, NumpyAlgebra, Truth, Word, fold
from bridge.pixelcpu.semantics import word_of_flags

MOST_STEPS = 1 << 30
"""Instructions times lanes that one run may take, unless it is told otherwise: some seconds."""

ALGEBRA = NumpyAlgebra()
Lanes = State[Word, Truth]
"""Words are (n_lanes,), or (1,) where all lanes have the same."""


@dataclass(frozen=True, slots=True)
class States:
    """Registers and flags of n states, each of which is a lane."""

    registers: NDArray[np.uint64]
    """(n, 32)."""
    flags: NDArray[np.uint64]
    """(n,), laid out as in RFLAGS."""


@dataclass(frozen=True, slots=True)
class Final:
    """Registers and flags of the last lane."""

    registers: NDArray[np.uint64]
    """(32,)."""
    flags: int


def run_lanes(
    program: Program,
    lanes: int,
    registers: NDArray[np.uint64],
    flags: int = 0,
    memory: Memory = NO_MEMORY,
    most_steps: int = MOST_STEPS,
) -> Final:
    """Run over lanes that all start with the same registers (32,). Raises MemoryFault and TooManySteps.

    After a fault the memory has what was stored before it.
    """
    words = [np.array([value], np.uint64) for value in _checked(registers, (N_REGISTERS,))]
    truths = {flag: np.array([bool(flags >> FLAG_BITS[flag] & 1)]) for flag in FLAGS}
    state = _run(program, lanes, State(words, truths), memory, most_steps)
    last = np.array([word[-1] for word in state.registers], np.uint64)
    return Final(last, int(word_of_flags(ALGEBRA, {flag: truth[-1:] for flag, truth in state.flags.items()})[0]))


def run_states(program: Program, states: States, memory: Memory = NO_MEMORY, most_steps: int = MOST_STEPS) -> States:
    """Run over lanes of which each starts with a state of its own. Raises as `run_lanes`."""
    lanes = len(states.flags)
    state = _run(program, lanes, _lanes(states), memory, most_steps)
    after = np.empty((lanes, N_REGISTERS), np.uint64)
    for number, word in enumerate(state.registers):
        after[:, number] = word
    return States(after, np.broadcast_to(word_of_flags(ALGEBRA, state.flags), (lanes,)).copy())


def steps(program: Program, states: States, memory: Memory = NO_MEMORY, most_steps: int = MOST_STEPS) -> list[Lanes]:
    """The same, told before each instruction and after the last. Raises as `run_lanes`."""
    lanes = len(states.flags)
    state, found = _lanes(states), []
    for one in program.instructions:
        found.append(state.copy())
        _run(Program.of([one]), lanes, state, memory, most_steps)
    return [*found, state]


def _lanes(states: States) -> Lanes:
    columns = np.ascontiguousarray(_checked(states.registers, (len(states.flags), N_REGISTERS)).T)
    bits = {flag: np.uint64(FLAG_BITS[flag]) for flag in FLAGS}
    return State(list(columns), {flag: (states.flags >> bits[flag] & np.uint64(1)).astype(np.bool_) for flag in FLAGS})


def _checked(registers: NDArray[np.uint64], shape: tuple[int, ...]) -> NDArray[np.uint64]:
    if registers.dtype != np.uint64 or registers.shape != shape:
        raise ValueError(f"registers are {shape} uint64, not {registers.shape} {registers.dtype}")
    return registers


def _run(
    program: Program, lanes: int, state: State[Word, Truth], memory: Memory, most_steps: int
) -> State[Word, Truth]:
    if lanes < 1:
        raise PixelError(f"A program runs over at least one lane, not {lanes}.")
    steps = lanes * len(program.instructions)
    if steps > most_steps:
        raise TooManySteps(steps, most_steps)
    execute(program.instructions, ALGEBRA, state, LaneHooks(lanes, memory))
    return state


class LaneHooks:
    """The executor's hooks: memory and lanes."""

    def __init__(self, lanes: int, memory: Memory) -> None:
        """Over `lanes` lanes that go side by side."""
        self._numbers = np.arange(lanes)
        self._memory = memory

    def load(self, address: Word, width: int, only_if: Truth | None) -> Word:
        """A word for each lane; see `executor.Hooks`. Raises MemoryFault."""
        if only_if is None:
            return self._memory.load(address, width // 8, self._numbers[: len(address)])
        words = np.zeros(len(self._numbers), UNSIGNED[width])
        chosen, addresses = self.chosen(address, only_if)
        if len(chosen):
            words[chosen] = self._memory.load(addresses, width // 8, chosen)
        return words

    def store(self, address: Word, value: Word, only_if: Truth | None) -> None:
        """Write a word of each lane. Raises MemoryFault."""
        chosen, addresses = self.chosen(address, np.array([True]) if only_if is None else only_if)
        if len(chosen):
            self._memory.store(addresses, np.broadcast_to(value, self._numbers.shape)[chosen], chosen)

    def chosen(self, address: Word, only_if: Truth) -> tuple[NDArray[np.intp], Word]:
        """The lanes that make an access, and their addresses."""
        shape = self._numbers.shape
        chosen = np.flatnonzero(np.broadcast_to(only_if, shape))
        return chosen, np.broadcast_to(address, shape)[chosen]

    def lane(self) -> Word:
        """Their numbers."""
        return self._numbers.astype(np.uint64)

    def reduce(self, operation: str, value: Word) -> Word:
        """A word folded over all of them."""
        return fold(operation, value, len(self._numbers))
