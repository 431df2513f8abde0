"""Compiles the scanner's loops ahead of time: `python -m bridge.memory.warm_up`, for the set-up to run once.

Compiled in the window's process they would take the interpreter lock from it now and then for some seconds.
"""

from __future__ import annotations

import math
import mmap
import os
from pathlib import Path

import numpy as np

from bridge.memory.physical_map import PAGE_BYTES
from bridge.memory.ram import GuestRam


def warm_up() -> None:
    """Compiles and keeps every loop that a window needs; does nothing when that was done before."""
    from bridge.memory.native import forget_old_code
    from bridge.memory.scan import copy_changed
    from bridge.memory.scanner import Scanner
    from bridge.memory.shadow import create_shadow

    forget_old_code()
    fd = os.memfd_create("glassbox warm-up")
    try:
        os.ftruncate(fd, PAGE_BYTES)
        with GuestRam.open(Path(f"/proc/self/fd/{fd}")) as ram:
            scanner = Scanner(ram, create_shadow(ram), budget_bytes_per_s=math.inf, core_share=1.0)
            scanner.close()
            copy = np.frombuffer(mmap.mmap(-1, PAGE_BYTES), np.uint64)
            copy_changed(ram.bytes.view(np.uint64), copy, 0, 0, np.zeros(1, np.uint8))
    finally:
        os.close(fd)


if __name__ == "__main__":
    warm_up()
