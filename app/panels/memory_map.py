"""Memory map panel: the regions of the chosen process, what each is, and how much of it is in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app import people
from app.kernel_channels import CLASS_CHANNEL, CLASS_LABELS, CLASS_PALETTE
from app.layout import MEMORY_MAP
from app.output import format_bytes
from app.panels.kernel_notes import note
from app.panels.process_header import chosen_process, title
from app.region_list import KIND_WORDS, summary, totals
from app.theme import Rgba, u32
from app.widgets.record_table import OWN_KEYS, MenuEntry
from bridge.kernel.records import MapEntry
from render.palettes import is_palette, palette_table, srgb_from_linear

if TYPE_CHECKING:
    from app.process_list import ProcessRow
    from app.state import AppState
    from app.ui import Ui

_CLASSES = {
    "code": "Program code",
    "file": "File pages",
    "heap": "Heaps",
    "stack": "Stacks",
    "anonymous": "Anonymous memory",
    "shared": "Shared memory",
    "kernel": "Kernel code",
}
"""What the pages of each kind of region are called in the volume."""


def draw(state: AppState, ui: Ui) -> None:
    """Draw the panel."""
    with ui.panel(MEMORY_MAP, flags=imgui.WindowFlags_.no_scrollbar) as visible:
        if not visible:
            return
        row = chosen_process(state, ui, icons.ICON_FA_MAP, "The memory map")
        machine = state.current
        if row is None or machine is None:
            return
        if not row.root:
            title(ui, row, "")
            note(
                ui,
                icons.ICON_FA_MAP,
                "It has no memory of its own",
                "A thread of the kernel runs in the kernel's memory",
            )
            return
        entries, problem = people.regions_of(state, machine, row.pid)
        _head(state, ui, row, entries, problem)
        _table(state, ui, machine, row, entries)


def _head(state: AppState, ui: Ui, row: ProcessRow, entries: tuple[MapEntry, ...], problem: str) -> None:
    theme, table = ui.theme, state.people.maps
    filtering = theme.px(40)
    title(ui, row, summary(entries), right=filtering + theme.px(9))
    if problem:
        imgui.same_line(0, theme.px(2))
        ui.text(icons.ICON_FA_TRIANGLE_EXCLAMATION, theme.warn)
        ui.tooltip("Names and what is in memory are not known", note=problem)
    ui.right(filtering)
    table.filter_box(filtering)
    _band(state, ui, entries)


def kind_colours(state: AppState) -> dict[str, Rgba]:
    """What regions are, in the colours that their pages have in the volume now."""
    palette = state.settings.palettes.get(CLASS_CHANNEL, "")
    palette = palette if is_palette(palette) else CLASS_PALETTE
    table = srgb_from_linear(palette_table(palette)[0].astype(np.float64))
    return {kind: Rgba(*table[CLASS_LABELS.index(label), :3].tolist()) for kind, label in _CLASSES.items()}


def _band(state: AppState, ui: Ui, entries: tuple[MapEntry, ...]) -> None:
    """Draw what is in memory as one band, a colour a kind: of what it is made at a glance."""
    theme = ui.theme
    parts = [part for part in totals(entries) if part.resident_bytes]
    whole = sum(part.resident_bytes for part in parts)
    at, room, height = imgui.get_cursor_screen_pos(), imgui.get_content_region_avail().x, theme.px(2)
    draw = imgui.get_window_draw_list()
    draw.add_rect_filled(at, imgui.ImVec2(at.x + room, at.y + height), u32(theme.border), theme.px(0.5))
    imgui.dummy(imgui.ImVec2(room, height))
    mouse = imgui.get_mouse_pos() if imgui.is_item_hovered() else None
    colours = kind_colours(state)
    left = at.x
    for part in parts:
        width = room * part.resident_bytes / whole
        right = left + width
        draw.add_rect_filled(
            imgui.ImVec2(left, at.y),
            imgui.ImVec2(max(right - 1, left + 1), at.y + height),
            u32(colours[part.kind]),
            theme.px(0.5),
        )
        if mouse is not None and left <= mouse.x < right:
            count = f"{part.regions:,} {'region' if part.regions == 1 else 'regions'}"
            ui.tooltip(
                KIND_WORDS[part.kind],
                note=f"{format_bytes(part.resident_bytes)} of {format_bytes(part.size_bytes)} in memory, {count}",
            )
        left = right


def _table(state: AppState, ui: Ui, machine: str, row: ProcessRow, entries: tuple[MapEntry, ...]) -> None:
    table, ui_state = state.people.maps, state.people
    found = ui_state.of(machine)
    if ui_state.scroll_to_region is not None and any(e.start == ui_state.scroll_to_region for e in entries):
        table.show(ui_state.scroll_to_region)
        ui_state.scroll_to_region = None
    table.selected = found.region

    def menu(entry: MapEntry) -> list[MenuEntry]:
        lines = [MenuEntry("Light up its pages and go there", icons.ICON_FA_HIGHLIGHTER, lambda: choose(entry))]
        lines.append(
            MenuEntry(
                *("Go to its first byte", icons.ICON_FA_LOCATION_CROSSHAIRS),
                lambda: ui.run("kernel.go_to", where=f"{entry.start:#x}", pid=row.pid, machine=machine),
            )
        )
        if entry.path.startswith("/"):
            lines.append(
                MenuEntry(
                    *("Light up the file's pages", icons.ICON_FA_FILE),
                    lambda: people.choose(state, machine, "file", entry.path, entry.path, fly=True),
                )
            )
        return lines

    def choose(entry: MapEntry) -> None:
        ui.run("process.region", start=entry.start, pid=row.pid, machine=machine)

    event = table.draw(ui.theme, entries, menu=menu)
    if table.focused:
        state.own_keys |= OWN_KEYS
    if event is not None:
        choose(event.row)
