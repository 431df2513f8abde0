"""How much each page has been written lately: a sum over its writes, of which half is left after each half-life."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from render.errors import BadHalfLife

HALF_LIFE_S = 5.0
"""Until another one is set: long enough to see a process work, short enough to see it stop."""
NEVER_S = -1.0e9
"""When a page that was never written was written."""
_HOTTEST = 1e6


class WriteHeat:
    """What the GPU's heat texture holds, a page each."""

    def __init__(self, n_pages: int) -> None:
        self.written_s = np.full(n_pages, NEVER_S, np.float32)
        """(n_pages,) when each page was written last."""
        self.heat = np.zeros(n_pages, np.float32)
        """(n_pages,) how hot it was then, that write included."""
        self.half_life_s = HALF_LIFE_S

    def add(self, pages: NDArray[np.uint32], now_s: float) -> NDArray[np.float32]:
        """Count a write of each of `pages` (n,) at this moment; their heat with it, (n,) float32."""
        ago_s = np.maximum(now_s - self.written_s[pages].astype(np.float64), 0.0)
        heat: NDArray[np.float32] = np.minimum(
            1.0 + self.heat[pages] * np.exp2(-ago_s / self.half_life_s), _HOTTEST
        ).astype(np.float32)
        self.heat[pages] = heat
        self.written_s[pages] = now_s
        return heat

    def at(self, now_s: float) -> NDArray[np.float32]:
        """What is left of each page's heat, (n_pages,) float32."""
        ago_s = np.maximum(now_s - self.written_s.astype(np.float64), 0.0)
        left: NDArray[np.float32] = (self.heat * np.exp2(-ago_s / self.half_life_s)).astype(np.float32)
        return left

    def set_half_life(self, half_life_s: float) -> None:
        """Make of each page's heat what it would be if it had been written at an even pace, with this half-life.

        At an even pace heat is a geometric series, 1 / (1 - q), where q is what is left from write to write; the
        present heat gives q, and the logarithm of q goes with the inverse of the half-life. Raises BadHalfLife.
        """
        if not (isinstance(half_life_s, (int, float)) and 0.0 < half_life_s < math.inf):
            raise BadHalfLife(half_life_s)
        hot = self.heat > 1.0
        log_q = np.log1p(-1.0 / self.heat[hot].astype(np.float64)) * (self.half_life_s / half_life_s)
        with np.errstate(divide="ignore", over="ignore"):  # a half-life beyond all measure makes the hottest there is
            self.heat[hot] = np.minimum(-1.0 / np.expm1(log_q), _HOTTEST)
        self.half_life_s = float(half_life_s)
