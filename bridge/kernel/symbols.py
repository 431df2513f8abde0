"""Symbols by name and by address."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from bridge.kernel.errors import MissingSymbol
from bridge.kernel.kallsyms import Symbols

U64 = npt.NDArray[np.uint64]

_PERCPU_END = 1 << 32
"""Absolute per-cpu symbols are offsets from a CPU's area, far under every kernel address."""


MAX_SIZE_BYTES = 16 << 20
"""A symbol reaches to the next one, but not across the gaps between sections."""


@dataclass(frozen=True, slots=True)
class Place:
    """An address as a person says it: a symbol and how far behind it."""

    name: str
    offset: int

    def __str__(self) -> str:
        return f"{self.name} + {self.offset:#x}" if self.offset else self.name


class SymbolTable:
    """All symbols of one kernel, at the addresses of this boot."""

    def __init__(self, symbols: Symbols) -> None:
        self.symbols = symbols

    def __len__(self) -> int:
        return len(self.symbols.names)

    @cached_property
    def _by_name(self) -> dict[str, int]:
        # The first of a name wins, as in the kernel's own kallsyms_lookup_name.
        names = self.symbols.names
        return dict(zip(reversed(names), range(len(names) - 1, -1, -1), strict=True))

    def find(self, name: str) -> int | None:
        """The address of a symbol, or None."""
        index = self._by_name.get(name)
        return None if index is None else int(self.symbols.addresses[index])

    def address(self, name: str) -> int:
        """The address of a symbol. Raises MissingSymbol."""
        found = self.find(name)
        if found is None:
            raise MissingSymbol(name)
        return found

    def size_of(self, address: int) -> int:
        """How far it is from a symbol's address to the next one, in bytes; 0 where that says nothing."""
        ordered = self._ordered[0]
        at = int(np.searchsorted(ordered, np.uint64(address), side="right"))
        size = int(ordered[at]) - address if at < len(ordered) else 0
        return size if size <= MAX_SIZE_BYTES else 0

    @cached_property
    def _ordered(self) -> tuple[U64, npt.NDArray[np.int64]]:
        order = np.argsort(self.symbols.addresses, kind="stable")
        return self.symbols.addresses[order], order

    def place(self, vaddr: int, reach: int = 1 << 20) -> Place | None:
        """The nearest symbol at or before an address of the image, if it is within `reach` bytes."""
        addresses, order = self._ordered
        index = int(np.searchsorted(addresses, np.uint64(vaddr), side="right")) - 1
        if index < 0:
            return None
        start = int(addresses[index])
        if vaddr - start > reach or start < _PERCPU_END:
            return None
        first = int(np.searchsorted(addresses, np.uint64(start), side="left"))
        candidates = [self.symbols.names[order[at]] for at in range(first, index + 1)]
        # Section marks and generated names share addresses with what people know a place by.
        best = min(candidates, key=lambda name: (name.startswith(("__pfx_", "__start", "__end", ".")), len(name) == 0))
        return Place(best, vaddr - start)
