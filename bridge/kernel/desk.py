"""Desk: answers questions about one kernel, each when it is asked. The worker's other half, beside the steady looks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bridge.kernel.census.records import Census
from bridge.kernel.census.taker import CensusTaker
from bridge.kernel.details import Details
from bridge.kernel.errors import KernelError
from bridge.kernel.owned import Glance, Owned, glance, mapped, owned
from bridge.kernel.packed_symbols import PackedSymbols, pack
from bridge.kernel.page_sets import pages_of
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
    SymbolRow,
)
from bridge.kernel.snapshot import Introspector, SemanticSnapshot
from bridge.kernel.tasks import Consistency
from bridge.kernel.where import Story, paddr_of
from bridge.memory.errors import GuestMemoryError
from bridge.trace.naming import KernelNamer

if TYPE_CHECKING:
    from bridge.trace.reaching import PointerView, Reaching

MAX_ROWS = 100_000
"""Of any answer: guest memory decides how long lists are."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of the worker. `number` comes back with the answer."""

    number: int
    name: str
    """One of QUESTIONS."""
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What the worker says to a question."""

    number: int
    value: Any
    """What the question's function returns; None where there is a problem."""
    problem: str = ""
    """Why there is no value, in a sentence."""
    taken_s: float = 0.0
    """time.monotonic() when it was answered."""
    took_s: float = 0.0
    consistency: Consistency = "live"
    """Whether lists had to be read again, because the kernel changed them meanwhile."""


class Desk:
    """Knows one kernel, and the latest look at it."""

    def __init__(self, introspector: Introspector) -> None:
        self.introspector = introspector
        self._latest: SemanticSnapshot | None = None
        self._details: Details | None = None
        self._packed: PackedSymbols | None = None
        self._taker: CensusTaker | None = None

    @property
    def details(self) -> Details:
        """Lists, paths and stacks of the same kernel; made when they are first asked for."""
        if self._details is None:
            self._details = Details(self.introspector)
        return self._details

    @property
    def snapshot(self) -> SemanticSnapshot:
        """The latest look, or a new one where there was none."""
        if self._latest is None:
            self._latest = self.introspector.look()
        return self._latest

    @snapshot.setter
    def snapshot(self, value: SemanticSnapshot) -> None:
        self._latest = value

    # ----- questions

    def symbols(self, text: str, limit: int) -> tuple[SymbolRow, ...]:
        """The symbols whose name holds `text`, by address, at most `limit`."""
        table = self.introspector.kernel.symbols.symbols
        found = [i for i, name in enumerate(table.names) if text in name]
        found.sort(key=lambda i: int(table.addresses[i]))
        return tuple(
            SymbolRow(table.names[i], int(table.addresses[i]), chr(table.types[i]))
            for i in found[: min(limit, MAX_ROWS)]
        )

    def symbol_table(self, known: int = 0) -> PackedSymbols | None:
        """All symbols; None where they are those whose fingerprint is `known`."""
        if self._packed is None:
            self._packed = pack(self.introspector.kernel.symbols.symbols)
        return None if self._packed.fingerprint == known else self._packed

    def find_symbol(self, name: str) -> int | None:
        """The address of the symbol of exactly that name."""
        return self.introspector.kernel.symbols.find(name)

    def symbol_range(self, name: str) -> tuple[int, int] | None:
        """The address of the symbol of exactly that name, and how many bytes it is to the next one, 1 at least."""
        symbols = self.introspector.kernel.symbols
        address = symbols.find(name)
        return None if address is None else (address, max(symbols.size_of(address), 1))

    def glance(self) -> Glance:
        """What the latest look says of every page and process."""
        return glance(self.snapshot)

    def owned(self, pids: tuple[int, ...] | None, part: int | None) -> Owned:
        """What some processes map (None: all), or only one Part of them. Raises KernelError."""
        return owned(self.introspector, self.snapshot, pids, part)

    def mapped(self, pages: npt.NDArray[np.uint32] | None) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint32]]:
        """Which processes map some pages, or any; see `owned.mapped`."""
        return mapped(self.snapshot, pages)

    def places(self, vaddrs: tuple[int, ...]) -> tuple[str, ...]:
        """What each kernel address is called, `schedule + 0x1c`; empty where nothing is known."""
        symbols = self.introspector.kernel.symbols
        return tuple("" if (place := symbols.place(vaddr)) is None else str(place) for vaddr in vaddrs[:MAX_ROWS])

    def code_places(self, places: tuple[tuple[int | None, int], ...]) -> tuple[tuple[str, str], ...]:
        """For code at each physical and virtual address its symbol or part, and whose it is; see `KernelNamer`."""
        namer = KernelNamer(self.introspector.kernel, self.snapshot)
        return tuple(namer.place(physical, address) for physical, address in places[:MAX_ROWS])

    def task_words(self, vcpus: int) -> tuple[int, ...]:
        """Where in the RAM file each processor's task is named; 0 where that is not known."""
        return tuple(KernelNamer(self.introspector.kernel, self.snapshot).task_words(vcpus))

    def reach_memory(
        self, origin: tuple[str, int], target: tuple[str, int] | None, back: bool, most: int
    ) -> tuple[Reaching, PointerView]:
        """What a task, mm, VMA or page leads to, or (`back`) what leads to it. Raises NothingThere."""
        from bridge.trace.pointers import Kind  # they bring what decodes code along, which few looks need
        from bridge.trace.reaching import reach_memory

        ends = [None if end is None else (Kind(end[0]), end[1]) for end in (origin, target)]
        assert ends[0] is not None
        physical_map = self.introspector.kernel.reader.ram.physical_map
        found, view = reach_memory(self.snapshot, physical_map, ends[0], ends[1], back=back, most=most)
        return replace(found, rows=found.rows[:MAX_ROWS]), view

    def where(self, paddr: int) -> Story:
        """The story of a physical address. Raises NotMapped."""
        return self.details.story(self.snapshot, paddr)

    def kernel_vaddr(self, paddr: int) -> int | None:
        """Where the kernel maps a physical address for itself, beside the direct map: in a module, in vmalloc."""
        mappings = self.snapshot.page_map.kernel_mappings
        inside = (mappings.paddrs <= np.uint64(paddr)) & (np.uint64(paddr) - mappings.paddrs < mappings.sizes)
        direct = self.introspector.kernel.space.direct_map
        for at in np.flatnonzero(inside)[:64].tolist():
            vaddr = int(mappings.vaddrs[at]) + paddr - int(mappings.paddrs[at])
            if direct is None or vaddr != direct + paddr:
                return vaddr
        return None

    def physical(self, vaddr: int, pid: int | None) -> int:
        """Where a virtual address of the kernel (None) or of a process lies. Raises NotMapped."""
        return paddr_of(self.introspector.kernel, self.snapshot, vaddr, pid)

    def pages_of(self, kind: str, key: Any) -> npt.NDArray[np.uint32]:
        """(n,) the pages of the RAM file that belong to a thing; see `page_sets.KINDS`. Raises NothingThere."""
        return pages_of(self.introspector.kernel, self.snapshot, kind, key)

    def modules(self) -> tuple[Module, ...]:
        """The loaded modules, newest first."""
        return self.details.modules()

    def mounts(self, pid: int = 1) -> tuple[Mount, ...]:
        """What a process sees mounted."""
        return self.details.mounts(pid)

    def files(self, pid: int) -> tuple[OpenFile, ...]:
        """The open files of a process, by descriptor."""
        return self.details.files(pid)

    def maps(self, pid: int) -> tuple[MapEntry, ...]:
        """The memory map of a process, by address."""
        return self.details.maps(pid)

    def sockets(self) -> tuple[Socket, ...]:
        """The sockets that processes hold open."""
        return self.details.sockets()

    def slabs(self) -> tuple[SlabCache, ...]:
        """The slab caches, by name."""
        return self.details.slabs()

    def slab_object(self, vaddr: int) -> SlabObject | None:
        """The slab object that holds an address of the direct map."""
        return self.details.slab_object(vaddr)

    def log(self, limit: int) -> tuple[LogRecord, ...]:
        """The last records of the kernel's log, the newest last."""
        return self.details.log(min(limit, MAX_ROWS))

    def stack(self, tid: int) -> tuple[StackFrame, ...]:
        """The kernel stack of a thread, the innermost frame first."""
        return self.details.stack(tid)

    def census(self, known: int = 0, *, whole: bool = False) -> Census | None:
        """All that changed since the census numbered `known`; None where nothing was looked at since.

        `whole`: names are read however long that takes, where else they come over the next censuses.
        """
        if self._taker is None:
            self._taker = CensusTaker(self.introspector)
        return self._taker.take(self.snapshot, known, whole=whole)

    def command_lines(self, pids: tuple[int, ...]) -> dict[int, str]:
        """The command lines of those of these processes that are there."""
        return self.details.command_lines(pids)


