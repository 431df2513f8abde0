"""Window: the program's one window, on screen or off: frame loop, panels, layout, and the control socket."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import wgpu
from imgui_bundle import imgui
from numpy.typing import NDArray
from PIL import Image

from app import people
from app.action_sets.chosen import chosen_actions
from app.action_sets.dumps import dump_actions
from app.action_sets.kernel_lists import kernel_list_actions
from app.action_sets.kernel_looks import kernel_look_actions
from app.action_sets.look import look_actions
from app.action_sets.machines import machine_actions
from app.action_sets.panes import pane_actions
from app.action_sets.processes import process_actions
from app.action_sets.slices import slice_actions
from app.action_sets.views import view_actions
from app.action_sets.volatility import volatility_actions
from app.action_sets.volumes import volume_actions
from app.action_sets.windows import window_actions
from app.auditing import SCRIPT
from app.control import ControlServer
from app.imgui_host import EVENT_TYPES, Clipboard, ImguiHost
from app.keyboard import handle_keys, turn_while_held
from app.layout import (
    CONSOLE,
    build_default_layout,
    dock_beside,
    dock_ids,
    dockspace_id,
    has_layout,
    show_tabs_of,
    split_for_newcomers,
)
from app.notices import describe
from app.panels import (
    console,
    dialogs,
    files,
    help_overlays,
    hints,
    inspector,
    kernel,
    log,
    machines,
    memory_map,
    open_dump,
    performance,
    processes,
    slices,
    stack,
    statistics,
    status,
    toasts,
    topbar,
    transfer,
    volatility,
    volume,
)
from app.session import Session
from app.settings import MIN_HEIGHT, MIN_WIDTH, forget_layout, load_layout, save_layout
from app.theme import PALETTES, Fonts, Theme, ThemeName, apply_theme, load_fonts, make_theme
from app.ui import Ui
from app.window_options import WindowOptions
from render.errors import DeviceLost, RenderError
from render.timing import Timings, pass_clock

SETTLE_FRAMES = 4  # ImGui needs a few frames after an event until hover, layout and focus are at rest
TICK_S = 1 / 60
CARET_S = 0.25  # a text field's caret blinks
TOOLTIP_S = 0.45  # after a pointer came to rest: a little longer than the theme's delay
MAX_FAILED_FRAMES = 5
MAX_DROPPED = 8  # files at once: each takes memory here and on the GPU

logger = logging.getLogger("window")


class TooManyFailures(Exception):
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
        self._fonts: Fonts = load_fonts()
        self._ui = Ui(self._theme_now(), self.state)
        self._use_theme()
        self.state.actions.add(*dump_actions(self.session))
        self.state.actions.add(*machine_actions(self.session), *view_actions(self.session), *pane_actions(self.session))
        self.state.actions.add(*process_actions(self.session))
        self.state.actions.add(*volume_actions(self.session), *slice_actions(self.session))
        self.state.actions.add(*look_actions(self.session), *chosen_actions(self.session))
        self.state.actions.add(*kernel_list_actions(self.session))
        self.state.actions.add(*volatility_actions(self.session))
        self.state.actions.add(*kernel_look_actions(self.session))
        self.state.actions.add(*window_actions(self.session, self))
        self.control: ControlServer | None = None
        self._frames_left = SETTLE_FRAMES
        self._next_frame_s = 0.0
        self._rests_s = float("inf")  # when a pointer that lies still has earned its tooltip
        self._failed_frames = 0
        self._device_lost = False
        self._title = ""
        self._layout_stale = False
        self._console_first = 0
        self._places: dict[str, int] | None = None  # of the layout that was loaded
        self._last_frame_animated = False
        self.quit_requested = False
        self._load_layout()
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
            self._rests_s = time.monotonic() + TOOLTIP_S
        self.touch()

    def _on_resize(self, event: Mapping[str, Any]) -> None:
        width, height = round(event["width"]), round(event["height"])
        if width >= MIN_WIDTH and height >= MIN_HEIGHT:  # smaller than that it is hidden, not sized
            self.session.kept.change(window_width=width, window_height=height)
        self.touch()

    def touch(self) -> None:
        """Ask for the next frames: something changed that they should show."""
        self._frames_left = SETTLE_FRAMES

    def tick(self) -> bool:
        """Take in what threads, machines and scripts sent; returns whether a frame should be drawn now."""
        if self.control is not None and self.control.pump(self._run_for_script, describe=describe):
            self.touch()
        try:
            if self.session.tick():
                self._frames_left = max(self._frames_left, 1)
        except DeviceLost as error:
            self._lose_device(error)
        if self.state.now_s >= self._rests_s:
            self._rests_s = float("inf")
            self.touch()
        self._show_title()
        return self._frames_left > 0 or self.state.now_s >= self._next_frame_s

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
        self._frames_left = max(0, self._frames_left - 1)
        self._last_frame_animated = self._plan_next_frame(moved)
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
            self.quit_requested = True
            raise TooManyFailures(str(error)) from error

    def _plan_next_frame(self, moved: bool) -> bool:
        """Decide when the next frame is due; returns whether it is due at once."""
        state, now = self.state, self.state.now_s
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
        if self.host.has_pending_input():  # ImGui takes quick input in one piece a frame
            due = now
        if any(job.state == "running" for job in state.jobs.shown()):
            due = now
        self._next_frame_s = due
        return due <= now

    def _gui(self) -> None:
        state, ui = self.state, self._ui
        theme = ui.theme
        terminal_focused = self._terminal_focused()
        state.keyboard_taken = terminal_focused
        if handle_keys(state, terminal_focused=terminal_focused):
            self.touch()
        if turn_while_held(state, terminal_focused=terminal_focused):
            self.session.greeting.end()
            self.touch()
        state.own_keys = frozenset()
        topbar.draw(state, ui)
        status.draw(state, ui)
        self._dock(theme)
        volume.draw(state, ui)
        settings = state.settings
        people.follow(state)
        for shown, panel in (
            (settings.show_machines, machines),
            (settings.show_processes, processes),
            (settings.show_inspector, inspector),
            (settings.show_console, console),
            (settings.show_log, log),
            (settings.show_memory_map, memory_map),
            (settings.show_files, files),
            (settings.show_stack, stack),
            (settings.show_kernel, kernel),
            (settings.show_performance, performance),
            (settings.show_transfer, transfer),
            (settings.show_statistics, statistics),
            (settings.show_volatility, volatility),
            (settings.show_slices, slices),
        ):
            if shown:
                panel.draw(state, ui)
        hints.draw(state, ui)
        overlay = {
            "launch": dialogs.draw_launch,
            "attach": dialogs.draw_attach,
            "dump": open_dump.draw,
            "keys": help_overlays.draw_keys,
            "about": help_overlays.draw_about,
        }.get(state.overlay or "")
        if overlay is not None:
            overlay(state, ui)
        toasts.draw(state, ui)
        if self.host.io.want_save_ini_settings:
            self.host.io.want_save_ini_settings = False
            self._save_layout()

    def _dock(self, theme: Theme) -> None:
        """Hold the dock space between the two bars."""
        size = imgui.get_io().display_size
        top, bottom = theme.px(topbar.HEIGHT_UNITS), theme.px(status.HEIGHT_UNITS)
        room = imgui.ImVec2(size.x, max(1.0, size.y - top - bottom))
        imgui.set_next_window_pos(imgui.ImVec2(0, top))
        imgui.set_next_window_size(room)
        flags = topbar.BAR_FLAGS
        with self._ui.style(window_padding=(0.0, 0.0), window_rounding=0.0, window_border_size=0.0):
            imgui.begin("##dock", None, flags)
        dockspace = dockspace_id()
        if self._layout_stale or not has_layout(dockspace):
            self._layout_stale = False
            build_default_layout(dockspace, (room.x, room.y), theme.scale, [p.name for p in self.state.stage.panes])
            self._console_first, self._places = SETTLE_FRAMES, None
        if self._places is not None:
            split_for_newcomers(self._places, room.y, theme.scale)
            self._places = None
        if self._console_first:  # panels that appear take the front; the last word is ours
            self._console_first -= 1
            if not self._console_first:
                self.state.focus_panel = CONSOLE
        for name, other, below in self.state.to_dock:
            dock_beside(name, other, below=below)
        self.state.to_dock.clear()
        for pane in self.state.stage.panes:
            show_tabs_of(pane.name, len(self.state.stage.panes) > 1)
        imgui.dock_space(dockspace, imgui.ImVec2(0, 0))
        imgui.end()

    # Theme, title, layout

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

    def _load_layout(self) -> None:
        if not self.session.kept.keeps:
            return
        self.host.make_current()
        layout, problem = load_layout(self.session.kept.folder)
        if problem:
            self.session.notices.warn("The layout was reset", problem)
        if layout is not None:
            imgui.load_ini_settings_from_memory(layout)
            self._places = dock_ids(layout)

    def _save_layout(self) -> None:
        if not self.session.kept.keeps:
            return
        try:
            save_layout(self.session.kept.folder, imgui.save_ini_settings_to_memory())
        except OSError as error:
            self.session.notices.report(error, "The layout could not be saved")

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
            self.quit_requested = True
            raise TooManyFailures(str(error)) from error
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
        forget_layout(self.session.kept.folder)
        self.session.kept.change(
            show_machines=True, show_processes=True, show_inspector=True, show_console=True, show_log=True
        )
        self._layout_stale = True

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
        self._save_layout()
        self.session.close()
        self.host.close()


def run_window(options: WindowOptions) -> int:
    """Open the window and stay until it is closed. Returns the exit code."""
    from rendercanvas.glfw import loop

    from app.native_window import SystemClipboard, WindowCanvas

    canvas = WindowCanvas(size=options.size, title="Glassbox")
    window = Window(canvas, options, clipboard=SystemClipboard())
    settings = window.state.settings
    if settings.window_width and settings.window_height:
        canvas.set_logical_size(settings.window_width, settings.window_height)
    canvas.on_focus = window.host.focus
    canvas.on_drop = window.drop
    code = 0
    asked = False

    def leave(_signal: int, _frame: object) -> None:
        # Not in the middle of a frame: the next tick closes the window. A second one does not wait for it.
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = window.quit_requested = True

    async def ticker() -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # here, since a loop that starts sets its own
            signal.signal(number, leave)
        while not canvas.get_closed():
            if window.tick():
                canvas.request_draw()
            if window.quit_requested:
                canvas.close()
                return
            await asyncio.sleep(TICK_S)

    try:
        window.control = ControlServer()
        if window.control.taken:
            window.session.notices.warn(
                "Another window is open", f"`glassbox do` reaches that one; this one listens at {window.control.path}."
            )
        window.session.start()
        canvas.request_draw(window.frame)
        loop.add_task(ticker)
        loop.run()
    except TooManyFailures as error:
        logger.critical("%s", error)
        code = 1
    finally:
        if not canvas.get_closed():
            canvas.close()
        window.close()
    if asked:
        raise KeyboardInterrupt
    return code
