"""Window: the program's one window, on screen or off: takes events and ticks in, and makes a frame of its parts."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import wgpu
from imgui_bundle import imgui
from numpy.typing import NDArray
from PIL import Image

from app.action_sets.everything import all_actions
from app.auditing import SCRIPT
from app.control import ControlServer
from app.failures import CommandFailed
from app.imgui_host import EVENT_TYPES, Clipboard, ImguiHost
from app.keyboard import handle_keys, turn_while_held
from app.notices import describe
from app.pacing import Pacing
from app.session import Session
from app.settings import MIN_HEIGHT, MIN_WIDTH
from app.theme import PALETTES, Fonts, Theme, ThemeName, apply_theme, load_fonts, make_theme
from app.ui import Ui
from app.window_options import WindowOptions
from app.workspace import Workspace
from render.errors import DeviceLost, RenderError
from render.timing import Timings, pass_clock

MAX_FAILED_FRAMES = 5
LONGEST_HOLD_FRAMES = 10  # what is typed waits for a field that is coming, but not for one that never comes
MAX_DROPPED = 8  # files at once: each takes memory here and on the GPU

logger = logging.getLogger("window")


class TooManyFailures(CommandFailed):
    """Frame after frame failed: there is nothing left to show."""


class Window:
    """Everything that is on one canvas. Belongs to the main thread."""

    def __init__(
        self,
        canvas: Any,
        options: WindowOptions,
        *,
        clipboard: Clipboard | None = None,
        keep: bool = True,
    ) -> None:
        """`keep`: the layout of the last run is used, and layout and settings are saved for the next."""
        self.canvas = canvas
        self.session = Session(options, keep=keep)
        self.state = self.session.state
        self.host = ImguiHost(self.state.stage.device, canvas, clipboard=clipboard)
        self.state.stage.screen.image = self.host.texture
        self.state.stage.screen.forget_image = self.host.forget_texture
        self.pacing = Pacing(self.state, self.host)
        self._fonts: Fonts = load_fonts()
        self._ui = Ui(self._theme_now(), self.state)
        self._use_theme()
        self.workspace = Workspace(self.state, self.session.kept, self.session.notices, self.host)
        self.state.actions.add(*all_actions(self.session, self))
        self.control: ControlServer | None = None
        self._failed_frames = 0
        self._device_lost = False
        self._title = ""
        self._last_frame_animated = False
        self._frames_held = 0
        self.quit_requested = False
        self.failure: TooManyFailures | None = None
        """Why the window gave up; None where it did not."""
        self.workspace.load()
        for kind in EVENT_TYPES:
            canvas.add_event_handler(self.on_event, kind)
        canvas.add_event_handler(self._on_resize, "resize")

    # Events and ticks

    def on_event(self, event: Mapping[str, Any]) -> None:
        """Take an input event of the canvas."""
        self.host.handle(event)
        if event["event_type"] in ("pointer_down", "wheel", "key_down"):
            self.session.greeting.end()
        if event["event_type"] == "pointer_move":
            self.pacing.pointer_moved()
        self.touch()

    def _on_resize(self, event: Mapping[str, Any]) -> None:
        width, height = round(event["width"]), round(event["height"])
        if width >= MIN_WIDTH and height >= MIN_HEIGHT:  # smaller than that it is hidden, not sized
            self.session.kept.change(window_width=width, window_height=height)
        self.touch()

    def touch(self) -> None:
        """Ask for the next frames: something changed that they should show."""
        self.pacing.touch()

    def tick(self) -> bool:
        """Take in what threads, machines and scripts sent; returns whether a frame should be drawn now."""
        if self.control is not None and self.control.pump(self._run_for_script, describe=describe):
            self.touch()
        try:
            if self.session.tick():
                self.pacing.touch_once()
        except DeviceLost as error:
            self._lose_device(error)
        self._show_title()
        return self.pacing.due()

    def _run_for_script(self, action: str, args: Any) -> Any:
        return self.state.actions.run(action, args, who=SCRIPT)

    # Frames

    def frame(self, *, present: bool = True) -> None:
        """Draw one frame: the canvas's draw function. A failing panel is reported; the window lives on.

        Without `present` all is done but the last step, for frames that nobody looks at.
        """
        begin = time.perf_counter()
        animated = self._last_frame_animated
        try:
            if self._device_lost:
                self._rebuild_device()
            if self.state.settings.theme != self._ui.theme.name or self.state.settings.ui_scale != self._ui.theme.scale:
                self._use_theme()
            self.state.now_s = time.monotonic()
            self.state.stage.screen.pixel_ratio = self.host.pixel_ratio
            coming = self.state.search.focus or self.state.search.coming > 0
            self._frames_held = self._frames_held + 1 if coming else 0
            self.host.hold_keys = 0 < self._frames_held <= LONGEST_HOLD_FRAMES
            self.host.build(self._gui)
            moved = self.state.stage.draw(self.state.now_s)
            if present:
                self.host.present(self._ui.theme.surface)
            clock = pass_clock(self.state.stage.device)
            clock.close_batch()
            self.state.pass_times.extend(self._with_uploads(clock.take()))
            self._failed_frames = 0
        except DeviceLost as error:
            self._lose_device(error)
            return
        except wgpu.GPUError as error:
            if "lost" in str(error).lower():
                self._lose_device(error)
            else:
                self._fail(error)
            return
        except Exception as error:  # noqa: BLE001 - one bad frame must not close the window
            self._fail(error)
            return
        self._last_frame_animated = self.pacing.drawn(moved)
        self.state.frames.record(begin, time.perf_counter(), animating=animated)

    def _with_uploads(self, batches: list[Timings]) -> list[Timings]:
        """In software the processor itself writes most of what is uploaded, in no pass of the GPU's: it is added."""
        if batches and self.state.is_software:
            uploaded_s = max(self.state.stage.feeds.take_pumped_s(), batches[-1].get("upload", 0.0))
            batches[-1] = {**batches[-1], "upload": uploaded_s}
        return batches

    def _fail(self, error: Exception) -> None:
        self._failed_frames += 1
        pass_clock(self.state.stage.device).abandon_batch()
        self.session.notices.report(error)
        self.touch()
        if self._failed_frames > MAX_FAILED_FRAMES:
            self._give_up("one frame after another could not be drawn", error)

    def _give_up(self, why: str, error: Exception) -> NoReturn:
        self.quit_requested = True
        self.failure = TooManyFailures(f"The window was closed, because {why}: {describe(error)}")
        raise self.failure from error

    def _gui(self) -> None:
        state = self.state
        terminal_focused = self._terminal_focused()
        state.keyboard_taken = terminal_focused
        if handle_keys(state, terminal_focused=terminal_focused):
            self.touch()
        if turn_while_held(state, terminal_focused=terminal_focused):
            self.session.greeting.end()
            self.touch()
        state.own_keys = frozenset()
        self.workspace.draw(self._ui)

    # Theme and title

    def _theme_now(self) -> Theme:
        name: ThemeName = "light" if self.state.settings.theme == "light" else "dark"
        return make_theme(name, self.state.settings.ui_scale, self._fonts)

    def _use_theme(self) -> None:
        self.host.make_current()
        self._ui = Ui(self._theme_now(), self.state)
        apply_theme(self._ui.theme)
        self.state.stage.use_theme(PALETTES[self._ui.theme.name])
        self.touch()

    def _show_title(self) -> None:
        parts = ["Glassbox", *([self.state.current] if self.state.current else [])]
        if self.state.is_software:
            parts.append("software")
        title = " · ".join(parts)
        if title != self._title:
            self._title = title
            self.canvas.set_title(title)

    # Device

    def _lose_device(self, error: Exception) -> None:
        if not self._device_lost:
            self._device_lost = True
            logger.warning("the GPU device was lost: %s", error)
        self.touch()

    def _rebuild_device(self) -> None:
        """Go on with a new device after the old one was lost; the guest's memory is still ours to draw."""
        self._device_lost = False
        try:
            problems = self.state.stage.rebuild()
        except RenderError as error:
            self._give_up("the GPU was lost and no other could be had", error)
        self.host.use_device(self.state.stage.device)
        self.state.is_software = self.state.stage.adapter.is_software
        self.state.device_label = self.state.stage.device_label
        self.state.stage.panes.mark(self.state.selection)
        self.session.notices.tell("The GPU was lost and is back", "Everything was built anew on a new device.")
        for name, problem in problems:
            self.session.notices.report(problem, f"The memory of {name} cannot be shown")

    # What actions ask of the window

    def request_quit(self) -> None:
        """End the program after this frame."""
        self.quit_requested = True

    def reset_layout(self) -> None:
        """Dock all panels in their first places, and show them."""
        self.workspace.reset()

    def drop(self, paths: Sequence[str]) -> None:
        """Open files that were dropped on the window: dumps."""
        self.state.overlay = None
        for path in paths[:MAX_DROPPED]:
            self.state.run("machine.open_dump", {"path": path})
        self.touch()

    def toggle_fullscreen(self) -> bool:
        """Cover the screen or go back; an off-screen canvas has none."""
        toggle = getattr(self.canvas, "toggle_fullscreen", None)
        return bool(toggle()) if toggle is not None else False

    def leave_console(self) -> bool:
        """Take the keyboard from the terminal, where it has it."""
        if not self._terminal_focused():
            return False
        imgui.set_window_focus(self.state.stage.active.name)
        return True

    def _terminal_focused(self) -> bool:
        terminal = self.state.terminals.get(self.state.current or "")
        return terminal is not None and terminal.wants_keyboard

    def screenshot(self, path: Path) -> None:
        """Save the last frame as PNG, whole or not at all. Raises OSError."""
        partial = path.with_name(f".{path.name}.partial")
        try:
            Image.fromarray(self.picture()[..., :3]).save(partial, format="PNG")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def picture(self) -> NDArray[np.uint8]:
        """Return the last frame, (height, width, 4) uint8."""
        return self.host.capture(self._ui.theme.surface)

    def resize(self, width: int, height: int) -> None:
        """Set the window's logical size."""
        self.canvas.set_logical_size(width, height)
        self.touch()

    def describe(self) -> dict[str, Any]:
        """Return the window's own facts for scripts."""
        width, height = self.canvas.get_logical_size()
        return {
            "title": self._title,
            "size": [width, height],
            "pixel_ratio": self.host.pixel_ratio,
            "volume_rect": list(self.state.volume_rect),
        }

    def close(self) -> None:
        """Leave nothing behind: socket, jobs, machines, layout, GPU."""
        if self.control is not None:
            self.control.close()
            self.control = None
        self.host.make_current()
        self.workspace.save()
        self.session.close()
        self.host.close()
