"""Own meaning of x86-64 code: what a block, or several with jumps forwards between them, does to any state.

Its instructions are executed on z3 terms (`vex_machine`); what the SDM leaves undefined is known at each step.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import z3

from bridge.pixelcpu.decode import BASE, decode, has_branches, is_jump, refuse, target_of
from bridge.pixelcpu.errors import Unsupported
from bridge.pixelcpu.guarded_stores import guarded
from bridge.pixelcpu.undefined import Condition, undefined_after
from bridge.pixelcpu.vex_machine import Machine, Outcome, choice, initial
from bridge.pixelcpu.x86_state import FLAGS

Term = Any


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a block of code does."""

    before: Outcome
    after: Outcome
    undefined: Mapping[str, Condition]
    """When each flag is undefined after it."""
    back: Outcome
    """The state after it, if it goes on at its first instruction; any other way through it is left out."""
    aligned: Mapping[str, Term]
    """Addresses, by their text, that are multiples of 16: else it faults, which no meaning has."""


def meaning(code: bytes) -> Meaning:
    """What `code` does to any state. Raises BadCode, Unsupported.

    Code of several basic blocks is walked in the order of its addresses, since its jumps go forwards: where ways meet,
    registers and flags are those of the way that was taken, and what one way stores is guarded by its condition
    (`guarded`).
    """
    before = initial()
    aligned: dict[str, Term] = {}
    walk = _Walk(before, aligned)
    instructions = decode(code)
    branches = has_branches(instructions)
    for one in instructions:
        walk.come_to(one.address)
        machine = walk.machine
        if machine is None:
            continue  # nothing leads here
        undefined = undefined_after(one, walk.undefined, machine.word("rcx"))
        try:
            machine.step(one)
        except Unsupported as error:
            text = str(error).rstrip(".")
            raise (error if text.startswith("“") else refuse(one, text)) from None
        walk.undefined = undefined
        if one is not instructions[-1] or branches:
            if is_jump(one):
                walk.jump(target_of(one), one.address + one.size)
            elif not machine.goes_on_at(one.address + one.size):
                raise refuse(one, "control may leave the block before its end")
    ended = walk.ended()
    return Meaning(before, *ended, aligned)


@dataclass(slots=True)
class _Way:
    """A way on which control comes to a place."""

    condition: Term
    """Under which it does, over the state before the code."""
    state: Outcome
    undefined: Mapping[str, Condition]


class _Walk:
    """Through code whose jumps go forwards; of a single block it is the machine alone."""

    def __init__(self, before: Outcome, aligned: dict[str, Term]) -> None:
        self._aligned = aligned
        self.machine: Machine | None = Machine(before, aligned)
        """None where nothing leads."""
        self.undefined: Mapping[str, Condition] = dict.fromkeys(FLAGS, False)
        self._condition: Term = z3.BoolVal(True)
        self._waiting: dict[int, list[_Way]] = {}
        self._stores: list[tuple[Term, Term, Term]] = []
        """Condition, address and byte of all that was stored so far, on any way."""
        self._before = before

    def come_to(self, address: int) -> None:
        """The next instruction lies there: who jumped to it is there, too."""
        ways = self._waiting.pop(address, [])
        for way in ways:
            self._meet(way)
        if ways and not self._waiting and self.machine is not None:  # all ways have met
            self.machine.only_if = self._condition = z3.BoolVal(True)

    def jump(self, target: int, behind: int) -> None:
        """The machine has just executed a jump."""
        assert self.machine is not None
        there = self._way()
        taken = z3.simplify(self.machine.next == target) if target != behind else z3.BoolVal(False)
        if not z3.is_false(taken):
            there.condition = _both(self._condition, taken)
            there.state = Outcome(there.state.words, there.state.flags, there.state.memory, z3.BitVecVal(target, 64))
            self._waiting.setdefault(target, []).append(there)
        if z3.is_true(taken):
            self._lead_nowhere()
            return
        self._condition = _both(self._condition, z3.Not(taken))
        self.machine.next = z3.BitVecVal(behind, 64)
        self.machine.only_if = self._condition

    def ended(self) -> tuple[Outcome, Mapping[str, Condition], Outcome]:
        """The state after all of it, wherever it goes on; when flags are undefined; and the state if it goes back."""
        ways = self._waiting.get(BASE, [])
        some = len(self._waiting) > 1 or self.machine is not None
        back = self._only(ways) if ways and some else None
        for target in sorted(self._waiting):
            self.come_to(target)
        assert self.machine is not None
        after = self.machine.outcome()
        return after, self.undefined, back or after

    def _only(self, ways: Sequence[_Way]) -> Outcome:
        """The state of who came one of these ways."""
        walk = copy.copy(self)
        walk._lead_nowhere()
        for way in ways:
            walk._meet(way)
        assert walk.machine is not None
        return walk.machine.outcome()

    def _lead_nowhere(self) -> None:
        self.machine = None

    def _way(self) -> _Way:
        assert self.machine is not None
        self._stores += self.machine.stored
        self.machine.stored = []
        return _Way(self._condition, self.machine.outcome(), self.undefined)

    def _meet(self, way: _Way) -> None:
        if self.machine is None:
            condition, here, undefined = way.condition, way.state, way.undefined
        else:
            mine = self._way()
            condition = z3.simplify(z3.Or(mine.condition, way.condition))
            here = _merged(way, mine.state, self._all_stored(mine.state.memory, way.state.memory))
            undefined = {
                flag: _either(way.condition, way.undefined[flag], mine.undefined[flag]) for flag in mine.undefined
            }
        self.machine = Machine(here, self._aligned)
        self.machine.only_if = self._condition = condition
        self.undefined = undefined

    def _all_stored(self, one: Term, other: Term) -> Term:
        """Memory where two ways meet: what each stored is guarded, so that all of it can stand in one row."""
        if one.eq(other):
            return one
        memory = self._before.memory
        for only_if, address, byte in self._stores:
            memory = guarded(memory, only_if, address, byte)
        return memory


def _merged(way: _Way, here: Outcome, memory: Term) -> Outcome:
    taken, there = way.condition, way.state
    return Outcome(
        {name: choice(taken, there.words[name], term) for name, term in here.words.items()},
        {name: choice(taken, there.flags[name], term) for name, term in here.flags.items()},
        memory,
        choice(taken, there.next, here.next),
    )


def _either(taken: Term, then: Condition, otherwise: Condition) -> Condition:
    if then is otherwise:
        return then
    return z3.If(taken, *(z3.BoolVal(one) if isinstance(one, bool) else one for one in (then, otherwise)))


def _both(one: Term, other: Term) -> Term:
    return z3.simplify(other if z3.is_true(one) else z3.And(one, other))
