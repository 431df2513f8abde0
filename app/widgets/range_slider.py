"""Range slider: two thumbs on a line, for the part of a whole that is kept; the part between them moves as one."""

from __future__ import annotations

from dataclasses import dataclass

from imgui_bundle import imgui

from app.theme import Rgba, Theme, u32

LOW, BOTH, HIGH = "low", "both", "high"


@dataclass(slots=True)
class _Held:
    """What of the slider that is pressed moves, and from where."""

    what: str = ""
    start: tuple[int, int] = (0, 0)
    pressed_x: float = 0.0


_held = _Held()  # ImGui holds one item at a time


def range_slider(
    label: str, span: tuple[int, int], whole: int, width: float, theme: Theme, colour: Rgba, *, enabled: bool = True
) -> tuple[int, int]:
    """Draw the slider and return the span, low and high (0 to `whole`, never empty), as it is now.

    A double click takes the whole.
    """
    height = theme.px(6)
    at = imgui.get_cursor_screen_pos()
    imgui.invisible_button(label, imgui.ImVec2(max(width, 1.0), height))
    radius = theme.px(1.75)
    left, room = at.x + radius, max(1.0, width - 2 * radius)
    low, high = span
    if enabled:
        low, high = _follow(span, whole, left, room, radius)
    active, hovered = imgui.is_item_active() and enabled, imgui.is_item_hovered() and enabled
    _draw(at, width, height, (left + room * low / whole, left + room * high / whole), radius, theme, colour,
          enabled=enabled, bright=active or hovered)  # fmt: skip
    return low, high


def moved_span(what: str, start: tuple[int, int], by: int, whole: int) -> tuple[int, int]:
    """Where a span comes to lie when one of its ends, or all of it, is moved."""
    low, high = start
    if what == LOW:
        return max(0, min(high - 1, low + by)), high
    if what == HIGH:
        return low, max(low + 1, min(whole, high + by))
    by = max(-low, min(whole - high, by))
    return low + by, high + by


def _follow(span: tuple[int, int], whole: int, left: float, room: float, radius: float) -> tuple[int, int]:
    x = imgui.get_io().mouse_pos.x
    if imgui.is_item_activated():
        ends = left + room * span[0] / whole, left + room * span[1] / whole
        _held.what = _taken(x, ends, radius)
        _held.start, _held.pressed_x = span, x
        if _held.what != BOTH and not any(abs(x - end) <= 2 * radius for end in ends):
            _held.pressed_x = ends[_held.what == HIGH]  # pressed on the bare line: the nearer end comes
    if imgui.is_item_hovered() and imgui.is_mouse_double_clicked(imgui.MouseButton_.left):
        _held.what = ""
        return 0, whole
    if imgui.is_item_active() and _held.what:
        return moved_span(_held.what, _held.start, round((x - _held.pressed_x) / room * whole), whole)
    return span


def _taken(x: float, ends: tuple[float, float], radius: float) -> str:
    if ends[0] + 2 * radius < x < ends[1] - 2 * radius:
        return BOTH
    return LOW if abs(x - ends[0]) < abs(x - ends[1]) or x < ends[0] else HIGH


def _draw(
    at: imgui.ImVec2,
    width: float,
    height: float,
    ends: tuple[float, float],
    radius: float,
    theme: Theme,
    colour: Rgba,
    *,
    enabled: bool,
    bright: bool,
) -> None:
    draw = imgui.get_window_draw_list()
    middle, thick = round(at.y + height / 2), theme.px(1)
    top, bottom = middle - thick / 2, middle + thick / 2
    draw.add_rect_filled(imgui.ImVec2(at.x, top), imgui.ImVec2(at.x + width, bottom), u32(theme.border_strong), thick)
    ink = colour if enabled else theme.text_faint
    draw.add_rect_filled(imgui.ImVec2(ends[0], top), imgui.ImVec2(ends[1], bottom), u32(ink.alpha(0.8)), thick)
    for end in ends:
        place = imgui.ImVec2(end, middle)
        if bright:
            draw.add_circle_filled(place, radius + theme.px(0.75), u32(ink.alpha(0.25)))
        draw.add_circle_filled(place, radius, u32(ink))
        draw.add_circle_filled(place, radius - theme.px(0.5), u32(theme.surface))
