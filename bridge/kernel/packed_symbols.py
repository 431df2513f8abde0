"""Packed symbols: a whole symbol table in a few large pieces, which cross from the worker to the window at once."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bridge.kernel.kallsyms import Symbols


@dataclass(frozen=True, slots=True)
class PackedSymbols:
    """A symbol table as three arrays: 150,000 strings one by one would hold up whoever receives them."""

    names: bytes
    """UTF-8, a newline between."""
    addresses: npt.NDArray[np.uint64]
    """(n,) at the addresses of this boot."""
    types: npt.NDArray[np.uint8]
    """(n,) ASCII of nm's letters."""
    fingerprint: int
    """Another table, or the same one at other addresses, has another."""

    def unpack(self) -> Symbols:
        """The table as it was packed."""
        names = tuple(self.names.decode(errors="replace").split("\n")) if len(self.addresses) else ()
        return Symbols(names, self.addresses, self.types)


def pack(symbols: Symbols) -> PackedSymbols:
    """Pack a table."""
    # A name with a newline would make two; no compiler emits one, but RAM may hold anything.
    names = "\n".join(name.replace("\n", "\ufffd") for name in symbols.names).encode(errors="replace")
    fingerprint = zlib.crc32(symbols.addresses.tobytes(), zlib.crc32(names)) or 1
    return PackedSymbols(names, symbols.addresses, symbols.types, fingerprint)
