"""Legend: what the colours of a view mean, on a card in its lower left corner, or a small button there."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app.theme import Rgba, u32
from app.ui import fit_text
from app.widgets.gradient import colours_of, draw_strip
from app.widgets.ticks import place_ticks
from render.channels import legend_of, palette_of
from render.content import KIND_TITLES

if TYPE_CHECKING:
    from app.pane import Pane
    from app.state import AppState
    from app.ui import Ui
    from render.channels import Legend, LegendEntry
    from render.view import VolumeView

CARD_UNITS = 44
SCALE_UNITS = 52
MARGIN_UNITS = 3
TITLE_UNITS = 6
PAD_UNITS = 2
ROW_UNITS = 5
MOST_ROWS = 12
LARGEST_WIDTH, LARGEST_HEIGHT = 0.4, 0.42  # of the picture: the memory is what matters
GUESS = "Guessed from the bytes alone, page by page"
_KIND_OF = {title: kind for kind, title in KIND_TITLES.items()}


def draw(state: AppState, ui: Ui, pane: Pane) -> tuple[float, float, float, float] | None:
    """Draw the legend over a view's picture, for within its panel, and return where it lies, in logical pixels."""
    if not pane.view.volumes:
        return None
    legend = legend_of_view(pane.view)
    width, height = _size(ui, pane, legend)
    room = width <= pane.rect[2] * LARGEST_WIDTH and height <= pane.rect[3] * LARGEST_HEIGHT
    if not (state.settings.show_legend and room):
        _small_button(state, ui, pane, legend, room=room)
        return None
    _card(state, ui, pane, legend, width, height)
    left, bottom = pane.rect[0] + ui.theme.px(MARGIN_UNITS), pane.rect[1] + pane.rect[3] - ui.theme.px(MARGIN_UNITS)
    return left, bottom - height, left + width, bottom


def legend_of_view(view: VolumeView) -> Legend:
    """What the colours mean. A palette that does not tell kinds apart shows the bytes, also in the channel of kinds."""
    look = view.look
    palette = palette_of(look, view.channel_info(look.channel))
    if look.channel == "content" and palette != "content":
        return legend_of(replace(look, channel="value", palette=palette), view.channel_info("value"))
    return view.legend()


def _size(ui: Ui, pane: Pane, legend: Legend) -> tuple[float, float]:
    theme = ui.theme
    rows = 0 if legend.gradient is not None else min(len(legend.entries), MOST_ROWS)
    rows += len(legend.entries) > MOST_ROWS
    inner = theme.px(TITLE_UNITS) + (rows * theme.px(ROW_UNITS) if rows else theme.px(7.5))
    if legend.gradient is not None and pane.view.look.hidden_kinds:
        inner += theme.px(ROW_UNITS)
    return theme.px(SCALE_UNITS if legend.gradient is not None else CARD_UNITS), inner + 2 * theme.px(PAD_UNITS)


def _card(state: AppState, ui: Ui, pane: Pane, legend: Legend, width: float, height: float) -> None:
    theme = ui.theme
    x, y, _, pane_height = pane.rect
    imgui.set_cursor_screen_pos(
        imgui.ImVec2(round(x + theme.px(MARGIN_UNITS)), round(y + pane_height - theme.px(MARGIN_UNITS) - height))
    )
    with (
        ui.colours(child_bg=theme.overlay.alpha(0.78), border=theme.border),
        ui.style(window_padding=(theme.px(PAD_UNITS + 0.5), theme.px(PAD_UNITS)), child_rounding=theme.px(2)),
    ):
        flags = imgui.WindowFlags_.no_scrollbar | imgui.WindowFlags_.no_scroll_with_mouse
        child = imgui.ChildFlags_.borders | imgui.ChildFlags_.always_use_window_padding
        imgui.begin_child("legend", imgui.ImVec2(width, height), child, flags)
    with ui.style(item_spacing=(theme.px(2), 0.0)):
        _head(ui, pane, legend)
        _body(state, ui, pane, legend)
    imgui.end_child()


