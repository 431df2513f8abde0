"""What the part of the inspector that tells who wrote a byte remembers between frames."""

from __future__ import annotations

from dataclasses import dataclass, field

from app.panels.writers import make_table
from app.widgets.record_table import RecordTable
from app.writer_rows import SpotNames, WriterRow


@dataclass(slots=True)
class WritersUi:
    """Of the window."""

    whole_page: bool = False
    """Whether writes to the whole page are told, not only those to the byte."""
    table: RecordTable[WriterRow] = field(default_factory=make_table)
    names: dict[str, SpotNames] = field(default_factory=dict)

    def names_of(self, machine: str) -> SpotNames:
        """The names of code in a machine."""
        return self.names.setdefault(machine, SpotNames())
