"""Written pages into a store's levels, in one of two ways that leave the same bits.

`ShaderUpload` sends the pages to the GPU, where a workgroup a page puts the bytes in place and sums them up: right for
a GPU. `HostUpload` is for software Vulkan, where the GPU's memory is the processor's: compiled loops copy pages
straight to where shaders read them, sum them up on the way, on every core, and the GPU only stores the sums as texels.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import numpy as np
import wgpu
from numpy.typing import NDArray

from render import wgsl
from render.brick_levels import Levels, Resources, compute_pipeline
from render.content import N_COUNTERS, RANDOM_ENTROPY, Kind, entropy_table
from render.curves import BRICK_SIDE, PAGE_SIZE, Curve, table_words
from render.errors import DeviceLost
from render.timing import pass_clock

BATCH_PAGES = 4096
"""Pages a dispatch takes: 16 MiB of staging, far under every binding limit, and enough to drown a dispatch's fixed
cost.
"""
HOST_BATCH_PAGES = 2048
CHUNK_PAGES = 256
"""Pages that a thread sums up at a time: half a millisecond, so that threads end together."""

_SLOT = 256
"""Bytes between the batch's uniforms of one part and the next: WebGPU's alignment of dynamic offsets."""
_BATCH = np.dtype([("now_s", "f4"), ("flash", "u4"), ("first", "u4"), ("part_start", "u4"), ("pad", f"V{_SLOT - 16}")])
_PLACE = np.dtype([("brick", "u4"), ("page", "u4"), ("source", "u4"), ("heat", "f4")])
_SUMMED = np.dtype([("brick", "u4"), ("packed", "u4"), ("more", "u4"), ("heat", "f4")])

_usage = wgpu.BufferUsage
_READ: dict[str, object] = {"buffer": {"type": "read-only-storage"}}
_WRITE: dict[str, object] = {"buffer": {"type": "storage"}}
_UNIFORM: dict[str, object] = {"buffer": {"type": "uniform"}}


@dataclass(frozen=True, slots=True)
class Written:
    """Pages to upload, n of them."""

    places: NDArray[np.uint32]
    """(n,) each one's brick and state: x | y << 9 | z << 18 | state << 27."""
    slots: NDArray[np.int64]
    """(n,) where the linear layout keeps their bytes; -1: nowhere."""
    data: NDArray[np.uint8]
    """(n, 4096) contiguous."""
    heat: NDArray[np.float32] | None
    """(n,) their heat with this write; None if it is no write that should show."""
    now_s: float

    def part(self, first: int, stop: int) -> Written:
        """Some of them."""
        heat = None if self.heat is None else self.heat[first:stop]
        return Written(self.places[first:stop], self.slots[first:stop], self.data[first:stop], heat, self.now_s)


def _stored(texture: wgpu.GPUTexture) -> dict[str, object]:
    return {"storage_texture": {"access": "write-only", "format": texture.format, "view_dimension": "3d"}}


