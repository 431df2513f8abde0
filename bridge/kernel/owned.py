"""Owned: what processes map, place by place — each mapped page with its address, its region and what part that is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bridge.kernel.errors import KernelError
from bridge.kernel.maps import Vmas
from bridge.kernel.page_details import PageDetails
from bridge.kernel.snapshot import Introspector, Part, SemanticSnapshot, find_vmas
from bridge.kernel.tasks import Consistency, Tasks

U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Glance:
    """What one look says of every page and process: all that most questions are answered from. Arrays are by page of
    the RAM file.
    """

    processes: Tasks
    threads: Tasks
    classes: npt.NDArray[np.uint8]
    parts: npt.NDArray[np.uint8]
    first_owner: npt.NDArray[np.int32]
    """Index into `processes`, -1 for none."""
    details: PageDetails
    consistency: Consistency


@dataclass(frozen=True, slots=True)
class Owned:
    """The regions of some processes, and the pages that are mapped there."""

    vmas: Vmas
    """(v,) by process and address; `owners` are indices into the processes of the look."""
    parts: npt.NDArray[np.uint8]
    """(v,) Part of each region."""
    regions: npt.NDArray[np.int32]
    """(m,) which region each mapped page lies in; -1 where the memory map has no such place."""
    processes: npt.NDArray[np.int32]
    """(m,) whose mapping it is: an index into the processes of the look."""
    pages: U32
    """(m,) pages of the RAM file, ascending."""
    vaddrs: U64
    """(m,)"""


def glance(snapshot: SemanticSnapshot) -> Glance:
    """What a look says of every page."""
    return Glance(
        snapshot.processes,
        snapshot.threads,
        snapshot.page_map.classes,
        snapshot.parts,
        snapshot.owners.first().astype(np.int32),
        snapshot.details,
        snapshot.consistency,
    )


def owned(
    introspector: Introspector, snapshot: SemanticSnapshot, pids: tuple[int, ...] | None, part: int | None
) -> Owned:
    """What some processes map (None: all), or only one Part of them. Who is not there maps nothing.

    Raises KernelError for a part that there is not.
    """
    if part is not None and part not in list(Part):
        raise KernelError(f"Processes have no part {part}.")
    processes, owners, vmas = snapshot.processes, snapshot.owners, snapshot.vmas
    chosen = np.ones(len(processes), np.bool_) if pids is None else np.isin(processes.pids, pids)
    own = np.flatnonzero(chosen[owners.processes])
    pages = owners.pages[own]
    who, vaddrs = owners.processes[own], owners.vaddrs[own]
    kinds = introspector.vma_parts(processes, vmas)
    region = find_vmas(vmas, who, vaddrs)
    if part is not None:
        kept = np.where(region >= 0, kinds[np.maximum(region, 0)], Part.OTHER) == part if len(kinds) else region > 0
        region, pages, who, vaddrs = region[kept], pages[kept], who[kept], vaddrs[kept]
    wanted = chosen[vmas.owners]
    if part is not None:
        wanted = wanted & (kinds == part)
    number = np.cumsum(wanted) - 1
    region = np.where(region >= 0, number[np.maximum(region, 0)], -1) if len(number) else region
    return Owned(
        vmas.only(wanted),
        kinds[wanted],
        region.astype(np.int32),
        who.astype(np.int32),
        pages.astype(np.uint32),
        vaddrs,
    )


def mapped(snapshot: SemanticSnapshot, pages: U32 | None) -> tuple[npt.NDArray[np.int32], U32]:
    """Which processes map some pages (None: all): (m,) indices into the processes of the look, and (m,) the page that
    each maps, ascending.
    """
    owners = snapshot.owners
    if pages is None:
        return owners.processes.astype(np.int32), owners.pages.astype(np.uint32)
    chosen = np.zeros(len(owners.starts) - 1, np.bool_)
    chosen[pages[pages < len(chosen)]] = True
    counts = owners.counts()
    inside = np.repeat(chosen, counts)
    return owners.processes[inside].astype(np.int32), np.repeat(np.flatnonzero(chosen), counts[chosen]).astype(
        np.uint32
    )
