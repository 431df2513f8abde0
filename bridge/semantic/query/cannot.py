"""Cannot: what people ask for and a query has no words for, each with a sentence that says what to ask instead."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bridge.semantic.query.tokens import Token
from bridge.semantic.query.vocabulary import PHRASES


@dataclass(frozen=True, slots=True)
class Excuse:
    """Why something cannot be asked, and what can."""

    problem: str
    nearest: tuple[str, ...]


_IN_USE = Excuse(
    "Memory in use is all but what is free: ask for everything, which is told class by class, or for what is free.",
    ("everything", "how much memory is free", "memory of every process"),
)
_USED, _MEMORY = {"use", "used", "occupied", "taken"}, {"memory", "ram"}
_EXCUSES: tuple[tuple[str, Excuse], ...] = (
    (
        "most least biggest largest smallest heaviest fewest",
        Excuse(
            "An answer has all that fits and does not choose: ask for every one, and order the results by their pages.",
            ("every process", "every file", "every slab", "regions of process 1"),
        ),
    ),
    (
        "library libraries",
        Excuse(
            "Which files a process maps is told by its regions; who maps a file, by its owners.",
            ("regions of process 1", 'owners of file "/bin/sh"'),
        ),
    ),
    (
        "environment env environ arguments argv command cmdline",
        Excuse(
            "The environment and the arguments of a program lie at the end of its stack: look for a text there.",
            ('text "PATH=" in stack of process 1', "stack of process 1"),
        ),
    ),
    (
        "parent parents ppid",
        Excuse(
            "Who started whom is asked the other way around, or read from the list of processes.",
            ("children of process 1", "every process"),
        ),
    ),
    (
        "port",
        Excuse(
            "Sockets are not told apart by their ports here: all of them are listed, each with its addresses.",
            ("sockets of every process", "sockets of process 1"),
        ),
    ),
    (
        "swap swapped",
        Excuse("What was swapped out is not in RAM, and only RAM is looked at.", ("memory of every process",)),
    ),
)


def excuse(tokens: Iterable[Token]) -> Excuse | None:
    """Why a question that was not understood could not be; None where nothing in it tells."""
    tokens = tuple(tokens)
    words = {token.word for token in tokens}
    for asked, told in _EXCUSES:
        if not words.isdisjoint(asked.split()):
            return told
    nobody = all((token.word,) in PHRASES or token.word == "in" for token in tokens)
    return _IN_USE if nobody and not words.isdisjoint(_USED) and not words.isdisjoint(_MEMORY) else None
