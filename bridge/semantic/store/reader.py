"""The reader: answers one SELECT at a time from a store, and can change nothing, whatever is asked.

Four walls, each enough by itself: the file is opened read-only, `query_only` is on, an authorizer lets nothing pass
but reading, and SQLite's own limits bound text, depth and the size of a cell. Time and rows are bounded too.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bridge.kernel.census.records import Cell
from bridge.semantic.store.errors import BadQuery, QueryTooLong, StoreUnusable
from bridge.semantic.store.schema import APPLICATION_ID, VERSION
from bridge.semantic.store.walls import MAX_CELL_BYTES, MAX_QUERY, enclose

ROW_LIMIT = 10_000
TIME_LIMIT_S = 10.0
MAX_TABLE_BYTES = 64 << 20
"""Of all cells of an answer together."""
_STEPS = 250
"""Of SQLite's machine between two looks at the clock: some 10 us, or as many calls of a function."""
_BUSY_S = 2.0
_CHANGES = "only SELECT can be asked here: nothing can be changed, attached or set"
_NO_FUNCTION = re.compile(r"not authorized to use function: (\S+)")
_NOT_AUTHORIZED = re.compile(r"not authorized|prohibited|authorization denied")


@dataclass(frozen=True, slots=True)
class Table:
    """What a query gave."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell | bytes, ...], ...]
    truncated: bool
    """There were more rows than were wanted."""
    elapsed_s: float


class ReadOnly:
    """A store to be asked. Any thread may ask; one question at a time. Closed by `close`, or as a context."""

    def __init__(self, path: Path) -> None:
        """Raises StoreUnusable."""
        self.path = path
        self._lock = threading.Lock()
        if not path.is_file():
            raise StoreUnusable(path, "there is no such file")
        try:
            self._db = self._opened()
        except sqlite3.Error as error:
            raise StoreUnusable(path, _sentence(error)) from error

    def _opened(self) -> sqlite3.Connection:
        try:
            return self._connected("mode=ro")
        except sqlite3.OperationalError:
            # Even reading needs a file beside it for the log. Where there can be none, nobody writes either.
            if os.access(self.path.parent, os.W_OK):
                raise
            return self._connected("mode=ro&immutable=1")

    def _connected(self, how: str) -> sqlite3.Connection:
        uri = f"file:{quote(str(self.path.absolute()))}?{how}"
        db = sqlite3.connect(uri, uri=True, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            self._check(db)
            db.execute("PRAGMA query_only=ON")
            db.execute("PRAGMA trusted_schema=OFF")  # a database that somebody else made may hold views of any kind
            db.execute("PRAGMA cell_size_check=ON")
            db.execute("PRAGMA cache_size=-16384")
            enclose(db)
        except BaseException:
            db.close()
            raise
        return db

    def _check(self, db: sqlite3.Connection) -> None:
        identity = db.execute("PRAGMA application_id").fetchone()[0], db.execute("PRAGMA user_version").fetchone()[0]
        if identity != (APPLICATION_ID, VERSION):
            raise StoreUnusable(self.path, "it was not written by this version of Glassbox")

    def query(
        self,
        sql: str,
        limit_rows: int = ROW_LIMIT,
        limit_s: float = TIME_LIMIT_S,
        *,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Table:
        """Answer one SELECT. Raises BadQuery, QueryTooLong, StoreUnusable."""
        sql = _checked(sql)
        with self._lock, self._time_limit(limit_s, cancelled) as why_ended:
            started = time.monotonic()
            try:
                cursor = self._db.execute(sql)
                columns = tuple(_unique(cursor.description or ()))
                rows, truncated = _fetch(cursor, max(0, limit_rows))
                cursor.close()
            except sqlite3.Error as error:
                raise self._worded(error, why_ended(), limit_s) from error
            except (ValueError, OverflowError, sqlite3.Warning) as error:
                raise BadQuery(f"{_first_upper(str(error))}.") from error
        if not columns:
            raise BadQuery(f"That gives no table: {_CHANGES}.")
        return Table(columns, rows, truncated, time.monotonic() - started)

    def _worded(self, error: sqlite3.Error, ended: str, limit_s: float) -> Exception:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_INTERRUPT:
            if ended == "cancelled":
                return QueryTooLong("The query was ended.")
            return QueryTooLong(
                f"The query was ended after {limit_s:g} s. Ask for less: with a WHERE, or without a join of everything"
                " with everything."
            )
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
            return StoreUnusable(self.path, _sentence(error))
        if (function := _NO_FUNCTION.search(str(error))) is not None:
            return BadQuery(f"The function {function[1][:40]} cannot be used here.")
        if code == sqlite3.SQLITE_AUTH or _NOT_AUTHORIZED.search(str(error)):
            return BadQuery(f"{_first_upper(_CHANGES)}.")
        if "user-defined function" in str(error):
            return BadQuery("The function hex64 takes one whole number.")
        if isinstance(error, sqlite3.ProgrammingError) and "binding" in str(error):
            return BadQuery("A query has no parameters here: write the values into it.")
        if code == sqlite3.SQLITE_TOOBIG:
            return BadQuery(f"A text or blob would be larger than {MAX_CELL_BYTES >> 10} KiB.")
        return BadQuery(f"{_first_upper(_sentence(error))}.")

    @contextlib.contextmanager
    def _time_limit(self, limit_s: float, cancelled: Callable[[], bool]) -> Iterator[Callable[[], str]]:
        deadline, ended = time.monotonic() + limit_s, ""

        def check() -> int:
            nonlocal ended
            if not ended:
                ended = "late" if time.monotonic() > deadline else "cancelled" if cancelled() else ""
            return bool(ended)

        self._db.set_progress_handler(check, _STEPS)
        try:
            yield lambda: ended
        finally:
            self._db.set_progress_handler(None, 0)

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._db.close()

    def __enter__(self) -> ReadOnly:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _checked(sql: str) -> str:
    if not sql.strip():
        raise BadQuery("There is no query; try SELECT name, pid FROM now_processes.")
    # Lone surrogates, from a shell whose words are no UTF-8, have no form in a database.
    encoded = sql.encode("utf-8", "surrogatepass")
    if len(encoded) > MAX_QUERY:
        raise BadQuery(f"A query has at most {MAX_QUERY >> 10} KiB; this one has {len(encoded):,} bytes.")
    if "\0" in sql:
        raise BadQuery("A query cannot hold a NUL character.")
    try:
        return encoded.decode()
    except UnicodeDecodeError:
        raise BadQuery("The query is no text in UTF-8.") from None


def _fetch(cursor: sqlite3.Cursor, limit: int) -> tuple[tuple[tuple[Cell | bytes, ...], ...], bool]:
    rows: list[tuple[Cell | bytes, ...]] = []
    room = MAX_TABLE_BYTES
    for row in cursor:
        room -= sum(len(cell) if isinstance(cell, str | bytes) else 8 for cell in row)
        if len(rows) >= limit or room < 0:
            return tuple(rows), True
        rows.append(row)
    return tuple(rows), False


def _unique(description: Sequence[Sequence[Any]]) -> Iterator[str]:
    """The columns' names; later ones of the same name are numbered."""
    seen: set[str] = set()
    for name, *_ in description:
        found, number = name, 2
        while found in seen:
            found, number = f"{name} {number}", number + 1
        seen.add(found)
        yield found


def _sentence(error: sqlite3.Error) -> str:
    return str(error).strip().rstrip(".") or type(error).__name__


def _first_upper(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".")
