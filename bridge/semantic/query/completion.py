"""Completion: how a question that is being typed may go on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rapidfuzz import fuzz

from bridge.semantic.query.model import CLASS_WORDS, Kind, Relation
from bridge.semantic.query.names import Names
from bridge.semantic.query.nearest import EXAMPLES
from bridge.semantic.query.parser import MAX_CHARACTERS
from bridge.semantic.query.resolving import LIKELY
from bridge.semantic.query.texts import quote, shown
from bridge.semantic.query.tokens import Token, Type, Unclosed, tokens_of
from bridge.semantic.query.vocabulary import LONGEST, PHRASES, ROLES, Concept, phrases_of

DEFAULT_LIMIT = 12
_BARE = re.compile(r"[A-Za-z_][\w./:+-]*|/[\w./:+-]*")
_NUMERIC = re.compile(r"[0-9a-fA-F?]{2}|[0-9a-fA-F]{12,16}|\d[0-9a-fA-F]*[hH]?")
_PHRASE_WORDS = 3
_MAX_POOL = 20_000
"""Names that are looked through: of files a machine may have very many."""
_TIMES = ("written in the last 5 s", "written in the last minute", "written in the last 10 minutes")
_VERBS = ("highlight", "hide", "count", "compare", "go to", "find")
_SUBJECTS = ("every process", "process", "every module", "every slab cache", "every file", "kernel", "everything")
_KINDS = ("text", "bytes", "regex", "yara", "address", "symbol", "slab", "module", "file", "class")
_WHOLE = ("free memory", "page cache", "anonymous memory", "kernel code", "kernel data", "slab memory", "shared memory")


@dataclass(frozen=True, slots=True)
class Completion:
    """One way to go on."""

    text: str
    """The whole question then."""
    title: str
    """What is added, safe to show."""
    kind: str
    """verb, relation, word, role, time, machine, example, or what is named: process, file, module, slab …"""
    note: str = ""
    """What it is: `process 412, /usr/sbin/sshd -D`. Safe to show."""
    cursor: int = 0
    """Where the cursor is to stand in `text`."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    word: str
    """As it is written into the question."""
    match: str
    """What is compared with what was typed."""
    kind: str
    note: str = ""


def complete(text: str, cursor: int, names: Names, limit: int = DEFAULT_LIMIT) -> tuple[Completion, ...]:
    """How a question may go on where the cursor stands, the likeliest first. Never raises."""
    cursor = max(0, min(cursor, len(text)))
    if len(text) > MAX_CHARACTERS or limit < 1:
        return ()
    after = text[cursor:]
    found: list[tuple[int, int, str, _Candidate]] = []
    for depth, (before, partial, opened) in enumerate(_parted(text[:cursor])):
        try:
            tokens = tokens_of(before)
        except Unclosed:
            continue
        wanted = partial.casefold()
        for order, candidate in enumerate(_unique(_candidates(tokens, partial, names, opened))):
            rank = _rank(candidate.match.casefold(), wanted)
            # A phrase of several words is meant where it begins with all that was typed of it.
            if rank is not None and (not depth or (rank == 0 and " " in candidate.match)):
                found.append((rank - depth * (candidate.kind != "example"), order, before, candidate))
    made: dict[str, Completion] = {}
    for _, _, before, one in sorted(found, key=lambda entry: entry[:2]):
        whole = before + one.word
        made.setdefault(whole, Completion(whole + after, shown(one.word, 100), one.kind, one.note, len(whole)))
        if len(made) == limit:
            break
    return tuple(made.values())


def _parted(text: str) -> list[tuple[str, str, bool]]:
    """What stands before the word that is being typed, that word, and whether it stands in an open quote; then the same
    with a word more, and another, of phrases.
    """
    try:
        tokens_of(text)
    except Unclosed as problem:
        return [] if problem.opened == "slash" else [(text[: problem.at], text[problem.at + 1 :], True)]
    found: list[tuple[str, str, bool]] = []
    cut = len(text)
    for _ in range(_PHRASE_WORDS):
        cut = max(text.rfind(space, 0, cut) for space in " \t\n") + 1
        if found and (not text[cut:].strip() or text[cut:] == found[-1][1]):
            break
        found.append((text[:cut], text[cut:], False))
        cut = len(text[:cut].rstrip())
        if not cut:
            break
    return found


def _rank(name: str, wanted: str) -> int | None:
    """How well a name fits what was typed: 0 best; None not at all."""
    if name.startswith(wanted):
        return 0
    if re.search(rf"(?<![a-z0-9]){re.escape(wanted)}", name):
        return 1
    if wanted in name:
        return 2
    return 3 if len(wanted) > 3 and fuzz.ratio(name[: len(wanted) + 1], wanted) >= LIKELY else None


def _unique(candidates: Iterable[_Candidate]) -> Iterator[_Candidate]:
    seen: set[str] = set()
    for _, one in zip(range(_MAX_POOL), candidates, strict=False):
        if one.word not in seen:
            seen.add(one.word)
            yield one


