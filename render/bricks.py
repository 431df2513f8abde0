"""A guest's RAM on the GPU: voxels, a brick a page, and the summaries that make them quick to march and good to read.

Four levels, each a texture that covers the guest's whole box:

- voxels, in one of two layouts that the shaders switch between by template. "texture": rgba8unorm in space, four voxels
  along x a texel, cut along z where one texture would be too large; right for a GPU, whose caches know 3D textures.
  "linear": buffers of pages as they are in RAM, put in place when they are looked at; right in software, where a texel
  written costs more than everything else together, and where not all pages fit the GPU's memory budget: then the
  buffers are a pool of slots, `brick_pages` says which page is in which, and the others are drawn from their cells;
- cells (4^3): rgba8unorm of mean (of what is not zero), share filled, highest byte, representative (the first byte that
  is not zero, from the middle on and around);
- bricks (16^3, a page): rg32uint of filled | mean << 13 | highest << 21 | kind << 29 and entropy | representative << 8,
  and heat, rg32float of when it was written last and how hot it was then;
- blocks (64^3): r32uint, how many of its bricks hold anything | highest byte << 8.

Beside them stand attributes of pages, a texel a brick. What is where on the curve, and which levels have which
resources, is told in `render/curves.py` and `render/brick_levels.py`; how pages get there in `render/brick_upload.py`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import wgpu
from numpy.typing import NDArray

from render import wgsl
from render.attributes import AttributeKind, PageAttribute, PageAttributes
from render.brick_levels import (
    BLOCK_SIDE,
    MAPPABLE,
    MOST_PART_BITS,
    NOT_RESIDENT,
    Layout,
    Levels,
    PageTable,
    Resources,
    VoxelLayout,
    compute_pipeline,
)
from render.brick_upload import HostUpload, ShaderUpload, Written, loops
from render.curves import BRICK_SIDE, CURVES, PAGE_SIZE, Curve, order_for_size
from render.device import adapter_summary, gpu_work
from render.errors import BadPages, OutOfVideoMemory, PageNotResident
from render.heat import NEVER_S, WriteHeat
from render.highlight import Highlight, Index
from render.page_summaries import PageSummaries, unpack_summaries
from render.residency import Residency
from render.timing import pass_clock

__all__ = [
    "BLOCK_SIDE",
    "NEVER_S",
    "NOT_RESIDENT",
    "BrickStore",
    "Change",
    "PageSummaries",
    "SumsUp",
    "VoxelLayout",
]

_LARGEST_BRICK = 512
"""Bricks along a side that fit the nine bits which shaders have for them: 8192 voxels, a RAM of 512 GiB."""
_BRICKS_A_BLOCK = np.uint32(BLOCK_SIDE // BRICK_SIDE)
_FEWEST_SLOTS = 64

SumsUp = Literal["shader", "host"]


@dataclass(frozen=True, slots=True)
class Change:
    """One upload: the corners of its bricks in voxels, (n, 3) uint32, and when they lit up."""

    revision: int
    flashed_s: float
    corners: NDArray[np.uint32]


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
        budget_bytes: int | None = None,
        sums_up: SumsUp | None = None,
    ) -> None:
        """Make room for `size_bytes`, all zero, in the layout that suits the adapter unless one is named.

        budget_bytes: what all of it may take on the GPU; where that is too little for every page only those near
        `focus` have their bytes there. None: no limit.
        sums_up: who sums pages up; what suits the adapter unless it is said.

        Raises CurveError, OutOfVideoMemory, DeviceLost.
        """
        self.device = device
        self.size_bytes = size_bytes
        self.order = order_for_size(size_bytes) if order is None else order
        self.curve = curve.fitted(size_bytes, self.order)
        self.n_pages = -(-size_bytes // PAGE_SIZE)
        self.shape_voxels = self.curve.box_shape(size_bytes, self.order)
        if max(self.shape_voxels) > _LARGEST_BRICK * BRICK_SIDE:
            raise OutOfVideoMemory(size_bytes, "the volume")
        self.clock_s = 0.0
        """The time that written pages are stamped with; whoever draws sets it."""
        self.revision = 0
        """Grows with every change to what the volume shows."""
        self._changes: deque[Change] = deque(maxlen=512)
        bricks, states = self.curve.bricks_from_pages(self.n_pages, self.order)
        self._where = (bricks[:, 2], bricks[:, 1], bricks[:, 0])
        self._states = states.astype(np.uint32) << np.uint32(27)
        self._places = bricks[:, 0] | bricks[:, 1] << np.uint32(9) | bricks[:, 2] << np.uint32(18) | self._states
        self._heat = WriteHeat(self.n_pages)
        self._resources = Resources(device)
        self._layout, self._residency = self._plan(bricks, layout, budget_bytes, sums_up)
        self.layout: VoxelLayout = self._layout.voxels
        self.part_bits = self._layout.part_bits
        self.shape_bricks, self.shape_blocks = self._layout.shape_bricks, self._layout.shape_blocks
        self._attributes = PageAttributes(self._resources, self.shape_bricks, self._where)
        self._highlight = Highlight(self._resources, self.shape_bricks, self._where)
        self._block_stale = np.zeros(self.shape_blocks[::-1], np.bool_)
        with gpu_work("make room for a volume"):
            try:
                self._create()
            except BaseException as error:
                self.destroy()
                if isinstance(error, wgpu.GPUError) and "memory" in str(error).lower():
                    raise OutOfVideoMemory(self.size_bytes, "the volume") from error
                raise
        if self._layout.mappable:
            if sums_up == "host":
                loops.wait()
            else:
                loops.start()

    # ----- making

    def _plan(
        self,
        bricks: NDArray[np.uint32],
        voxels: VoxelLayout | None,
        budget_bytes: int | None,
        sums_up: SumsUp | None,
    ) -> tuple[Layout, Residency | None]:
        is_software = adapter_summary(self.device).is_software
        voxels = voxels or ("linear" if is_software else "texture")
        x, y, z = self.shape_voxels
        shape = (x, y, z)
        fixed = Layout("linear", shape, 0, 0, False).fixed_bytes
        n_slots = self.n_pages
        if budget_bytes is not None and fixed + PAGE_SIZE * self.n_pages > budget_bytes:
            voxels = "linear"
            n_slots = min(self.n_pages, max(_FEWEST_SLOTS, (budget_bytes - fixed) // PAGE_SIZE))
        largest = min(self.device.limits["max-storage-buffer-binding-size"], self.device.limits["max-buffer-size"])
        part_bits = min(MOST_PART_BITS, (largest // PAGE_SIZE).bit_length() - 1)
        mappable = voxels == "linear" and sums_up != "shader" and is_software and MAPPABLE in self.device.features
        residency = Residency(bricks, n_slots) if n_slots < self.n_pages else None
        return Layout(voxels, shape, n_slots, part_bits, mappable), residency

    def _create(self) -> None:
        resources = self._resources
        levels = self._levels = Levels(resources, self._layout, self.size_bytes)
        self.parts, self.part_starts = levels.parts, levels.part_starts
        self.cells, self.bricks, self.heat, self.blocks = levels.cells, levels.bricks, levels.heat, levels.blocks
        self._write_heat()
        self._page_table: PageTable | None = None
        if self.layout == "linear":
            table = self._page_table = PageTable(resources, self._layout, self.curve, self._where)
            self.brick_pages, self.byte_order = table.texture, table.byte_order
            if self._residency is None:
                pages = np.arange(self.n_pages, dtype=np.uint32)
                table.set(pages, pages.astype(np.int64), self._states)
            table.settle()
        self._host = HostUpload(resources, levels, self.curve, self.n_pages) if self._layout.mappable else None
        self._shader: ShaderUpload | None = None
        n_blocks = self._block_stale.size
        self._stale_list = resources.buffer(
            "stale blocks", 4 * (n_blocks + 1), wgpu.BufferUsage.STORAGE | wgpu.BufferUsage.COPY_DST
        )
        self._count, self._count_bindings = compute_pipeline(
            self.device,
            wgsl.compose("blocks_count.wgsl"),
            [
                {"texture": {"sample_type": "uint", "view_dimension": "3d"}},
                {"storage_texture": {"access": "write-only", "format": "r32uint", "view_dimension": "3d"}},
                {"buffer": {"type": "read-only-storage"}},
            ],
            [[self.bricks, self.blocks, self._stale_list]],
        )

    # ----- what is known of it

    @property
    def vram_bytes(self) -> int:
        """All textures and buffers that this store holds on the GPU."""
        return self._resources.n_bytes

    @property
    def resident_pages(self) -> int:
        """How many pages may have their bytes on the GPU now: all, or those that have a slot."""
        return self.n_pages if self._residency is None else self._residency.n_resident

    @property
    def is_pooled(self) -> bool:
        """Whether the memory budget is too small for all pages."""
        return self._residency is not None

    def bricks_of_pages(self, pages: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """Where pages (n,) lie, in bricks: (n, 3)."""
        return np.stack([axis[pages] for axis in self._where[::-1]], axis=1)

    def changes_since(self, revision: int) -> list[Change] | None:
        """What was uploaded after `revision`, oldest first; None if that is longer ago than is remembered."""
        if revision == self.revision:
            return []
        if not self._changes or self._changes[0].revision > revision + 1:
            return None
        return [change for change in self._changes if change.revision > revision]

    # ----- uploading

    def upload(self, pages: NDArray[np.uint32], data: NDArray[np.uint8], *, flash: bool = True) -> None:
        """Show what `pages` now hold: pages (n,) uint32, data (n, 4096) uint8.

        With `flash` they light up and cool down, and get hotter.

        A page may occur once. Raises BadPages, DeviceLost.
        """
        n = len(pages)
        if data.shape != (n, PAGE_SIZE) or data.dtype != np.uint8:
            raise BadPages(f"{n} pages need data of shape ({n}, {PAGE_SIZE}) uint8, not {data.shape} {data.dtype}.")
        if not n:
            return
        if int(pages.max()) >= self.n_pages or int(pages.min()) < 0:
            bad = int(pages.max()) if int(pages.max()) >= self.n_pages else int(pages.min())
            raise BadPages(f"Page {bad:,} was sent to a volume of {self.n_pages:,} pages.")
        data = np.ascontiguousarray(data)
        if data.ctypes.data % 8:  # compiled loops read words
            data = data.copy()
        if self._residency is None:
            slots = pages.astype(np.int64)
        else:
            holds = np.asarray(data.view(np.uint64).any(axis=1))
            slots, moved = self._residency.place(pages.astype(np.uint32), holds)
            assert self._page_table is not None
            self._page_table.set(moved, self._residency.slot[moved].astype(np.int64), self._states[moved])
        heat = self._heat.add(pages, self.clock_s) if flash else None
        with gpu_work("upload written pages"):
            self._put(Written(self._places[pages], slots, data, heat, self.clock_s))
        self._block_stale[tuple(axis[pages] // _BRICKS_A_BLOCK for axis in self._where)] = True
        self.revision += 1
        corners = self.bricks_of_pages(pages) * np.uint32(BRICK_SIDE)
        self._changes.append(Change(self.revision, self.clock_s if flash else NEVER_S, corners))

    def _put(self, written: Written) -> None:
        if self._host is not None and loops.ready() is not None:
            self._host.put(written)
            return
        if self._shader is None:
            self._shader = ShaderUpload(self._resources, self._levels, self.curve, self.n_pages)
        self._shader.put(written)

    def settle(self) -> None:
        """Bring the coarsest level up to date with what was uploaded; cheap, and needed once before a march."""
        if self._page_table is not None:
            with gpu_work("say where pages are"):
                self._page_table.settle()
        z, y, x = np.nonzero(self._block_stale)
        if not len(x):
            return
        stale = np.concatenate([[len(x)], x | y << 9 | z << 18]).astype(np.uint32)
        with gpu_work("summarise the volume"):
            self.device.queue.write_buffer(self._stale_list, 0, stale)
            encoder = self.device.create_command_encoder()
            compute = encoder.begin_compute_pass(timestamp_writes=pass_clock(self.device).writes("summarise"))
            compute.set_pipeline(self._count)
            compute.set_bind_group(0, self._count_bindings[0])
            compute.dispatch_workgroups(-(-len(x) // 64))
            compute.end()
            self.device.queue.submit([encoder.finish()])
        self._block_stale[:] = False

    # ----- residency

    def focus(self, position: NDArray[np.float64] | tuple[float, float, float]) -> None:
        """Say where the eye is, in this volume's voxels; cheap enough for every frame."""
        if self._residency is not None:
            place = np.asarray(position, np.float64)
            if place.shape == (3,) and bool(np.isfinite(place).all()):
                self._residency.focus(place)

    def pages_wanted(self, limit: int) -> NDArray[np.uint32]:
        """Pages near the eye whose bytes should be uploaded, at most `limit`, the nearest first: (n,) uint32."""
        return np.zeros(0, np.uint32) if self._residency is None else self._residency.wanted(limit)

    # ----- heat and attributes

    @property
    def half_life_s(self) -> float:
        """In what time the heat of a page that is no longer written halves.

        Setting it makes of each page's heat what it would be if the page had been written at an even pace all along.
        Raises BadHalfLife.
        """
        return self._heat.half_life_s

    @half_life_s.setter
    def half_life_s(self, half_life_s: float) -> None:
        if half_life_s == self._heat.half_life_s:
            return
        self._heat.set_half_life(half_life_s)
        with gpu_work("change the heat's half-life"):
            self._write_heat()
        self.revision += 1

    def heat_now(self) -> NDArray[np.float32]:
        """What is left of each page's heat, (n_pages,) float32."""
        return self._heat.at(self.clock_s)

    def _write_heat(self) -> None:
        x, y, z = self.shape_bricks
        texels = np.zeros((z, y, x, 2), np.float32)
        texels[..., 0] = NEVER_S
        texels[self._where] = np.stack([self._heat.written_s, self._heat.heat], axis=1)
        self._resources.write(self.heat, texels)

    @property
    def attributes(self) -> tuple[str, ...]:
        """The names of the attributes that pages have."""
        return self._attributes.names

    def attribute(self, name: str) -> PageAttribute:
        """One of them. Raises KeyError."""
        return self._attributes.get(name)

    def set_attribute(
        self,
        name: str,
        values: NDArray[np.generic],
        *,
        kind: AttributeKind = "scalar",
        low: float | None = None,
        high: float | None = None,
        labels: Mapping[int, str] | Sequence[str] | None = None,
        unit: str = "",
        title: str = "",
        palette: str = "",
        logarithmic: bool = False,
    ) -> None:
        """Give every page a value: values (n_pages,) uint8, uint16 or float32; again under the same name to change it.

        low, high: what the ends of a scalar's scale stand for; by default 0 and 255 of bytes, else the least and the
        most there is. labels: what the categories of a categorical one are called, by number. title: what people call
        it (the name). palette: the one that it is shown with unless another is chosen (one for its kind). logarithmic:
        a scalar's scale is log2(1 + value), and begins at 0.

        Raises BadAttribute, DeviceLost.
        """
        with gpu_work("show an attribute of pages"):
            self._attributes.set(name, values, kind, low, high, labels, unit, title, palette, logarithmic=logarithmic)
        self.revision += 1

    def remove_attribute(self, name: str) -> None:
        """Forget one of them; whoever draws it must have stopped. Raises BadAttribute."""
        self._attributes.remove(name)
        self.revision += 1

    # ----- what is lit up

    @property
    def highlight(self) -> Highlight:
        """Which pages are lit up; set by `set_highlights`."""
        return self._highlight

    def set_highlights(self, index: Index | None, colours: NDArray[np.floating] | None = None) -> None:
        """Light pages up in several colours, and let the others dim as the look says.

        index: (n_pages,) uint8, 0 where a page is not lit, else k where highlight k - 1 lights it; None: all is as
        always, and costs nothing. colours: (n, 3), each highlight's in linear light, n <= 255; or (n, 4), with how far
        it takes the place of the colours of bytes, 0 to 1.

        Raises BadPages, DeviceLost.
        """
        with gpu_work("light pages up"):
            self.revision += self._highlight.set(index, colours)

    # ----- reading back

    def read_summaries(self) -> PageSummaries:
        """What the GPU shows of every page as a whole. Waits for the GPU. Raises DeviceLost."""
        x, y, z = self.shape_bricks
        with gpu_work("read the summaries back"):
            raw = self.device.queue.read_texture(
                {"texture": self.bricks}, {"bytes_per_row": 8 * x, "rows_per_image": y}, (x, y, z)
            )
        return unpack_summaries(np.frombuffer(raw, "<u4").reshape(z, y, x, 2)[self._where])

    def read_page(self, page: int) -> NDArray[np.uint8]:
        """What the GPU shows for one page, (4096,) uint8 in address order.

        Slow: for checks. Raises BadPages, PageNotResident, DeviceLost.
        """
        if not 0 <= page < self.n_pages:
            raise BadPages(f"Page {page:,} was asked of a volume of {self.n_pages:,} pages.")
        with gpu_work("read a page back"):
            if self.layout == "linear":
                slot = page if self._residency is None else int(self._residency.slot[page])
                if slot < 0 and self._residency is not None:
                    if self._residency.is_empty(page):
                        return np.zeros(PAGE_SIZE, np.uint8)
                    raise PageNotResident(page)
                part, index = self.parts[slot >> self.part_bits], slot & ((1 << self.part_bits) - 1)
                return np.frombuffer(self.device.queue.read_buffer(part, PAGE_SIZE * index, PAGE_SIZE), np.uint8)
            x, y, z = (BRICK_SIDE * int(self._where[axis][page]) for axis in (2, 1, 0))
            slab = bisect_right(self.part_starts, z) - 1
            raw = self.device.queue.read_texture(
                {"texture": self.parts[slab], "origin": (x // 4, y, z - self.part_starts[slab])},
                {"bytes_per_row": BRICK_SIDE, "rows_per_image": BRICK_SIDE},
                (BRICK_SIDE // 4, BRICK_SIDE, BRICK_SIDE),
            )
        state = int(self._states[page]) >> 27
        content: NDArray[np.uint8] = np.frombuffer(raw, np.uint8)[self.curve.step_tables(4).position[state]]
        return content

    def destroy(self) -> None:
        """Give the video memory back. The store is useless afterwards; a second call does nothing."""
        self._resources.destroy()
        self._attributes.clear()
        self._highlight.forget()
