"""What coverage measured in children: a child that was killed while it wrote leaves a file that cannot be read.

Such a file must not decide about the run. Coverage passes over one whose beginning is damaged; a hole further on ends
the adding up, and with it the whole run, without a table.
"""

import sqlite3
from contextlib import closing
from pathlib import Path


def drop_damaged(folder: Path) -> list[Path]:
    """Remove the damaged ones of the files `.coverage.*` (SQLite) in `folder`; they are returned."""
    damaged = [path for path in sorted(folder.glob(".coverage.*")) if not _is_intact(path)]
    for path in damaged:
        path.unlink()
    return damaged


def _is_intact(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as data:
            return data.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    except sqlite3.DatabaseError:
        return False
