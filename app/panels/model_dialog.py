"""Model dialog: which language model free questions may go to; none until it is set up here."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app.actions import BadArguments
from app.consulting import KEY_VARIABLE, LOCAL_URL, MAX_MODEL, MAX_URL, checked_endpoint
from app.panels.dialogs import dialog

if TYPE_CHECKING:
    from app.state import AppState
    from app.ui import Ui


def draw(state: AppState, ui: Ui) -> None:
    """Draw the dialog."""
    theme, form = ui.theme, state.model_form
    with dialog(state, ui, "Set up a language model", icons.ICON_FA_COMMENT_DOTS, width_units=128) as visible:
        if not visible:
            return
        ui.wrapped(
            "It turns questions in your own words into questions of the query language, which you see. What they find, "
            "in short, is sent to the endpoint; nothing else of a machine is.",
            theme.text_dim,
        )
        ui.gap(3)
        label = theme.px(28)
        ui.row("Endpoint", label)
        imgui.set_next_item_width(-1)
        if imgui.is_window_appearing():
            imgui.set_keyboard_focus_here(0 if form.model else 1)
        form.url = imgui.input_text_with_hint("##url", LOCAL_URL, form.url)[1][:MAX_URL]
        ui.row("Model", label)
        imgui.set_next_item_width(-1)
        form.model = imgui.input_text_with_hint("##model", "as the endpoint calls it", form.model)[1][:MAX_MODEL]
        ui.row("Key", label)
        has_key = bool(os.environ.get(KEY_VARIABLE))
        ui.dim(f"From {KEY_VARIABLE}, which is {'set' if has_key else 'not set: none is sent'}")
        problem = _problem(form.url, form.model)
        ui.gap(2)
        if problem and form.model:
            with ui.small():
                ui.text(problem, theme.warn)
        ui.gap(2)
        ui.right(theme.px(30) + theme.px(2) + theme.px(30))
        if ui.button("Use none", width=theme.px(30), enabled=bool(state.settings.llm_url)):
            state.overlay = None
            ui.run("llm.off")
        imgui.same_line(0, theme.px(2))
        used = ui.button("Use it", kind="primary", width=theme.px(30), enabled=not problem)
        if used or (not problem and imgui.is_key_pressed(imgui.Key.enter, False)):
            state.overlay = None
            ui.run("llm.use", url=form.url, model=form.model)


def _problem(url: str, model: str) -> str:
    try:
        checked_endpoint(url, model)
    except BadArguments as error:
        return str(error)
    return ""
