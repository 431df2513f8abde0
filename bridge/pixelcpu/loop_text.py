"""What a proved loop is, in words; made without terms, so that it can be kept and sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StreamText:
    """A stream in words."""

    address: str
    """Of its lowest byte in the first round, over the registers."""
    size: int
    stride: int
    is_store: bool
    is_table: bool = False
    """It touches some of these bytes, wherever an index says."""


@dataclass(frozen=True, slots=True)
class LoopText:
    """A loop in words."""

    kind: str
    counting: Mapping[str, int]
    """By how much each register counts in a round."""
    folds: Mapping[str, str]
    """By register: operation and width, as microcode calls them (`sumall.64`)."""
    fresh: tuple[str, ...]
    streams: tuple[StreamText, ...]
    apart: tuple[tuple[int, int], ...]
    """Pairs of streams that are looked at before each run: they must not meet."""
    distance: str
    """Empty: each round looks whether another one follows."""
    step: int
    """`distance` / `step` rounds go back, rounded down, if the first one does."""
    ordered: bool = False
    """Rounds are done one after the other …"""
    carried: tuple[str, ...] = ()
    """… and go on with these registers as the round before left them."""
    aligned: tuple[str, ...] = ()
    """Addresses that are looked at before each run: they must be multiples of 16."""
    closed: bool = False
    """That has a closed form: the last round is done without those before."""
    leaps: bool = False
    """Of that each bit is a sum of bits before: many rounds are done at once."""
