"""Examples: states, what a proved translation makes of each, and whether another one makes the same of all of them."""

from __future__ import annotations

import numpy as np

from bridge.pixelcpu import interpreter
from bridge.pixelcpu.counterexample import Counterexample
from bridge.pixelcpu.decode import decode
from bridge.pixelcpu.differential import defined_flags, registers_of
from bridge.pixelcpu.synthesis_memory import ExampleMemory, Known
from bridge.pixelcpu.translation import Translation
from bridge.pixelcpu.x86_state import FLAG_BITS, FLAGS, HALVES, REGISTERS, States, random_states

N_EXAMPLES = 48
_ALIKE_EVERY = 3
"""In every third state registers are alike, as where loops end."""
_STEPS = np.array([0, 0, 0, 1, -1, 4, -4, 8, -8]).astype(np.uint64)
_SEED = 11


class Examples:
    """Random states at first, and those after which a guess was wrong."""

    def __init__(self, code: bytes, translation: Translation) -> None:
        """`translation` is proved. Raises BadCode, Unsupported."""
        self._code, self._right = code, translation
        self._instructions = decode(code)
        self._states = _with_alike(random_states(N_EXAMPLES, _SEED))
        self._known: list[Known | None] = [None] * N_EXAMPLES
        self._expect()

    def __len__(self) -> int:
        return len(self._states)

    def agree(self, translation: Translation) -> bool:
        """Whether another does the same with all of them."""
        after, memory = self._run(translation)
        numbers = [*range(len(REGISTERS)), *translation.halves.values()]
        numbers += [one for one in (translation.taken, translation.elsewhere) if one is not None]
        if not np.array_equal(after.registers[:, numbers], self._expected.registers[:, numbers]):
            return False
        differs = after.flags ^ self._expected.flags
        for flag in FLAGS:
            if ((differs >> np.uint64(FLAG_BITS[flag]) & np.uint64(1)).astype(bool) & self._defined[flag]).any():
                return False
        return memory.equals(self._left)

    def add(self, example: Counterexample) -> None:
        """One more."""
        registers = np.array([[example.registers[name] for name in REGISTERS]], np.uint64)
        halves = np.array([[example.registers[name] for name in HALVES]], np.uint64)
        flags = np.array([sum(value << FLAG_BITS[name] for name, value in example.flags.items())], np.uint64)
        before = self._states
        self._states = States(
            np.concatenate((before.registers, registers)),
            np.concatenate((before.flags, flags)),
            np.concatenate((before.halves, halves)),
        )
        self._known.append(Known(example.memory, example.memory_default))
        self._expect()

    def on_the_way(self, translation: Translation) -> list[interpreter.Lanes]:
        """Registers and flags before each instruction, and after the last."""
        return interpreter.steps(translation.program, self._before(translation), ExampleMemory(self._known))

    def _expect(self) -> None:
        self._expected, self._left = self._run(self._right)
        self._defined = defined_flags(self._code, self._instructions, self._states)

    def _run(self, translation: Translation) -> tuple[interpreter.States, ExampleMemory]:
        memory = ExampleMemory(self._known)
        return interpreter.run_states(translation.program, self._before(translation), memory), memory

    def _before(self, translation: Translation) -> interpreter.States:
        return interpreter.States(registers_of(translation, self._states), self._states.flags)


def _with_alike(states: States) -> States:
    rng = np.random.default_rng(_SEED)
    registers = states.registers.copy()
    few = registers[::_ALIKE_EVERY]
    registers[::_ALIKE_EVERY] = np.take_along_axis(few, rng.integers(0, 3, few.shape), axis=1) + rng.choice(
        _STEPS, few.shape
    )
    return States(registers, states.flags, states.halves)
