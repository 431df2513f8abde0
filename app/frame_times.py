"""Frame times: a ring of how long frames took and how far apart they came, with their percentiles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CAPACITY = 1024
IDLE_S = 0.25  # a longer gap is rest between draws, not a slow frame, unless the window was asked to animate


@dataclass(frozen=True, slots=True)
class FrameStats:
    """Figures over the kept frames; NaN-free: zeros while there are none."""

    frames: int
    interval_p50_s: float
    interval_p99_s: float
    work_p50_s: float
    work_p95_s: float
    work_p99_s: float

    @classmethod
    def none(cls) -> FrameStats:
        """Return the figures of no frames."""
        return cls(0, 0.0, 0.0, 0.0, 0.0, 0.0)

    @property
    def fps(self) -> float:
        """Frames a second at the median interval."""
        return 1 / self.interval_p50_s if self.interval_p50_s else 0.0


class FrameTimes:
    """Records frames; `stats()` is cheap enough for every frame of a read-out (a percentile of 1,024 numbers)."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._interval = np.zeros(capacity)
        self._work = np.zeros(capacity)
        self._count = 0
        self._intervals = 0
        self._last_s: float | None = None

    def record(self, begin_s: float, end_s: float, *, animating: bool) -> None:
        """Add a frame that was drawn from `begin_s` to `end_s`; `animating`: it was due right after the one before."""
        self._work[self._count % len(self._work)] = end_s - begin_s
        self._count += 1
        if self._last_s is not None and (animating or begin_s - self._last_s < IDLE_S):
            self._interval[self._intervals % len(self._interval)] = begin_s - self._last_s
            self._intervals += 1
        self._last_s = begin_s

    def reset(self) -> None:
        """Forget all frames: a measurement starts."""
        self._count = self._intervals = 0
        self._last_s = None

    def recent_work(self, count: int) -> list[float]:
        """Return the last `count` drawing times in seconds, oldest first."""
        kept = min(self._count, len(self._work), count)
        return [float(self._work[i % len(self._work)]) for i in range(self._count - kept, self._count)]

    def stats(self) -> FrameStats:
        """Return the percentiles over what is kept."""
        work = self._work[: min(self._count, len(self._work))]
        interval = self._interval[: min(self._intervals, len(self._interval))]
        work_p50, work_p95, work_p99 = np.percentile(work, (50, 95, 99)) if len(work) else (0.0, 0.0, 0.0)
        gap_p50, gap_p99 = np.percentile(interval, (50, 99)) if len(interval) else (0.0, 0.0)
        return FrameStats(
            self._count, float(gap_p50), float(gap_p99), float(work_p50), float(work_p95), float(work_p99)
        )
