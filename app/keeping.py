"""Keeping: what outlives a run (settings, views, slice planes): changed at once, written when it has been at rest."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.look_settings import look_from_settings, settings_with_look
from app.panes import pane_names
from app.settings import Settings, save_settings
from app.views_file import Views, load_views, restore, save_views, views_of

if TYPE_CHECKING:
    from app.notices import Notices
    from app.state import AppState

SAVE_AFTER_S = 1.0  # settings are written when they have been quiet this long


class Keeping:
    """Belongs to the main thread."""

    def __init__(self, state: AppState, notices: Notices, folder: Path, *, keeps: bool) -> None:
        """`keeps`: what changes is written into `folder` for the next run."""
        self.folder = folder
        self.keeps = keeps
        self._state = state
        self._notices = notices
        self._saved = state.settings
        self._changed_s: float | None = None
        self._views = self._views_before = self._views_now()

    def restore_views(self) -> None:
        """Open the views of the last run, with their looks."""
        if self.keeps:
            restore(self._state.stage, load_views(self.folder, pane_names()), look_from_settings)
        self._views = self._views_before = self._views_now()

    def change(self, **changes: Any) -> None:
        """Change settings; they are saved soon."""
        self.note(replace(self._state.settings, **changes))
        self.apply()

    def note(self, settings: Settings) -> None:
        """Let settings tell of what is so already; they are saved soon."""
        self._state.settings = settings
        self._changed_s = time.monotonic()

    def apply(self) -> None:
        """Show everything as the settings say."""
        settings, stage = self._state.settings, self._state.stage
        stage.feeds.set_memory_budget(settings.memory_budget_mib << 20)
        stage.set_frame_budget(settings.frame_budget_ms / 1000)
        stage.feeds.set_curve(settings.curve)
        stage.view.look = look_from_settings(settings, stage.view)
        stage.feeds.half_life_s = settings.half_life_s

    def types_file(self) -> Path | None:
        """Return the file with types for kernels that carry none; None where the user named none."""
        return Path(self._state.settings.types_file) if self._state.settings.types_file else None

    def save_rested(self) -> None:
        """Write settings and slice planes that have been at rest for a while."""
        if self._changed_s is not None and self._state.now_s - self._changed_s > SAVE_AFTER_S:
            self.save()
        if self._state.slicings.quiet_s() > SAVE_AFTER_S:
            self._save_slicings()

    def save(self) -> None:
        """Write the settings if they changed; a disk that refuses is said, not fatal."""
        self._changed_s = None
        if not self.keeps or self._state.settings == self._saved:
            return
        try:
            save_settings(self.folder, self._state.settings)
            self._saved = self._state.settings
        except OSError as error:
            self._notices.report(error, "The settings could not be saved")

    def save_views(self, *, at_once: bool = False) -> None:
        """Write which views there are and where volumes stand, when that is as it was at the last call."""
        now, before = self._views_now(), self._views_before
        self._views_before = now
        if not self.keeps or now == self._views or (now != before and not at_once):
            return
        try:
            save_views(self.folder, now)
            self._views = now
        except OSError as error:
            self._views = now  # said once
            self._notices.report(error, "The views could not be saved")

    def close(self) -> None:
        """Write what is not written yet. The views are no more: see `save_views`."""
        self.save()
        self._save_slicings()

    def _views_now(self) -> Views:
        return views_of(self._state.stage, lambda look: settings_with_look(Settings(), look))

    def _save_slicings(self) -> None:
        try:
            self._state.slicings.save()
        except OSError as error:
            self._notices.report(error, "The slice planes could not be saved")
