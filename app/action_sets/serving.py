"""Actions on the REST interface beside the window: serve, stop, say where it is."""

from __future__ import annotations

from typing import Any

from imgui_bundle import icons_fontawesome_6 as icons
from imgui_bundle import imgui

from app.actions import Action, BadArguments, Param
from app.jobs import Job, JobState
from app.session import Session
from bridge.machine.opened_dump import OpenedDump

PROGRAMS = "Programs"


def serving_actions(session: Session) -> list[Action]:
    """Return the actions."""
    state, server = session.state, session.server

    def start(port: int | None = None) -> Job:
        if port is not None and not 0 <= port < 1 << 16:
            raise BadArguments("port: it lies between 0 and 65535; 0 is any that is free")
        dumps = [machine.path for machine in state.manager.machines() if isinstance(machine, OpenedDump)]

        def work(job: Job) -> dict[str, str]:
            return server.start(port or 0, dumps, job.cancelled)

        def end(job: Job) -> None:
            if job.state is JobState.DONE:
                session.notices.tell("Programs may ask now", f"{server.url}, token in {server.token_file}", good=True)
            elif isinstance(job.error, Exception):
                session.notices.report(job.error)

        return state.jobs.start("Starting the server", work, on_end=end)

    def stop() -> None:
        state.jobs.start("Ending the server", lambda _job: server.stop(), quiet=True, can_cancel=False)
        session.notices.tell("Programs may ask no more", "")

    def copy() -> dict[str, Any]:
        imgui.set_clipboard_text(f'curl -H "Authorization: Bearer $(cat {server.token_file})" {server.url}/machines')
        return server.describe()

    def needs_server() -> str | None:
        return None if server.serves else "Nothing is served"

    return [
        Action(
            id="server.start",
            title="Let programs ask (REST)",
            category=PROGRAMS,
            run=start,
            params=(Param("port", "integer", help="0 or nothing: any that is free"),),
            why_not=lambda: "It is served already" if server.serves else None,
            icon=icons.ICON_FA_TOWER_BROADCAST,
            help="To this user's programs on this machine only, with a token; it ends with the window",
            keywords="serve http api server",
        ),
        Action(
            id="server.stop",
            title="Let programs ask no more",
            category=PROGRAMS,
            run=stop,
            why_not=needs_server,
            icon=icons.ICON_FA_STOP,
            keywords="serve http api server rest",
        ),
        Action(
            id="server.copy",
            title="Copy a command that asks",
            category=PROGRAMS,
            run=copy,
            why_not=needs_server,
            icon=icons.ICON_FA_COPY,
            help="For a terminal: curl with the address and the token's file",
            keywords="serve http api server rest curl",
        ),
        Action(
            id="server.describe",
            title="Say where programs may ask",
            category=PROGRAMS,
            run=server.describe,
            in_palette=False,
        ),
    ]
