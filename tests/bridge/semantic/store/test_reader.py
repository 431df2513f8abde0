"""The reader: every SELECT is answered, nothing else is, and nothing takes for ever."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bridge.kernel.census.records import Cell
from bridge.semantic.store.errors import BadQuery, QueryTooLong, StoreUnusable
from bridge.semantic.store.reader import ReadOnly
from bridge.semantic.store.walls import MAX_QUERY, enclose, hex64
from bridge.semantic.store.writer import Store
from tests.bridge.semantic.store.made_up import census, row

ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with three processes."""
    store = Store.open(tmp_path_factory.mktemp("store") / "a?b#c %41.db")  # as users name folders
    machine = store.machine("demo", ram_bytes=1, is_dump=False, time_s=1.0)
    rows = [row("processes", pid, name=f"p{pid}", task_vaddr=-(1 << 47) + pid) for pid in (1, 2, 3)]
    store.write(machine, census(1, 0, {"processes": (rows, [])}), 1.0)
    store.close()
    return store.path


@pytest.fixture
def reader(path: Path) -> Iterator[ReadOnly]:
    with ReadOnly(path) as store:
        yield store


def test_a_query_gives_columns_and_rows(reader: ReadOnly) -> None:
    table = reader.query("SELECT pid, name, pid AS name FROM processes ORDER BY pid DESC")
    assert table.columns == ("pid", "name", "name 2")
    assert table.rows == ((3, "p3", 3), (2, "p2", 2), (1, "p1", 1))
    assert not table.truncated
    assert 0 <= table.elapsed_s < 5
    assert reader.query("VALUES (x'00ff', 1.5, NULL)").rows == ((b"\x00\xff", 1.5, None),)


def test_addresses_are_found_by_their_literal(reader: ReadOnly) -> None:
    found = reader.query("SELECT pid, hex64(task_vaddr) FROM processes WHERE task_vaddr = 0xffff800000000002")
    assert found.rows == ((2, "0xffff800000000002"),)
    between = "task_vaddr BETWEEN 0xffff800000000001 AND 0xffff800000000002"
    assert reader.query(f"SELECT count(*) FROM processes WHERE {between}").rows == ((2,),)
    assert hex64(None) is None
    assert hex64(-1) == "0xffffffffffffffff"
    with pytest.raises(BadQuery, match="hex64 takes one whole number"):
        reader.query("SELECT hex64('x')")


def test_rows_beyond_the_limit_are_left_out_and_that_is_said(reader: ReadOnly) -> None:
    sql = "SELECT pid FROM processes ORDER BY pid"
    assert reader.query(sql, limit_rows=2).rows == ((1,), (2,))
    assert reader.query(sql, limit_rows=2).truncated
    assert not reader.query(sql, limit_rows=3).truncated
    assert reader.query(sql, limit_rows=0).truncated
    large = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT hex(zeroblob(30000)) FROM n"
    answer = reader.query(large, limit_s=60.0)  # endless, but the answer's size is bounded
    assert answer.truncated
    assert len(answer.rows) == (64 << 20) // 60_000


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM processes",
        "INSERT INTO machines (name) VALUES ('x')",
        "UPDATE processes SET pid = 0",
        "DROP TABLE processes",
        "CREATE TABLE x (a)",
        "CREATE TEMP TABLE x (a)",
        "CREATE TEMP VIEW x AS SELECT 1",
        "ATTACH '/tmp/x.db' AS x",
        "DETACH main",
        "VACUUM",
        "VACUUM INTO '/tmp/glassbox-must-not-exist.db'",
        "REINDEX",
        "ANALYZE",
        "BEGIN",
        "COMMIT",
        "SAVEPOINT a",
        "PRAGMA journal_mode=DELETE",
        "PRAGMA query_only=OFF",
        "PRAGMA writable_schema=ON",
        "PRAGMA wal_checkpoint",
        "PRAGMA temp_store_directory='/tmp'",
        "PRAGMA hard_heap_limit=1",
        "SELECT load_extension('x')",
        "SELECT LOAD_EXTENSION('x', 'y')",
        "SELECT fts3_tokenizer('simple', x'00')",
        "CREATE VIRTUAL TABLE x USING fts5(a)",
        "WITH a AS (SELECT 1) DELETE FROM processes",
        "INSERT INTO processes SELECT * FROM processes RETURNING pid",
    ],
)
def test_whatever_is_no_reading_is_refused_in_a_sentence(reader: ReadOnly, path: Path, sql: str) -> None:
    before = path.read_bytes()
    with pytest.raises(BadQuery) as refused:
        reader.query(sql)
    assert str(refused.value).endswith(".")
    assert str(refused.value)[0].isupper()
    assert path.read_bytes() == before
    assert not Path("/tmp/glassbox-must-not-exist.db").exists()
    assert reader.query("SELECT count(*) FROM processes").rows == ((3,),)


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("", "There is no query"),
        (" \n\t", "There is no query"),
        ("-- nothing", "gives no table"),
        ("SELECT 1; SELECT 2", "one statement"),
        ("SELECT 1; DROP TABLE processes", "one statement"),
        ("SELEC 1", 'Near "SELEC": syntax error'),
        ("SELECT (", "Incomplete input"),
        ("SELECT 'a", "nrecognized token"),
        ("SELECT * FROM nowhere", "No such table: nowhere"),
        ("SELECT nowhere FROM processes", "No such column: nowhere"),
        ("SELECT ?", "no parameters"),
        ("SELECT :a", "no parameters"),
        ("SELECT load_extension('x')", "function load_extension cannot be used"),
        ("SELECT abs(-9223372036854775808)", "overflow"),
        ("SELECT zeroblob(1 << 30)", "larger than 64 KiB"),
        ("SELECT printf('%.*c', 1 << 30, 'a')", "function printf cannot be used"),
        ("SELECT format('%.*c', 1 << 30, 'a')", "function format cannot be used"),
        ("SELECT 'a\0b'", "NUL"),
        ("SELECT '\udcff'", "no text in UTF-8"),
        ("SELECT '" + "a" * MAX_QUERY + "'", "at most 64 KiB"),
        ("SELECT " + "+".join(["1"] * 5000), "too large"),
        (" UNION ALL ".join(["SELECT 1"] * 600), "Too many terms"),
    ],
)
def test_what_makes_no_sense_is_told_in_a_sentence(reader: ReadOnly, sql: str, why: str) -> None:
    with pytest.raises(BadQuery) as refused:
        reader.query(sql)
    assert why in str(refused.value)
    assert str(refused.value).endswith(".")


