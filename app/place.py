"""Place: one byte of one machine, as selection, pointer and history mean it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """One byte of one machine: `offset` counts in its RAM file."""

    machine: str
    offset: int
