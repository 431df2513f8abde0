"""Pulse: whether a kernel that was found still runs, by its own clocks.

A reboot or kexec puts the next kernel elsewhere in RAM, and what the last one left may lie there untouched for hours:
its banner, its symbols, its processes, all in order. Only its clocks stand still.
"""

from __future__ import annotations

from typing import Literal

from bridge.kernel.errors import NotMapped
from bridge.kernel.kernel import Kernel

Beat = Literal["beats", "stands", "restarted"]

_LONGEST_JUMP = 1 << 32
"""Ticks between two looks: 49 days at the fastest tick of 1000 Hz. Beyond that the counter was overwritten."""


class Pulse:
    """The tick counter of one kernel. A kernel without one beats always."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._place = kernel.symbols.find("jiffies_64") or kernel.symbols.find("jiffies")
        self._last: int | None = None

    def feel(self) -> Beat:
        """Whether it ticked since it was felt last: "stands" where not (it is paused, or has ended), "restarted" where
        its counter went back or makes no sense any more.
        """
        if self._place is None:
            return "beats"
        try:
            now = self._kernel.space.word(self._place)
        except NotMapped:
            return "restarted"
        last, self._last = self._last, now
        if last is None or last < now <= last + _LONGEST_JUMP:
            return "beats"
        return "stands" if now == last else "restarted"
