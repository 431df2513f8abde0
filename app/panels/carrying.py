"""Carrying: Alt and a drag take hold of a volume and move it over the floor, from place to place of the grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgui_bundle import imgui

if TYPE_CHECKING:
    from app.pane import Pane
    from app.state import AppState

Point = tuple[float, float, float]
LEFT = 0
MIN_SLOPE = 0.02
"""A ray that is flatter than this meets the floor too far away to be of use."""


def take_hold(state: AppState, pane: Pane) -> None:
    """Begin to carry the volume under the pointer, if this press means that."""
    gesture = state.gesture
    gesture.carried = None
    if not (imgui.get_io().key_alt and imgui.get_io().mouse_clicked[LEFT]):
        return
    machine = _under_pointer(state, pane)
    if machine is None:
        return
    origin = pane.view.volume_box(machine)[0]
    point = _on_floor(state, pane, origin[2])
    if point is not None:
        gesture.carried, gesture.origin, gesture.grabbed = machine, origin, point


def carry(state: AppState, pane: Pane) -> None:
    """Move the carried volume after the pointer; where there is no room for it, it stays where there was."""
    gesture = state.gesture
    if gesture.carried is None or gesture.carried not in state.stage.feeds:
        return
    point = _on_floor(state, pane, gesture.origin[2])
    if point is not None:
        moved = [o + p - g for o, p, g in zip(gesture.origin, point, gesture.grabbed, strict=True)]
        state.stage.places.move(gesture.carried, moved)


def show(state: AppState, pane: Pane, *, hovered: bool) -> None:
    """Mark the volume that is carried, or that Alt and a press would take hold of."""
    carried = state.gesture.carried
    if carried is None and hovered and imgui.get_io().key_alt and not imgui.is_any_item_active():
        carried = _under_pointer(state, pane)
    if carried is not None and (hovered or state.gesture.carried is not None):
        imgui.set_mouse_cursor(imgui.MouseCursor_.hand.value)
    pane.view.emphasise(carried)


def _under_pointer(state: AppState, pane: Pane) -> str | None:
    x, y = _pixel(state, pane)
    return pane.view.volume_at(x, y)


def _on_floor(state: AppState, pane: Pane, height: float) -> Point | None:
    """Where the ray under the pointer meets the plane z = `height`; None where it does not, or too far away."""
    position, direction = pane.view.projection.ray(*_pixel(state, pane))
    if abs(direction[2]) < MIN_SLOPE:
        return None
    along = (height - position[2]) / direction[2]
    if along <= 0:
        return None
    x, y, _ = position + direction * along
    return float(x), float(y), height


def _pixel(state: AppState, pane: Pane) -> tuple[float, float]:
    mouse, ratio = imgui.get_io().mouse_pos, state.stage.screen.pixel_ratio
    return (mouse.x - pane.rect[0]) * ratio, (mouse.y - pane.rect[1]) * ratio
