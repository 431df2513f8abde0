"""What the panel Results shows now: its table, and which row is what was chosen or selected elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field

from app.found_rows import FoundRow, found_table
from app.place import Place
from app.widgets.record_table import RecordTable


@dataclass(slots=True)
class ResultsUi:
    """The panel's state on the main thread."""

    table: RecordTable[FoundRow] = field(default_factory=found_table)
    number: int = 0
    """Of the question whose answer was drawn last."""
    renamed: str = ""
    """What is typed as a bookmark's other name."""
    followed: Place | None = None
    """The selected byte when that was last looked at."""
