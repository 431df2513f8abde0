"""Parser: a question as people put it, or a query's own text, becomes a typed query; see docs/queries.md.

Recursive descent over tokens. Every rule passes each token once, and alternatives are tried at a bounded number of
places, so that the time a text takes is bounded by the square of its words, and those are few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bridge.semantic.query.cannot import excuse
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
    except (NotClear, BadQuery) as problem:
        told = excuse(tokens_of(text)) if isinstance(problem, NotClear) else None
        if told is not None:
            return NotUnderstood(told.problem, told.nearest)
        return NotUnderstood(str(problem), nearest(text, names, getattr(problem, "token", None)))


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
        if verb is Verb.SHOW and any(token.word in _VERSUS for token in rest):
            verb = Verb.COMPARE
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
        if (having := self._having(tokens)) is not None:
            return having
        try:
            return self._target(tokens, searching), None
        except (NotClear, BadQuery) as error:
            problem: Exception = error
        if (holding := self._holding(tokens)) is not None:
            return holding
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

    def _having(self, tokens: list[Token]) -> tuple[Target, Target | None] | None:
        """`who has FILE open`, `which process has FILE mapped`; None where it does not begin so."""
        reader = Reader(tokens)
        reader.skip()
        if reader.take(Concept.HAVING) is None:
            return None
        target = self._target(tokens[reader.at :], searching=False)
        if target.relation is not Relation.MEMORY or target.subject.kind in PATTERNS:
            return target, None
        if tokens[-1].word in ("open", "opened"):
            return Target(Subject(Kind.PROCESS), Relation.FILES), target
        return Target(target.subject, Relation.OWNERS), None

    def _holding(self, tokens: list[Token]) -> tuple[Target, Target | None] | None:
        """`pages of X that contain TEXT`, `which process contains TEXT`: what is looked for, and where; None where
        nothing contains anything.
        """
        at = next((at for at, token in enumerate(tokens) if token.word in _CONTAIN), None)
        if not at:
            return None
        before, sought = len(self._assumed), tokens[at + 1 :]
        reader = Reader(sought)
        reader.skip()
        bare = reader.token is not None and reader.token.type in (Type.STRING, Type.WORD, Type.PATH)
        if bare and reader.meaning(Concept.KIND) is None:
            named = replace(sought[reader.at], type=Type.STRING)
            sought = [replace(tokens[at], text="text"), named, *sought[reader.at + 1 :]]
        try:
            within = self._target(tokens[:at], searching=False)
            target = self._target(sought, searching=True)
        except (NotClear, BadQuery):
            del self._assumed[before:]
            return None
        if target.subject.kind not in PATTERNS:
            del self._assumed[before:]
            return None
        everywhere = within.subject.kind is Kind.EVERYTHING and within.relation is Relation.MEMORY
        return target, None if everywhere else within

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
        reader.take_any(Concept.OF)
        if reader.token is not None and reader.token.word in ("in", "inside"):
            reader.at += 1  # what is in …
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
        if subject.kind is Kind.EVERYTHING and not reader.done and not _at_place(reader):
            return self._head(reader, subjects)  # everything that X has
        if (both := self._both(reader, subjects, subject)) is not None:
            return both
        found = reader.take(Concept.RELATION)
        if found is not None:
            assert isinstance(found.value, Relation)
            _refuse_two(reader)
            return Target(subject, _meant(found.value, subject))
        return Target(subject)

    def _relation(self, reader: Reader, subjects: SubjectReader) -> Relation | None:
        """A relation that stands first: `heap of …`, `pages shared between …`; None where a subject does."""
        before = reader.at
        reader.take(Concept.EVERY)
        reader.skip()
        meaning = reader.meaning(Concept.RELATION)
        if meaning is None or subjects.begins_pattern() or subjects.begins_frame():
            reader.at = before
            return None
        reader.take(Concept.RELATION)
        assert isinstance(meaning.value, Relation)
        return meaning.value

    def _of(self, relation: Relation, reader: Reader, subjects: SubjectReader) -> Target:
        said = reader.tokens[reader.at - 1].word
        reader.skip()
        _refuse_two(reader)
        reader.take_any(Concept.OF, Concept.BETWEEN)
        if reader.token is not None and reader.token.word in ("in", "inside"):
            reader.at += 1
        if reader.done:
            if relation is Relation.MEMORY and any(token.word in _USED for token in reader.tokens):
                raise NotClear("Used by whom?")
            if relation in (Relation.MEMORY, Relation.PAGE_TABLES):
                return Target(Subject(Kind.EVERYTHING), relation)
            if relation in _WHOSE:
                raise NotClear(f"Whose {relation}? Name a process: {relation} of process 1.")
            if relation is Relation.FILES and said == "files" and reader.at == 1:
                return Target(Subject(Kind.FILE))
            return Target(Subject(Kind.PROCESS), relation)
        if relation is Relation.MEMORY and reader.meaning(Concept.RELATION) is not None:
            return self._head(reader, subjects)  # pages of the heap of X
        subject = subjects.read(None if relation is Relation.MEMORY else Kind.PROCESS)
        if relation is Relation.MEMORY and (both := self._both(reader, subjects, subject)) is not None:
            return both
        reader.skip()
        return Target(subject, _meant(relation, subject))

    def _both(self, reader: Reader, subjects: SubjectReader, subject: Subject) -> Target | None:
        """`… shares with B`, `… and B share`, behind a subject; None where that is not said, and nothing is passed."""
        reader.skip()
        if reader.take(Concept.SHARED) is not None:
            return self._shared(reader, subjects, subject)
        before = reader.at
        if reader.token is not None and reader.token.word in ("and", "&"):
            reader.at += 1
            other = subjects.read()
            reader.skip()
            if reader.take(Concept.SHARED) is not None:
                return Target(subject, Relation.SHARED, other)
        reader.at = before
        return None

    def _shared(self, reader: Reader, subjects: SubjectReader, subject: Subject) -> Target:
        """Behind the first of two that share: `with B`, `and B`."""
        reader.take_any(Concept.WITH, Concept.BETWEEN, Concept.OF)
        if reader.done:
            raise NotClear(f"{subject} shares memory with whom? Name another: memory shared between A and B.")
        return Target(subject, Relation.SHARED, subjects.read())


def _meant(relation: Relation, subject: Subject) -> Relation:
    """The kernel's stacks are kernel stacks."""
    return Relation.KERNEL_STACK if subject.kind is Kind.KERNEL and relation is Relation.STACK else relation


def _refuse_two(reader: Reader) -> None:
    """`heap and stack of X` are two questions. Raises NotClear."""
    before = reader.at
    if reader.token is not None and reader.token.word in ("and", "&", "or"):
        reader.at += 1
        reader.skip()
        if reader.meaning(Concept.RELATION) is not None:
            raise NotClear("One question asks for one thing: first for the one, then for the other.")
    reader.at = before


def _at_place(reader: Reader) -> bool:
    """Whether it goes on with where to look."""
    return reader.token is not None and (
        reader.token.word in _INSIDE - {"of"} or reader.meaning(Concept.RELATION) is not None
    )


_USED = frozenset({"use", "used", "taken", "occupied"})
"""Words that change nothing where it is said by whom, and leave out what is free where it is not."""
_VERSUS = frozenset({"vs", "versus"})
_CONTAIN = frozenset({"containing", "contain", "contains", "contained"})
_BETWEEN_TWO = frozenset({"with", "and", "to", "against", "versus", "vs"})
_INSIDE = frozenset({"in", "inside", "within", "of", "among"})
_PLACED = PATTERNS | {Kind.ADDRESS, Kind.CLASS}
"""What can be `of` something and is not a relation: 0x7f00 of process 42, page cache of /etc/passwd."""
