"""Walls: what a query may do to a store, which is to read; and how much of anything it may take."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from bridge.kernel.census.records import Cell

MAX_QUERY = 64 << 10
"""Bytes of a query."""
MAX_CELL_BYTES = 64 << 10
"""One call of a function cannot be interrupted: with texts of this size none takes long."""
_LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: MAX_CELL_BYTES,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: MAX_QUERY,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 200,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 100,
    sqlite3.SQLITE_LIMIT_VDBE_OP: 100_000,
    sqlite3.SQLITE_LIMIT_COLUMN: 500,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 100,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 1,
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
}
_PRAGMAS = frozenset({"table_info", "table_xinfo", "table_list", "index_list", "index_info", "index_xinfo"})
"""Those that only tell of the schema."""
_FUNCTIONS = frozenset(
    {
        "abs", "avg", "char", "coalesce", "count", "cume_dist", "date", "datetime", "dense_rank", "first_value",
        "glob", "group_concat", "hex", "hex64", "ifnull", "iif", "instr", "json", "json_array", "json_array_length",
        "json_each", "json_extract", "json_group_array", "json_group_object", "json_object", "json_quote",
        "json_type", "json_valid", "julianday", "lag", "last_value", "lead", "length", "like", "likelihood", "likely",
        "lower", "ltrim", "max", "min", "nth_value", "ntile", "nullif", "percent_rank", "quote", "random", "rank",
        "replace", "round", "row_number", "rtrim", "sign", "sqlite_version", "strftime", "string_agg", "substr",
        "substring", "subtype", "sum", "time", "total", "trim", "typeof", "unhex", "unicode", "unixepoch", "unlikely",
        "upper", "zeroblob", "acos", "asin", "atan", "atan2", "ceil", "ceiling", "cos", "degrees", "exp", "floor",
        "ln", "log", "log10", "log2", "mod", "pi", "pow", "power", "radians", "sin", "sqrt", "tan", "trunc", "->",
        "->>",
    }
)  # fmt: skip
"""Those that read nothing but their arguments and take no longer than these are long; printf may, by a width."""
_READING = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE})


def enclose(db: sqlite3.Connection) -> None:
    """Let nothing pass from now on but reading, with the functions that queries may use."""
    db.text_factory = _text
    db.create_function("hex64", 1, hex64, deterministic=True)
    for name, strip in (("trim", str.strip), ("ltrim", str.lstrip), ("rtrim", str.rstrip)):
        db.create_function(name, 2, _stripping(strip), deterministic=True)
    db.create_function("instr", 2, instr, deterministic=True)
    db.create_function("replace", 3, replace, deterministic=True)
    for limit, value in _LIMITS.items():
        db.setlimit(limit, value)
    db.set_authorizer(_authorize)


def hex64(value: Cell | bytes) -> str | None:
    """An address as people write it; None for None. Raises TypeError for what is no whole number."""
    if value is None:
        return None
    if not isinstance(value, int):
        raise TypeError(value)
    return f"{value % (1 << 64):#x}"


def _stripping(strip: Callable[[str, str], str]) -> Callable[[Cell | bytes, Cell | bytes], str | None]:
    """SQLite's own compares each character with each: minutes for long texts, and nothing can end it."""

    def trim(value: Cell | bytes, letters: Cell | bytes) -> str | None:
        if value is None or letters is None:
            return None
        return strip(_as_text(value), "".join(set(_as_text(letters))))

    return trim


def instr(value: Cell | bytes, sought: Cell | bytes) -> int | None:
    """Where a text (or a blob in a blob) is first found, from 1 on; 0 for nowhere, None for None.

    SQLite's own compares at each place anew: seconds for long texts that repeat themselves.
    """
    if value is None or sought is None:
        return None
    if isinstance(value, bytes) and isinstance(sought, bytes):
        return value.find(sought) + 1
    return _as_text(value).find(_as_text(sought)) + 1


def replace(value: Cell | bytes, old: Cell | bytes, new: Cell | bytes) -> str | None:
    """A text with each `old` replaced; None where one is None, though an empty `old` is never replaced by anything.

    As SQLite's own, which compares at each place anew.
    """
    if value is None or old is None:
        return None
    text, gone = _as_text(value), _as_text(old)
    if not gone:
        return text
    if new is None:
        return None
    come = _as_text(new)
    if len(text) + text.count(gone) * (len(come) - len(gone)) > MAX_CELL_BYTES:
        return " " * (MAX_CELL_BYTES + 1)  # never made: SQLite refuses it for its size
    return text.replace(gone, come)


def _as_text(value: Cell | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")


def _authorize(action: int, first: str | None, second: str | None, _database: str | None, _inner: str | None) -> int:
    if action in _READING:
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_FUNCTION and (second or "").casefold() in _FUNCTIONS:
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_PRAGMA and (first or "").casefold() in _PRAGMAS:
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY
