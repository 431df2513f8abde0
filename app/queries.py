"""Queries: what was asked in the search box and what was found, one question at a time, in a job."""

from __future__ import annotations

import io
import itertools
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from app.actions import BadArguments
from app.found_rows import NO_ROWS, FoundRows
from app.window_world import Ask, WindowWorld, names_of_machine
from bridge.kernel.errors import KernelError
from bridge.machine.plain_files import open_plain, user_path
from bridge.memory.errors import GuestMemoryError
from bridge.semantic.query.answering import Result, answer_query
from bridge.semantic.query.desk_world import no_rules
from bridge.semantic.query.model import MAX_RULES, BadQuery, NotUnderstood, Query, Understood
from bridge.semantic.query.names import NO_NAMES, Names
from bridge.semantic.query.parser import understand
from bridge.semantic.search.pattern import BadPattern

if TYPE_CHECKING:
    from app.jobs import Job, Jobs
    from app.kernels import Kernels
    from app.page_ages import PageAges
    from app.stage import Stage
    from bridge.memory.ram import GuestRam

KEPT = 50
"""Questions that are remembered."""
NAMES_FRESH_S = 2.0
NAMES_SERVE_S = 10.0
"""So old, names still tell what a text means that is understood without assuming anything; finding them takes longer
than most answers.
"""
PATIENCE_S = 0.15
"""For so long the answer before stays shown while the next is looked for: most are found sooner."""
TOLD = 20
"""Matches in a summary."""
Rules = Callable[[str], str]
"""The YARA rules in the file of a path."""
_FORESEEN = (KernelError, GuestMemoryError, BadPattern, BadQuery)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, and what is known of its answer so far."""

    number: int
    machine: str
    text: str
    """As it was typed."""
    query: Query | None = None
    """None where it is not understood, or not yet."""
    assumed: tuple[str, ...] = ()
    result: Result | None = field(default=None, compare=False)
    rows: FoundRows = field(default=NO_ROWS, compare=False, repr=False)
    """The answer as it is listed."""
    problem: str = ""
    """Why there is no answer, in a sentence."""
    nearest: tuple[str, ...] = ()
    """What could be asked instead."""
    running: bool = True
    asked_s: float = 0.0
    """time.monotonic()."""
    answered_s: float = 0.0
    """time.monotonic()."""

    @property
    def title(self) -> str:
        """What it is called: its normalised text, else what was typed."""
        return str(self.query) if self.query is not None else self.text

    def summary(self) -> dict[str, Any]:
        """It in short as JSON values: how much was found, and the first few of it."""
        result = self.result
        told = {"machine": self.machine, "query": self.title, "problem": self.problem, "nearest": list(self.nearest)}
        if result is None:
            return told
        return {
            **told,
            "assumed": list(self.assumed),
            "count": result.count,
            "pages": len(result.pages),
            "labels": [result.matches.label(at) for at in range(min(TOLD, result.count))],
            "complete": result.complete,
            "notes": list(result.notes),
            "elapsed_ms": round(result.elapsed_s * 1000, 3),
        }

    def describe(self) -> dict[str, Any]:
        """It as JSON values, for scripts: what `find --json` prints, and more."""
        found = {} if self.result is None else self.result.document()
        return {
            "machine": self.machine,
            "text": self.text,
            "running": self.running,
            "problem": self.problem,
            "nearest": list(self.nearest),
            "assumed": list(self.assumed),
            **found,
        }


class Queries:
    """Belongs to the main thread."""

    def __init__(self, jobs: Jobs, stage: Stage, kernels: Kernels) -> None:
        self._jobs, self._stage, self._kernels = jobs, stage, kernels
        self._numbers = itertools.count(1)
        self._job: Job | None = None
        self._names: dict[str, tuple[float, Names]] = {}
        self._naming: Job | None = None
        self.latest: Asked | None = None
        self.history: deque[Asked] = deque(maxlen=KEPT)
        """The newest last, each with its answer."""

    @property
    def shown(self) -> Asked | None:
        """What the results are of: the latest question, or the one before it while that is quick."""
        latest = self.latest
        if latest is not None and latest.running and self.history:
            return latest if time.monotonic() - latest.asked_s > PATIENCE_S else self.history[-1]
        return latest

    def ask(self, text: str, machine: str, then: Callable[[Asked], None] = lambda _asked: None) -> Job:
        """Put a question about a machine; it takes the place of one that is still being answered.

        `then` is called on the main thread with what came of it; the job's result is its summary. Raises BadArguments.
        """
        self._require(machine)
        self.cancel()
        asked = self.latest = self._new(text, machine)

        def keep(known: Asked) -> None:
            if self.latest is asked:
                self.latest = known
            self.history.append(known)
            then(known)

        self._job = self._start(asked, keep)
        return self._job

    def find(self, text: str, machine: str, then: Callable[[Asked], None]) -> Job:
        """The same for a program: beside what the user asks, not remembered, and no file is read for it.

        Raises BadArguments.
        """
        self._require(machine)
        return self._start(self._new(text, machine), then, no_rules)

    def show(self, number: int) -> Asked:
        """Have an earlier question with its answer be the latest again. Raises BadArguments."""
        found = next((one for one in self.history if one.number == number), None)
        if found is None:
            raise BadArguments(f"number: {number} is no question that is remembered")
        self.latest = found
        return found

    def _require(self, machine: str) -> None:
        if machine not in self._stage.feeds:
            raise BadArguments(f"the memory of {machine or 'a machine'} is not shown")

    def _new(self, text: str, machine: str) -> Asked:
        return Asked(next(self._numbers), machine, text, asked_s=time.monotonic())

    def _start(self, asked: Asked, then: Callable[[Asked], None], rules: Rules | None = None) -> Job:
        feed, ask = self._stage.feeds[asked.machine], self._asker(asked.machine)
        fresh, known = self.names_for_job(asked.machine), self._names_that_serve(asked.machine)

        def work(job: Job) -> Asked:
            return answered(asked, ask, feed.ram, feed.ages, job.cancelled, known, fresh, rules or rules_in_file)

        def end(job: Job) -> None:
            known = job.result if isinstance(job.result, Asked) else replace(asked, running=False)
            if job.error is not None:
                known = replace(known, problem=str(job.error))
            elif job.result is None:
                known = replace(known, problem="It was cancelled.")
            job.result = known.summary()
            then(known)

        return self._jobs.start(f"Asking {asked.text[:60]}", work, on_end=end, quiet=True)

    def cancel(self) -> None:
        """Nobody waits for the answer any more."""
        if self._job is not None:
            self._job.cancel()

    def names(self, machine: str) -> Names | None:
        """What there is in a machine, for completion; None while it is being found out. For panels, in each frame."""
        known = self._names.get(machine)
        stale = known is None or time.monotonic() - known[0] > NAMES_FRESH_S
        if stale and machine in self._stage.feeds and self._naming is None:
            ask = self._asker(machine)

            def end(job: Job) -> None:
                self._naming = None
                found = job.result if isinstance(job.result, Names) else NO_NAMES if known is None else known[1]
                self._names[machine] = time.monotonic(), found

            self._naming = self._jobs.start(
                "Finding names", lambda _job: names_of_machine(ask, self._shown()), on_end=end, quiet=True
            )
        return None if known is None else known[1]

    def names_for_job(self, machine: str) -> Callable[[], Names]:
        """What tells a job's thread what there is in a machine: at once where it is known. Raises KernelError there."""
        known_s, known = self._names.get(machine, (-math.inf, None))
        if known is not None and known is not NO_NAMES and time.monotonic() - known_s <= NAMES_FRESH_S:
            return lambda: known
        ask, machines = self._asker(machine), self._shown()
        return lambda: names_of_machine(ask, machines)

    def _names_that_serve(self, machine: str) -> Names | None:
        known_s, known = self._names.get(machine, (-math.inf, NO_NAMES))
        return None if known is NO_NAMES or time.monotonic() - known_s > NAMES_SERVE_S else known

    def _shown(self) -> tuple[str, ...]:
        return tuple(self._stage.feeds)

    def _asker(self, machine: str) -> Ask:
        kernels = self._kernels
        return lambda question, *arguments: kernels.inquire(machine, question, *arguments)


