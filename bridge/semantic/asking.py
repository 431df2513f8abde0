"""Asking: texts of the query language answered through Access, for interfaces whose clients are not trusted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bridge.kernel.errors import KernelError
from bridge.semantic.access import Access
from bridge.semantic.query.answering import Result, answer_query
from bridge.semantic.query.desk_world import DeskWorld, names_of
from bridge.semantic.query.model import BadQuery, Query
from bridge.semantic.query.model import NotUnderstood as Unclear
from bridge.semantic.query.parser import understand
from bridge.semantic.questions import NotUnderstood
from bridge.semantic.search.pattern import BadPattern

MAX_WATCH_S = 10.0
"""Others wait meanwhile."""


class TooLong(KernelError):
    """What was written in more time than a machine is watched for through an interface."""

    def __init__(self) -> None:
        super().__init__(f"What is written is watched for {MAX_WATCH_S:.0f} s at most: ask for less.")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, and what had to be assumed to understand the question."""

    result: Result
    assumed: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """What `find --json` prints."""
        return {**self.result.document(), "assumed": list(self.assumed)}


class Asking:
    """Safe to use from several threads. No file of this machine is read for a client: YARA rules come as text."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def reply(self, machine: str, text: str, *, cancelled: Callable[[], bool] = lambda: False) -> Reply:
        """Understand and answer. Raises NotUnderstood, TooLong, NoSuchMachine, KernelError, GuestMemoryError."""
        with self._access.asked(machine, cancelled=cancelled) as (desk, ram, still):
            understood = understand(text, names_of(desk, (machine,)))
            if isinstance(understood, Unclear):
                raise NotUnderstood(understood.problem, understood.nearest)
            query = understood.query
            _check(query, machine)
            try:
                world = DeskWorld(desk, ram, still=still, cancelled=cancelled)
                return Reply(answer_query(query, world), understood.assumed)
            except (BadPattern, BadQuery) as error:
                raise NotUnderstood(str(error), ()) from None

    def answer(self, machine: str, text: str, *, cancelled: Callable[[], bool] = lambda: False) -> dict[str, Any]:
        """See Questions."""
        return self.reply(machine, text, cancelled=cancelled).document()


def _check(query: Query, machine: str) -> None:
    if query.machine is not None and query.machine != machine:
        raise NotUnderstood(f"The question is about another machine than {machine}: leave its name out.", ())
    within_s = None if query.when is None else query.when.within_s
    if within_s is not None and within_s > MAX_WATCH_S:
        raise TooLong
