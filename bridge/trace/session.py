"""A machine's trace: its mode, switched while the guest runs, and what was counted, sampled and hit."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bridge.memory.errors import GuestMemoryError
from bridge.memory.ram import GuestRam
from bridge.trace.errors import NoPlugin, TraceError
from bridge.trace.futex import wake
from bridge.trace.layout import layout
from bridge.trace.modes import POLICIES, Wish
from bridge.trace.ring import RingReader
from bridge.trace.shared_memory import RamRange, TraceMemory

SWITCH_LIMIT_S = 5.0
PUBLISH_LIMIT_S = 2.0
_POLL_S = 0.0005


class Traced(Protocol):
    """A machine whose plugin can be talked to: our own, or one that is visited."""

    @property
    def name(self) -> str: ...
    @property
    def trace(self) -> TraceMemory | None: ...
    @property
    def trace_problem(self) -> str: ...
    @property
    def ram(self) -> GuestRam | None: ...
    @property
    def runs(self) -> bool: ...
    def kick(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Switched:
    """How a change of mode went."""

    took_s: float
    """From the wish until the guest ran on in the new mode."""
    pending: bool
    """The machine is paused: the new mode begins when it runs."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Blocks, and how often each was entered since the machine was started. Of the same length; entry 0 is none."""

    blocks: NDArray[Any]
    """(n,) of `block`."""
    entered: NDArray[np.uint64]
    """(vcpus, n)."""
    at_ns: int
    """CLOCK_MONOTONIC."""

    @property
    def total(self) -> NDArray[np.uint64]:
        """(n,): by all vCPUs."""
        total: NDArray[np.uint64] = self.entered.sum(axis=0, dtype=np.uint64)
        return total


