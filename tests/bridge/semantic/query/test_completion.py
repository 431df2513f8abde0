"""While a question is typed, it is offered how it may go on; what is offered can be understood."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.semantic.query.completion import complete
from bridge.semantic.query.model import Understood
from bridge.semantic.query.names import NO_NAMES, Names, ProcessName
from bridge.semantic.query.parser import understand
from tests.bridge.semantic.query.test_parser import NAMES


def offered(text: str, names: Names = NAMES, limit: int = 12) -> list[str]:
    return [one.text for one in complete(text, len(text), names, limit)]


@pytest.mark.parametrize(
    ("typed", "first"),
    [
        ("he", "heap"),
        ("dro", "dropbear"),
        ("heap ", "heap of init"),
        ("heap of dr", "heap of dropbear"),
        ("heap of ssh", "heap of ssh daemon"),
        ("page ta", "page tables"),
        ("process cou", "process counter"),
        ("module vir", "module virtio_net"),
        ("slab den", "slab dentry"),
        ("symbol jif", "symbol jiffies"),
        ("class fr", "class free"),
        ("file pass", "file /etc/passwd"),
        ("file /etc", "file /etc/passwd"),
        ('process "cou', 'process "counter"'),
        ("dropbear's st", "dropbear's stack"),
        ("counter writ", "counter written in the last 5 s"),
        ("who owns coun", "who owns counter"),
        ("compare counter w", "compare counter with"),
        ("compare counter with dr", "compare counter with dropbear"),
        ('text "a" in cou', 'text "a" in counter'),
        ("everything on d", "everything on Demo"),
        ("highlight kernel st", "highlight kernel stack"),
        ("dropbaer", "dropbear"),
    ],
)
def test_the_likeliest_comes_first(typed: str, first: str) -> None:
    assert offered(typed)[0] == first
    assert isinstance(understand(first, NAMES), Understood) or first.endswith("with")


def test_what_is_behind_the_cursor_stays() -> None:
    [one] = complete("heap of dr written in the last 5 s", len("heap of dr"), NAMES, 1)
    assert one.text == "heap of dropbear written in the last 5 s"
    assert one.text[: one.cursor] == "heap of dropbear"
    assert (one.title, one.kind, one.note) == ("dropbear", "process", "process 50, /bin/dropbear -F")


def test_names_that_would_mean_something_else_are_quoted() -> None:
    names = Names((ProcessName(1, "heap"), ProcessName(2, '"; DROP'), ProcessName(3, "42"), ProcessName(4, "\x1b[2J")))
    found = complete("process ", 8, names)
    assert [one.text for one in found] == [
        'process "heap"',
        r'process "\"; DROP"',
        'process "42"',
        r'process "\x1b[2J"',
    ]
    assert all(one.title.isprintable() and one.note.isprintable() for one in found)


def test_an_empty_box_and_bad_input() -> None:
    assert len(offered("")) == 12
    assert offered("", NO_NAMES)
    assert offered("x" * 10_001) == []
    assert complete("heap", 2, NAMES, 0) == ()
    assert offered("regex /ab") == []
    assert complete("he", 99, NAMES)[0].text == "heap"
    assert complete("he", -1, NAMES)[0].text.endswith("he")


@settings(max_examples=100)
@given(
    st.lists(
        st.sampled_from(["heap", "of", "process", '"', "'", "0x12", "in", "on", "'s", "with", "\x1b", "counter"]),
        max_size=8,
    )
    .map(" ".join)
    .flatmap(lambda text: st.tuples(st.just(text), st.integers(0, len(text))))
)
def test_completion_of_anything_is_a_bounded_list_of_printable_things(typed: tuple[str, int]) -> None:
    text, cursor = typed
    found = complete(text, cursor, NAMES)
    assert len(found) <= 12
    for one in found:
        assert one.title.isprintable()
        assert one.text.endswith(text[cursor:])
        assert 0 <= one.cursor <= len(one.text)


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("the ssh dae", "the ssh daemon"),
        ("show me the ssh dae", "show me the ssh daemon"),
        ("show me the he", "show me the heap"),
        ("show the heap of the drop", "show the heap of the dropbear"),
    ],
)
def test_words_that_change_nothing_do_not_change_what_may_follow(text: str, whole: str) -> None:
    assert whole in offered(text)
