"""Slices panel: where the planes stand, the flat picture of one of them, and the clip box."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app.layout import SLICES
from app.panels import flat_picture
from app.slicing import PLANE_TITLES, Slicing
from app.theme import Rgba, rgb, u32
from app.widgets.range_slider import range_slider
from render.backdrop import BACKGROUNDS
from render.cut import AXES, Axis, Plane, plane_range
from render.planes import Shape, moved_to

if TYPE_CHECKING:
    from app.state import AppState
    from app.ui import Ui

ORDER: tuple[Axis, ...] = ("z", "y", "x", "oblique")
"""As people name them: XY, XZ, YZ, oblique."""
LABEL_UNITS = 19
SMALLEST_PICTURE_UNITS = 30


def draw(state: AppState, ui: Ui) -> None:
    """Draw the panel."""
    state.slices.has_keys = state.slices.animating = False
    _dock_at_first(state)
    whole = imgui.WindowFlags_.no_scroll_with_mouse | imgui.WindowFlags_.no_scrollbar
    with ui.panel(SLICES, flags=0 if state.slices.cramped else whole) as visible:
        if not visible:
            return
        machine = state.current
        if machine is None or machine not in state.stage.feeds:
            _empty(ui, "No memory to slice" if machine is None else f"The memory of {machine} is not shown")
            return
        state.slices.has_keys = imgui.is_window_focused(imgui.FocusedFlags_.root_and_child_windows)
        shape = state.stage.feeds[machine].store.shape_voxels
        slicing = state.slicings.get(state.stage, machine)
        _planes(state, ui, slicing)
        ui.gap(2)
        _position(state, ui, machine, slicing, shape)
        ui.gap(2)
        below = _clip_height(ui, slicing)
        # Not what ImGui says is available: where it scrolls, that is as much as was drawn in the last frame.
        left = imgui.get_window_height() - imgui.get_cursor_pos_y() - ui.theme.px(3)
        height = max(ui.theme.px(SMALLEST_PICTURE_UNITS), left - below - ui.theme.px(2))
        state.slices.cramped = height > left - below - ui.theme.px(2)
        flat_picture.draw(state, ui, machine, (imgui.get_content_region_avail().x, height))
        ui.gap(2)
        _clip(state, ui, machine, slicing, shape)
        _forget_hold(state)


def _dock_at_first(state: AppState) -> None:
    """A layout that was saved before there was this panel has no place for it: it comes beside the volume."""
    known = imgui.internal.find_window_by_name(SLICES) is not None
    if not known and imgui.internal.find_window_settings_by_id(imgui.internal.im_hash_str(SLICES)) is None:
        state.to_dock.append((SLICES, state.stage.active.name, False))


def plane_colour(ui: Ui, axis: Axis) -> Rgba:
    """The colour of a plane's edges, in the volume and here."""
    return rgb(int(BACKGROUNDS[ui.theme.name].planes[AXES.index(axis)][1:], 16))


def _empty(ui: Ui, text: str) -> None:
    imgui.dummy(imgui.ImVec2(0, max(0.0, imgui.get_content_region_avail().y * 0.3)))
    with ui.font(None, ui.theme.title_size * 1.3):
        ui.centred(icons.ICON_FA_LAYER_GROUP, ui.theme.text_faint)
    ui.gap(2)
    ui.centred(text, ui.theme.text_dim)
    with ui.small():
        ui.centred("Slice planes show every byte of a running machine", ui.theme.text_faint)


# ----- which plane


