"""How bytes are shown, in the top bar: the modes, the channel, the palette, and a popup with what is finer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app.action_sets.look import MODE_HELP, MODE_ICONS, OWN, PYRAMID_HELP, PYRAMID_TITLES
from app.kernel_channels import CHANNEL_PALETTES
from app.settings import MAX_HALF_LIFE_S, MIN_HALF_LIFE_S, MIN_OPACITY
from app.theme import u32
from app.ui import fit_text
from app.widgets.gradient import draw_strip, strip_of
from render.channels import ChannelInfo, palette_of
from render.look import MODE_TITLES, MODES, PYRAMIDS, Look
from render.palettes import CATEGORICAL, PALETTES, SEQUENTIAL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.state import AppState
    from app.ui import Ui

ROOMY_UNITS = 400  # narrower windows have icons for the modes instead of their names
CHANNEL_UNITS = 26  # a longer name is cut
STRIP_UNITS = 16
HEIGHT_UNITS = 7
GAP_UNITS = 2


def width_of(state: AppState, ui: Ui, total: float) -> float:
    """How wide the controls are in a window of a width."""
    theme = ui.theme
    modes = sum(_segment_widths(ui, _mode_labels(ui, total)))
    strip = theme.px(STRIP_UNITS) + theme.px(8)
    return modes + _channel_width(state, ui) + strip + theme.px(7) + 3 * theme.px(GAP_UNITS)


def draw(state: AppState, ui: Ui, total: float) -> None:
    """Draw the controls from the cursor on."""
    gap = ui.theme.px(GAP_UNITS)
    _modes(state, ui, total)
    imgui.same_line(0, gap)
    _channel(state, ui)
    imgui.same_line(0, gap)
    _palette(state, ui)
    imgui.same_line(0, gap)
    _finer(state, ui)


# Segments


def _mode_labels(ui: Ui, total: float) -> list[str]:
    if total >= ui.theme.px(ROOMY_UNITS):
        return [MODE_TITLES[mode] for mode in MODES]
    return [MODE_ICONS[mode] for mode in MODES]


def _segment_widths(ui: Ui, labels: Sequence[str]) -> list[float]:
    return [max(imgui.calc_text_size(label).x + ui.theme.px(5), ui.theme.px(8)) for label in labels]


def segments(
    ui: Ui, name: str, labels: Sequence[str], chosen: int, tips: Sequence[tuple[str, str]], shortcut: str = ""
) -> int | None:
    """Draw a row of choices of which one is taken; returns the one that was clicked."""
    theme = ui.theme
    at, height = imgui.get_cursor_screen_pos(), theme.px(HEIGHT_UNITS)
    widths = _segment_widths(ui, labels)
    lower = imgui.ImVec2(at.x + sum(widths), at.y + height)
    imgui.get_window_draw_list().add_rect_filled(at, lower, u32(theme.raised), theme.px(1.5))
    clicked: int | None = None
    clear = theme.raised.alpha(0)
    for index, (label, width) in enumerate(zip(labels, widths, strict=True)):
        on = index == chosen
        with (
            ui.style(frame_padding=(0.0, 0.0), frame_rounding=theme.px(1.5), frame_border_size=0.0),
            ui.colours(
                button=theme.active if on else clear,
                button_hovered=theme.active if on else theme.hover,
                text=theme.text if on else theme.text_dim,
            ),
        ):
            if imgui.button(f"{label}##{name}{index}", imgui.ImVec2(width, height)):
                clicked = index
        ui.tooltip(tips[index][0], note=tips[index][1], shortcut=shortcut)
        if index + 1 < len(labels):
            imgui.same_line(0, 0)
    return clicked


def _modes(state: AppState, ui: Ui, total: float) -> None:
    mode = state.stage.view.look.mode
    tips = [(MODE_TITLES[one], MODE_HELP[one]) for one in MODES]
    clicked = segments(ui, "mode", _mode_labels(ui, total), MODES.index(mode), tips, "T")
    if clicked is not None:
        ui.run("view.mode", mode=MODES[clicked])


# Menus


def _menu_button(ui: Ui, name: str, width: float) -> tuple[bool, imgui.ImVec2]:
    """Draw the ground of a button that opens a menu, and its chevron; returns whether it was clicked, and where."""
    theme = ui.theme
    at, height = imgui.get_cursor_screen_pos(), theme.px(HEIGHT_UNITS)
    with (
        ui.style(frame_padding=(0.0, 0.0), frame_rounding=theme.px(1.5), frame_border_size=0.0),
        ui.colours(button=theme.raised, button_hovered=theme.hover, button_active=theme.active),
    ):
        clicked = imgui.button(f"##{name}", imgui.ImVec2(width, height))
    with ui.font(None, theme.small_size * 0.62):
        size = imgui.calc_text_size(icons.ICON_FA_CHEVRON_DOWN)
        corner = imgui.ImVec2(at.x + width - size.x - theme.px(2), at.y + round((height - size.y) / 2))
        imgui.get_window_draw_list().add_text(corner, u32(theme.text_faint), icons.ICON_FA_CHEVRON_DOWN)
    return clicked, at


def _open_below(name: str, at: imgui.ImVec2, ui: Ui) -> None:
    imgui.open_popup(name)
    imgui.set_next_window_pos(imgui.ImVec2(at.x, at.y + ui.theme.px(HEIGHT_UNITS + 3)))


def _channel_width(state: AppState, ui: Ui) -> float:
    view = state.stage.view
    widest = max(imgui.calc_text_size(view.channel_info(name).title).x for name in view.channels())
    return min(ui.theme.px(CHANNEL_UNITS), round(widest)) + ui.theme.px(9)


def _channel(state: AppState, ui: Ui) -> None:
    theme, view = ui.theme, state.stage.view
    width = _channel_width(state, ui)
    info = view.channel_info(view.look.channel)
    clicked, at = _menu_button(ui, "channel", width)
    text = fit_text(info.title, width - theme.px(8.5))
    middle = at.y + round((theme.px(HEIGHT_UNITS) - imgui.get_text_line_height()) / 2)
    imgui.get_window_draw_list().add_text(imgui.ImVec2(at.x + theme.px(2.5), middle), u32(theme.text), text)
    ui.tooltip(f"Looking at: {info.title}", note="What of a byte or its page becomes colour", shortcut="C")
    if clicked:
        _open_below("channels", at, ui)
    with ui.style(window_padding=(theme.px(1.5), theme.px(1.5)), item_spacing=(0.0, 0.0)):
        if imgui.begin_popup("channels"):
            names = view.channels()
            width = max(imgui.calc_text_size(f"{view.channel_info(name).title}").x for name in names)
            width = min(width, theme.px(60)) + theme.px(STRIP_UNITS + 28)
            for name in names:
                one = view.channel_info(name)
                chosen = name == view.look.channel
                palette = state.settings.palettes.get(name, "")
                if _row(
                    ui, name, one.title, palette_of(Look(channel=name, palette=palette), one), width, chosen, _unit(one)
                ):
                    ui.run("view.channel", channel=name)
            imgui.end_popup()


def _unit(info: ChannelInfo) -> str:
    return info.unit or ("kinds" if info.kind == "categorical" else "")


def _palette(state: AppState, ui: Ui) -> None:
    theme, view = ui.theme, state.stage.view
    info = view.channel_info(view.look.channel)
    shown = palette_of(view.look, info)
    clicked, at = _menu_button(ui, "palette", theme.px(STRIP_UNITS) + theme.px(8))
    _strip(ui, shown, at.x + theme.px(2), at.y, theme.px(HEIGHT_UNITS))
    ui.tooltip(f"Palette: {shown}", note=f"The colours of {info.title.lower()}")
    if clicked:
        ui.run("view.refresh_palettes")
        _open_below("palettes", at, ui)
    with ui.style(window_padding=(theme.px(1.5), theme.px(1.5)), item_spacing=(0.0, 0.0)):
        if imgui.begin_popup("palettes"):
            own = palette_of(Look(channel=view.look.channel), info)
            width = theme.px(STRIP_UNITS + 44)
            if _row(ui, OWN, "The channel's own", own, width, not view.look.palette):
                ui.run("view.palette", palette=OWN)
            for name in CHANNEL_PALETTES.get(view.look.channel, ()):
                if _row(ui, name, name.capitalize(), name, width, name == view.look.palette):
                    ui.run("view.palette", palette=name)
            yours = [name for name in state.stage.palettes if name not in PALETTES]
            groups = (
                ("Even steps", [name for name in SEQUENTIAL if name != "content"]),
                ("Categories", [*(("content",) if view.look.channel == "content" else ()), *CATEGORICAL]),
                ("Yours", yours),
            )
            for title, names in groups:
                if names:
                    _heading(ui, title)
                for name in names:
                    label = name if name in yours else name.capitalize()
                    if _row(ui, name, label, name, width, name == view.look.palette):
                        ui.run("view.palette", palette=name)
            imgui.end_popup()


def _heading(ui: Ui, text: str) -> None:
    theme = ui.theme
    imgui.dummy(imgui.ImVec2(0, theme.px(1.5)))
    imgui.set_cursor_pos_x(imgui.get_cursor_pos_x() + theme.px(2))
    with ui.small():
        ui.faint(text)
    imgui.dummy(imgui.ImVec2(0, theme.px(0.5)))


def _row(ui: Ui, id_: str, label: str, palette: str, width: float, chosen: bool, note: str = "") -> bool:
    """Draw a line of a menu: a palette's strip, a name, and a faint note; returns whether it was clicked."""
    theme = ui.theme
    height = theme.px(8)
    at = imgui.get_cursor_screen_pos()
    with ui.colours(header=theme.active, header_hovered=theme.hover), ui.style(frame_rounding=theme.px(1.5)):
        clicked, _ = imgui.selectable(f"##{id_}", chosen, 0, imgui.ImVec2(width, height))
    _strip(ui, palette, at.x + theme.px(2), at.y, height)
    draw_list = imgui.get_window_draw_list()
    middle = at.y + round((height - imgui.get_text_line_height()) / 2)
    left, right = at.x + theme.px(STRIP_UNITS + 5), at.x + width - theme.px(2)
    if note:
        with ui.small():
            size = imgui.calc_text_size(note)
            right -= size.x
            lower = at.y + round((height - size.y) / 2)
            draw_list.add_text(imgui.ImVec2(right, lower), u32(theme.text_faint), note)
        right -= theme.px(3)
    text = fit_text(label, right - left)
    draw_list.add_text(imgui.ImVec2(left, middle), u32(theme.text), text)
    if text != label:
        ui.tooltip(label)
    return bool(clicked)


