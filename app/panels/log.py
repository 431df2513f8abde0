"""Log panel: what happened, newest last, filtered by weight and words."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app.layout import LOG
from app.log import LogEntry
from app.theme import Rgba

if TYPE_CHECKING:
    from app.state import AppState
    from app.ui import Ui

LEVELS = ((logging.NOTSET, "All"), (logging.WARNING, "Warnings"), (logging.ERROR, "Errors"))


def draw(state: AppState, ui: Ui) -> None:
    """Draw the panel."""
    with ui.panel(LOG) as visible:
        if not visible:
            return
        entries = _tools(state, ui)
        _lines(state, ui, entries)


def _tools(state: AppState, ui: Ui) -> list[LogEntry]:
    theme = ui.theme
    others = theme.px(86)
    imgui.set_next_item_width(max(theme.px(16), min(theme.px(56), imgui.get_content_region_avail().x - others)))
    _, state.log_needle = imgui.input_text_with_hint("##filter", f"{icons.ICON_FA_FILTER}  Filter", state.log_needle)
    for level, label in LEVELS:
        imgui.same_line(0, theme.px(1))
        if ui.button(label, kind="plain" if state.log_level == level else "quiet"):
            state.log_level = level
    entries = state.log.entries(level=state.log_level, needle=state.log_needle)
    count = f"{len(entries):,} {'line' if len(entries) == 1 else 'lines'}"
    width = imgui.calc_text_size(count).x
    imgui.same_line()
    if imgui.get_content_region_avail().x > width + theme.px(19):
        ui.right(theme.px(17) + width)
        imgui.align_text_to_frame_padding()
        ui.faint(count)
    ui.right(theme.px(15))
    if ui.icon_button(icons.ICON_FA_COPY, "Copy these lines", id_="copy log", enabled=bool(entries)):
        imgui.set_clipboard_text("\n".join(f"{e.clock} {e.source}: {e.text}" for e in entries))
    imgui.same_line(0, theme.px(1))
    ui.action_icon("log.clear", {})
    return entries


def _lines(state: AppState, ui: Ui, entries: list[LogEntry]) -> None:
    theme = ui.theme
    imgui.begin_child("lines", imgui.ImVec2(0, 0))
    if not entries:
        ui.gap(4)
        ui.centred(
            "Nothing matches the filter" if state.log.entries() else "Nothing has happened yet", theme.text_faint
        )
    with ui.style(item_spacing=(theme.px(3), theme.px(0.5))):
        clipper = imgui.ListClipper()
        clipper.begin(len(entries))
        while clipper.step():
            for entry in entries[clipper.display_start : clipper.display_end]:
                _line(ui, entry)
    if imgui.get_scroll_y() >= imgui.get_scroll_max_y() - 1:
        imgui.set_scroll_here_y(1.0)
    imgui.end_child()


def level_colour(ui: Ui, level: int) -> Rgba:
    """Return the colour of a line's weight."""
    if level >= logging.ERROR:
        return ui.theme.bad
    return ui.theme.warn if level >= logging.WARNING else ui.theme.text


def _line(ui: Ui, entry: LogEntry) -> None:
    theme = ui.theme
    with ui.mono(theme.mono_size * 0.9):
        ui.faint(entry.clock)
        imgui.same_line()
        left = imgui.get_cursor_pos_x()
        ui.elided(entry.source, theme.px(24), theme.text_dim)
        imgui.same_line(left + theme.px(26))
        first = entry.text.replace("\n", " · ")
        ui.elided(first, imgui.get_content_region_avail().x, level_colour(ui, entry.level))
    if imgui.begin_popup_context_item(f"line{entry.number}"):
        if imgui.internal.menu_item_ex("Copy line", icons.ICON_FA_COPY):
            imgui.set_clipboard_text(f"{entry.clock} {entry.source}: {entry.text}")
        imgui.end_popup()
