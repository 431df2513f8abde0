"""States from which a loop runs a wanted number of rounds over memory at wanted addresses.

How many rounds, and where, are words over the registers that are nearly always sums: a register that nothing else
needs is solved for. Nothing depends on that being right: who runs the states asks the loop's plan what they make.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import z3
from numpy.typing import NDArray

from bridge.pixelcpu.isa import N_REGISTERS
from bridge.pixelcpu.loop_terms import LOW, symbols, value_of
from bridge.pixelcpu.loops import Loop
from bridge.pixelcpu.native_loop import NativeLoop
from bridge.pixelcpu.native_windows import Words
from bridge.pixelcpu.x86_state import HALVES, REGISTERS, States

_SMALL = 64
"""Registers are below that where they decide of places that cannot be chosen: an index, likely."""
STATE_WORDS = N_REGISTERS + 1


@dataclass(frozen=True, slots=True)
class Group:
    """Streams whose addresses differ by constants."""

    low: int
    """Of the lowest byte of a round, relative to the base; signed."""
    n_bytes: int
    """From there to behind the highest."""
    stride: int


@dataclass(frozen=True, slots=True)
class _Sum:
    """A word as a sum: `constant` and so many times each register, modulo 2^`bits`."""

    constant: int
    times: dict[str, int]
    bits: int

    def of(self, values: dict[str, Words], without: str = "") -> Words:
        """Its value, but for one register."""
        found = np.full(len(next(iter(values.values()))), self.constant % (1 << 64), np.uint64)
        for name, times in self.times.items():
            if name != without:
                found += values[name] * np.uint64(times % (1 << 64))
        return found if self.bits == 64 else found & np.uint64(LOW)


@dataclass(frozen=True, slots=True)
class _Step:
    """A register that makes a word what it is to be."""

    word: _Sum
    name: str
    group: int
    """Whose base it is; -1: the distance to the end."""


class Aim:
    """For one loop."""

    def __init__(self, loop: Loop, *, to_end: bool = True) -> None:
        """Without `to_end` the number of rounds is left as it comes: then more places can be chosen."""
        trips = loop.trips if to_end else None
        self._step = 1 if trips is None else trips.step
        self._narrow = [name for name, one in loop.inductions.items() if one.width == 32]
        self._narrow += [name for name, one in loop.folds.items() if one.narrow]
        bases: dict[tuple[str, int], list[Any]] = {}
        for stream in loop.streams:
            bases.setdefault((stream.base.sexpr(), stream.stride), []).append(stream)
        self.groups = tuple(
            Group(
                low := min(one.first for one in streams),
                max(one.first + one.size for one in streams) - low,
                streams[0].stride,
            )
            for streams in bases.values()
        )
        self._bases = [_sum(streams[0].base) for streams in bases.values()]
        self._steps = _order(None if trips is None else _sum(trips.distance), self._bases)
        self.free = tuple(any(step.group == n for step in self._steps) for n in range(len(self.groups)))
        """Of which groups the place can be chosen; others lie where the rounds have them."""
        solved = {step.name for step in self._steps}
        fixed = [base for base, free in zip(self._bases, self.free, strict=True) if not free]
        self._small = sorted({name for base in fixed for name in base.times} - solved)

    def spans(self, rounds: Words) -> Words:
        """(n, groups): bytes that so many rounds (n,), at least 1 each, reach over."""
        before = rounds - np.uint64(1)
        spans = [np.uint64(one.n_bytes) + before * np.uint64(abs(one.stride)) for one in self.groups]
        return np.stack(spans, axis=1) if spans else np.zeros((len(rounds), 0), np.uint64)

    def aimed(self, states: States, rounds: Words, lows: Words, left: NDArray[np.bool_], more: Words) -> States:
        """The states with registers such that so many rounds (n,) go back, over bytes from `lows` (n, groups) on.

        `left` (n,): of these the number of rounds is left as it is. `more` (n,): the distance is so much larger than
        need be, modulo a step.
        """
        registers, halves = states.registers.copy(), states.halves.copy()
        values = {name: registers[:, number] for number, name in enumerate(REGISTERS)}
        values |= {name: halves[:, number] for number, name in enumerate(HALVES)}
        for name in self._narrow:
            values[name] &= np.uint64(LOW)
        for name in self._small:
            values[name] %= np.uint64(_SMALL)
        for step in self._steps:
            if step.group < 0:
                target = rounds * np.uint64(self._step) + more % np.uint64(self._step)
            else:
                one = self.groups[step.group]
                moved = (rounds - np.uint64(1)) * np.uint64(min(0, one.stride) % (1 << 64))
                target = lows[:, step.group] - np.uint64(one.low % (1 << 64)) - moved
            solved = _solved(step, target, values)
            values[step.name][:] = np.where(left, values[step.name], solved) if step.group < 0 else solved
        return States(registers, states.flags, halves)

    def bases_of(self, states: States) -> Words:
        """(n, groups): the address of each group's lowest byte in the first round, as far as it is a sum."""
        values = {name: states.registers[:, number] for number, name in enumerate(REGISTERS)}
        values |= {name: states.halves[:, number] for number, name in enumerate(HALVES)}
        return np.stack(
            [
                base.of(values) + np.uint64(one.low % (1 << 64))
                for base, one in zip(self._bases, self.groups, strict=True)
            ],
            axis=1,
        )


