"""Lays the jumps of a listing into lanes, so that their lines in the gutter do not run over each other."""

from __future__ import annotations

from dataclasses import dataclass

from app.widgets.x86_decode import Instruction

MAX_LANES = 4


@dataclass(frozen=True, slots=True)
class Lane:
    """A jump from row `source` to row `target`, `lane` steps out from the text."""

    source: int
    target: int
    lane: int


def jump_lanes(lines: list[Instruction]) -> list[Lane]:
    """Return a lane for each jump whose target is in the listing; short jumps lie innermost, surplus ones outermost."""
    rows = {line.address: row for row, line in enumerate(lines)}
    jumps = [
        (row, rows[line.target])
        for row, line in enumerate(lines)
        if line.kind in ("jump", "branch") and line.target is not None and line.target in rows
    ]
    taken: list[list[tuple[int, int]]] = [[] for _ in range(MAX_LANES)]
    placed: list[Lane] = []
    for source, target in sorted(jumps, key=lambda jump: (abs(jump[0] - jump[1]), jump)):
        low, high = sorted((source, target))
        lane = next(
            (lane for lane, spans in enumerate(taken) if all(high < a or low > b for a, b in spans)), MAX_LANES - 1
        )
        taken[lane].append((low, high))
        placed.append(Lane(source, target, lane))
    return placed
