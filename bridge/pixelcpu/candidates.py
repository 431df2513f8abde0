"""Candidates: of what a guest ran, the blocks that are loops by themselves, heaviest first."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

from bridge.pixelcpu.library import hash_of
from bridge.trace.hot import Naming, Weights
from bridge.trace.instructions import BlockClass, bits_at, ending
from bridge.trace.program import Program

MOST_LOOKED_AT = 4096
"""Blocks, heaviest first, that are looked at; what is behind them does not matter to anybody's time."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A loop that ran, by its code: wherever that lies, it is one."""

    code: bytes
    address: int
    """Where it was entered most, virtual."""
    blocks: tuple[int, ...]
    """Its numbers in the trace: each place where it ran has one."""
    symbol: str
    process: str
    """Empty where not known."""
    disassembly: tuple[str, ...]
    kind: BlockClass
    n_instructions: int
    """Of one round."""
    entered: int
    share: float
    """Of all instructions that were executed, 0 to 1."""
    time_share: float
    """Of the time in which the guest ran, 0 to 1, as `Weights` knows it."""

    @property
    def x86_hash(self) -> str:
        """What its kernel is known by."""
        return hash_of(self.code)


@lru_cache(1 << 14)
def is_loop(code: bytes, at: int) -> bool:
    """Whether a block's last instruction is a conditional jump back to its first byte.

    A block that only ends with a loop, entered from above, is none: the loop, when it goes round, has its own block.
    """
    if bits_at(at) != 64:
        return False
    end = ending(code, at)
    return not (end.calls or end.returns or end.is_open) and set(end.successors) == {0, end.size} and bool(end.size)


def candidates_of(program: Program, weights: Weights, naming: Naming, most: int) -> tuple[Candidate, ...]:
    """The `most` heaviest loops. What they are in the machine's memory is asked of `naming`."""
    total = int((program.entered * program.instructions).sum()) or 1
    found: dict[bytes, list[int]] = {}
    for number in weights.heaviest(MOST_LOOKED_AT).tolist():
        code = program.code_of(number)
        if is_loop(code, int(program.starts[number])):
            found.setdefault(hashlib.sha256(code).digest(), []).append(number)
    by_weight = sorted(found.values(), key=lambda numbers: -float(weights.values[numbers].sum()))
    return tuple(_candidate(program, weights, naming, numbers, total) for numbers in by_weight[: max(0, most)])


def _candidate(program: Program, weights: Weights, naming: Naming, numbers: list[int], total: int) -> Candidate:
    first = numbers[0]
    symbol, process = naming.of(first)
    decoded = program.decoded(first)
    entered = int(program.entered[numbers].sum())
    return Candidate(
        code=program.code_of(first),
        address=int(program.starts[first]),
        blocks=tuple(numbers),
        symbol=symbol,
        process=process,
        disassembly=tuple(one.text for one in decoded.instructions),
        kind=decoded.kind,
        n_instructions=len(decoded.instructions),
        entered=entered,
        share=entered * int(program.instructions[first]) / total,
        time_share=float(weights.values[numbers].sum()),
    )
