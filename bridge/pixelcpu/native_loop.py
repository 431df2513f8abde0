"""A proved loop as native code, with all that whoever runs it has to know; it can be sent to another process.

The code has two functions, as `gb_kernel` in tcg_plugin/trace_format.h says: `plan`, which tells for a state how many
rounds surely go back to the loop's first instruction and where each stream begins; and `run`, which does them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NativeStream:
    """Bytes that each round touches."""

    size: int
    stride: int
    """Bytes from one round to the next, signed."""
    is_store: bool
    group: int
    """Streams of one group keep their distance, and were shown never to meet."""


@dataclass(frozen=True, slots=True)
class NativeLoop:
    """A loop's kernel for this host's processor."""

    code: bytes
    """The loop's x86 code."""
    n_instructions: int
    """Of one round."""
    kind: str
    native: bytes
    """Runs wherever it lies, aligned to 64 bytes."""
    plan: int
    run: int
    """Where these begin in `native`."""
    streams: tuple[NativeStream, ...]
    access_streams: tuple[int, ...]
    """For each load and store of a round, the number of its stream."""
    reads: frozenset[int]
    """Words of the state, by the Pixel CPU's numbers of registers, that are needed …"""
    writes: frozenset[int]
    """… and that are changed."""
    halves: Mapping[int, int]
    """Halves of SSE registers, by their place in `HALVES`, and the words that hold them."""
