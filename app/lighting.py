"""Lighting: the pages of what is chosen and of every highlight, kept known, lit in the volumes, named beside them."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.chosen import ASK_EVERY_S, Chosen, Pages, seen_pages
from app.highlights import QUERY, RANGES, Highlight, Highlights, pages_of_ranges, ranges_of_key
from render.named_pages import NamedPages
from render.palettes import linear_from_hex

if TYPE_CHECKING:
    from app.kernels import Kernels
    from app.stage import Stage
    from render.bricks import BrickStore

_CHOSEN_TINT, _TINT = 0.15, 0.8
"""How far their colours take the place of the bytes' own: what is chosen is told by its light, not by its colour."""
_ASKED_AT_EASE = 8
"""With more highlights than this each one's pages are asked for less often: the worker has others to serve."""
CHOSEN_KEY = "chosen"
"""What tells the name of what is chosen from those of highlights, beside the volume."""
_Kept = TypeVar("_Kept", Chosen, Highlight)


class Lighting:
    """Belongs to the main thread."""

    def __init__(self, stage: Stage, kernels: Kernels) -> None:
        self._stage = stage
        self._kernels = kernels
        self._sources: dict[object, object] = {}  # by whose pages: the answer or the sighting that they are from
        self._lit: dict[str, tuple[object, ...]] = {}  # by machine: its store, and what it shows
        self._named: tuple[object, ...] = ()
        self._flies: set[object] = set()
        self._last_s = 0.0

    def fly_when_known(self, whom: Chosen | Highlight) -> None:
        """Fly to the pages of one of them as soon as they are known; to no other's."""
        self._flies = {_whose(whom)}

    def ask_anew(self, whom: Chosen | Highlight) -> None:
        """Another thing is meant by it than before."""
        self._sources.pop(_whose(whom), None)

    def update(self, chosen: Chosen | None, highlights: Highlights, now_s: float) -> tuple[Chosen | None, Highlights]:
        """Bring pages, light and names up to date; returns both with what is known of them now."""
        if chosen is not None and chosen.machine not in self._stage.feeds:
            chosen = None
        every_s = ASK_EVERY_S * max(1.0, len(highlights) / _ASKED_AT_EASE)
        if chosen is not None:
            chosen = self._looked_up(chosen, now_s, ASK_EVERY_S)
        known = tuple(self._looked_up(highlight, now_s, every_s) for highlight in highlights)
        if all(now is before for now, before in zip(known, highlights, strict=True)):
            known = highlights
        self._light(chosen, known)
        self._name(chosen, known)
        self._fly(chosen, known)
        whose = {_whose(one) for one in _all(chosen, known)}
        self._sources = {key: source for key, source in self._sources.items() if key in whose}
        return chosen, known

    # Pages

    def _looked_up(self, whom: _Kept, now_s: float, every_s: float) -> _Kept:
        """It with its pages as they are now."""
        feed = self._stage.feeds.get(whom.machine)
        if feed is None:
            self._sources.pop(_whose(whom), None)  # what was heard of it then says nothing when it is shown again
            return _unknown(whom, f"The memory of {whom.machine} is not shown")
        if whom.kind in (QUERY, RANGES):
            return self._stated(whom, feed.store, feed.ram.physical_map)
        sighting, whose = self._kernels.sighting(whom.machine), _whose(whom)
        source = self._sources.get(whose)
        pages = None
        if sighting is not source or sighting is None:
            pages = seen_pages(sighting, whom.kind, whom.key)
        if pages is not None:
            self._sources[whose] = sighting
            return self._known(whom, pages)
        if whom.kind in ("class", "part", "category"):
            problem = sighting.problem if sighting is not None and sighting.classes is None else ""
            return replace(whom, problem=problem) if problem != whom.problem else whom
        answer = self._kernels.ask(whom.machine, "pages_of", whom.kind, whom.key, now_s=now_s, every_s=every_s)
        if answer is None or answer is source:
            return whom
        self._sources[whose] = answer
        if answer.problem:
            return replace(whom, problem=answer.problem)
        return self._known(whom, np.asarray(answer.value))

    def _stated(self, whom: _Kept, store: BrickStore, physical: Any) -> _Kept:
        """One whose pages do not follow the guest: ranges of addresses, or what a query found."""
        if whom.kind == QUERY:
            # Whatever stood in its way before: its machine is shown now.
            return whom if whom.pages is not None else _unknown(whom, "Ask again to see what it finds now")
        source, whose = (store, physical), _whose(whom)
        if whom.pages is not None and self._sources.get(whose) == source:
            return whom
        self._sources[whose] = source
        return self._known(whom, pages_of_ranges(ranges_of_key(whom.key), physical, store.n_pages))

    def _known(self, whom: _Kept, pages: NDArray[Any]) -> _Kept:
        n_pages = self._stage.feeds[whom.machine].store.n_pages
        kept = np.unique(pages[pages < n_pages]).astype(np.uint32)  # RAM may have shrunk since
        if whom.pages is not None and not whom.problem and np.array_equal(whom.pages, kept):
            return whom
        return replace(whom, pages=kept, problem="")

    # Light

    def _light(self, chosen: Chosen | None, highlights: Highlights) -> None:
        """Set what each volume shows, where that is something else than before."""
        for machine, feed in self._stage.feeds.items():
            sets = lit_sets(machine, chosen, highlights, self._stage.accent)
            # Arrays of pages are never written to: another one means other pages.
            wanted = (feed.store, *((id(pages), colour) for pages, colour in sets))
            if self._lit.get(machine) == wanted:
                continue
            self._lit[machine] = wanted
            index = index_of_sets([pages for pages, _ in sets], feed.store.n_pages)
            feed.store.set_highlights(index, np.array([colour for _, colour in sets]).reshape(-1, 4))
        self._lit = {machine: lit for machine, lit in self._lit.items() if machine in self._stage.feeds}

    def _name(self, chosen: Chosen | None, highlights: Highlights) -> None:
        """Name what is lit beside the volumes."""
        named = []
        if chosen is not None and chosen.pages is not None:
            accent = self._stage.accent_hex
            named.append(NamedPages(CHOSEN_KEY, chosen.machine, chosen.pages, chosen.title, accent))
        named += [
            NamedPages(callout_key(one), one.machine, one.pages, one.name, one.colour)
            for one in highlights
            if one.visible and one.pages is not None
        ]
        wanted = tuple((one.key, id(one.pages), one.text, one.colour) for one in named)
        if wanted != self._named:
            self._named = wanted
            self._stage.panes.name_pages(named)

    def _fly(self, chosen: Chosen | None, highlights: Highlights) -> None:
        for one in _all(chosen, highlights):
            if _whose(one) in self._flies and one.pages is not None:
                self._flies.clear()
                if len(one.pages):
                    self._stage.fly_to_pages(one.machine, one.pages, time.monotonic())


