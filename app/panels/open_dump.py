"""The dialog that opens a RAM dump: a path to type, and the folder's files to click."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app.file_list import Entry, Listing, folder_of, list_folder
from app.output import format_bytes
from app.panels.dialogs import dialog
from app.theme import u32
from app.ui import fit_text
from bridge.machine.plain_files import home_or_plain

if TYPE_CHECKING:
    from app.state import AppState
    from app.ui import Ui

TITLE = "Open a memory dump"


def draw(state: AppState, ui: Ui) -> None:
    """Draw the dialog."""
    theme, form = ui.theme, state.dump_form
    with dialog(state, ui, TITLE, icons.ICON_FA_FOLDER_OPEN, width_units=150) as visible:
        if not visible:
            return
        ui.wrapped("A raw image, an ELF core of QEMU's dump-guest-memory, or a LiME file.", theme.text_dim)
        imgui.set_next_item_width(imgui.get_content_region_avail().x)
        if imgui.is_window_appearing():
            imgui.set_keyboard_focus_here()
            if not form.path:
                form.path = f"{Path.cwd()}{os.sep}"
            form.listing = None
        with ui.style(frame_border_size=1.0):
            entered, form.path = imgui.input_text_with_hint(
                "##dump", "Path of the dump", form.path, imgui.InputTextFlags_.enter_returns_true
            )
        folder = folder_of(form.path)
        if form.listing is None or form.listing.folder != folder:
            form.listing = list_folder(folder)
        clicked = _files(ui, form.listing, form.path)
        if clicked is not None:
            form.path = f"{clicked.path}{os.sep}" if clicked.is_folder else str(clicked.path)
        path = home_or_plain(form.path.strip())
        ready = bool(form.path.strip()) and path.is_file()
        opened = clicked is not None and not clicked.is_folder and imgui.get_io().mouse_clicked_last_count[0] >= 2
        ui.gap(2)
        ui.right(theme.px(30) + theme.px(2) + theme.px(30))
        if ui.button("Cancel", width=theme.px(30)):
            state.overlay = None
        imgui.same_line(0, theme.px(2))
        go = ui.button(f"{icons.ICON_FA_FOLDER_OPEN}  Open", kind="primary", width=theme.px(30), enabled=ready)
        if ready and (go or entered or opened):
            state.overlay = None
            form.path = f"{path.parent}{os.sep}"
            ui.run("machine.open_dump", path=str(path))


def _files(ui: Ui, listing: Listing, typed: str) -> Entry | None:
    """Draw the folder; returns what was clicked."""
    theme = ui.theme
    clicked: Entry | None = None
    with ui.colours(child_bg=theme.surface), ui.style(window_padding=(theme.px(1.5), theme.px(1.5))):
        imgui.begin_child("files", imgui.ImVec2(0, theme.px(72)), imgui.ChildFlags_.borders)
        with ui.style(item_spacing=(0.0, 0.0)):
            parent = listing.folder.parent
            if parent != listing.folder and _line(ui, "..", icons.ICON_FA_ARROW_TURN_UP, "", chosen=False):
                clicked = Entry(parent, True, 0)
            if listing.problem or not listing.entries:
                ui.gap(4)
                ui.wrapped(
                    listing.problem or "Nothing in this folder", theme.warn if listing.problem else theme.text_dim
                )
            clipper = imgui.ListClipper()
            clipper.begin(len(listing.entries))
            while clipper.step():
                for index in range(clipper.display_start, clipper.display_end):
                    entry = listing.entries[index]
                    icon = icons.ICON_FA_FOLDER if entry.is_folder else icons.ICON_FA_FILE
                    size = "" if entry.is_folder else format_bytes(entry.size_bytes)
                    imgui.push_id(index)
                    if _line(ui, entry.name, icon, size, chosen=str(entry.path) == typed):
                        clicked = entry
                    imgui.pop_id()
        if listing.cut:
            ui.faint("More files are not listed: type the name.")
        imgui.end_child()
    return clicked


def _line(ui: Ui, name: str, icon: str, size: str, *, chosen: bool) -> bool:
    theme = ui.theme
    at = imgui.get_cursor_screen_pos()
    width, height = imgui.get_content_region_avail().x, theme.px(6.5)
    clicked = imgui.invisible_button(f"##{icon}", imgui.ImVec2(width, height))
    draw = imgui.get_window_draw_list()
    if imgui.is_item_hovered() or chosen:
        ground = theme.active if chosen else theme.hover
        draw.add_rect_filled(at, imgui.ImVec2(at.x + width, at.y + height), u32(ground), theme.px(1))
    top = at.y + (height - imgui.get_text_line_height()) / 2
    folder = icon == icons.ICON_FA_FOLDER
    draw.add_text(imgui.ImVec2(at.x + theme.px(2), top), u32(theme.accent if folder else theme.text_faint), icon)
    room = width - theme.px(12) - theme.px(24)
    draw.add_text(imgui.ImVec2(at.x + theme.px(9), top), u32(theme.text), fit_text(name, room))
    if size:
        left = at.x + width - imgui.calc_text_size(size).x - theme.px(2)
        draw.add_text(imgui.ImVec2(left, top), u32(theme.text_dim), size)
    return clicked
