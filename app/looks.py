"""Looks: how the views show their bytes, and which view that is about."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from app.look_settings import kept_of, settings_of, settings_with_look
from app.user_palettes import UserPalettes
from render.look import Look
from render.palettes import is_palette

if TYPE_CHECKING:
    from app.keeping import Keeping
    from app.notices import Notices
    from app.state import AppState


class Looks:
    """Belongs to the main thread."""

    def __init__(self, state: AppState, kept: Keeping, notices: Notices) -> None:
        self._state = state
        self._kept = kept
        self._notices = notices
        self._palettes = UserPalettes(kept.folder)
        self._channels: tuple[str, ...] = ()

    def follow_channels(self) -> None:
        """Look at the channel that the settings name as soon as there is one of that name."""
        if (channels := self._state.stage.view.channels()) != self._channels:
            self._channels = channels
            self._kept.apply()

    def show(self, look: Look, *, remember: bool = True) -> None:
        """Show bytes so in the active view, and in the next run. Raises BadLook."""
        state = self._state
        if remember and look != state.stage.view.look:
            state.remember()
        state.stage.view.look = look
        self._kept.change(**settings_of(state.settings, look))

    def show_channel(self, channel: str) -> None:
        """Look at another channel, with the palette and the transfer function that it had last. Raises BadLook."""
        settings = self._state.settings
        look = self._state.stage.view.look
        palette, transfer = kept_of(settings, channel)
        self.show(replace(look, channel=channel, palette=palette, transfer=transfer))

    def refresh_palettes(self) -> None:
        """Offer the palettes that the user's folder holds now; tell once of files that are none."""
        changed, problems = self._palettes.refresh()
        for problem in problems:
            self._notices.warn("A palette of yours could not be read", problem)
        for pane in self._state.stage.panes:
            look = pane.view.look
            if look.palette in changed:  # other colours under the same name, or none any more
                pane.view.look = replace(look, palette="")
                if is_palette(look.palette):
                    pane.view.look = look

    def activate(self, view: str) -> None:
        """Let actions and keys be about this view, and settings tell of its look. Raises KeyError."""
        state = self._state
        if state.stage.active is state.stage.panes.named(view):
            return
        state.stage.panes.activate(view)
        self._kept.note(settings_with_look(state.settings, state.stage.view.look))

    def close_pane(self, view: str) -> None:
        """Close a view that is not the first. Raises KeyError, ValueError."""
        state = self._state
        if state.stage.active is state.stage.panes.named(view):
            self.activate(state.stage.panes[0].name)
        if state.hover_pane is state.stage.panes.named(view):
            state.hover = state.hover_pane = None
            state.stage.panes.set_hover(None)
        state.stage.panes.close(view)
