"""Workspace: the panels between the two bars, drawn and docked, and the layout that is kept between runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING

from imgui_bundle import imgui

from app import people
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
from app.pacing import SETTLE_FRAMES
from app.panels import (
    console,
    dialogs,
    execution,
    files,
    flow,
    help_overlays,
    hints,
    inspector,
    kernel,
    learning,
    log,
    machines,
    memory_map,
    model_dialog,
    open_dump,
    performance,
    pixel_cpu,
    processes,
    results,
    slices,
    sql,
    stack,
    statistics,
    status,
    toasts,
    topbar,
    transfer,
    volatility,
    volume,
)
from app.settings import forget_layout, load_layout, save_layout
from app.state import AppState
from app.ui import Ui

if TYPE_CHECKING:
    from app.imgui_host import ImguiHost
    from app.keeping import Keeping
    from app.notices import Notices

Draw = Callable[[AppState, Ui], None]
PANELS: Mapping[str, ModuleType] = {
    "show_machines": machines,
    "show_processes": processes,
    "show_inspector": inspector,
    "show_console": console,
    "show_log": log,
    "show_memory_map": memory_map,
    "show_files": files,
    "show_stack": stack,
    "show_kernel": kernel,
    "show_execution": execution,
    "show_flow": flow,
    "show_learning": learning,
    "show_pixel_cpu": pixel_cpu,
    "show_performance": performance,
    "show_transfer": transfer,
    "show_statistics": statistics,
    "show_volatility": volatility,
    "show_sql": sql,
    "show_results": results,
    "show_slices": slices,
}
"""By the setting that shows it; in the order in which they are drawn."""
OVERLAYS: Mapping[str, Draw] = {
    "launch": dialogs.draw_launch,
    "attach": dialogs.draw_attach,
    "dump": open_dump.draw,
    "model": model_dialog.draw,
    "keys": help_overlays.draw_keys,
    "about": help_overlays.draw_about,
}


class Workspace:
    """Belongs to the main thread."""

    def __init__(self, state: AppState, kept: Keeping, notices: Notices, host: ImguiHost) -> None:
        self._state = state
        self._kept = kept
        self._notices = notices
        self._host = host
        self._stale = False  # the first layout is wanted again
        self._console_first = 0
        self._places: dict[str, int] | None = None  # of the layout that was loaded

    def draw(self, ui: Ui) -> None:
        """Draw everything within a frame."""
        state = self._state
        topbar.draw(state, ui)
        status.draw(state, ui)
        self._dock(ui)
        volume.draw(state, ui)
        people.follow(state)
        for setting, panel in PANELS.items():
            if getattr(state.settings, setting):
                panel.draw(state, ui)
        hints.draw(state, ui)
        overlay = OVERLAYS.get(state.overlay or "")
        if overlay is not None:
            overlay(state, ui)
        toasts.draw(state, ui)
        if self._host.io.want_save_ini_settings:
            self._host.io.want_save_ini_settings = False
            self.save()

    def _dock(self, ui: Ui) -> None:
        """Hold the dock space between the two bars."""
        theme = ui.theme
        size = imgui.get_io().display_size
        top, bottom = theme.px(topbar.HEIGHT_UNITS), theme.px(status.HEIGHT_UNITS)
        room = imgui.ImVec2(size.x, max(1.0, size.y - top - bottom))
        imgui.set_next_window_pos(imgui.ImVec2(0, top))
        imgui.set_next_window_size(room)
        flags = topbar.BAR_FLAGS
        with ui.style(window_padding=(0.0, 0.0), window_rounding=0.0, window_border_size=0.0):
            imgui.begin("##dock", None, flags)
        dockspace = dockspace_id()
        if self._stale or not has_layout(dockspace):
            self._stale = False
            build_default_layout(dockspace, (room.x, room.y), theme.scale, [p.name for p in self._state.stage.panes])
            self._console_first, self._places = SETTLE_FRAMES, None
        if self._places is not None:
            split_for_newcomers(self._places, room.y, theme.scale)
            self._places = None
        if self._console_first:  # panels that appear take the front; the last word is ours
            self._console_first -= 1
            if not self._console_first:
                self._state.focus_panel = CONSOLE
        for name, other, below in self._state.to_dock:
            dock_beside(name, other, below=below)
        self._state.to_dock.clear()
        for pane in self._state.stage.panes:
            show_tabs_of(pane.name, len(self._state.stage.panes) > 1)
        imgui.dock_space(dockspace, imgui.ImVec2(0, 0))
        imgui.end()

    def load(self) -> None:
        """Have the layout of the last run, where there is one."""
        if not self._kept.keeps:
            return
        self._host.make_current()
        layout, problem = load_layout(self._kept.folder)
        if problem:
            self._notices.warn("The layout was reset", problem)
        if layout is not None:
            imgui.load_ini_settings_from_memory(layout)
            self._places = dock_ids(layout)

    def save(self) -> None:
        """Keep the layout for the next run."""
        if not self._kept.keeps:
            return
        try:
            save_layout(self._kept.folder, imgui.save_ini_settings_to_memory())
        except OSError as error:
            self._notices.report(error, "The layout could not be saved")

    def reset(self) -> None:
        """Dock all panels in their first places, and show them."""
        forget_layout(self._kept.folder)
        self._kept.change(
            show_machines=True, show_processes=True, show_inspector=True, show_console=True, show_log=True
        )
        self._stale = True
