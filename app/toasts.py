"""Toasts: short messages over the window that say what happened and offer the way out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

MAX_SHOWN = 4
FADE_S = 0.25


class ToastLevel(StrEnum):
    """How much a toast wants to be seen."""

    INFO = "info"
    GOOD = "good"
    WARN = "warn"
    ERROR = "error"


_LIFETIME_S = {ToastLevel.INFO: 5.0, ToastLevel.GOOD: 4.0, ToastLevel.WARN: 9.0, ToastLevel.ERROR: float("inf")}


@dataclass(frozen=True, slots=True)
class Way:
    """A button on a toast: what to do about it, as an action with its arguments."""

    label: str
    action: str
    args: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Toast:
    """A message. Errors stay until they are dismissed; the rest leave by themselves."""

    number: int
    level: ToastLevel
    title: str
    detail: str
    ways: tuple[Way, ...]
    born_s: float
    count: int = 1  # how often the same was said

    def opacity(self, now_s: float) -> float:
        """Return 0..1: fades in at birth and out at the end."""
        age = now_s - self.born_s
        left = _LIFETIME_S[self.level] - age
        return max(0.0, min(1.0, age / FADE_S if self.count == 1 else 1.0, left / FADE_S))


class Toasts:
    """The toasts that are up. Any thread may add; the window draws `shown()`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._toasts: list[Toast] = []
        self._next = 0

    def add(self, level: ToastLevel, title: str, detail: str = "", *ways: Way) -> Toast:
        """Show a toast; one that says the same as one that is up only counts it up."""
        now = self._clock()
        with self._lock:
            for index, old in enumerate(self._toasts):
                if (old.level, old.title, old.detail) == (level, title, detail):
                    self._toasts[index] = replace(old, born_s=now, count=old.count + 1, ways=ways)
                    return self._toasts[index]
            toast = Toast(self._next, level, title, detail, ways, now)
            self._next += 1
            self._toasts.append(toast)
            return toast

    def dismiss(self, number: int | None = None) -> None:
        """Take one toast down, or all."""
        with self._lock:
            self._toasts = [t for t in self._toasts if number is not None and t.number != number]

    def shown(self) -> list[Toast]:
        """Return the newest toasts that are still up, oldest first."""
        now = self._clock()
        with self._lock:
            self._toasts = [t for t in self._toasts if now - t.born_s < _LIFETIME_S[t.level]]
            return self._toasts[-MAX_SHOWN:]

    def hidden_count(self) -> int:
        """Return how many more wait behind the shown ones."""
        with self._lock:
            return max(0, len(self._toasts) - MAX_SHOWN)

    def keep(self, number: int) -> None:
        """Start a toast's time anew: the pointer is on it."""
        now = self._clock()
        with self._lock:
            self._toasts = [replace(t, born_s=now - FADE_S) if t.number == number else t for t in self._toasts]

    def animating(self) -> bool:
        """Return whether a fade is under way, so that the window must draw on."""
        now = self._clock()
        return any(t.opacity(now) < 1.0 for t in self.shown())

    def next_change_s(self) -> float:
        """Return in how many seconds a toast starts to leave; infinity when none will."""
        now = self._clock()
        return min((_LIFETIME_S[t.level] - FADE_S - (now - t.born_s) for t in self.shown()), default=float("inf"))
