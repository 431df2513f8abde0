"""Consulting: a free question goes to a language model that the user set up; it answers by queries, which are shown."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from app.actions import ActionError, BadArguments
from app.jobs import JobState
from bridge.semantic.llm.consulting import Answered, Consulted, Step, consult
from bridge.semantic.llm.endpoint import Endpoint, ModelError

if TYPE_CHECKING:
    from app.answers import Answers
    from app.auditing import Auditor
    from app.jobs import Job
    from app.queries import Asked, Queries
    from app.state import AppState

KEY_VARIABLE = "GLASSBOX_LLM_KEY"
LOCAL_URL = "http://127.0.0.1:11434/v1"
"""Where Ollama listens, unless it is told otherwise."""
MAX_URL, MAX_MODEL = 500, 200
_ANSWER_LIMIT_S = 30.0


class ModelProblem(ActionError):
    """The model gave no answer that can be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Consulting:
    """A question to the model, and what came of it."""

    question: str
    machine: str
    running: bool = True
    consulted: Consulted | None = None
    problem: str = ""

    @property
    def steps(self) -> tuple[Step, ...]:
        """What it asked."""
        return () if self.consulted is None else self.consulted.steps

    def describe(self) -> dict[str, Any]:
        """It as JSON values."""
        return {
            "question": self.question,
            "machine": self.machine,
            "running": self.running,
            "problem": self.problem,
            "queries": [one.query for one in self.steps if one.query],
            "not_understood": [one.asked for one in self.steps if not one.query],
            "said": "" if self.consulted is None else self.consulted.said,
        }


def checked_endpoint(url: str, model: str) -> tuple[str, str]:
    """An address and a model's name that can be used. Raises BadArguments."""
    url, model = url.strip(), model.strip()
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or len(url) > MAX_URL or not url.isprintable() or " " in url:
        raise BadArguments(f"url: {url[:60]!r} is no address of an endpoint, such as {LOCAL_URL}")
    if parts.username or parts.password:
        raise BadArguments(f"url: a key comes from the environment variable {KEY_VARIABLE}, not from the address")
    if not model or len(model) > MAX_MODEL or not model.isprintable():
        raise BadArguments("model: it has to be named, as the endpoint calls it")
    return url, model


class Consultant:
    """Belongs to the main thread."""

    def __init__(self, state: AppState, queries: Queries, answers: Answers, auditor: Auditor) -> None:
        self._state, self._queries, self._answers, self._auditor = state, queries, answers, auditor
        self._job: Job | None = None
        self._waiting: list[tuple[str, str, Callable[[Answered], None]]] = []
        self._lock = threading.Lock()

    def ask(self, question: str, machine: str) -> Job:
        """Have the model answer a question by queries. Raises BadArguments."""
        state, settings = self._state, self._state.settings
        if machine not in state.stage.feeds:
            raise BadArguments(f"the memory of {machine or 'a machine'} is not shown")
        self.cancel()
        endpoint = Endpoint(settings.llm_url, settings.llm_model, os.environ.get(KEY_VARIABLE, ""))
        begun = state.consulting = Consulting(question, machine)

        def work(job: Job) -> Consulted:
            return consult(endpoint, question, lambda text: self._answer(text, machine, job), cancelled=job.cancelled)

        def end(job: Job) -> None:
            known = replace(begun, running=False)
            if isinstance(job.result, Consulted):
                known = replace(known, consulted=job.result)
            else:
                why = "It was cancelled." if job.state is JobState.CANCELLED else str(job.error)
                known = replace(known, problem=why)
            self._tell(known, endpoint)
            if state.consulting is begun:
                state.consulting = known
                if known.consulted is not None and known.consulted.queries and machine in state.stage.feeds:
                    self._answers.ask(known.consulted.queries[-1], machine)
            if isinstance(job.error, ModelError) and job.state is JobState.FAILED:
                job.error = ModelProblem(str(job.error))
            job.result = known.describe()

        self._answers.show_panel()
        self._job = state.jobs.start(f"Asking {endpoint.model[:40]}", work, on_end=end, quiet=True)
        return self._job

    def cancel(self) -> None:
        """Nobody waits for the model any more."""
        if self._job is not None:
            self._job.cancel()

    def _answer(self, text: str, machine: str, job: Job) -> Answered:
        """What a query gives; called in the job's thread, answered by the main thread's queries."""
        found: list[Answered] = []
        done = threading.Event()

        def known(answer: Answered) -> None:
            found.append(answer)
            done.set()

        with self._lock:
            self._waiting.append((text, machine, known))
        waited = 0.0
        while not done.wait(0.05):
            waited += 0.05
            if job.cancelled() or waited > _ANSWER_LIMIT_S:
                return Answered("", problem="It took too long.")
        return found[0]

    def pump(self) -> None:
        """Put the queries that the model asked. Called once a frame."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for text, machine, known in waiting:
            self._auditor.tell("llm", "query.ask", {"text": text[:300], "machine": machine}, "begun")
            try:
                self._queries.find(text, machine, lambda asked, known=known: known(_answered(asked)))  # type: ignore[misc]
            except BadArguments as error:
                known(Answered("", problem=str(error)))

    def _tell(self, known: Consulting, endpoint: Endpoint) -> None:
        queries = [one.query or one.asked for one in known.steps]
        sent = {"url": endpoint.url, "model": endpoint.model, "question": known.question[:300], "queries": queries}
        self._auditor.tell("llm", "query.consult", sent, f"failed: {known.problem}" if known.problem else "done")


def _answered(asked: Asked) -> Answered:
    if asked.result is None:
        near = f" Nearest: {'; '.join(asked.nearest)}." if asked.nearest else ""
        return Answered("", problem=asked.problem + near)
    shown = [
        {"label": m.label, "kind": m.kind, "pid": m.pid, "pages": len(m.pages), "class": m.page_class}
        for m in asked.result.matches
    ]
    return Answered(asked.title, {"matches": shown, "pages": len(asked.result.pages)})
