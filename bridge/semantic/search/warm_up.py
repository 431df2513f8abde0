"""Compiles the search loops ahead of time: `python -m bridge.semantic.search.warm_up`, for the set-up to run once.

The first search would otherwise wait some seconds for its first match.
"""

from __future__ import annotations

import os
from pathlib import Path

from bridge.memory.physical_map import PAGE_BYTES
from bridge.memory.ram import GuestRam
from bridge.semantic.search.pattern import parse_pattern
from bridge.semantic.search.searcher import Searcher


def warm_up() -> None:
    """Compile and keep every loop that a search needs; does nothing when that was done before."""
    fd = os.memfd_create("glassbox warm-up")
    try:
        os.ftruncate(fd, PAGE_BYTES)
        with GuestRam.open(Path(f"/proc/self/fd/{fd}")) as ram:
            Searcher(ram).search(parse_pattern("67 6c 61 73 73"))
    finally:
        os.close(fd)


if __name__ == "__main__":
    warm_up()
