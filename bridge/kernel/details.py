"""Details: what one asks a kernel for now and then — lists, paths and stacks, by drgn over the kernel's own types."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import TypeVar

import drgn
import numpy as np

from bridge.kernel.drgn_engine.files import read_files
from bridge.kernel.drgn_engine.log import read_log
from bridge.kernel.drgn_engine.maps import read_maps
from bridge.kernel.drgn_engine.modules import Modules
from bridge.kernel.drgn_engine.mounts import read_mounts
from bridge.kernel.drgn_engine.program import KernelProgram, Unreadable
from bridge.kernel.drgn_engine.slabs import Slabs
from bridge.kernel.drgn_engine.sockets import read_sockets
from bridge.kernel.drgn_engine.stack import Stacks
from bridge.kernel.errors import KernelError, NotMapped
from bridge.kernel.lists import RETRIES, Torn
from bridge.kernel.records import (
    LogRecord,
    MapEntry,
    Module,
    Mount,
    OpenFile,
    SlabCache,
    SlabObject,
    Socket,
    StackFrame,
)
from bridge.kernel.snapshot import Introspector, SemanticSnapshot
from bridge.kernel.tasks import Consistency, Tasks
from bridge.kernel.where import Story, tell

T = TypeVar("T")

_MAX_COMMAND_LINES = 100_000


class NoSuchProcess(KernelError):
    """A process or thread that the guest does not have now."""

    def __init__(self, pid: int, what: str = "process") -> None:
        super().__init__(f"There is no {what} {pid} in the guest now.")
        self.pid = pid


class Details:
    """Answers for one kernel. Everything is read when it is asked for; nothing is kept but types and
    the tables that stacks are unwound by.

    Every method raises KernelError: NoSuchProcess, MissingType for what this kernel does not have, Unreadable, Torn or
    NotMapped for memory that makes no sense.
    """

    def __init__(self, introspector: Introspector) -> None:
        self._introspector = introspector
        self._program = KernelProgram(introspector.kernel)
        self._modules = Modules(self._program)
        self._stood = False
        self.attempts = 0
        """How often the last answer had to be read again, because the kernel changed what was being read."""

    @property
    def consistency(self) -> Consistency:
        """Of the last answer."""
        if self._stood and self._introspector.stands():
            return "frozen"
        return "retried" if self.attempts else "live"

    def modules(self) -> tuple[Module, ...]:
        """The loaded modules, newest first."""
        return self._steady(self._modules.all)

    def mounts(self, pid: int = 1) -> tuple[Mount, ...]:
        """What process `pid` sees mounted."""
        return self._steady(lambda: read_mounts(self._program, self._process(pid)[0]))

    def files(self, pid: int) -> tuple[OpenFile, ...]:
        """The open files of process `pid`, by descriptor."""
        return self._steady(lambda: read_files(self._program, self._process(pid)[0], pid))

    def maps(self, pid: int) -> tuple[MapEntry, ...]:
        """The memory map of process `pid`, by address; empty for a thread of the kernel."""
        return self._steady(lambda: read_maps(self._program, self._introspector.maps, *self._process(pid)))

    def sockets(self) -> tuple[Socket, ...]:
        """The sockets that processes hold open, by process and descriptor."""
        return self._steady(lambda: read_sockets(self._program, self._introspector.tasks.processes()))

    def log(self, limit: int) -> tuple[LogRecord, ...]:
        """The last `limit` records of the kernel's log, the newest last."""
        return self._steady(lambda: read_log(self._program, limit))

    def slabs(self) -> tuple[SlabCache, ...]:
        """The slab caches, by name. `active` counts as /proc/slabinfo does: what a processor keeps is in use."""
        return self._steady(self._slabs.caches)

    def slab_object(self, vaddr: int) -> SlabObject | None:
        """The slab object that holds an address of the direct map; None where there is none."""
        return self._steady(lambda: self._slabs.object_at(vaddr))

    def stack(self, tid: int) -> tuple[StackFrame, ...]:
        """The kernel stack of thread `tid`, the innermost frame first. Raises ThreadRuns for one that runs now."""
        return self._steady(lambda: self._stacks.of(self._thread(tid), tid))

    def story(self, snapshot: SemanticSnapshot, paddr: int) -> Story:
        """The story of a physical address, with the slab object that holds it. Raises NotMapped."""
        story = tell(self._introspector.kernel, snapshot, paddr)
        direct_map = self._introspector.kernel.space.direct_map
        if not story.cache or direct_map is None:
            return story
        try:
            return replace(story, slab_object=self.slab_object(direct_map + paddr))
        except KernelError:
            return story  # the slab was given back since the look, or its cache is damaged: all else is still true

    def command_lines(self, pids: tuple[int, ...]) -> dict[int, str]:
        """The command line of each of these processes that is there; empty for threads of the kernel."""
        tasks = self._introspector.tasks.processes()
        wanted = set(pids[:_MAX_COMMAND_LINES])
        return {
            int(pid): self._introspector.tasks.command_line(tasks, index)
            for index, pid in enumerate(tasks.pids)
            if int(pid) in wanted
        }

    # ----- inside

    @cached_property
    def _slabs(self) -> Slabs:
        return Slabs(self._program, self._introspector.pages)

    @cached_property
    def _stacks(self) -> Stacks:
        return Stacks(self._program, self._modules)

    def _steady(self, read: Callable[[], T]) -> T:
        """What `read` returns, asked again where the kernel changed its records meanwhile."""
        self._stood = self._introspector.stands()
        for self.attempts in range(RETRIES):
            try:
                return read()
            except (Torn, NotMapped, Unreadable):
                continue
        self.attempts = RETRIES
        return read()

    def _thread(self, tid: int) -> drgn.Object:
        """``struct task_struct *`` of a thread."""
        threads = self._introspector.tasks.threads()
        index = _index_of(threads, tid)
        if index is None:
            raise NoSuchProcess(tid, "thread")
        return self._program.at("task_struct", int(threads.addresses[index]))

    def _process(self, pid: int) -> tuple[drgn.Object, int]:
        """``struct task_struct *`` of a process, and the physical address of its topmost page table."""
        tasks = self._introspector.tasks.processes()
        index = _index_of(tasks, pid)
        if index is None:
            raise NoSuchProcess(pid)
        return self._program.at("task_struct", int(tasks.addresses[index])), int(tasks.roots[index])


def _index_of(tasks: Tasks, pid: int) -> int | None:
    found = np.flatnonzero(tasks.pids == pid)
    return int(found[0]) if len(found) else None
