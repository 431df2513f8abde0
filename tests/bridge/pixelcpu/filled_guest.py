"""The loop guest with its area mapped and filled at random, for tests of kernels that run in it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from app.benchmarks.loop_guest import FIRST_PAGE, PAGE, LoopGuest, loop_guest

WORDS = 1 << 16
"""Of 64 bits, in each of both buffers."""
RAX, RCX, RDI = 0, 1, 7


@contextlib.contextmanager
def filled_guest(directory: Path) -> Iterator[LoopGuest]:
    """The machine, with both buffers' pages in order."""
    with loop_guest(directory) as made:
        made.map_pages(0, FIRST_PAGE // PAGE + np.arange(2 * WORDS * 8 // PAGE))
        memory(made)[:] = np.random.default_rng(1).integers(0, 256, 2 * WORDS * 8, np.uint8)
        yield made


def memory(guest: LoopGuest) -> np.ndarray:
    """Both buffers, one behind the other."""
    return guest.ram[FIRST_PAGE : FIRST_PAGE + 2 * WORDS * 8]
