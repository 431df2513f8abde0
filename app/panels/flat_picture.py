"""The flat picture in the slices panel: one plane, pixel for pixel, and what mouse and keys do on it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app.flat_pane import FlatPane
from app.panels.volume import whole_pixels
from app.place import Place
from app.slices_ui import FlatPlace
from app.theme import Rgba, rgb, u32
from app.voxels import place_of_voxel
from render.backdrop import BACKGROUNDS
from render.cut import AXES, Axis, Plane
from render.planes import Point, Shape, crossing, extent, frame_of, outline, plane_through, voxel_middle
from render.slice_view import Raster, zoom_beside, zoom_to_fit

if TYPE_CHECKING:
    from app.state import AppState
    from app.ui import Ui

CLICK_SLOP_PX = 4.0
LINE_REACH_PX = 4.0
LEFT, RIGHT, MIDDLE = 0, 1, 2
_AXES_NAMED: dict[Axis, tuple[str, str]] = {"x": ("y", "z"), "y": ("x", "z"), "z": ("x", "y"), "oblique": ("u", "v")}


def draw(state: AppState, ui: Ui, machine: str, size: tuple[float, float]) -> None:
    """Draw the picture of the chosen plane of a machine whose memory is shown, `size` large, and act on the mouse."""
    slices, stage = state.slices, state.stage
    shape = stage.feeds[machine].store.shape_voxels
    plane = state.slicings.get(stage, machine).plane(slices.axis)
    corner = imgui.get_cursor_screen_pos()
    at, width, height = whole_pixels(corner, imgui.ImVec2(*size), stage.screen.pixel_ratio)
    slices.rect = at.x, at.y, width, height
    if slices.flat is None:
        slices.flat = FlatPane(stage.screen)
    flat = slices.flat
    place = _place(state, machine, plane, shape, (width, height))
    slices.animating |= flat.draw(stage.view, machine, plane, place, (width, height), state.now_s)
    ground = ui.theme.bg
    draw_list = imgui.get_window_draw_list()
    lower = imgui.ImVec2(at.x + width, at.y + height)
    draw_list.add_rect_filled(at, lower, u32(ground))
    imgui.set_cursor_screen_pos(at)
    imgui.image(flat.texture(), imgui.ImVec2(width, height))
    imgui.set_cursor_screen_pos(at)
    every = imgui.ButtonFlags_.mouse_button_left | imgui.ButtonFlags_.mouse_button_right
    imgui.set_next_item_allow_overlap()  # the buttons in the corner
    imgui.invisible_button("flat", imgui.ImVec2(width, height), every | imgui.ButtonFlags_.mouse_button_middle)
    imgui.set_item_key_owner(imgui.Key.mouse_wheel_y)
    hovered, active = imgui.is_item_hovered(), imgui.is_item_active()
    raster = flat.raster
    assert raster is not None  # it was drawn
    overlay = _Overlay(state, ui, machine, plane, shape, raster, at)
    draw_list.push_clip_rect(at, lower, True)
    line = overlay.lines(hovered and (not active or imgui.is_item_activated()))
    overlay.clip_box()
    overlay.selection()
    draw_list.pop_clip_rect()
    draw_list.add_rect(at, lower, u32(ui.theme.border))
    _mouse(state, ui, machine, plane, place, raster, at, line)
    if slices.has_keys:
        _keys(state, ui)
    _menu(state, ui, machine)
    _corner(state, ui, machine, plane, shape, place, at, (width, height))
    if hovered and not active and line is None and not imgui.is_popup_open("", imgui.PopupFlags_.any_popup):
        io = imgui.get_io()
        _tooltip(state, ui, machine, flat.voxel_at(io.mouse_pos.x - at.x, io.mouse_pos.y - at.y))
    imgui.set_cursor_screen_pos(imgui.ImVec2(corner.x, corner.y + size[1]))
    imgui.dummy(imgui.ImVec2(0, 0))


def _place(state: AppState, machine: str, plane: Plane, shape: Shape, size: tuple[float, float]) -> FlatPlace:
    """What the picture shows: what it did, or all of the plane at first."""
    whole = whole_place(plane, shape, _pixels(state, size))
    place = state.slices.places.setdefault((machine, plane.axis), whole)
    if place.whole:
        place.centre, place.zoom = whole.centre, whole.zoom
    return place


def whole_place(plane: Plane, shape: Shape, size_px: tuple[int, int]) -> FlatPlace:
    """All of a plane, as large as fits."""
    low, high = extent(plane, shape)
    middle = (low[0] + high[0]) / 2, (low[1] + high[1]) / 2
    return FlatPlace(middle, zoom_to_fit(high[0] - low[0], high[1] - low[1], size_px), whole=True)


def _pixels(state: AppState, size: tuple[float, float]) -> tuple[int, int]:
    ratio = state.stage.screen.pixel_ratio
    return max(1, round(size[0] * ratio)), max(1, round(size[1] * ratio))


class _Overlay:
    """What is drawn over the picture; pixels of the picture become places on the screen."""

    def __init__(
        self, state: AppState, ui: Ui, machine: str, plane: Plane, shape: Shape, raster: Raster, at: imgui.ImVec2
    ) -> None:
        self.state, self.ui, self.machine = state, ui, machine
        self.plane, self.shape, self.raster, self.at = plane, shape, raster, at
        self.ratio = state.stage.screen.pixel_ratio
        self.draw = imgui.get_window_draw_list()

    def on_screen(self, shown: Point) -> imgui.ImVec2:
        x, y = self.raster.pixel_of(shown)
        return imgui.ImVec2(self.at.x + x / self.ratio, self.at.y + y / self.ratio)

    def lines(self, can_take: bool) -> Axis | None:
        """Where the other shown planes cross; returns the one that the pointer could take."""
        slicing = self.state.slicings.get(self.state.stage, self.machine)
        taken = self.state.slices.line
        mouse = imgui.get_io().mouse_pos
        near: Axis | None = None
        ends: dict[Axis, tuple[imgui.ImVec2, imgui.ImVec2]] = {}
        for other in slicing.planes:
            if other.axis == self.plane.axis or other.axis not in slicing.shown:
                continue
            cross = crossing(self.plane, other, self.shape)
            if cross is None:
                continue
            a, b = self.on_screen(cross[0]), self.on_screen(cross[1])
            ends[other.axis] = a, b
            if can_take and near is None and _distance(mouse, a, b) <= LINE_REACH_PX:
                near = other.axis
        for axis, (a, b) in ends.items():
            bright = axis in (near, taken)
            self.draw.add_line(a, b, u32(_colour(self.ui, axis).alpha(1.0 if bright else 0.75)), 2.0 if bright else 1.0)
        if near is not None:
            a, b = ends[near]
            flat = abs(a.x - b.x) > abs(a.y - b.y)
            imgui.set_mouse_cursor(imgui.MouseCursor_.resize_ns if flat else imgui.MouseCursor_.resize_ew)
        return near

    def clip_box(self) -> None:
        slicing = self.state.slicings.get(self.state.stage, self.machine)
        if not slicing.clipping:
            return
        frame = frame_of(self.plane, self.shape)
        corners = [self.on_screen(frame.shown(corner)) for corner in outline(self.plane, self.shape, slicing.clip)]
        if corners:
            self.draw.add_polyline(list(corners), u32(self.ui.theme.text_dim), 1.0, imgui.ImDrawFlags_.closed)

    def selection(self) -> None:
        """A cross of thin lines at the selected byte; bright where this plane shows it, faint where another does."""
        place = self.state.selection
        if place is None or place.machine != self.machine:
            return
        voxel = self.state.stage.voxel(place)
        frame = frame_of(self.plane, self.shape)
        middle = voxel_middle(voxel)
        u, v = frame.shown(middle)
        in_plane = abs(frame.height(middle)) < (0.5 if self.plane.axis != "oblique" else 0.87)
        x, y = self.raster.pixel_of((u, v))
        half = max(self.raster.scale / 2, 1.5 * self.ratio)
        low, high = (
            imgui.ImVec2(self.at.x + (x + side * half) / self.ratio, self.at.y + (y + side * half) / self.ratio)
            for side in (-1, 1)
        )
        ink = rgb(int(BACKGROUNDS[self.ui.theme.name].selection[1:], 16))
        faint = u32(ink.alpha(0.55 if in_plane else 0.25))
        centre = self.on_screen((u, v))
        size = self.raster.size_px
        right, bottom = self.at.x + size[0] / self.ratio, self.at.y + size[1] / self.ratio
        gap = self.ui.theme.px(1)
        for a, b in (
            ((self.at.x, centre.y), (low.x - gap, centre.y)),
            ((high.x + gap, centre.y), (right, centre.y)),
            ((centre.x, self.at.y), (centre.x, low.y - gap)),
            ((centre.x, high.y + gap), (centre.x, bottom)),
        ):
            self.draw.add_line(imgui.ImVec2(*a), imgui.ImVec2(*b), faint)
        if in_plane:
            self.draw.add_rect(low, high, u32(ink), 0.0, 1.5)


def _colour(ui: Ui, axis: Axis) -> Rgba:
    return rgb(int(BACKGROUNDS[ui.theme.name].planes[AXES.index(axis)][1:], 16))


def _distance(point: imgui.ImVec2, a: imgui.ImVec2, b: imgui.ImVec2) -> float:
    """From a point to a segment, in logical pixels."""
    along = (b.x - a.x, b.y - a.y)
    length2 = along[0] ** 2 + along[1] ** 2
    share = 0.0 if length2 == 0 else ((point.x - a.x) * along[0] + (point.y - a.y) * along[1]) / length2
    share = max(0.0, min(1.0, share))
    return math.hypot(point.x - a.x - share * along[0], point.y - a.y - share * along[1])


# ----- mouse and keys


def _mouse(
    state: AppState,
    ui: Ui,
    machine: str,
    plane: Plane,
    place: FlatPlace,
    raster: Raster,
    at: imgui.ImVec2,
    line: Axis | None,
) -> None:
    io, slices = imgui.get_io(), state.slices
    ratio = state.stage.screen.pixel_ratio
    here = (io.mouse_pos.x - at.x) * ratio, (io.mouse_pos.y - at.y) * ratio
    hovered = imgui.is_item_hovered()
    if imgui.is_item_activated():
        slices.pan_from, slices.moved = place.centre, False
        slices.line = line if io.mouse_clicked[LEFT] else None
        slices.before = state.look()
    if imgui.is_item_active() or imgui.is_item_deactivated():
        button = next((b for b in (LEFT, RIGHT, MIDDLE) if imgui.is_mouse_down(b) or imgui.is_mouse_released(b)), LEFT)
        delta = imgui.get_mouse_drag_delta(button, 0.0)
        slices.moved |= delta.x**2 + delta.y**2 > CLICK_SLOP_PX**2
        if slices.moved and slices.line is not None:
            _drag_line(state, machine, plane, raster.shown_at(*here))
        elif slices.moved and slices.pan_from is not None:
            scale = raster.scale / ratio
            place.centre = slices.pan_from[0] - delta.x / scale, slices.pan_from[1] + delta.y / scale
            place.whole = False
    if imgui.is_item_deactivated():
        if slices.line is not None and slices.before is not None and slices.before != state.look():
            state.history.record(slices.before)
        slices.line = slices.pan_from = slices.before = None
    if hovered and io.mouse_wheel:
        notches = int(math.copysign(max(1, round(abs(io.mouse_wheel))), io.mouse_wheel))
        if io.key_shift or io.key_ctrl:
            ui.run("view.slice_step", voxels=notches, axis=plane.axis)
        else:
            zoom_at(place, raster, here, notches)
    if not hovered or slices.moved:
        return
    if imgui.is_mouse_released(LEFT):
        voxel = raster.voxel_at(*here)
        found = None if voxel is None else place_of_voxel(state.stage, machine, voxel)
        if found is None:
            return
        if io.mouse_clicked_last_count[LEFT] >= 2:
            ui.run("view.fly_to", machine=machine, offset=found.offset)
        else:
            assert voxel is not None
            ui.run("view.select_voxel", x=voxel[0], y=voxel[1], z=voxel[2], machine=machine)
    elif imgui.is_mouse_released(RIGHT):
        voxel = raster.voxel_at(*here)
        state.menu_place = None if voxel is None else place_of_voxel(state.stage, machine, voxel)
        imgui.open_popup("flat menu")


def zoom_at(place: FlatPlace, raster: Raster, here: tuple[float, float], steps: int) -> None:
    """Zoom by steps and keep what is under a point of the picture there."""
    zoom = zoom_beside(place.zoom, steps)
    u, v = raster.shown_at(*here)
    from_middle = here[0] - raster.size_px[0] / 2, here[1] - raster.size_px[1] / 2
    place.centre = u - from_middle[0] / zoom, v + from_middle[1] / zoom
    place.zoom, place.whole = zoom, False


def _drag_line(state: AppState, machine: str, plane: Plane, shown: Point) -> None:
    """Bring the plane whose line is held to where the pointer is."""
    slices = state.slices
    assert slices.line is not None
    slicing = state.slicings.get(state.stage, machine)
    shape = state.stage.feeds[machine].store.shape_voxels
    other = slicing.plane(slices.line)
    moved = plane_through(other, frame_of(plane, shape).point(*shown), shape)
    if moved != other:
        state.slicings.set(state.stage, machine, slicing.with_plane(moved))


def _keys(state: AppState, ui: Ui) -> None:
    """Arrow keys step the plane while the panel has the keyboard; held, they go on."""
    if imgui.get_io().want_text_input or state.overlay is not None:
        return
    step = 0
    for key, voxels in (
        (imgui.Key.up_arrow, 1),
        (imgui.Key.right_arrow, 1),
        (imgui.Key.down_arrow, -1),
        (imgui.Key.left_arrow, -1),
    ):
        step += voxels * imgui.is_key_pressed(key)
    if step:
        ui.run("view.slice_step", voxels=step, axis=state.slices.axis)


# ----- what is said


def _tooltip(state: AppState, ui: Ui, machine: str, voxel: tuple[int, int, int] | None) -> None:
    if voxel is None:
        return
    place = place_of_voxel(state.stage, machine, voxel)
    ram = state.stage.ram(machine)
    theme, mouse = ui.theme, imgui.get_io().mouse_pos
    imgui.set_next_window_pos(imgui.ImVec2(mouse.x + theme.px(4), mouse.y + theme.px(4)))
    with ui.style(window_padding=(theme.px(2.5), theme.px(1.75)), item_spacing=(theme.px(2), theme.px(0.5))):
        if not imgui.begin_tooltip():
            return
        if place is None or ram is None:
            ui.dim("No memory here: the box is larger than the RAM")
        else:
            address = state.stage.paddr(place)
            with ui.mono():
                ui.text(f"{address:#x}" if address is not None else f"file + {place.offset:#x}", theme.accent)
                imgui.same_line()
                ui.text(f"= 0x{int(ram.bytes[place.offset]):02x}")
        with ui.small():
            if place is not None and state.stage.paddr(place) != place.offset:
                ui.dim(f"file + {place.offset:#x}")
            ui.dim(f"voxel {voxel[0]:,}, {voxel[1]:,}, {voxel[2]:,}")
        imgui.end_tooltip()


def _corner(
    state: AppState,
    ui: Ui,
    machine: str,
    plane: Plane,
    shape: Shape,
    place: FlatPlace,
    at: imgui.ImVec2,
    size: tuple[float, float],
) -> None:
    """Zoom and its buttons in the lower right corner, the picture's axes in the lower left one."""
    theme = ui.theme
    draw_list = imgui.get_window_draw_list()
    across, up = _AXES_NAMED[plane.axis]
    length, inset = theme.px(6), theme.px(3)
    origin = imgui.ImVec2(at.x + inset, at.y + size[1] - inset)
    if size[0] > theme.px(60) and size[1] > theme.px(24):
        for axis, end in (
            (across, imgui.ImVec2(origin.x + length, origin.y)),
            (up, imgui.ImVec2(origin.x, origin.y - length)),
        ):
            colour = _colour(ui, axis) if axis in "xyz" else theme.text_dim  # type: ignore[arg-type]
            draw_list.add_line(origin, end, u32(colour), 1.5)
            with ui.small():
                extent_ = imgui.calc_text_size(axis)
                text = (
                    imgui.ImVec2(end.x + theme.px(0.75), end.y - extent_.y / 2)
                    if end.y == origin.y
                    else imgui.ImVec2(end.x - extent_.x / 2, end.y - extent_.y)
                )
                draw_list.add_text(text, u32(colour), axis)
    label = f"{place.zoom:.0f}x" if place.zoom >= 1 else f"1/{1 / place.zoom:.0f}"
    with ui.small():
        extent_ = imgui.calc_text_size(label)
    side = theme.px(7)
    width = extent_.x + 3 * side + theme.px(3)
    left, top = at.x + size[0] - width - theme.px(1), at.y + size[1] - side - theme.px(1)
    if width > size[0] or side > size[1]:
        return
    box = imgui.ImVec2(left, top), imgui.ImVec2(left + width, top + side)
    draw_list.add_rect_filled(*box, u32(theme.overlay.alpha(0.82)), theme.px(1.5))
    with ui.small():
        draw_list.add_text(imgui.ImVec2(left + theme.px(2), top + (side - extent_.y) / 2), u32(theme.text_dim), label)
    imgui.set_cursor_screen_pos(imgui.ImVec2(left + extent_.x + theme.px(3), top))
    raster = state.slices.flat.raster if state.slices.flat is not None else None
    assert raster is not None
    middle = raster.size_px[0] / 2, raster.size_px[1] / 2
    with ui.style(item_spacing=(0.0, 0.0)):
        if ui.icon_button(icons.ICON_FA_MINUS, "Farther", id_="flat farther"):
            zoom_at(place, raster, middle, -1)
        imgui.same_line()
        if ui.icon_button(icons.ICON_FA_PLUS, "Nearer", id_="flat nearer"):
            zoom_at(place, raster, middle, 1)
        imgui.same_line()
        if ui.icon_button(icons.ICON_FA_EXPAND, "All of the plane", id_="flat whole"):
            state.slices.places[machine, plane.axis] = whole_place(plane, shape, _pixels(state, size))


