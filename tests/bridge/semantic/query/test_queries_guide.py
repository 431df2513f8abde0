"""docs/queries.md is true: its queries are normalised texts, what may be said means what it says, its words exist."""

from __future__ import annotations

import json
import re
from pathlib import Path

from bridge.semantic.query.model import CLASS_WORDS, Relation, Understood, Verb
from bridge.semantic.query.names import NO_NAMES
from bridge.semantic.query.parser import parse, understand
from bridge.semantic.query.resolving import LIKELY
from bridge.semantic.query.times import ASSUMED_S

GUIDE = (Path(__file__).parents[4] / "docs" / "queries.md").read_text()
ROWS = re.findall(r"^\| `([^`]+)` \| (.+) \|$", GUIDE, re.MULTILINE)


def test_every_query_is_its_own_normalised_text() -> None:
    queries = [query for query, meaning in ROWS if not meaning.startswith("`")]
    assert len(queries) >= 12
    for query in queries:
        assert str(parse(query)) == query


def test_what_may_be_said_is_understood_as_it_says() -> None:
    said = [(text, meaning.strip("`")) for text, meaning in ROWS if meaning.startswith("`")]
    assert len(said) >= 20
    for text, meaning in said:
        understood = understand(text, NO_NAMES)
        assert isinstance(understood, Understood), text
        assert str(understood.query) == meaning


def test_the_grammar_names_all_words() -> None:
    grammar = GUIDE[GUIDE.index("```text") :]
    grammar = grammar[: grammar.index("```\n")]
    for verb in Verb:
        assert str(verb) in grammar
    for relation in Relation:
        assert str(relation) in grammar
    classes = GUIDE[GUIDE.index("Classes of pages are") : GUIDE.index("| query | is |")]
    assert set(re.findall(r"`([^`]+)`", classes)) == set(CLASS_WORDS)


def test_figures_and_commands_hold() -> None:
    assert f"at least {LIKELY:.0f} of 100 agree" in GUIDE
    assert f"the last {ASSUMED_S:g} s" in GUIDE
    for command in re.findall(r'^\./glassbox (?:find|shot demo --find) "([^"]+)"', GUIDE, re.MULTILINE):
        assert parse(command)
    document = json.loads(re.findall(r"```json\n(.*?)```", GUIDE, re.DOTALL)[0])
    assert str(parse(document["query"])) == document["query"]
