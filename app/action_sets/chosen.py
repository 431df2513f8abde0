"""Actions on what is chosen in the guest: light its pages up, fly there, leave it, how far the rest dims."""

from __future__ import annotations

from typing import Any

from imgui_bundle import icons_fontawesome_6 as icons

from app.actions import Action, BadArguments, Param
from app.chosen import KINDS, BadKey, Chosen, parse_key, printable, title_of
from app.session import Session

CHOICE = "Selection"


def chosen_actions(session: Session) -> list[Action]:
    """Return the actions."""
    state = session.state

    def needs_volume() -> str | None:
        return None if state.stage.feeds else "No machine's memory is shown"

    def needs_chosen() -> str | None:
        return None if state.chosen is not None else "Nothing is chosen"

    def pages_of(
        kind: str, key: str, machine: str | None = None, title: str | None = None, fly: bool = True
    ) -> dict[str, Any]:
        name = machine or state.current
        if name is None or name not in state.stage.feeds:
            raise BadArguments(f"the memory of {name or 'a machine'} is not shown")
        try:
            meant = parse_key(kind, key)
        except BadKey as error:
            raise BadArguments(str(error)) from None
        shown = printable(title) if title else title_of(kind, meant, state.kernels.sighting(name))
        session.choose(Chosen(name, kind, meant, shown), fly=fly)
        assert state.chosen is not None
        return state.chosen.describe()

    def clear() -> None:
        session.choose(None)

    def fly() -> None:
        session.fly_to_chosen()

    def describe() -> dict[str, Any] | None:
        return None if state.chosen is None else state.chosen.describe()

    return [
        Action(
            id="choose.pages_of",
            title="Light up the pages of…",
            category=CHOICE,
            run=pages_of,
            params=(
                Param("kind", "choice", required=True, choices=lambda: tuple(KINDS)),
                Param("key", required=True, help="; ".join(f"{kind}: {form}" for kind, form in KINDS.items())),
                Param("machine", "choice", choices=lambda: list(state.stage.feeds)),
                Param("title", help="what to call it; found out unless it is said"),
                Param("fly", "flag", help="fly there; on unless it is said"),
            ),
            why_not=needs_volume,
            icon=icons.ICON_FA_HIGHLIGHTER,
            in_palette=False,
            help="Its pages glow, all others dim, and the camera flies there",
        ),
        Action(
            id="choose.clear",
            title="Light nothing up",
            category=CHOICE,
            run=clear,
            why_not=needs_chosen,
            icon=icons.ICON_FA_XMARK,
            help="All pages are shown as always; Escape does it too",
            keywords="chosen highlight off clear leave",
        ),
        Action(
            id="choose.fly",
            title="Fly to what is lit up",
            category=CHOICE,
            run=fly,
            why_not=needs_chosen,
            icon=icons.ICON_FA_CROSSHAIRS,
            keywords="chosen highlight go there",
        ),
        Action(
            id="choose.describe",
            title="What is chosen",
            category=CHOICE,
            run=describe,
            in_palette=False,
            help="Its machine, kind, key, title and how many pages it has, or nothing",
        ),
    ]
