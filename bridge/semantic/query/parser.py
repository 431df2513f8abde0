"""Parser: a question as people put it, or a query's own text, becomes a typed query; see docs/queries.md.

Recursive descent over tokens. Every rule passes each token once, and alternatives are tried at a bounded number of
places, so that the time a text takes is bounded by the square of its words, and those are few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bridge.semantic.query.model import (
    PATTERNS,
    BadQuery,
    Kind,
    NotUnderstood,
    Query,
    Relation,
    Subject,
    Target,
    Understood,
    Verb,
)
from bridge.semantic.query.names import Names
from bridge.semantic.query.nearest import nearest
from bridge.semantic.query.reader import Reader
from bridge.semantic.query.subjects import NotClear, SubjectReader
from bridge.semantic.query.texts import quote, shown
from bridge.semantic.query.times import take_time
from bridge.semantic.query.tokens import Token, Type, Unclosed, tokens_of
from bridge.semantic.query.vocabulary import Concept

MAX_CHARACTERS = 10_000
MAX_TOKENS = 200

_WHOSE = frozenset({Relation.CHILDREN})
"""Means nothing of every process."""


def understand(text: str, names: Names) -> Understood | NotUnderstood:
    """What a text means, in a machine where there is what `names` says. Never raises; the same text and names always
    mean the same.
    """
    if len(text) > MAX_CHARACTERS:
        return NotUnderstood(
            f"A question has {MAX_CHARACTERS:,} characters at most, and this one has {len(text):,}.",
            nearest("", names),
        )
    try:
        return read_query(text, names)
    except Unclosed as problem:
        return NotUnderstood(str(problem), nearest(text[: problem.at], names))
    except NotClear as problem:
        return NotUnderstood(str(problem), nearest(text, names, problem.token))
    except BadQuery as problem:
        return NotUnderstood(str(problem), nearest(text, names))


def read_query(text: str, names: Names) -> Understood:
    """The same, of a text that is not too long. Raises Unclosed, NotClear, BadQuery."""
    tokens = tokens_of(text)
    if len(tokens) > MAX_TOKENS:
        raise BadQuery(f"A question has {MAX_TOKENS} words at most, and this one has {len(tokens):,}.")
    if not tokens:
        raise BadQuery("Nothing is asked.")
    return _Parser(names).parse(tokens)


def parse(text: str) -> Query:
    """The query whose normalised text this is, whatever there is in any machine. Raises BadQuery."""
    understood = understand(text, Names())
    if isinstance(understood, NotUnderstood):
        raise BadQuery(understood.problem)
    return understood.query


class _Parser:
    def __init__(self, names: Names) -> None:
        self._names = names
        self._assumed: list[str] = []

    def parse(self, tokens: Sequence[Token]) -> Understood:
        tokens, machine = self._machine(tokens)
        when, rest, assumed = take_time(tokens)
        if assumed:
            self._assumed.append(assumed)
        reader = Reader(rest)
        verb, searching = self._verb(reader)
        rest = rest[reader.at :]
        if verb is Verb.COMPARE:
            target, against = self._two(rest)
            return self._told(Query(target, verb, None, against, when, machine))
        if when is not None and Reader(rest).done:
            return self._told(Query(Target(Subject(Kind.EVERYTHING)), verb, None, None, when, machine))
        target, within = self._scoped(rest, searching)
        return self._told(Query(target, verb, within, None, when, machine))

    def _told(self, query: Query) -> Understood:
        return Understood(query, tuple(dict.fromkeys(self._assumed)))

    def _machine(self, tokens: Sequence[Token]) -> tuple[Sequence[Token], str | None]:
        """`… on NAME` at the end."""
        if len(tokens) > 2 and tokens[-2].word == "on":
            last = tokens[-1]
            if last.type is Type.STRING and last.text:
                return tokens[:-2], last.text
            found = next((name for name in self._names.machines if name.casefold() == last.text.casefold()), None)
            if found is not None:
                return tokens[:-2], found
        return tokens, None

    def _verb(self, reader: Reader) -> tuple[Verb, bool]:
        """What is to be done, and whether it was said by a word for searching; the reader stands behind it."""
        verb, searching = Verb.SHOW, False
        while True:
            reader.skip()
            if (meaning := reader.take(Concept.VERB)) is not None:
                assert isinstance(meaning.value, Verb)
                verb = meaning.value
            elif reader.take(Concept.SEARCH) is not None:
                searching = True
            else:
                return verb, searching

    def _two(self, tokens: list[Token]) -> tuple[Target, Target]:
        """What is compared: `A with B`, `A and B`."""
        problem: Exception | None = None
        for at in (i for i, token in enumerate(tokens) if i > 0 and token.word in _BETWEEN_TWO):
            before = len(self._assumed)
            try:
                left = self._target(tokens[:at], searching=False)
                right = self._target(tokens[at + 1 :], searching=False)
            except (NotClear, BadQuery) as error:
                problem = problem or error
                del self._assumed[before:]
                continue
            # "The heaps of A and B" are two heaps.
            alone = not any(token.word in ("memory", "pages") for token in tokens[at + 1 :])
            if alone and right.relation is Relation.MEMORY and right.subject.kind is Kind.PROCESS:
                right = replace(right, relation=left.relation) if left.other is None else right
            return left, right
        raise problem or NotClear("Two things are compared: compare heap of process 1 with heap of process 42.")

    def _scoped(self, tokens: list[Token], searching: bool) -> tuple[Target, Target | None]:
        """A target, and the one `in` which it is looked for."""
        before = len(self._assumed)
        try:
            return self._target(tokens, searching), None
        except (NotClear, BadQuery) as error:
            problem: Exception = error
        for at in [i for i, token in enumerate(tokens) if 0 < i < len(tokens) - 1 and token.word in _INSIDE]:
            del self._assumed[before:]
            try:
                target = self._target(tokens[:at], searching)
                within = self._target(tokens[at + 1 :], searching=False)
            except (NotClear, BadQuery) as error:
                if tokens[at].word != "of":
                    problem = error
                continue
            if tokens[at].word != "of" or target.subject.kind in _PLACED:
                return target, within
        raise problem

    def _target(self, tokens: Sequence[Token], searching: bool) -> Target:
        """One target out of all of these tokens. Raises NotClear, BadQuery."""
        reader = Reader(tokens)
        subjects = SubjectReader(reader, self._names, self._assumed, searching)
        target = self._head(reader, subjects)
        if not reader.done:
            token = reader.token
            assert token is not None
            raise NotClear(f"{quote(shown(token.text, 40))} is not understood here.", token)
        return target

    def _head(self, reader: Reader, subjects: SubjectReader) -> Target:
        reader.skip()
        if reader.token is None:
            raise NotClear("Of what?")
        if reader.take(Concept.OWNERS) is not None:
            reader.take_any(Concept.OF)
            return Target(subjects.read(), Relation.OWNERS)
        relation = self._relation(reader, subjects)
        if relation is Relation.MEMORY or relation is None:
            before = reader.at
            if reader.take(Concept.SHARED) is not None:
                reader.take_any(Concept.BETWEEN, Concept.OF, Concept.WITH)
                return self._shared(reader, subjects, subjects.read())
            reader.at = before
        if relation is not None:
            return self._of(relation, reader, subjects)
        subject = subjects.read()
        reader.skip()
        if reader.take(Concept.SHARED) is not None:
            return self._shared(reader, subjects, subject)
        found = reader.take(Concept.RELATION)
        if found is not None:
            assert isinstance(found.value, Relation)
            return Target(subject, found.value)
        return Target(subject)

    def _relation(self, reader: Reader, subjects: SubjectReader) -> Relation | None:
        """A relation that stands first: `heap of …`, `pages shared between …`; None where a subject does."""
        before = reader.at
        reader.take(Concept.EVERY)
        reader.skip()
        meaning = reader.meaning(Concept.RELATION)
        if meaning is None or subjects.begins_pattern():
            reader.at = before
            return None
        reader.take(Concept.RELATION)
        assert isinstance(meaning.value, Relation)
        return meaning.value

    def _of(self, relation: Relation, reader: Reader, subjects: SubjectReader) -> Target:
        said = reader.tokens[reader.at - 1].word
        reader.take_any(Concept.OF, Concept.BETWEEN)
        if reader.token is not None and reader.token.word in ("in", "inside"):
            reader.at += 1
        if reader.done:
            if relation in (Relation.MEMORY, Relation.PAGE_TABLES):
                return Target(Subject(Kind.EVERYTHING), relation)
            if relation in _WHOSE:
                raise NotClear(f"Whose {relation}? Name a process: {relation} of process 1.")
            if relation is Relation.FILES and said == "files" and reader.at == 1:
                return Target(Subject(Kind.FILE))
            return Target(Subject(Kind.PROCESS), relation)
        subject = subjects.read(None if relation is Relation.MEMORY else Kind.PROCESS)
        reader.skip()
        if relation is Relation.MEMORY and reader.take(Concept.SHARED) is not None:
            return self._shared(reader, subjects, subject)
        return Target(subject, relation)

    def _shared(self, reader: Reader, subjects: SubjectReader, subject: Subject) -> Target:
        """Behind the first of two that share: `with B`, `and B`."""
        reader.take_any(Concept.WITH, Concept.BETWEEN, Concept.OF)
        if reader.done:
            raise NotClear(f"{subject} shares memory with whom? Name another: memory shared between A and B.")
        return Target(subject, Relation.SHARED, subjects.read())


_BETWEEN_TWO = frozenset({"with", "and", "to", "against", "versus", "vs"})
_INSIDE = frozenset({"in", "inside", "within", "of", "among"})
_PLACED = PATTERNS | {Kind.ADDRESS, Kind.CLASS}
"""What can be `of` something and is not a relation: 0x7f00 of process 42, page cache of /etc/passwd."""
