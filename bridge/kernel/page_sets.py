"""Page sets: which pages of RAM belong to a process, a region of it, a slab cache, a file, …: to be lit up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from bridge.kernel.errors import KernelError
from bridge.kernel.kernel import Kernel
from bridge.kernel.page_classes import PageClass
from bridge.kernel.page_details import KERNEL_TABLES, PageDetails
from bridge.kernel.page_files import CachedFile
from bridge.kernel.snapshot import SemanticSnapshot

Pages = npt.NDArray[np.int64]
U32 = npt.NDArray[np.uint32]

MAX_SYMBOL_BYTES = 64 << 20
"""More than any object of a kernel that has a name."""


class NothingThere(KernelError):
    """Something whose pages were asked for, and which there is not, or not any more."""


class UnknownKind(KernelError):
    """A kind of thing that no pages are known of."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"There are no pages of a {kind!r}; known are {', '.join(KINDS)}.")
        self.kind = kind


def pages_of(kernel: Kernel, snapshot: SemanticSnapshot, kind: str, key: Any) -> U32:
    """(n,) uint32: the pages of the RAM file of one thing, ascending, each once.

    `kind` is one of KINDS, and says what `key` is. Raises UnknownKind, NothingThere.
    """
    if kind not in KINDS:
        raise UnknownKind(kind)
    try:
        found = KINDS[kind](kernel, snapshot, key)
    except (TypeError, ValueError, OverflowError) as error:
        raise NothingThere(f"{key!r} names no {kind}: {error}.") from error
    return np.unique(found).astype(np.uint32)


def _process(kernel: Kernel, snapshot: SemanticSnapshot, key: Any) -> Pages:
    index = _index_of(snapshot, int(key))
    if snapshot.processes.mms[index]:
        return snapshot.owners.pages_of(index)
    return _stack(kernel, snapshot, key)  # all that a thread of the kernel has to itself


def _region(kernel: Kernel, snapshot: SemanticSnapshot, key: Any) -> Pages:
    del kernel
    pid, start, end = (int(part) for part in key)
    owners = snapshot.owners
    own = owners.processes == _index_of(snapshot, pid)
    first, last = np.uint64(start), np.uint64(end)
    own &= (owners.vaddrs >= first) & (owners.vaddrs < last)
    found: Pages = owners.pages[own]
    return found


def _class(kernel: Kernel, snapshot: SemanticSnapshot, key: Any) -> Pages:
    del kernel
    return np.flatnonzero(snapshot.page_map.classes == np.uint8(int(key)))


def _part(kernel: Kernel, snapshot: SemanticSnapshot, key: Any) -> Pages:
    del kernel
    return np.flatnonzero(snapshot.parts == np.uint8(int(key)))


def _named(
    what: str, kinds: tuple[PageClass, ...], names: Callable[[PageDetails], list[str]]
) -> Callable[[Kernel, SemanticSnapshot, Any], Pages]:
    def find(_kernel: Kernel, snapshot: SemanticSnapshot, key: Any) -> Pages:
        details = snapshot.details
        subjects = [index for index, name in enumerate(names(details)) if name == key]
        if not subjects:
            raise NothingThere(f"There is no {what} {key!r} with pages in memory.")
        return details.pages_of(snapshot.page_map.classes, kinds, subjects)

    return find


def _symbol(kernel: Kernel, snapshot: SemanticSnapshot, key: Any) -> Pages:
    del snapshot
    vaddr, size = (int(part) for part in key)
    if not 0 <= vaddr < 1 << 64 or not 0 <= size <= MAX_SYMBOL_BYTES or vaddr + size > 1 << 64:
        raise NothingThere(f"There is nothing of {size:,} bytes at {vaddr:#x}.")
    count = (vaddr + max(size, 1) - 1 >> 12) - (vaddr >> 12) + 1
    places = np.uint64(vaddr & ~4095) + np.arange(count, dtype=np.uint64) * np.uint64(4096)
    paddrs, mapped = kernel.space.translate(places)
    offsets, ok = kernel.reader.offsets(paddrs)
    return (offsets[mapped & ok] >> np.uint64(12)).astype(np.int64)


def _stack(kernel: Kernel, snapshot: SemanticSnapshot, key: Any) -> Pages:
    del kernel
    tid, details = int(key), snapshot.details
    subjects = details.stacks.of_task(tid)
    if not subjects:
        raise NothingThere(f"There is no task {tid}.")
    return details.pages_of(snapshot.page_map.classes, (PageClass.KERNEL_STACK,), subjects)


def _tables(kernel: Kernel, snapshot: SemanticSnapshot, key: Any) -> Pages:
    del kernel
    pid, details = int(key), snapshot.details
    if pid != KERNEL_TABLES:
        _index_of(snapshot, pid)
    subjects = [index for index, owner in enumerate(details.tables) if owner == pid]
    return details.pages_of(snapshot.page_map.classes, (PageClass.PAGE_TABLE,), subjects)


def _index_of(snapshot: SemanticSnapshot, pid: int) -> int:
    found = np.flatnonzero(snapshot.processes.pids == pid)
    if not len(found):
        raise NothingThere(f"There is no process {pid}.")
    return int(found[0])


def _paths(files: tuple[CachedFile, ...]) -> list[str]:
    return [file.path for file in files]


KINDS: dict[str, Callable[[Kernel, SemanticSnapshot, Any], Pages]] = {
    "process": _process,
    "region": _region,
    "class": _class,
    "part": _part,
    "module": _named("module", (PageClass.MODULE,), lambda details: list(details.modules)),
    "slab": _named("slab cache", (PageClass.SLAB,), lambda details: list(details.caches)),
    "file": _named("file", (PageClass.FILE, PageClass.SHARED_MEMORY), lambda details: _paths(details.files)),
    "symbol": _symbol,
    "stack": _stack,
    "tables": _tables,
}
"""process: pid · region: (pid, start, end) · class: PageClass · part: Part · module: name · slab: name of a cache ·
file: path · symbol: (address, size in bytes) · stack: number of a task · tables: pid, 0 for the kernel's own.
"""