def words_of(states: States, native: NativeLoop) -> Words:
    """(n, 33): the states as native code takes them."""
    words = np.zeros((len(states), STATE_WORDS), np.uint64)
    words[:, : len(REGISTERS)] = states.registers
    for half, word in native.halves.items():
        words[:, word] = states.halves[:, half]
    words[:, N_REGISTERS] = states.flags
    return words


def _solved(step: _Step, target: Words, values: dict[str, Words]) -> Words:
    times, bits = step.word.times[step.name], step.word.bits
    needed = target - step.word.of(values, step.name)
    if times in (1, -1):
        found = needed if times == 1 else np.uint64(0) - needed
        return found if bits == 64 else found & np.uint64(LOW)
    if bits == 32:
        needed &= np.uint64(LOW)
        return np.asarray(needed.astype(np.int64) // times).astype(np.uint64) & np.uint64(LOW)
    return np.asarray(needed.astype(np.int64) // times).astype(np.uint64)


def _order(distance: _Sum | None, bases: Sequence[_Sum]) -> list[_Step]:
    """Registers to solve for, in order; no later one is part of an earlier word. Bases that cannot be are left out."""
    waiting = [(base, number) for number, base in enumerate(bases)]
    if distance is not None:
        waiting.insert(0, (distance, -1))
    found: list[_Step] = []
    while waiting:
        for at, (word, group) in enumerate(waiting):
            others = {name for n, (other, _) in enumerate(waiting) if n != at for name in other.times}
            own = sorted((abs(times), name) for name, times in word.times.items() if name not in others and times)
            if own:
                found.append(_Step(word, own[0][1], group))
                del waiting[at]
                break
        else:
            del waiting[-1]
    return found[::-1]


def _sum(term: Any) -> _Sum:
    bits = 32 if z3.is_bv_value(high := z3.simplify(z3.Extract(63, 32, term))) and high.as_long() == 0 else 64
    half = 1 << (bits - 1)
    # Apart from each other, so that no difference is below 0, where words of 32 and of 64 bits are not alike.
    at = {name: (1 << 20) + (n << 14) for n, name in enumerate(sorted(symbols(term)))}
    here = value_of(term, at)
    times = {}
    for name in at:
        one, many = (value_of(term, {**at, name: at[name] + more}) - here for more in (1, 4096))
        by = (one + half) % (2 * half) - half
        if (many - 4096 * by) % (2 * half) == 0:
            times[name] = by
    return _Sum(here - sum(by * at[name] for name, by in times.items()), times, bits)
