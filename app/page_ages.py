"""Page ages: when each page of a machine was last seen to be written, for questions about a time."""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
_LONG_AGO = -np.inf


class PageAges:
    """Written by the render thread, read by any."""

    def __init__(self, n_pages: int) -> None:
        self._written_s = np.full(n_pages, _LONG_AGO)
        self.since_s: float | None = None
        """time.monotonic() from when on all writing is known of; None before all of RAM was seen once."""

    def begin(self) -> None:
        """From now on what is written is known: all of RAM was seen."""
        if self.since_s is None:
            self.since_s = time.monotonic()

    def write(self, pages: npt.NDArray[np.uint32]) -> None:
        """Pages (k,) were seen to be written."""
        if self.since_s is not None:
            self._written_s[pages] = time.monotonic()

    def known_s(self) -> float:
        """How far back all writing is known, in seconds."""
        return 0.0 if self.since_s is None else time.monotonic() - self.since_s

    def within(self, seconds: float) -> Mask:
        """(n_pages,) which were written in the last so many seconds, as far as it is known."""
        mask: Mask = self._written_s >= time.monotonic() - seconds
        return mask