class SampleReader:
    """Of samples from now on. Thread-safe."""

    def __init__(self, memory: TraceMemory) -> None:
        self._memory = memory
        self._lock = threading.Lock()
        self._taken = int(memory.plugin["sample_head"])

    def read(self) -> tuple[NDArray[Any], int]:
        """Samples since the last call, (n,) of `sample`, and how many were overwritten before they were read.

        Raises TraceError.
        """
        self._memory.check_whole()
        ring = self._memory.samples
        with self._lock:
            head = int(self._memory.plugin["sample_head"])
            first = max(self._taken, head - len(ring) // 2)  # the older half may be written over while we look
            lost = first - self._taken
            places = np.arange(first, head) & (len(ring) - 1)
            self._taken = head
            return ring[places], lost


class TraceSession:
    """Thread-safe but for the ring readers, which are one thread's each."""

    def __init__(self, machine: Traced) -> None:
        """Raises NoPlugin."""
        if machine.trace is None:
            raise NoPlugin(machine.trace_problem or f"'{machine.name}' runs without the plugin.")
        self._machine = machine
        self.memory: TraceMemory = machine.trace
        self._lock = threading.Lock()
        self._samples = SampleReader(self.memory)
        self._hits_taken = int(self.memory.plugin["hit_head"])
        self.wish = Wish()

    @property
    def machine_name(self) -> str:
        """Whose trace it is."""
        return self._machine.name

    @property
    def ram_path(self) -> Path | None:
        """The file that holds its RAM; None where that is not mapped."""
        ram = self._machine.ram
        return None if ram is None else ram.path

    def ram_at(self, physical: int, size_bytes: int) -> bytes:
        """What its RAM holds there now; nothing where that is not all RAM, or not mapped."""
        ram = self._machine.ram
        if ram is None or size_bytes <= 0:
            return b""
        try:
            return bytes(ram.read_physical(physical, size_bytes))
        except GuestMemoryError:
            return b""

    @property
    def parts(self) -> int:
        """What the plugin does now, its flags."""
        return int(self.memory.plugin["parts"])

    @property
    def ended(self) -> bool:
        """Whether QEMU has ended: what was counted until then can still be read."""
        return self.memory.whole and int(self.memory.plugin["state"]) == layout().constants["GONE"]

    def set(self, wish: Wish) -> Switched:
        """Have the plugin watch something else. Stops the guest for some milliseconds, quietly.

        Raises TraceError where the plugin does not answer, MachineError where the machine does not.
        """
        with self._lock:
            self._check_whole()
            self._write(wish)
            switched = self._ask()
            self.wish = wish
            return switched

    def take_over(self, *, on: bool) -> Switched:
        """Have the plugin take the table of kernels as it is now, and use it or not; what is watched stays.

        Raises as `set`.
        """
        with self._lock:
            self._check_whole()
            self._tell_ram()
            self.memory.reader["kernels_on"] = int(on)
            return self._ask()

    def _ask(self) -> Switched:
        """Have the plugin take what was written, and wait until it has; with the lock held."""
        began = time.perf_counter()
        if self.ended:
            raise TraceError(f"'{self._machine.name}' has ended.")
        request = int(self.memory.reader["request"]) + 1
        self.memory.reader["request"] = request  # last: what it asks for is written
        ran = self._machine.runs
        self._machine.kick()
        while int(self.memory.plugin["done"]) < request:  # or a later one: another process may ask as well
            if not ran:
                return Switched(time.perf_counter() - began, True)
            if time.perf_counter() - began > SWITCH_LIMIT_S:
                raise TraceError(f"The plugin in '{self._machine.name}' did not change its mode in time.")
            time.sleep(_POLL_S)
        return Switched(time.perf_counter() - began, False)

    def _check_whole(self) -> None:
        if not self.memory.whole:
            self._machine.kick()  # the plugin stops by itself, as soon as it may
        self.memory.check_whole()

    def _tell_ram(self) -> None:
        ram = self._machine.ram
        if ram is not None:
            self.memory.tell_ram([RamRange(r.paddr, r.size_bytes, r.offset) for r in ram.physical_map.regions])

    def _write(self, wish: Wish) -> None:
        known, reader, filters = layout().constants, self.memory.reader, wish.filters
        self._tell_ram()
        reader["parts"] = wish.parts
        reader["policy"] = known[POLICIES[wish.policy]]
        reader["sample_ns"] = 1_000_000_000 // wish.samples_per_s
        reader["first_virtual"], reader["last_virtual"] = filters.first_virtual, filters.last_virtual
        reader["address_space"] = known["NONE"] if filters.page_table is None else filters.page_table
        reader["one_of"] = filters.one_of
        reader["alive_ns"] = time.monotonic_ns()

    def counts(self) -> Counts:
        """How often each block was entered until now, or until the end. Takes a millisecond. Raises TraceError."""
        self.memory.check_whole()
        memory = self.memory
        with self._lock:
            wanted = (int(memory.reader["publish"]) + 1) & 0xFFFFFFFF
            memory.reader["publish"] = wanted
            wake(memory.reader["publish"].reshape(1))
            deadline = time.perf_counter() + PUBLISH_LIMIT_S
            # At least as new: somebody else may have asked after us.
            while (int(memory.plugin["published"]) - wanted) & 0x80000000 and not self.ended:
                self.memory.check_whole()
                if time.perf_counter() > deadline:
                    raise TraceError(f"The plugin in '{self._machine.name}' does not answer.")
                time.sleep(_POLL_S)
            known = min(int(memory.plugin["blocks"]), len(memory.blocks))
            return Counts(
                memory.blocks[:known].copy(), memory.counts[:, :known].copy(), int(memory.plugin["published_ns"])
            )

    def code_of(self, block: NDArray[Any]) -> bytes:
        """The bytes of a `block`."""
        first, size = int(block["code"]), int(block["bytes"])
        return self.memory.code[first : first + size].tobytes()

    def samples(self) -> tuple[NDArray[Any], int]:
        """Samples since the last call, (n,) of `sample`, and how many were overwritten before they were read."""
        return self._samples.read()

    def sample_reader(self) -> SampleReader:
        """Another reader of the same samples, for somebody else who takes part: neither takes them from the other."""
        return SampleReader(self.memory)

    def follow_tasks(self, words: list[int]) -> None:
        """Say where, in the RAM file, each vCPU's task is named; 0: not known. Samples and hits tell it then."""
        for vcpu, offset in enumerate(words[: self.memory.vcpus]):
            self.memory.reader["task_word"][vcpu] = offset

    def watch(self, pages: NDArray[np.integer[Any]], *, loads: bool = False, stores: bool = True) -> None:
        """Watch these pages of the RAM file, and no others. Raises TraceError for pages that there are not."""
        known = layout().constants
        if len(pages) and not 0 <= int(pages.min()) <= int(pages.max()) < self.memory.pages:
            raise TraceError(f"Pages are numbered from 0 to {self.memory.pages - 1:,}.")
        with self._lock:
            self.memory.watched[:] = 0
            self.memory.watched[pages] = loads * known["WATCH_LOADS"] | stores * known["WATCH_STORES"]
            self.memory.reader["watch_epoch"] = int(self.memory.reader["watch_epoch"]) + 1

    def hits(self) -> tuple[NDArray[Any], int]:
        """Accesses to watched pages since the last call, (n,) of `touch`; and how many in all had no room."""
        self.memory.check_whole()
        ring = self.memory.hits
        with self._lock:
            head = int(self.memory.plugin["hit_head"])
            first = max(self._hits_taken, head - len(ring))
            found = ring[np.arange(first, head) & (len(ring) - 1)]
            self._hits_taken = head
            self.memory.reader["hit_tail"] = head
            return found, int(self.memory.plugin["hit_dropped"])

    def last_touches(self, pages: NDArray[np.integer[Any]]) -> NDArray[Any]:
        """Who loaded and who stored last, (n, 2) of `touch`; `sequence` is 0 where nobody did."""
        self.memory.check_whole()
        found: NDArray[Any] = self.memory.touches[pages]
        for _ in range(100):
            torn = (found["sequence"] % 2 == 1) | (self.memory.touches["sequence"][pages] != found["sequence"])
            if not torn.any():
                break
            found = self.memory.touches[pages]
        return found

    def rings(self) -> list[RingReader]:
        """A reader a vCPU."""
        return [
            RingReader(self.memory, vcpu) for vcpu in range(min(int(self.memory.plugin["vcpus"]), self.memory.vcpus))
        ]
