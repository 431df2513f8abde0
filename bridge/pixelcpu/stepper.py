"""Stepper: a program over its lanes, an instruction at a time, forwards and back, with what each one changed.

All lanes go side by side: after a step each of them has done the same instruction, as on a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.pixelcpu.errors import MemoryFault, PixelError
from bridge.pixelcpu.executor import State, one
from bridge.pixelcpu.interpreter import ALGEBRA, LaneHooks
from bridge.pixelcpu.isa import FLAG_BITS, FLAGS, N_REGISTERS
from bridge.pixelcpu.lanes import live_in
from bridge.pixelcpu.memory import ArrayMemory
from bridge.pixelcpu.microcode import Program
from bridge.pixelcpu.numpy_algebra import Truth, Word
from bridge.pixelcpu.semantics import word_of_flags

MOST_LANES = 1 << 16
_WORD = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Access:
    """What the last instruction loaded or stored."""

    addresses: NDArray[np.uint64]
    """(n,), of the lanes that did."""
    lanes: NDArray[np.intp]
    """(n,) their numbers."""
    size: int
    """Bytes."""
    is_store: bool


class Stepper:
    """One program's run. `place` is the instruction that comes next; at the end it is their number."""

    def __init__(self, program: Program, memory: ArrayMemory, lanes: int = 1) -> None:
        """Memory is written to in place; `reset` brings back what it holds now. Raises PixelError for lanes."""
        if not 1 <= lanes <= MOST_LANES:
            raise PixelError(f"A program is stepped over 1 to {MOST_LANES:,} lanes, not {lanes:,}.")
        self.program, self.memory, self.n_lanes = program, memory, lanes
        self.initial = np.zeros(N_REGISTERS, np.uint64)
        """(32,) what each lane begins with; take it up by `reset`."""
        self._content = memory.content.copy()
        self.place = 0
        self.fault = ""
        """Why it cannot go on, in a sentence; empty where it can."""
        self.changed: frozenset[int] = frozenset()
        """Registers that the last step changed, in any lane."""
        self.access: Access | None = None
        """Of the last step; None where it made none."""
        self._state = self._begin()

    @property
    def at_end(self) -> bool:
        """Whether nothing is left to do."""
        return self.place >= len(self.program.instructions)

    def register(self, number: int, lane: int) -> int:
        """A register of a lane."""
        word = self._state.registers[number]
        return int(word[min(lane, len(word) - 1)])

    def flags(self, lane: int) -> int:
        """A lane's flags, laid out as in RFLAGS."""
        word = word_of_flags(ALGEBRA, self._state.flags)
        return int(word[min(lane, len(word) - 1)])

    def step(self) -> bool:
        """Do the next instruction. False, and nothing done, at the end or after a fault.

        A load or store outside the memory is a fault: it tells whose in `fault`, and is not done.
        """
        if self.at_end or self.fault:
            return False
        before = list(self._state.registers)
        hooks = _Noting(self.n_lanes, self.memory)
        try:
            one(self.program.instructions[self.place], ALGEBRA, self._state, hooks)
        except MemoryFault as error:
            self.fault = str(error)
            return False
        pairs = enumerate(zip(before, self._state.registers, strict=True))
        self.changed = frozenset(n for n, (old, new) in pairs if old is not new and bool((old != new).any()))
        self.access = hooks.access
        self.place += 1
        return True

    def run(self) -> None:
        """Go on to the end, or to a fault."""
        while self.step():
            pass

    def reset(self) -> None:
        """Begin anew, with the memory as it was at first."""
        self.memory.content[:] = self._content
        self.place, self.fault, self.changed, self.access = 0, "", frozenset(), None
        self._state = self._begin()

    def back(self) -> bool:
        """Undo the last step, by doing all before it anew. False at the start."""
        wanted = self.place - (0 if self.fault else 1)
        if wanted < 0:
            return False
        self.reset()
        while self.place < wanted and self.step():
            pass
        return True

    def _begin(self) -> State[Word, Truth]:
        words = [np.array([value], np.uint64) for value in self.initial]
        return State(words, {flag: np.array([False]) for flag in FLAGS})


class _Noting(LaneHooks):
    """Hooks that remember the last access."""

    def __init__(self, lanes: int, memory: ArrayMemory) -> None:
        super().__init__(lanes, memory)
        self.access: Access | None = None

    def load(self, address: Word, width: int, only_if: Truth | None) -> Word:
        """Load, and note it."""
        found = super().load(address, width, only_if)
        self._note(address, width // 8, only_if, is_store=False)
        return found

    def store(self, address: Word, value: Word, only_if: Truth | None) -> None:
        """Store, and note it."""
        super().store(address, value, only_if)
        self._note(address, value.itemsize, only_if, is_store=True)

    def _note(self, address: Word, size: int, only_if: Truth | None, *, is_store: bool) -> None:
        lanes, addresses = self.chosen(address, np.array([True]) if only_if is None else only_if)
        self.access = Access(addresses.copy(), lanes, size, is_store)


def flag_names(flags: int) -> str:
    """The flags that are set, by their letters; a dash for each that is not."""
    return "".join(flag if flags >> FLAG_BITS[flag] & 1 else "-" for flag in reversed(FLAGS))


def bases_of(program: Program, size: int) -> dict[int, int]:
    """Registers that address memory by themselves, each with a part of `size` bytes to begin in, told by trying.

    A register is one where an address grows by 1 with it. Where several make up one address, the first has the part.
    """
    read, _ = live_in(program.instructions)
    still = _addresses(program, {})
    parts: list[int] = []
    served = [False] * len(still)
    for register in sorted(read):
        moved = _addresses(program, {register: 1})
        mine = [a is not None and b is not None and (b - a) & _WORD == 1 for a, b in zip(still, moved, strict=True)]
        if any(own and not done for own, done in zip(mine, served, strict=True)):
            parts.append(register)
            served = [own or done for own, done in zip(mine, served, strict=True)]
    room = size // max(1, len(parts)) & ~4095
    return {register: number * room for number, register in enumerate(parts)}


def _addresses(program: Program, registers: dict[int, int]) -> list[int | None]:
    """Where lane 0 loads and stores, in order, with memory that holds nothing; None where an access is not made."""
    state = State(
        [np.array([registers.get(n, 0)], np.uint64) for n in range(N_REGISTERS)],
        {flag: np.array([False]) for flag in FLAGS},
    )
    hooks = _Trying()
    for instruction in program.instructions:
        one(instruction, ALGEBRA, state, hooks)
    return hooks.found


class _Trying:
    """Hooks with no memory behind them."""

    def __init__(self) -> None:
        self.found: list[int | None] = []

    def load(self, address: Word, width: int, only_if: Truth | None) -> Word:
        self._take(address, only_if)
        return np.zeros(1, f"<u{width // 8}")

    def store(self, address: Word, _value: Word, only_if: Truth | None) -> None:
        self._take(address, only_if)

    def _take(self, address: Word, only_if: Truth | None) -> None:
        made = only_if is None or bool(only_if[0])
        self.found.append(int(address[0]) if made else None)

    def lane(self) -> Word:
        return np.zeros(1, np.uint64)

    def reduce(self, _operation: str, value: Word) -> Word:
        return value
