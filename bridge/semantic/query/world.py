"""World: what a query is answered from. The command line, the window and the interfaces each have their own."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from bridge.kernel.errors import KernelError
from bridge.memory.physical_map import PhysicalMap
from bridge.semantic.query.model import Subject
from bridge.semantic.search.places import VirtualPages
from bridge.semantic.search.results import SearchResult

Mask = npt.NDArray[np.bool_]


class NotWatched(KernelError):
    """What was written then is not known: RAM was not watched yet."""

    def __init__(self, known_s: float) -> None:
        known = f"only for the last {known_s:.1f} s" if known_s > 0 else "from now on only"
        super().__init__(f"What was written is known {known}. Ask for less, or again later.")
        self.known_s = known_s


class World(Protocol):
    """One machine, as far as a query needs to know it. Methods may be called from the answering thread alone."""

    @property
    def n_pages(self) -> int:
        """Of the RAM file."""

    @property
    def physical_map(self) -> PhysicalMap:
        """Where the RAM file's bytes lie for the guest."""

    def ask(self, question: str, *arguments: Any) -> Any:
        """The answer to one of `desk.QUESTIONS`. Raises KernelError."""

    def written(self, within_s: float) -> Mask:
        """(n_pages,) which pages were written in the last so many seconds. Raises NotWatched."""

    def changed_since(self, time_s: float) -> Mask:
        """(n_pages,) which pages were written since an instant of time.time(). Raises NotWatched."""

    def search(self, pattern: Subject, pages: Mask | VirtualPages | None, limit: int) -> SearchResult:
        """Look for bytes, a text, a regular expression or YARA rules in the pages of a mask, in an address space, or in
        all RAM.

        Raises an error whose message says what is wrong with the pattern.
        """

    def cancelled(self) -> bool:
        """Whether nobody waits for the answer any more."""
