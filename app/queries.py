"""Queries: what was asked in the search box and what was found, one question at a time, in a job."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.actions import BadArguments
from app.window_world import WindowWorld, names_of_machine
from bridge.kernel.errors import KernelError
from bridge.memory.errors import GuestMemoryError
from bridge.semantic.query.answering import Result, answer_query
from bridge.semantic.query.model import MAX_RULES, BadQuery, NotUnderstood, Query
from bridge.semantic.query.names import Names
from bridge.semantic.query.parser import understand
from bridge.semantic.search.pattern import BadPattern

if TYPE_CHECKING:
    from app.jobs import Job, Jobs
    from app.kernels import Kernels
    from app.stage import Stage

KEPT = 50
"""Questions that are remembered."""
NAMES_FRESH_S = 2.0
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
    problem: str = ""
    """Why there is no answer, in a sentence."""
    nearest: tuple[str, ...] = ()
    """What could be asked instead."""
    running: bool = True
    answered_s: float = 0.0
    """time.monotonic()."""

    @property
    def title(self) -> str:
        """What it is called: its normalised text, else what was typed."""
        return str(self.query) if self.query is not None else self.text

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

    def ask(self, text: str, machine: str, then: Callable[[Asked], None] = lambda _asked: None) -> Job:
        """Put a question about a machine; it takes the place of one that is still being answered.

        `then` is called on the main thread with what came of it. Raises BadArguments.
        """
        if machine not in self._stage.feeds:
            raise BadArguments(f"the memory of {machine or 'a machine'} is not shown")
        self.cancel()
        asked = self.latest = Asked(next(self._numbers), machine, text)
        feed = self._stage.feeds[machine]

        def work(job: Job) -> Asked:
            return answered(asked, self._asker(machine), feed.ram, feed.ages, job.cancelled)

        def end(job: Job) -> None:
            known = job.result if isinstance(job.result, Asked) else replace(asked, running=False)
            if job.error is not None:
                known = replace(known, problem=str(job.error))
            elif job.result is None:
                known = replace(known, problem="It was cancelled.")
            if self.latest is asked:
                self.latest = known
            self.history.append(known)
            then(known)

        self._job = self._jobs.start(f"Asking {text[:60]}", work, on_end=end, quiet=True)
        return self._job

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
                if isinstance(job.result, Names):
                    self._names[machine] = time.monotonic(), job.result
                elif known is not None:
                    self._names[machine] = time.monotonic(), known[1]

            self._naming = self._jobs.start(
                "Finding names", lambda _job: names_of_machine(ask, self._shown()), on_end=end, quiet=True
            )
        return None if known is None else known[1]

    def _shown(self) -> tuple[str, ...]:
        return tuple(self._stage.feeds)

    def _asker(self, machine: str) -> Callable[..., Any]:
        kernels = self._kernels
        return lambda question, *arguments: kernels.inquire(machine, question, *arguments)


def answered(asked: Asked, ask: Callable[..., Any], ram: Any, ages: Any, cancelled: Callable[[], bool]) -> Asked:
    """A question with its answer, or why there is none. In a job's thread."""
    try:
        understood = understand(asked.text, names_of_machine(ask, (asked.machine,)))
        if isinstance(understood, NotUnderstood):
            return replace(asked, running=False, problem=understood.problem, nearest=understood.nearest)
        asked = replace(asked, query=understood.query, assumed=understood.assumed)
        other = understood.query.machine
        if other is not None and other != asked.machine:
            return replace(asked, running=False, problem=f"Choose {other} first: the question is about that machine.")
        result = answer_query(understood.query, WindowWorld(ask, ram, ages, rules_in_file, cancelled))
    except _FORESEEN as error:
        return replace(asked, running=False, problem=str(error))
    return replace(asked, running=False, result=result, answered_s=time.monotonic())


def rules_in_file(path: str) -> str:
    """The YARA rules in a file of the user's. Raises BadQuery."""
    try:
        with Path(path).expanduser().open(encoding="utf-8") as file:
            text = file.read(MAX_RULES + 1)
    except (OSError, ValueError) as error:
        raise BadQuery(f"The rules {path!r} cannot be read: {error}.") from None
    if len(text) > MAX_RULES:
        raise BadQuery(f"The rules {path!r} have more than {MAX_RULES:,} characters.")
    return text
