"""Hot blocks: where the guest's time went between two looks, by samples of what each vCPU was in, and by counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bridge.trace.flow import flow_of, loop_depths
from bridge.trace.instructions import BlockClass, Decoded, decode
from bridge.trace.layout import layout
from bridge.trace.session import Counts

LEAST_SAMPLES = 100
"""With fewer the samples say little, and time is estimated by how many instructions were run."""


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


def hottest(
    before: Counts,
    after: Counts,
    samples: NDArray[Any],
    code_of: Callable[[NDArray[Any]], bytes],
    namer: Namer,
    top: int,
) -> Hot:
    """The `top` blocks by time. `samples`: (n,) of `sample`, of the same while."""
    blocks = after.blocks
    entered = after.total.astype(np.int64)
    entered[: len(before.blocks)] -= before.total.astype(np.int64)
    known = samples[samples["block"] < len(blocks)]
    busy = known[known["block"] != layout().constants["NO_BLOCK"]]
    weight = np.bincount(busy["block"], minlength=len(blocks)).astype(float)
    by_samples = len(busy) >= LEAST_SAMPLES
    if not by_samples:
        weight = entered * blocks["instructions"].astype(float)
    order = np.argsort(-weight, kind="stable")[: max(0, top)]
    order = order[(weight[order] > 0) & (order != 0)]
    ran = np.flatnonzero((entered > 0) | (weight > 0))
    decoded = {int(n): _decoded(blocks[n], code_of) for n in ran if n}
    depths = _depths(blocks, decoded)
    total = weight.sum() or 1.0
    found = []
    for number in order.tolist():
        block, start = blocks[number], int(blocks[number]["virtual_first"])
        symbol, process = namer.place(_physical(block), start)
        tasks = Counter(busy["task"][busy["block"] == number].tolist())
        running = next((name for task, _ in tasks.most_common() if task and (name := namer.process_of_task(task))), "")
        found.append(
            HotBlock(
                pc=start,
                end=start + int(block["bytes"]),
                count=int(entered[number]),
                share=float(weight[number] / total),
                symbol=symbol,
                process=running or process,
                loop_depth=depths.get(number, 0),
                kind=decoded[number].kind,
                disassembly=tuple(insn.text for insn in decoded[number].instructions),
            )
        )
    return Hot(
        tuple(found),
        int(entered.sum()),
        int((entered * blocks["instructions"].astype(np.int64)).sum()),
        len(busy),
        1.0 - len(busy) / len(known) if len(known) else 0.0,
        by_samples,
    )


def _physical(block: NDArray[Any]) -> int | None:
    address = int(block["physical"])
    return None if address == layout().constants["NONE"] else address


def _decoded(block: NDArray[Any], code_of: Callable[[NDArray[Any]], bytes]) -> Decoded:
    # A system that runs 64-bit code has it above 1 MiB; the firmware and what it boots is 16-bit code below.
    start = int(block["virtual_first"])
    return decode(code_of(block), start, 16 if start < 1 << 20 else 64)


def _depths(blocks: NDArray[Any], decoded: dict[int, Decoded]) -> dict[int, int]:
    """Loop depths by block. Blocks that begin at the same address, of several processes or lengths, are one place."""
    going: dict[int, set[int]] = {}
    begins = {number: int(blocks[number]["virtual_first"]) for number in decoded}
    for number, start in begins.items():
        going.setdefault(start, set()).update(start + offset for offset in decoded[number].successors)
    starts = sorted(going)
    depths = dict(
        zip(starts, loop_depths(flow_of(starts, [sorted(going[start]) for start in starts])).tolist(), strict=True)
    )
    return {number: depths[start] for number, start in begins.items()}
