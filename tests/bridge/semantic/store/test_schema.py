"""The schema: what is documented is what is there, and every address can be joined."""

from __future__ import annotations

import sqlite3

import pytest

from bridge.kernel.census.records import FORMS
from bridge.semantic.store import schema


@pytest.fixture
def empty() -> sqlite3.Connection:
    """A database with the schema and nothing in it."""
    db = sqlite3.connect(":memory:")
    for statement in schema.statements():
        db.execute(statement)
    return db


def test_every_table_and_view_has_exactly_the_columns_that_are_documented(empty: sqlite3.Connection) -> None:
    for table in schema.TABLES:
        found = [(name, kind, not bad) for _, name, kind, bad, *_ in empty.execute(f"PRAGMA table_info({table.name})")]
        assert found == [(c.name, c.kind, c.nullable) for c in schema.all_columns(table)], table.name
    for view in schema.VIEWS:
        found_names = [name for _, name, *_ in empty.execute(f"PRAGMA table_info({view.name})")]
        assert found_names == [c.name for c in view.columns], view.name
    own = "type IN ('table', 'view') AND name NOT LIKE 'sqlite_%'"
    made = {name for (name,) in empty.execute(f"SELECT name FROM sqlite_master WHERE {own}")}
    assert made == {thing.name for thing in schema.THINGS}


def test_tables_are_strict(empty: sqlite3.Connection) -> None:
    strict = {name: flag for _, name, _, _, _, flag in empty.execute("PRAGMA table_list")}
    assert all(strict[table.name] == 1 for table in schema.TABLES)
    with pytest.raises(sqlite3.IntegrityError, match="cannot store TEXT"):
        empty.execute("INSERT INTO snapshots VALUES ('x', 1.0, 1.0, 'live', 1.0, 1)")


def test_what_a_census_tells_is_what_a_table_takes() -> None:
    told = schema.told_by_census()
    assert set(told) == set(FORMS)
    for name, table in told.items():
        own = [column.name for column in table.columns if column.name not in ("machine_id", "since_s")]
        assert tuple(own) == FORMS[name].columns
        key = [column for column in table.key if column != "machine_id"]
        assert tuple(key) == FORMS[name].columns[: FORMS[name].n_key]


def test_what_lies_in_the_kernel_has_its_virtual_and_its_physical_address() -> None:
    for table in schema.TABLES:
        names = {column.name for column in table.columns}
        for name in names:
            if name.endswith("_vaddr") and name not in ("end_vaddr", "direct_map_vaddr"):
                assert name.removesuffix("_vaddr") + "_paddr" in names, f"{table.name}.{name}"
            if name.endswith("_uaddr"):
                assert "pid" in names, f"{table.name}.{name}"
            if "addr" in name:
                column = next(column for column in table.columns if column.name == name)
                assert column.kind == "INTEGER"
                assert name == "paddr" or name == "vaddr" or name.endswith(("_vaddr", "_paddr", "_uaddr"))


def test_everything_has_a_meaning() -> None:
    for thing in schema.THINGS:
        assert thing.meaning.endswith(".")
        for column in thing.columns:
            assert len(column.meaning) > 3, f"{thing.name}.{column.name}"
            if column.name.endswith("_s"):
                assert "seconds" in column.meaning, f"{thing.name}.{column.name}"
            if column.name.endswith("_bytes"):
                assert "in bytes" in column.meaning.lower(), f"{thing.name}.{column.name}"
    text = schema.documentation()
    for thing in schema.THINGS:
        assert f"### {thing.name}\n" in text
