"""Actions on RAM dumps: open one as a paused machine, by path or by dialog."""

from __future__ import annotations

from imgui_bundle import icons_fontawesome_6 as icons

from app.action_sets.machines import CATEGORY
from app.actions import Action, BadArguments, Param
from app.jobs import Job
from app.session import Session
from app.user_paths import path_argument


def dump_actions(session: Session) -> list[Action]:
    """Return the actions."""

    def open_dump(path: str, name: str | None = None) -> Job:
        if not path.strip():
            raise BadArguments("path: name a file")
        return session.machines.open_dump(path_argument(path).absolute(), name)

    return [
        Action(
            id="machine.open_dump_dialog",
            title="Open a dump…",
            category=CATEGORY,
            run=lambda: session.state.show_overlay("dump"),
            shortcuts=("Ctrl+O",),
            icon=icons.ICON_FA_FOLDER_OPEN,
            help="Look at a RAM dump as at a paused machine: raw, ELF core or LiME",
            keywords="file core lime memory image forensics",
        ),
        Action(
            id="machine.open_dump",
            title="Open the dump…",
            category=CATEGORY,
            run=open_dump,
            params=(Param("path", required=True, help="a raw, ELF core or LiME file"), Param("name")),
            icon=icons.ICON_FA_FOLDER_OPEN,
            in_palette=False,
        ),
    ]
