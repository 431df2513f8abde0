"""The head of panels that are about one process: which one, and what they show of it in a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgui_bundle import imgui

from app import people
from app.panels.kernel_notes import no_kernel, note
from app.widgets.plain_text import plain

if TYPE_CHECKING:
    from app.process_list import ProcessRow
    from app.state import AppState
    from app.ui import Ui


def chosen_process(state: AppState, ui: Ui, icon: str, what: str) -> ProcessRow | None:
    """The process that the panels are about; where there is none, say so and how one is chosen."""
    machine = state.current
    if machine is None:
        note(ui, icon, "No machine", f"{what} of a process appears here")
        return None
    if no_kernel(state, ui, machine, icon):
        return None
    pid = state.people.of(machine).pid
    if pid is None:
        note(ui, icon, "No process chosen", "Click one in the panel Processes, or a byte of its memory")
        return None
    row = people.row_of(state, machine, pid)
    if row is None:
        note(ui, icon, "The process has ended", f"It was number {pid}")
    return row


def title(ui: Ui, row: ProcessRow, told: str, *, right: float = 0.0) -> None:
    """Draw the process's name, and what is told of it; `right`: room for what else is in the line."""
    theme = ui.theme
    imgui.align_text_to_frame_padding()
    with ui.bold():
        ui.text(plain(row.name, 32))
    imgui.same_line(0, theme.px(1.5))
    ui.dim(f"{row.pid}")
    if told:
        imgui.same_line(0, theme.px(4))
        with ui.small():
            ui.elided(told, max(theme.px(10), imgui.get_content_region_avail().x - right), theme.text_faint)