def _small_button(state: AppState, ui: Ui, pane: Pane, legend: Legend, *, room: bool) -> None:
    """Draw what the card folds into. Where the picture is too small for the card, it opens as a menu."""
    theme = ui.theme
    x, y, _, height = pane.rect
    side = theme.px(7)
    if height < 2 * side:
        return
    imgui.set_cursor_screen_pos(
        imgui.ImVec2(round(x + theme.px(MARGIN_UNITS)), round(y + height - theme.px(MARGIN_UNITS) - side))
    )
    with ui.colours(child_bg=theme.overlay.alpha(0.7)), ui.style(window_padding=(0.0, 0.0), child_rounding=side / 4):
        imgui.begin_child("legend", imgui.ImVec2(side, side), 0, imgui.WindowFlags_.no_scrollbar)
    if ui.icon_button(icons.ICON_FA_LIST_UL, f"What the colours mean: {legend.title}", id_="legend", shortcut="K"):
        if room:
            ui.run("view.toggle_legend")
        else:
            imgui.open_popup("legend menu")
    with ui.style(window_padding=(theme.px(PAD_UNITS + 0.5), theme.px(PAD_UNITS)), item_spacing=(theme.px(2), 0.0)):
        if imgui.begin_popup("legend menu"):
            width, _ = _size(ui, pane, legend)
            _title(ui, legend, width - 2 * theme.px(PAD_UNITS + 0.5))
            _body(state, ui, pane, legend)
            imgui.end_popup()
    imgui.end_child()


def _head(ui: Ui, pane: Pane, legend: Legend) -> None:
    theme = ui.theme
    at, room = imgui.get_cursor_screen_pos(), imgui.get_content_region_avail().x
    _title(ui, legend, room - theme.px(6))
    after = imgui.get_cursor_screen_pos()
    imgui.set_cursor_screen_pos(imgui.ImVec2(at.x + room - theme.px(5.5), at.y - theme.px(1)))
    if ui.icon_button(icons.ICON_FA_CHEVRON_DOWN, "Fold the legend", id_=f"fold {pane.name}", shortcut="K"):
        ui.run("view.toggle_legend")
    imgui.set_cursor_screen_pos(after)


def _title(ui: Ui, legend: Legend, width: float) -> None:
    theme = ui.theme
    at = imgui.get_cursor_screen_pos()
    note = "guess" if _is_content(legend) else legend.unit
    with ui.small():
        note_width = imgui.calc_text_size(note).x
    with ui.bold(theme.small_size):
        text = fit_text(legend.title, width - note_width - theme.px(2))
        ui.text(text)
        shift = imgui.calc_text_size(text).x + theme.px(2)
    imgui.set_cursor_screen_pos(imgui.ImVec2(at.x + shift, at.y))
    with ui.small():
        ui.faint(note)
    if _is_content(legend):
        ui.tooltip(GUESS, note="What the guest's own kernel knows of a page is another channel")
    imgui.set_cursor_screen_pos(imgui.ImVec2(at.x, at.y + theme.px(TITLE_UNITS)))
    imgui.dummy(imgui.ImVec2(width, 0))


def _is_content(legend: Legend) -> bool:
    return bool(legend.entries) and all(entry.label in _KIND_OF for entry in legend.entries)


def _body(state: AppState, ui: Ui, pane: Pane, legend: Legend) -> None:
    if legend.gradient is None:
        for index, entry in enumerate(legend.entries[:MOST_ROWS]):
            _entry(state, ui, pane, entry, index, kinds=_is_content(legend))
        if (more := len(legend.entries) - MOST_ROWS) > 0:
            with ui.small():
                ui.faint(f"and {more:,} more")
        return
    _scale(ui, pane, legend)
    if hidden := pane.view.look.hidden_kinds:
        with ui.small(), ui.colours(text_link=ui.theme.text_dim):
            if imgui.text_link(f"{len(hidden)} kind{'s' * (len(hidden) > 1)} hidden, show all"):
                _run(state, ui, pane, "view.show_all_kinds")


# Categories


