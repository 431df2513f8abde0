"""Forgetting: the oldest history gives way when it is older than wanted, or when there is no room."""

from __future__ import annotations

from dataclasses import dataclass

from bridge.semantic.store.database import Database
from bridge.semantic.store.schema import TABLES

_BATCH = 2000
"""Rows of one transaction: the log stays small, and nobody waits long."""
FULL_SHARE, PRUNED_SHARE = 0.85, 0.65
"""Of the size that was set: from where history is forgotten, and down to where."""
_HISTORY = tuple(table.name for table in TABLES if table.history)


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a store may become, and how far back it goes."""

    max_bytes: int = 256 << 20
    """Of the database; its log beside it stays far under that."""
    history_s: float = 3600.0


def forget(db: Database, limits: Limits, now_s: float) -> int:
    """Forget what is older than wanted, and more where there is no room; how many rows. Raises StoreError."""
    removed = _before(db, now_s - limits.history_s)
    if db.used_bytes > FULL_SHARE * limits.max_bytes:
        removed += make_room(db, limits)
    return removed


def make_room(db: Database, limits: Limits) -> int:
    """Forget the older half of the time that is left, again and again, until there is room. Raises StoreError."""
    removed = 0
    while db.used_bytes > PRUNED_SHARE * limits.max_bytes and (span := _span(db)) is not None:
        first, last = span
        middle = (first + last) / 2
        removed += _before(db, middle if first < middle < last else last + 1.0)
    return removed


def _span(db: Database) -> tuple[float, float] | None:
    """When the oldest and the newest row ended that are so no more; None where there are none."""
    with db.failures():
        ends = [
            db.execute(f"SELECT min(valid_to), max(valid_to) FROM {name} WHERE valid_to IS NOT NULL").fetchone()
            for name in _HISTORY
        ]
    spans = [(float(first), float(last)) for first, last in ends if first is not None]
    return (min(span[0] for span in spans), max(span[1] for span in spans)) if spans else None


def _before(db: Database, time_s: float) -> int:
    removed = 0
    for name in _HISTORY:
        ended = f"SELECT rowid FROM {name} WHERE valid_to IS NOT NULL AND valid_to < ? LIMIT {_BATCH}"
        removed += _in_batches(db, f"DELETE FROM {name} WHERE rowid IN ({ended})", time_s)
    old = f"SELECT machine_id, time_s FROM snapshots WHERE time_s < ? LIMIT {_BATCH}"
    removed += _in_batches(db, f"DELETE FROM snapshots WHERE (machine_id, time_s) IN ({old})", time_s)
    if removed:
        db.give_back()
    return removed


def _in_batches(db: Database, sql: str, time_s: float) -> int:
    removed = 0
    while True:
        count = db.whole(lambda: db.execute(sql, (time_s,)).rowcount)
        removed += count
        if count < _BATCH:
            return removed
