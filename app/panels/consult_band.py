"""Consult band: what the language model was asked, what it asked in turn, and what it said, above the results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app.chosen import printable
from app.theme import u32

LEAST_SAID_UNITS = 70.0
"""What the model said stands beside its queries where it has so much room."""

if TYPE_CHECKING:
    from app.consulting import Consulting
    from app.state import AppState
    from app.ui import Ui


def draw(state: AppState, ui: Ui) -> None:
    """Draw it, where a model was asked."""
    known = state.consulting
    if known is None:
        return
    theme = ui.theme
    with ui.style(item_spacing=(theme.px(1.5), theme.px(1))):
        imgui.align_text_to_frame_padding()
        ui.text(icons.ICON_FA_COMMENT_DOTS, theme.accent)
        imgui.same_line(0, theme.px(2))
        ui.elided(printable(known.question), imgui.get_content_region_avail().x - theme.px(40))
        ui.right(theme.px(24 if known.running else 16 if known.problem else 8))
        if known.problem:
            ui.action_icon("llm.set_up", {})
            imgui.same_line(0, theme.px(1))
        if known.running:
            if ui.button(f"{icons.ICON_FA_STOP}  Stop", width=theme.px(24), small=True):
                ui.run("query.consult_stop")
        elif ui.icon_button(icons.ICON_FA_XMARK, "Close", id_="close model"):
            state.consulting = None
        if known.running:
            ui.progress(None, imgui.get_content_region_avail().x, theme.px(0.5))
        elif known.problem:
            with ui.small():
                ui.elided(known.problem, imgui.get_content_region_avail().x, theme.warn)
        else:
            _asked(ui, known)
    at = imgui.get_cursor_screen_pos()
    right = at.x + imgui.get_content_region_avail().x
    imgui.get_window_draw_list().add_line(
        (at.x, at.y + theme.px(0.5)), (right, at.y + theme.px(0.5)), u32(theme.border)
    )
    ui.gap(2)


def _asked(ui: Ui, known: Consulting) -> None:
    """Draw its queries as buttons, each of which asks one again, with a pen that puts it into the search box."""
    theme = ui.theme
    for index, step in enumerate(known.steps):
        text = step.query.removeprefix("show ") if step.query else step.asked
        room = imgui.get_content_region_avail().x
        width = min(imgui.calc_text_size(text).x + theme.px(5), room - theme.px(9))
        if index and imgui.get_item_rect_max().x + width + theme.px(11) < imgui.get_cursor_screen_pos().x + room:
            imgui.same_line(0, theme.px(2))
        imgui.push_id(f"step {index}")
        if ui.button(printable(text), width=width, small=True, enabled=bool(step.query)):
            ui.run("query.ask", text=step.query, machine=known.machine)
        ui.tooltip(step.problem or "Ask it again")
        imgui.same_line(0, 0)
        if ui.icon_button(icons.ICON_FA_PEN, "Change it in the search box", id_="edit"):
            ui.run("query.edit", text=text)
        imgui.pop_id()
    if known.consulted is not None and known.consulted.said:
        _said(ui, printable(" ".join(known.consulted.said.split())))


def _said(ui: Ui, said: str) -> None:
    """Draw what the model said, beside its queries where there is room: below them the results are wanted."""
    theme, left = ui.theme, imgui.get_item_rect_max().x
    right = imgui.get_cursor_screen_pos().x + imgui.get_content_region_avail().x
    height = imgui.get_item_rect_size().y
    beside = right - left > theme.px(LEAST_SAID_UNITS)
    if beside:
        imgui.same_line(0, theme.px(3))
    with ui.small():
        if beside:  # small text would stand at the top of the line
            imgui.set_cursor_pos_y(imgui.get_cursor_pos_y() + round((height - imgui.get_text_line_height()) / 2))
        ui.faint("Unchecked")
        ui.tooltip("The model's own words: nobody has checked them")
        imgui.same_line(0, theme.px(2))
        ui.elided(said, imgui.get_content_region_avail().x, theme.text_dim)
        ui.tooltip(said[:1500])
