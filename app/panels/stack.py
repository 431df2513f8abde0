"""Stack panel: where in the kernel a thread of the chosen process waits, call by call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app import people
from app.layout import STACK
from app.panels.kernel_notes import note
from app.panels.process_header import chosen_process, title
from app.process_list import STATE_WORDS
from app.theme import u32
from app.widgets.plain_text import plain
from app.widgets.record_table import OWN_KEYS, MenuEntry
from bridge.kernel.records import StackFrame

if TYPE_CHECKING:
    from app.people import Thread
    from app.people_tables import Call
    from app.state import AppState
    from app.ui import Ui


def draw(state: AppState, ui: Ui) -> None:
    """Draw the panel."""
    with ui.panel(STACK, flags=imgui.WindowFlags_.no_scrollbar) as visible:
        if not visible:
            return
        row = chosen_process(state, ui, icons.ICON_FA_LAYER_GROUP, "The kernel stack")
        machine = state.current
        if row is None or machine is None:
            return
        threads = people.threads_of(state, machine, row.pid)
        tid = people.thread_of(state, machine, row.pid)
        shown = next((one for one in threads if one.tid == tid), None)
        title(ui, row, "" if shown is None else STATE_WORDS.get(shown.state, shown.state), right=ui.theme.px(60))
        if len(threads) > 1:
            _choice(ui, machine, threads, tid)
        answer = people.ask(state, machine, "stack", tid, every_s=1.0)
        if answer is None or answer.problem:
            heading = "Asking the kernel" if answer is None else "The stack is not known"
            note(ui, icons.ICON_FA_LAYER_GROUP, heading, "" if answer is None else answer.problem)
            return
        if not answer.value:
            running = shown is not None and shown.state == "R"
            why = "It is running: its stack changes as one looks" if running else "Nothing is on it"
            note(ui, icons.ICON_FA_LAYER_GROUP, "No calls to show", why)
            return
        _table(state, ui, machine, tid, answer.value)


def _choice(ui: Ui, machine: str, threads: tuple[Thread, ...], tid: int) -> None:
    """Draw the threads to choose from."""
    theme = ui.theme
    width = theme.px(52)
    ui.right(width)
    imgui.set_next_item_width(width)
    now = next((f"{plain(one.name, 32)}  {one.tid}" for one in threads if one.tid == tid), str(tid))
    if imgui.begin_combo("##thread", now):
        for one in threads:
            # The name is drawn, not part of the label: in that, a guest's "##" would mean something.
            at = imgui.get_cursor_screen_pos()
            if imgui.selectable(f"##{one.tid}", one.tid == tid)[0]:
                ui.run("process.stack", machine=machine, tid=one.tid)
            text = f"{plain(one.name, 32)}  {one.tid}"
            imgui.get_window_draw_list().add_text(at, u32(theme.text), text)
        imgui.end_combo()
    ui.tooltip(f"One of its {len(threads):,} threads")


def _table(state: AppState, ui: Ui, machine: str, tid: int, frames: tuple[StackFrame, ...]) -> None:
    shown = state.people
    if shown.frames is not frames:
        shown.frames, shown.calls = frames, tuple(enumerate(frames))

    def go(call: Call) -> None:
        ui.run("kernel.go_to", where=f"{call[1].address:#x}", machine=machine)

    def menu(call: Call) -> list[MenuEntry]:
        return [
            MenuEntry("Go to the instruction", icons.ICON_FA_LOCATION_CROSSHAIRS, lambda: go(call)),
            MenuEntry(
                *("Light up the stack's pages", icons.ICON_FA_HIGHLIGHTER),
                lambda: people.choose(state, machine, "stack", str(tid), f"Kernel stack of {tid}", fly=True),
            ),
        ]

    event = shown.stacks.draw(ui.theme, shown.calls, menu=menu)
    if shown.stacks.focused:
        state.own_keys |= OWN_KEYS
    if event is not None:
        go(event.row)
