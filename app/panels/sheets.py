"""Slice planes in the volume panel: taken by their edge, or anywhere with Ctrl, and moved along their normal."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui
from numpy.typing import NDArray

from app.slices_ui import SheetDrag, SheetRef
from app.slicing import PLANE_TITLES
from render.camera import Box
from render.cut import Plane
from render.planes import frame_of, moved_to, outline

if TYPE_CHECKING:
    from app.pane import Pane
    from app.state import AppState
    from app.ui import Ui

Vector = NDArray[np.float64]
LEFT = 0
EDGE_REACH_PX = 6.0
"""How near the pointer must come to an edge, in logical pixels."""
HEAD_ON = 0.03
"""Where one looks so nearly along a normal, the pointer's height on the screen moves the plane instead."""
_NEAREST = 0.05
"""Voxels before the eye: what is nearer is not on the screen."""


@dataclass(frozen=True, slots=True)
class _Ray:
    """From where, in the world, and the direction of depth one."""

    start: Vector
    direction: Vector


def take_hold(state: AppState, pane: Pane) -> None:
    """Begin to drag the plane under the pointer, if this press means that."""
    slices = state.slices
    slices.drag = None
    if not imgui.get_io().mouse_clicked[LEFT] or state.gesture.carried is not None:
        return
    found = _under_pointer(state, pane)
    if found is None:
        return
    sheet, point = found
    slices.drag = SheetDrag(sheet, pane, state.slicings.get(state.stage, sheet.machine).plane(sheet.axis), point)
    slices.axis = sheet.axis  # the flat picture goes along


def drag(state: AppState, pane: Pane) -> None:
    """Move the plane that is held to where the pointer is."""
    slices, stage = state.slices, state.stage
    held = slices.drag
    if held is None or held.sheet.machine not in stage.feeds:
        return
    along = _along(state, pane, held)
    shape = stage.feeds[held.sheet.machine].store.shape_voxels
    slicing = state.slicings.get(stage, held.sheet.machine)
    moved = moved_to(held.plane, held.plane.position + along, shape)
    if moved != slicing.plane(held.sheet.axis):
        state.slicings.set(stage, held.sheet.machine, slicing.with_plane(moved))
        stage.panes.forget_rest()


def show(state: AppState, ui: Ui, pane: Pane, *, hovered: bool) -> None:
    """Mark the plane that is held, or that a press would take hold of, and say so."""
    slices = state.slices
    held = slices.drag
    if held is None:
        mine = slices.edge is not None and slices.edge_pane is pane
        free = hovered and not imgui.is_any_item_active() and not imgui.is_popup_open("", imgui.PopupFlags_.any_popup)
        found = _under_pointer(state, pane) if free and not imgui.get_io().key_alt else None
        if found is not None:
            slices.edge, slices.edge_pane = found[0], pane
        elif mine:
            slices.edge = slices.edge_pane = None
    sheet = held.sheet if held is not None else slices.edge if slices.edge_pane is pane else None
    if held is not None and held.pane is not pane:
        sheet = None
    if sheet is None or sheet.machine not in state.stage.feeds:
        pane.view.emphasise_plane(None, None)
        return
    pane.view.emphasise_plane(sheet.machine, sheet.axis)
    imgui.set_mouse_cursor(imgui.MouseCursor_.hand)
    _say(state, ui, sheet, held=held is not None)


def _say(state: AppState, ui: Ui, sheet: SheetRef, *, held: bool) -> None:
    theme, mouse = ui.theme, imgui.get_io().mouse_pos
    plane = state.slicings.get(state.stage, sheet.machine).plane(sheet.axis)
    imgui.set_next_window_pos(imgui.ImVec2(mouse.x + theme.px(4), mouse.y + theme.px(4)))
    with ui.style(window_padding=(theme.px(2.5), theme.px(1.75)), item_spacing=(theme.px(2), theme.px(0.5))):
        if imgui.begin_tooltip():
            with ui.mono():
                ui.text(_where(plane), theme.accent)
            if not held:
                with ui.small():
                    ui.dim(f"Drag the {PLANE_TITLES[sheet.axis]} plane")
            imgui.end_tooltip()


def _where(plane: Plane) -> str:
    if plane.axis == "oblique":
        return f"offset {plane.position:+,.1f}"
    return f"{plane.axis} = {plane.position:,.0f}"


def no_planes(state: AppState, ui: Ui, pane: Pane) -> None:
    """Where only planes are drawn and none is shown, say so and offer them."""
    stage = state.stage
    if pane.view.look.mode != "slice" or not stage.feeds:
        return
    if any(state.slicings.get(stage, machine).shown for machine in stage.feeds):
        return
    theme = ui.theme
    x, y, width, height = pane.rect
    box = imgui.ImVec2(min(theme.px(72), width), theme.px(30))
    imgui.set_cursor_screen_pos(
        imgui.ImVec2(round(x + (width - box.x) / 2), round(y + max(0.0, (height - box.y) * 0.46)))
    )
    with ui.style(child_border_size=0.0, item_spacing=(theme.px(2), theme.px(2))):
        imgui.begin_child(f"no planes {pane.name}", box, 0, imgui.WindowFlags_.no_scrollbar)
        ui.centred("No slice plane is shown", theme.text)
        ui.gap(2)
        button = min(theme.px(48), box.x)
        imgui.set_cursor_pos_x((box.x - button) / 2)
        if ui.button(f"{icons.ICON_FA_LAYER_GROUP}  Show three planes", kind="primary", width=button):
            ui.run("view.slice_three")
        imgui.end_child()


