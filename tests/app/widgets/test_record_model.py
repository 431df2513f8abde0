"""A table's rows are filtered, ordered and copied as a plain reading of them says."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.widgets.plain_text import MAX_CHARACTERS, csv_text, plain
from app.widgets.record_model import Column, RecordModel


@dataclass(frozen=True)
class Row:
    number: int
    name: str
    size: int


NUMBER = Column[Row]("Number", lambda row: row.number)
NAME = Column[Row]("Name", lambda row: row.name)
SIZE = Column[Row]("Size", lambda row: row.size, lambda row: f"{row.size} B", descends=True, exact=True, right=True)
NUMPY_SIZE = Column[Row]("Size", lambda row: row.size, values=lambda rows: np.array([row.size for row in rows]))

names = st.text(st.sampled_from("abAB _ßÉ1"), max_size=6)
tables = st.lists(st.tuples(names, st.integers(0, 5)), max_size=30).map(
    lambda pairs: tuple(Row(number, name, size) for number, (name, size) in enumerate(pairs))
)


def shown(model: RecordModel[Row], rows: tuple[Row, ...]) -> list[Row]:
    return [rows[at] for at in model.view(rows).tolist()]


@given(tables, st.sampled_from([None, 0, 1, 2, 3]), st.booleans(), st.lists(names, max_size=4))
def test_rows_are_filtered_and_ordered_as_python_would(
    rows: tuple[Row, ...], sort: int | None, descending: bool, needles: list[str]
) -> None:
    model = RecordModel([NUMBER, NAME, SIZE, NUMPY_SIZE], lambda row: row.number, sort=sort, descending=descending)
    for needle in ["", *needles, "".join(needles)]:  # one model: what it keeps between filters must not show
        model.needle = needle
        keys = [lambda r: r.number, lambda r: r.name.casefold(), lambda r: r.size, lambda r: r.size]
        expected = list(rows) if sort is None else sorted(rows, key=keys[sort], reverse=descending)
        words = needle.casefold().split()
        texts = {r.number: f"{r.number}\n{r.name}\n{r.size} b\n{r.size}".casefold() for r in rows}
        assert shown(model, rows) == [r for r in expected if all(word in texts[r.number] for word in words)]
        for at, row in enumerate(shown(model, rows)):
            assert model.position(row.number) == at
            assert model.position(row.number, near=at) == at
        assert model.position(-1) is None


def test_a_view_is_kept_while_nothing_changes() -> None:
    rows = (Row(1, "one", 3), Row(2, "two", 1))
    model = RecordModel([NAME, SIZE], lambda row: row.number, sort=1)
    first = model.view(rows)
    assert model.descending, "sizes are sorted largest first"
    assert model.view(rows) is first
    model.descending = False
    assert shown(model, rows) == [rows[1], rows[0]]
    later = (*rows, Row(3, "three", 2))
    assert shown(model, later) == [later[1], later[2], later[0]]
    assert model.rows is later


def test_many_rows_may_be_searched_by_texts_made_at_once() -> None:
    rows = (Row(1, "one", 3), Row(2, "two", 1))
    asked = []

    def stacks(given: object) -> list[str]:
        asked.append(given)
        return ["alpha", "beta"]

    model = RecordModel([NAME], lambda row: row.number, haystacks=stacks)
    assert not asked
    model.needle = "ALPH"
    assert shown(model, rows) == [rows[0]]
    model.needle = "a"
    assert shown(model, rows) == list(rows)
    assert asked == [rows], "and only once"


def test_cells_say_and_copy_their_value() -> None:
    model = RecordModel([NUMBER, NAME, SIZE], lambda row: row.number, sort=2)
    rows = (Row(1_234, 'a "b", c', 1), Row(5, "=1+1\n\x1b[31m", 1_000_000))
    model.view(rows)
    assert NUMBER.shown(rows[0]) == "1,234"
    assert SIZE.shown(rows[1]) == "1000000 B"
    assert SIZE.copied(rows[1]) == 1_000_000
    assert NAME.shown(rows[1]) == "=1+1\\n\\x1b[31m"
    read = list(csv.reader(io.StringIO(model.csv())))
    assert read == [["Number", "Name", "Size"], ["5", "'=1+1\\n\\x1b[31m", "1000000"], ["1234", 'a "b", c', "1"]]
    assert model.row_text(rows[0]) == '1234\ta "b", c\t1'


def test_tones_are_said_once_or_by_the_row() -> None:
    assert NAME.tone_of(Row(1, "", 0)) == "text"
    told = Column[Row]("x", lambda row: row.size, tone=lambda row: "bad" if row.size else "faint")
    assert [told.tone_of(Row(0, "", size)) for size in (0, 1)] == ["faint", "bad"]


@given(st.text())
def test_plain_text_is_one_visible_line(text: str) -> None:
    said = plain(text)
    assert len(said.splitlines()) <= 1
    assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or 0x202A <= ord(c) <= 0x202E for c in said)
    if text.isprintable() and len(text) <= MAX_CHARACTERS:
        assert said == text


def test_long_text_is_cut() -> None:
    assert plain("a" * 3_000_000) == "a" * (MAX_CHARACTERS - 1) + "…"
    assert plain("abcdef", 4) == "abc…"
    assert plain("\u202egnp.exe") == "\\u202egnp.exe"


@given(st.lists(st.lists(st.one_of(st.integers(), st.text(max_size=8)), min_size=2, max_size=2), max_size=5))
def test_csv_reads_back(rows: list[list[object]]) -> None:
    read = list(csv.reader(io.StringIO(csv_text(["a", "b"], rows))))
    assert read[0] == ["a", "b"]
    for row, back in zip(rows, read[1:], strict=True):
        for value, text in zip(row, back, strict=True):
            if isinstance(value, int):
                assert int(text) == value
            else:
                assert text.removeprefix("'") == plain(str(value)).removeprefix("'")
                assert not text.startswith(("=", "+", "-", "@"))


@pytest.mark.parametrize("needle", ["x" * 5_000_000, " \t ", "\0"])
def test_any_filter_is_bounded(needle: str) -> None:
    rows = tuple(Row(number, "x" * 300, 0) for number in range(3))
    model = RecordModel([NAME], lambda row: row.number)
    model.needle = needle
    assert len(shown(model, rows)) == (0 if "\0" in needle else 3), "what is typed beyond its limit is not looked for"
