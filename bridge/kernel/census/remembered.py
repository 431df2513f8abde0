"""Remembered: what takes long to read and seldom changes; new things are read first, the oldest anew, within a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

STALE_S = 5.0
"""How long a thing is believed."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How much time reading may take in one census."""

    new_s: float = 0.03
    """For things that were never read; the rest come in the next censuses."""
    again_s: float = 0.004
    """For things that were read before and may have changed."""


UNLIMITED = Budget(float("inf"), float("inf"))


class Remembered(Generic[K, V]):
    """One kind of things."""

    def __init__(self, read: Callable[[K], V]) -> None:
        """`read` does not raise: what cannot be read is a value too."""
        self._read = read
        self._known: dict[K, tuple[V, float]] = {}
        self.n_pending = 0
        """Of the things that were asked for last: those that there was no time for."""

    def of(self, keys: Iterable[K], budget: Budget) -> dict[K, V]:
        """What is known of each of these now; things that there was no time for are left out. Others are forgotten."""
        wanted = dict.fromkeys(keys)
        self._known = {key: self._known[key] for key in wanted if key in self._known}
        self._fill([key for key in wanted if key not in self._known], budget.new_s)
        stale_s = time.monotonic() - STALE_S
        old = sorted((read_s, at) for at, (_, read_s) in enumerate(self._known.values()) if read_s < stale_s)
        if old:
            names = list(self._known)
            self._fill([names[at] for _, at in old], budget.again_s)
        self.n_pending = len(wanted) - len(self._known)
        return {key: value for key, (value, _) in self._known.items()}

    def _fill(self, keys: list[K], limit_s: float) -> None:
        started = time.monotonic()
        for index, key in enumerate(keys):
            now_s = time.monotonic()
            if index and now_s - started > limit_s:  # at least one: there is an end to it
                break
            self._known[key] = self._read(key), now_s
