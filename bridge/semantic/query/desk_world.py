"""Desk world: queries answered in the process that reads the machine itself — the command line, the interfaces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bridge.kernel.desk import QUESTIONS, Desk
from bridge.kernel.errors import KernelError
from bridge.memory.physical import HoldsRam
from bridge.memory.physical_map import PhysicalMap
from bridge.memory.ram import GuestRam
from bridge.memory.write_watch import watch_writes
from bridge.semantic.query.model import BadQuery, Kind, Subject
from bridge.semantic.query.names import Names, ProcessName
from bridge.semantic.query.world import Mask, NotWatched
from bridge.semantic.search.places import VirtualPages
from bridge.semantic.search.results import SearchResult

if TYPE_CHECKING:
    from bridge.semantic.search.pattern import Pattern

MAX_WATCH_S = 600.0
"""Longer, nobody waits for an answer: the window, which watches all the time, knows more."""


def no_rules(path: str) -> str:
    """Where files of the person who asks are not to be read."""
    raise BadQuery(f"The rules have to be given themselves, not the file {path!r} that holds them.")


class DeskWorld:
    """One machine and its kernel. For one thread."""

    def __init__(
        self,
        desk: Desk,
        ram: HoldsRam,
        *,
        still: bool,
        rules: Callable[[str], str] = no_rules,
        cancelled: Callable[[], bool] = lambda: False,
        watching: Callable[[float], None] = lambda _seconds: None,
    ) -> None:
        """`still`: nothing is ever written, it is a dump. `rules` reads a file of YARA rules. `watching` is told for
        how many seconds RAM will be watched.
        """
        self._desk = desk
        self._ram = ram
        self._still = still
        self._rules = rules
        self._cancelled = cancelled
        self._watching = watching

    @property
    def n_pages(self) -> int:
        """Of the RAM file."""
        return self._ram.size_bytes >> 12

    @property
    def physical_map(self) -> PhysicalMap:
        """Where the RAM file's bytes lie for the guest."""
        return self._ram.physical_map

    def ask(self, question: str, *arguments: Any) -> Any:
        """The answer to one of `desk.QUESTIONS`. Raises KernelError."""
        return QUESTIONS[question](self._desk, *arguments)

    def written(self, within_s: float) -> Mask:
        """(n_pages,) which pages are written from now on, for so long: nobody watched before. Then the kernel is looked
        at anew. Raises NotWatched where that would take too long, GuestMemoryError.
        """
        if self._still or not isinstance(self._ram, GuestRam):
            return np.zeros(self.n_pages, np.bool_)
        if within_s > MAX_WATCH_S:
            raise NotWatched(MAX_WATCH_S)
        self._watching(within_s)
        written = watch_writes(self._ram, within_s, self._cancelled)
        self._desk.snapshot = self._desk.introspector.look()
        return written

    def changed_since(self, time_s: float) -> Mask:
        """Nobody watched: raises NotWatched, but of a dump, which never changes."""
        if self._still:
            return np.zeros(self.n_pages, np.bool_)
        del time_s
        raise NotWatched(0.0)

    def search(self, pattern: Subject, pages: Mask | VirtualPages | None, limit: int) -> SearchResult:
        """Look for a pattern. Raises BadPattern, GuestMemoryError."""
        from bridge.semantic.search.searcher import Searcher  # it loads a compiler

        return Searcher(self._ram).search(
            pattern_of(pattern, self._rules), pages, limit=limit, cancelled=self._cancelled
        )

    def cancelled(self) -> bool:
        """Whether nobody waits any more."""
        return self._cancelled()


def pattern_of(subject: Subject, rules: Callable[[str], str] = no_rules) -> Pattern:
    """What is looked for, as the search takes it. Raises BadPattern, and what `rules` raises."""
    from bridge.semantic.search.pattern import Pattern, PatternKind

    value = str(subject.value)
    if subject.kind is Kind.YARA and "{" not in value:
        value = rules(value)
    return Pattern(PatternKind(str(subject.kind)), value, subject.ignore_case)


def names_of(desk: Desk, machines: Sequence[str] = ()) -> Names:
    """What there is in a machine at the latest look. Raises KernelError."""
    look = desk.glance()
    processes, tasks = look.processes, desk.introspector.tasks
    named = []
    for index, (pid, name) in enumerate(zip(processes.pids.tolist(), processes.names, strict=True)):
        line = ""
        if processes.mms[index]:
            try:
                line = tasks.command_line(processes, index)
            except KernelError:
                line = ""  # it has ended since
        named.append(ProcessName(pid, name, line))
    return Names(
        tuple(named),
        tuple(file.path for file in look.details.files),
        look.details.modules,
        look.details.caches,
        tuple(machines),
        desk.find_symbol,
        lambda text, limit: [row.name for row in desk.symbols(text, limit)],
    )
