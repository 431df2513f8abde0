"""Kernel messages: what `dmesg` would print, coloured by how grave it is, followed as it grows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app.kernel_ui import DEBUG, LOG, Fetched
from app.panels.kernel_list import KernelList, ask_desk
from app.widgets.record_model import Column, RecordModel, Tone
from app.widgets.record_table import MenuEntry, RecordTable, TableEvent
from bridge.kernel.records import LogRecord

if TYPE_CHECKING:
    from app.state import AppState
    from app.ui import Ui

EVERY_S = 1.0
LIMIT = 10_000
"""Messages that are shown: the kernel's buffer holds a few thousand."""
LEVELS = ("Emergency", "Alert", "Critical", "Error", "Warning", "Notice", "Info", "Debug")
WARNING, ERROR = 4, 3
SHOWN_LEVELS = ((DEBUG, "All"), (WARNING, "Warnings"), (ERROR, "Errors"))


def level_title(level: int) -> str:
    """Return what a level is called."""
    return LEVELS[level] if 0 <= level < len(LEVELS) else str(level)


def _tone(record: LogRecord) -> Tone:
    if record.level <= ERROR:
        return "bad"
    return "warn" if record.level == WARNING else "dim" if record.level >= DEBUG else "text"


COLUMNS = (
    Column[LogRecord](
        "Time",
        lambda r: r.time_s,
        lambda r: f"{r.time_s:.6f}",
        25,
        right=True,
        mono=True,
        tone="dim",
        tip="Seconds since the guest started",
        searched=False,
    ),
    Column[LogRecord]("Level", lambda r: r.level, lambda r: level_title(r.level), 20, tone=_tone),
    Column[LogRecord]("Message", lambda r: r.text, mono=True, tone=_tone),
    Column[LogRecord](
        "From", lambda r: r.caller, width=14, tone="faint", tip="T and a task's number, or C and a processor's"
    ),
)


def _make() -> RecordTable[LogRecord]:
    table = RecordTable("kernel log", RecordModel(COLUMNS, lambda record: record.sequence))
    table.follow = True
    return table


def _fetch(state: AppState, machine: str) -> Fetched:
    fetched = ask_desk(state, machine, "log", LIMIT, every_s=EVERY_S)
    level, kept = state.kernel.log_level, state.kernel.fetched.get(LOG)
    if fetched.rows is None or level >= DEBUG:
        return fetched
    if (
        kept is not None
        and kept.rows is not None
        and kept.taken_s == fetched.taken_s
        and state.kernel.log_kept == level
    ):
        return kept  # the same rows, so that the table does not order them anew
    state.kernel.log_kept = level
    rows = tuple(record for record in fetched.rows if record.level <= level)
    return Fetched(rows, "", fetched.taken_s, fetched.took_s)


def _do(_ui: Ui, _machine: str, _event: TableEvent[LogRecord]) -> None:
    """A message leads nowhere."""


def _menu(_ui: Ui, _machine: str, _record: LogRecord) -> Sequence[MenuEntry]:
    return ()


def _tools(state: AppState, ui: Ui, table: RecordTable[Any]) -> None:
    theme = ui.theme
    shown = state.kernel.log_level
    title = next(label for level, label in SHOWN_LEVELS if level == shown)
    tone = {DEBUG: None, WARNING: theme.warn, ERROR: theme.bad}[shown]
    if ui.icon_button(icons.ICON_FA_TRIANGLE_EXCLAMATION, f"{title} are shown", id_="level", colour=tone):
        imgui.open_popup("level")
    with ui.style(window_padding=(theme.px(2), theme.px(2)), item_spacing=(theme.px(2), theme.px(2))):
        if imgui.begin_popup("level"):
            for level, label in SHOWN_LEVELS:
                if imgui.menu_item(label, "", level == shown)[0]:
                    ui.run("kernel.log_level", level=label)
            imgui.end_popup()
    imgui.same_line(0, theme.px(1))
    colour = theme.accent if table.follow else None
    note = "New messages are brought into view" if table.follow else "The list stays where it is"
    if ui.icon_button(icons.ICON_FA_ARROW_DOWN, "Follow", id_="follow", colour=colour, note=note):
        ui.run("kernel.follow", on=not table.follow)


LIST = KernelList(
    LOG,
    icons.ICON_FA_MESSAGE,
    ("message", "messages"),
    _make,
    _fetch,
    _do,
    _menu,
    "The kernel has said nothing of that weight",
    tools=_tools,
    tools_units=16,
)
