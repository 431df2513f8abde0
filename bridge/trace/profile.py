"""Profile: where the time went as stacks of process, symbol and block, as flame graphs have it."""

from __future__ import annotations

from bridge.trace.export import Frame, Stack
from bridge.trace.hot import Naming, Weights
from bridge.trace.program import Program

MOST_BLOCKS = 50_000
NOBODY, NOWHERE = "(unknown process)", "(no symbol)"


def stacks_of(program: Program, weights: Weights, naming: Naming, total: float) -> list[Stack]:
    """The heaviest blocks' stacks; `total` is what all weights sum to, in the unit of the profile.

    A block that several processes ran is under each of them by its samples.
    """
    found: list[Stack] = []
    for number in weights.heaviest(MOST_BLOCKS).tolist():
        symbol, process = naming.of(number)
        start = int(program.starts[number])
        inner = Frame(symbol.partition(" + ")[0] or NOWHERE), Frame(_block_name(start, symbol), start)
        shares = naming.shares(number) or {process: 1.0}
        for name, share in shares.items():
            weight = round(total * float(weights.values[number]) * share)
            entered = round(int(program.entered[number]) * share)
            if weight:
                found.append(Stack((Frame(name or NOBODY), *inner), weight, entered))
    return found


def _block_name(start: int, symbol: str) -> str:
    return f"{symbol} ({start:#x})" if symbol else f"{start:#x}"
