"""Nearest: what can be understood and is most like what could not be."""

from __future__ import annotations

import contextlib

from rapidfuzz import fuzz, process
from rapidfuzz.distance import OSA, Prefix

from bridge.semantic.query.model import Kind
from bridge.semantic.query.names import Names
from bridge.semantic.query.resolving import SHORTEST_FUZZY, near
from bridge.semantic.query.texts import quote
from bridge.semantic.query.tokens import Token, Type
from bridge.semantic.query.vocabulary import PHRASES, WRITING, Concept, phrases_of

EXAMPLES = (
    "heap of process 1",
    "stack of process 1",
    "page tables of process 1",
    "page tables of the kernel",
    "kernel stacks",
    "kernel stack of process 1",
    "open files of process 1",
    "sockets of every process",
    "regions of process 1",
    "threads of process 1",
    "children of process 1",
    "memory shared between process 1 and process 2",
    "compare heap of process 1 with heap of process 2",
    "pages of process 1 written in the last 5 s",
    "what was written in the last 5 s",
    "how much memory is free",
    "how many processes are there",
    "every process",
    "every module",
    "every slab cache",
    "page cache",
    "anonymous memory",
    "kernel code",
    "what is at 0x1234",
    "who owns 0x1234",
    "bytes 78 56 34 12",
    'text "root:"',
    "regex /[a-z]+@[a-z]+/",
    "everything",
)
"""Questions that can be understood in any machine."""
_MANY = 5
_BEFORE_TEXT = 2
"""So many questions are offered before that a word among others be looked for as text."""
_BEGINNING = 8
"""So many letters in common at the beginning are as like as can be."""
_MISSPELT = 0.7
"""Of 1: from here on a word is offered for one that the language has. Two letters that changed places are one error."""
_WORDS = sorted(
    {
        word
        for phrase, meant in PHRASES.items()
        if any(one.concept is not Concept.STOP for one in meant)
        for word in phrase
    }
    | {word for phrase in phrases_of(WRITING) for word in phrase.split()}
)
"""What of the language somebody may have misspelt."""


def nearest(text: str, names: Names, token: Token | None = None) -> tuple[str, ...]:
    """Texts that are understood, the most like `text` first. `token`: what was not understood in it."""
    from bridge.semantic.query.parser import read_query  # it imports this module

    found: list[str] = []
    if token is not None and len(token.text) <= 100:
        for name in [*_misspelt(token.word), *_alike(token.text, names)]:
            with contextlib.suppress(ValueError):
                found.append(str(read_query(text[: token.start] + name + text[token.end :], names).query))
    like = sorted(EXAMPLES, key=lambda example: -_likeness(text[:300], example))[:_MANY]
    if token is not None and token.type is Type.WORD and (token.word,) not in PHRASES and len(token.text) <= 100:
        alone = len(text.split()) == 1
        like.insert(0 if alone else _BEFORE_TEXT, f"show text {quote(token.text)}")
    found += like
    return tuple(dict.fromkeys(found))[:_MANY]


def _likeness(asked: str, example: str) -> float:
    """How like two questions are, of 100. What they begin with says what is asked, what they end with of what."""
    beginning = Prefix.similarity(asked.casefold(), example)
    return fuzz.WRatio(asked, example) / 2 + 50 * min(1.0, beginning / _BEGINNING)


def _misspelt(word: str) -> list[str]:
    """Words of the language that are spelt like one that is not of it, the most like first."""
    if len(word) < SHORTEST_FUZZY or (word,) in PHRASES:
        return []
    like = process.extract(word, _WORDS, scorer=OSA.normalized_similarity, limit=_MANY, score_cutoff=_MISSPELT)
    letters = sorted(word)  # all there, but out of order: nothing is likelier
    return [one for one, _, _ in sorted(like, key=lambda found: (-found[1], sorted(found[0]) != letters))][:2]


def _alike(word: str, names: Names) -> list[str]:
    """Names like a word, as they are quoted, the most like first."""
    scored = [
        (-score, name)
        for kind in (Kind.PROCESS, Kind.MODULE, Kind.SLAB, Kind.FILE)
        for name, score in near(word, kind, names, 3)
    ]
    return [quote(name) for _, name in sorted(scored)[:3]]
