"""A store's database as its writer has it: opened, prepared, and written to in whole transactions."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from bridge.semantic.store.errors import StoreDamaged, StoreFull, StoreUnusable
from bridge.semantic.store.schema import APPLICATION_ID, VERSION, statements

T = TypeVar("T")

_PAGE_BYTES = 4096
_LEAST_PAGES = 128
"""The empty schema takes about forty."""
_BUSY_S = 5.0
_LOG_BYTES = 8 << 20
_ANALYSED_ROWS = 400
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_STEPS_A_LOOK = 2000
"""Of SQLite's machine, between two looks at the clock: well below a millisecond."""


class Database:
    """One connection that writes. Belongs to the thread that opened it."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        """Open a database, making it where there is none. Raises StoreUnusable, StoreFull."""
        self.path = path
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, timeout=_BUSY_S, cached_statements=256)
        except sqlite3.Error as error:
            raise StoreUnusable(path, str(error)) from error
        self.execute = self._connection.execute
        self.executemany = self._connection.executemany
        try:
            with self.failures():
                self._prepare(max_bytes)
            self._file = _identity(path)
        except BaseException:
            self._connection.close()
            raise

    @property
    def in_place(self) -> bool:
        """Whether what lies at the path is still the file that is written: SQLite writes on to one that is gone."""
        return self._file is not None and _identity(self.path) == self._file

    def _prepare(self, max_bytes: int) -> None:
        empty = self.value("SELECT count(*) FROM sqlite_master") == 0
        if empty:
            self.execute(f"PRAGMA page_size={_PAGE_BYTES}")
            self.execute("PRAGMA auto_vacuum=INCREMENTAL")
        elif (self.value("PRAGMA application_id"), self.value("PRAGMA user_version")) != (APPLICATION_ID, VERSION):
            raise StoreUnusable(self.path, "it was not written by this version of Glassbox")
        mode = self.value("PRAGMA journal_mode=WAL")
        if mode != "wal":
            raise StoreUnusable(self.path, f"no write-ahead log can be kept there (its mode stays {mode!r})")
        # With a write-ahead log a process that is killed loses nothing; only a power cut may cost the last seconds.
        self.execute("PRAGMA synchronous=NORMAL")
        self.execute(f"PRAGMA journal_size_limit={_LOG_BYTES}")
        self.execute("PRAGMA cache_size=-8192")
        self.value(f"PRAGMA max_page_count={max(_LEAST_PAGES, max_bytes // int(self.value('PRAGMA page_size')))}")
        if empty:
            with self._transaction():
                for statement in statements():
                    self.execute(statement)
                self.execute(f"PRAGMA application_id={APPLICATION_ID}")
                self.execute(f"PRAGMA user_version={VERSION}")

    def value(self, sql: str, values: tuple[Any, ...] = ()) -> Any:
        """The first cell of what a statement gives; None where it gives nothing."""
        row = self.execute(sql, values).fetchone()
        return None if row is None else row[0]

    def whole(self, write: Callable[[], T]) -> T:
        """Do `write` in a transaction: all of it or nothing. Raises StoreFull, StoreUnusable."""
        with self.failures(), self._transaction():
            return write()

    @property
    def used_bytes(self) -> int:
        """How much of the file is in use. Raises StoreUnusable."""
        with self.failures():
            count, free, size = (int(self.value(f"PRAGMA {n}")) for n in ("page_count", "freelist_count", "page_size"))
        return (count - free) * size

    def give_back(self) -> None:
        """Make the file shorter by what is not in use. Raises StoreUnusable."""
        with self.failures():
            self.execute("PRAGMA incremental_vacuum").fetchall()

    def analyse(self) -> None:
        """Let SQLite count what there is, so that it begins a join with the smaller table. Raises StoreUnusable."""
        with self.failures():
            self.execute(f"PRAGMA analysis_limit={_ANALYSED_ROWS}").fetchall()
            self.execute("ANALYZE")

    def check(self, limit_s: float) -> None:
        """Read the file itself, not what is remembered of it, for so long at most. Raises StoreDamaged, StoreUnusable.

        Structure is checked, not content: SQLite keeps no checksums, so that another letter in a text goes unseen.
        """
        if not self.in_place:
            return  # another file's state is nobody's business here
        try:
            with self.failures():
                found = self._looked_through(limit_s)
        except StoreDamaged:
            if _identity(self.path) == self._file:
                raise
            return  # another file came just now
        if found is not None and found != "ok" and _identity(self.path) == self._file:
            raise StoreDamaged(self.path, found.strip().splitlines()[-1])

    def _looked_through(self, limit_s: float) -> str | None:
        """What SQLite finds in so long; None where that was not long enough."""
        ends_s = time.monotonic() + limit_s
        place = f"{self.path.absolute().as_uri()}?mode=ro"  # nothing is written into a file that took its place
        with contextlib.closing(sqlite3.connect(place, uri=True, timeout=limit_s)) as another:
            another.execute("PRAGMA query_only=ON")
            another.set_progress_handler(lambda: time.monotonic() > ends_s, _STEPS_A_LOOK)
            try:
                return str(another.execute("PRAGMA quick_check(1)").fetchone()[0])
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode in (sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_BUSY):
                    return None  # as far as it came all is well
                raise

    def close(self) -> None:
        """Close it; the log goes into the file."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._connection.rollback()
            raise

    @contextlib.contextmanager
    def failures(self) -> Iterator[None]:
        """Turn what SQLite raises into typed errors."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", None)
            if code == sqlite3.SQLITE_FULL:
                why = "the disk is full, or the size is reached that was set for it"
                raise StoreFull(self.path, why) from error
            if code is not None and (code & 0xFF in _DAMAGED or code == sqlite3.SQLITE_IOERR_SHORT_READ):
                raise StoreDamaged(self.path, str(error)) from error
            raise StoreUnusable(self.path, str(error)) from error


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a file from every other; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
