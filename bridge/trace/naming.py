"""Naming: what the kernel's own records say of a block's address and of the task that a processor runs."""

from __future__ import annotations

import contextlib

import numpy as np

from bridge.kernel.errors import KernelError, NotMapped
from bridge.kernel.kernel import Kernel
from bridge.kernel.page_classes import CLASS_TITLES, PageClass
from bridge.kernel.snapshot import SemanticSnapshot
from bridge.kernel.space import KERNEL_MAP
from bridge.kernel.symbols import Place
from bridge.kernel.where import paddr_of, tell

_CURRENT = ("current_task", "const_current_task", "pcpu_hot")
"""Per-processor variables that begin with the task that runs: until 6.1, from 6.15 on, between."""
_USER_END = 1 << 47
_GONE = frozenset(CLASS_TITLES[one] for one in (PageClass.FREE, PageClass.FREE_PER_CPU))
"""Code has no name by what its page is since whoever ran it ended."""


class KernelNamer:
    """By one look at a guest's kernel."""

    def __init__(self, kernel: Kernel, snapshot: SemanticSnapshot) -> None:
        self._kernel, self._snapshot = kernel, snapshot
        processes = snapshot.processes
        self._tasks = {
            int(address): f"{processes.names[n]} ({int(processes.pids[n])})"
            for n, address in enumerate(processes.addresses.tolist())
        }

    @property
    def tasks(self) -> dict[str, str]:
        """All processes of the look, by the address of their `task_struct` in hex."""
        return {f"{address:#x}": name for address, name in self._tasks.items()}

    def place(self, physical: int | None, address: int) -> tuple[str, str]:
        """The symbol, or the file and the place in it, at a block, and the process that has it."""
        if address >= KERNEL_MAP:
            place = self._kernel.symbols.place(address)
            return ("" if place is None else str(place), "kernel")
        if address >= _USER_END:
            return "", "kernel"
        if physical is None:
            return "", ""
        with contextlib.suppress(NotMapped, KernelError):
            story = tell(self._kernel, self._snapshot, physical)
            if story.mappings and not story.file_path and address not in [one.vaddr for one in story.mappings]:
                return "", ""  # the page was given to somebody else since
            there = next((one for one in story.mappings if one.vaddr == address), None)
            first = there or (story.mappings[0] if story.mappings else None)
            others = f" and {story.n_mappings - 1:,} more" if story.n_mappings > 1 else ""
            owner = f"{first.name} ({first.pid}){others}" if first is not None else ""
            if story.file_path and story.file_offset is not None:
                return str(Place(story.file_path.rsplit("/", 1)[-1], story.file_offset)), owner
            part = story.part if story.mappings else story.page_class
            return "" if part in _GONE else part, owner
        return "", ""

    def process_of_task(self, task: int) -> str:
        """By the address of its `task_struct`; a thread of a process that came since the look is not known."""
        return self._tasks.get(task, "")

    def task_words(self, vcpus: int) -> list[int]:
        """For each processor the RAM file's offset of the word that names its task; 0 where that is not known."""
        symbols = self._kernel.symbols
        variable = next((found for name in _CURRENT if (found := symbols.find(name)) is not None), None)
        offsets = symbols.find("__per_cpu_offset")
        if variable is None or offsets is None:
            return [0] * vcpus
        words: list[int] = []
        for vcpu in range(vcpus):
            word = 0
            with contextlib.suppress(NotMapped, KernelError):
                base = self._word(offsets + 8 * vcpu)
                paddr = paddr_of(self._kernel, self._snapshot, (base + variable) & ((1 << 64) - 1), None)
                offset, ok = self._kernel.reader.offsets(np.array([paddr], np.uint64))
                word = int(offset[0]) if ok[0] else 0
            words.append(word)
        return words

    def _word(self, vaddr: int) -> int:
        paddr = paddr_of(self._kernel, self._snapshot, vaddr, None)
        offset, ok = self._kernel.reader.offsets(np.array([paddr], np.uint64))
        if not ok[0]:
            raise NotMapped(vaddr)
        at = int(offset[0])
        return int.from_bytes(bytes(self._kernel.reader.ram.bytes[at : at + 8]), "little")
