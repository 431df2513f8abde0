"""A guest's RAM on the GPU: voxels in 3D textures, a brick a page, and the summaries that make them quick to march.

Four levels, each a texture that covers the guest's whole box:

- voxels, in one of two layouts that the shaders switch between by template. "texture": rgba8unorm in space, four voxels
  along x a texel, cut along z where one texture would be too large; right for a GPU, whose caches know 3D textures.
  "linear": buffers of pages as they are in RAM, put in place when they are looked at; right in software, where a texel
  written costs more than everything else together (1,600 pages: 45 ms as a texture, 10 ms linear, on two cores);
- cells (4^3): rgba8unorm of mean (of what is not zero), share filled, highest byte, representative (the first byte that
  is not zero, from the middle on and around);
- bricks (16^3, a page): rg32uint of filled | mean << 13 | highest << 21 | kind << 29 and entropy | representative << 8,
  and heat, rg32float of when it was written last and how hot it was then;
- blocks (64^3): r32uint, how many of its bricks hold anything | highest byte << 8.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from dataclasses import dataclass
from typing import Literal

import numpy as np
import wgpu
from numpy.typing import NDArray

from render import wgsl
from render.content import N_COUNTERS, RANDOM_ENTROPY, Kind, entropy_table
from render.curves import BRICK_SIDE, CURVES, PAGE_SIZE, Curve, order_for_size, table_words
from render.device import adapter_summary, gpu_work
from render.errors import BadPages, OutOfVideoMemory
from render.timing import pass_clock

CELL_SIDE = 4
BLOCK_SIDE = 64

BATCH_PAGES = 4096
"""Pages a dispatch takes: 16 MiB of staging, far under every binding limit, and enough to drown a dispatch's fixed
cost.
"""
SLAB_BYTES = 1 << 30
"""The largest texture asked for: drivers commonly refuse an allocation of 2 GiB or more."""
MAX_PARTS = {"texture": 4, "linear": 32}
_PART_BITS = 15
"""A linear part holds 2^15 pages, 128 MiB: the largest storage buffer that WebGPU lets a shader see by default."""
HALF_LIFE_S = 5.0
"""The half-life of write heat, until another one is set."""
NEVER_S = -1.0e9
"""When a brick that never flashed was written."""

_HOTTEST = 1e6
_TEXEL_BYTES = {"rgba8unorm": 4, "r32uint": 4, "rg32uint": 8, "rg32float": 8}
_SLOT = 256
"""Bytes between the batch's uniforms of one part and the next: WebGPU's alignment of dynamic offsets."""
_BATCH = np.dtype([("now_s", "f4"), ("flash", "u4"), ("first", "u4"), ("part_start", "u4"), ("pad", f"V{_SLOT - 16}")])
_PLACE = np.dtype([("brick", "u4"), ("page", "u4"), ("source", "u4"), ("heat", "f4")])

_TextureUsage = wgpu.TextureUsage


@dataclass(frozen=True, slots=True)
class Change:
    """One upload: the corners of its bricks in voxels, (n, 3) uint32, and when they lit up."""

    revision: int
    flashed_s: float
    corners: NDArray[np.uint32]


VoxelLayout = Literal["texture", "linear"]


@dataclass(frozen=True, slots=True)
class PageSummaries:
    """What the GPU says of each page, (n_pages,) each."""

    filled: NDArray[np.uint16]
    """Bytes that are not zero."""
    mean: NDArray[np.uint8]
    """Their mean."""
    highest: NDArray[np.uint8]
    kind: NDArray[np.uint8]
    """render.content.Kind"""
    entropy: NDArray[np.uint8]
    """255 for 8 bits a byte."""
    representative: NDArray[np.uint8]


class BrickStore:
    """The RAM of one machine on the GPU. Not thread-safe: one thread uploads and draws."""

    def __init__(
        self,
        device: wgpu.GPUDevice,
        size_bytes: int,
        order: int | None = None,
        *,
        curve: Curve = CURVES["hilbert"],
        layout: VoxelLayout | None = None,
    ) -> None:
        """Make room for `size_bytes`, all zero, in the layout that suits the adapter unless one is named.

        Raises CurveError, OutOfVideoMemory, DeviceLost.
        """
        self.device = device
        self.size_bytes = size_bytes
        self.layout: VoxelLayout = layout or ("linear" if adapter_summary(device).is_software else "texture")
        self.order = order_for_size(size_bytes) if order is None else order
        self.curve = curve.fitted(size_bytes, self.order)
        self.part_bits = _PART_BITS
        self.n_pages = -(-size_bytes // PAGE_SIZE)
        self.shape_voxels = self.curve.box_shape(size_bytes, self.order)
        self.shape_bricks = tuple(side // BRICK_SIDE for side in self.shape_voxels)
        self.clock_s = 0.0
        """The time that written pages are stamped with; whoever draws sets it."""
        self.revision = 0
        """Grows with every change to what the volume shows."""
        self._changes: deque[Change] = deque(maxlen=512)
        bricks, states = self.curve.bricks_from_pages(self.n_pages, self.order)
        self._where = (bricks[:, 2], bricks[:, 1], bricks[:, 0])
        self._written_s = np.full(self.n_pages, NEVER_S, np.float32)
        self._heat = np.zeros(self.n_pages, np.float32)
        self._half_life_s = HALF_LIFE_S
        self._places = bricks[:, 0] | bricks[:, 1] << 9 | bricks[:, 2] << 18 | states.astype(np.uint32) << 27
        self._blocks_stale = True
        self._resources: list[wgpu.GPUTexture | wgpu.GPUBuffer] = []
        with gpu_work("make room for a volume"):
            try:
                self._create()
            except BaseException as error:
                self.destroy()
                if isinstance(error, wgpu.GPUError) and "memory" in str(error).lower():
                    raise OutOfVideoMemory(self.size_bytes, "the volume") from error
                raise

    # ----- making

    def _create(self) -> None:
        x, y, z = self.shape_voxels
        sampled, stored = _TextureUsage.TEXTURE_BINDING, _TextureUsage.STORAGE_BINDING
        if self.layout == "texture":
            depth = max(BRICK_SIDE, min(z, SLAB_BYTES // (x * y) // BRICK_SIDE * BRICK_SIDE))
            self.part_starts = tuple(range(0, z, depth))
            self.parts: tuple[wgpu.GPUTexture | wgpu.GPUBuffer, ...] = tuple(
                self._texture(
                    "voxels",
                    (x // 4, y, min(depth, z - start)),
                    "rgba8unorm",
                    sampled | stored | _TextureUsage.COPY_SRC,
                )
                for start in self.part_starts
            )
        else:
            self.part_starts = tuple(range(0, self.n_pages, 1 << self.part_bits))
            self.parts = tuple(
                self._buffer(
                    PAGE_SIZE * min(1 << self.part_bits, self.n_pages - start),
                    wgpu.BufferUsage.STORAGE | wgpu.BufferUsage.COPY_SRC,
                )
                for start in self.part_starts
            )
        if len(self.parts) > MAX_PARTS[self.layout]:
            raise OutOfVideoMemory(self.size_bytes, "the volume")
        self.cells = self._texture(
            "cells", (x // 4, y // 4, z // 4), "rgba8unorm", sampled | stored | _TextureUsage.COPY_SRC
        )
        self.bricks = self._texture("bricks", self.shape_bricks, "rg32uint", sampled | stored | _TextureUsage.COPY_SRC)
        self.heat = self._texture(
            "heat", self.shape_bricks, "rg32float", sampled | stored | _TextureUsage.COPY_DST | _TextureUsage.COPY_SRC
        )
        self.shape_blocks = tuple(-(-side // BLOCK_SIDE) for side in self.shape_voxels)
        self.blocks = self._texture("blocks", self.shape_blocks, "r32uint", sampled | stored | _TextureUsage.COPY_SRC)
        self._write_heat()
        if self.layout == "linear":
            self._place_pages()

        usage = wgpu.BufferUsage
        batch_pages = min(BATCH_PAGES, self.n_pages)
        self._batch = self._buffer(_SLOT * len(self.parts), usage.UNIFORM | usage.COPY_DST)
        self._ids = self._buffer(_PLACE.itemsize * batch_pages, usage.STORAGE | usage.COPY_DST)
        self._data = self._buffer(PAGE_SIZE * batch_pages, usage.STORAGE | usage.COPY_DST)
        self._tables = self._table(table_words(self.curve))
        self._entropy_table = self._table(entropy_table())

        self._update, self._update_bindings = self._update_pipeline()
        self._count, self._count_bindings = self._count_pipeline()

    def _texture(self, label: str, size: tuple[int, ...], texture_format: str, usage: int) -> wgpu.GPUTexture:
        texture = self.device.create_texture(label=label, size=size, format=texture_format, dimension="3d", usage=usage)
        self._resources.append(texture)
        return texture

    def _buffer(self, size: int, usage: int) -> wgpu.GPUBuffer:
        buffer = self.device.create_buffer(size=size, usage=usage)
        self._resources.append(buffer)
        return buffer

    def _table(self, words: NDArray[np.uint32]) -> wgpu.GPUBuffer:
        buffer = self._buffer(words.nbytes, wgpu.BufferUsage.STORAGE | wgpu.BufferUsage.COPY_DST)
        self.device.queue.write_buffer(buffer, 0, words)
        return buffer

    def _write_heat(self) -> None:
        """Bring all of the GPU's heat to what is known here."""
        x, y, z = self.shape_bricks
        heat = np.zeros((z, y, x, 2), np.float32)
        heat[..., 0] = NEVER_S
        heat[self._where] = np.stack([self._written_s, self._heat], axis=1)
        self.device.queue.write_texture(
            {"texture": self.heat}, heat, {"bytes_per_row": 8 * x, "rows_per_image": y}, (x, y, z)
        )

    def _place_pages(self) -> None:
        x, y, z = self.shape_bricks
        self.brick_pages = self._texture(
            "pages", (x, y, z), "r32uint", _TextureUsage.TEXTURE_BINDING | _TextureUsage.COPY_DST
        )
        pages = np.zeros((z, y, x), np.uint32)
        pages[self._where] = np.arange(self.n_pages, dtype=np.uint32) | self._places & np.uint32(31 << 27)
        self.device.queue.write_texture(
            {"texture": self.brick_pages}, pages, {"bytes_per_row": 4 * x, "rows_per_image": y}, (x, y, z)
        )
        order = self.curve.step_tables(4).address.ravel().astype("<u2").view("<u4")
        self.byte_order = self._buffer(order.nbytes, wgpu.BufferUsage.STORAGE | wgpu.BufferUsage.COPY_DST)
        self.device.queue.write_buffer(self.byte_order, 0, order)

    def _update_pipeline(self) -> tuple[wgpu.GPUComputePipeline, list[wgpu.GPUBindGroup]]:
        """The update's pipeline, and its bindings for each part."""
        code = wgsl.compose(
            "bricks_update.wgsl",
            curve_binding=0,
            n_states=self.curve.n_states,
            layout=self.layout,
            n_counters=N_COUNTERS,
            random_entropy=RANDOM_ENTROPY,
            kinds=Kind,
        )
        read: dict[str, object] = {"buffer": {"type": "read-only-storage"}}
        uniform: dict[str, object] = {"buffer": {"type": "uniform", "has_dynamic_offset": True}}
        kinds = [read, uniform, read, read]
        for output in (self.bricks, self.heat, self.cells, self.parts[0]):
            if isinstance(output, wgpu.GPUBuffer):
                kinds.append({"buffer": {"type": "storage"}})
            else:
                storage = {"access": "write-only", "format": output.format, "view_dimension": "3d"}
                kinds.append({"storage_texture": storage})
        kinds.append(read)
        batch = {"buffer": self._batch, "offset": 0, "size": 16}
        common = [self._tables, batch, self._ids, self._data, self.bricks, self.heat, self.cells]
        return self._pipeline(code, kinds, [[*common, part, self._entropy_table] for part in self.parts])

    def _count_pipeline(self) -> tuple[wgpu.GPUComputePipeline, list[wgpu.GPUBindGroup]]:
        kinds: list[dict[str, object]] = [
            {"texture": {"sample_type": "uint", "view_dimension": "3d"}},
            {"storage_texture": {"access": "write-only", "format": "r32uint", "view_dimension": "3d"}},
        ]
        return self._pipeline(wgsl.compose("blocks_count.wgsl"), kinds, [[self.bricks, self.blocks]])

    def _pipeline(
        self, code: str, kinds: list[dict[str, object]], groups: list[list[object]]
    ) -> tuple[wgpu.GPUComputePipeline, list[wgpu.GPUBindGroup]]:
        """A compute pipeline with bindings of `kinds`, and a bind group for each list of resources in `groups`."""
        module = self.device.create_shader_module(code=code)
        layout = self.device.create_bind_group_layout(
            entries=[{"binding": i, "visibility": wgpu.ShaderStage.COMPUTE, **kind} for i, kind in enumerate(kinds)]
        )
        pipeline = self.device.create_compute_pipeline(
            layout=self.device.create_pipeline_layout(bind_group_layouts=[layout]),
            compute={"module": module, "entry_point": "main"},
        )
        bindings = [
            self.device.create_bind_group(
                layout=layout,
                entries=[{"binding": i, "resource": _bindable(resource)} for i, resource in enumerate(resources)],
            )
            for resources in groups
        ]
        return pipeline, bindings

    # ----- using

    @property
    def vram_bytes(self) -> int:
        """All textures and buffers that this store holds on the GPU."""
        return sum(_size_of(resource) for resource in self._resources)

    def upload(self, pages: NDArray[np.uint32], data: NDArray[np.uint8], *, flash: bool = True) -> None:
        """Show what `pages` now hold: pages (n,) uint32, data (n, 4096) uint8.

        With `flash` they light up and cool down.

        A page may occur once. Raises BadPages, DeviceLost.
        """
        n = len(pages)
        if data.shape != (n, PAGE_SIZE) or data.dtype != np.uint8:
            raise BadPages(f"{n} pages need data of shape ({n}, {PAGE_SIZE}) uint8, not {data.shape} {data.dtype}.")
        if not n:
            return
        if int(pages.max()) >= self.n_pages:
            raise BadPages(f"Page {int(pages.max()):,} was sent to a volume of {self.n_pages:,} pages.")
        places = np.zeros(n, _PLACE)
        places["brick"], places["page"] = self._places[pages], pages
        if flash:
            places["heat"] = self._add_heat(pages)
        data = np.ascontiguousarray(data)
        with gpu_work("upload written pages"):
            for first in range(0, n, BATCH_PAGES):
                self._upload_batch(places[first : first + BATCH_PAGES], data[first : first + BATCH_PAGES], flash)
        self._blocks_stale = True
        self.revision += 1
        corners = np.stack([self._places[pages] >> shift & 511 for shift in (0, 9, 18)], axis=1) * BRICK_SIDE
        self._changes.append(Change(self.revision, self.clock_s if flash else NEVER_S, corners))

    @property
    def half_life_s(self) -> float:
        """In what time the heat of a page that is no longer written halves.

        Setting it makes of each page's heat what it would be if the page had been written at an even pace all along.
        """
        return self._half_life_s

    @half_life_s.setter
    def half_life_s(self, half_life_s: float) -> None:
        if not 0.0 < half_life_s < math.inf:
            raise ValueError(f"A half-life of {half_life_s} s makes no sense; it is a finite time above 0.")
        hot = self._heat > 1.0
        # At an even pace heat is the sum of a geometric series, 1 / (1 - q), and q goes with the half-life's inverse.
        q = np.log1p(-1.0 / self._heat[hot].astype(np.float64)) * (self._half_life_s / half_life_s)
        self._heat[hot] = np.minimum(-1.0 / np.expm1(q), _HOTTEST)
        self._half_life_s = half_life_s
        with gpu_work("change the heat's half-life"):
            self._write_heat()
        self.revision += 1

    def _add_heat(self, pages: NDArray[np.uint32]) -> NDArray[np.float32]:
        """The pages' heat with a write at this moment, (n,) float32."""
        ago_s = np.maximum(self.clock_s - self._written_s[pages].astype(np.float64), 0.0)
        heat = (1.0 + self._heat[pages] * np.exp2(-ago_s / self._half_life_s)).astype(np.float32)
        self._heat[pages] = heat
        self._written_s[pages] = self.clock_s
        return heat

    def _upload_batch(self, places: NDArray[np.void], data: NDArray[np.uint8], flash: bool) -> None:
        places["source"] = np.arange(len(places))
        counts = np.array([len(places)])
        if len(self.parts) > 1:
            at = places["page"] if self.layout == "linear" else (places["brick"] >> 18 & 511) * BRICK_SIDE
            part = np.searchsorted(self.part_starts, at, side="right") - 1
            places = places[np.argsort(part, kind="stable")]
            counts = np.bincount(part, minlength=len(self.parts))
        slots = np.zeros(len(self.parts), _BATCH)
        slots["now_s"], slots["flash"], slots["part_start"] = self.clock_s, flash, self.part_starts
        slots["first"] = np.cumsum(counts) - counts
        queue = self.device.queue
        queue.write_buffer(self._batch, 0, slots)
        queue.write_buffer(self._ids, 0, places)
        queue.write_buffer(self._data, 0, data)
        encoder = self.device.create_command_encoder()
        compute = encoder.begin_compute_pass(timestamp_writes=pass_clock(self.device).writes("upload"))
        compute.set_pipeline(self._update)
        for index in np.flatnonzero(counts):
            compute.set_bind_group(0, self._update_bindings[index], [_SLOT * int(index)])
            compute.dispatch_workgroups(int(counts[index]))
        compute.end()
        queue.submit([encoder.finish()])

    def changes_since(self, revision: int) -> list[Change] | None:
        """What was uploaded after `revision`, oldest first; None if that is longer ago than is remembered."""
        if revision == self.revision:
            return []
        if not self._changes or self._changes[0].revision > revision + 1:
            return None
        return [change for change in self._changes if change.revision > revision]

    def settle(self) -> None:
        """Bring the coarsest level up to date with what was uploaded; cheap, and needed once before a march."""
        if not self._blocks_stale:
            return
        with gpu_work("summarise the volume"):
            encoder = self.device.create_command_encoder()
            compute = encoder.begin_compute_pass(timestamp_writes=pass_clock(self.device).writes("summarise"))
            compute.set_pipeline(self._count)
            compute.set_bind_group(0, self._count_bindings[0])
            compute.dispatch_workgroups(*(-(-side // 4) for side in self.shape_blocks))
            compute.end()
            self.device.queue.submit([encoder.finish()])
        self._blocks_stale = False

    def read_summaries(self) -> PageSummaries:
        """What the GPU shows of every page as a whole. Waits for the GPU. Raises DeviceLost."""
        x, y, z = self.shape_bricks
        with gpu_work("read the summaries back"):
            raw = self.device.queue.read_texture(
                {"texture": self.bricks}, {"bytes_per_row": 8 * x, "rows_per_image": y}, (x, y, z)
            )
        packed, more = np.frombuffer(raw, "<u4").reshape(z, y, x, 2)[self._where].T
        return PageSummaries(
            filled=(packed & 8191).astype(np.uint16),
            mean=(packed >> 13).astype(np.uint8),
            highest=(packed >> 21).astype(np.uint8),
            kind=(packed >> 29).astype(np.uint8),
            entropy=more.astype(np.uint8),
            representative=(more >> 8).astype(np.uint8),
        )

    def read_page(self, page: int) -> NDArray[np.uint8]:
        """What the GPU shows for one page, (4096,) uint8 in address order.

        Slow: for checks. Raises BadPages, DeviceLost.
        """
        if not 0 <= page < self.n_pages:
            raise BadPages(f"Page {page:,} was asked of a volume of {self.n_pages:,} pages.")
        with gpu_work("read a page back"):
            if self.layout == "linear":
                part, index = self.parts[page >> self.part_bits], page & ((1 << self.part_bits) - 1)
                return np.frombuffer(self.device.queue.read_buffer(part, PAGE_SIZE * index, PAGE_SIZE), np.uint8)
            place = int(self._places[page])
            x, y, z = (BRICK_SIDE * (place >> shift & 511) for shift in (0, 9, 18))
            slab = bisect_right(self.part_starts, z) - 1
            raw = self.device.queue.read_texture(
                {"texture": self.parts[slab], "origin": (x // 4, y, z - self.part_starts[slab])},
                {"bytes_per_row": BRICK_SIDE, "rows_per_image": BRICK_SIDE},
                (BRICK_SIDE // 4, BRICK_SIDE, BRICK_SIDE),
            )
        content: NDArray[np.uint8] = np.frombuffer(raw, np.uint8)[self.curve.step_tables(4).position[place >> 27]]
        return content

    def destroy(self) -> None:
        """Give the video memory back. The store is useless afterwards; a second call does nothing."""
        for resource in self._resources:
            resource.destroy()
        self._resources.clear()


def _bindable(resource: object) -> object:
    if isinstance(resource, wgpu.GPUBuffer):
        return {"buffer": resource, "offset": 0, "size": resource.size}
    return resource.create_view() if isinstance(resource, wgpu.GPUTexture) else resource


def _size_of(resource: wgpu.GPUTexture | wgpu.GPUBuffer) -> int:
    if isinstance(resource, wgpu.GPUBuffer):
        return int(resource.size)
    width, height, depth = resource.size
    return _TEXEL_BYTES[resource.format] * int(width) * int(height) * int(depth)
