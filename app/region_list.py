"""The regions of a process's memory map as people read them: what each is, what it is called, how full it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.output import format_bytes
from bridge.kernel.maps import VM_EXEC, VM_READ, VM_SHARED, VM_WRITE
from bridge.kernel.records import MapEntry
from bridge.kernel.worker import Sighting

UNKNOWN = -1
"""Of `resident_bytes`: nobody has counted yet."""
KINDS = ("code", "file", "heap", "stack", "anonymous", "shared", "kernel")
"""What regions are, in the order in which they are drawn side by side."""
KIND_WORDS: dict[str, str] = {
    "code": "Code",
    "file": "File data",
    "heap": "Heap",
    "stack": "Stack",
    "anonymous": "Anonymous",
    "shared": "Shared",
    "kernel": "Kernel's",
}
_FOR_KERNEL = ("[vdso]", "[vvar]", "[vvar_vclock]", "[vsyscall]")


@dataclass(frozen=True, slots=True)
class Total:
    """Regions of one kind together."""

    kind: str
    regions: int
    size_bytes: int
    resident_bytes: int


def kind_of(entry: MapEntry) -> str:
    """What a region is, one of KINDS: by its name first, then by what may be done with it."""
    if entry.path in _FOR_KERNEL:
        return "kernel"
    if entry.path == "[heap]":
        return "heap"
    if entry.path.startswith("[stack"):
        return "stack"
    if "x" in entry.permissions:
        return "code"
    if entry.path and not entry.path.startswith("["):
        return "file"
    return "shared" if entry.permissions.endswith("s") else "anonymous"


def title_of(entry: MapEntry) -> str:
    """What a region is called: its file's name, its mark, or where it begins."""
    if entry.path.startswith("["):
        return entry.path
    return entry.path.rpartition("/")[2] or f"{entry.start:#x}"


def totals(entries: Sequence[MapEntry]) -> tuple[Total, ...]:
    """How much there is of each kind, in the order of KINDS; kinds that do not occur are left out."""
    found = []
    for kind in KINDS:
        own = [entry for entry in entries if kind_of(entry) == kind]
        if own:
            resident = sum(max(0, entry.resident_bytes) for entry in own)
            found.append(Total(kind, len(own), sum(entry.end - entry.start for entry in own), resident))
    return tuple(found)


def summary(entries: Sequence[MapEntry]) -> str:
    """All regions in a line: `24 regions · 1.2 MiB of 4.5 MiB in memory`."""
    size = format_bytes(sum(entry.end - entry.start for entry in entries))
    count = f"{len(entries):,} {'region' if len(entries) == 1 else 'regions'}"
    if any(entry.resident_bytes == UNKNOWN for entry in entries):
        return f"{count}  ·  {size}"
    return f"{count}  ·  {format_bytes(sum(entry.resident_bytes for entry in entries))} of {size} in memory"


def seen_regions(sighting: Sighting | None, pid: int) -> tuple[MapEntry, ...]:
    """The regions of a process as the latest look saw them: without names, and nobody has counted what is in memory."""
    if sighting is None or sighting.processes is None or sighting.vmas is None:
        return ()
    vmas = sighting.vmas
    own = np.flatnonzero(sighting.processes.pids[vmas.owners] == pid)
    columns = (vmas.starts, vmas.ends, vmas.flags, vmas.page_offsets, vmas.files)
    return tuple(
        MapEntry(start, end, _permissions(flags), offset << 12 if file else 0, "", UNKNOWN)
        for start, end, flags, offset, file in zip(*(column[own].tolist() for column in columns), strict=True)
    )


def region_at(entries: Sequence[MapEntry], address: int) -> MapEntry | None:
    """The region that holds an address."""
    return next((entry for entry in entries if entry.start <= address < entry.end), None)


def _permissions(flags: int) -> str:
    letters = "".join(c if flags & bit else "-" for c, bit in (("r", VM_READ), ("w", VM_WRITE), ("x", VM_EXEC)))
    return letters + ("s" if flags & VM_SHARED else "p")
