"""The writer: takes censuses down in a store, one transaction each; only what changed is written.

The database is in WAL mode, so readers never wait and are never waited for, and a killed writer leaves the last
transaction that was whole. Its size is bounded: the oldest history is forgotten, and where that is not enough, nothing
more is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from bridge.kernel.census.records import Cell, Census, KernelFacts, TableChange
from bridge.kernel.packed_symbols import PackedSymbols
from bridge.semantic.store.cells import clean, clean_row
from bridge.semantic.store.database import Database
from bridge.semantic.store.errors import StoreError, StoreFull
from bridge.semantic.store.forgetting import Limits, forget, make_room
from bridge.semantic.store.schema import Table, quoted, told_by_census
from bridge.semantic.store.symbol_rows import symbol_rows

T = TypeVar("T")

SYMBOL_BATCH = 4096
"""Rows of one transaction: a few milliseconds."""
_TABLES = told_by_census()
_FACTS = ("release", "build_id", "kernel_offset", "phys_base", "direct_map_vaddr", "page_table_levels")


class Store:
    """The one writer of a database. Belongs to the thread that opened it."""

    def __init__(self, db: Database, limits: Limits) -> None:
        self._db = db
        self.limits = limits

    @classmethod
    def open(cls, path: Path, limits: Limits | None = None) -> Store:
        """Open a database, making it where there is none. Raises StoreUnusable, StoreFull."""
        limits = limits or Limits()
        return cls(Database(path, limits.max_bytes), limits)

    @property
    def path(self) -> Path:
        """Where it is."""
        return self._db.path

    @property
    def in_place(self) -> bool:
        """Whether what lies at the path is still the file that is written."""
        return self._db.in_place

    def check(self, limit_s: float) -> None:
        """Look for damage in the file for so long at most. Raises StoreDamaged, StoreUnusable."""
        self._db.check(limit_s)

    @property
    def used_bytes(self) -> int:
        """How much of the file is in use. Raises StoreUnusable."""
        return self._db.used_bytes

    def machine(self, name: str, *, ram_bytes: int, is_dump: bool, time_s: float) -> int:
        """Write down that a machine is there; its number in this store. Raises StoreError."""
        columns = "name, is_dump, ram_bytes, first_s"
        values = (clean(name), int(is_dump), ram_bytes, time_s)
        return self._whole(lambda: self._inserted("machines", columns, values))

    def write(self, machine_id: int, census: Census, time_s: float) -> int:
        """Take down a census, whole or not at all; the number of its kernel. `time_s` (since 1970) must grow.

        Raises StoreError; then nothing was written, and the next census must tell everything.
        """
        return self._whole(lambda: self._write(machine_id, census, time_s))

    def machine_gone(self, machine_id: int, time_s: float) -> None:
        """Close all that is known of a machine. Raises StoreError."""

        def write() -> None:
            self._close_all(machine_id, time_s)
            self._db.execute("UPDATE machines SET gone_s = ? WHERE machine_id = ?", (time_s, machine_id))

        self._whole(write)

    def has_symbols(self, kernel_id: int) -> bool:
        """Whether all symbols of a kernel are there. Raises StoreError."""
        with self._db.failures():
            return bool(self._db.value("SELECT n_symbols FROM kernels WHERE kernel_id = ?", (kernel_id,)))

    def write_symbols(self, kernel_id: int, packed: PackedSymbols) -> Iterator[int]:
        """Write a kernel's symbols a batch at a time; after each it is said how many are there. Raises StoreError."""
        with self._db.failures():
            phys_base = self._db.value("SELECT phys_base FROM kernels WHERE kernel_id = ?", (kernel_id,))
        if phys_base is None:
            raise StoreError(f"There is no kernel {kernel_id} in {self.path}.")
        self._whole(lambda: self._db.execute("DELETE FROM symbols WHERE kernel_id = ?", (kernel_id,)))
        # A name may be twice at one address: that is one symbol.
        sql = "INSERT OR IGNORE INTO symbols VALUES (?, ?, ?, ?, ?, ?)"
        n_written = 0
        for batch in symbol_rows(packed, phys_base, SYMBOL_BATCH):
            rows = [(kernel_id, *row) for row in batch]
            n_written += self._whole(lambda rows=rows: self._db.executemany(sql, rows).rowcount)  # type: ignore[misc]
            yield n_written
        done = "UPDATE kernels SET n_symbols = ? WHERE kernel_id = ?"
        self._whole(lambda: self._db.execute(done, (n_written, kernel_id)))
        self._db.analyse()

    def forget(self, time_s: float) -> int:
        """Forget what is older than history goes back, and more where there is no room; how many rows that were.

        `time_s`: now, since 1970. Raises StoreError.
        """
        return forget(self._db, self.limits, time_s)

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    # ----- inside

    def _whole(self, write: Callable[[], T]) -> T:
        try:
            return self._db.whole(write)
        except StoreFull:
            if not make_room(self._db, self.limits):
                raise
            return self._db.whole(write)

    def _inserted(self, table: str, columns: str, values: tuple[Cell, ...]) -> int:
        slots = ", ".join("?" * len(values))
        number = self._db.execute(f"INSERT INTO {table} ({columns}) VALUES ({slots})", values).lastrowid
        assert number is not None
        return number

    def _write(self, machine_id: int, census: Census, time_s: float) -> int:
        kernel_id = self._kernel(census.kernel)
        if not census.since:
            self._close_all(machine_id, time_s)
        subjects = [(machine_id, number, kind, clean(name)) for number, kind, name in census.subjects]
        self._db.executemany("INSERT INTO subjects VALUES (?, ?, ?, ?)", subjects)
        n_changed = 0
        for name, change in census.tables.items():
            table = _TABLES[name]
            (self._change_history if table.history else self._change_runs)(table, change, machine_id, time_s)
            n_changed += len(change.rows) + len(change.gone)
        self._db.execute(
            "UPDATE machines SET kernel_id = ?, last_s = ? WHERE machine_id = ?", (kernel_id, time_s, machine_id)
        )
        self._db.execute(
            "INSERT INTO snapshots VALUES (?, ?, ?, ?, ?, ?)",
            (machine_id, time_s, census.duration_s, census.consistency, census.definite, n_changed),
        )
        return kernel_id

    def _change_history(self, table: Table, change: TableChange, machine_id: int, time_s: float) -> None:
        n_key = len(table.key)
        keys = (*change.gone, *(row[:n_key] for row in change.rows))
        condition = " AND ".join(f"{quoted(name)} = ?" for name in table.key)
        self._db.executemany(
            f"UPDATE {table.name} SET valid_to = ? WHERE machine_id = ? AND valid_to IS NULL AND {condition}",
            ((time_s, machine_id, *clean_row(key)) for key in keys),
        )
        slots = ", ".join("?" * (len(table.columns) + 3))
        self._db.executemany(
            f"INSERT INTO {table.name} VALUES ({slots})",
            ((machine_id, *clean_row(row), time_s, None) for row in change.rows),
        )

    def _change_runs(self, table: Table, change: TableChange, machine_id: int, time_s: float) -> None:
        self._db.executemany(
            f"DELETE FROM {table.name} WHERE machine_id = ? AND first_paddr = ?",
            ((machine_id, *key) for key in change.gone),
        )
        slots = ", ".join("?" * len(table.columns))
        self._db.executemany(
            f"INSERT OR REPLACE INTO {table.name} VALUES ({slots})",
            ((machine_id, *row, time_s) for row in change.rows),
        )

    def _close_all(self, machine_id: int, time_s: float) -> None:
        for table in _TABLES.values():
            if table.history:
                self._db.execute(
                    f"UPDATE {table.name} SET valid_to = ? WHERE machine_id = ? AND valid_to IS NULL",
                    (time_s, machine_id),
                )
        for name in ("page_runs", "subjects"):
            self._db.execute(f"DELETE FROM {name} WHERE machine_id = ?", (machine_id,))

    def _kernel(self, facts: KernelFacts) -> int:
        values = (
            clean(facts.release),
            clean(facts.build_id),
            facts.kernel_offset,
            facts.phys_base,
            facts.direct_map,
            facts.page_table_levels,
        )
        same = " AND ".join(f"{name} IS ?" for name in _FACTS)
        found = self._db.value(f"SELECT kernel_id FROM kernels WHERE {same}", values)
        if found is not None:
            return int(found)
        return self._inserted("kernels", f"{', '.join(_FACTS)}, n_symbols", (*values, 0))
