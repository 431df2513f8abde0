"""Nearest: what can be understood and is most like what could not be."""

from __future__ import annotations

import contextlib

from rapidfuzz import fuzz, process

from bridge.semantic.query.model import Kind
from bridge.semantic.query.names import Names
from bridge.semantic.query.resolving import near
from bridge.semantic.query.texts import quote
from bridge.semantic.query.tokens import Token, Type
from bridge.semantic.query.vocabulary import PHRASES

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


def nearest(text: str, names: Names, token: Token | None = None) -> tuple[str, ...]:
    """Texts that are understood, the most like `text` first. `token`: what was not understood in it."""
    from bridge.semantic.query.parser import read_query  # it imports this module

    found: list[str] = []
    if token is not None and len(token.text) <= 100:
        for name in _alike(token.text, names):
            with contextlib.suppress(ValueError):
                found.append(str(read_query(text[: token.start] + name + text[token.end :], names).query))
        if token.type is Type.WORD and (token.word,) not in PHRASES:
            found.append(f"show text {quote(token.text)}")
    like = process.extract(text[:300], EXAMPLES, scorer=fuzz.WRatio, limit=_MANY)
    found += [example for example, _, _ in like]
    return tuple(dict.fromkeys(found))[:_MANY]


def _alike(word: str, names: Names) -> list[str]:
    """Names like a word, as they are quoted, the most like first."""
    scored = [
        (-score, name)
        for kind in (Kind.PROCESS, Kind.MODULE, Kind.SLAB, Kind.FILE)
        for name, score in near(word, kind, names, 3)
    ]
    return [quote(name) for _, name in sorted(scored)[:3]]
