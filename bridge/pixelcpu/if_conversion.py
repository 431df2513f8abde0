"""Microcode of several basic blocks in a row: each way's instructions are carried out, and those of one way count.

Microcode has no jumps. Blocks follow each other in the order of their addresses, which is one that all jumps of the
code keep to. A register says whether control is *here*; each jump notes in another that it waits to come to its target.
The registers hold the state of who is here: before an instruction changes one that somebody who waits still needs, it
is copied, and where the ways meet the right one is picked. Loads and stores are made by who is here alone; whatever
else is computed harms nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bridge.pixelcpu.decode import BASE
from bridge.pixelcpu.errors import Unsupported
from bridge.pixelcpu.isa import FLAG_BITS, FLAGS, N_REGISTERS, Kind, Shape
from bridge.pixelcpu.lanes import flags_read, registers_read
from bridge.pixelcpu.microcode import Instruction, Program, make
from bridge.pixelcpu.semantics import flags_read as flags_of_condition
from bridge.pixelcpu.translation import Translation
from bridge.pixelcpu.x86_state import REGISTERS


@dataclass(frozen=True, slots=True)
class Jump:
    """To an address, by a condition's number, or None: always."""

    target: int
    condition: int | None


@dataclass(frozen=True, slots=True)
class Step:
    """An instruction of x86."""

    address: int
    behind: int
    """The first address behind it."""
    instructions: tuple[Instruction, ...]
    """Its microcode; none of a jump."""
    jump: Jump | None = None


@dataclass(frozen=True, slots=True)
class _Needed:
    """What is read from a place on before it is written."""

    registers: frozenset[int]
    flags: frozenset[str]


@dataclass(slots=True)
class _Waits:
    """Who jumped to a place that is not reached yet."""

    needs: _Needed
    by: int | None
    """The register that is 1 where somebody does; None: who is not here surely does."""
    saved: dict[int, int] = field(default_factory=dict)
    """Of registers that were changed since: where they are as they were."""
    flags: int | None = None
    """The same of the flags, as a word."""
    mask: set[str] = field(default_factory=set)
    """Those of them that were changed since and are needed."""


def in_a_row(steps: Sequence[Step], halves: Mapping[str, int]) -> Translation:
    """The translation of code whose instructions have this microcode. Jumps go forwards, or out of the code, to its
    first instruction, too. Raises Unsupported where registers run out."""
    row = _Row(steps, halves)
    for step in steps:
        row.take(step)
    return row.translation(steps[-1].behind)


