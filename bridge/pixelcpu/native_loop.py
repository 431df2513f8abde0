"""A proved loop as native code, with all that whoever runs it has to know; it can be sent to another process.

The code has two functions, as `gb_kernel` in tcg_plugin/trace_format.h says: `plan`, which tells for a state how many
rounds surely go back to the loop's first instruction and where each stream begins; and `run`, which does them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

LEAST_GPU_ROUNDS = 10_000
"""That are compared of a kernel on the GPU, each in a lane of its own …"""
LEAST_GPU_RUNS = 100
"""… in so many runs."""


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
    """Of one round, at least."""
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
    """… and that are changed, to what they are before the next round; others stay as they were."""
    halves: Mapping[int, int]
    """Halves of SSE registers, by their place in `HALVES`, and the words that hold them."""
    ordered: bool = False
    """Rounds are done one after the other: what they load and store may meet."""
    ends_itself: bool = False
    """`plan` tells a limit; `run` stops before a round that the one before does not go back to."""


@dataclass(frozen=True, slots=True)
class NativeRecord:
    """What came of running native code beside Unicorn."""

    n_runs: int
    """Compared."""
    n_put_aside: int
    """States that no round could be run from, or that the plugin would leave to QEMU."""
    n_mismatches: int
    """Runs in which anything differs."""
    first: str = ""
    """What differs in the first of these, in words."""
    n_rounds: int = 0
    """That all the compared runs did together."""


@dataclass(frozen=True, slots=True)
class GpuRecord:
    """What came of running a kernel on a GPU beside Unicorn."""

    device: str
    """The GPU, its driver, and what speaks to it: on another one it is to be run anew."""
    n_runs: int
    n_rounds: int
    """Lanes of these runs."""
    n_mismatches: int
    """Runs in which anything differs."""
    first: str = ""
    """What differs in the first of these, or why it could not be run at all, in words."""

    @property
    def good(self) -> bool:
        """Whether the kernel may be used on that GPU."""
        return (
            not self.n_mismatches
            and not self.first
            and self.n_rounds >= LEAST_GPU_ROUNDS
            and self.n_runs >= LEAST_GPU_RUNS
        )


@dataclass(frozen=True, slots=True)
class Figures:
    """What native code takes on this host, in nanoseconds; 0 where that could not be measured."""

    round_ns: float
    """A round of many, over memory that is in the processor's second cache; the least of several times."""
    far_round_ns: float
    """The same over 32 MiB; 0 for a loop that moves over none."""
    call_ns: float
    """Its plan and a single round: what a call costs by itself, without what the plugin does about it."""

    @property
    def slowest_ns(self) -> float:
        """A round, wherever its memory is."""
        return max(self.round_ns, self.far_round_ns)
