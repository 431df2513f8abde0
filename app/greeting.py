"""Greeting: at the first start the camera makes one slow quarter turn, and hints are shown."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.keeping import Keeping
    from app.state import AppState

TOUR_S = 9.0
TOUR_DEGREES = 90.0


class Greeting:
    """Belongs to the main thread. Due once, for people who were never greeted."""

    def __init__(self, state: AppState, kept: Keeping, *, due: bool) -> None:
        self._state = state
        self._kept = kept
        self._due = due
        self._tour_from: tuple[float, float] | None = None  # when it began, degrees turned so far

    def begin(self) -> None:
        """Greet now, where that is due."""
        if not self._due:
            return
        self._due = False
        self._kept.change(greeted=True)
        self._state.hints.born_s = time.monotonic()
        self._tour_from = (time.monotonic(), 0.0)

    def turn(self) -> bool:
        """Turn the camera a quarter, once, slowly; any deed of the user ends it. Returns whether it turned."""
        if self._tour_from is None:
            return False
        began, turned = self._tour_from
        share = min(1.0, (self._state.now_s - began) / TOUR_S)
        goal = TOUR_DEGREES * share * share * (3 - 2 * share)
        self._state.stage.view.camera.orbit(goal - turned, 0.0)
        self._tour_from = (began, goal) if share < 1.0 else None
        return True

    def end(self) -> None:
        """Stop the turn: the user has taken over."""
        self._tour_from = None

    def show_hints(self) -> None:
        """Show the hints of the first start again."""
        self._state.hints.born_s = time.monotonic()

    @property
    def touring(self) -> bool:
        return self._tour_from is not None
