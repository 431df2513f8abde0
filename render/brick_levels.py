"""The textures and buffers of one brick store: made together, counted together, given back together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import wgpu
from numpy.typing import NDArray

from render.curves import BRICK_SIDE, PAGE_SIZE, Curve
from render.errors import OutOfVideoMemory
from render.resource_size import resource_bytes

BLOCK_SIDE = 64
SLAB_BYTES = 1 << 30
"""The largest texture asked for: drivers commonly refuse an allocation of 2 GiB or more."""
MAX_PARTS = {"texture": 4, "linear": 32}
MOST_PART_BITS = 18
"""A linear part holds 2^18 pages, 1 GiB, or as many as the device lets a shader see (lavapipe: 2^15, 128 MiB)."""
NOT_RESIDENT = 0xFFFF_FFFF
"""What `brick_pages` says of a page whose bytes are not on the GPU, and of bricks that are no page."""

VoxelLayout = Literal["texture", "linear"]
MAPPABLE = "mappable-primary-buffers"
"""The feature of devices whose processor can write straight into what shaders read."""

_TextureUsage = wgpu.TextureUsage
_BufferUsage = wgpu.BufferUsage


class Resources:
    """Textures and buffers with one owner."""

    def __init__(self, device: wgpu.GPUDevice) -> None:
        self.device = device
        self._held: list[wgpu.GPUTexture | wgpu.GPUBuffer] = []

    @property
    def n_bytes(self) -> int:
        """What they take on the GPU."""
        return sum(resource_bytes(resource) for resource in self._held)

    def volume(self, label: str, size: tuple[int, int, int], texture_format: str, usage: int) -> wgpu.GPUTexture:
        """A 3D texture."""
        texture = self.device.create_texture(
            label=label, size=size, format=texture_format, dimension="3d", usage=_TextureUsage.TEXTURE_BINDING | usage
        )
        self._held.append(texture)
        return texture

    def buffer(self, label: str, size: int, usage: int) -> wgpu.GPUBuffer:
        """A buffer."""
        buffer = self.device.create_buffer(label=label, size=size, usage=usage)
        self._held.append(buffer)
        return buffer

    def table(self, label: str, words: NDArray[np.uint32]) -> wgpu.GPUBuffer:
        """A buffer of constants."""
        buffer = self.buffer(label, words.nbytes, _BufferUsage.STORAGE | _BufferUsage.COPY_DST)
        self.device.queue.write_buffer(buffer, 0, words)
        return buffer

    def write(self, texture: wgpu.GPUTexture, texels: NDArray[Any], origin_z: int = 0) -> None:
        """Write layers of a 3D texture: texels (depth, height, width[, channels])."""
        depth, height, width = texels.shape[:3]
        self.device.queue.write_texture(
            {"texture": texture, "origin": (0, 0, origin_z)},
            np.ascontiguousarray(texels),
            {"bytes_per_row": texels[0, 0].nbytes, "rows_per_image": height},
            (width, height, depth),
        )

    def give_back(self, resource: wgpu.GPUTexture | wgpu.GPUBuffer) -> None:
        """Destroy one of them now."""
        self._held.remove(resource)
        resource.destroy()

    def destroy(self) -> None:
        """Destroy all of them."""
        for resource in self._held:
            resource.destroy()
        self._held.clear()


@dataclass(frozen=True, slots=True)
class Layout:
    """How many voxels and pages there are, and where the voxels live."""

    voxels: VoxelLayout
    shape_voxels: tuple[int, int, int]
    n_slots: int
    """Pages for which the linear layout has room."""
    part_bits: int
    """A linear part holds 2^part_bits pages."""
    mappable: bool
    """The processor writes into the linear parts itself."""

    @property
    def shape_bricks(self) -> tuple[int, int, int]:
        """Along x, y and z."""
        x, y, z = self.shape_voxels
        return x // BRICK_SIDE, y // BRICK_SIDE, z // BRICK_SIDE

    @property
    def shape_blocks(self) -> tuple[int, int, int]:
        """Along x, y and z; the last ones may reach beyond the box."""
        x, y, z = self.shape_voxels
        return -(-x // BLOCK_SIDE), -(-y // BLOCK_SIDE), -(-z // BLOCK_SIDE)

    @property
    def fixed_bytes(self) -> int:
        """What the levels take without the voxels: a cell has four bytes, a brick 8 + 8 + 4, a block four."""
        x, y, z = self.shape_voxels
        cells, bricks = x * y * z // 64, x * y * z // BRICK_SIDE**3
        blocks = self.shape_blocks[0] * self.shape_blocks[1] * self.shape_blocks[2]
        return 4 * cells + 20 * bricks + 4 * blocks


class Levels:
    """The volume's levels as textures and, in the linear layout, buffers."""

    def __init__(self, resources: Resources, layout: Layout, size_bytes: int) -> None:
        """Raises OutOfVideoMemory where there would be too many parts."""
        sampled, stored = _TextureUsage.TEXTURE_BINDING, _TextureUsage.STORAGE_BINDING
        written = sampled | stored | _TextureUsage.COPY_SRC | _TextureUsage.COPY_DST
        x, y, z = layout.shape_voxels
        self.layout = layout
        self.part_starts: tuple[int, ...]
        self.parts: tuple[wgpu.GPUTexture | wgpu.GPUBuffer, ...]
        if layout.voxels == "texture":
            depth = max(BRICK_SIDE, min(z, SLAB_BYTES // (x * y) // BRICK_SIDE * BRICK_SIDE))
            self.part_starts = tuple(range(0, z, depth))
        else:
            self.part_starts = tuple(range(0, layout.n_slots, 1 << layout.part_bits))
        if len(self.part_starts) > MAX_PARTS[layout.voxels]:
            raise OutOfVideoMemory(size_bytes, "the volume")
        if layout.voxels == "texture":
            self.parts = tuple(
                resources.volume(f"voxels {start}", (x // 4, y, min(depth, z - start)), "rgba8unorm", written)
                for start in self.part_starts
            )
        else:
            usage = _BufferUsage.STORAGE | _BufferUsage.COPY_SRC
            usage |= _BufferUsage.MAP_WRITE if layout.mappable else _BufferUsage.COPY_DST
            self.parts = tuple(
                resources.buffer(
                    f"voxels {start}", PAGE_SIZE * min(1 << layout.part_bits, layout.n_slots - start), usage
                )
                for start in self.part_starts
            )
        self.cells = resources.volume("cells", (x // 4, y // 4, z // 4), "rgba8unorm", written)
        self.bricks = resources.volume("bricks", layout.shape_bricks, "rg32uint", written)
        self.heat = resources.volume("heat", layout.shape_bricks, "rg32float", written)
        self.blocks = resources.volume("blocks", layout.shape_blocks, "r32uint", written)

    def part_of(self, slots: NDArray[np.int64], z_voxels: NDArray[np.int64]) -> NDArray[np.intp]:
        """Which part holds each page: by its slot where parts are linear, else by its height."""
        at = slots if self.layout.voxels == "linear" else z_voxels
        return np.searchsorted(self.part_starts, at, side="right") - 1


class PageTable:
    """Where the bytes of each brick are in the linear layout, as the marcher reads it."""

    def __init__(
        self, resources: Resources, layout: Layout, curve: Curve, where: tuple[NDArray[np.uint32], ...]
    ) -> None:
        """`where`: each page's brick as (z, y, x), (n_pages,) each."""
        self._resources = resources
        self.texture = resources.volume("pages", layout.shape_bricks, "r32uint", _TextureUsage.COPY_DST)
        order = curve.step_tables(4).address.ravel().astype("<u2").view("<u4")
        self.byte_order = resources.table("byte order", order)
        x, y, z = layout.shape_bricks
        self._texels = np.full((z, y, x), NOT_RESIDENT, np.uint32)
        self._where = where
        self._stale_z: tuple[int, int] | None = (0, z)

    def set(self, pages: NDArray[np.uint32], slots: NDArray[np.int64], states: NDArray[np.uint32]) -> None:
        """Say in which slots pages (n,) are; -1: in none. `states`: each page's state on the curve, at bit 27."""
        at = tuple(axis[pages] for axis in self._where)
        self._texels[at] = np.where(slots < 0, NOT_RESIDENT, slots.astype(np.uint32) | states)
        if len(pages):
            low, high = int(at[0].min()), int(at[0].max()) + 1
            old = self._stale_z or (low, high)
            self._stale_z = min(low, old[0]), max(high, old[1])

    def settle(self) -> None:
        """Bring the GPU's copy up to date."""
        if self._stale_z is not None:
            low, high = self._stale_z
            self._resources.write(self.texture, self._texels[low:high], low)
            self._stale_z = None


def bindable(resource: object) -> object:
    """A resource as a bind group takes it: buffers whole, textures through their view."""
    if isinstance(resource, wgpu.GPUBuffer):
        return {"buffer": resource, "offset": 0, "size": resource.size}
    return resource.create_view() if isinstance(resource, wgpu.GPUTexture) else resource


def compute_pipeline(
    device: wgpu.GPUDevice, code: str, kinds: Sequence[dict[str, object]], groups: Sequence[Sequence[object]]
) -> tuple[wgpu.GPUComputePipeline, list[wgpu.GPUBindGroup]]:
    """A compute pipeline with bindings of `kinds`, and a bind group for each list of resources in `groups`."""
    module = device.create_shader_module(code=code)
    layout = device.create_bind_group_layout(
        entries=[{"binding": i, "visibility": wgpu.ShaderStage.COMPUTE, **kind} for i, kind in enumerate(kinds)]
    )
    pipeline = device.create_compute_pipeline(
        layout=device.create_pipeline_layout(bind_group_layouts=[layout]),
        compute={"module": module, "entry_point": "main"},
    )
    bindings = [
        device.create_bind_group(
            layout=layout,
            entries=[{"binding": i, "resource": bindable(resource)} for i, resource in enumerate(resources)],
        )
        for resources in groups
    ]
    return pipeline, bindings