def test_a_query_of_any_depth_is_answered_or_refused_in_a_sentence(reader: ReadOnly) -> None:
    """SQLite's parser had a stack of 100 before 3.46; since then it grows."""
    try:
        said: object = reader.query("SELECT " + "(" * 5000 + "1" + ")" * 5000).rows
    except BadQuery as refused:
        said = str(refused)
    assert said in (((1,),), "Parser stack overflow.")


def test_queries_may_ask_for_the_schema(reader: ReadOnly) -> None:
    assert ("now_processes",) in reader.query("SELECT name FROM sqlite_master WHERE type = 'view'").rows
    assert reader.query("PRAGMA table_info(processes)").rows[1][1] == "pid"
    assert reader.query("EXPLAIN QUERY PLAN SELECT * FROM processes").rows


def test_functions_that_take_long_are_ours(reader: ReadOnly) -> None:
    sql = (
        "SELECT trim('xxaxx', 'x'), ltrim('yxa', 'xy'), rtrim(x'6178', 'x'), trim(NULL, 'a'), trim(101, 1), trim(' a ')"
    )
    assert reader.query(sql).rows == (("a", "a", "a", None, "0", "a"),)
    half = "hex(zeroblob(32000))"
    slow = f"SELECT length(trim({half}, replace({half}, '00', '10'))), instr({half}, {half} || 1), {half} LIKE '%1%1%1'"
    assert reader.query(slow).rows == ((0, 0, 0),)


_CELLS = st.one_of(
    st.none(), st.integers(-1000, 1000), st.text("ab\u20ac", max_size=6), st.binary(min_size=1, max_size=4)
)


@given(value=_CELLS, sought=_CELLS, new=_CELLS)
@example(value=0, sought="", new=None)
def test_our_instr_and_replace_say_what_sqlites_own_say(
    value: Cell | bytes, sought: Cell | bytes, new: Cell | bytes
) -> None:
    with (
        contextlib.closing(sqlite3.connect(":memory:")) as plain,
        contextlib.closing(sqlite3.connect(":memory:")) as ours,
    ):
        plain.text_factory = lambda raw: raw.decode("utf-8", "replace")
        enclose(ours)
        for sql, cells in (("SELECT instr(?, ?)", (value, sought)), ("SELECT replace(?, ?, ?)", (value, sought, new))):
            if any(isinstance(cell, bytes) and not cell.isascii() for cell in cells):
                continue  # bytes that are no text are told in ways of their own
            if any(isinstance(cell, bytes) and b"\0" in cell for cell in cells):
                continue  # where SQLite's text ends
            (said,), (wanted,) = ours.execute(sql, cells).fetchone(), plain.execute(sql, cells).fetchone()
            if sql.startswith("SELECT replace") and wanted is not None:
                wanted = str(wanted)  # older SQLites leave a number a number where nothing is sought
            assert said == wanted


