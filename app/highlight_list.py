"""Highlight list: what people and programs do with highlights: add, keep, change, take away, fly there, write out."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from app.actions import BadArguments
from app.chosen import Key, Pages, title_of
from app.highlights import (
    MAX_NAME,
    MAX_QUERY,
    MAX_RANGES,
    MOST_HIGHLIGHTS,
    QUERY,
    RANGES,
    BadHighlight,
    Highlight,
    Ranges,
    checked_colour,
    checked_key,
    free_name,
    next_colour,
    of_chosen,
    ranges_of_key,
    ranges_of_pages,
    replaced,
)
from app.user_paths import path_argument

if TYPE_CHECKING:
    from app.navigation import Navigation
    from app.state import AppState

FORMATS = (".json", ".csv")
"""What highlights are written out as, by the ending of the file's name."""
_ACTED_ON = ("=", "+", "-", "@", "\t", "\r")
"""A cell that begins so is a formula to a spreadsheet."""


class HighlightList:
    """Belongs to the main thread. What cannot be done raises BadArguments."""

    def __init__(self, state: AppState, navigation: Navigation) -> None:
        self._state = state
        self._navigation = navigation

    def add(
        self,
        machine: str,
        name: str = "",
        *,
        kind: str = "",
        key: str = "",
        query: str = "",
        pages: Pages | None = None,
        colour: str = "",
        fly: bool = True,
    ) -> Highlight:
        """Light something up beside what is lit, and fly there when its pages are known.

        Pages (n,) of the RAM file are taken as the answer to `query`; else a kind and a key say what it is, as in
        `choose.pages_of`, or RANGES and START+LENGTH,… of guest-physical addresses.
        """
        state = self._state
        if machine not in state.stage.feeds:
            raise BadArguments(f"the memory of {machine or 'a machine'} is not shown")
        if len(state.highlights) >= MOST_HIGHLIGHTS:
            raise BadArguments(f"there are {MOST_HIGHLIGHTS} highlights already; take some away")
        if len(query) > MAX_QUERY:
            raise BadArguments(f"a query of {len(query):,} characters is too long")
        try:
            kind, meant = (QUERY, "") if pages is not None else (kind, checked_key(kind, key, query))
            colour = checked_colour(colour) if colour else self._colour(machine, kind, meant)
        except BadHighlight as error:
            raise BadArguments(str(error)) from None
        title = name or query or self._title(machine, kind, meant)
        new = Highlight(machine, free_name(state.highlights, machine, title), colour, kind, meant, query)
        if pages is not None:
            new = replace(new, pages=self._pages(machine, pages))
        if fly:
            self._navigation.lighting.fly_when_known(new)
        self._navigation.light((*state.highlights, new))
        state.current = machine
        return self.named(new.name, machine)

    def _colour(self, machine: str, kind: str, key: Key) -> str:
        """What it has unless another is asked for: a process its own colour, all else one that fewest have."""
        listed = self._state.highlights
        own = self._state.kernels.process_colour(machine, key) if kind == "process" and isinstance(key, int) else None
        return next_colour(listed) if own is None or own in [one.colour for one in listed] else own

    def _title(self, machine: str, kind: str, key: Key) -> str:
        if kind == RANGES:
            ranges = ranges_of_key(key)
            more = f" and {len(ranges) - 1:,} more" if len(ranges) > 1 else ""
            return f"{ranges[0][0]:#x}{more}"
        return title_of(kind, key, self._state.kernels.sighting(machine))

    def keep(self, name: str = "", colour: str = "") -> Highlight:
        """Let what is chosen stay lit, as a highlight with a name and a colour of its own."""
        state, chosen = self._state, self._state.chosen
        if chosen is None:
            raise BadArguments("nothing is chosen that could be kept")
        if len(state.highlights) >= MOST_HIGHLIGHTS:
            raise BadArguments(f"there are {MOST_HIGHLIGHTS} highlights already; take some away")
        try:
            colour = checked_colour(colour) if colour else self._colour(chosen.machine, chosen.kind, chosen.key)
        except BadHighlight as error:
            raise BadArguments(str(error)) from None
        new = of_chosen(chosen, free_name(state.highlights, chosen.machine, name or chosen.title), colour)
        state.remember()
        self._navigation.choose(None, remember=False)
        self._navigation.light((*state.highlights, new), remember=False)
        return self.named(new.name, new.machine)

    def named(self, name: str, machine: str | None = None) -> Highlight:
        """A highlight by its name; of several machines' the current one's."""
        found = [one for one in self._state.highlights if one.name == name and machine in (None, one.machine)]
        if not found:
            names = ", ".join(dict.fromkeys(one.name for one in self._state.highlights))
            raise BadArguments(f"{name[:80]!r} is none of the highlights: {names[:400] or 'there are none'}")
        return next((one for one in found if one.machine == self._state.current), found[0])

    def change(
        self,
        name: str,
        *,
        machine: str | None = None,
        visible: bool | None = None,
        colour: str | None = None,
        new_name: str | None = None,
        remember: bool = True,
    ) -> Highlight:
        """Show or hide a highlight, give it another colour or name."""
        state, old = self._state, self.named(name, machine)
        new = old
        if visible is not None:
            new = replace(new, visible=visible)
        if colour is not None:
            try:
                new = replace(new, colour=checked_colour(colour))
            except BadHighlight as error:
                raise BadArguments(str(error)) from None
        if new_name is not None and new_name.strip()[:MAX_NAME] != old.name:
            others = [one for one in state.highlights if one is not old]
            new = replace(new, name=free_name(others, old.machine, new_name))
        if new != old:
            self._navigation.light(replaced(state.highlights, old, new), remember=remember)
        return self.named(new.name, new.machine)

    def set_pages(self, name: str, pages: Pages, machine: str | None = None) -> None:
        """Let a highlight of a query show what the query finds now: pages (n,) of the RAM file."""
        old = self.named(name, machine)
        new = replace(old, pages=self._pages(old.machine, pages), problem="")
        self._navigation.light(replaced(self._state.highlights, old, new), remember=False)

    def _pages(self, machine: str, pages: Pages) -> Pages:
        """Those that a machine has, rising, each once."""
        if machine not in self._state.stage.feeds:
            raise BadArguments(f"the memory of {machine} is not shown")
        found = np.unique(np.asarray(pages, np.int64))
        n_pages = self._state.stage.feeds[machine].store.n_pages
        return found[(found >= 0) & (found < n_pages)].astype(np.uint32)

    def remove(self, name: str, machine: str | None = None) -> None:
        """Let one go out."""
        self._navigation.light(replaced(self._state.highlights, self.named(name, machine), None))

    def relight(self, machine: str, query: str, new: Sequence[tuple[str, Ranges, str]], *, fly: bool = True) -> None:
        """Light ranges of addresses up, each with a name and a colour, in the place of all that were lit by `query`.

        Of more ranges than a highlight has the longest are lit. Flies to the last one.
        """
        state = self._state
        if machine not in state.stage.feeds:
            raise BadArguments(f"the memory of {machine or 'a machine'} is not shown")
        lit = [one for one in state.highlights if (one.machine, one.kind, one.query) != (machine, RANGES, query)]
        if len(lit) + len(new) > MOST_HIGHLIGHTS:
            raise BadArguments(f"there are {len(lit)} highlights already; take some away")
        for name, ranges, colour in new:
            longest = sorted(sorted(ranges, key=lambda one: -one[1])[:MAX_RANGES])
            key = tuple(number for both in longest for number in both)
            lit.append(Highlight(machine, free_name(lit, machine, name), checked_colour(colour), RANGES, key, query))
        if new and fly:
            self._navigation.lighting.fly_when_known(lit[-1])
        self._navigation.light(tuple(lit))

    def clear(self) -> int:
        """Let all go out; how many there were."""
        n = len(self._state.highlights)
        if n:
            self._navigation.light(())
        return n

    def restore(self, highlights: Sequence[Highlight], *, remember: bool = True) -> None:
        """Have these and no others, as a session file tells of them."""
        unique: list[Highlight] = []
        for one in highlights[:MOST_HIGHLIGHTS]:
            unique.append(replace(one, name=free_name(unique, one.machine, one.name)))
        self._navigation.light(tuple(unique), remember=remember)

    def fly(self, name: str, machine: str | None = None) -> None:
        """Fly to one, now or as soon as its pages are known."""
        self._state.remember()
        self._navigation.lighting.fly_when_known(self.named(name, machine))
        self._navigation.follow_chosen()

    # Writing out

    def export(self, path: str, name: str | None = None) -> dict[str, Any]:
        """Write one highlight, or all, to a file that is not there yet: JSON or CSV, by its ending.

        Returns what was written.
        """
        to = path_argument(path)
        if to.suffix.lower() not in FORMATS:
            raise BadArguments(
                f"path: it ends in {' or '.join(FORMATS)}, by which the format is chosen, not {to.name!r}"
            )
        if not to.is_absolute():
            raise BadArguments("path: it begins with / or ~, for the window has no working folder")
        shown = [self.named(name)] if name else list(self._state.highlights)
        if not shown:
            raise BadArguments("there are no highlights to be written")
        told = [self._told(one) for one in shown]
        text = json.dumps({"highlights": told}, indent=1) + "\n" if to.suffix.lower() == ".json" else csv_of(told)
        try:
            with to.open("x", encoding="utf-8", newline="") as file:  # never over a file that is there
                file.write(text)
        except FileExistsError:
            raise BadArguments(f"path: {to.name} is there already; choose another name") from None
        except OSError as error:
            raise BadArguments(f"path: {to} cannot be written: {error.strerror}") from None
        return {"path": str(to), "highlights": len(told), "ranges": sum(len(one["ranges"]) for one in told)}

    def _told(self, one: Highlight) -> dict[str, Any]:
        """It with the ranges of guest-physical addresses that it is now."""
        feed = self._state.stage.feeds.get(one.machine)
        ranges: list[list[int]] = []
        if feed is not None and one.pages is not None:
            ranges = ranges_of_pages(one.pages, feed.ram.physical_map).tolist()
        return {**one.describe(), "ranges": ranges}


def csv_of(told: Sequence[dict[str, Any]]) -> str:
    """A row a range: machine, highlight, start and length; names of guests are made harmless to spreadsheets."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("machine", "highlight", "start", "length_bytes"))
    for one in told:
        for start, length in one["ranges"]:
            writer.writerow((_harmless(one["machine"]), _harmless(one["name"]), f"{start:#x}", length))
    return out.getvalue()


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(_ACTED_ON) else text
