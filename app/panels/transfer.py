"""Transfer panel: how opaque each value is, as points that are dragged over the histogram of what is looked at."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np
from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app.action_sets.look import text_from_transfer
from app.layout import TRANSFER
from app.theme import Rgba, u32
from app.transfer_edit import added, added_after, moved, removed, value_text
from app.ui import fit_text
from app.widgets.gradient import colours_of, draw_strip
from app.widgets.ticks import place_ticks
from render.channels import ChannelInfo, legend_of, palette_of
from render.look import Look
from render.transfer import MAX_POINTS, Transfer

if TYPE_CHECKING:
    from app.histograms import Histogram
    from app.state import AppState
    from app.ui import Ui

GRAB_PX = 10.0  # so near to a point the pointer means it
LEFT, RIGHT = 0, 1
OWN_KEYS = frozenset({"Left", "Right", "Up", "Down", "Home", "Delete", *(f"Shift+{k}" for k in ("Left", "Right"))})
STEP, BIG_STEP = 1 / 255, 16 / 255
RUN_S = 1.0  # steps that follow each other so closely are undone as one
LOWEST_PLOT_UNITS = 6


def draw(state: AppState, ui: Ui) -> None:
    """Draw the panel."""
    theme = ui.theme
    flags = imgui.WindowFlags_.no_scrollbar | imgui.WindowFlags_.no_scroll_with_mouse
    with ui.panel(TRANSFER, flags=flags, padding=(theme.px(3), theme.px(2))) as visible:
        if not visible:
            return
        look = state.stage.view.look
        editor = state.transfer
        if editor.channel != look.channel:
            editor.channel, editor.selected = look.channel, None
        if editor.selected is not None and editor.selected >= len(look.transfer.points):
            editor.selected = None
        histogram = state.histograms.of(state.stage.feeds, look.channel)
        _bar(state, ui, look, histogram)
        ui.gap(1)
        if imgui.is_window_focused(imgui.FocusedFlags_.root_and_child_windows) and not imgui.get_io().want_text_input:
            state.own_keys |= OWN_KEYS
            _keys(state, ui, look.transfer)
        _plot(state, ui, look, histogram)


def _set(ui: Ui, transfer: Transfer, *, remember: bool) -> None:
    ui.run("transfer.points", points=text_from_transfer(transfer), remember=remember)


# The bar above


def _bar(state: AppState, ui: Ui, look: Look, histogram: Histogram | None) -> None:
    theme, editor = ui.theme, state.transfer
    name = state.presets.name_of(look.transfer)
    imgui.set_next_item_width(theme.px(40))
    with ui.style(frame_border_size=0.0):
        if imgui.begin_combo("##preset", fit_text(name or "Your own", theme.px(29))):
            for one in state.presets.names():
                if one in state.presets.own and one == next(iter(state.presets.own)):
                    imgui.separator()
                if imgui.selectable(one, one == name)[0]:
                    ui.run("view.transfer", name=one)
            imgui.end_combo()
    ui.tooltip("Presets", note="Built in, and below them your own")
    imgui.same_line(0, theme.px(1))
    at = imgui.get_cursor_screen_pos()
    if ui.icon_button(icons.ICON_FA_FLOPPY_DISK, "Save under a name", id_="save"):
        editor.name, editor.naming = name if name in state.presets.own else "", True
        imgui.open_popup("save transfer")
    _save_popup(state, ui, at)
    imgui.same_line(0, 0)
    own = name is not None and name in state.presets.own
    tip = f"Delete “{name}”" if own else "Delete a preset of yours"
    if ui.icon_button(icons.ICON_FA_TRASH_CAN, tip, id_="delete", enabled=own, note="" if own else "None is chosen"):
        ui.run("transfer.delete", name=name)
    right: list[str] = []
    if editor.selected is not None:
        right.append(_point_text(state, look, editor.selected))
    if histogram is not None:
        zeros = f", {histogram.zero_share * 100:.0f} % of bytes zero" if histogram.zero_share is not None else ""
        right.append(f"{histogram.note}{zeros}")
    elif state.stage.feeds:
        right.append("counting")
    imgui.same_line(0, theme.px(3))
    room = imgui.get_content_region_avail().x
    with ui.small():
        # Drawn by hand: on a line of taller items ImGui would put small text on their baseline.
        text = fit_text("   ·   ".join(right), room)
        size, at = imgui.calc_text_size(text), imgui.get_cursor_screen_pos()
        corner = imgui.ImVec2(at.x + max(0.0, room - size.x), at.y + round((theme.px(7) - size.y) / 2))
        imgui.get_window_draw_list().add_text(corner, u32(theme.text_dim), text)
    imgui.dummy(imgui.ImVec2(1, theme.px(7)))


def _save_popup(state: AppState, ui: Ui, at: imgui.ImVec2) -> None:
    theme, editor = ui.theme, state.transfer
    imgui.set_next_window_pos(imgui.ImVec2(at.x, at.y + theme.px(8)), imgui.Cond_.appearing)
    with ui.style(window_padding=(theme.px(3), theme.px(2.5))):
        if not imgui.begin_popup("save transfer"):
            return
        if editor.naming:
            imgui.set_keyboard_focus_here()
            editor.naming = False
        imgui.set_next_item_width(theme.px(44))
        flags = imgui.InputTextFlags_.enter_returns_true
        entered, editor.name = imgui.input_text_with_hint("##name", "Name of the preset", editor.name, flags)
        imgui.same_line(0, theme.px(2))
        saved = ui.button("Save", kind="primary", small=True, enabled=bool(editor.name.strip()))
        if (entered or saved) and editor.name.strip():
            ui.run("transfer.save", name=editor.name)
            imgui.close_current_popup()
        imgui.end_popup()


def _point_text(state: AppState, look: Look, index: int) -> str:
    scalar, opacity = look.transfer.points[index]
    return f"{value_text(look.channel, _axis(state, look), scalar)}  {opacity * 100:.0f} %"


def _axis(state: AppState, look: Look) -> ChannelInfo:
    """What the scalars mean: in the channel of kinds they are bytes."""
    info: ChannelInfo = state.stage.view.channel_info("value" if look.channel == "content" else look.channel)
    return info


# Keys


def _keys(state: AppState, ui: Ui, transfer: Transfer) -> None:
    """Move, choose, add and remove points by the keyboard, while the panel has it."""
    editor, io = state.transfer, imgui.get_io()
    count = len(transfer.points)
    if imgui.is_key_pressed(imgui.Key.tab):
        step = -1 if io.key_shift else 1
        editor.selected = (
            (0 if step > 0 else count - 1) if editor.selected is None else (editor.selected + step) % count
        )
    if imgui.is_key_pressed(imgui.Key.home):
        editor.selected = 0
    if imgui.is_key_pressed(imgui.Key.end):
        editor.selected = count - 1
    if editor.selected is None or editor.grabbed is not None:
        return
    if imgui.is_key_pressed(imgui.Key.delete) or imgui.is_key_pressed(imgui.Key.backspace):
        _remove(state, ui, transfer, editor.selected)
        return
    if imgui.is_key_pressed(imgui.Key.insert):
        found = added_after(transfer, editor.selected)
        if found is not None:
            _set(ui, found[0], remember=True)
            editor.selected = found[1]
        return
    right = imgui.is_key_pressed(imgui.Key.right_arrow) - imgui.is_key_pressed(imgui.Key.left_arrow)
    up = imgui.is_key_pressed(imgui.Key.up_arrow) - imgui.is_key_pressed(imgui.Key.down_arrow)
    if not (right or up):
        return
    stride = BIG_STEP if io.key_shift else STEP
    rise = 0.1 if io.key_shift else 0.01
    scalar, opacity = transfer.points[editor.selected]
    to = moved(transfer, editor.selected, (scalar + right * stride, opacity + up * rise), snap=False)
    again = editor.stepped[0] == editor.selected and state.now_s - editor.stepped[1] < RUN_S
    if to != transfer:
        _set(ui, to, remember=not again)
    editor.stepped = (editor.selected, state.now_s)


def _remove(state: AppState, ui: Ui, transfer: Transfer, index: int) -> None:
    left = removed(transfer, index)
    if left is not None:
        _set(ui, left, remember=True)
        state.transfer.selected = None


# The plot


class _Frame:
    """Where the plot lies: scalars to the right, opacities up."""

    def __init__(self, left: float, top: float, width: float, height: float) -> None:
        self.left, self.top, self.width, self.height = left, top, width, height

    def at(self, scalar: float, opacity: float) -> imgui.ImVec2:
        return imgui.ImVec2(self.left + scalar * self.width, self.top + (1 - opacity) * self.height)

    def point(self, x: float, y: float) -> tuple[float, float]:
        return (x - self.left) / self.width, 1 - (y - self.top) / self.height

    @property
    def low(self) -> float:
        return self.top + self.height


def _plot(state: AppState, ui: Ui, look: Look, histogram: Histogram | None) -> None:
    theme = ui.theme
    at, room = imgui.get_cursor_screen_pos(), imgui.get_content_region_avail()
    with ui.font(None, theme.small_size * 0.9):
        scale = imgui.calc_text_size("100 %").x + theme.px(2)
    below = theme.px(2.5) + theme.px(6)
    if room.y < theme.px(LOWEST_PLOT_UNITS) + below or room.x < scale + theme.px(20):
        return
    margin = theme.px(1.5)  # so that points at the edges can be grabbed
    frame = _Frame(at.x + scale, at.y + margin, room.x - scale - margin, room.y - below - margin)
    area = imgui.ImVec2(frame.width + 2 * margin, frame.height + 2 * margin)
    imgui.set_cursor_screen_pos(imgui.ImVec2(frame.left - margin, frame.top - margin))
    buttons = imgui.ButtonFlags_.mouse_button_left | imgui.ButtonFlags_.mouse_button_right
    imgui.invisible_button("plot", area, buttons)
    hovered = imgui.is_item_hovered()
    near = _nearest(frame, look.transfer) if hovered else None
    _mouse(state, ui, frame, look.transfer, near, hovered=hovered)
    look = state.stage.view.look  # as the mouse has left it
    _axes(state, ui, frame, look)
    _bars(ui, frame, _colours(state, look), histogram)
    _curve(state, ui, frame, look, near)
    if hovered and near is None and state.transfer.grabbed is None:
        _hint(ui, frame, look.transfer)
    imgui.set_cursor_screen_pos(imgui.ImVec2(at.x, at.y + room.y - 1))
    imgui.dummy(imgui.ImVec2(1, 1))


def _hint(ui: Ui, frame: _Frame, transfer: Transfer) -> None:
    theme = ui.theme
    full = len(transfer.points) >= MAX_POINTS
    text = "Double click adds a point, right click removes one" if not full else f"{MAX_POINTS} points are the most"
    with ui.small():
        at = imgui.ImVec2(frame.left + theme.px(2), frame.top + theme.px(1))
        imgui.get_window_draw_list().add_text(at, u32(theme.text_faint), fit_text(text, frame.width - theme.px(4)))


def _nearest(frame: _Frame, transfer: Transfer) -> int | None:
    """The point that the pointer means."""
    mouse = imgui.get_io().mouse_pos
    best, found = GRAB_PX, None
    for index, point in enumerate(transfer.points):
        place = frame.at(*point)
        distance = math.hypot(place.x - mouse.x, place.y - mouse.y)
        if distance <= best:
            best, found = distance, index
    return found


def _mouse(state: AppState, ui: Ui, frame: _Frame, transfer: Transfer, near: int | None, *, hovered: bool) -> None:
    editor, io = state.transfer, imgui.get_io()
    mouse = io.mouse_pos
    if hovered and imgui.is_mouse_clicked(RIGHT) and near is not None:
        _remove(state, ui, transfer, near)
        return
    if hovered and imgui.is_mouse_clicked(LEFT):
        editor.changed = False
        if near is None and io.mouse_clicked_count[LEFT] >= 2:
            found = added(transfer, frame.point(mouse.x, mouse.y))
            if found is not None:
                _set(ui, found[0], remember=True)
                editor.selected, editor.grabbed, editor.changed = found[1], (0.0, 0.0), True
            return
        editor.selected = near
        if near is not None:
            place = frame.at(*transfer.points[near])
            editor.grabbed = (mouse.x - place.x, mouse.y - place.y)
    if editor.grabbed is not None and editor.selected is not None and imgui.is_item_active():
        if imgui.is_mouse_dragging(LEFT, 1.0) or editor.changed:
            to = moved(transfer, editor.selected, frame.point(mouse.x - editor.grabbed[0], mouse.y - editor.grabbed[1]))
            if to != transfer:
                _set(ui, to, remember=not editor.changed)
                editor.changed = True
    else:
        editor.grabbed = None


def _axes(state: AppState, ui: Ui, frame: _Frame, look: Look) -> None:
    theme = ui.theme
    draw_list = imgui.get_window_draw_list()
    lower = imgui.ImVec2(frame.left + frame.width, frame.low)
    draw_list.add_rect_filled(imgui.ImVec2(frame.left, frame.top), lower, u32(theme.bg.alpha(0.55)), theme.px(0.5))
    info = _axis(state, look)
    with ui.font(None, theme.small_size * 0.9):
        line = imgui.get_text_line_height()
        for opacity in (0.0, 0.5, 1.0):
            y = round(frame.top + (1 - opacity) * frame.height) + 0.5
            draw_list.add_line(
                imgui.ImVec2(frame.left, y),
                imgui.ImVec2(lower.x, y),
                u32(theme.border if opacity else theme.border_strong),
            )
            text = f"{opacity:.0%}".replace("%", " %")
            x = frame.left - theme.px(2) - imgui.calc_text_size(text).x
            draw_list.add_text(imgui.ImVec2(round(x), round(y - line / 2)), u32(theme.text_faint), text)
        _strip(state, ui, frame, look)
        ticks = info.ticks or tuple((share, value_text(look.channel, info, share)) for share in (0.0, 0.5, 1.0))
        sized = [(share, text, imgui.calc_text_size(text).x) for share, text in ticks]
        top = frame.low + theme.px(3.5)
        for share, text, left in place_ticks(sized, frame.width, theme.px(2)):
            x = round(frame.left + share * frame.width) + 0.5
            if 0 < share < 1:
                draw_list.add_line(imgui.ImVec2(x, frame.top), imgui.ImVec2(x, frame.low), u32(theme.border.alpha(0.6)))
            draw_list.add_text(imgui.ImVec2(round(frame.left + left), top), u32(theme.text_dim), text)


def _colours(state: AppState, look: Look) -> tuple[Rgba, ...] | None:
    """The colours along the scale; None where a value has no colour of its own."""
    info = state.stage.view.channel_info(look.channel)
    palette = palette_of(look, info)
    if palette == "content" or (info.kind == "categorical" and look.channel != "content"):
        return None
    legend = legend_of(Look(channel="value", palette=palette), state.stage.view.channel_info("value"))
    return None if legend.gradient is None else colours_of(legend.gradient)


def _strip(state: AppState, ui: Ui, frame: _Frame, look: Look) -> None:
    theme = ui.theme
    colours = _colours(state, look)
    if colours is not None:
        draw_strip(
            imgui.get_window_draw_list(),
            (frame.left, frame.low + theme.px(0.75)),
            (frame.width, theme.px(1.75)),
            colours,
        )


def _bars(ui: Ui, frame: _Frame, colours: tuple[Rgba, ...] | None, histogram: Histogram | None) -> None:
    """Draw how often each value occurs, on a logarithmic scale: some are a thousand times as common as others."""
    if histogram is None or not histogram.counts.any():
        return
    theme = ui.theme
    heights = np.log1p(histogram.counts) / math.log1p(int(histogram.counts.max())) * (frame.height - 1)
    draw_list = imgui.get_window_draw_list()
    plain = theme.text_faint.alpha(0.45)
    last = len(colours) - 1 if colours is not None else 0
    width = frame.width / 255
    for value in np.flatnonzero(heights >= 0.5).tolist():
        middle = frame.left + value * width
        left, right = max(frame.left, middle - width / 2), min(frame.left + frame.width, middle + width / 2)
        colour = plain if colours is None else colours[round(value / 255 * last)].alpha(0.5)
        draw_list.add_rect_filled(
            imgui.ImVec2(left, frame.low - float(heights[value])), imgui.ImVec2(right, frame.low), u32(colour)
        )


def _curve(state: AppState, ui: Ui, frame: _Frame, look: Look, near: int | None) -> None:
    theme, editor = ui.theme, state.transfer
    points = look.transfer.points
    line = [(0.0, points[0][1]), *points, (1.0, points[-1][1])]
    places = [frame.at(*point) for point in line]
    draw_list = imgui.get_window_draw_list()
    for a, b in itertools.pairwise(places):
        low_b, low_a = imgui.ImVec2(b.x, frame.low), imgui.ImVec2(a.x, frame.low)
        draw_list.add_quad_filled(a, b, low_b, low_a, u32(theme.accent.alpha(0.1)))
    draw_list.add_polyline(list(places), u32(theme.accent), 2.0, 0)
    for index, point in enumerate(points):
        place = frame.at(*point)
        chosen = index == editor.selected
        radius = theme.px(1.25) + (1.5 if chosen or index == near else 0.0)
        draw_list.add_circle_filled(place, radius + 1.5, u32(theme.surface))
        draw_list.add_circle_filled(place, radius, u32(theme.text if chosen else theme.accent))
    shown = editor.selected if editor.grabbed is not None else near
    if shown is not None:
        _numbers(state, ui, frame, look, shown)


def _numbers(state: AppState, ui: Ui, frame: _Frame, look: Look, index: int) -> None:
    """Say beside a point where it lies."""
    theme = ui.theme
    with ui.small():
        text = _point_text(state, look, index)
        size = imgui.calc_text_size(text)
        place = frame.at(*look.transfer.points[index])
        pad = theme.px(1.5)
        left = min(max(frame.left, place.x - size.x / 2 - pad), frame.left + frame.width - size.x - 2 * pad)
        top = place.y - size.y - theme.px(4)
        if top < frame.top:
            top = place.y + theme.px(3)
        corner, lower = imgui.ImVec2(left, top), imgui.ImVec2(left + size.x + 2 * pad, top + size.y + theme.px(1))
        draw_list = imgui.get_window_draw_list()
        draw_list.add_rect_filled(corner, lower, u32(theme.overlay), theme.px(1))
        draw_list.add_rect(corner, lower, u32(theme.border_strong), theme.px(1))
        draw_list.add_text(imgui.ImVec2(left + pad, top + theme.px(0.5)), u32(theme.text), text)
