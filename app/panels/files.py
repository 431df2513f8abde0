"""Files panel: what the chosen process holds open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app import people
from app.layout import FILES
from app.panels.kernel_notes import note
from app.panels.process_header import chosen_process, title
from app.widgets.record_table import OWN_KEYS, MenuEntry
from bridge.kernel.records import OpenFile

if TYPE_CHECKING:
    from app.state import AppState
    from app.ui import Ui


def draw(state: AppState, ui: Ui) -> None:
    """Draw the panel."""
    with ui.panel(FILES, flags=imgui.WindowFlags_.no_scrollbar) as visible:
        if not visible:
            return
        row = chosen_process(state, ui, icons.ICON_FA_FOLDER_TREE, "What is open")
        machine = state.current
        if row is None or machine is None:
            return
        answer = people.ask(state, machine, "files", row.pid)
        files: tuple[OpenFile, ...] = () if answer is None or answer.problem else answer.value
        count = f"{len(files):,} {'descriptor' if len(files) == 1 else 'descriptors'}"
        filtering = ui.theme.px(40)
        title(ui, row, count if files else "", right=filtering + ui.theme.px(4))
        if answer is None or answer.problem or not files:
            asked = "Asking the kernel" if answer is None else "Nothing is open"
            problem = "" if answer is None else answer.problem
            note(ui, icons.ICON_FA_FOLDER_TREE, "The open files are not known" if problem else asked, problem)
            return
        ui.right(filtering)
        state.people.files.filter_box(filtering)
        _table(state, ui, machine, files)


def _table(state: AppState, ui: Ui, machine: str, files: tuple[OpenFile, ...]) -> None:
    def choose(file: OpenFile) -> None:
        people.choose(state, machine, "file", file.path, file.path, fly=True)

    def menu(file: OpenFile) -> list[MenuEntry]:
        why_not = "" if _has_pages(file) else f"A {file.kind} has no pages in the page cache"
        return [MenuEntry("Light up its pages and go there", icons.ICON_FA_HIGHLIGHTER, lambda: choose(file), why_not)]

    table = state.people.files
    event = table.draw(ui.theme, files, menu=menu)
    if table.focused:
        state.own_keys |= OWN_KEYS
    if event is not None and _has_pages(event.row):
        choose(event.row)


def _has_pages(file: OpenFile) -> bool:
    return file.path.startswith("/") and file.kind in ("file", "block device")
