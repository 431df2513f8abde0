"""Window world: queries answered from what the window knows anyway: its kernels' workers and the ages of its pages."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from app.page_ages import Mask, PageAges
from bridge.kernel.errors import KernelError
from bridge.memory.physical_map import PhysicalMap
from bridge.semantic.query.desk_world import pattern_of
from bridge.semantic.query.names import Names, ProcessName
from bridge.semantic.query.world import NotWatched
from bridge.semantic.search.places import VirtualPages
from bridge.semantic.search.results import SearchResult

if TYPE_CHECKING:
    from bridge.memory.ram import GuestRam
    from bridge.semantic.query.model import Subject

Ask = Callable[..., Any]
MAX_SYMBOLS = 1000


class WindowWorld:
    """See World. For one job thread."""

    def __init__(
        self, ask: Ask, ram: GuestRam, ages: PageAges, rules: Callable[[str], str], cancelled: Callable[[], bool]
    ) -> None:
        """`ask(question, *arguments)` puts one of desk.QUESTIONS to the machine's worker. Raises KernelError."""
        self.ask = ask
        self._ram = ram
        self._ages = ages
        self._rules = rules
        self.cancelled = cancelled

    @property
    def n_pages(self) -> int:
        """Of the RAM file."""
        return self._ram.n_pages

    @property
    def physical_map(self) -> PhysicalMap:
        """Where the RAM file's bytes lie for the guest."""
        return self._ram.physical_map

    def written(self, within_s: float) -> Mask:
        """(n_pages,) which pages were written in the last so many seconds. Raises NotWatched."""
        known_s = self._ages.known_s()
        if within_s > known_s:
            raise NotWatched(known_s)
        return self._ages.within(within_s)

    def changed_since(self, time_s: float) -> Mask:
        """(n_pages,) which pages were written since an instant of time.time(). Raises NotWatched."""
        return self.written(max(0.0, time.time() - time_s))

    def search(self, pattern: Subject, pages: Mask | VirtualPages | None, limit: int) -> SearchResult:
        """Look for a pattern. Raises BadPattern, BadQuery, GuestMemoryError."""
        from bridge.semantic.search.searcher import Searcher  # it loads a compiler

        return Searcher(self._ram).search(
            pattern_of(pattern, self._rules), pages, limit=limit, cancelled=self.cancelled
        )


def names_of_machine(ask: Ask, machines: Sequence[str] = ()) -> Names:
    """What there is in a machine at the latest look of its worker. Raises KernelError."""
    look = ask("glance")
    processes = look.processes
    pids = processes.pids.tolist()
    try:
        lines = ask("command_lines", tuple(pids))
    except KernelError:
        lines = {}  # names will do
    return Names(
        tuple(ProcessName(pid, name, lines.get(pid, "")) for pid, name in zip(pids, processes.names, strict=True)),
        tuple(file.path for file in look.details.files),
        look.details.modules,
        look.details.caches,
        tuple(machines),
        lambda name: ask("find_symbol", name),
        lambda text, limit: [row.name for row in ask("symbols", text, min(limit, MAX_SYMBOLS))],
    )
