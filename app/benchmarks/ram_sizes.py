"""Which sizes of RAM can be measured here, and RAM files of random bytes: no hole, no zero page, the hardest case."""

import mmap
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil

from app.output import format_bytes
from bridge.memory.physical_map import PAGE_BYTES
from bridge.memory.ram import GuestRam

MIB = 1 << 20


def sizes_that_fit(sizes_mib: Iterable[int], copies: float, notes: list[str]) -> Iterator[tuple[int, str]]:
    """The sizes, in MiB, of which `copies` fit into the memory that is free, each as it is called in a figure's name.

    For the others there is a line in `notes`.
    """
    for size_mib in sizes_mib:
        available = psutil.virtual_memory().available
        if available < size_mib * MIB * copies:
            notes.append(f"{size_mib} MiB left out: only {format_bytes(available)} of memory are free.")
        else:
            yield size_mib, f"{size_mib // 1024}gib" if size_mib % 1024 == 0 else f"{size_mib}mib"


@contextmanager
def random_ram(size_bytes: int) -> Iterator[tuple[GuestRam, npt.NDArray[np.uint8]]]:
    """A RAM file full of random bytes, and the guest's writable view of its pages."""
    fd = os.memfd_create("glassbox bench")
    try:
        os.ftruncate(fd, size_bytes)
        pages = np.frombuffer(mmap.mmap(fd, size_bytes), np.uint8).reshape(-1, PAGE_BYTES)
        rng = np.random.default_rng(0)
        for start in range(0, len(pages), 4096):
            part = pages[start : start + 4096]
            part[:] = rng.integers(0, 256, part.shape, np.uint8)
        with GuestRam.open(Path(f"/proc/self/fd/{fd}")) as ram:
            yield ram, pages
    finally:
        os.close(fd)
