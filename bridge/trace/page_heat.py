"""Page heat: how much of each page of RAM was executed, loaded and stored between two looks at the plugin's counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bridge.memory.physical_map import PAGE_BYTES
from bridge.trace.layout import layout
from bridge.trace.session import Counts

if TYPE_CHECKING:
    from bridge.memory.physical_map import PhysicalMap
    from bridge.trace.session import TraceSession

_MOST_INSTRUCTIONS = 1 << 12
"""In a block: QEMU ends one at 512. What a damaged table says beyond is not believed."""


@dataclass(frozen=True, slots=True)
class Touched:
    """Between two looks, by page of the RAM file."""

    executed: NDArray[np.float64]
    """(n_pages,) instructions run; a block that reaches over two pages is in each by its bytes."""
    loads: NDArray[np.uint32]
    """(n_pages,); all 0 unless heat is measured."""
    stores: NDArray[np.uint32]
    at_ns: int
    """CLOCK_MONOTONIC of the second look."""
    seconds: float
    """Between them; 0 of the first look, which has nothing to tell yet."""


class PageHeat:
    """Of one session. For one thread."""

    def __init__(self, session: TraceSession) -> None:
        self._session = session
        self._entered: NDArray[np.uint64] = np.zeros(0, np.uint64)
        self._loads: NDArray[np.uint32] = np.zeros(0, np.uint32)
        self._stores: NDArray[np.uint32] = np.zeros(0, np.uint32)
        self._at_ns = 0

    def take(self, physical_map: PhysicalMap) -> Touched:
        """What was done since the last call. Raises TraceError."""
        memory, counts = self._session.memory, self._session.counts()
        entered = counts.total
        # They are of 32 bits a vCPU, and wrap; so does their difference, which is right again.
        loads = memory.heat["loads"].sum(axis=0, dtype=np.uint32)
        stores = memory.heat["stores"].sum(axis=0, dtype=np.uint32)
        since_ns, before = self._at_ns, (self._entered, self._loads, self._stores)
        self._entered, self._loads, self._stores, self._at_ns = entered, loads, stores, counts.at_ns
        n_pages = memory.pages
        if not since_ns:
            nothing = np.zeros(n_pages, np.uint32)
            return Touched(np.zeros(n_pages), nothing, nothing, counts.at_ns, 0.0)
        known = min(len(before[0]), len(entered))
        more = entered.astype(np.int64)
        more[:known] -= before[0][:known].astype(np.int64)
        executed = executed_pages(counts, np.maximum(more, 0), physical_map, n_pages)
        seconds = max(0, counts.at_ns - since_ns) / 1e9
        return Touched(executed, loads - before[1], stores - before[2], counts.at_ns, seconds)


def executed_pages(
    counts: Counts, entered: NDArray[np.int64], physical_map: PhysicalMap, n_pages: int
) -> NDArray[np.float64]:
    """Instructions run in each page of the RAM file, (n_pages,). `entered`: (n,) how often each of the blocks was."""
    ran = np.flatnonzero(entered)
    blocks: NDArray[Any] = counts.blocks[ran]
    run = entered[ran] * np.minimum(blocks["instructions"], _MOST_INSTRUCTIONS).astype(np.float64)
    sizes = np.maximum(blocks["bytes"], 1).astype(np.float64)
    left = PAGE_BYTES - (blocks["physical"] % PAGE_BYTES).astype(np.float64)
    reaches = blocks["physical_behind"] != layout().constants["NONE"]
    here = np.where(reaches, np.minimum(left / sizes, 1.0), 1.0)
    executed = np.zeros(n_pages)
    for places, share in ((blocks["physical"], here), (blocks["physical_behind"], 1.0 - here)):
        offsets = physical_map.offset_from_paddr(places.astype(np.uint64))
        in_ram = (offsets >= 0) & (offsets < n_pages * PAGE_BYTES)
        executed += np.bincount(offsets[in_ram] // PAGE_BYTES, (run * share)[in_ram], minlength=n_pages)
    return executed
