"""Dialogs: launching a guest with choices, attaching to a QEMU. Escape and the cross leave them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app.numbers import BadNumber, parse_size
from app.theme import u32
from bridge.machine.catalogue import guest_names

if TYPE_CHECKING:
    from app.state import AppState
    from app.ui import Ui

ABOUT_GUESTS = {
    "demo": "Linux with small endless workloads that make memory interesting",
    "boot-sector": "512 bytes that leave known bytes at known addresses",
}
ATTACHABLE = (
    "-object memory-backend-memfd,id=ram,size=1G,share=on",
    "-machine memory-backend=ram",
    "-qmp unix:qmp.sock,server=on,wait=off",
)
RAM_CHOICES = ("96M", "128M", "256M", "512M", "1G", "2G", "4G")


@contextlib.contextmanager
def dialog(state: AppState, ui: Ui, title: str, icon: str, *, width_units: float) -> Iterator[bool]:
    """Open a dialog in the middle of the window, over a dimmed ground; yields whether it is visible."""
    theme = ui.theme
    size = imgui.get_io().display_size
    width = min(theme.px(width_units), size.x - theme.px(8))
    imgui.get_background_draw_list()
    imgui.set_next_window_pos(imgui.ImVec2(round(size.x / 2), round(size.y * 0.46)), 0, imgui.ImVec2(0.5, 0.5))
    imgui.set_next_window_size_constraints(imgui.ImVec2(width, 0), imgui.ImVec2(width, size.y - theme.px(16)))
    if not imgui.is_popup_open(title):
        imgui.open_popup(title)
    flags = (
        imgui.WindowFlags_.always_auto_resize
        | imgui.WindowFlags_.no_title_bar
        | imgui.WindowFlags_.no_move
        | imgui.WindowFlags_.no_saved_settings
    )
    with (
        ui.style(
            window_padding=(theme.px(6), theme.px(5)),
            popup_rounding=theme.px(3),
            window_rounding=theme.px(3),
            item_spacing=(theme.px(2), theme.px(2)),
        ),
        ui.colours(popup_bg=theme.overlay, border=theme.border_strong),
    ):
        visible, _ = imgui.begin_popup_modal(title, None, flags)
        if not visible:
            yield False
            return
        ui.text(icon, theme.accent)
        imgui.same_line()
        with ui.bold(theme.title_size * 0.78):
            ui.text(title)
        ui.right(theme.px(7))
        closed = ui.icon_button(icons.ICON_FA_XMARK, "Close", id_=f"close {title}", shortcut="Escape")
        at = imgui.get_cursor_screen_pos()
        imgui.get_window_draw_list().add_line(
            at, imgui.ImVec2(at.x + imgui.get_content_region_avail().x, at.y), u32(theme.border)
        )
        ui.gap(4)
        try:
            yield True
        finally:
            if closed or state.overlay is None or imgui.is_key_pressed(imgui.Key.escape, False):
                state.overlay = None
                imgui.close_current_popup()
            imgui.end_popup()


def draw_launch(state: AppState, ui: Ui) -> None:
    """Draw the launch dialog."""
    theme, form = ui.theme, state.launch_form
    with dialog(state, ui, "Launch a guest", icons.ICON_FA_PLAY, width_units=128) as visible:
        if not visible:
            return
        for name in guest_names():
            _guest(state, ui, name)
        ui.gap(2)
        label = theme.px(28)
        ui.row("Memory", label)
        imgui.set_next_item_width(theme.px(36))
        _, form.ram = imgui.input_text_with_hint("##ram", "as described", form.ram)
        problem = ram_problem(form.ram)
        for choice in RAM_CHOICES[1:5]:
            imgui.same_line(0, theme.px(1))
            if ui.button(choice, kind="quiet"):
                form.ram = choice
        if problem:
            imgui.dummy(imgui.ImVec2(label - theme.px(8), 0))
            imgui.same_line(label)
            with ui.small():
                ui.text(problem, theme.bad)
        ui.row("Name", label)
        imgui.set_next_item_width(theme.px(60))
        _, form.name = imgui.input_text_with_hint("##name", form.guest, form.name)
        ui.row("Start", label)
        _, form.cold = imgui.checkbox("Cold boot", form.cold)
        ui.tooltip("Boot anew, even where a saved state could be resumed in a second")
        imgui.same_line(0, theme.px(5))
        _, form.network = imgui.checkbox("Network", form.network)
        ui.tooltip("Give it a network card; without one it can reach nothing")
        imgui.same_line(0, theme.px(5))
        _, form.detach = imgui.checkbox("Keep running", form.detach)
        ui.tooltip("The machine runs on when this window closes")
        ui.gap(4)
        ui.right(theme.px(30) + theme.px(2) + theme.px(30))
        if ui.button("Cancel", width=theme.px(30)):
            state.overlay = None
        imgui.same_line(0, theme.px(2))
        go = ui.button(f"{icons.ICON_FA_PLAY}  Launch", kind="primary", width=theme.px(30), enabled=problem is None)
        if go or (problem is None and imgui.is_key_pressed(imgui.Key.enter, False)):
            state.overlay = None
            ui.run(
                "machine.launch",
                guest=form.guest,
                ram=form.ram.strip() or None,
                name=form.name.strip() or None,
                cold=form.cold,
                network=form.network,
                detach=form.detach,
            )


def ram_problem(text: str) -> str | None:
    """Return what is wrong with a typed amount of memory, or None."""
    if not text.strip():
        return None
    try:
        parse_size(text.strip())
    except BadNumber as error:
        return str(error)
    return None


def _guest(state: AppState, ui: Ui, name: str) -> None:
    theme, form = ui.theme, state.launch_form
    chosen = form.guest == name
    at = imgui.get_cursor_screen_pos()
    height = theme.px(13)
    width = imgui.get_content_region_avail().x
    if imgui.invisible_button(f"guest {name}", imgui.ImVec2(width, height)):
        form.guest = name
    hovered = imgui.is_item_hovered()
    draw_list = imgui.get_window_draw_list()
    lower = imgui.ImVec2(at.x + width, at.y + height)
    ground = theme.hover if hovered or chosen else theme.raised
    draw_list.add_rect_filled(at, lower, u32(ground), theme.px(1.5))
    draw_list.add_rect(at, lower, u32(theme.accent if chosen else theme.border), theme.px(1.5))
    with ui.bold():
        draw_list.add_text(imgui.ImVec2(at.x + theme.px(4), at.y + theme.px(1.75)), u32(theme.text), name)
    with ui.small():
        draw_list.add_text(
            imgui.ImVec2(at.x + theme.px(4), at.y + theme.px(6.75)),
            u32(theme.text_dim),
            ABOUT_GUESTS.get(name, "Described by you"),
        )


def draw_attach(state: AppState, ui: Ui) -> None:
    """Draw the attach dialog."""
    theme = ui.theme
    with dialog(state, ui, "Attach to a running QEMU", icons.ICON_FA_PLUG, width_units=136) as visible:
        if not visible:
            return
        ui.wrapped("The path of its QMP socket. It must run with shared memory:", theme.text_dim)
        with ui.mono(theme.small_size), ui.style(item_spacing=(0.0, 0.0)):
            for line in ATTACHABLE:
                ui.text(line, theme.text_dim)
        ui.gap(1)
        imgui.set_next_item_width(imgui.get_content_region_avail().x)
        if imgui.is_window_appearing():
            imgui.set_keyboard_focus_here()
        with ui.style(frame_border_size=1.0):
            entered, state.attach_path = imgui.input_text_with_hint(
                "##socket", "Path of the socket", state.attach_path, imgui.InputTextFlags_.enter_returns_true
            )
        path = state.attach_path.strip()
        problem = None if not path or Path(path).is_socket() else "There is no socket at this path"
        with ui.small():
            ui.text(problem or " ", theme.bad)
        ui.right(theme.px(30) + theme.px(2) + theme.px(30))
        if ui.button("Cancel", width=theme.px(30)):
            state.overlay = None
        imgui.same_line(0, theme.px(2))
        ready = bool(path) and problem is None
        if (ui.button("Attach", kind="primary", width=theme.px(30), enabled=ready) or entered) and ready:
            state.overlay = None
            ui.run("machine.attach", socket=path)
