"""Kept highlights: what was lit up in each machine, kept between runs in a small file, and lit again when it is back.

What a highlight is of is kept, not its pages. A machine that was started anew has other processes and other addresses
under the same numbers: of what is known by those, nothing is lit again but in the very run that it was of.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.chosen import OF
from app.highlights import MAX_NAME, MOST_HIGHLIGHTS, RANGES, BadHighlight, Highlight, Highlights, from_document
from app.settings import read_bounded, set_aside, write_atomically

if TYPE_CHECKING:
    from app.highlight_list import HighlightList
    from app.keeping import Keeping
    from app.notices import Notices
    from app.state import AppState

FILE = "highlights.json"
VERSION = 1
MAX_MACHINES = 32
"""Those that were lit up last."""
SAVE_AFTER_S = 1.0
OF_ONE_RUN = frozenset({"process", "region", "stack", "tables", "symbol"})
"""Kinds whose keys are numbers that a guest gives anew each time it starts."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What was lit up in a machine that was started then, in seconds since the epoch; a dump has its file's time."""

    started_at_s: float
    highlights: Highlights


class KeptHighlights:
    """Belongs to the main thread."""

    def __init__(self, state: AppState, listed: HighlightList, kept: Keeping, notices: Notices) -> None:
        self._state, self._listed, self._keeping, self._notices = state, listed, kept, notices
        self._kept: dict[str, Kept] = {}
        self._saved = self._kept
        self._back: set[str] = set()  # machines that had theirs back in this run
        self._noted: Highlights = ()
        self._changed_s: float | None = None

    def load(self) -> None:
        """Know what was lit up in the last run."""
        if not self._keeping.keeps:
            return
        path = self._keeping.folder / FILE
        try:
            self._kept = self._saved = kept_from(json.loads(read_bounded(path)))
        except FileNotFoundError:
            return
        except (OSError, ValueError, RecursionError) as error:
            told = set_aside(path, "highlights of the last run", error, "Nothing is lit up")
            self._notices.warn("Your highlights were set aside", told)

    def follow(self) -> None:
        """Light up what was lit in machines that came, and keep what is lit now."""
        if not self._keeping.keeps:
            return
        for machine in [name for name in self._state.stage.feeds if name not in self._back]:
            self._bring_back(machine)
        if self._state.highlights is not self._noted:
            self._note()
        if self._changed_s is not None and self._state.now_s - self._changed_s > SAVE_AFTER_S:
            self.save()

    def _bring_back(self, machine: str) -> None:
        there, kept = self._state.machine(machine), self._kept.get(machine)
        if there is None:
            return
        self._back.add(machine)
        lit = self._state.highlights
        if kept is None or any(one.machine == machine for one in lit):  # a session was opened that says what is lit
            return
        same_run = kept.started_at_s == there.info.started_at_s
        own = [one for one in kept.highlights if same_run or outlives_a_run(one)]
        if own:
            self._listed.restore((*lit, *own), remember=False)

    def _note(self) -> None:
        now, self._noted = self._state.highlights, self._state.highlights
        kept = dict(self._kept)
        for machine in self._back:
            own = tuple(one for one in now if one.machine == machine and not passes(one))
            there = self._state.machine(machine)
            before = kept.pop(machine, None)
            if not own:
                continue
            started_at_s = there.info.started_at_s if there is not None else before.started_at_s if before else 0.0
            kept[machine] = Kept(started_at_s, own)  # the last one that changed is the last to be forgotten
        while len(kept) > MAX_MACHINES:
            del kept[next(iter(kept))]
        self._kept = kept
        if kept != self._saved:
            self._changed_s = self._state.now_s

    def save(self) -> None:
        """Write them if they changed; a disk that refuses is said, not fatal."""
        self._changed_s = None
        if not self._keeping.keeps or self._kept == self._saved:
            return
        self._saved = self._kept
        try:
            write_atomically(self._keeping.folder / FILE, json.dumps(document_of(self._kept), indent=1) + "\n")
        except OSError as error:
            self._notices.report(error, "The highlights could not be saved")


def passes(one: Highlight) -> bool:
    """Whether it is a moment's answer, as of what can be reached: addresses that mean nothing later."""
    return one.kind == RANGES and bool(one.query)


def outlives_a_run(one: Highlight) -> bool:
    """Whether it means the same in a guest that was started anew."""
    return one.kind not in OF_ONE_RUN and not (one.kind == "category" and OF in str(one.key))


def document_of(kept: Mapping[str, Kept]) -> dict[str, Any]:
    """It as JSON values."""
    machines = [
        {"name": name, "started_at_s": one.started_at_s, "highlights": [lit.document() for lit in one.highlights]}
        for name, one in kept.items()
    ]
    return {"version": VERSION, "machines": machines}


def kept_from(document: object) -> dict[str, Kept]:
    """What a document tells of, which anybody may have written. Raises BadHighlight."""
    if not isinstance(document, Mapping) or document.get("version") != VERSION:
        raise BadHighlight(f"kept highlights are an object of version {VERSION}")
    machines = document.get("machines")
    if not isinstance(machines, list) or len(machines) > MAX_MACHINES:
        raise BadHighlight(f"the machines are a list of at most {MAX_MACHINES}")
    return dict(_machine(one) for one in machines)


def _machine(told: object) -> tuple[str, Kept]:
    if not isinstance(told, Mapping):
        raise BadHighlight("a machine is an object")
    name, started_at_s, listed = told.get("name"), told.get("started_at_s"), told.get("highlights")
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
        raise BadHighlight("a machine's name is text, not empty and not long")
    if isinstance(started_at_s, bool) or not isinstance(started_at_s, int | float) or not math.isfinite(started_at_s):
        raise BadHighlight("when a machine was started is a number")
    if not isinstance(listed, list) or len(listed) > MOST_HIGHLIGHTS:
        raise BadHighlight(f"highlights are a list of at most {MOST_HIGHLIGHTS}")
    own = tuple(from_document(one) for one in listed)
    if any(one.machine != name for one in own):
        raise BadHighlight(f"a highlight under {name!r} is of another machine")
    return name, Kept(float(started_at_s), own)
