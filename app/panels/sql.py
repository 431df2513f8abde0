"""SQL panel: a query is written or chosen at the left, its answer is a table at the right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app.layout import SQL
from app.output import format_duration
from app.panels.kernel_list import light_entry
from app.panels.named_rows import act_on_row, go_to, row_menu
from app.sql_ui import Answer, Row, machine_of, named_by, pages_named_by
from app.widgets.record_table import OWN_KEYS, MenuEntry, TableEvent
from bridge.semantic.store.examples import EXAMPLES
from bridge.semantic.store.walls import MAX_QUERY

if TYPE_CHECKING:
    from app.state import AppState
    from app.ui import Ui

EDITOR_SHARE, EDITOR_UNITS = 0.38, 120.0
"""Of the panel's width, and at most."""
FILTER_UNITS = 34.0
NARROW_UNITS = 120.0
"""A table of less width has no room for the filter beside what is said of it."""


def draw(state: AppState, ui: Ui) -> None:
    """Draw the panel."""
    flags = imgui.WindowFlags_.no_scrollbar | imgui.WindowFlags_.no_scroll_with_mouse
    with ui.panel(SQL, flags=flags, padding=(ui.theme.px(3), ui.theme.px(2))) as visible:
        if not visible:
            return
        _editor(state, ui)
        imgui.same_line(0, ui.theme.px(4))
        with ui.style(window_padding=(0.0, 0.0)):
            imgui.begin_child("sql answer", imgui.ImVec2(0, 0))
        _answer(state, ui)
        imgui.end_child()


# At the left


def _editor(state: AppState, ui: Ui) -> None:
    theme, sql = ui.theme, state.sql
    width = min(imgui.get_content_region_avail().x * EDITOR_SHARE, theme.px(EDITOR_UNITS))
    with ui.style(window_padding=(0.0, 0.0)):
        imgui.begin_child("sql editor", imgui.ImVec2(width, 0))
    with ui.style(item_spacing=(theme.px(1), theme.px(1))):
        if sql.job is not None:
            if ui.button(f"{icons.ICON_FA_STOP}  End", width=theme.px(22)):
                ui.run("sql.cancel")
        else:
            reason = state.actions.get("sql.run").why_not()
            if ui.button(f"{icons.ICON_FA_PLAY}  Run", kind="primary", width=theme.px(22), enabled=reason is None):
                ui.run("sql.run")
            ui.tooltip(reason or "Run what is written here", shortcut="Ctrl+Enter")
        imgui.same_line(0, theme.px(2))
        _examples(state, ui, imgui.get_content_region_avail().x)
    ui.gap(1)
    with ui.mono(), ui.style(frame_padding=(theme.px(2), theme.px(1.5))):
        keys = imgui.InputTextFlags_.enter_returns_true | imgui.InputTextFlags_.allow_tab_input
        flags = keys | imgui.InputTextFlags_.word_wrap
        if sql.refocus:  # Ctrl+Enter ends the typing for ImGui; here it goes on
            imgui.set_keyboard_focus_here()
            sql.refocus = False
        entered, text = imgui.input_text_multiline(
            f"##sql{sql.generation}", sql.text, imgui.get_content_region_avail(), flags
        )
        sql.text = text[:MAX_QUERY]
    if entered:
        sql.refocus = True
        ui.run("sql.run")
    imgui.end_child()


def _examples(state: AppState, ui: Ui, width: float) -> None:
    chosen = next((one.title for one in EXAMPLES if one.sql == state.sql.text), "Examples")
    imgui.set_next_item_width(width)
    if imgui.begin_combo("##examples", chosen, imgui.ComboFlags_.height_large):
        for one in EXAMPLES:
            if imgui.selectable(one.title, one.title == chosen)[0]:
                ui.run("sql.example", title=one.title)
        imgui.end_combo()
    ui.tooltip("Questions to begin with", note="Choosing one runs it; change it as you like")


# At the right


def _answer(state: AppState, ui: Ui) -> None:
    sql, answer = state.sql, state.sql.answer
    if answer is not None:
        _head(state, ui, answer)
    if sql.failure and answer is None:
        ui.absence(icons.ICON_FA_CIRCLE_EXCLAMATION, sql.failure)
    elif answer is None:
        waiting = state.actions.get("sql.run").why_not()
        ui.absence(icons.ICON_FA_DATABASE, waiting or "Everything known of the machines, and since when: ask by SQL")
    elif not answer.rows:
        ui.absence(icons.ICON_FA_CIRCLE_CHECK, "No rows: nothing is so")
    else:
        _table(state, ui, answer)