def _unknown(whom: _Kept, problem: str) -> _Kept:
    """It without pages, and why; the same object where that is no news, so that nobody takes it for a change."""
    if whom.pages is None and whom.problem == problem:
        return whom
    return replace(whom, pages=None, problem=problem)


def callout_key(highlight: Highlight) -> str:
    """What tells its name from the others beside the volume."""
    return f"{highlight.machine}/{highlight.name}"


def _all(chosen: Chosen | None, highlights: Highlights) -> list[Chosen | Highlight]:
    return [*highlights] if chosen is None else [*highlights, chosen]


def _whose(whom: Chosen | Highlight) -> tuple[object, ...]:
    """Who owns pages: a highlight keeps them under another name, and what is chosen is always the one thing."""
    shown = whom.name if isinstance(whom, Highlight) else None
    return shown, whom.machine, whom.kind, whom.key


def lit_sets(
    machine: str, chosen: Chosen | None, highlights: Highlights, accent: tuple[float, float, float]
) -> list[tuple[Pages, tuple[float, float, float, float]]]:
    """The pages (n,) that are lit in a machine's volume, with their colours in linear light and how far those tint.

    From the back to the front: of two that share a page the smaller one shows it, and what is chosen before all.
    """
    found: list[tuple[Pages, tuple[float, float, float, float]]] = [
        (one.pages, (*linear_from_hex(one.colour), _TINT))
        for one in sorted(highlights, key=lambda one: -one.size_bytes)
        if one.machine == machine and one.visible and one.pages is not None and len(one.pages)
    ]
    if chosen is not None and chosen.machine == machine and chosen.pages is not None and len(chosen.pages):
        found.append((chosen.pages, (*accent, _CHOSEN_TINT)))
    return found


def index_of_sets(sets: list[Pages], n_pages: int) -> NDArray[np.uint8] | None:
    """(n_pages,) which set shows each page, from one on, the later before the earlier; 0: none. None where none does,
    so that nothing dims: there is nothing to see.
    """
    index = np.zeros(n_pages, np.uint8)
    for number, pages in enumerate(sets, start=1):
        index[pages] = number
    return index if sets else None
