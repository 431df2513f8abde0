"""Actions on the views themselves: open another, close it, choose the one that keys are about, link cameras."""

from __future__ import annotations

from typing import Any

from imgui_bundle import icons_fontawesome_6 as icons

from app.actions import Action, BadArguments, Param
from app.panes import MAX_PANES
from app.session import Session

VIEW = "View"
DIRECTIONS = ("right", "below")


def pane_actions(session: Session) -> list[Action]:
    """Return the actions."""
    state, stage = session.state, session.state.stage

    def names() -> list[str]:
        return [pane.name for pane in stage.panes]

    def split(where: str = "right", view: str | None = None) -> str:
        state.remember()
        beside = stage.panes.named(view).name
        session.looks.activate(beside)
        pane = stage.panes.open()
        state.to_dock.append((pane.name, beside, where == "below"))
        session.looks.activate(pane.name)
        return pane.name

    def close(view: str | None = None) -> None:
        pane = stage.panes.named(view)
        if pane is stage.panes[0]:
            raise BadArguments(f"{pane.name} is the first view, which stays open")
        session.looks.close_pane(pane.name)

    def activate(view: str) -> None:
        session.looks.activate(view)

    def next_view() -> str:
        index = stage.panes.index(stage.active)
        name = stage.panes[(index + 1) % len(stage.panes)].name
        session.looks.activate(name)
        return name

    def link(view: str | None = None, linked: bool | None = None) -> bool:
        pane = stage.panes.named(view)
        stage.panes.link(pane.name, not pane.linked if linked is None else linked)
        return pane.linked

    def describe() -> list[dict[str, Any]]:
        return [
            {
                "view": pane.name,
                "active": pane is stage.active,
                "linked": pane.linked,
                "rect": list(pane.rect),
                "mode": pane.view.look.mode,
                "channel": pane.view.look.channel,
            }
            for pane in stage.panes
        ]

    def may_split() -> str | None:
        return None if len(stage.panes) < MAX_PANES else f"{MAX_PANES} views are open, which is as many as there can be"

    def several() -> str | None:
        return None if len(stage.panes) > 1 else "There is only one view"

    which = Param("view", "choice", choices=names)
    return [
        Action(
            id="view.split",
            title="Open another view",
            category=VIEW,
            run=split,
            params=(Param("where", "choice", choices=lambda: DIRECTIONS), which),
            shortcuts=("V",),
            why_not=may_split,
            icon=icons.ICON_FA_TABLE_COLUMNS,
            help="The same memory once more, with a look and a camera of its own",
            keywords="split second volume compare side by side",
        ),
        Action(
            id="view.close",
            title="Close this view",
            category=VIEW,
            run=close,
            params=(which,),
            shortcuts=("Shift+V",),
            why_not=several,
            icon=icons.ICON_FA_XMARK,
        ),
        Action(
            id="view.activate",
            title="Go to the view…",
            category=VIEW,
            run=activate,
            params=(Param("view", "choice", required=True, choices=names),),
            why_not=several,
            icon=icons.ICON_FA_ARROW_POINTER,
        ),
        Action(
            id="view.next",
            title="Go to the next view",
            category=VIEW,
            run=next_view,
            shortcuts=("Ctrl+1",),
            why_not=several,
            icon=icons.ICON_FA_ARROW_RIGHT,
        ),
        Action(
            id="view.link",
            title="Link this view's camera, or let it go",
            category=VIEW,
            run=link,
            params=(which, Param("linked", "flag")),
            shortcuts=("L",),
            why_not=several,
            icon=icons.ICON_FA_LINK,
            help="Linked cameras move as one",
        ),
        Action(id="view.list", title="List the views", category=VIEW, run=describe, in_palette=False),
    ]
