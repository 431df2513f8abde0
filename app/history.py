"""History: undo and redo over frozen snapshots of what the user looks at."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

LIMIT = 200

T = TypeVar("T")


class History(Generic[T]):
    """A line of states with a place in it; a new state after undoing drops what was undone."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._past: deque[T] = deque(maxlen=limit)
        self._future: list[T] = []

    def record(self, before: T) -> None:
        """Keep the state as it was *before* a change."""
        if not self._past or self._past[-1] != before:
            self._past.append(before)
        self._future.clear()

    def undo(self, now: T) -> T | None:
        """Return the state to go back to, given the present one, or None."""
        return self._step(self._past, self._future, now)

    def redo(self, now: T) -> T | None:
        """Return the state that the last undo left, or None."""
        return self._step(self._future, self._past, now)

    @staticmethod
    def _step(source: deque[T] | list[T], target: deque[T] | list[T], now: T) -> T | None:
        while source:
            state = source.pop()
            if state != now:  # a recorded change that changed nothing is no step
                target.append(now)
                return state
        return None

    @property
    def can_undo(self) -> bool:
        return bool(self._past)

    @property
    def can_redo(self) -> bool:
        return bool(self._future)
