"""Actions on what is chosen in the guest: light its pages up, fly there, leave it, how far the rest dims."""

from __future__ import annotations

from typing import Any

from imgui_bundle import icons_fontawesome_6 as icons

from app.actions import Action, BadArguments, Param
from app.chosen import KINDS, BadKey, Chosen, key_text, parse_key, printable, title_of
from app.memory_shares import Share, shares_of
from app.session import Session

CHOICE = "Selection"


def _told(share: Share) -> dict[str, Any]:
    return {
        "title": share.title,
        "bytes": share.size_bytes,
        "pages": share.n_pages,
        "kind": share.kind,
        "key": key_text(share.key),
        "parts": [_told(part) for part in share.parts],
    }


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
        session.navigation.choose(Chosen(name, kind, meant, shown), fly=fly)
        assert state.chosen is not None
        return state.chosen.describe()

    def clear() -> None:
        session.navigation.choose(None)

    def fly() -> None:
        session.navigation.fly_to_chosen()

    def free(shown: bool | None = None) -> bool:
        state.statistics.with_free = not state.statistics.with_free if shown is None else shown
        return state.statistics.with_free

    def statistics(machine: str | None = None) -> list[dict[str, Any]]:
        name = machine or state.current
        sighting = None if name is None else state.kernels.sighting(name)
        if sighting is None or sighting.classes is None:
            raise BadArguments("no kernel is known there" if sighting is None else sighting.problem)
        return [_told(share) for share in shares_of(sighting)]

    def describe() -> dict[str, Any] | None:
        return None if state.chosen is None else state.chosen.describe()

    machine = Param("machine", "choice", choices=lambda: list(state.stage.feeds))
    return [
        Action(
            id="choose.pages_of",
            title="Light up the pages of…",
            category=CHOICE,
            run=pages_of,
            params=(
                Param("kind", "choice", required=True, choices=lambda: tuple(KINDS)),
                Param("key", required=True, help="; ".join(f"{kind}: {form}" for kind, form in KINDS.items())),
                machine,
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
        Action(
            id="statistics.free",
            title="Count free memory in the picture of statistics",
            category=CHOICE,
            run=free,
            params=(Param("shown", "flag"),),
            in_palette=False,
        ),
        Action(
            id="statistics.describe",
            title="Say what memory is used for",
            category=CHOICE,
            run=statistics,
            params=(machine,),
            in_palette=False,
            help="Categories with their parts, as the panel Statistics shows them",
        ),
    ]
