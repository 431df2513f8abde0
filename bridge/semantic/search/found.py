"""What the ways to search hand over while they go on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]

Cancelled = Callable[[], bool]
"""Whether nobody waits for the result any more; asked every 10 ms."""


@dataclass(frozen=True, slots=True)
class Found:
    """Some matches, in order, and how far the search has come."""

    positions: I64
    """(n,) where each begins in the order of the places."""
    lengths: npt.NDArray[np.uint32]
    """(n,)"""
    which: npt.NDArray[np.int32]
    """(n,)"""
    searched: int
    """All positions before this one have been searched."""
    missing_bytes: int = 0
    """Of what was searched since the last time, that the RAM file does not have any more."""
    gone: int = 0
    """Matches of which the guest has overwritten something since they were found."""


class SearchEnded(Exception):
    """The search came to an end before its end; says why, in a sentence."""


class SearchCancelled(SearchEnded):
    """Nobody waits for the result any more."""

    def __init__(self) -> None:
        super().__init__("It was cancelled.")
