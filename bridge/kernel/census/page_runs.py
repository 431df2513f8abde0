"""Page runs: what every page of RAM is, as runs of pages that are alike, and which runs changed since the last time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bridge.kernel.census.addresses import signed
from bridge.kernel.census.records import Row, TableChange
from bridge.kernel.census.region_rows import PART_NAMES
from bridge.kernel.kernel import Kernel
from bridge.kernel.page_classes import CLASS_TITLES, PageClass
from bridge.kernel.page_details import KERNEL_TABLES, PageDetails
from bridge.kernel.snapshot import SemanticSnapshot

I64 = npt.NDArray[np.int64]
Subject = tuple[str, str]

MAX_SUBJECTS = 200_000
"""That are remembered; after so many the census begins anew."""
_NONE = -1
_TITLES = {int(page_class): title for page_class, title in CLASS_TITLES.items()}
_KINDS: dict[PageClass, str] = {
    PageClass.SLAB: "slab cache",
    PageClass.FILE: "file",
    PageClass.SHARED_MEMORY: "file",
    PageClass.KERNEL_STACK: "stack",
    PageClass.MODULE: "module",
    PageClass.PAGE_TABLE: "page table",
}
_PLACE_GROWS = np.isin(np.arange(256), (PageClass.FILE, PageClass.SHARED_MEMORY, PageClass.KERNEL_STACK))
"""Where each page of a run is the next page of the same file or stack."""
_PLACE_STAYS = np.isin(np.arange(256), (PageClass.PAGE_TABLE, PageClass.FREE))


class PageRuns:
    """Tells the runs of one kernel's pages, and how they change."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        n_pages = kernel.reader.ram.size_bytes >> 12
        offsets = np.arange(n_pages, dtype=np.uint64) << np.uint64(12)
        paddrs = kernel.reader.ram.physical_map.paddr_from_offset(offsets)
        order = np.argsort(paddrs, kind="stable")
        self._order = order[paddrs[order] >= 0]
        self._paddrs = paddrs[self._order]
        self._subjects: dict[Subject, int] = {}
        self._luts: dict[PageClass, tuple[list[str], I64]] = {}
        self._before: I64 | None = None
        self._new: list[tuple[int, str, str]] = []

    @property
    def is_overfull(self) -> bool:
        """Whether more is remembered than is good: forget and begin anew."""
        return len(self._subjects) > MAX_SUBJECTS

    def forget(self) -> None:
        """Tell everything the next time."""
        self._before = None
        self._subjects.clear()
        self._luts.clear()

    def change(self, seen: SemanticSnapshot) -> tuple[TableChange, tuple[tuple[int, str, str], ...]]:
        """What changed since the last time, and the subjects that are new: number, kind, name."""
        self._new = []
        now = self._runs(seen)
        before, self._before = self._before, now
        if before is None:
            return TableChange(self._rows(now)), tuple(self._new)
        at = np.searchsorted(before[:, 0], now[:, 0])
        at = np.minimum(at, max(len(before) - 1, 0))
        same = (before[at] == now).all(axis=1) if len(before) else np.zeros(len(now), np.bool_)
        gone = before[~np.isin(before[:, 0], now[:, 0]), 0]
        return TableChange(self._rows(now[~same]), tuple((first,) for first in gone.tolist())), tuple(self._new)

    def _runs(self, seen: SemanticSnapshot) -> I64:
        """(n, 9) by address: paddr, class, part, pid, uaddr, mappings, subject, place, number of pages."""
        order, paddrs = self._order, self._paddrs
        classes = seen.page_map.classes[order]
        owners = seen.owners
        counts = owners.counts()[order]
        mapped = counts > 0
        first = owners.starts[:-1][order[mapped]]
        pids, uaddrs = np.full(len(order), _NONE, np.int64), np.zeros(len(order), np.int64)
        pids[mapped] = seen.processes.pids[owners.processes[first]]
        uaddrs[mapped] = owners.vaddrs[first].view(np.int64)
        subjects, places = self._subjects_of(seen.details, classes, order)
        parts = seen.parts[order].astype(np.int64)
        pages = np.arange(len(order), dtype=np.int64)
        grows = _PLACE_GROWS[classes] & (subjects >= 0)
        # What grows with each page is compared by what it began with.
        alike = (
            paddrs - (pages << 12),
            classes.astype(np.int64),
            parts,
            pids,
            np.where(mapped, uaddrs - (pages << 12), 0),
            counts.astype(np.int64),
            subjects,
            np.where(grows, places - pages, places),
        )
        breaks = np.zeros(len(order), np.bool_)
        breaks[:1] = True
        for column in alike:
            breaks[1:] |= column[1:] != column[:-1]
        starts = np.flatnonzero(breaks)
        lengths = np.diff(np.append(starts, len(order)))
        columns = (paddrs, classes, parts, pids, uaddrs, counts, subjects, places)
        return np.column_stack([*(column[starts].astype(np.int64) for column in columns), lengths])

    def _subjects_of(self, details: PageDetails, classes: npt.NDArray[np.uint8], order: I64) -> tuple[I64, I64]:
        own = details.subjects[order]
        subjects = np.full(len(order), _NONE, np.int64)
        for page_class in _KINDS:
            chosen = np.flatnonzero((classes == page_class) & (own >= 0))
            if len(chosen):
                subjects[chosen] = self._lut(page_class, details)[own[chosen]]
        told = (_PLACE_GROWS | _PLACE_STAYS)[classes] & ((subjects >= 0) | (classes == PageClass.FREE))
        places = np.where(told, details.places[order].astype(np.int64), _NONE)
        return subjects, places

    def _lut(self, page_class: PageClass, details: PageDetails) -> I64:
        """(k,) the number of each subject of a class."""
        known = self._luts.get(page_class)
        names = _names(page_class, details)
        if known is None or known[0] != names:
            numbers = np.array([self._number((_KINDS[page_class], name)) for name in names], np.int64)
            known = self._luts[page_class] = names, numbers
        return known[1]

    def _number(self, subject: Subject) -> int:
        number = self._subjects.get(subject)
        if number is None:
            number = self._subjects[subject] = len(self._subjects) + 1
            self._new.append((number, *subject))
        return number

    def _rows(self, runs: I64) -> tuple[Row, ...]:
        direct_map = self._kernel.space.direct_map
        ends = runs[:, 0] + (runs[:, -1] << 12)
        vaddrs: list[int | None] = [None] * len(runs)
        if direct_map is not None:
            vaddrs = [*signed(runs[:, 0].astype(np.uint64) + np.uint64(direct_map))]
        paddrs, classes, parts, pids, uaddrs, counts, subjects, places, lengths = (part.tolist() for part in runs.T)
        return tuple(
            (
                paddr,
                end,
                vaddr,
                length,
                _TITLES[page_class],
                PART_NAMES[part],
                pid if count else None,
                uaddr if count else None,
                count,
                subject if subject >= 0 else None,
                place if place >= 0 else None,
            )
            for paddr, end, vaddr, length, page_class, part, pid, uaddr, count, subject, place in zip(
                paddrs, ends.tolist(), vaddrs, lengths, classes, parts, pids, uaddrs, counts, subjects, places,
                strict=True,
            )
        )  # fmt: skip


def _names(page_class: PageClass, details: PageDetails) -> list[str]:
    """What the subjects of a class are called, by their index."""
    match page_class:
        case PageClass.SLAB:
            return list(details.caches)
        case PageClass.KERNEL_STACK:
            return [str(tid) for tid in details.stacks.tids.tolist()]
        case PageClass.MODULE:
            return list(details.modules)
        case PageClass.PAGE_TABLE:
            return ["kernel" if pid == KERNEL_TABLES else str(pid) for pid in details.tables]
        case _:
            return [file.path for file in details.files]
