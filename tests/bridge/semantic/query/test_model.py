"""Parts of a query that do not go together are refused with a sentence; texts of guests come back exactly."""

from __future__ import annotations

import datetime
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.semantic.query.model import (
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
from bridge.semantic.query.texts import quote, shown, unquote
from bridge.semantic.query.world import NotWatched

ONE = Subject(Kind.PROCESS, 1)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Subject(Kind.FILE, "/a", True), "Upper and lower case mean nothing to a file."),
        (lambda: Subject(Kind.KERNEL, "x"), "There is only one kernel."),
        (lambda: Subject(Kind.SYMBOL), "A symbol has to be named."),
        (lambda: Subject(Kind.ADDRESS, 5), "An address is its first byte and a length."),
        (lambda: Subject(Kind.ADDRESS, ((1 << 64) - 1, 2)), "There are no 2 bytes"),
        (lambda: Subject(Kind.PROCESS, -1), "No process has the number -1."),
        (lambda: Subject(Kind.PROCESS, ""), "has to be named by a text"),
        (lambda: Subject(Kind.FILE, "x" * 4097), "4,097 characters is too long"),
        (lambda: Subject(Kind.BYTES, "7"), "Bytes are written as"),
        (lambda: Subject(Kind.BYTES, "?? ??"), "Bytes are written as"),
        (lambda: Subject(Kind.REGEX, "a\\"), "cannot end in a single backslash"),
        (lambda: Subject(Kind.CLASS, "purple"), "Pages have no class"),
        (lambda: Target(Subject(Kind.FILE, "/a"), Relation.HEAP), "no such thing as the heap of file"),
        (lambda: Target(ONE, Relation.SHARED), "shared between two"),
        (lambda: Target(ONE, Relation.SHARED, Subject(Kind.KERNEL)), "not with kernel"),
        (lambda: When(Changing.WRITTEN), "takes a number of seconds"),
        (lambda: When(Changing.WRITTEN, float("nan")), "a day at most"),
        (lambda: When(Changing.WRITTEN, 0), "a day at most"),
        (lambda: When(Changing.CHANGED, since="25:00:00"), "a time of day"),
        (lambda: Query(Target(ONE), Verb.COMPARE), "Compare takes two things"),
        (lambda: Query(Target(ONE), machine=""), "A machine has to be named."),
    ],
)
def test_what_makes_no_sense_is_refused(make: Callable[[], object], said: str) -> None:
    with pytest.raises(BadQuery) as caught:
        make()
    assert said in str(caught.value)


def test_a_time_of_day_is_the_last_one() -> None:
    now = datetime.datetime(2026, 11, 21, 14, 0, 0).astimezone()
    for since, hours in (("13:00:00", 1), ("15:00:00", 23), ("14:00:00", 0)):
        assert When(Changing.CHANGED, since=since).since_s(now.timestamp()) == now.timestamp() - 3600 * hours
    assert When(Changing.WRITTEN, 2.5).since_s(100.0) == 97.5


def test_the_parts_of_a_query() -> None:
    query = Query(Target(ONE, Relation.HEAP))
    assert (query.subject, query.relation) == (ONE, Relation.HEAP)
    assert not ONE.is_every
    assert Subject(Kind.MODULE).is_every
    assert "from now on only" in str(NotWatched(0.0))


@given(st.text())
def test_any_text_can_be_quoted_and_shown(text: str) -> None:
    assert quote(text).isprintable()
    assert unquote(quote(text)[1:-1]) == text
    assert shown(text, 20).isprintable()
    assert len(shown(text, 20)) <= 20


def test_an_escape_that_means_nothing_stands_for_itself() -> None:
    assert unquote(r"C:\foo\q\U0011ffff") == "C:\\foo\\q\\U0011ffff"
