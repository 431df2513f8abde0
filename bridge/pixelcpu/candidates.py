"""Candidates: of what a guest ran, the loops of one block or several, heaviest first.

A loop of several blocks is code from a block to the end of another one whose last instruction goes back to it. Which
code that is is read off the blocks between that QEMU translated; what it never came to, as a way out that nobody took,
is read from RAM, where it would be executed from. If it is not that which QEMU then finds, the plugin leaves it alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from bridge.pixelcpu.library import hash_of
from bridge.pixelcpu.round_shape import MOST_BYTES, shape_of
from bridge.trace.hot import Naming, Weights
from bridge.trace.instructions import BlockClass, Decoded, bits_at, decode, ending
from bridge.trace.program import Program

CodeAt = Callable[[int, int], bytes]
"""So many bytes of RAM at a physical address; fewer where there is none."""

MOST_LOOKED_AT = 4096
"""Blocks, heaviest first, that are looked at; what is behind them does not matter to anybody's time."""
_PAGE_SHIFT = 12


@dataclass(frozen=True, slots=True)
class Candidate:
    """A loop that ran, by its code: wherever that lies, it is one."""

    code: bytes
    address: int
    """Where it was entered most, virtual."""
    blocks: tuple[int, ...]
    """The numbers in the trace of its first block: each place where it ran has one."""
    symbol: str
    process: str
    """Empty where not known."""
    disassembly: tuple[str, ...]
    kind: BlockClass
    n_instructions: int
    """Of one round: of several blocks by the shortest way, so that no more is told than was done."""
    n_counted: int
    """That the trace counts for a round which a kernel does: those of the first block."""
    entered: int
    """How often its first block was."""
    share: float
    """Of all instructions that were executed, 0 to 1."""
    time_share: float
    """Of the time in which the guest ran, 0 to 1, as `Weights` knows it: that of all its blocks."""

    @property
    def x86_hash(self) -> str:
        """What its kernel is known by."""
        return hash_of(self.code)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a loop lies."""

    code: bytes
    first: int
    """The number of its first block."""
    blocks: frozenset[int]
    """The numbers of all its blocks that ran."""


@lru_cache(1 << 14)
def is_loop(code: bytes, at: int) -> bool:
    """Whether a block's last instruction is a conditional jump back to its first byte.

    A block that only ends with a loop, entered from above, is none: the loop, when it goes round, has its own block.
    """
    if bits_at(at) != 64:
        return False
    end = ending(code, at)
    return not (end.calls or end.returns or end.is_open) and set(end.successors) == {0, end.size} and bool(end.size)


def candidates_of(
    program: Program, weights: Weights, naming: Naming, most: int, code_at: CodeAt = lambda *_: b""
) -> tuple[Candidate, ...]:
    """The `most` heaviest loops. What they are in the machine's memory is asked of `naming`, and of `code_at` what
    never ran of a loop."""
    total = int((program.entered * program.instructions).sum()) or 1
    heavy = weights.heaviest(MOST_LOOKED_AT).tolist()
    found: dict[bytes, list[_Place]] = {}
    for number in heavy:
        code = program.code_of(number)
        if is_loop(code, int(program.starts[number])):
            found.setdefault(hashlib.sha256(code).digest(), []).append(_Place(code, number, frozenset({number})))
    for place in _of_several_blocks(program, heavy, code_at):
        found.setdefault(hashlib.sha256(place.code).digest(), []).append(place)
    by_weight = sorted(found.values(), key=lambda places: -_weight(weights, places))
    return tuple(_candidate(program, weights, naming, places, total) for places in by_weight[: max(0, most)])


_ending = lru_cache(1 << 14)(ending)


def _of_several_blocks(program: Program, heavy: list[int], code_at: CodeAt) -> list[_Place]:
    """Loops that end with one of these blocks, heaviest first; of those with one beginning the longest."""
    lies, found = _Lying(program, code_at), dict[int, _Place]()
    for number in heavy:
        start, physical = int(program.starts[number]), program.physical_of(number)
        if bits_at(start) != 64 or physical is None:
            continue
        end = _ending(program.code_of(number), start)
        if end.calls or end.returns or end.is_open:
            continue
        for offset in end.successors:
            # The plugin takes a loop over where it lies in one page.
            if offset >= 0 or (start + offset) >> _PAGE_SHIFT != (start + end.size - 1) >> _PAGE_SHIFT:
                continue
            place = lies.place(physical + offset, end.size - offset)
            if place is not None and len(place.code) > len(found[place.first].code if place.first in found else b""):
                found[place.first] = place
    return list(found.values())


class _Lying:
    """A program's blocks by where they lie in RAM."""

    def __init__(self, program: Program, code_at: CodeAt) -> None:
        self._program, self._code_at = program, code_at
        self._order = np.argsort(program.physical, kind="stable")
        self._places = program.physical[self._order]

    def place(self, first: int, size: int) -> _Place | None:
        """The loop of so many bytes there; None where it is none, or where not all of its code is known."""
        if not 0 < size <= MOST_BYTES:
            return None
        code, begins = b"", self._most_entered(first)
        while begins is not None and len(code) < size:
            number = self._most_entered(first + len(code))
            more = self._never_run(first + len(code), first + size) if number is None else self._program.code_of(number)
            if not more:
                break
            code += more
        code = code[:size]
        shape = shape_of(code) if begins is not None and len(code) == size else None
        # One instruction alone may be one that is stepped through, for the plugin.
        if begins is None or shape is None or shape.first_instructions < 2:
            return None
        return _Place(code, begins, frozenset(n for n in self._within(first, size) if self._program.entered[n] > 0))

    def _never_run(self, place: int, end: int) -> bytes:
        """What lies between there and the next block."""
        at = int(np.searchsorted(self._places, np.uint64(place)))
        behind = min(end, int(self._places[at])) if at < len(self._places) else end
        return self._code_at(place, behind - place)

    def _within(self, first: int, size: int) -> list[int]:
        low, high = np.searchsorted(self._places, np.array([first, first + size], np.uint64))
        found: list[int] = self._order[low:high].tolist()
        return found

    def _most_entered(self, place: int) -> int | None:
        """Of the blocks that begin there."""
        return max(self._within(place, 1), key=lambda number: int(self._program.entered[number]), default=None)


def _blocks(places: list[_Place]) -> list[int]:
    return sorted(frozenset[int]().union(*(place.blocks for place in places)))


def _weight(weights: Weights, places: list[_Place]) -> float:
    return float(weights.values[_blocks(places)].sum())


def _candidate(program: Program, weights: Weights, naming: Naming, places: list[_Place], total: int) -> Candidate:
    first, blocks = places[0], _blocks(places)
    address = int(program.starts[first.first])
    symbol, process = naming.of(first.first)
    decoded, shape = _decoded(first.code, address), shape_of(first.code)
    least = counted = len(decoded.instructions)
    if shape is not None and shape.first_bytes < len(first.code):
        least, counted = shape.least_instructions, shape.first_instructions
    return Candidate(
        code=first.code,
        address=address,
        blocks=tuple(place.first for place in places),
        symbol=symbol,
        process=process,
        disassembly=tuple(one.text for one in decoded.instructions),
        kind=decoded.kind,
        n_instructions=least,
        n_counted=counted,
        entered=int(program.entered[[place.first for place in places]].sum()),
        share=int((program.entered[blocks] * program.instructions[blocks]).sum()) / total,
        time_share=_weight(weights, places),
    )


@lru_cache(1 << 10)
def _decoded(code: bytes, at: int) -> Decoded:
    return decode(code, at, bits_at(at))