def _planes(state: AppState, ui: Ui, slicing: Slicing) -> None:
    """A segment a plane, with its colour and whether the volume shows it; and the switch for the chosen one."""
    theme = ui.theme
    at = imgui.get_cursor_screen_pos()
    height, eye = theme.px(7), theme.px(7)
    width = imgui.get_content_region_avail().x - eye - theme.px(2)
    draw_list = imgui.get_window_draw_list()
    draw_list.add_rect_filled(at, imgui.ImVec2(at.x + width, at.y + height), u32(theme.raised), theme.px(1.5))
    clear = theme.raised.alpha(0)
    segment = width / len(ORDER)
    for index, axis in enumerate(ORDER):
        chosen = state.slices.axis == axis
        corner = imgui.ImVec2(at.x + round(index * segment), at.y)
        size = imgui.ImVec2(round((index + 1) * segment) - round(index * segment), height)
        imgui.set_cursor_screen_pos(corner)
        with (
            ui.style(frame_padding=(0.0, 0.0), frame_rounding=theme.px(1.5), frame_border_size=0.0),
            ui.colours(
                button=theme.active if chosen else clear,
                button_hovered=theme.active if chosen else theme.hover,
                text=theme.text if chosen else theme.text_dim,
            ),
        ):
            if imgui.button(f"{PLANE_TITLES[axis]}##plane {axis}", size):
                ui.run("view.slice_flat", axis=axis)
        shown = axis in slicing.shown
        moves = "turns as you like" if axis == "oblique" else f"moves along {axis}"
        ui.tooltip(
            f"The {PLANE_TITLES[axis]} plane {moves}",
            note="Shown in the volume" if shown else "Not shown in the volume",
        )
        if shown:
            colour, inset = plane_colour(ui, axis), min(theme.px(4), size.x / 4)
            line = corner.y + height - theme.px(0.5)
            draw_list.add_line(
                imgui.ImVec2(corner.x + inset, line), imgui.ImVec2(corner.x + size.x - inset, line), u32(colour), 2.0
            )
    axis = state.slices.axis
    imgui.set_cursor_screen_pos(imgui.ImVec2(at.x + width + theme.px(2), at.y))
    shown = axis in slicing.shown
    if ui.icon_button(
        icons.ICON_FA_EYE if shown else icons.ICON_FA_EYE_SLASH,
        f"{'Hide' if shown else 'Show'} the {PLANE_TITLES[axis]} plane in the volume",
        id_="show plane",
        colour=plane_colour(ui, axis) if shown else None,
        note="In the volume it is dragged by its edge, or anywhere with Ctrl",
    ):
        ui.run("view.slice_toggle", axis=axis)


# ----- where it stands


def _position(state: AppState, ui: Ui, machine: str, slicing: Slicing, shape: Shape) -> None:
    axis = state.slices.axis
    plane = slicing.plane(axis)
    low, high = plane_range(plane, shape)

    def put(changed: Plane) -> None:
        moved = moved_to(changed, changed.position, shape)
        _change(state, machine, slicing.with_plane(moved, shown=False))

    if axis != "oblique":
        side = int(high)
        label = f"%d of {side:,}"
        _slider(
            ui, axis, f"##position {axis}", plane.position, (0, side - 1), label,
            lambda value: put(Plane(axis, value)), state, "Voxels from the volume's low corner",
        )  # fmt: skip
        return
    _slider(
        ui, "Offset", "##position", plane.position, (low, high), "%.1f voxels",
        lambda value: put(Plane(axis, value, plane.azimuth_degrees, plane.elevation_degrees)),
        state, "Along the normal, from the volume's middle",
    )  # fmt: skip
    _slider(
        ui, "Azimuth", "##azimuth", plane.azimuth_degrees, (-180.0, 180.0), "%.1f°",
        lambda value: put(Plane(axis, plane.position, value, plane.elevation_degrees)),
        state, "Around z: 0° looks along x, 90° along y",
    )  # fmt: skip
    _slider(
        ui, "Elevation", "##elevation", plane.elevation_degrees, (-90.0, 90.0), "%.1f°",
        lambda value: put(Plane(axis, plane.position, plane.azimuth_degrees, value)),
        state, "90° lies flat, as XY does",
    )  # fmt: skip


def _slider(
    ui: Ui,
    label: str,
    id_: str,
    value: float,
    span: tuple[float, float],
    shown: str,
    put: Callable[[float], None],
    state: AppState,
    tip: str,
) -> None:
    theme = ui.theme
    ui.row(label, theme.px(LABEL_UNITS) if len(label) > 1 else theme.px(6))
    narrow = theme.px(9) if len(label) == 1 else 0.0  # room for the button behind
    imgui.set_next_item_width(imgui.get_content_region_avail().x - narrow)
    flags = imgui.SliderFlags_.always_clamp
    grab = theme.accent.alpha(0.35)
    with (
        ui.style(grab_rounding=theme.px(1), frame_rounding=theme.px(1), frame_border_size=1.0),
        ui.colours(slider_grab=grab, slider_grab_active=theme.accent.alpha(0.6)),
    ):
        new: float
        if isinstance(span[0], int):
            changed, new = imgui.slider_int(id_, round(value), int(span[0]), int(span[1]), shown, flags)
        else:
            changed, new = imgui.slider_float(id_, value, span[0], span[1], shown, flags)
    _hold(state)
    ui.tooltip(tip, note="Ctrl+click types a number. Arrow keys step a voxel, Page up and Page down a page.")
    if changed:
        put(float(new))
    if narrow:
        imgui.same_line(0, theme.px(2))
        here = state.actions.get("view.slice_here")
        reason = here.why_not()
        if ui.icon_button(
            icons.ICON_FA_CROSSHAIRS,
            "Move to the selected byte",
            id_="slice here",
            enabled=reason is None,
            note=reason or "All three planes at once",
            shortcut="Shift+X",
        ):
            ui.run("view.slice_here", axis=state.slices.axis)


