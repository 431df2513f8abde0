"""Help overlays: all keys at a glance, made from the action registry, and what this program is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app.panels.dialogs import dialog

if TYPE_CHECKING:
    from app.state import AppState
    from app.ui import Ui

MOUSE = (
    ("Left drag", "Orbit"),
    ("Right or middle drag", "Pan"),
    ("Wheel", "Zoom to the pointer"),
    ("Click", "Select a byte"),
    ("Double click", "Fly to a byte"),
    ("Alt and drag", "Move a volume"),
    ("Drag a plane's edge", "Move the slice plane"),
    ("Ctrl and drag", "The same, anywhere on it"),
    ("Right click", "What can be done with it"),
)
COLUMNS = 3


def draw_keys(state: AppState, ui: Ui) -> None:
    """Draw the keys overlay."""
    theme = ui.theme
    with dialog(state, ui, "Keys and mouse", icons.ICON_FA_KEYBOARD, width_units=236) as visible:
        if not visible:
            return
        groups: dict[str, list[tuple[str, str]]] = {"Mouse on the volume": list(MOUSE)}
        for action in state.actions:
            if action.shortcuts:
                line = (" / ".join(action.shortcuts), action.title.removesuffix("…"))
                groups.setdefault(action.category, []).append(line)
        columns: list[list[str]] = [[] for _ in range(COLUMNS)]
        heights = [0] * COLUMNS
        for name, lines in groups.items():
            shortest = heights.index(min(heights))
            columns[shortest].append(name)
            heights[shortest] += len(lines) + 2
        if imgui.begin_table("keys", COLUMNS, imgui.TableFlags_.sizing_stretch_same):
            imgui.table_next_row()
            for names in columns:
                imgui.table_next_column()
                for name in names:
                    with ui.bold():
                        ui.text(name, theme.accent)
                    for keys, title in groups[name]:
                        _line(ui, keys, title)
                    ui.gap(4)
            imgui.end_table()
        with ui.small():
            ui.faint("Keys reach the volume unless a text field or the console has them. Escape always leaves.")


def _line(ui: Ui, keys: str, title: str) -> None:
    theme = ui.theme
    left = imgui.get_cursor_pos_x()
    for index, cap in enumerate(keys.split(" / ")):
        if index:
            imgui.same_line(0, theme.px(1))
        ui.key_cap(cap)
    imgui.same_line()
    imgui.set_cursor_pos_x(left + theme.px(34))
    ui.elided(title, imgui.get_content_region_avail().x, theme.text_dim)


def draw_about(state: AppState, ui: Ui) -> None:
    """Draw what this program is and runs on."""
    with dialog(state, ui, "Glassbox", icons.ICON_FA_CUBE, width_units=120) as visible:
        if not visible:
            return
        ui.wrapped(
            "Makes a running machine transparent: every byte of its memory is a voxel, live, and can be looked into.",
            ui.theme.text,
        )
        ui.gap(3)
        for label, value in (
            ("Version", program_version()),
            ("Drawing", state.device_label),
            ("Licence", "MIT"),
        ):
            ui.row(label, ui.theme.px(24))
            ui.wrapped(value, ui.theme.text)


def program_version() -> str:
    """Return the installed version, or say that this is a checkout."""
    try:
        return version("glassbox")
    except PackageNotFoundError:
        return "from a checkout"