def _menu(state: AppState, ui: Ui, machine: str) -> None:
    theme = ui.theme
    with ui.style(window_padding=(theme.px(2), theme.px(2)), item_spacing=(theme.px(2), theme.px(2.5))):
        if not imgui.begin_popup("flat menu"):
            return
        place: Place | None = state.menu_place
        if place is not None:
            address = state.stage.paddr(place)
            args: dict[str, object] = {"machine": place.machine, "offset": place.offset}
            with ui.mono(), ui.style(item_spacing=(0.0, 0.0)):
                ui.text(f"  {address:#x}" if address is not None else f"  file + {place.offset:#x}", theme.text_dim)
            imgui.separator()
            ui.menu_item(state.actions.get("view.fly_to"), args, "Fly there")
            ui.menu_item(state.actions.get("view.show_in_hex"), args)
            ui.menu_item(state.actions.get("view.slice_at"), args, "Slice here with all three planes")
            if address is not None and imgui.internal.menu_item_ex("Copy address", icons.ICON_FA_COPY):
                imgui.set_clipboard_text(f"{address:#x}")
            imgui.separator()
        ui.menu_item(state.actions.get("view.slice_toggle"), {"machine": machine}, "Show or hide this plane")
        ui.menu_item(state.actions.get("view.clip_toggle"), {"machine": machine})
        imgui.end_popup()
