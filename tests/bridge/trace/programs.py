"""Programs of a few blocks whose code is known, as the plugin's tables would tell them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.trace.follows import FollowCounter
from bridge.trace.layout import layout
from bridge.trace.program import Program

TEXT = 0xFFFFFFFF81000000
"""Where the kernel's code begins."""
JUMP = b"\xff\xe0"
"""jmp rax: to anywhere."""


def table(starts: Sequence[int], codes: Sequence[bytes], physical: Sequence[int] | None = None) -> NDArray[Any]:
    """A block table with entry 0 for none."""
    blocks = np.zeros(len(starts) + 1, layout()["block"])
    blocks["virtual_first"][1:] = starts
    blocks["physical"][1:] = [start & 0xFFFFFFF for start in starts] if physical is None else physical
    blocks["bytes"][1:] = [len(code) for code in codes]
    blocks["instructions"][1:] = 1
    return blocks


def program_of(
    starts: Sequence[int],
    codes: Sequence[bytes],
    entered: Sequence[int],
    follows: FollowCounter | None = None,
    physical: Sequence[int] | None = None,
) -> Program:
    """The first block is number 1."""
    code = [b"", *codes]
    return Program(table(starts, codes, physical), np.array([0, *entered], np.int64), lambda n: code[n], follows)


def records_of(blocks: Sequence[int], vcpu: int = 0, first: int = 0, ticks: int = 10) -> NDArray[Any]:
    """Block records of one vCPU, `ticks` apart."""
    records = np.zeros(len(blocks), layout()["record"])
    records["sequence"] = np.arange(first, first + len(blocks))
    records["tsc"] = records["sequence"] * ticks
    records["block"] = blocks
    records["kind"] = layout().constants["RECORD_BLOCK"]
    records["vcpu"] = vcpu
    return records


def walked(runs: Sequence[Sequence[int]], blocks: int) -> FollowCounter:
    """What followed what in runs that have nothing to do with each other."""
    counter = FollowCounter(blocks)
    for run in runs:
        counter.feed(records_of(run, first=2 * counter.records + 1), 1_000_000)
    return counter
