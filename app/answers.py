"""Answers: what is done with what a question found: it lights up, is gone to, kept lit or left out; its verb says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from app.actions import ActionError, BadArguments
from app.chosen import Chosen, printable
from app.found_rows import NOWHERE
from app.highlights import MAX_RANGES, QUERY, RANGES
from app.jobs import Job, JobState
from app.layout import RESULTS
from bridge.semantic.query.model import Kind, Relation, Verb

if TYPE_CHECKING:
    from app.found_rows import FoundRow
    from app.highlight_list import HighlightList
    from app.highlights import Highlight
    from app.keeping import Keeping
    from app.navigation import Navigation
    from app.queries import Asked
    from app.state import AppState


class NoAnswer(ActionError):
    """A question that a program put has no answer; the message says why, and what could be asked instead."""


class Answers:
    """Belongs to the main thread."""

    def __init__(self, state: AppState, navigation: Navigation, highlights: HighlightList, kept: Keeping) -> None:
        self._state, self._navigation, self._highlights, self._kept = state, navigation, highlights, kept

    def ask(self, text: str, machine: str, *, fly: bool = True) -> Job:
        """Ask, show what is found, and do what the verb says; `fly` there. Raises BadArguments."""
        job = self._state.queries.ask(text, machine, lambda asked: self._do(asked, fly=fly))
        self.show_panel()
        return job

    def show_panel(self) -> None:
        """Bring the results to the front."""
        if not self._state.settings.show_results:
            self._kept.change(show_results=True)
        self._state.front_panel = RESULTS

    def highlight(self, text: str, machine: str, name: str = "", colour: str = "", *, fly: bool = True) -> Job:
        """Ask for a program, and keep what is found lit under a name; the job's result describes the highlight."""

        def keep(asked: Asked) -> None:
            if asked.result is None:
                other = f" Ask instead: {'; '.join(asked.nearest)}." if asked.nearest else ""
                job.state, job.error = JobState.FAILED, NoAnswer(asked.problem + other)
                return
            pages = asked.result.pages
            try:
                title = name or shown_title(asked)
                made = self._highlights.add(machine, title, query=asked.title, pages=pages, colour=colour, fly=fly)
            except BadArguments as error:
                job.state, job.error = JobState.FAILED, error
                return
            job.result = made.describe()

        job = self._state.queries.find(text, machine, keep)
        return job

    def light(self, asked: Asked, row: FoundRow, *, fly: bool = True) -> None:
        """Light up one of the things that were found."""
        self._navigation.choose(chosen_of(asked, row), fly=fly)

    def light_all(self, asked: Asked, *, fly: bool = True) -> None:
        """Light up all that was found."""
        if asked.result is None:
            return
        title = shown_title(asked)
        self._navigation.choose(Chosen(asked.machine, QUERY, asked.title, title, asked.result.pages), fly=fly)

    def keep(self, asked: Asked, row: FoundRow | None = None) -> Highlight:
        """Let all that was found, or one thing of it, stay lit. Raises BadArguments."""
        if asked.result is None:
            raise BadArguments("there is no answer that could be kept")
        if row is None:
            title = shown_title(asked)
            return self._highlights.add(asked.machine, title, query=asked.title, pages=asked.result.pages, fly=False)
        match = row.match
        return self._highlights.add(asked.machine, match.label, query=asked.title, pages=match.pages, fly=False)

    def go(self, asked: Asked, row: FoundRow) -> None:
        """Select the first byte of one of the things that were found, and fly there. Raises BadArguments."""
        if row.first == NOWHERE:
            raise BadArguments(f"{row.match.label} is not in memory")
        self._navigation.go_to(row.first, asked.machine)

    def _do(self, asked: Asked, *, fly: bool) -> None:
        result = asked.result
        if result is None or asked.machine not in self._state.stage.feeds:
            return
        verb = result.query.verb
        if not len(result.pages):
            if verb in (Verb.SHOW, Verb.GO_TO):  # what was found before would be taken for the answer
                self._navigation.choose(None, fly=False)
            return
        if verb is Verb.HIDE:
            # What is not meant stays as it is, what is meant recedes.
            n_pages = self._state.stage.feeds[asked.machine].store.n_pages
            rest = np.setdiff1d(np.arange(n_pages, dtype=np.uint32), result.pages, assume_unique=True)
            title = printable(f"All but {result.query.target}")
            self._navigation.choose(Chosen(asked.machine, QUERY, asked.title, title, rest), fly=False)
        elif verb is Verb.HIGHLIGHT:
            self.keep(asked)
            if fly:
                self._highlights.fly(self._state.highlights[-1].name, asked.machine)
        elif verb is not Verb.COUNT:
            self.light_all(asked, fly=fly)


def shown_title(asked: Asked) -> str:
    """What a question is called on the screen: `heap of process "dropbear"`."""
    title = asked.title
    for verb in (Verb.SHOW, Verb.HIGHLIGHT, Verb.GO_TO):
        title = title.removeprefix(f"{verb} ")
    return printable(title)


def chosen_of(asked: Asked, row: FoundRow) -> Chosen:
    """One thing that was found as what is chosen: a whole process as such, so that all panels follow it and its pages
    are asked for again; else its addresses.
    """
    match, query = row.match, asked.query
    assert query is not None
    whole = query.within is None and query.when is None and query.relation in (Relation.MEMORY, Relation.CHILDREN)
    if match.kind == "process" and match.pid and whole and query.subject.kind is Kind.PROCESS:
        return Chosen(asked.machine, "process", match.pid, match.label)
    if 0 < len(match.ranges) <= MAX_RANGES:
        key = tuple(int(number) for number in match.ranges.reshape(-1))
        return Chosen(asked.machine, RANGES, key, match.label, match.pages)
    return Chosen(asked.machine, QUERY, asked.title, match.label, match.pages)