def answered(
    asked: Asked,
    ask: Ask,
    ram: GuestRam,
    ages: PageAges,
    cancelled: Callable[[], bool],
    known: Names | None,
    fresh: Callable[[], Names],
    rules: Rules,
) -> Asked:
    """A question with its answer, or why there is none. In a job's thread."""
    try:
        understood = meant(asked.text, known, fresh)
        if isinstance(understood, NotUnderstood):
            return replace(asked, running=False, problem=understood.problem, nearest=understood.nearest)
        asked = replace(asked, query=understood.query, assumed=understood.assumed)
        other = understood.query.machine
        if other is not None and other != asked.machine:
            return replace(asked, running=False, problem=f"Choose {other} first: the question is about that machine.")
        result = answer_query(understood.query, WindowWorld(ask, ram, ages, rules, cancelled))
        rows = FoundRows(result.matches)
    except _FORESEEN as error:
        return replace(asked, running=False, problem=str(error))
    return replace(asked, running=False, result=result, rows=rows, answered_s=time.monotonic())


def meant(text: str, known: Names | None, fresh: Callable[[], Names]) -> Understood | NotUnderstood:
    """What a text means: by the names that are known where these settle it, else by those there are now."""
    if known is not None:
        understood = understand(text, known)
        if isinstance(understood, Understood) and not understood.assumed:
            return understood
    return understand(text, fresh())


def rules_in_file(path: str) -> str:
    """The YARA rules in a file of the user's. Raises BadQuery."""
    try:
        with io.TextIOWrapper(open_plain(user_path(path)), encoding="utf-8") as file:
            text = file.read(MAX_RULES + 1)
    except (OSError, ValueError) as error:
        raise BadQuery(f"The rules {path!r} cannot be read: {error}.") from None
    if len(text) > MAX_RULES:
        raise BadQuery(f"The rules {path!r} have more than {MAX_RULES:,} characters.")
    return text