def _candidates(tokens: list[Token], partial: str, names: Names, opened: bool) -> Iterator[_Candidate]:
    """All that may follow some tokens, the likeliest first."""
    tokens = _telling(tokens)
    concepts = _last(tokens)
    kinds = [value for concept, value in concepts if concept is Concept.KIND and isinstance(value, Kind)]
    named = {concept for concept, _ in concepts}
    if opened:
        yield from _named(kinds or [Kind.PROCESS, Kind.MODULE, Kind.SLAB, Kind.FILE], names, partial, quoted=True)
    elif not tokens or named & {Concept.VERB, Concept.SEARCH}:
        yield from _words("relation", [str(relation) for relation in Relation if relation is not Relation.SHARED])
        yield from _named([Kind.PROCESS], names, partial)
        yield from _roles(names)
        yield from _words("word", [*_WHOLE, *_SUBJECTS, *_KINDS])
        yield from _words("verb", () if tokens else _VERBS)
        yield from _words("example", () if tokens else EXAMPLES)
        yield from _named([Kind.MODULE, Kind.SLAB, Kind.FILE, Kind.SYMBOL], names, partial)
    elif kinds and named <= {Concept.KIND, Concept.RELATION, Concept.CLASS, Concept.PLURAL}:
        yield from _named(kinds, names, partial)
    elif Concept.RELATION in named:
        for one in _subjects(names, partial):
            yield _Candidate(f"of {one.word}", one.match, one.kind, one.note)
        yield from _words("word", ("shared between",))
        yield from _behind(names)
    elif named & {Concept.OF, Concept.OWNERS, Concept.SHARED, Concept.BETWEEN, Concept.WITH, Concept.EVERY}:
        yield from _subjects(names, partial)
    elif tokens[-1].word in ("in", "inside"):
        yield from _words("word", ("the last 5 s", "the last minute"))
        yield from _subjects(names, partial)
    elif tokens[-1].word == "on":
        yield from (_Candidate(_written(name), name, "machine") for name in names.machines)
    elif tokens[-1].type is Type.POSSESSIVE:
        yield from _words("relation", [str(relation) for relation in Relation if relation is not Relation.SHARED])
    else:
        if any(token.word in ("compare", "shared") for token in tokens):
            yield from _words("word", ("with", "and"))
        yield from _behind(names)
        yield from _words("relation", [str(relation) for relation in Relation if relation is not Relation.SHARED])


def _telling(tokens: list[Token]) -> list[Token]:
    """The tokens without the words at their end that change nothing: what follows "show me the" follows "show me"."""
    while tokens and (meant := _last(tokens)) and all(concept is Concept.STOP for concept, _ in meant):
        if tokens[-1].word in ("in", "inside", "on"):
            break
        tokens = tokens[:-1]
    return tokens


def _last(tokens: list[Token]) -> list[tuple[Concept, object]]:
    """What the longest phrase at the end means."""
    for count in range(min(LONGEST, len(tokens)), 0, -1):
        words = tuple(token.word for token in tokens[-count:])
        if all(words) and (meanings := PHRASES.get(words)) is not None:
            return [(one.concept, one.value) for one in meanings]
    return []


def _behind(names: Names) -> Iterator[_Candidate]:
    """What may stand behind a thing that is named."""
    yield from _words("time", _TIMES)
    yield from _words("word", ("in",))
    yield from (_Candidate(f"on {_written(name)}", f"on {name}", "machine") for name in names.machines)


def _subjects(names: Names, partial: str) -> Iterator[_Candidate]:
    yield from _named([Kind.PROCESS], names, partial)
    yield from _roles(names)
    yield from _words("word", [*_SUBJECTS, *_KINDS])
    yield from _named([Kind.MODULE, Kind.SLAB, Kind.FILE], names, partial)


def _words(kind: str, words: Iterable[str]) -> Iterator[_Candidate]:
    yield from (_Candidate(word, word, kind) for word in words)


def _roles(names: Names) -> Iterator[_Candidate]:
    """What people call the programs that run."""
    running = {one.name for one in names.processes}
    for line, programs in ROLES.items():
        there = [program for program in programs if program[:15] in running]
        if there:
            phrase = phrases_of(line)[0]
            yield _Candidate(phrase, phrase, "role", shown(there[0]))


def _named(kinds: Iterable[Kind], names: Names, partial: str, *, quoted: bool = False) -> Iterator[_Candidate]:
    for kind in kinds:
        if kind is Kind.PROCESS:
            first = {one.name: one for one in reversed(names.processes)}  # four hundred may go by one name
            for one in sorted(first.values(), key=lambda one: one.pid):
                note = f"process {one.pid}" + (f", {shown(one.command_line, 80)}" if one.command_line else "")
                yield _Candidate(_written(one.name, quoted), one.name, "process", note)
        elif kind is Kind.CLASS:
            yield from _words("class", CLASS_WORDS)
        elif kind is Kind.SYMBOL and partial:
            for name in sorted(names.symbols(partial, 200), key=lambda name: (not name.startswith(partial), len(name))):
                yield _Candidate(_written(name, quoted), name, "symbol")
        else:
            known = {Kind.MODULE: names.modules, Kind.SLAB: names.slabs, Kind.FILE: names.files}.get(kind, ())
            for name in known:
                last = name.rpartition("/")[2] if kind is Kind.FILE and not partial.startswith("/") else name
                yield _Candidate(_written(name, quoted), last, str(kind))


def _written(name: str, quoted: bool = False) -> str:
    """A name as it is written so that it is understood: in quotes where it has to be."""
    bare = not quoted and _BARE.fullmatch(name) and not _NUMERIC.fullmatch(name)
    meanings = PHRASES.get((name.casefold(),), ())
    return name if bare and all(one.concept in (Concept.ROLE, Concept.INIT) for one in meanings) else quote(name)
