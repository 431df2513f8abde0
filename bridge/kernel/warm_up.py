"""Compiles the loops that looks take ahead of time: `python -m bridge.kernel.warm_up`, for the set-up to run once.

Otherwise the first machine that is watched is seen a second or two later.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np

from bridge.kernel import list_loops
from bridge.kernel.frames import FrameReader, empty_frames
from bridge.kernel.kernel import Kernel
from bridge.kernel.owners import OwnerReader
from bridge.kernel.page_sorter import PageSorter, tell
from bridge.kernel.page_types import PageLayout, PageTypes
from bridge.kernel.space import KernelSpace
from bridge.kernel.user_tables import UserTableReader
from bridge.memory.physical import PhysicalReader
from bridge.memory.physical_map import PAGE_BYTES, PhysicalMap


class _NoMemory:
    """A page of zeros for RAM."""

    size_bytes = PAGE_BYTES
    physical_map = PhysicalMap.flat(PAGE_BYTES)
    bytes = np.frombuffer(bytes(PAGE_BYTES), np.uint8)  # read-only, as a machine's is


def warm_up() -> None:
    """Compile and keep every loop that a look takes; does nothing where that was done before."""
    kernel = cast(Kernel, SimpleNamespace(reader=PhysicalReader(_NoMemory())))
    roots = np.zeros(1, np.uint64)
    OwnerReader(kernel).read(roots, roots, UserTableReader(kernel.reader, 4).read(roots))
    reader = FrameReader(kernel, PageLayout(64, 0, 8, 24, 32, 40, 48, 52, 24, {}))
    frames = empty_frames(reader.layout, 1)
    reader.update(np.zeros((1, 3), np.int64), frames, np.zeros(1, np.uint64))
    space = KernelSpace(kernel.reader, 0, 4, 0)
    space.remember()
    space.words(roots)
    space.translate(roots)
    sorter = PageSorter(cast(Kernel, SimpleNamespace(levels=4)), reader.layout)
    nothing = np.zeros(0, np.int32)
    tell(frames, sorter.sort(frames, PageTypes({}), (), (), lambda spaces: spaces.astype(np.uint8)), nothing, nothing)
    zero, no_pieces, numbers = np.uint64(0), np.zeros((0, 3), np.uint64), np.zeros(1, np.int64)
    words = kernel.reader.all_words
    list_loops.walk_tasks(words, no_pieces, zero, zero, zero, zero, zero, numbers, roots)
    list_loops.read_regions(
        words, no_pieces, roots, zero, zero, np.zeros(5, np.uint64), numbers, np.zeros((1, 6), np.uint64)
    )


if __name__ == "__main__":
    warm_up()