def test_many_calls_on_long_texts_are_answered(reader: ReadOnly) -> None:
    """With SQLite's own, this took half a minute that nothing could end."""
    half = "hex(zeroblob(32000))"
    columns = ", ".join(f"instr({half}, substr({half}, {n}) || 1)" for n in range(1, 61))
    assert set(reader.query(f"SELECT {columns}").rows[0]) == {0}
    with pytest.raises(BadQuery, match="larger than 64 KiB"):
        reader.query(f"SELECT replace({half}, '0', {half})")


def test_an_endless_query_is_ended(reader: ReadOnly) -> None:
    with pytest.raises(QueryTooLong, match=r"ended after 0\.05 s"):
        reader.query(ENDLESS, limit_s=0.05)
    assert reader.query("SELECT 1").rows == ((1,),)


def test_a_query_can_be_ended_from_another_thread(reader: ReadOnly) -> None:
    stop = threading.Event()
    timer = threading.Timer(0.05, stop.set)
    timer.start()
    with pytest.raises(QueryTooLong, match="was ended"):
        reader.query(ENDLESS, limit_s=60.0, cancelled=stop.is_set)
    timer.join()


def test_a_writer_and_a_reader_do_not_wait_for_each_other(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "a.db")
    machine = store.machine("demo", ram_bytes=1, is_dump=False, time_s=1.0)
    with ReadOnly(store.path) as reader:
        seen: list[int] = []

        def more() -> bool:
            # While the query below is under way.
            number = len(seen) + 1
            seen.append(number)
            rows = [row("processes", number)]
            store.write(machine, census(number, number - 1, {"processes": (rows, [])}), float(number))
            return number >= 20

        with pytest.raises(QueryTooLong):
            reader.query(ENDLESS, limit_s=60.0, cancelled=more)
        assert reader.query("SELECT count(*) FROM now_processes").rows == ((20,),)
    store.close()


@settings(max_examples=50)
@given(st.text(max_size=60))
def test_no_text_does_more_than_be_answered_or_refused(path: Path, text: str) -> None:
    with ReadOnly(path) as reader:
        for sql in (text, f"SELECT * FROM processes WHERE name = '{text}' -- {text}"):
            with contextlib.suppress(BadQuery, QueryTooLong):  # or an answer; and nothing else
                reader.query(sql, limit_s=1.0)
        assert reader.query("SELECT count(*) FROM processes").rows == ((3,),)


def test_a_file_that_is_no_store_is_refused(tmp_path: Path, path: Path) -> None:
    with pytest.raises(StoreUnusable, match="no such file"):
        ReadOnly(tmp_path / "nothing.db")
    assert not (tmp_path / "nothing.db").exists()
    text = tmp_path / "text.db"
    text.write_text("no database at all " * 500)
    with pytest.raises(StoreUnusable, match="not a database"):
        ReadOnly(text)
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE a (b)")
    with pytest.raises(StoreUnusable, match="not written by this version"):
        ReadOnly(other)
    with pytest.raises(StoreUnusable):
        ReadOnly(tmp_path)


def test_a_damaged_store_is_an_error_in_words(path: Path, tmp_path: Path) -> None:
    whole = path.read_bytes()
    for start in range(4096, len(whole), 4096):
        damaged = tmp_path / "damaged.db"
        damaged.write_bytes(whole[:start] + b"\xa5" * 4096 + whole[start + 4096 :])
        try:
            with ReadOnly(damaged) as reader:
                for name in ("processes", "machines", "sqlite_master", "now_processes", "snapshots"):
                    reader.query(f"SELECT * FROM {name}")
        except StoreUnusable as error:
            assert "malformed" in str(error)  # noqa: PT017 - or the damage is where nothing was asked for
    cut = tmp_path / "cut.db"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StoreUnusable, match="malformed"):
        ReadOnly(cut)


def test_a_store_in_a_folder_that_cannot_be_written_to_is_read(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir()
    copy = folder / "a.db"
    shutil.copy(path, copy)
    copy.chmod(0o400)
    folder.chmod(0o500)
    try:
        with ReadOnly(copy) as reader:
            assert reader.query("SELECT count(*) FROM processes").rows == ((3,),)
    finally:
        folder.chmod(0o700)
