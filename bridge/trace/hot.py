"""Hot blocks: where a guest's time went, by samples of what each vCPU was in, by records' times, or by counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from bridge.trace.follows import FollowCounter
from bridge.trace.instructions import BlockClass
from bridge.trace.layout import layout
from bridge.trace.program import Program
from bridge.trace.session import Counts

LEAST_SAMPLES = 100
"""With fewer the samples say little, and time is estimated by how many instructions were run."""


Basis = Literal["samples", "records", "instructions"]
"""What shares of the time are of."""


class Namer(Protocol):
    """Who knows what lies at an address, and who runs."""

    def place(self, physical: int | None, address: int) -> tuple[str, str]:
        """The symbol (and how far behind it) at a block, and the process that has it; empty where not known."""

    def process_of_task(self, task: int) -> str:
        """The process of a word that names a task; empty where not known."""


@dataclass(frozen=True, slots=True)
class HotBlock:
    """A block, and what it took of the time."""

    pc: int
    end: int
    """The first address behind it."""
    count: int
    """How often it was entered."""
    share: float
    """Of the time in which the guest ran, 0 to 1."""
    symbol: str
    process: str
    loop_depth: int
    """How many loops it is in, of those that the blocks' own jumps make."""
    kind: BlockClass
    disassembly: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "pc": self.pc,
            "end": self.end,
            "count": self.count,
            "share": round(self.share, 6),
            "symbol": self.symbol,
            "process": self.process,
            "loop_depth": self.loop_depth,
            "class": str(self.kind),
            "disassembly": list(self.disassembly),
        }


@dataclass(frozen=True, slots=True)
class Hot:
    """The hottest blocks, and what that is based on."""

    blocks: tuple[HotBlock, ...]
    entered: int
    """How often any block was entered."""
    instructions: int
    samples: int
    """In which a vCPU was in a block; the others were idle."""
    idle_share: float
    """Of the samples, in which it was in none."""
    by_samples: bool
    by: Basis = "instructions"


@dataclass(frozen=True, slots=True)
class Weights:
    """What each block of a program weighs, and by what."""

    values: NDArray[np.float64]
    """(n,): they sum to 1, or are all 0."""
    by: Basis
    tasks: Mapping[int, Counter[int]]
    """Of blocks that samples met, or that have records: the words of the tasks that ran."""
    samples: int
    idle_share: float

    @classmethod
    def of(cls, program: Program, samples: NDArray[Any]) -> Weights:
        """By samples, (n,) of `sample` of the same while; where they are few by records' times, or by instructions."""
        known = samples[samples["block"] < len(program)]
        busy = known[known["block"] != layout().constants["NO_BLOCK"]]
        by: Basis = "samples"
        values = np.bincount(busy["block"], minlength=len(program)).astype(float)
        if len(busy) < LEAST_SAMPLES:
            by = "records" if program.seconds.any() else "instructions"
            values = program.seconds.copy() if by == "records" else program.entered * program.instructions.astype(float)
        values[:1] = 0.0
        tasks: dict[int, Counter[int]] = {}
        for block, task in zip(busy["block"].tolist(), busy["task"].tolist(), strict=True):
            tasks.setdefault(block, Counter())[task] += 1
        idle_share = 1.0 - len(busy) / len(known) if len(known) else 0.0
        return cls(
            values / (values.sum() or 1.0),
            by,
            tasks if by == "samples" else program.tasks or tasks,
            len(busy),
            idle_share,
        )

    def heaviest(self, top: int) -> NDArray[np.int64]:
        """The blocks that weigh most, without those that weigh nothing."""
        order = np.argsort(-self.values, kind="stable")[: max(0, top)]
        return order[self.values[order] > 0]


class Naming:
    """Names of a program's blocks: who ran them by samples, what they are by a Namer. Each is asked for once."""

    def __init__(self, program: Program, namer: Namer, tasks: Mapping[int, Counter[int]] | None = None) -> None:
        self._program, self._namer, self._tasks = program, namer, tasks or {}
        self._known: dict[int, tuple[str, str]] = {}

    def of(self, number: int) -> tuple[str, str]:
        """The symbol and the process of a block; empty where not known."""
        found = self._known.get(number)
        if found is None:
            program = self._program
            symbol, process = self._namer.place(program.physical_of(number), int(program.starts[number]))
            tasks = self._tasks.get(number, Counter())
            names = (self._namer.process_of_task(task) for task, _ in tasks.most_common() if task)
            found = self._known[number] = symbol, next(filter(None, names), "") or process
        return found

    def shares(self, number: int) -> dict[str, float]:
        """Which processes ran a block, and each one's share of its samples; empty where no sample says."""
        shares: dict[str, float] = {}
        tasks = self._tasks.get(number, Counter())
        for task, count in tasks.items():
            name = (self._namer.process_of_task(task) if task else "") or self.of(number)[1]
            shares[name] = shares.get(name, 0.0) + count / tasks.total()
        return shares


def hot_block(program: Program, number: int, share: float, naming: Naming) -> HotBlock:
    """All that a table says of a block."""
    symbol, process = naming.of(number)
    decoded = program.decoded(number)
    return HotBlock(
        pc=int(program.starts[number]),
        end=int(program.ends[number]),
        count=int(program.entered[number]),
        share=share,
        symbol=symbol,
        process=process,
        loop_depth=int(program.loops.depths[number]),
        kind=decoded.kind,
        disassembly=tuple(insn.text for insn in decoded.instructions),
    )


def hot_of(program: Program, weights: Weights, naming: Naming, top: int) -> Hot:
    """The `top` blocks of a program by what they weigh."""
    found = [hot_block(program, n, float(weights.values[n]), naming) for n in weights.heaviest(top).tolist()]
    return Hot(
        tuple(found),
        int(program.entered.sum()),
        int((program.entered * program.instructions).sum()),
        weights.samples,
        weights.idle_share,
        weights.by == "samples",
        weights.by,
    )


def hottest(
    before: Counts,
    after: Counts,
    samples: NDArray[Any],
    code_of: Callable[[NDArray[Any]], bytes],
    namer: Namer,
    top: int,
    follows: FollowCounter | None = None,
) -> Hot:
    """The `top` blocks by time between two looks. `samples`: (n,) of `sample`, of the same while."""
    program = Program.from_counts(after, code_of, before, follows)
    weights = Weights.of(program, samples)
    return hot_of(program, weights, Naming(program, namer, weights.tasks), top)
