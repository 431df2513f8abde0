"""Censuses made up by hand, for tests that need no guest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bridge.kernel.census.records import FORMS, Cell, Census, KernelFacts, Row, TableChange
from bridge.kernel.kallsyms import Symbols
from bridge.kernel.packed_symbols import PackedSymbols, pack

FACTS = KernelFacts("6.1.0", "ab12", 0, 0, -(1 << 47), 4)


def row(table: str, *key: Cell, **cells: Cell) -> Row:
    """A row of a table: its key, some cells by name, and for all others what no other row has."""
    form = FORMS[table]
    text = ("name", "path", "kind", "mode", "state", "family", "protocol", "local", "remote", "used_by", "permissions",
            "command_line", "class", "part")  # fmt: skip
    made = dict(zip(form.columns, key, strict=False))
    for name in form.columns[len(key) :]:
        made[name] = cells.get(name, name if name in text else 7)
    return tuple(made[name] for name in form.columns)


def census(
    number: int,
    since: int,
    tables: dict[str, tuple[Sequence[Row], Sequence[Row]]],
    *,
    subjects: tuple[tuple[int, str, str], ...] = (),
    kernel: KernelFacts = FACTS,
) -> Census:
    """A census: table -> (rows, keys of those that are gone)."""
    changes = {name: TableChange(tuple(rows), tuple(gone)) for name, (rows, gone) in tables.items()}
    return Census(number, since, float(number), 0.01, "live", 0.97, kernel, changes, subjects)


def symbols(*rows: tuple[str, int, str]) -> PackedSymbols:
    """Packed symbols: name, address, type."""
    return pack(
        Symbols(
            tuple(name for name, _, _ in rows),
            np.array([address for _, address, _ in rows], np.uint64),
            np.array([ord(kind) for _, _, kind in rows], np.uint8),
        )
    )
