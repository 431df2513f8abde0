"""Names: what there is in a machine now that a query can speak of by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


def _no_symbol(_name: str) -> int | None:
    return None


def _no_symbols(_text: str, _limit: int) -> Sequence[str]:
    return ()


@dataclass(frozen=True, slots=True)
class ProcessName:
    """What a process is called."""

    pid: int
    name: str
    command_line: str = ""


@dataclass(frozen=True, slots=True)
class Names:
    """All names of one machine at one instant. Strings of guests: of any content."""

    processes: tuple[ProcessName, ...] = ()
    files: tuple[str, ...] = ()
    """Paths of files with pages in memory."""
    modules: tuple[str, ...] = ()
    slabs: tuple[str, ...] = ()
    machines: tuple[str, ...] = ()
    find_symbol: Callable[[str], int | None] = _no_symbol
    """The address of the symbol of exactly that name."""
    symbols: Callable[[str, int], Sequence[str]] = _no_symbols
    """At most so many names of symbols that hold a text."""


NO_NAMES = Names()
