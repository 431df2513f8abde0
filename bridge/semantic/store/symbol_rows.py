"""Symbol rows: a kernel's symbols by address, each with where the next one begins and where it lies in RAM."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bridge.kernel.packed_symbols import PackedSymbols
from bridge.kernel.space import KERNEL_MAP, KERNEL_MAP_END
from bridge.semantic.store.cells import clean

SymbolRow = tuple[int, str, str, int | None, int | None]
"""vaddr, name, type, end_vaddr, paddr; signed."""


def symbol_rows(packed: PackedSymbols, phys_base: int, batch: int) -> Iterator[list[SymbolRow]]:
    """The rows in lists of at most `batch`."""
    symbols = packed.unpack()
    order = np.argsort(symbols.addresses, kind="stable")
    vaddrs = symbols.addresses[order]
    starts = np.unique(vaddrs)
    ends = np.searchsorted(starts, vaddrs, side="right")
    next_start = np.append(starts, starts[-1:])[ends]
    in_image = (vaddrs >= np.uint64(KERNEL_MAP)) & (vaddrs < np.uint64(KERNEL_MAP_END))
    # Modulo 2^64, as the kernel's own __pa_symbol (arch/x86/include/asm/page.h).
    paddrs = vaddrs - np.uint64(KERNEL_MAP) + np.uint64(phys_base % (1 << 64))
    for at in range(0, len(order), batch):
        part = slice(at, at + batch)
        cells = zip(
            order[part].tolist(),
            vaddrs[part].view(np.int64).tolist(),
            next_start[part].view(np.int64).tolist(),
            (ends[part] < len(starts)).tolist(),
            paddrs[part].view(np.int64).tolist(),
            in_image[part].tolist(),
            strict=True,
        )
        yield [
            (
                vaddr,
                clean(symbols.names[index]),
                chr(int(symbols.types[index])),
                end if has_end else None,
                paddr if inside else None,
            )
            for index, vaddr, end, has_end, paddr, inside in cells
        ]
