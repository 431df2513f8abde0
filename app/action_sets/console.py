"""Actions on the console of a machine, and on the window's log."""

from __future__ import annotations

from imgui_bundle import icons_fontawesome_6 as icons

from app.action_sets.windows import show_panel
from app.actions import Action, Param
from app.layout import CONSOLE
from app.panels.console import terminal_of
from app.session import Session

CATEGORY, LOG_CATEGORY = "Console", "Window"


def console_actions(session: Session) -> list[Action]:
    """Return the actions."""
    state = session.state

    def send(text: str, machine: str | None = None) -> None:
        session.state.require_machine(machine).console.write(text.encode())

    def show_console(machine: str | None = None) -> None:
        if machine is not None:
            session.machines.select_machine(machine)
        show_panel(session, CONSOLE)
        if (current := state.machine()) is not None and not current.info.dump:
            terminal_of(state, current).focus()

    def read_console(machine: str | None = None) -> str:
        _, data = session.state.require_machine(machine).console.read_since(0)
        return bytes(data).decode(errors="replace")

    def any_machine() -> str | None:
        return None if state.manager.machines() else "There is no machine"

    names = lambda: [m.name for m in state.manager.machines()]  # noqa: E731
    which = Param("machine", "choice", choices=names)
    return [
        Action(
            id="console.show",
            title="Go to the console",
            category=CATEGORY,
            run=show_console,
            params=(which,),
            shortcuts=("J",),
            why_not=any_machine,
            icon=icons.ICON_FA_TERMINAL,
            keywords="terminal serial shell",
        ),
        Action(
            id="console.send",
            title="Send to the console…",
            category=CATEGORY,
            run=send,
            params=(Param("text", required=True), which),
            why_not=any_machine,
            icon=icons.ICON_FA_PAPER_PLANE,
        ),
        Action(
            id="console.text",
            title="Say what the console printed",
            category=CATEGORY,
            run=read_console,
            params=(which,),
            why_not=any_machine,
            in_palette=False,
        ),
        Action(
            id="log.clear",
            title="Clear the log",
            category=LOG_CATEGORY,
            run=state.log.clear,
            icon=icons.ICON_FA_TRASH_CAN,
        ),
        Action(
            id="log.text",
            title="Say what the log holds",
            category=LOG_CATEGORY,
            run=lambda: [f"{e.clock} {e.source}: {e.text}" for e in state.log.entries()],
            in_palette=False,
        ),
    ]
