"""Reading bytes for a view: a range may be unmapped in part, and what is shown must not change while it is drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

ReadBytes = Callable[[int, int], bytes | bytearray | memoryview]
"""read(address, length): the bytes there; raises one of the view's `unmapped` errors where there are none."""

DEFAULT_UNMAPPED: tuple[type[Exception], ...] = (LookupError, ValueError, OSError)


@dataclass(frozen=True, slots=True)
class ByteSource:
    """A reader with the errors by which it says that a range is not mapped."""

    read: ReadBytes
    unmapped: tuple[type[Exception], ...] = DEFAULT_UNMAPPED

    def piece(self, address: int, length: int) -> bytes | None:
        """Return a copy of a range, or None when it is not mapped as a whole."""
        try:
            data = bytes(self.read(address, length))
        except self.unmapped:
            return None
        return data if len(data) == length else None

    def rows(self, address: int, row_bytes: int, count: int, end: int) -> list[bytes | None]:
        """Return `count` rows from `address`, cut at `end`; None stands for a row that is not mapped."""
        length = min(count * row_bytes, end - address)
        if length <= 0:
            return []
        starts = range(0, length, row_bytes)
        whole = self.piece(address, length)
        if whole is not None:
            return [whole[start : start + row_bytes] for start in starts]
        return [self.piece(address + start, min(row_bytes, length - start)) for start in starts]
