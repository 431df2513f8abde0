"""Actions on the window: search, theme, size, panels, pictures, help."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from imgui_bundle import icons_fontawesome_6 as icons

from app.action_sets.window_frame import Frame, describe_window
from app.actions import Action, BadArguments, Param
from app.layout import (
    CONSOLE,
    EXECUTION,
    FILES,
    FLOW,
    INSPECTOR,
    KERNEL,
    LEARNING,
    LOG,
    MACHINES,
    MEMORY_MAP,
    PERFORMANCE,
    PIXEL_CPU,
    PROCESSES,
    RESULTS,
    SLICES,
    SQL,
    STACK,
    STATISTICS,
    TRANSFER,
    VOLATILITY,
)
from app.session import Session
from app.theme import MAX_SCALE, MIN_SCALE
from app.user_paths import path_argument
from app.widgets.x86_decode import Bits

WINDOW, SELECTION, HELP = "Window", "Selection", "Help"
SCALE_STEP = 0.125
PANELS = {
    MACHINES: "show_machines",
    INSPECTOR: "show_inspector",
    CONSOLE: "show_console",
    LOG: "show_log",
    KERNEL: "show_kernel",
    EXECUTION: "show_execution",
    FLOW: "show_flow",
    LEARNING: "show_learning",
    PIXEL_CPU: "show_pixel_cpu",
    PERFORMANCE: "show_performance",
    SLICES: "show_slices",
    TRANSFER: "show_transfer",
    STATISTICS: "show_statistics",
    VOLATILITY: "show_volatility",
    SQL: "show_sql",
    RESULTS: "show_results",
    PROCESSES: "show_processes",
    MEMORY_MAP: "show_memory_map",
    FILES: "show_files",
    STACK: "show_stack",
}


def show_panel(session: Session, panel: str) -> None:
    """Show a panel and bring it to the front."""
    session.kept.change(**{PANELS[panel]: True})
    session.state.focus_panel = panel


def window_actions(session: Session, frame: Frame) -> list[Action]:
    """Return the actions."""
    state = session.state

    def search(text: str | None = None) -> None:
        state.overlay = None
        if text is not None:
            state.search.text = text
        state.search.focus = True

    def leave() -> None:
        """What Escape does: the nearest thing that can be left is left."""
        session.greeting.end()
        state.hints.born_s = None
        if frame.leave_console():
            return
        if state.overlay is not None:
            state.overlay = None
        elif state.search.open or state.search.text:
            state.search.leave = True
        elif state.stage.view.camera.flying:
            state.stage.view.camera.skip()
        elif state.chosen is not None:
            session.navigation.choose(None)
        elif state.selection is not None:
            session.navigation.select(None)

    def toggle_theme() -> str:
        name = "light" if state.settings.theme == "dark" else "dark"
        session.kept.change(theme=name)
        return name

    def scale_by(step: float) -> Callable[[], float]:
        def run() -> float:
            return set_scale(state.settings.ui_scale + step)

        return run

    def set_scale(scale: float) -> float:
        bounded = round(min(max(scale, MIN_SCALE), MAX_SCALE), 3)
        session.kept.change(ui_scale=bounded)
        return bounded

    def toggle_panel(panel: str) -> bool:
        shown = not getattr(state.settings, PANELS[panel])
        session.kept.change(**{PANELS[panel]: shown})
        if shown:
            state.focus_panel = panel
        return shown

    def screenshot(path: str) -> str:
        target = path_argument(path).absolute()
        if target.suffix.lower() != ".png":
            raise BadArguments("path: a picture's name ends in .png")
        if not target.parent.is_dir():
            raise BadArguments(f"path: {target.parent} is no directory")
        frame.screenshot(target)
        return str(target)

    def resize(width: int, height: int) -> None:
        if not (320 <= width <= 16384 and 240 <= height <= 16384):
            raise BadArguments("width and height must lie between 320x240 and 16384x16384")
        frame.resize(width, height)

    def forget_frames() -> None:
        state.frames.reset()

    def decode_as(bits: str) -> None:
        session.kept.change(bits=int(bits))
        for view in state.disassemblies.values():
            view.bits = cast(Bits, int(bits))

    return [
        Action(
            id="window.search",
            title="Search actions…",
            category=WINDOW,
            run=search,
            params=(Param("text"),),
            shortcuts=("Ctrl+K", "/"),
            icon=icons.ICON_FA_MAGNIFYING_GLASS,
            in_palette=False,
        ),
        Action(
            id="window.leave",
            title="Leave",
            category=WINDOW,
            run=leave,
            shortcuts=("Escape", "Shift+Escape"),
            in_palette=False,
        ),
        Action(
            id="window.toggle_theme",
            title="Dark or light theme",
            category=WINDOW,
            run=toggle_theme,
            shortcuts=("Ctrl+L",),
            icon=icons.ICON_FA_CIRCLE_HALF_STROKE,
            keywords="theme colour color night day",
        ),
        *(
            Action(
                id=f"window.{name}",
                title=f"{name.capitalize()} interface",
                category=WINDOW,
                run=scale_by(step),
                icon=icon,
                keywords="scale font size zoom",
            )
            for name, step, icon in (
                ("larger", SCALE_STEP, icons.ICON_FA_MAGNIFYING_GLASS_PLUS),
                ("smaller", -SCALE_STEP, icons.ICON_FA_MAGNIFYING_GLASS_MINUS),
            )
        ),
        Action(
            id="window.scale",
            title="Interface scale…",
            category=WINDOW,
            run=set_scale,
            params=(Param("scale", "number", required=True),),
            icon=icons.ICON_FA_TEXT_HEIGHT,
        ),
        Action(
            id="window.fullscreen",
            title="Full screen",
            category=WINDOW,
            run=frame.toggle_fullscreen,
            shortcuts=("F11",),
            icon=icons.ICON_FA_MAXIMIZE,
        ),
        Action(
            id="window.reset_layout",
            title="Reset the layout of the panels",
            category=WINDOW,
            run=frame.reset_layout,
            icon=icons.ICON_FA_TABLE_COLUMNS,
            keywords="dock default",
        ),
        Action(
            id="window.toggle_panel",
            title="Show or hide the panel…",
            category=WINDOW,
            run=toggle_panel,
            params=(Param("panel", "choice", required=True, choices=lambda: list(PANELS)),),
            icon=icons.ICON_FA_TABLE_COLUMNS,
        ),
        *(
            Action(
                id=f"window.toggle_{panel.lower()}",
                title=f"Show or hide {panel.lower()}",
                category=WINDOW,
                run=lambda panel=panel: toggle_panel(panel),
                icon=icons.ICON_FA_TABLE_COLUMNS,
                shortcuts=keys,
                in_palette=False,
            )
            for panel, keys in (
                (CONSOLE, ("Ctrl+J",)),
                (MACHINES, ("Ctrl+B",)),
                (INSPECTOR, ("Ctrl+I",)),
                (SLICES, ("X",)),
                (TRANSFER, ("E",)),
                (STATISTICS, ("U",)),
                (PROCESSES, ("Ctrl+P",)),
            )
        ),
        Action(
            id="window.show",
            title="Bring the panel to the front…",
            category=WINDOW,
            run=lambda panel: show_panel(session, panel),
            params=(Param("panel", "choice", required=True, choices=lambda: list(PANELS)),),
            icon=icons.ICON_FA_TABLE_COLUMNS,
            in_palette=False,
        ),
        Action(
            id="window.screenshot",
            title="Save a picture of the window…",
            category=WINDOW,
            run=screenshot,
            params=(Param("path", required=True, help="a file that ends in .png"),),
            icon=icons.ICON_FA_CAMERA,
        ),
        Action(
            id="window.resize",
            title="Size of the window",
            category=WINDOW,
            run=resize,
            params=(Param("width", "integer", required=True), Param("height", "integer", required=True)),
            in_palette=False,
        ),
        Action(
            id="window.state",
            title="Say what the window shows",
            category=WINDOW,
            run=lambda: describe_window(session, frame),
            in_palette=False,
        ),
        Action(
            id="window.forget_frames",
            title="Measure frame times anew",
            category=WINDOW,
            run=forget_frames,
            icon=icons.ICON_FA_STOPWATCH,
        ),
        Action(
            id="window.dismiss",
            title="Dismiss all messages",
            category=WINDOW,
            run=state.toasts.dismiss,
            icon=icons.ICON_FA_XMARK,
        ),
        Action(
            id="window.quit",
            title="Quit",
            category=WINDOW,
            run=frame.request_quit,
            shortcuts=("Ctrl+Q",),
            icon=icons.ICON_FA_POWER_OFF,
            help="Stops the machines that belong to this window",
            keywords="exit close",
        ),
        Action(
            id="inspector.bits",
            title="Decode instructions as…",
            category=SELECTION,
            run=decode_as,
            params=(Param("bits", "choice", required=True, choices=lambda: ("16", "32", "64")),),
            icon=icons.ICON_FA_MICROCHIP,
            keywords="disassembly real protected long mode",
        ),
        Action(
            id="help.keys",
            title="Keys and mouse",
            category=HELP,
            run=lambda: session.state.show_overlay("keys"),
            shortcuts=("F1", "?"),
            icon=icons.ICON_FA_KEYBOARD,
            keywords="shortcuts help",
        ),
        Action(
            id="help.about",
            title="About Glassbox",
            category=HELP,
            run=lambda: session.state.show_overlay("about"),
            icon=icons.ICON_FA_CIRCLE_INFO,
            keywords="version licence",
        ),
        Action(
            id="help.hints",
            title="Show the first hints again",
            category=HELP,
            run=session.greeting.show_hints,
            icon=icons.ICON_FA_LIGHTBULB,
        ),
        Action(
            id="actions.list",
            title="List all actions",
            category=HELP,
            run=lambda: [a.describe() for a in state.actions],
            in_palette=False,
        ),
    ]