class _Row:
    def __init__(self, steps: Sequence[Step], halves: Mapping[str, int]) -> None:
        self._halves = dict(halves)
        self._visible = frozenset(range(len(REGISTERS))) | frozenset(halves.values())
        self._needed = self._needs(steps)
        used = {number for step in steps for one in step.instructions for number in (one.d, *registers_read(one))}
        self._free = [n for n in range(len(REGISTERS), N_REGISTERS) if n not in used and n not in self._visible]
        self._out: list[Instruction] = []
        self._is_here = True
        self._here: int | None = None
        """The register that is 1 where control is here; None: it is, if anybody may be."""
        self._waiting: dict[int, _Waits] = {}

    def _needs(self, steps: Sequence[Step]) -> dict[int, _Needed]:
        """By address. Whoever goes out of the code needs everything."""
        everything = _Needed(self._visible, frozenset(FLAGS))
        found: dict[int, _Needed] = {}
        for step in reversed(steps):
            after = found.get(step.behind, everything)
            registers, flags = set(after.registers), set(after.flags)
            if step.jump is not None:
                there = everything if step.jump.target == BASE else found.get(step.jump.target, everything)
                if step.jump.condition is None:
                    registers, flags = set(there.registers), set(there.flags)
                else:
                    registers |= there.registers
                    flags |= there.flags | set(flags_of_condition(step.jump.condition))
            for one in reversed(step.instructions):
                if one.row.has_destination:
                    registers.discard(one.d)
                if one.sets_flags and one.row.operation not in _KEEP_FLAGS:
                    flags -= set(one.row.writes)
                registers |= registers_read(one) & self._visible
                flags |= flags_read(one)
            found[step.address] = _Needed(frozenset(registers), frozenset(flags))
        return found

    # Registers besides x86's.

    def _take_register(self) -> int:
        if not self._free:
            raise Unsupported("The code has more ways through it than there are registers for")
        return self._free.pop()

    def _give_back(self, *numbers: int | None) -> None:
        held = {self._here}
        for waits in self._waiting.values():
            held |= {waits.by, waits.flags, *waits.saved.values()}
        self._free += {one for one in numbers if one is not None} - held - set(self._free)

    def _emit(self, name: str, d: int = 0, b: int = 0, a: int = 0, *, immediate: int | None = None) -> None:
        self._out.append(make(name, d, b, a, immediate=immediate))

    def _own(self, number: int, waits: _Waits) -> int:
        """A register that holds what this one does, and that only `waits` looks at."""
        others = [one for one in self._waiting.values() if one is not waits]
        if number == self._here or any(number in (one.by, one.flags, *one.saved.values()) for one in others):
            return self._copy_of(number)
        return number

    # Instructions.

    def take(self, step: Step) -> None:
        """The next instruction of x86."""
        if step.address in self._waiting:
            self._meet(step.address)
        if not self._is_here:
            return
        for one in step.instructions:
            if one.row.has_destination:
                self._keep_register(one.d)
            if one.sets_flags:
                self._keep_flags(set(one.row.writes))
            self._carry_out(one)
        if step.jump is not None:
            self._jump(step.jump, step.behind)

    def _carry_out(self, one: Instruction) -> None:
        kind, shape = one.row.kind, one.row.shape
        if self._here is None or kind not in (Kind.LOAD, Kind.STORE):
            self._out.append(one)
            return
        if shape not in (Shape.LOAD, Shape.STORE) or one.immediate is None:
            raise Unsupported("there is no microcode for it behind a jump")
        at, where = one.b, None
        if one.immediate:
            at = where = self._take_register()
            self._emit("add.64", at, one.b, immediate=one.immediate)
        operation = "loadif" if kind is Kind.LOAD else "storeif"
        self._emit(f"{operation}.{one.row.width}", one.d, at, self._here)
        self._give_back(where)

    def _keep_register(self, number: int) -> None:
        """It is about to be changed."""
        lack = [one for one in self._waiting.values() if number in one.needs.registers and number not in one.saved]
        if lack:
            copy = self._copy_of(number)
            for one in lack:
                one.saved[number] = copy

    def _keep_flags(self, written: set[str]) -> None:
        lack = [one for one in self._waiting.values() if one.flags is None and written & one.needs.flags]
        if lack:
            copy = self._take_register()
            self._emit("rdf.64", copy)
            for one in lack:
                one.flags = copy
        for one in self._waiting.values():
            one.mask |= written & one.needs.flags

    # Ways.

    def _jump(self, jump: Jump, behind: int) -> None:
        if jump.target == behind:
            return
        taken, rest = self._here, None
        if jump.condition is not None:
            taken, rest = self._take_register(), self._take_register()
            self._emit("set.64", taken, jump.condition)
            if self._here is None:
                self._emit("xor.64", rest, taken, immediate=1)
            else:
                self._emit("and.64", taken, taken, self._here)
                self._emit("xor.64", rest, self._here, taken)
        there = self._waiting.get(jump.target)
        if there is None:
            everything = _Needed(self._visible, frozenset(FLAGS))
            inside = jump.target > BASE
            needs = self._needed.get(jump.target, everything) if inside else everything
            self._waiting[jump.target] = _Waits(needs, taken)
        else:
            assert taken is not None  # somebody waits: who is here is not everybody
            assert there.by is not None
            self._join_those_who_wait(there, taken)
        before, self._here, self._is_here = self._here, rest, jump.condition is not None
        self._give_back(before, taken)

    def _join_those_who_wait(self, there: _Waits, taken: int) -> None:
        for number, held in list(there.saved.items()):
            there.saved[number] = self._own(held, there)
            self._emit("pick.64", there.saved[number], taken, number)
        if there.flags is not None:
            there.flags = self._own(there.flags, there)
            now = self._take_register()
            self._emit("rdf.64", now)
            self._emit("pick.64", there.flags, taken, now)
            self._give_back(now)
        assert there.by is not None
        there.by = self._own(there.by, there)
        self._emit("or.64", there.by, there.by, taken)

    def _meet(self, address: int) -> None:
        """Who waits to come here does."""
        there = self._waiting.pop(address)
        alone = not self._is_here and not self._waiting
        by = None if alone else there.by
        for number, held in there.saved.items():
            if by is None:
                self._emit("mov.64", number, a=held)
            else:
                self._emit("pick.64", number, by, held)
        if there.flags is not None and there.mask:
            word = there.flags
            self._emit("wrf.64", 0, self._flags_of(by, word), immediate=_bits(there.mask))
        before = self._here
        if not self._waiting:
            self._here = None  # everybody is
        elif not self._is_here:
            self._here = there.by
        else:
            both = self._take_register()
            assert before is not None
            assert there.by is not None
            self._emit("or.64", both, before, there.by)
            self._here = both
        self._is_here = True
        self._give_back(before, there.by, there.flags, *there.saved.values(), *self._scratch)
        self._scratch = ()

    _scratch: tuple[int, ...] = ()

    def _flags_of(self, by: int | None, word: int) -> int:
        if by is None:
            return word
        now = self._take_register()
        self._scratch = (now,)
        self._emit("rdf.64", now)
        self._emit("pick.64", now, by, word)
        return now

    # The end.

    def translation(self, end: int) -> Translation:
        """All of it; `end`: the first address behind the code."""
        if end in self._waiting:
            self._meet(end)
        outs = sorted(self._waiting)
        falls = self._is_here
        goes_on = end if falls else next((one for one in outs if one != BASE), BASE)
        left = [one for one in outs if falls or one != goes_on]
        if not left:
            if outs:
                self._meet(outs[0])
            return self._made(None, goes_on, goes_on)
        target = BASE if BASE in left else left[0]
        others = tuple(one for one in left if one != target)
        taken = self._waiting[target].by
        assert taken is not None  # it is not the only way
        if len(outs) > 1:
            taken = self._copy_of(taken)
        elsewhere = None
        for number, other in enumerate(others, 1):
            by = self._waiting[other].by
            assert by is not None
            if elsewhere is None:
                elsewhere = self._copy_of(by)
            else:
                where = self._take_register()
                self._emit("mov.64", where, immediate=number)
                self._emit("pick.64", elsewhere, by, where)
                self._give_back(where)
        for one in outs:
            self._meet(one)
        return self._made(taken, goes_on, target, others, elsewhere)

    def _copy_of(self, number: int) -> int:
        copy = self._take_register()
        self._emit("mov.64", copy, a=number)
        return copy

    def _made(
        self, taken: int | None, goes_on: int, target: int, others: tuple[int, ...] = (), elsewhere: int | None = None
    ) -> Translation:
        kept = self._visible | {one for one in (taken, elsewhere) if one is not None}
        program = Program.of(_without_idle(self._out, kept))
        return Translation(program, self._halves, taken, goes_on, target, others, elsewhere)


_KEEP_FLAGS = frozenset({"shl", "shr", "sar", "rol", "ror", "rcl", "rcr", "wrf"})
"""They may leave flags as they were: by their counts, or their masks."""


def _without_idle(instructions: Sequence[Instruction], kept: frozenset[int]) -> list[Instruction]:
    """Without what is computed into a register that nobody reads, but those that are kept."""
    found, read = [], set(kept)
    for one in reversed(instructions):
        idle = one.row.has_destination and one.d not in read and not one.sets_flags
        if idle and one.row.kind is Kind.PLAIN:
            continue
        if one.row.has_destination:
            read.discard(one.d)
        read |= registers_read(one)
        found.append(one)
    return found[::-1]


def _bits(flags: set[str]) -> int:
    return sum(1 << FLAG_BITS[flag] for flag in flags)