def _strip(ui: Ui, palette: str, left: float, top: float, height: float) -> None:
    theme = ui.theme
    colours, blocks = strip_of(palette)
    thick = theme.px(3)
    at = left, top + round((height - thick) / 2)
    size = theme.px(STRIP_UNITS), thick
    draw_strip(imgui.get_window_draw_list(), at, size, colours, blocks=blocks)


# What is finer


def _finer(state: AppState, ui: Ui) -> None:
    theme = ui.theme
    at = imgui.get_cursor_screen_pos()
    if ui.icon_button(icons.ICON_FA_SLIDERS, "Opacity, detail, heat and transfer function", id_="finer"):
        _open_below("finer", at, ui)
    with ui.style(window_padding=(theme.px(4), theme.px(3.5)), item_spacing=(theme.px(2), theme.px(2))):
        if imgui.begin_popup("finer"):
            _sliders(state, ui)
            imgui.end_popup()


def _sliders(state: AppState, ui: Ui) -> None:
    theme, look = ui.theme, state.stage.view.look
    label, width = theme.px(25), theme.px(52)
    with ui.style(grab_min_size=theme.px(2.5), frame_border_size=0.0):
        reason = state.actions.get("view.opacity").why_not()
        ui.row("Opacity", label)
        with ui.disabled(reason is not None):
            percent = _slider("##opacity", look.opacity * 100, MIN_OPACITY * 100, 100.0, "%.1f %%", width)
        ui.tooltip("How much one voxel hides of what is behind it", note=reason or "")
        if imgui.is_item_activated():
            state.remember()
        if percent is not None:
            ui.run("view.opacity", opacity=percent / 100, remember=False)
        ui.row("Heat halves in", label)
        seconds = _slider("##half-life", _dragged(state), MIN_HALF_LIFE_S, MAX_HALF_LIFE_S, "%.1f s", width)
        if seconds is not None:
            state.half_life_drag_s = seconds
        if imgui.is_item_deactivated_after_edit() and state.half_life_drag_s is not None:
            # Not before: a change recounts the heat of all pages, and a short half-life forgets what a long one knew.
            ui.run("view.half_life", seconds=state.half_life_drag_s)
        if not imgui.is_item_active():
            state.half_life_drag_s = None
        ui.tooltip("In how many seconds a page that is left alone cools to half", note="Seen in the channel Write heat")
    ui.row("Far bytes show", label)
    tips = [(PYRAMID_TITLES[one], PYRAMID_HELP[one]) for one in PYRAMIDS]
    labels = [PYRAMID_TITLES[one] for one in PYRAMIDS]
    clicked = segments(ui, "pyramid", labels, PYRAMIDS.index(look.pyramid), tips)
    if clicked is not None:
        ui.run("view.pyramid", pyramid=PYRAMIDS[clicked])
    with ui.style(grab_min_size=theme.px(2.5), frame_border_size=0.0):
        ui.row("The rest dims", label)
        imgui.set_next_item_width(width)
        changed, dim = imgui.slider_float(
            "##dim", look.dim * 100, 0.0, 100.0, "%.0f %%", imgui.SliderFlags_.always_clamp
        )
        ui.tooltip("How far other pages give way while some are lit up")
        if imgui.is_item_activated():
            state.remember()
        if changed:
            ui.run("view.dim", dim=dim / 100, remember=False)
    ui.row("Transfer", label)
    name = state.presets.name_of(look.transfer) or "Your own"
    imgui.set_next_item_width(width)
    if imgui.begin_combo("##transfer", fit_text(name, width - theme.px(10))):
        for one in state.presets.names():
            if imgui.selectable(one, one == name)[0]:
                ui.run("view.transfer", name=one)
        imgui.end_combo()
    ui.tooltip("How opaque each value is")
    hidden = len(look.hidden_kinds)
    ui.row("Hidden", label)
    ui.text(
        "nothing" if not hidden else "1 kind" if hidden == 1 else f"{hidden} kinds",
        theme.text if hidden else theme.text_faint,
    )
    if hidden:
        imgui.same_line(0, theme.px(3))
        if ui.button("Show all", small=True):
            ui.run("view.show_all_kinds")
    imgui.separator()
    if ui.action_button(
        "window.toggle_transfer", label="Edit the transfer function", kind="quiet", width=label + width
    ):
        imgui.close_current_popup()


def _dragged(state: AppState) -> float:
    return state.settings.half_life_s if state.half_life_drag_s is None else state.half_life_drag_s


def _slider(label: str, value: float, low: float, high: float, form: str, width: float) -> float | None:
    """Draw a logarithmic slider; returns the new value where it changed."""
    imgui.set_next_item_width(width)
    flags = imgui.SliderFlags_.logarithmic | imgui.SliderFlags_.always_clamp
    changed, now = imgui.slider_float(label, value, low, high, form, flags)
    return float(now) if changed else None