class ShaderUpload:
    """The GPU does it. Its staging is made when it is first used."""

    def __init__(self, resources: Resources, levels: Levels, curve: Curve, n_pages: int) -> None:
        self._device = resources.device
        self._levels = levels
        layout = levels.layout
        # The layout without voxels only sums up: for pages that have no slot.
        n_batch = min(BATCH_PAGES, n_pages)
        self._batch_pages = n_batch
        self._batch = resources.buffer("batch", _SLOT * len(levels.parts), _usage.UNIFORM | _usage.COPY_DST)
        self._places = resources.buffer("places", _PLACE.itemsize * n_batch, _usage.STORAGE | _usage.COPY_DST)
        self._data = resources.buffer("written pages", PAGE_SIZE * n_batch, _usage.STORAGE | _usage.COPY_DST)
        code = wgsl.compose(
            "bricks_update.wgsl",
            curve_binding=0,
            n_states=curve.n_states,
            layout=layout.voxels,
            n_counters=N_COUNTERS,
            random_entropy=RANDOM_ENTROPY,
            kinds=Kind,
        )
        part = levels.parts[0]
        voxels = _WRITE if isinstance(part, wgpu.GPUBuffer) else _stored(part)
        offset_uniform: dict[str, object] = {"buffer": {"type": "uniform", "has_dynamic_offset": True}}
        outputs = (levels.bricks, levels.heat, levels.cells)
        kinds = [_READ, offset_uniform, _READ, _READ, *(_stored(output) for output in outputs), voxels, _READ]
        batch = {"buffer": self._batch, "offset": 0, "size": 16}
        tables = resources.table("curve", table_words(curve)), resources.table("entropy", entropy_table())
        common = [tables[0], batch, self._places, self._data, *outputs]
        self._pipeline, self._bindings = compute_pipeline(
            self._device, code, kinds, [[*common, part, tables[1]] for part in levels.parts]
        )

    def put(self, written: Written) -> None:
        """Upload pages."""
        for first in range(0, len(written.places), self._batch_pages):
            self._put_batch(written.part(first, first + self._batch_pages))

    def _put_batch(self, written: Written) -> None:
        levels = self._levels
        n = len(written.places)
        places = np.zeros(n, _PLACE)
        places["brick"], places["source"] = written.places, np.arange(n)
        places["page"] = np.where(written.slots < 0, 0xFFFF_FFFF, written.slots)
        if written.heat is not None:
            places["heat"] = written.heat
        counts = np.array([n])
        if len(levels.parts) > 1:
            # Pages without a slot go with any part: they are only summed up.
            part = levels.part_of(
                np.maximum(written.slots, 0), (written.places >> 18 & 511).astype(np.int64) * BRICK_SIDE
            )
            places = places[np.argsort(part, kind="stable")]
            counts = np.bincount(part, minlength=len(levels.parts))
        uniforms = np.zeros(len(levels.parts), _BATCH)
        uniforms["now_s"], uniforms["flash"] = written.now_s, written.heat is not None
        uniforms["part_start"], uniforms["first"] = levels.part_starts, np.cumsum(counts) - counts
        queue = self._device.queue
        queue.write_buffer(self._batch, 0, uniforms)
        queue.write_buffer(self._places, 0, places)
        queue.write_buffer(self._data, 0, written.data)
        encoder = self._device.create_command_encoder()
        compute = encoder.begin_compute_pass(timestamp_writes=pass_clock(self._device).writes("upload"))
        compute.set_pipeline(self._pipeline)
        for index in np.flatnonzero(counts):
            compute.set_bind_group(0, self._bindings[index], [_SLOT * int(index)])
            compute.dispatch_workgroups(int(counts[index]))
        compute.end()
        queue.submit([encoder.finish()])


