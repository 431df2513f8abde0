"""Pass times: what the GPU said of the last frames, summed up by what the time was spent on, for graph and table."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FRAMES = 240
GROUPS = ("march", "compose", "upload", "slices", "interface")
"""From the bottom of the graph to its top."""
_GROUP_OF = {"halo": "compose", "ground": "compose", "summarise": "upload", "content": "upload"}


@dataclass(frozen=True, slots=True)
class PassRow:
    """One line of the table. Times in seconds, over those of the kept frames in which the pass ran."""

    name: str  # a group, or a part of the group before it
    part: str  # empty for the group itself
    now_s: float
    p50_s: float
    p95_s: float


@dataclass(frozen=True, slots=True)
class PassFigures:
    """The table at one moment: made a few times a second, because figures must be readable, and percentiles cost."""

    total: PassRow | None = None
    rows: tuple[PassRow, ...] = ()


class PassTimes:
    """Belongs to the main thread."""

    def __init__(self, frames: int = FRAMES) -> None:
        self._frames = frames
        self._stacked: deque[tuple[float, ...]] = deque(maxlen=frames)
        self._passes: dict[tuple[str, str], deque[tuple[int, float]]] = {}
        self._number = 0

    def add(self, timings: Mapping[str, float]) -> None:
        """Take in a frame: seconds by pass, where "march/guest" is a part of "march"."""
        if not timings:
            return
        self._number += 1
        groups = dict.fromkeys(GROUPS, 0.0)
        met: dict[tuple[str, str], float] = {}
        for name, seconds in timings.items():
            first, slash, part = name.partition("/")
            group = _GROUP_OF.get(first, first)
            if group not in groups:
                continue
            if slash:
                met[group, part] = seconds
                continue
            groups[group] += seconds
            met[group, ""] = met.get((group, ""), 0.0) + seconds
        self._stacked.append(tuple(groups.values()))
        for key, seconds in met.items():
            self._passes.setdefault(key, deque(maxlen=self._frames)).append((self._number, seconds))
        oldest = self._number - self._frames
        for key in [k for k, kept in self._passes.items() if kept[-1][0] <= oldest]:
            del self._passes[key]

    def extend(self, batches: Iterable[Mapping[str, float]]) -> None:
        """Take in several frames, oldest first."""
        for timings in batches:
            self.add(timings)

    def __len__(self) -> int:
        return len(self._stacked)

    def stacked_ms(self, frames: int = FRAMES) -> NDArray[np.float32]:
        """Return the last `frames` frames for a stacked graph, (len(GROUPS), n) float32 milliseconds, oldest first.

        Row i holds the sum of groups 0 to i, so that what is drawn first must be the last row.
        """
        kept = list(self._stacked)[-frames:] if frames > 0 else []
        if not kept:
            return np.zeros((len(GROUPS), 0), np.float32)
        return np.ascontiguousarray(np.cumsum(np.array(kept, np.float64), axis=1).T * 1000, np.float32)

    def rows(self) -> list[PassRow]:
        """Return the table: each group that ran, then its parts where there are several."""
        found: list[PassRow] = []
        for group in GROUPS:
            if (group, "") in self._passes:
                found.append(self._row(group, ""))
            parts = sorted(part for name, part in self._passes if name == group and part)
            if len(parts) > 1:
                found.extend(self._row(group, part) for part in parts)
        return found

    def _row(self, group: str, part: str) -> PassRow:
        kept = self._passes[group, part]
        p50, p95 = np.percentile([seconds for _, seconds in kept], (50, 95))
        return PassRow(group, part, kept[-1][1], float(p50), float(p95))

    def total(self) -> PassRow | None:
        """Return what whole frames take; None while there is none."""
        if not self._stacked:
            return None
        totals = np.sum(np.array(self._stacked), axis=1)
        p50, p95 = np.percentile(totals, (50, 95))
        return PassRow("", "", float(totals[-1]), float(p50), float(p95))

    def figures(self) -> PassFigures:
        """Return the table as it is now."""
        return PassFigures(self.total(), tuple(self.rows()))
