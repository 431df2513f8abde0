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
        """Say that somebody reads: a guest that waits for room waits on."""
        self._memory.reader["alive_ns"] = time.monotonic_ns()

    def _give_back(self) -> None:
        self._ends["tail"] = self._next
        if self._ends["wake"]:
            self._ends["wake"] = 0
            wake(self._memory.plugin["rings"]["wake"][self.vcpu : self.vcpu + 1])


def newest(memory: TraceMemory, vcpu: int, most: int = 1 << 62) -> NDArray[Any]:
    """Copies of a ring's newest records, (n,) of `record`, the oldest first, taken by a reader or not.

    What the writer writes over meanwhile is left out. Takes nothing: whoever reads the ring notices nothing.
    """
    ring, head = memory.rings[vcpu], int(memory.plugin["rings"][vcpu]["head"])
    count = max(0, min(head, most, memory.ring_records))
    expected = np.arange(head - count, head, dtype=np.uint64)
    places = (expected & np.uint64(memory.ring_records - 1)).astype(np.intp)
    copied = ring[places]
    whole: NDArray[Any] = copied[(copied["sequence"] == expected) & (ring["sequence"][places] == expected)]
    return whole