class HostUpload:
    """The processor does it; only for linear levels that it can write to. Needs compiled loops: see `loops`."""

    def __init__(self, resources: Resources, levels: Levels, curve: Curve, n_pages: int) -> None:
        self._device = resources.device
        self._levels = levels
        self._cell_order = curve.step_tables(2).position.astype(np.uint8)
        self._entropy_table = entropy_table()
        n_batch = min(HOST_BATCH_PAGES, n_pages)
        self._batch_pages = n_batch
        storage = _usage.STORAGE | _usage.COPY_DST
        self._batch = resources.buffer("batch", 16, _usage.UNIFORM | _usage.COPY_DST)
        self._summed = resources.buffer("summed", _SUMMED.itemsize * n_batch, storage)
        self._texels = resources.buffer("cell texels", 256 * n_batch, storage)
        outputs = (levels.bricks, levels.heat, levels.cells)
        self._pipeline, self._bindings = compute_pipeline(
            self._device,
            wgsl.compose("bricks_place.wgsl"),
            [_UNIFORM, _READ, _READ, *(_stored(output) for output in outputs)],
            [[self._batch, self._summed, self._texels, *outputs]],
        )
        self._cells = np.zeros((n_batch, 64), np.uint32)
        self._bricks = np.zeros((n_batch, 2), np.uint32)

    def put(self, written: Written) -> None:
        """Upload pages."""
        levels = self._levels
        parts = levels.part_of(np.maximum(written.slots, 0), written.slots)
        resident = written.slots >= 0
        bits = levels.layout.part_bits
        targets = np.zeros(len(written.slots), np.uint64)
        # A device that is gone says so here; mapping would only break.
        self._device.queue.write_buffer(self._batch, 0, np.zeros(4, np.uint32))
        mapped: list[wgpu.GPUBuffer] = []
        try:
            for index in np.unique(parts[resident]):
                buffer = levels.parts[index]
                here = resident & (parts == index)
                offset = (written.slots[here] & ((1 << bits) - 1)) * PAGE_SIZE
                low, high = int(offset.min()), int(offset.max()) + PAGE_SIZE
                start = _map(buffer, low, high - low)
                mapped.append(buffer)
                targets[here] = np.uint64(start) + (offset - low).astype(np.uint64)
            self._put_into(written, targets)
        finally:
            for buffer in mapped:
                buffer.unmap()

    def _put_into(self, written: Written, targets: NDArray[np.uint64]) -> None:
        n, loop = len(targets), loops.ready()
        assert loop is not None
        states = (written.places >> 27).astype(np.uint8)
        base = written.data.ctypes.data
        for first in range(0, n, self._batch_pages):
            stop = min(n, first + self._batch_pages)

            def sum_up(begin: int, end: int, first: int = first) -> None:
                loop(
                    base + PAGE_SIZE * (first + begin),
                    end - begin,
                    targets[first + begin : first + end],
                    self._cell_order,
                    states[first + begin : first + end],
                    self._entropy_table,
                    self._cells[begin:end],
                    self._bricks[begin:end],
                )

            in_threads(sum_up, stop - first)
            self._place(written.part(first, stop))

    def _place(self, written: Written) -> None:
        n = len(written.places)
        summed = np.zeros(n, _SUMMED)
        summed["brick"], summed["packed"], summed["more"] = written.places, self._bricks[:n, 0], self._bricks[:n, 1]
        if written.heat is not None:
            summed["heat"] = written.heat
        uniform = np.zeros(4, np.uint32)
        uniform[:3] = np.float32(written.now_s).view(np.uint32), written.heat is not None, n
        queue = self._device.queue
        queue.write_buffer(self._batch, 0, uniform)
        queue.write_buffer(self._summed, 0, summed)
        queue.write_buffer(self._texels, 0, self._cells[:n])
        encoder = self._device.create_command_encoder()
        compute = encoder.begin_compute_pass(timestamp_writes=pass_clock(self._device).writes("upload"))
        compute.set_pipeline(self._pipeline)
        compute.set_bind_group(0, self._bindings[0])
        compute.dispatch_workgroups(-(-n // 64))
        compute.end()
        queue.submit([encoder.finish()])


def _map(buffer: wgpu.GPUBuffer, offset: int, size: int) -> int:
    """Take part of a buffer over from the GPU, once that has done with it; the address of its memory.

    A part, because wgpu first fills with zeros what is mapped for the first time.
    """
    try:
        buffer.map_sync("WRITE", offset, size)
    except RuntimeError as error:  # a buffer of our own that cannot be mapped has no device any more
        raise DeviceLost("write to the GPU's memory") from error
    # wgpu has no public way to a mapped range that does not copy; its version is pinned.
    return int(np.frombuffer(buffer._experimental_get_mapped_range(), np.uint8).ctypes.data)


@cache
def _workers() -> tuple[ThreadPoolExecutor, int]:
    count = min(8, len(os.sched_getaffinity(0)))
    return ThreadPoolExecutor(max_workers=count, thread_name_prefix="classify"), count


def in_threads(work: Callable[[int, int], None], n_pages: int) -> None:
    """Call `work(begin, end)` over `n_pages` in pieces, on every core; a few pages at once here."""
    pool, count = _workers()
    if n_pages <= CHUNK_PAGES // 2 or count == 1:
        work(0, n_pages)
        return
    piece = min(CHUNK_PAGES, -(-n_pages // count))
    futures = [pool.submit(work, begin, min(n_pages, begin + piece)) for begin in range(0, n_pages, piece)]
    for future in futures:
        future.result()


class Loops:
    """The compiled loops. Loading them takes half a second and compiling them more, so a thread of its own does it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: Callable[..., None] | None = None
        self._error: Exception | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to load them, unless that was done before."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._load, name="load loops", daemon=True)
                self._thread.start()

    def ready(self) -> Callable[..., None] | None:
        """`render.classify.classify`, or None as long as it is not there."""
        return self._loop

    def wait(self) -> Callable[..., None]:
        """The same, at any price. Raises what went wrong with them."""
        self.start()
        assert self._thread is not None
        self._thread.join()
        if self._error is not None:
            raise self._error
        assert self._loop is not None
        return self._loop

    def _load(self) -> None:
        try:
            from render.classify import classify  # not above: it loads a compiler

            nothing = np.zeros(0, np.uint64), np.zeros((1, 64), np.uint8), np.zeros(0, np.uint8)
            classify(0, 0, *nothing, entropy_table(), np.zeros((0, 64), np.uint32), np.zeros((0, 2), np.uint32))
            self._loop = classify
        except Exception as error:  # noqa: BLE001 - the shader does without; whoever waits is told
            self._error = error


loops = Loops()