def _change(state: AppState, machine: str, slicing: Slicing) -> None:
    state.slicings.set(state.stage, machine, slicing)
    state.stage.panes.forget_rest()


def _hold(state: AppState) -> None:
    """A slider that is held makes one step of undo, however often it changes."""
    if imgui.is_item_activated():
        state.slices.before = state.look()
    if imgui.is_item_deactivated() and state.slices.before is not None:
        if state.slices.before != state.look():
            state.history.record(state.slices.before)
        state.slices.before = None


def _forget_hold(state: AppState) -> None:
    if not imgui.is_any_item_active():
        state.slices.before = None


# ----- the clip box


def _clip_height(ui: Ui, slicing: Slicing) -> float:
    theme = ui.theme
    return theme.px(7) + (3 * (theme.px(6) + theme.px(1)) + theme.px(2) if slicing.clipping else 0.0)


def _clip(state: AppState, ui: Ui, machine: str, slicing: Slicing, shape: Shape) -> None:
    theme = ui.theme
    draw_list = imgui.get_window_draw_list()
    at = imgui.get_cursor_screen_pos()
    width = imgui.get_content_region_avail().x
    above = at.y - theme.px(1)
    draw_list.add_line(imgui.ImVec2(at.x, above), imgui.ImVec2(at.x + width, above), u32(theme.border))
    if ui.icon_button(
        icons.ICON_FA_CROP_SIMPLE,
        "Show the whole volume" if slicing.clipping else "Show only what lies in the clip box",
        id_="clipping",
        colour=theme.accent if slicing.clipping else None,
    ):
        ui.run("view.clip_toggle")
    imgui.same_line(0, theme.px(1))
    imgui.align_text_to_frame_padding()
    imgui.set_cursor_pos_y(imgui.get_cursor_pos_y() + theme.px(0.5))
    if slicing.clipping:
        kept = [int(b - a) for a, b in zip(*slicing.clip, strict=True)]
        ui.elided(" x ".join(f"{side:,}" for side in kept), width - theme.px(8 + 3 * 8), theme.text)
    else:
        ui.dim("Clip box")
    imgui.same_line()
    imgui.set_cursor_screen_pos(imgui.ImVec2(at.x + width - 3 * theme.px(7) - 2 * theme.px(1), at.y))
    with ui.style(item_spacing=(theme.px(1), theme.px(1))):
        for action, icon in (
            ("view.clip_page", icons.ICON_FA_CUBE),
            ("view.clip_around", icons.ICON_FA_CUBES),
            ("view.clip_off", icons.ICON_FA_EXPAND),
        ):
            ui.action_icon(action, {}, icon=icon)
            imgui.same_line()
    imgui.new_line()
    if not slicing.clipping:
        return
    low, high = list(slicing.clip[0]), list(slicing.clip[1])
    numbers = theme.px(22)
    imgui.set_cursor_screen_pos(imgui.ImVec2(at.x, at.y + theme.px(7) + theme.px(2)))
    for index, axis in enumerate(AXES[:3]):
        line = imgui.get_cursor_screen_pos()
        text_y = line.y + (theme.px(6) - imgui.get_text_line_height()) / 2
        draw_list.add_text(imgui.ImVec2(line.x + theme.px(1), text_y), u32(plane_colour(ui, axis)), axis)
        imgui.set_cursor_screen_pos(imgui.ImVec2(line.x + theme.px(6), line.y))
        span = int(low[index]), int(high[index])
        track = width - theme.px(6) - numbers - theme.px(2)
        new = range_slider(f"##clip {axis}", span, shape[index], track, theme, plane_colour(ui, axis))
        _hold(state)
        ui.tooltip(f"Which voxels along {axis} are shown", note="Drag an end, or what is between. Double-click: all.")
        text = f"{span[0]:,} to {span[1]:,}"
        with ui.small():
            extent = imgui.calc_text_size(text)
            draw_list.add_text(
                imgui.ImVec2(line.x + width - extent.x, line.y + (theme.px(6) - extent.y) / 2),
                u32(theme.text_dim),
                text,
            )
        imgui.set_cursor_screen_pos(imgui.ImVec2(line.x, line.y + theme.px(7)))
        if new != span:
            low[index], high[index] = float(new[0]), float(new[1])
            _change(state, machine, slicing.with_clip(((low[0], low[1], low[2]), (high[0], high[1], high[2]))))
    imgui.dummy(imgui.ImVec2(0, 0))
