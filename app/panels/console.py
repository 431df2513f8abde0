"""Console panel: the current machine's serial line in a real terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app.layout import CONSOLE
from app.toasts import ToastLevel
from app.widgets.terminal import TerminalWidget
from bridge.machine.errors import MachineError

if TYPE_CHECKING:
    from app.state import AppState
    from app.ui import Ui
    from bridge.machine.manager import AnyMachine


def draw(state: AppState, ui: Ui) -> None:
    """Draw the panel."""
    with ui.panel(CONSOLE, padding=(ui.theme.px(2), ui.theme.px(1.5))) as visible:
        if not visible:
            return
        machine = state.machine()
        if machine is None or machine.info.dump:
            _empty(ui, "" if machine is None else machine.name)
            return
        terminal = terminal_of(state, machine)
        terminal.draw(ui.theme)


def terminal_of(state: AppState, machine: AnyMachine) -> TerminalWidget:
    """Return the terminal of a machine, made at first use."""
    if (terminal := state.terminals.get(machine.name)) is None:

        def write(data: bytes) -> None:
            try:
                machine.console.write(data)
            except MachineError as error:
                state.toasts.add(ToastLevel.WARN, "The console took nothing", str(error))

        terminal = TerminalWidget(machine.console.read_since, write)
        state.terminals[machine.name] = terminal
    return terminal


def _empty(ui: Ui, dump: str) -> None:
    imgui.dummy(imgui.ImVec2(0, max(0.0, imgui.get_content_region_avail().y / 2 - ui.theme.px(10))))
    with ui.font(None, ui.theme.title_size):
        ui.centred(icons.ICON_FA_TERMINAL, ui.theme.text_faint)
    words = f"{dump} is a dump: nobody answers" if dump else "The console of the machine that you launch appears here"
    ui.centred(words, ui.theme.text_dim)
