"""Queries of every form, for property tests."""

from __future__ import annotations

from hypothesis import strategies as st

from bridge.semantic.query.model import (
    CLASS_WORDS,
    MAX_PID,
    BadQuery,
    Changing,
    Kind,
    Query,
    Relation,
    Subject,
    Target,
    Verb,
    When,
)

texts = st.one_of(
    st.text(min_size=1, max_size=30),
    st.text(alphabet="\"'\\/ ;\x1b\n\0«»“”…\udcff\U0001f600aβ0", min_size=1, max_size=30),
    st.sampled_from(["heap", "of", "process", "every", '"; DROP TABLE', "\x1b[2J", "written within 5 s", "42", "'s"]),
)
addresses = st.integers(0, (1 << 64) - 1).flatmap(
    lambda start: st.tuples(st.just(start), st.integers(1, min((1 << 64) - start, 1 << 40)))
)
hexes = st.lists(st.sampled_from(["00", "7f", "a9", "ff", "??", "5?", "?c"]), min_size=1, max_size=8).map(" ".join)
_VALUES = {
    Kind.PROCESS: st.one_of(st.none(), st.integers(0, MAX_PID), texts),
    Kind.FILE: st.one_of(st.none(), texts),
    Kind.MODULE: st.one_of(st.none(), texts),
    Kind.SLAB: st.one_of(st.none(), texts),
    Kind.SYMBOL: texts,
    Kind.CLASS: st.sampled_from(sorted(CLASS_WORDS)),
    Kind.ADDRESS: addresses,
    Kind.BYTES: hexes,
    Kind.TEXT: texts,
    Kind.REGEX: texts,
    Kind.YARA: texts,
    Kind.KERNEL: st.none(),
    Kind.EVERYTHING: st.none(),
}


@st.composite
def subjects(draw: st.DrawFn, kinds: tuple[Kind, ...] = tuple(Kind)) -> Subject:
    """A subject, of some kinds."""
    while True:
        kind = draw(st.sampled_from(kinds))
        ignore_case = kind in (Kind.TEXT, Kind.REGEX) and draw(st.booleans())
        try:
            return Subject(kind, draw(_VALUES[kind]), ignore_case)
        except BadQuery:  # a lone backslash at the end, or wildcards alone
            continue


@st.composite
def targets(draw: st.DrawFn) -> Target:
    """A subject, and what of it."""
    while True:
        subject, relation = draw(subjects()), draw(st.sampled_from(tuple(Relation)))
        other = draw(subjects((Kind.PROCESS,))) if relation is Relation.SHARED else None
        try:
            return Target(subject, relation, other)
        except BadQuery:
            continue


times = st.one_of(
    st.none(),
    st.floats(0.001, 86_400).map(lambda s: When(Changing.WRITTEN, s)),
    st.times().map(lambda t: When(Changing.CHANGED, since=t.strftime("%H:%M:%S"))),
)


@st.composite
def queries(draw: st.DrawFn) -> Query:
    """A whole query."""
    verb = draw(st.sampled_from(tuple(Verb)))
    against = draw(targets()) if verb is Verb.COMPARE else None
    within = None if verb is Verb.COMPARE else draw(st.one_of(st.none(), targets()))
    return Query(draw(targets()), verb, within, against, draw(times), draw(st.one_of(st.none(), texts)))
