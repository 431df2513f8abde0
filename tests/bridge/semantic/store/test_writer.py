"""The writer: what was so, since when and until when; nothing is written twice; the size stays bounded."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.kernel.census.records import Row
from bridge.semantic.store.cells import MAX_TEXT, clean, clean_row, signed
from bridge.semantic.store.errors import StoreError, StoreFull, StoreUnusable
from bridge.semantic.store.forgetting import Limits
from bridge.semantic.store.reader import ReadOnly
from bridge.semantic.store.writer import SYMBOL_BATCH, Store
from tests.bridge.semantic.store.made_up import census, row, symbols


def asked(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with ReadOnly(path) as store:
        return list(store.query(sql, limit_rows=1_000_000).rows)


def test_a_row_is_closed_when_it_changes_and_when_it_goes(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "a.db")
    machine = store.machine("demo", ram_bytes=1 << 27, is_dump=False, time_s=1.0)
    first = [row("processes", 1, name="init", state="S"), row("processes", 2, name="sh", state="S")]
    store.write(machine, census(1, 0, {"processes": (first, [])}), 10.0)
    store.write(machine, census(2, 1, {"processes": ([row("processes", 2, name="sh", state="R")], [(1,)])}), 11.0)
    store.write(machine, census(3, 2, {"processes": ([], [])}), 12.0)
    store.close()
    found = asked(store.path, "SELECT pid, state, valid_from, valid_to FROM processes ORDER BY valid_from, pid")
    assert found == [(1, "S", 10.0, 11.0), (2, "S", 10.0, 11.0), (2, "R", 11.0, None)]
    assert asked(store.path, "SELECT machine, pid FROM now_processes") == [("demo", 2)]
    assert asked(store.path, "SELECT time_s, n_changed FROM snapshots") == [(10.0, 2), (11.0, 2), (12.0, 0)]
    assert asked(store.path, "SELECT first_s, last_s, gone_s FROM machines") == [(1.0, 12.0, None)]


def test_a_census_that_tells_everything_closes_what_was(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "a.db")
    machine = store.machine("demo", ram_bytes=1, is_dump=False, time_s=1.0)
    other = store.machine("other", ram_bytes=1, is_dump=True, time_s=1.0)
    runs = [row("page_runs", 0, subject_id=1), row("page_runs", 4096, subject_id=None)]
    full = census(
        1, 0, {"processes": ([row("processes", 1)], []), "page_runs": (runs, [])}, subjects=((1, "file", "/a"),)
    )
    store.write(machine, full, 10.0)
    store.write(other, full, 10.0)
    again = census(
        9, 0, {"processes": ([row("processes", 5)], []), "page_runs": (runs[:1], [])}, subjects=((1, "file", "/b"),)
    )
    store.write(machine, again, 20.0)
    assert asked(store.path, "SELECT machine, pid FROM now_processes ORDER BY 1") == [("demo", 5), ("other", 1)]
    wanted = [("demo", 0, "/b", 20.0), ("other", 0, "/a", 10.0), ("other", 4096, None, 10.0)]
    assert asked(store.path, "SELECT machine, first_paddr, subject, since_s FROM pages ORDER BY 1, 2") == wanted
    store.machine_gone(machine, 30.0)
    store.close()
    assert asked(store.path, "SELECT DISTINCT machine FROM now_processes") == [("other",)]
    assert asked(store.path, "SELECT DISTINCT machine FROM pages") == [("other",)]
    assert asked(store.path, "SELECT name, gone_s FROM machines ORDER BY 1") == [("demo", 30.0), ("other", None)]


@settings(max_examples=10)
@given(st.lists(st.dictionaries(st.integers(1, 6), st.sampled_from("RSZ")), min_size=1, max_size=12))
def test_what_was_at_any_time_can_be_asked(
    tmp_path_factory: pytest.TempPathFactory, history: list[dict[int, str]]
) -> None:
    path = tmp_path_factory.mktemp("history") / "a.db"
    store = Store.open(path)
    machine = store.machine("demo", ram_bytes=1, is_dump=False, time_s=0.5)
    before: dict[int, str] = {}
    for number, now in enumerate(history, 1):
        rows = [row("threads", tid, state=state) for tid, state in now.items() if before.get(tid) != state]
        gone: list[Row] = [(tid,) for tid in before if tid not in now]
        store.write(machine, census(number, number - 1, {"threads": (rows, gone)}), float(number))
        before = now
    store.close()
    for number, now in enumerate(history, 1):
        at = f"valid_from <= {number}.5 AND (valid_to IS NULL OR valid_to > {number}.5)"
        assert dict(asked(path, f"SELECT tid, state FROM threads WHERE {at}")) == now
    changes = sum(len(set(a.items()) - set(b.items())) for a, b in zip(history, [{}, *history], strict=False))
    assert asked(path, "SELECT count(*) FROM threads") == [(changes,)]


def test_runs_of_pages_are_replaced_and_removed(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "a.db")
    machine = store.machine("demo", ram_bytes=1, is_dump=False, time_s=1.0)
    runs = [row("page_runs", at << 12, n_pages=1) for at in range(4)]
    store.write(machine, census(1, 0, {"page_runs": (runs, [])}), 1.0)
    store.write(machine, census(2, 1, {"page_runs": ([row("page_runs", 0, n_pages=2)], [(4096,)])}), 2.0)
    store.close()
    found = asked(store.path, "SELECT first_paddr, n_pages, since_s FROM page_runs ORDER BY 1")
    assert found == [(0, 2, 2.0), (8192, 1, 1.0), (12288, 1, 1.0)]


def test_guest_text_is_data(tmp_path: Path) -> None:
    hostile = '"; DROP TABLE processes; --', "a\0b", "\x1b[31mred", "'", "\udcff\ud800", "ü" * 5000, "%s%n"
    store = Store.open(tmp_path / "a.db")
    machine = store.machine(hostile[0], ram_bytes=1, is_dump=False, time_s=1.0)
    rows = [row("processes", pid, name=name, uid=1 << 64) for pid, name in enumerate(hostile)]
    store.write(machine, census(1, 0, {"processes": (rows, [])}), 1.0)
    store.close()
    found = [name for (name,) in asked(store.path, "SELECT name FROM processes ORDER BY pid")]
    assert found[:5] == [hostile[0], "a\\x00b", hostile[2], "'", "\\udcff\\ud800"]
    assert found[5] == "ü" * (MAX_TEXT - 1) + "…"
    assert asked(store.path, "SELECT DISTINCT uid FROM processes") == [(0,)]


@given(st.text(st.characters(), max_size=50))
def test_clean_text_can_always_be_kept(text: str) -> None:
    cleaned = clean(text)
    assert "\0" not in cleaned
    assert cleaned.encode().decode() == cleaned
    if text.isascii() and "\0" not in text:
        assert cleaned == text


@given(st.integers(0, (1 << 64) - 1))
def test_addresses_keep_their_bits(value: int) -> None:
    assert -(1 << 63) <= signed(value) < 1 << 63
    assert signed(value) % (1 << 64) == value
    assert clean_row((value,)) == (signed(value),)


def test_symbols_are_written_once_a_kernel_with_their_places(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "a.db")
    machine = store.machine("demo", ram_bytes=1, is_dump=False, time_s=1.0)
    kernel = store.write(machine, census(1, 0, {}), 1.0)
    assert store.write(machine, census(2, 1, {}), 2.0) == kernel
    assert not store.has_symbols(kernel)
    base = 0xFFFF_FFFF_8100_0000
    filling = [(f"f{index}", base + 0x1000 + 16 * index, "t") for index in range(SYMBOL_BATCH)]
    packed = symbols(("b", base + 0x20, "T"), ("a", base, "T"), ("alias", base, "t"), ("cpu", 0x40, "A"), *filling)
    counts = list(store.write_symbols(kernel, packed))
    assert counts == [SYMBOL_BATCH, SYMBOL_BATCH + 4]
    assert store.has_symbols(kernel)
    store.close()
    chosen = "paddr IS NULL OR name IN ('a', 'b', 'alias')"
    sql = f"SELECT hex64(vaddr), name, type, end_vaddr - vaddr, paddr FROM symbols WHERE {chosen} ORDER BY name"
    found = asked(store.path, sql)
    assert found == [
        ("0xffffffff81000000", "a", "T", 0x20, 0x100_0000),
        ("0xffffffff81000000", "alias", "t", 0x20, 0x100_0000),
        ("0xffffffff81000020", "b", "T", 0xFE0, 0x100_0020),
        ("0x40", "cpu", "A", signed(base - 0x40), None),
    ]
    assert asked(store.path, "SELECT name FROM symbols WHERE end_vaddr IS NULL") == [(f"f{SYMBOL_BATCH - 1}",)]
    assert asked(store.path, "SELECT name FROM now_symbols WHERE vaddr = 0xffffffff81000020") == [("b",)]
    assert asked(store.path, "SELECT count(*) FROM kernels") == [(1,)]


def test_symbols_of_no_kernel_are_refused(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "a.db")
    with pytest.raises(StoreError, match="There is no kernel 5"):
        next(store.write_symbols(5, symbols(("a", 1, "T"))))
    store.close()


def _churn(store: Store, machine: int, n_censuses: int, start: int = 1) -> None:
    rng = random.Random(5)
    for number in range(start, start + n_censuses):
        rows = [row("processes", pid, command_line=f"{rng.random()}" * 20) for pid in range(40)]
        since = number - 1 if number > 1 else 0
        store.write(machine, census(number, since, {"processes": (rows, [])}), float(number))


def test_old_history_is_forgotten(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "a.db", Limits(history_s=10.0))
    machine = store.machine("demo", ram_bytes=1, is_dump=False, time_s=0.0)
    _churn(store, machine, 30)
    assert store.forget(30.0) > 0
    store.close()
    assert asked(store.path, "SELECT min(valid_to) FROM processes") == [(20.0,)]
    assert asked(store.path, "SELECT min(time_s) FROM snapshots") == [(20.0,)]
    assert asked(store.path, "SELECT count(*) FROM now_processes") == [(40,)]


def test_the_file_never_outgrows_its_size_and_keeps_the_newest(tmp_path: Path) -> None:
    limits = Limits(max_bytes=1 << 20)
    store = Store.open(tmp_path / "a.db", limits)
    machine = store.machine("demo", ram_bytes=1, is_dump=False, time_s=0.0)
    _churn(store, machine, 120)  # without asking it to forget: it must by itself
    assert store.path.stat().st_size <= limits.max_bytes
    found = asked(store.path, "SELECT count(*), min(valid_from) FROM now_processes")
    assert found == [(40, 120.0)]
    assert asked(store.path, "SELECT max(valid_to) FROM processes") == [(120.0,)]
    used = store.used_bytes
    store.forget(121.0)
    assert store.used_bytes <= used
    store.close()
    assert store.path.stat().st_size <= limits.max_bytes
    assert sqlite3.connect(store.path).execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_what_does_not_fit_is_said_and_what_was_stays(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "a.db", Limits(max_bytes=1 << 20))
    machine = store.machine("demo", ram_bytes=1, is_dump=False, time_s=0.0)
    store.write(machine, census(1, 0, {"processes": ([row("processes", 1, name="kept")], [])}), 1.0)
    many = [row("processes", pid, command_line="x" * 4000) for pid in range(1, 2000)]
    with pytest.raises(StoreFull, match=r"Nothing more can be written to .*a\.db"):
        store.write(machine, census(2, 1, {"processes": (many, [])}), 2.0)
    store.write(machine, census(2, 1, {"processes": ([row("processes", 2, name="new")], [])}), 3.0)
    store.close()
    assert asked(store.path, "SELECT name FROM now_processes ORDER BY pid") == [("kept",), ("new",)]


def test_what_is_no_store_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    text = tmp_path / "text.db"
    text.write_text("This is no database, but it is longer than its head would be. " * 50)
    before = text.read_bytes()
    with pytest.raises(StoreUnusable, match="file is not a database"):
        Store.open(text)
    assert text.read_bytes() == before
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE mine (a)")
    with pytest.raises(StoreUnusable, match="not written by this version"):
        Store.open(other)
    with pytest.raises(StoreUnusable, match="unable to open"):
        Store.open(tmp_path / "no folder" / "a.db")


def test_a_store_can_be_opened_again(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "a.db")
    machine = store.machine("demo", ram_bytes=1, is_dump=False, time_s=0.0)
    store.write(machine, census(1, 0, {"processes": ([row("processes", 1)], [])}), 1.0)
    store.close()
    again = Store.open(tmp_path / "a.db")
    assert again.machine("demo", ram_bytes=1, is_dump=False, time_s=5.0) == machine + 1
    again.close()
    assert asked(store.path, "SELECT count(*) FROM processes") == [(1,)]
