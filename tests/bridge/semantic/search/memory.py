"""RAM for tests of the search, and what a naive search finds in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from bridge.memory.physical_map import PAGE_BYTES, PhysicalMap
from bridge.memory.ram import GuestRam
from bridge.semantic.search.needles import Needle
from bridge.semantic.search.results import Hits
from tests.bridge.memory.ram_file import RamFile, ram_file

Runs = list[list[int]]
"""Pages that belong together, in order."""


@contextmanager
def ram_of(
    data: bytes | bytearray | npt.NDArray[np.uint8], physical_map: PhysicalMap | None = None
) -> Iterator[tuple[RamFile, GuestRam]]:
    """A machine's RAM that holds `data`, and zeros up to the end of its last page."""
    memory = np.frombuffer(bytes(data), np.uint8)
    with ram_file(-(-len(memory) // PAGE_BYTES)) as file:
        file.pages.reshape(-1)[: len(memory)] = memory
        with GuestRam.open(file.path, physical_map) as ram:
            yield file, ram


def naive(memory: bytes, needles: tuple[Needle, ...]) -> list[tuple[int, int]]:
    """Every (place, length) at which a needle matches, in order."""
    found = set()
    for needle in needles:
        n = len(needle.value)
        if n > len(memory):
            continue
        windows = np.lib.stride_tricks.sliding_window_view(np.frombuffer(memory, np.uint8), n)
        mask, value = (np.frombuffer(part, np.uint8) for part in (needle.mask, needle.value))
        found |= {(int(at), n) for at in np.flatnonzero(((windows & mask) == (value & mask)).all(axis=1))}
    return sorted(found)


def naive_in(pages: npt.NDArray[np.uint8], runs: Runs, needles: tuple[Needle, ...]) -> list[tuple[int, int]]:
    """(offset, length) of every match in pages (n_pages, 4096) that begins in one of the runs and does not leave it."""
    found = []
    for run in runs:
        for at, length in naive(pages[run].tobytes(), needles):
            found.append((run[at // PAGE_BYTES] * PAGE_BYTES + at % PAGE_BYTES, length))
    return found


def spans(hits: Hits) -> list[tuple[int, int]]:
    """(offset, length) of each match."""
    return list(zip(hits.offsets.tolist(), hits.lengths.tolist(), strict=True))
