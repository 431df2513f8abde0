"""Pacing: when the window's next frame is due: at once while anything moves, never while nothing changes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from imgui_bundle import imgui

from app.panels import hints

if TYPE_CHECKING:
    from app.imgui_host import ImguiHost
    from app.state import AppState

SETTLE_FRAMES = 4  # ImGui needs a few frames after an event until hover, layout and focus are at rest
CARET_S = 0.25  # a text field's caret blinks
TOOLTIP_S = 0.45  # after a pointer came to rest: a little longer than the theme's delay


class Pacing:
    """Belongs to the main thread."""

    def __init__(self, state: AppState, host: ImguiHost) -> None:
        self._state = state
        self._host = host
        self._frames_left = SETTLE_FRAMES
        self._next_frame_s = 0.0
        self._rests_s = float("inf")  # when a pointer that lies still has earned its tooltip

    def touch(self) -> None:
        """Ask for the next frames: something changed that they should show, and settle on."""
        self._frames_left = SETTLE_FRAMES

    def touch_once(self) -> None:
        """Ask for one frame: what it shows changed, not where it lies."""
        self._frames_left = max(self._frames_left, 1)

    def pointer_moved(self) -> None:
        """Ask for frames when the pointer has come to rest: then it earns a tooltip."""
        self._rests_s = time.monotonic() + TOOLTIP_S

    def due(self) -> bool:
        """Return whether a frame should be drawn now."""
        if self._state.now_s >= self._rests_s:
            self._rests_s = float("inf")
            self.touch()
        return self._frames_left > 0 or self._state.now_s >= self._next_frame_s

    def drawn(self, moved: bool) -> bool:
        """Plan the next frame after one that was drawn, whose picture `moved`; returns whether it is due at once."""
        self._frames_left = max(0, self._frames_left - 1)
        state, now = self._state, self._state.now_s
        due = float("inf")
        if moved or state.toasts.animating() or hints.active(state) or state.launching or state.stage.panes.will_look():
            due = now
        due = min(due, now + state.toasts.next_change_s())
        if imgui.get_io().want_text_input:
            due = min(due, now + CARET_S)
        if state.slices.animating:
            due = now
        if any(v.animating for v in state.hex_views.values()) or any(v.animating for v in state.disassemblies.values()):
            due = now
        for terminal in state.terminals.values():
            if terminal.next_redraw_s is not None:
                due = min(due, now + terminal.next_redraw_s)
        if self._host.has_pending_input():  # ImGui takes quick input in one piece a frame
            due = now
        if any(job.state == "running" for job in state.jobs.shown()):
            due = now
        self._next_frame_s = due
        return due <= now
