"""Upload rate: how many bytes a second went to the GPU lately, from a counter that only grows."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

WINDOW_S = 2.0
PAGE_BYTES = 4096


@dataclass(slots=True)
class UploadRate:
    """The rate over the last WINDOW_S seconds."""

    _samples: deque[tuple[float, int]] = field(default_factory=deque)

    def sample(self, now_s: float, pages: int) -> None:
        """Note how many pages were carried since the start."""
        if self._samples and pages < self._samples[-1][1]:
            self._samples.clear()  # counted from the start again: another feed
        self._samples.append((now_s, pages))
        while len(self._samples) > 2 and now_s - self._samples[1][0] >= WINDOW_S:
            self._samples.popleft()

    @property
    def bytes_per_s(self) -> float:
        """Return bytes a second; 0 before there are two samples."""
        if len(self._samples) < 2:
            return 0.0
        (began_s, first), (ended_s, last) = self._samples[0], self._samples[-1]
        return (last - first) * PAGE_BYTES / (ended_s - began_s) if ended_s > began_s else 0.0
