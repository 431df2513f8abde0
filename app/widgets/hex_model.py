"""What a hex view knows: which rows it shows, its cursor and selection, and which bytes changed when."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

FADE_S = 1.5


@dataclass(slots=True)
class HexModel:
    """Rows of `row_bytes` over [base, end). All addresses are whole numbers, so that 2**64 is as good as 2**16.

    The selection lies between `anchor` and `cursor`, both inclusive.
    """

    base: int = 0
    end: int = 0
    row_bytes: int = 16
    top_row: int = 0
    visible_rows: int = 1
    cursor: int = 0
    anchor: int = 0

    @property
    def first_row_address(self) -> int:
        """The address of row 0: rows are aligned to their own size."""
        return self.base - self.base % self.row_bytes

    @property
    def total_rows(self) -> int:
        return max(-(-(self.end - self.first_row_address) // self.row_bytes), 0)

    def row_of(self, address: int) -> int:
        return (address - self.first_row_address) // self.row_bytes

    def address_of_row(self, row: int) -> int:
        return self.first_row_address + row * self.row_bytes

    @property
    def selection(self) -> tuple[int, int]:
        """(first address, length)."""
        first, last = sorted((self.anchor, self.cursor))
        return first, last - first + 1

    def set_range(self, base: int, end: int) -> None:
        """Show other bounds; what lay outside them comes to the nearest end."""
        if (base, end) != (self.base, self.end):
            top = self.address_of_row(self.top_row)
            self.base, self.end = base, max(end, base)
            self.cursor, self.anchor = self._inside(self.cursor), self._inside(self.anchor)
            self.scroll_to(self.row_of(self._inside(top)))

    def set_layout(self, row_bytes: int, visible_rows: int) -> None:
        """Change the shape of the view and keep its first byte in the first row."""
        top = self.address_of_row(self.top_row)
        self.row_bytes, self.visible_rows = row_bytes, max(visible_rows, 1)
        self.scroll_to(self.row_of(self._inside(top)))

    def _inside(self, address: int) -> int:
        return min(max(address, self.base), max(self.end - 1, self.base))

    def scroll_to(self, row: int) -> None:
        self.top_row = min(max(row, 0), max(self.total_rows - self.visible_rows, 0))

    def move_to(self, address: int, *, extend: bool = False) -> None:
        """Put the cursor at `address` and bring it into view."""
        self.cursor = self._inside(address)
        if not extend:
            self.anchor = self.cursor
        row = self.row_of(self.cursor)
        if row < self.top_row:
            self.scroll_to(row)
        elif row >= self.top_row + self.visible_rows:
            self.scroll_to(row - self.visible_rows + 1)

    def move_by(self, count: int, *, extend: bool = False) -> None:
        """Move the cursor by bytes; a step of whole rows keeps its column at the ends."""
        target = self.cursor + count
        if abs(count) >= self.row_bytes and not self.base <= target < self.end:
            rows = (
                (self.end - 1 - self.cursor) // self.row_bytes
                if count > 0
                else -((self.cursor - self.base) // self.row_bytes)
            )
            target = self.cursor + rows * self.row_bytes
        self.move_to(target, extend=extend)

    def reveal(self, address: int) -> None:
        """Put the cursor at an address chosen elsewhere; when it is out of sight it comes a third down the view."""
        self.cursor = self.anchor = self._inside(address)
        row = self.row_of(self.cursor)
        if not self.top_row <= row < self.top_row + self.visible_rows:
            self.scroll_to(row - self.visible_rows // 3)


@dataclass(slots=True)
class ChangeTracker:
    """Remembers when each visible byte was last seen to change."""

    _rows: dict[int, bytes] = field(default_factory=dict)
    _changed_s: dict[int, NDArray[np.float64]] = field(default_factory=dict)

    def observe(self, rows: dict[int, bytes], now_s: float) -> None:
        """Take the rows on show, by address; a row that comes into view is no change."""
        old_rows, self._rows = self._rows, rows
        kept = {address: times for address, times in self._changed_s.items() if address in rows}
        self._changed_s = {address: times for address, times in kept.items() if now_s - times.max() < FADE_S}
        for address, data in rows.items():
            old = old_rows.get(address)
            if old is None or old == data:
                continue
            times = self._changed_s.get(address)
            if len(old) != len(data):
                self._changed_s.pop(address, None)
                continue
            if times is None:
                times = self._changed_s[address] = np.full(len(data), -np.inf)
            times[np.frombuffer(old, np.uint8) != np.frombuffer(data, np.uint8)] = now_s

    @property
    def animating(self) -> bool:
        """Whether some byte is still fading."""
        return bool(self._changed_s)

    def heat(self, address: int, now_s: float) -> NDArray[np.float64] | None:
        """Return how fresh each byte of a row is, 1 (just changed) to 0, (row_bytes,) float64; None: all at rest."""
        times = self._changed_s.get(address)
        return None if times is None else np.clip(1 - (now_s - times) / FADE_S, 0.0, 1.0)

    def clear(self) -> None:
        self._rows, self._changed_s = {}, {}
