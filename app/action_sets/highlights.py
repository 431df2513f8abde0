"""Actions on highlights: light several things up at once, keep what is chosen, colours, names, and files of them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from imgui_bundle import icons_fontawesome_6 as icons

from app.actions import Action, Param
from app.chosen import KINDS
from app.highlights import RANGES
from app.session import Session

HIGHLIGHTS = "Highlights"


def highlight_actions(session: Session) -> list[Action]:
    """Return the actions."""
    state, listed = session.state, session.highlights

    def needs_volume() -> str | None:
        return None if state.stage.feeds else "No machine's memory is shown"

    def needs_chosen() -> str | None:
        return None if state.chosen is not None else "Nothing is chosen"

    def needs_any() -> str | None:
        return None if state.highlights else "There are no highlights"

    def add(
        kind: str,
        key: str,
        machine: str | None = None,
        name: str | None = None,
        colour: str | None = None,
        fly: bool = True,
    ) -> dict[str, Any]:
        on = machine or state.current or ""
        return listed.add(on, name or "", kind=kind, key=key, colour=colour or "", fly=fly).describe()

    def keep(name: str | None = None, colour: str | None = None) -> dict[str, Any]:
        return listed.keep(name or "", colour or "").describe()

    def toggle(name: str, shown: bool | None = None, machine: str | None = None) -> bool:
        now = listed.named(name, machine)
        return listed.change(name, machine=machine, visible=not now.visible if shown is None else shown).visible

    def recolour(name: str, colour: str, machine: str | None = None) -> str:
        return listed.change(name, machine=machine, colour=colour).colour

    def rename(name: str, to: str, machine: str | None = None) -> str:
        return listed.change(name, machine=machine, new_name=to).name

    def remove(name: str, machine: str | None = None) -> None:
        listed.remove(name, machine)

    def fly(name: str, machine: str | None = None) -> None:
        listed.fly(name, machine)

    def export(path: str | None = None, name: str | None = None) -> dict[str, Any]:
        written = listed.export(path or str(Path.home() / time.strftime("glassbox-highlights-%Y%m%d-%H%M%S.csv")), name)
        session.notices.tell("Highlights were written", written["path"], good=True)
        return written

    def described() -> list[dict[str, Any]]:
        return [one.describe() for one in state.highlights]

    which = Param("name", "choice", required=True, choices=lambda: [one.name for one in state.highlights])
    one_of = Param("name", "choice", choices=lambda: [one.name for one in state.highlights])
    machine = Param("machine", "choice", choices=lambda: list(state.stage.feeds))
    colour = Param("colour", help="#rrggbb; one that fewest have unless it is said")
    forms = {**KINDS, RANGES: "START+LENGTH,… of physical addresses"}
    return [
        Action(
            id="highlight.add",
            title="Light up beside what is lit…",
            category=HIGHLIGHTS,
            run=add,
            params=(
                Param("kind", "choice", required=True, choices=lambda: tuple(forms)),
                Param("key", required=True, help="; ".join(f"{kind}: {form}" for kind, form in forms.items())),
                machine,
                Param("name", help="what to call it; found out unless it is said"),
                colour,
                Param("fly", "flag", help="fly there; on unless it is said"),
            ),
            why_not=needs_volume,
            icon=icons.ICON_FA_HIGHLIGHTER,
            in_palette=False,
            help="It glows in a colour of its own, with an outline and a name, until it is removed",
        ),
        Action(
            id="highlight.keep",
            title="Keep what is chosen lit",
            category=HIGHLIGHTS,
            run=keep,
            params=(Param("name", help="what to call it; as it is called now unless it is said"), colour),
            shortcuts=("H",),
            why_not=needs_chosen,
            icon=icons.ICON_FA_THUMBTACK,
            help="It gets a colour and stays, also when something else is chosen",
            keywords="pin highlight selection",
        ),
        Action(
            id="highlight.toggle",
            title="Show or hide the highlight…",
            category=HIGHLIGHTS,
            run=toggle,
            params=(which, Param("shown", "flag"), machine),
            why_not=needs_any,
            icon=icons.ICON_FA_EYE,
        ),
        Action(
            id="highlight.fly",
            title="Fly to the highlight…",
            category=HIGHLIGHTS,
            run=fly,
            params=(which, machine),
            why_not=needs_any,
            icon=icons.ICON_FA_CROSSHAIRS,
        ),
        Action(
            id="highlight.recolour",
            title="Colour a highlight…",
            category=HIGHLIGHTS,
            run=recolour,
            params=(which, Param("colour", required=True, help="#rrggbb"), machine),
            why_not=needs_any,
            icon=icons.ICON_FA_PALETTE,
            in_palette=False,
        ),
        Action(
            id="highlight.rename",
            title="Rename a highlight…",
            category=HIGHLIGHTS,
            run=rename,
            params=(which, Param("to", required=True), machine),
            why_not=needs_any,
            icon=icons.ICON_FA_PEN,
            in_palette=False,
        ),
        Action(
            id="highlight.remove",
            title="Remove the highlight…",
            category=HIGHLIGHTS,
            run=remove,
            params=(which, machine),
            why_not=needs_any,
            icon=icons.ICON_FA_XMARK,
        ),
        Action(
            id="highlight.clear",
            title="Remove all highlights",
            category=HIGHLIGHTS,
            run=listed.clear,
            why_not=needs_any,
            icon=icons.ICON_FA_BROOM,
            help="What is chosen stays lit",
        ),
        Action(
            id="highlight.export",
            title="Write the highlights' addresses to a file",
            category=HIGHLIGHTS,
            run=export,
            params=(
                Param("path", help="a new file that ends in .csv or .json; one in the home folder unless it is said"),
                one_of,
            ),
            why_not=needs_any,
            icon=icons.ICON_FA_FILE_EXPORT,
            help="Ranges of physical addresses, as CSV or JSON",
            keywords="save csv json ranges",
        ),
        Action(
            id="highlight.list",
            title="Say what is highlighted",
            category=HIGHLIGHTS,
            run=described,
            in_palette=False,
            help="Each one's machine, name, colour, what it is of, and how many pages it has",
        ),
    ]