# ----- what is under the pointer


def _under_pointer(state: AppState, pane: Pane) -> tuple[SheetRef, Vector] | None:
    """The plane that a press would take, and where, in the world: the nearest edge; with Ctrl, the nearest plane."""
    ray = _ray(state, pane)
    anywhere = imgui.get_io().key_ctrl
    reach = EDGE_REACH_PX * state.stage.screen.pixel_ratio
    best: tuple[float, SheetRef, Vector] | None = None
    for machine, feed in state.stage.feeds.items():
        shape = feed.store.shape_voxels
        origin = np.array(pane.view.volume_box(machine)[0])
        cut = pane.view.cut(machine)
        for plane in cut.planes:
            if anywhere:
                found = _meets(plane, shape, cut.clip, origin, ray)
            else:
                found = _near_edge(outline(plane, shape, cut.clip) + origin, ray, pane, _pixel(state, pane), reach)
            if found is not None and (best is None or found[0] < best[0]):
                best = found[0], SheetRef(machine, plane.axis), found[1]
    return None if best is None else (best[1], best[2])


def _meets(
    plane: Plane, shape: tuple[int, int, int], clip: Box | None, origin: Vector, ray: _Ray
) -> tuple[float, Vector] | None:
    """The depth at which a ray meets what is shown of a plane, and where in the world."""
    frame = frame_of(plane, shape)
    along = float(frame.normal @ ray.direction)
    if abs(along) < 1e-6:
        return None
    depth = float(frame.normal @ (frame.origin + origin - ray.start)) / along
    point = ray.start + ray.direction * depth
    low, high = clip or ((0.0, 0.0, 0.0), shape)
    inside = point - origin
    if depth <= _NEAREST or (inside < np.subtract(low, 0.01)).any() or (inside > np.add(high, 0.01)).any():
        return None
    return depth, point


def _near_edge(
    corners: Vector, ray: _Ray, pane: Pane, pixel: tuple[float, float], reach: float
) -> tuple[float, Vector] | None:
    """How far the pointer is from the nearest edge on the screen, in pixels, and where on it, in the world."""
    best: tuple[float, Vector] | None = None
    for a, b in pairwise([*corners, *corners[:1]]):
        on_screen = [pane.view.projection.pixel_of(point) for point in (a, b)]
        if on_screen[0] is None or on_screen[1] is None:
            continue
        distance = _distance(pixel, on_screen[0], on_screen[1])
        if distance <= reach and (best is None or distance < best[0]):
            length = float(np.linalg.norm(b - a))
            if length > 0:
                share = along_line(a, (b - a) / length, ray.start, ray.direction)
                best = distance, a + (b - a) / length * max(0.0, min(length, share or 0.0))
    return best


def _distance(point: tuple[float, float], a: tuple[float, float], b: tuple[float, float]) -> float:
    along = (b[0] - a[0], b[1] - a[1])
    length2 = along[0] ** 2 + along[1] ** 2
    share = 0.0 if length2 == 0 else ((point[0] - a[0]) * along[0] + (point[1] - a[1]) * along[1]) / length2
    share = max(0.0, min(1.0, share))
    return math.hypot(point[0] - a[0] - share * along[0], point[1] - a[1] - share * along[1])


def along_line(through: Vector, direction: Vector, start: Vector, ray: Vector) -> float | None:
    """Where on a line (unit direction) it comes nearest to a ray; None where they are as good as parallel."""
    ray = ray / np.linalg.norm(ray)
    cosine = float(direction @ ray)
    sine2 = 1.0 - cosine * cosine
    if sine2 < HEAD_ON:
        return None
    between = start - through
    return float((direction @ between - cosine * (ray @ between)) / sine2)


def _along(state: AppState, pane: Pane, held: SheetDrag) -> float:
    """How far along its normal the pointer has come since the plane was taken, in voxels."""
    ray = _ray(state, pane)
    along = along_line(held.grabbed, held.plane.normal, ray.start, ray.direction)
    if along is not None:
        return along
    basis = pane.view.camera.basis
    depth = max(_NEAREST, float((held.grabbed - basis.position) @ basis.forward))
    up_px = -imgui.get_mouse_drag_delta(LEFT, 0.0).y
    return up_px * 2 * pane.view.camera.half_extent()[1] * depth / max(1.0, pane.rect[3])


def _ray(state: AppState, pane: Pane) -> _Ray:
    return _Ray(*pane.view.projection.ray(*_pixel(state, pane)))


def _pixel(state: AppState, pane: Pane) -> tuple[float, float]:
    mouse, ratio = imgui.get_io().mouse_pos, state.stage.screen.pixel_ratio
    return (mouse.x - pane.rect[0]) * ratio, (mouse.y - pane.rect[1]) * ratio
