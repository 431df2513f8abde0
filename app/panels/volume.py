"""Volume panels: the pictures of memory, one a view, and what mouse and pointer do on them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app.curve_notes import CURVE_NOTES
from app.pane import NOWHERE
from app.panels import callouts, carrying, highlights, legend, pane_corner, sheets
from app.place import Place

if TYPE_CHECKING:
    from app.pane import Pane
    from app.state import AppState
    from app.ui import Ui

CLICK_SLOP_PX = 4.0
DEGREES_PER_PX = 0.3
ZOOM_PER_NOTCH = 1.18
HOVER_REST_S = 0.12  # the pointer must rest this long before it is asked what lies under it
LEFT, RIGHT, MIDDLE = 0, 1, 2


def draw(state: AppState, ui: Ui) -> None:
    """Draw a panel for each view and act on the mouse."""
    for pane in tuple(state.stage.panes):
        _panel(state, ui, pane)
    state.volume_rect = state.stage.active.rect


def _panel(state: AppState, ui: Ui, pane: Pane) -> None:
    flags = imgui.WindowFlags_.no_scrollbar | imgui.WindowFlags_.no_scroll_with_mouse
    with ui.panel(pane.name, flags=flags, padding=(0.0, 0.0)) as visible:
        if not visible:
            pane.place(NOWHERE)
            return
        at, room = imgui.get_cursor_screen_pos(), imgui.get_content_region_avail()
        at, width, height = whole_pixels(at, room, state.stage.screen.pixel_ratio)
        pane.place((at.x, at.y, width, height))
        imgui.set_cursor_screen_pos(at)
        imgui.image(pane.texture(), imgui.ImVec2(width, height))
        imgui.set_cursor_screen_pos(at)
        # Above the image, so that all three buttons and the wheel are taken.
        every = imgui.ButtonFlags_.mouse_button_left | imgui.ButtonFlags_.mouse_button_right
        imgui.set_next_item_allow_overlap()  # the legend and the corner's buttons lie on it
        imgui.invisible_button("volume", imgui.ImVec2(width, height), every | imgui.ButtonFlags_.mouse_button_middle)
        imgui.set_item_key_owner(imgui.Key.mouse_wheel_y)
        if imgui.is_item_activated() and pane is not state.stage.active:
            ui.run("view.activate", view=pane.name)
        hovered = imgui.is_item_hovered()
        _mouse(state, ui, pane)
        _context_menu(state, ui)
        colours = legend.draw(state, ui, pane)
        callouts.keep_clear(state, pane, [colours, highlights.draw(state, ui, pane, colours)])
        pane_corner.draw(state, ui, pane, hovered=hovered)
        sheets.no_planes(state, ui, pane)
        if not state.manager.machines():
            _empty(state, ui, at, width, height)


def whole_pixels(at: imgui.ImVec2, room: imgui.ImVec2, ratio: float) -> tuple[imgui.ImVec2, float, float]:
    """Return the corner, width and height of the largest picture in a panel whose edges lie on physical pixels.

    With 1.25 physical pixels a logical one, a panel may begin a quarter of a pixel in: each texel would be smeared.
    """
    left, top = math.ceil(at.x * ratio - 1e-3), math.ceil(at.y * ratio - 1e-3)
    right, bottom = math.floor((at.x + room.x) * ratio + 1e-3), math.floor((at.y + room.y) * ratio + 1e-3)
    width, height = max(1, right - left), max(1, bottom - top)
    return imgui.ImVec2(left / ratio, top / ratio), width / ratio, height / ratio


def _mouse(state: AppState, ui: Ui, pane: Pane) -> None:
    io = imgui.get_io()
    camera = pane.view.camera
    x, y = io.mouse_pos.x - pane.rect[0], io.mouse_pos.y - pane.rect[1]
    hovered = imgui.is_item_hovered()
    _drag(state, pane)
    carrying.show(state, pane, hovered=hovered)
    sheets.show(state, ui, pane, hovered=hovered)
    if hovered and io.mouse_wheel:
        state.remember()
        hit = pane.hit(x, y)
        camera.zoom(ZOOM_PER_NOTCH**io.mouse_wheel, None if hit is None else hit.position)
        state.stage.panes.forget_rest()
    named = callouts.named_at(state, pane, x, y) if hovered else None
    if hovered and imgui.is_mouse_released(LEFT) and not state.gesture.moved:
        place = None if named is not None else state.stage.pick(x, y, pane)
        if named is not None:
            callouts.go(ui, named)
        elif imgui.get_io().mouse_clicked_last_count[LEFT] >= 2:
            if place is not None:
                ui.run("view.fly_to", machine=place.machine, offset=place.offset)
        else:
            state.run("view.pick", {"x": x, "y": y})
    if hovered and imgui.is_mouse_released(RIGHT) and not state.gesture.moved:
        state.menu_place = state.stage.pick(x, y, pane)
        imgui.open_popup("volume menu")
    _hover(state, ui, pane, hovered and named is None, x, y)
    if named is not None:
        callouts.point_at(state, ui, named)


def _drag(state: AppState, pane: Pane) -> None:
    """Orbit or pan by what the pointer moved since the press, also in the frame of the release."""
    io, gesture, camera = imgui.get_io(), state.gesture, pane.view.camera
    height = pane.rect[3]
    if imgui.is_item_activated():
        carrying.take_hold(state, pane)
        sheets.take_hold(state, pane)
        gesture.button = next(b for b in (LEFT, RIGHT, MIDDLE) if io.mouse_clicked[b])
        gesture.before, gesture.moved, gesture.applied = state.look(), False, (0.0, 0.0)
    if not (imgui.is_item_active() or imgui.is_item_deactivated()):
        return
    since_press = imgui.get_mouse_drag_delta(gesture.button, 0.0)
    total = since_press.x, since_press.y
    gesture.moved |= total[0] ** 2 + total[1] ** 2 > CLICK_SLOP_PX**2
    right, down = total[0] - gesture.applied[0], total[1] - gesture.applied[1]
    if gesture.carried is not None:
        if gesture.moved:
            carrying.carry(state, pane)
    elif state.slices.drag is not None:
        if gesture.moved:
            sheets.drag(state, pane)
    elif gesture.moved and (right, down) != (0.0, 0.0):
        gesture.applied = total
        state.stage.panes.forget_rest()
        if gesture.button != LEFT or io.key_shift:
            camera.pan(right / height, -down / height)
        else:
            camera.orbit(-right * DEGREES_PER_PX, down * DEGREES_PER_PX)
    if imgui.is_item_deactivated():
        gesture.carried = state.slices.drag = None
        if gesture.moved and gesture.before is not None:
            state.history.record(gesture.before)


def _hover(state: AppState, ui: Ui, pane: Pane, hovered: bool, x: float, y: float) -> None:
    busy = any(imgui.is_mouse_down(b) for b in (LEFT, RIGHT, MIDDLE))
    if not hovered or busy or state.slices.edge or imgui.is_popup_open("", imgui.PopupFlags_.any_popup):
        if pane is state.hover_pane:
            state.hover = state.hover_pane = None
            state.stage.panes.set_hover(None)
        return
    hit = pane.resting_hit(x, y, HOVER_REST_S)
    state.hover_pane = pane
    state.stage.panes.set_hover(hit)
    state.hover = Place(hit.key, hit.address) if hit is not None and hit.key in state.stage.feeds else None
    place = state.hover
    if place is None:
        return
    theme = ui.theme
    address = state.stage.paddr(place)
    ram = state.stage.ram(place.machine)
    with ui.style(window_padding=(theme.px(2.5), theme.px(1.75)), item_spacing=(theme.px(2), theme.px(0.5))):
        imgui.set_next_window_pos(
            imgui.ImVec2(imgui.get_io().mouse_pos.x + theme.px(4), imgui.get_io().mouse_pos.y + theme.px(4))
        )
        if imgui.begin_tooltip():
            with ui.mono():
                ui.text(f"{address:#x}" if address is not None else f"file + {place.offset:#x}", theme.accent)
                if ram is not None:
                    imgui.same_line()
                    ui.text(f"= 0x{int(ram.bytes[place.offset]):02x}")
            if len(state.stage.feeds) > 1:
                with ui.small():
                    ui.dim(place.machine)
            callouts.tell_lit(state, ui, place)
            imgui.end_tooltip()


def _context_menu(state: AppState, ui: Ui) -> None:
    theme = ui.theme
    with ui.style(window_padding=(theme.px(2), theme.px(2)), item_spacing=(theme.px(2), theme.px(2.5))):
        if not imgui.begin_popup("volume menu"):
            return
        place = state.menu_place
        if place is not None:
            _place_items(state, ui, place)
            imgui.separator()
        ui.menu_item(state.actions.get("view.go_to_dialog"))
        ui.menu_item(state.actions.get("view.fit"))
        if len(state.stage.feeds) > 1:
            ui.menu_item(state.actions.get("view.arrange"))
        if imgui.internal.begin_menu_ex("Look along", icons.ICON_FA_CUBE):
            for axis in ("+x", "-x", "+y", "-y", "+z", "-z"):
                ui.menu_item(state.actions.get("view.axis"), {"axis": axis}, axis)
            imgui.end_menu()
        if imgui.internal.begin_menu_ex("Lay addresses along", icons.ICON_FA_BEZIER_CURVE):
            for curve, note in CURVE_NOTES.items():
                if imgui.menu_item(curve.capitalize(), "", state.settings.curve == curve, True)[0]:
                    ui.run("view.curve", curve=curve)
                ui.tooltip(note)
            imgui.end_menu()
        ui.menu_item(state.actions.get("view.next_mode"))
        ui.menu_item(state.actions.get("view.split"))
        imgui.end_popup()


def _place_items(state: AppState, ui: Ui, place: Place) -> None:
    address = state.stage.paddr(place)
    args = {"machine": place.machine, "offset": place.offset}
    with ui.mono(), ui.style(item_spacing=(0.0, 0.0)):
        ui.text(f"  {address:#x}" if address is not None else f"  file + {place.offset:#x}", ui.theme.text_dim)
    imgui.separator()
    ui.menu_item(state.actions.get("view.fly_to"), args, "Fly there")
    ui.menu_item(state.actions.get("view.show_in_hex"), args)
    if address is not None and imgui.internal.menu_item_ex("Copy address", icons.ICON_FA_COPY):
        imgui.set_clipboard_text(f"{address:#x}")


def _empty(state: AppState, ui: Ui, at: imgui.ImVec2, width: float, height: float) -> None:
    theme = ui.theme
    launching = state.launch_jobs()
    box = imgui.ImVec2(min(theme.px(96), width - theme.px(8)), theme.px(58))
    imgui.set_cursor_screen_pos(
        imgui.ImVec2(round(at.x + (width - box.x) / 2), round(at.y + max(0.0, (height - box.y) * 0.46)))
    )
    with ui.style(child_border_size=0.0, item_spacing=(theme.px(2), theme.px(2))):
        imgui.begin_child("empty", box, 0, imgui.WindowFlags_.no_scrollbar)
        with ui.font(None, theme.title_size * 1.8):
            ui.centred(icons.ICON_FA_CUBES, theme.text_faint.mix(theme.bg, 0.35))
        ui.gap(3)
        if launching:
            job = launching[0]
            with ui.font(None, theme.title_size * 0.85):
                ui.centred(job.title, theme.text)
            ui.centred(job.note or "Starting", theme.text_dim)
            ui.gap(2)
            bar = min(theme.px(60), box.x)
            imgui.set_cursor_pos_x((box.x - bar) / 2)
            ui.progress(job.fraction, bar, theme.px(0.75))
        else:
            with ui.font(None, theme.title_size * 0.85):
                ui.centred("Every byte of a running machine, as light", theme.text)
            ui.centred("Launch a guest and look into its memory", theme.text_dim)
            ui.gap(2)
            button = theme.px(42)
            imgui.set_cursor_pos_x(max(0.0, (box.x - 2 * button - theme.px(2)) / 2))
            if ui.button(f"{icons.ICON_FA_PLAY}  Launch demo", kind="primary", width=button):
                ui.run("machine.launch", guest="demo")
            imgui.same_line(0, theme.px(2))
            if ui.button("Other guests…", width=button):
                ui.run("machine.launch_dialog")
        imgui.end_child()
