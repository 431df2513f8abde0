"""Ring reader: takes each record of a vCPU's ring once, in order, whole, and says how many were lost.

The writer releases the ring's head after the records before it. Where it may overwrite (a flight recorder), a record
is whole if its sequence number is the one that is expected, before and after it was copied.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.trace.futex import wake
from bridge.trace.shared_memory import TraceMemory


@dataclass(frozen=True, slots=True)
class Taken:
    """Records of one vCPU."""

    records: NDArray[Any]
    """(n,) of `record`, by sequence. Where `views` are read, they lie in the ring until they are given back."""
    lost: int
    """Records between the last ones taken and these that were overwritten before they were read."""


class RingReader:
    """Of one vCPU. For one thread; the guest's own goes on meanwhile."""

    def __init__(self, memory: TraceMemory, vcpu: int) -> None:
        """Begin with the oldest record that nobody took."""
        if not 0 <= vcpu < memory.vcpus:
            raise IndexError(f"there are {memory.vcpus} vCPUs, no {vcpu}")
        self._memory, self.vcpu = memory, vcpu
        self._ring = memory.rings[vcpu]
        self._ends = memory.plugin["rings"][vcpu]
        self._mask = memory.ring_records - 1
        head, tail = int(self._ends["head"]), int(self._ends["tail"])
        self._next = tail if 0 <= head - tail <= memory.ring_records else head
        self._give_back()

    @property
    def dropped(self) -> int:
        """Records that the plugin had no room for, since the machine was started."""
        return int(self._ends["dropped"])

    @property
    def waited_s(self) -> float:
        """How long the guest was held back for a reader."""
        return int(self._ends["waited_ns"]) / 1e9

    @property
    def position(self) -> int:
        """The number of the record that is next."""
        return self._next

    def waiting(self) -> int:
        """Records that can be taken."""
        return max(0, min(int(self._ends["head"]) - self._next, self._memory.ring_records))

    def views(self, most: int = 1 << 62) -> Taken:
        """What can be taken without a copy: one piece of the ring, up to its end. Call `done` when it was looked at.

        Only for policies that never overwrite.
        """
        self.beat()
        head = int(self._ends["head"])
        count = min(head - self._next, most, self._memory.ring_records)
        if (
            head < self._next or head - self._next > self._memory.ring_records
        ):  # the machine was started anew, or nonsense
            lost = max(0, head - self._next)
            self._next = head
            self._give_back()
            return Taken(self._ring[:0], lost)
        first = self._next & self._mask
        return Taken(self._ring[first : first + min(count, len(self._ring) - first)], 0)

    def done(self, count: int) -> None:
        """Give `count` records of the last `views` back to the writer."""
        self._next += count
        self._give_back()

    def read(self, most: int = 1 << 20) -> Taken:
        """Copies of what is there, at most so many, checked one by one. For any policy."""
        self.beat()
        head = int(self._ends["head"])
        if head < self._next:
            self._next = head
        lost = 0
        if head - self._next > self._memory.ring_records:
            lost = head - self._memory.ring_records - self._next
            self._next += lost
        count = min(head - self._next, most)
        expected = np.arange(self._next, self._next + count, dtype=np.uint64)
        places = (expected & np.uint64(self._mask)).astype(np.intp)
        copied = self._ring[places]
        whole = (copied["sequence"] == expected) & (self._ring["sequence"][places] == expected)
        self._next += count
        self._give_back()
        return Taken(copied[whole], lost + int(count - whole.sum()))

    def beat(self) -> None:
        """Say that somebody reads: a guest that waits for room waits on. Raises TraceError where memory went."""
        self._memory.check_whole()
        self._memory.reader["alive_ns"] = time.monotonic_ns()

    def _give_back(self) -> None:
        self._ends["tail"] = self._next
        if self._ends["wake"]:
            self._ends["wake"] = 0
            wake(self._memory.plugin["rings"]["wake"][self.vcpu : self.vcpu + 1])


_PIECE_RECORDS = 8192


def newest(memory: TraceMemory, vcpu: int, most: int = 1 << 62) -> NDArray[Any]:
    """Copies of a ring's newest records, (n,) of `record`, the oldest first, taken by a reader or not.

    What the writer writes over meanwhile is left out. Takes nothing: whoever reads the ring notices nothing.
    """
    memory.check_whole()
    ring, head, size = memory.rings[vcpu], int(memory.plugin["rings"][vcpu]["head"]), memory.ring_records
    first = head - max(0, min(head, most, size))
    pieces: list[NDArray[Any]] = []
    # The newest piece first, and each looked at as soon as it is copied: a busy guest comes round in milliseconds, and
    # what it writes over are the oldest.
    while head > first:
        begin = max(first, head - _PIECE_RECORDS, (head - 1) // size * size)
        place, count = begin % size, head - begin
        expected = np.arange(begin, head, dtype=np.uint64)
        copied = ring[place : place + count].copy()
        now = ring["sequence"][place : place + count]
        whole = copied[(copied["sequence"] == expected) & (now == expected)]
        if not len(whole):
            break
        pieces.append(whole)
        head = begin
    return np.concatenate(pieces[::-1]) if pieces else ring[:0].copy()
