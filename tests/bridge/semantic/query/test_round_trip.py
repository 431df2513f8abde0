"""Every query has one text, and that text means that query, in every machine."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.semantic.query.model import Query, Understood
from bridge.semantic.query.names import Names, ProcessName
from bridge.semantic.query.parser import parse, understand
from tests.bridge.semantic.query.queries import queries, texts

machines = st.builds(
    Names,
    st.lists(st.builds(ProcessName, st.integers(0, 99), texts, texts), max_size=5).map(tuple),
    *[st.lists(texts, max_size=3).map(tuple)] * 4,
)


@settings(max_examples=100)
@given(queries(), machines)
def test_the_text_of_a_query_means_that_query(query: Query, names: Names) -> None:
    text = str(query)
    assert text.isprintable()
    assert parse(text) == query
    understood = understand(text, names)
    assert isinstance(understood, Understood)
    assert understood.query == query
    assert understood.assumed == ()


@settings(max_examples=80)
@given(st.one_of(st.text(max_size=200), st.lists(texts, max_size=12).map(" ".join)), machines)
def test_any_text_is_answered_by_a_query_or_a_sentence(text: str, names: Names) -> None:
    understood = understand(text, names)
    assert understood == understand(text, names)
    if isinstance(understood, Understood):
        assert parse(str(understood.query)) == understood.query
    else:
        assert understood.problem
        for attempt in understood.nearest:
            assert isinstance(understand(attempt, names), Understood), attempt
