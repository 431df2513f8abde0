"""How long each pass takes on the GPU, by timestamps that the GPU itself writes; read back later, never waited for.

Whoever begins a pass asks the device's clock for its `timestamp_writes`. A batch, usually a frame, is closed by
`close_batch`; its stamps are resolved into one of a ring of buffers and read when the GPU has long passed them. Where
all buffers of the ring are still on their way a batch goes untimed: a figure less is better than a frame late.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import wgpu
from numpy.typing import NDArray
from wgpu.backends.wgpu_native import lib as _native

FEATURE = "timestamp-query"
MAX_SPANS = 64
"""Passes in a batch that are timed; further ones are not."""
RING = 4
"""Batches on their way back: the GPU is two frames behind at most, and the read-back comes a frame after that."""
_KEPT = 512
_LONGEST_S = 10.0
"""A pass cannot take longer: drivers reset the device before. Such a stamp was not written by a pass."""

Timings = dict[str, float]
"""Seconds on the GPU by the name of a pass; a name with a slash is a part of what stands before the slash."""


@dataclass(slots=True)
class _Slot:
    """One batch's queries and the way back of their results."""

    queries: wgpu.GPUQuerySet
    resolved: wgpu.GPUBuffer
    staging: wgpu.GPUBuffer
    names: list[str] = field(default_factory=list)
    promise: Any = None


class PassClock:
    """The clock of one device: see the module. Belongs to the thread that draws."""

    def __init__(self, device: wgpu.GPUDevice) -> None:
        self._device = device
        self.available = FEATURE in device.features
        """Whether the device can say how long its passes take."""
        self._free: deque[_Slot] = deque()
        self._waiting: deque[_Slot] = deque()
        self._finished: deque[Timings] = deque(maxlen=_KEPT)
        self._slot: _Slot | None = None
        self.latest: Timings = {}
        """The last batch that came back; empty before the first."""
        # Nanoseconds a tick: WebGPU's stamps are nanoseconds, but wgpu-native hands out the adapter's own ticks.
        self._tick_s = 1e-9 * float(_native.wgpuQueueGetTimestampPeriod(device.queue._internal))
        if self.available:
            self._free.extend(self._make_slot() for _ in range(RING))
            self._slot = self._free.popleft()

    def _make_slot(self) -> _Slot:
        usage, size = wgpu.BufferUsage, 16 * MAX_SPANS
        return _Slot(
            self._device.create_query_set(type="timestamp", count=2 * MAX_SPANS),
            self._device.create_buffer(size=size, usage=usage.QUERY_RESOLVE | usage.COPY_SRC),
            self._device.create_buffer(size=size, usage=usage.MAP_READ | usage.COPY_DST),
        )

    def writes(self, name: str) -> dict[str, object] | None:
        """Return the `timestamp_writes` of a pass that is about to begin; it must be submitted before the batch ends.

        None where passes are not timed.
        """
        slot = self._slot
        if slot is None or len(slot.names) >= MAX_SPANS:
            return None
        index = 2 * len(slot.names)
        slot.names.append(name)
        return {
            "query_set": slot.queries,
            "beginning_of_pass_write_index": index,
            "end_of_pass_write_index": index + 1,
        }

    @contextmanager
    def around(self, name: str) -> Iterator[None]:
        """Time what others submit meanwhile, between two empty passes of our own."""
        slot = self._slot
        if slot is None or len(slot.names) >= MAX_SPANS:
            yield
            return
        index = 2 * len(slot.names)
        slot.names.append(name)
        self._stamp(slot, "beginning_of_pass_write_index", index)
        try:
            yield
        finally:
            self._stamp(slot, "end_of_pass_write_index", index + 1)

    def _stamp(self, slot: _Slot, where: str, index: int) -> None:
        encoder = self._device.create_command_encoder()
        encoder.begin_compute_pass(timestamp_writes={"query_set": slot.queries, where: index}).end()
        self._device.queue.submit([encoder.finish()])

    def close_batch(self) -> None:
        """End a batch: its stamps are sent on their way, and those that arrived are taken in."""
        slot = self._slot
        if slot is not None and slot.names:
            encoder = self._device.create_command_encoder()
            encoder.resolve_query_set(slot.queries, 0, 2 * len(slot.names), slot.resolved, 0)
            encoder.copy_buffer_to_buffer(slot.resolved, 0, slot.staging, 0, 16 * len(slot.names))
            self._device.queue.submit([encoder.finish()])
            self._waiting.append(slot)
            self._slot = None
        self._collect()
        if self._slot is None and self._free:
            self._slot = self._free.popleft()

    def abandon_batch(self) -> None:
        """Forget the passes of this batch: something failed, and some may never have been submitted.

        Resolving a query that no pass wrote would wait for it for ever.
        """
        if self._slot is not None:
            self._slot.names.clear()

    def _collect(self) -> None:
        # Mapped a batch later than resolved: by then the GPU has passed it, so that nobody has to wait, not even the
        # thread with which wgpu waits for maps (it would hold what submitting needs).
        for slot in list(self._waiting)[:-1]:
            if slot.promise is None:
                slot.promise = slot.staging.map_async("READ_NOSYNC", 0, 16 * len(slot.names))
        while self._waiting and self._waiting[0].promise is not None and _arrived(self._waiting[0].promise):
            slot = self._waiting.popleft()
            promise, slot.promise = slot.promise, None
            promise.sync_wait()
            ticks = np.frombuffer(slot.staging.read_mapped(), np.uint64)
            slot.staging.unmap()
            self.latest = sum_up(slot.names, ticks, self._tick_s)
            self._finished.append(self.latest)
            slot.names = []
            self._free.append(slot)

    def take(self) -> list[Timings]:
        """Return the batches that came back since the last call, oldest first."""
        taken = list(self._finished)
        self._finished.clear()
        return taken

    @property
    def vram_bytes(self) -> int:
        """What the clock itself holds on the GPU."""
        return RING * (2 * 16 * MAX_SPANS + 16 * MAX_SPANS) if self.available else 0


def _arrived(promise: Any) -> bool:
    # wgpu offers to wait or to be called back by an event loop; what is needed is to look, and this is what it sets.
    return bool(promise._thread_event.is_set())


def sum_up(names: Sequence[str], ticks: NDArray[np.uint64], tick_s: float) -> Timings:
    """Seconds by name: ticks (2 n,) uint64, begin and end of each of `names`. Those of one name, and group, add up."""
    timings: Timings = {}
    for name, begin, end in zip(names, ticks[0::2].tolist(), ticks[1::2].tolist(), strict=True):
        seconds = (end - begin) * tick_s
        if not 0.0 <= seconds < _LONGEST_S:  # a clock that was reset between the two
            continue
        timings[name] = timings.get(name, 0.0) + seconds
        group, slash, _part = name.partition("/")
        if slash:
            timings[group] = timings.get(group, 0.0) + seconds
    return timings


def pass_clock(device: wgpu.GPUDevice) -> PassClock:
    """Return a device's clock, which is made at the first call and lives as long as the device."""
    clock: PassClock | None = getattr(device, "_glassbox_pass_clock", None)
    if clock is None:
        clock = device._glassbox_pass_clock = PassClock(device)
    return clock
