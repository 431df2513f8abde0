"""A guest kernel's symbols in the window: places named at once, and rows that are made only when they are shown."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import NDArray

from bridge.kernel.packed_symbols import PackedSymbols
from bridge.kernel.records import SymbolRow
from bridge.kernel.symbols import Place, SymbolTable

if TYPE_CHECKING:
    from app.kernels import Kernels

ASK_EVERY_S = 3.0
"""How soon a reboot, which puts the kernel elsewhere, is noticed."""


class KernelSymbols(Sequence[SymbolRow]):
    """All symbols of one boot of a kernel, as rows in the kernel's own order."""

    def __init__(self, packed: PackedSymbols) -> None:
        self.fingerprint = packed.fingerprint
        self.symbols = packed.unpack()
        self._table = SymbolTable(self.symbols)

    def __len__(self) -> int:
        return len(self.symbols.names)

    @overload
    def __getitem__(self, index: int) -> SymbolRow: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[SymbolRow]: ...
    def __getitem__(self, index: int | slice) -> SymbolRow | Sequence[SymbolRow]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        symbols = self.symbols
        return SymbolRow(symbols.names[index], int(symbols.addresses[index]), chr(symbols.types[index]))

    def place(self, vaddr: int) -> Place | None:
        """What an address of the kernel's image is called; None where nothing is known of it."""
        return self._table.place(vaddr)

    def find(self, name: str) -> int | None:
        """The address of a symbol."""
        return self._table.find(name)

    def size_of(self, address: int) -> int:
        """How far it is from a symbol's address to the next one; 0 where that says nothing."""
        return self._table.size_of(address)

    @cached_property
    def haystacks(self) -> list[str]:
        """What the filter looks at: the casefolded names, and the addresses as they are written."""
        folded = "\n".join(self.symbols.names).casefold().split("\n")
        return list(map("%s %s".__mod__, zip(folded, map(hex, self.symbols.addresses.tolist()), strict=True)))

    @cached_property
    def name_ranks(self) -> NDArray[np.intp]:
        """(n,) where each row stands among the names, by which they are sorted in no time."""
        folded = [name.casefold() for name in self.symbols.names]
        ranks = np.empty(len(folded), np.intp)
        ranks[sorted(range(len(folded)), key=folded.__getitem__)] = np.arange(len(folded))
        return ranks


class SymbolShelf:
    """The symbols of each machine's kernel, asked for when they are first needed and kept until it reboots."""

    def __init__(self) -> None:
        self._known: dict[str, KernelSymbols] = {}
        self._taken: dict[str, object] = {}
        self.problems: dict[str, str] = {}
        """Why there are none, by machine."""

    def of(self, kernels: Kernels, machine: str, now_s: float) -> KernelSymbols | None:
        """The symbols of a machine; None while they are not known. For each frame that needs them."""
        known = self._known.get(machine)
        fingerprint = 0 if known is None else known.fingerprint
        answer = kernels.ask(machine, "symbol_table", fingerprint, now_s=now_s, every_s=ASK_EVERY_S)
        if answer is None or answer is self._taken.get(machine):
            return known
        self._taken[machine] = answer
        self.problems[machine] = answer.problem
        if answer.problem:
            self._known.pop(machine, None)
        elif answer.value is not None:  # None: they are what we have
            self._known[machine] = KernelSymbols(answer.value)
        return self._known.get(machine)

    def keep(self, machines: Sequence[str]) -> None:
        """Forget machines that are gone."""
        for kept in (self._known, self._taken, self.problems):
            for name in [name for name in kept if name not in machines]:
                del kept[name]
