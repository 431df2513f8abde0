"""Who wrote this: the part of the inspector that tells which instructions wrote the selected byte, or its page."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app.panels import writers_list
from app.trace_costs import told_cost
from app.tracing import TracerState
from app.widgets.record_model import Column, RecordModel
from app.widgets.record_table import MenuEntry, RecordTable
from app.writer_rows import WriterRow, told_age, told_value, writer_rows
from bridge.trace.modes import Mode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.place import Place
    from app.state import AppState
    from app.ui import Ui
    from app.watching import Told, Watching

PAGE_BYTES = 4096
TABLE_UNITS = 42
"""Of height, of the table."""
LOW_UNITS = 110
"""Of the room below the story: with less the table is the shorter."""

COLUMNS = (
    Column[WriterRow]("Age", lambda row: row.age_s, lambda row: told_age(row.age_s), width=15, right=True, tone="dim"),
    Column[WriterRow]("Instruction", lambda row: row.access.text, lambda row: row.access.text or "?", mono=True),
    Column[WriterRow](
        "Value",
        lambda row: -1 if row.access.value is None else row.access.value,
        lambda row: told_value(row.access),
        width=22,
        mono=True,
        right=True,
        tip="What was stored, in hexadecimal",
    ),
    Column[WriterRow](
        "Function", lambda row: row.symbol, lambda row: row.symbol or f"{row.access.pc:#x}", tone="accent"
    ),
    Column[WriterRow]("Process", lambda row: row.process, tone="dim"),
)
WIDE_UNITS = 125.0
"""With less width, each writer has two lines instead of columns."""
_LEAVING = (("Value", 150.0),)
"""Columns that a narrower table leaves out, and below how many units."""


def make_table() -> RecordTable[WriterRow]:
    """A table of writers, the newest first."""
    return RecordTable("writers", RecordModel(COLUMNS, lambda row: row.number, sort=0, descending=False))


def draw(state: AppState, ui: Ui, place: Place, address: int) -> bool:
    """Draw the part; nothing for a dump, in which nobody writes. Returns whether it answers, in much room."""
    watching = state.watchings.of(place.machine)
    if watching is None or watching.tracer.why_not:
        return False
    theme, tracer = ui.theme, watching.tracer
    ui.gap(1)
    imgui.align_text_to_frame_padding()
    with ui.bold():
        ui.text("Who wrote this", theme.text_dim)
    ui.tooltip(
        "Which instruction stored to the selected byte, or to its page: from when you have the page watched, or as far "
        "back as a trace that is recorded reaches"
    )
    page = place.offset // PAGE_BYTES
    recording = tracer.mode is Mode.TRACE
    if tracer.state in (TracerState.ELSEWHERE, TracerState.FAILED) and tracer.problem:
        imgui.same_line(0, theme.px(3))
        ui.elided(tracer.problem, imgui.get_content_region_avail().x, theme.warn)
        return False
    if not recording and not watching.holds(page):
        _offer(ui, watching, address)
        return False
    _scope(state, ui, watching, recording=recording)
    whole = state.writers.whole_page
    first = address // PAGE_BYTES * PAGE_BYTES if whole else address
    told = watching.ask(first, first + (PAGE_BYTES if whole else 1))
    _table(state, ui, place.machine, watching, told)
    return True


def _offer(ui: Ui, watching: Watching, address: int) -> None:
    theme = ui.theme
    label = "Watch this page, too" if watching.watches else "Watch this page"
    imgui.same_line(0, theme.px(3))
    if ui.button(f"{icons.ICON_FA_EYE}  {label}##watch", small=True):
        ui.run("watch.page", address=address, machine=watching.tracer.machine.name, more=watching.watches)
    other = watching.tracer.mode
    instead = "" if other in (Mode.OFF, Mode.WATCH) else f" It takes the place of {other}."
    ui.tooltip(
        "From then on each write to it shows its instruction, function, process and age",
        note=f"While pages are watched the guest runs about {told_cost(Mode.WATCH)} as long.{instead}",
    )


def _scope(state: AppState, ui: Ui, watching: Watching, *, recording: bool) -> None:
    theme = ui.theme
    words = ("Byte", "Page")
    width = sum(imgui.calc_text_size(word).x + theme.px(5.5) for word in words) + (0 if recording else theme.px(8))
    ui.right(width)
    for word, whole in zip(words, (False, True), strict=True):
        chosen = state.writers.whole_page == whole
        if ui.button(f"{word}##scope", kind="plain" if chosen else "quiet", small=True):
            state.writers.whole_page = whole
        ui.tooltip("Writes to any byte of the page" if whole else "Writes to the selected byte")
        imgui.same_line(0, theme.px(0.5))
    if recording:
        imgui.new_line()
        return
    if ui.icon_button(icons.ICON_FA_EYE_SLASH, "Watch no page any more", id_="unwatch"):
        ui.run("watch.stop", machine=watching.tracer.machine.name)


def _table(state: AppState, ui: Ui, machine: str, watching: Watching, told: Told | None) -> None:
    theme, kept = ui.theme, state.writers
    width, room = imgui.get_content_region_avail()
    height = theme.px(TABLE_UNITS) * (0.6 if room < theme.px(LOW_UNITS) else 1.0)
    with ui.small():
        foot = imgui.get_text_line_height() + theme.px(1)
    if told is None or not told.accesses:
        ui.wrapped("Waiting for the first look" if told is None else _nothing(watching, told), theme.text_faint)
        return
    names = kept.names_of(machine).of(state, machine, told.accesses)
    rows = writer_rows(told, names, watching.tracer.tasks, time.monotonic_ns())
    size = (width, height - foot)
    if width < theme.px(WIDE_UNITS):
        event = writers_list.draw(ui, rows, size, lambda row: _menu(ui, machine, row))
    else:
        hidden = [title for title, least in _LEAVING if width < theme.px(least)]
        event = kept.table.draw(theme, rows, size=size, menu=lambda row: _menu(ui, machine, row), hidden=hidden)
    if event is not None and event.kind == "open" and event.row.access.code is not None:
        ui.run("view.go_to", address=event.row.access.code)
    with ui.small():
        ui.elided(_foot(told), width, theme.text_faint)


def _nothing(watching: Watching, told: Told) -> str:
    if told.backwards:
        return "The trace holds no write to it."
    if watching.tracer.latest() is None:
        return "It is watched from now on."
    return "Nothing has written to it since it is watched."


def _foot(told: Told) -> str:
    shown, known = len(told.accesses), told.known
    count = f"{known:,} write{'s' if known != 1 else ''}"
    text = count if shown == known else f"The last {shown} of {count}"
    if told.backwards:
        text = f"{text} that the trace still holds"
    return f"{text}  ·  {told.dropped:,} more of watched pages had no room" if told.dropped else text


def _menu(ui: Ui, machine: str, row: WriterRow) -> Sequence[MenuEntry]:
    code, other = row.access.code, row.access.physical
    return (
        MenuEntry(
            "Go to the instruction",
            icons.ICON_FA_LOCATION_CROSSHAIRS,
            lambda: ui.run("view.go_to", address=code, machine=machine),
            "" if code is not None else "It does not lie in RAM",
        ),
        MenuEntry(
            "Go to what it wrote",
            icons.ICON_FA_PEN,
            lambda: ui.run("view.go_to", address=other, machine=machine),
        ),
    )