QUESTIONS: dict[str, Callable[..., Any]] = {
    "symbols": Desk.symbols,
    "symbol_table": Desk.symbol_table,
    "find_symbol": Desk.find_symbol,
    "symbol_range": Desk.symbol_range,
    "glance": Desk.glance,
    "owned": Desk.owned,
    "mapped": Desk.mapped,
    "places": Desk.places,
    "code_places": Desk.code_places,
    "task_words": Desk.task_words,
    "reach_memory": Desk.reach_memory,
    "where": Desk.where,
    "kernel_vaddr": Desk.kernel_vaddr,
    "physical": Desk.physical,
    "pages_of": Desk.pages_of,
    "modules": Desk.modules,
    "mounts": Desk.mounts,
    "files": Desk.files,
    "maps": Desk.maps,
    "sockets": Desk.sockets,
    "slabs": Desk.slabs,
    "slab_object": Desk.slab_object,
    "log": Desk.log,
    "stack": Desk.stack,
    "command_lines": Desk.command_lines,
    "census": Desk.census,
}

DETAILS = frozenset({"modules", "mounts", "files", "maps", "sockets", "slabs", "slab_object", "log", "stack"})
"""Questions whose answers are read when they are asked for; all others are told from the latest look."""


class CannotAnswer(KernelError):
    """A question that something unforeseen in the guest's memory kept from being answered."""

    def __init__(self, question: str, error: Exception) -> None:
        super().__init__(f"The question {question!r} could not be answered ({type(error).__name__}: {error}).")


def value_of(desk: Desk, question: str, *arguments: Any) -> Any:
    """What one of QUESTIONS gives. Raises KernelError or GuestMemoryError, and nothing else."""
    try:
        return QUESTIONS[question](desk, *arguments)
    except (KernelError, GuestMemoryError):
        raise
    except Exception as error:
        raise CannotAnswer(question, error) from error


def answer(desk: Desk | None, question: Question, why_not: str) -> Answer:
    """Answer one question; what goes wrong is said in the answer. `why_not`: why there is no desk."""
    started = time.monotonic()
    value, problem = None, why_not
    if desk is not None:
        try:
            value, problem = value_of(desk, question.name, *question.arguments), ""
        except (KernelError, GuestMemoryError) as error:
            problem = str(error)
    consistency: Consistency = "live"
    if desk is not None and question.name in DETAILS and not problem:
        consistency = desk.details.consistency
    return Answer(question.number, value, problem, time.monotonic(), time.monotonic() - started, consistency)
