"""Plain text: what a guest wrote, made fit for one line of a table or a CSV cell. Guest strings are hostile."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

MAX_CHARACTERS = 2_000
"""Of one cell: a guest decides how long its names are, and nobody reads more of one."""
_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(0x20), 0x7F, *range(0x80, 0xA0))}
# What breaks lines or turns the direction of text around would make a row say something else than it holds.
_ESCAPES |= {code: f"\\u{code:04x}" for code in (0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))}
_ESCAPES |= {0x09: "\\t", 0x0A: "\\n", 0x0D: "\\r"}
_FORMULA_STARTS = ("=", "+", "-", "@")


def plain(text: str, limit: int = MAX_CHARACTERS) -> str:
    """Return `text` on one line of visible characters: control characters escaped, cut to about `limit`."""
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    return text if text.isascii() and text.isprintable() else text.translate(_ESCAPES)


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table as CSV (RFC 4180, with bare newlines).

    Text that a spreadsheet would run as a formula is preceded by an apostrophe: it comes from a guest.
    """
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow([_cell(name) for name in header])
    writer.writerows([_cell(value) for value in row] for row in rows)
    return sink.getvalue()


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = plain(value)
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text
