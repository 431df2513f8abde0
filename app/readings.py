"""Readings: what a question that is being typed means, and how it may go on; found out in a job, for no frame waits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bridge.semantic.query.completion import Completion, complete
from bridge.semantic.query.model import NotUnderstood, Understood
from bridge.semantic.query.names import Names
from bridge.semantic.query.parser import understand

if TYPE_CHECKING:
    from app.jobs import Job, Jobs
    from app.queries import Queries


@dataclass(frozen=True, slots=True)
class Reading:
    """A text as it is understood now."""

    machine: str
    text: str
    meant: Understood | NotUnderstood
    completions: tuple[Completion, ...]

    def describe(self) -> dict[str, Any]:
        """It as JSON values, for scripts."""
        if isinstance(self.meant, Understood):
            told: dict[str, Any] = {"query": str(self.meant.query), "assumed": list(self.meant.assumed)}
        else:
            told = {"problem": self.meant.problem, "nearest": list(self.meant.nearest)}
        further = [
            {"text": one.text, "title": one.title, "kind": one.kind, "note": one.note} for one in self.completions
        ]
        return {"text": self.text, **told, "completions": further}


def read(text: str, machine: str, names: Names) -> Reading:
    """What a text means where there is what `names` says. May ask the machine for symbols: in a job's thread."""
    return Reading(machine, text, understand(text, names), complete(text, len(text), names))


class Readings:
    """The reading of the text that is in the search box. Belongs to the main thread."""

    def __init__(self, jobs: Jobs, queries: Queries) -> None:
        self._jobs, self._queries = jobs, queries
        self._job: Job | None = None
        self._latest: Reading | None = None
        self._names: Names | None = None
        """What there was when it was read."""

    def of(self, text: str, machine: str) -> Reading | None:
        """The reading of this text; while that is being found out, of the one before it; None where there is none.

        For the search box, in each frame that it is open.
        """
        latest = self._latest
        if latest is not None and latest.machine != machine:
            latest = self._latest = None
        names = self._queries.names(machine)
        # A program that has started since may be the very one that is meant.
        old = latest is None or latest.text != text or names is not self._names
        if names is not None and self._job is None and text.strip() and old:
            self._names = names
            self._job = self._jobs.start(
                "Reading", lambda _job: read(text, machine, names), on_end=self._end, quiet=True, can_cancel=False
            )
        return latest

    def _end(self, job: Job) -> None:
        self._job = None
        if isinstance(job.result, Reading):
            self._latest = job.result
