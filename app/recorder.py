"""Recorder: has what is seen of the shown machines written down, and tells the user once where that cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bridge.semantic.store.feeder import Feeder
from bridge.semantic.store.forgetting import Limits
from bridge.semantic.store.sessions import Kept

if TYPE_CHECKING:
    from app.notices import Notices
    from app.state import AppState


class Recorder:
    """Belongs to the main thread; the writing is done in a thread of its own."""

    def __init__(self, state: AppState, notices: Notices, *, records: bool) -> None:
        self._state = state
        self._notices = notices
        self._told = ""
        self._feeder: Feeder | None = None
        if records:
            settings = state.settings
            self._feeder = Feeder(
                state.kernels.watched,
                limits=Limits(settings.store_mib << 20, settings.store_minutes * 60.0),
                kept=Kept(settings.sessions_kept, settings.sessions_mib << 20),
            )
            self._feeder.start()

    def follow(self) -> None:
        """Bring what the panel knows up to date."""
        feeder, ui = self._feeder, self._state.sql
        ui.records = feeder is not None
        if feeder is None:
            return
        ui.path, ui.n_written, ui.problem = feeder.path, feeder.n_written, feeder.problem
        if ui.problem != self._told:
            self._told = ui.problem
            if ui.problem:
                self._notices.warn("What is seen is not written down now", ui.problem)

    @property
    def path(self) -> Path | None:
        """The database of this session; None while there is nothing in it."""
        return None if self._feeder is None else self._feeder.path

    def close(self) -> None:
        """Finish what is being written."""
        if self._feeder is not None:
            self._feeder.close()