def _entry(state: AppState, ui: Ui, pane: Pane, entry: LegendEntry, index: int, *, kinds: bool) -> None:
    """Draw a colour and what it stands for; a kind is hidden by a click, and shown alone by a double click."""
    theme = ui.theme
    at, room = imgui.get_cursor_screen_pos(), imgui.get_content_region_avail().x
    height = theme.px(ROW_UNITS)
    clicked = imgui.invisible_button(f"##entry{index}", imgui.ImVec2(max(room, theme.px(30)), height))
    hovered = kinds and imgui.is_item_hovered()
    draw_list = imgui.get_window_draw_list()
    if hovered:
        lower = imgui.ImVec2(at.x + room + theme.px(1), at.y + height)
        draw_list.add_rect_filled(
            imgui.ImVec2(at.x - theme.px(1), at.y), lower, u32(theme.hover.alpha(0.7)), theme.px(1)
        )
    _chip(ui, entry, at.x, at.y, height)
    with ui.small():
        left = at.x + theme.px(5)
        text = fit_text(entry.label, room - theme.px(5))
        size = imgui.calc_text_size(text)
        top = at.y + round((height - size.y) / 2)
        draw_list.add_text(imgui.ImVec2(left, top), u32(theme.text_faint if entry.hidden else theme.text_dim), text)
        if entry.hidden:
            middle = round(at.y + height / 2) + 0.5
            draw_list.add_line(imgui.ImVec2(left, middle), imgui.ImVec2(left + size.x, middle), u32(theme.text_faint))
    if not kinds:
        if text != entry.label:
            ui.tooltip(entry.label)
        return
    ui.tooltip(f"Click: {'show' if entry.hidden else 'hide'} it", note="Double click: show it alone, or all again")
    if not clicked:
        return
    kind = _KIND_OF[entry.label].name.lower()
    if imgui.get_io().mouse_clicked_last_count[0] >= 2:
        _solo_after_toggle(state, ui, pane, kind)
    else:
        _run(state, ui, pane, "view.hide_kind", kind=kind)


def _solo_after_toggle(state: AppState, ui: Ui, pane: Pane, kind: str) -> None:
    """Show a kind alone. What the first click of the two did is taken back: together they are one step."""
    _run(state, ui, pane, "edit.undo")
    _run(state, ui, pane, "view.solo_kind", kind=kind)


def _run(state: AppState, ui: Ui, pane: Pane, action: str, **args: object) -> None:
    """Run an action on this legend's view, which becomes the active one."""
    if pane is not state.stage.active:
        ui.run("view.activate", view=pane.name)
    ui.run(action, **args)


def _chip(ui: Ui, entry: LegendEntry, left: float, top: float, height: float) -> None:
    theme = ui.theme
    side = theme.px(2.5)
    upper = imgui.ImVec2(left, top + round((height - side) / 2))
    lower = imgui.ImVec2(upper.x + side, upper.y + side)
    colour = Rgba(*(part / 255 for part in entry.color))
    draw_list = imgui.get_window_draw_list()
    if entry.hidden:
        draw_list.add_rect(upper, lower, u32(theme.text_faint), theme.px(0.5))
    else:
        draw_list.add_rect_filled(upper, lower, u32(colour), theme.px(0.5))


# Scales


def _scale(ui: Ui, pane: Pane, legend: Legend) -> None:
    """Draw the gradient with its numbers. What the transfer function does not show at all is hollow."""
    theme = ui.theme
    assert legend.gradient is not None
    at, room = imgui.get_cursor_screen_pos(), imgui.get_content_region_avail().x
    room = max(room, theme.px(SCALE_UNITS - 2 * PAD_UNITS - 1))
    draw_list = imgui.get_window_draw_list()
    colours = colours_of(legend.gradient)
    opacities = pane.view.look.transfer.opacities()
    shown = [opacities[round(i * 255 / (len(colours) - 1))] > 0 for i in range(len(colours))]
    faded = [colour if on else colour.alpha(0.12) for colour, on in zip(colours, shown, strict=True)]
    thick = theme.px(2.5)
    draw_strip(draw_list, (at.x, at.y), (room, thick), faded, border=theme.border_strong)
    with ui.font(None, theme.small_size * 0.9):
        height = imgui.get_text_line_height()
        for share, text, left in place_ticks(
            [(share, text, imgui.calc_text_size(text).x) for share, text in legend.ticks], room, theme.px(2)
        ):
            x = round(at.x + share * (room - 1)) + 0.5
            draw_list.add_line(
                imgui.ImVec2(x, at.y + thick), imgui.ImVec2(x, at.y + thick + theme.px(1)), u32(theme.text_faint)
            )
            draw_list.add_text(
                imgui.ImVec2(round(at.x + left), at.y + thick + theme.px(1.25)), u32(theme.text_dim), text
            )
    imgui.dummy(imgui.ImVec2(room, thick + theme.px(1.25) + height + theme.px(1)))