def _head(state: AppState, ui: Ui, answer: Answer) -> None:
    theme, sql = ui.theme, state.sql
    room = imgui.get_content_region_avail().x
    filter_units = FILTER_UNITS if room > theme.px(NARROW_UNITS) and answer.rows else 0.0
    tools = theme.px(2 * 8 + filter_units)
    with ui.style(item_spacing=(theme.px(1), theme.px(1))):
        imgui.align_text_to_frame_padding()
        text, colour = _said(sql.failure, running=sql.job is not None, answer=answer), theme.text_dim
        if sql.failure:
            text, colour = f"{icons.ICON_FA_CIRCLE_EXCLAMATION}  {text}", theme.bad
        ui.elided(text, max(theme.px(10), room - tools - theme.px(2)), colour)
        ui.right(tools)
        if filter_units:
            answer.shown.filter_box(theme.px(filter_units), f"Filter {len(answer.rows):,}")
            imgui.same_line(0, theme.px(1))
        ui.action_icon("sql.copy", {})
        imgui.same_line(0, theme.px(1))
        if ui.icon_button(icons.ICON_FA_FILE_EXPORT, "Save as CSV or JSON…"):
            imgui.open_popup("save answer")
        _save_popup(state, ui)
    ui.gap(0.5)


def _said(failure: str, *, running: bool, answer: Answer) -> str:
    if running:
        return "Asking…"
    if failure:
        return failure
    table = answer.table
    count = f"{len(table.rows):,} {'row' if len(table.rows) == 1 else 'rows'}"
    took = f"{max(table.elapsed_s * 1e3, 1):.0f} ms" if table.elapsed_s < 1 else format_duration(table.elapsed_s)
    return f"{'The first ' if table.truncated else ''}{count} in {took}"


def _save_popup(state: AppState, ui: Ui) -> None:
    sql = state.sql
    sql.export_path, save = ui.save_popup("save answer", sql.export_path, "~/answer.csv")
    if save:
        ui.run("sql.export", path=sql.export_path.strip())


def _table(state: AppState, ui: Ui, answer: Answer) -> None:
    # Wide tables are moved sideways as a whole: squeezed, nothing in them could be read.
    theme = ui.theme
    room = imgui.get_content_region_avail().x
    wanted = sum(theme.px(column.width) for column in answer.shown.model.columns)
    is_wide = wanted > room
    if is_wide:
        imgui.set_next_window_content_size(imgui.ImVec2(wanted, 0))
    with ui.style(window_padding=(0.0, 0.0)):
        flags = imgui.WindowFlags_.horizontal_scrollbar if is_wide else 0
        imgui.begin_child("sql wide", imgui.ImVec2(0, 0), 0, flags)
    size = (wanted if is_wide else 0.0, 0.0)
    event = answer.shown.draw(theme, answer.rows, size=size, menu=lambda row: _menu(state, ui, answer, row))
    imgui.end_child()
    if event is not None:
        _act(state, ui, answer, event)
    if answer.shown.focused:
        state.own_keys |= OWN_KEYS


def _act(state: AppState, ui: Ui, answer: Answer, event: TableEvent[Row]) -> None:
    """Go to the address that was clicked, or light up what the row names."""
    columns, cells = answer.table.columns, event.row[1]
    machine = machine_of(columns, cells) or state.current
    if machine is None or machine not in state.stage.feeds:
        return  # of a machine that is gone: there is nothing to be shown
    named = named_by(columns, cells)
    clicked = columns[event.column] if 0 <= event.column < len(columns) else ""
    for address in named.addresses:
        if address.column == clicked:
            go_to(ui, machine, named, address)
            return
    pages = pages_named_by(columns, cells)
    if named.region is None and pages is not None:
        light_entry(ui, machine, *pages, "").run()
    else:
        act_on_row(ui, machine, named, opened=event.kind == "open")


def _menu(state: AppState, ui: Ui, answer: Answer, row: Row) -> Sequence[MenuEntry]:
    columns, cells = answer.table.columns, row[1]
    machine = machine_of(columns, cells) or state.current
    if machine is None or machine not in state.stage.feeds:
        return ()
    pages = pages_named_by(columns, cells)
    own = () if pages is None else (light_entry(ui, machine, *pages, "Light up its pages"),)
    return (*own, *row_menu(ui, machine, named_by(columns, cells)))
