"""The marcher: one ray a pixel through a brick store, in an own pass into colour, depth and voxel targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import wgpu
from numpy.typing import NDArray

from render import wgsl
from render.bricks import BrickStore
from render.camera import Basis, Box
from render.content import Kind
from render.look import Look, Mode
from render.palettes import N_KINDS
from render.timing import pass_clock

TARGET_FORMATS = {"color": "rgba16float", "depth": "r32float", "voxel": "rgba16uint"}
Rect = tuple[int, int, int, int]
"""x, y, width, height in pixels."""

_UNIFORM = np.dtype(
    [
        ("camera_voxel", "i4", 3), ("part_bits", "u4"),
        ("camera_part", "f4", 3), ("clear_depth", "f4"),
        ("right", "f4", 3), ("now_s", "f4"),
        ("up", "f4", 3), ("pixel_voxels", "f4"),
        ("forward", "f4", 3), ("opacity", "f4"),
        ("shape", "i4", 3), ("detail", "f4"),
        ("resolution", "f4", 2), ("jitter", "f4", 2),
        ("light", "f4", 3), ("flash_s", "f4"),
        ("flash_color", "f4", 3), ("glow", "f4"),
        ("part_starts", "i4", 4),
        ("open_low", "i4", 3), ("pad0", "i4"),
        ("open_high", "i4", 3), ("pad1", "i4"),
        ("open_side", "i4", 3), ("pad2", "i4"),
        ("clip_low", "i4", 3), ("pad3", "i4"),
        ("clip_high", "i4", 3), ("pad4", "i4"),
    ]
)  # fmt: skip
"""`March` in `shaders/march_common.wgsl`, with WGSL's own alignment."""


@dataclass(frozen=True, slots=True)
class Eye:
    """Where rays come from and how they spread, in the volume's own voxels."""

    basis: Basis
    half_extent: tuple[float, float]
    clear_depth: float
    """Nothing nearer than this is shown."""
    opening: Box | None = None
    """A box, in voxels, that is laid open: what stands between it and the eye is cut away."""
    clip: Box | None = None
    """A box, in voxels, outside of which nothing is shown."""


@dataclass(frozen=True, slots=True)
class Shine:
    """What a look needs besides itself to be drawn."""

    density: float
    """Extinction of a voxel's length of the most opaque scalar."""
    glow: float
    flash_s: float
    flash_color: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Targets:
    """What a march writes into. Views of textures of one size, or of one pixel."""

    size: tuple[int, int]
    color: wgpu.GPUTextureView
    depth: wgpu.GPUTextureView
    voxel: wgpu.GPUTextureView


@dataclass(frozen=True, slots=True)
class Picked:
    """What one ray met."""

    voxel: tuple[int, int, int]
    depth: float


class Marcher:
    """The pipelines and bindings by which one brick store is marched."""

    def __init__(self, store: BrickStore, palette: wgpu.GPUTexture) -> None:
        self.store = store
        self.device = store.device
        self.timed_as = "march"
        """What the march is called where passes are timed."""
        usage = wgpu.BufferUsage
        self._uniform = self.device.create_buffer(size=_UNIFORM.itemsize, usage=usage.UNIFORM | usage.COPY_DST)
        self._sampler = self.device.create_sampler(mag_filter="linear", min_filter="linear")
        self._layout, self._bindings = self._bind(palette)
        self._pipelines: dict[tuple[Mode, bool, bool], wgpu.GPURenderPipeline] = {}

    def set_palette(self, palette: wgpu.GPUTexture) -> None:
        """Show the bytes in other colours."""
        self._layout, self._bindings = self._bind(palette)

    def _bind(self, palette: wgpu.GPUTexture) -> tuple[wgpu.GPUBindGroupLayout, wgpu.GPUBindGroup]:
        store = self.store
        entries: list[tuple[dict[str, object], object]] = [
            ({"buffer": {"type": "uniform"}}, _whole(self._uniform)),
            (_texture("uint"), store.bricks.create_view()),
            (_texture("unfilterable-float"), store.heat.create_view()),
            (_texture("uint"), store.blocks.create_view()),
            (_texture("float"), store.cells.create_view()),
            (_texture("unfilterable-float", "2d"), palette.create_view()),
            ({"sampler": {"type": "filtering"}}, self._sampler),
        ]
        if store.layout == "linear":
            entries += [
                (_texture("uint"), store.brick_pages.create_view()),
                ({"buffer": {"type": "read-only-storage"}}, _whole(store.byte_order)),
            ]
        for part in store.parts:
            if isinstance(part, wgpu.GPUBuffer):
                entries.append(({"buffer": {"type": "read-only-storage"}}, _whole(part)))
            else:
                entries.append((_texture("unfilterable-float"), part.create_view()))
        layout = self.device.create_bind_group_layout(
            entries=[
                {"binding": i, "visibility": wgpu.ShaderStage.FRAGMENT, **kind} for i, (kind, _) in enumerate(entries)
            ]
        )
        resources = [{"binding": i, "resource": resource} for i, (_, resource) in enumerate(entries)]
        return layout, self.device.create_bind_group(layout=layout, entries=resources)

    @cached_property
    def _max_steps(self) -> int:
        # A ray crosses at most one voxel face of each axis a voxel: no walk is longer, so the loop is bounded by this.
        return sum(self.store.shape_voxels) + 8

    def _pipeline(self, mode: Mode, with_hit: bool, cut: bool) -> wgpu.GPURenderPipeline:
        key = (mode, with_hit, cut)
        if key not in self._pipelines:
            code = march_code(mode, self.store.layout, len(self.store.parts), self._max_steps, with_hit, cut)
            module = self.device.create_shader_module(code=code)
            # Later samples of the same picture are averaged in: new = old + (sample - old) * share.
            mix = {"operation": "add", "src_factor": "constant", "dst_factor": "one-minus-constant"}
            targets: list[dict[str, object]] = [{"format": TARGET_FORMATS["color"]}]
            if with_hit:
                targets += [{"format": TARGET_FORMATS["depth"]}, {"format": TARGET_FORMATS["voxel"]}]
            else:
                targets[0]["blend"] = {"color": mix, "alpha": mix}
            self._pipelines[key] = self.device.create_render_pipeline(
                layout=self.device.create_pipeline_layout(bind_group_layouts=[self._layout]),
                vertex={"module": module, "entry_point": "vertex"},
                primitive={"topology": "triangle-list"},
                fragment={"module": module, "entry_point": "fragment", "targets": targets},
            )
        return self._pipelines[key]

    def _write_uniform(
        self,
        eye: Eye,
        shine: Shine,
        resolution: tuple[int, int],
        jitter: tuple[float, float],
        pixel_height: int,
        detail: float,
    ) -> None:
        store = self.store
        data = np.zeros(1, _UNIFORM)
        whole = np.floor(eye.basis.position)
        data["camera_voxel"] = np.clip(whole, -(2**30), 2**30)
        data["camera_part"] = eye.basis.position - whole
        data["part_bits"] = store.part_bits
        data["clear_depth"] = max(eye.clear_depth, 1e-3)
        data["right"] = eye.basis.right * eye.half_extent[0]
        data["up"] = eye.basis.up * eye.half_extent[1]
        data["forward"] = eye.basis.forward
        data["now_s"] = store.clock_s
        data["pixel_voxels"] = 2 * eye.half_extent[1] / pixel_height
        data["opacity"], data["glow"], data["detail"] = shine.density, shine.glow, detail
        data["shape"] = store.shape_voxels
        data["resolution"], data["jitter"] = resolution, jitter
        # The light stands over the viewer's left shoulder.
        light = -0.55 * eye.basis.forward - 0.45 * eye.basis.right + 0.7 * eye.basis.up
        data["light"] = light / np.linalg.norm(light)
        data["flash_s"], data["flash_color"] = shine.flash_s, shine.flash_color
        if eye.opening is not None:
            low, high = (np.array(corner) for corner in eye.opening)
            data["open_low"], data["open_high"] = np.floor(low), np.ceil(high)
            data["open_side"] = np.where(eye.basis.forward <= 0, 1, -1)
        data["clip_low"], data["clip_high"] = self._clip(eye)
        if store.layout == "texture":
            data["part_starts"][0, : len(store.part_starts)] = store.part_starts
        self.device.queue.write_buffer(self._uniform, 0, data)

    def march(
        self,
        targets: Targets,
        eye: Eye,
        look: Look,
        shine: Shine,
        rects: Sequence[Rect],
        *,
        sample: int,
        jitter: tuple[float, float],
        pixel_height: int,
    ) -> None:
        """March the pixels of `rects`.

        Sample 0 replaces what is there and finds depth and voxel; later ones are averaged in. `pixel_height` is the
        height of the final picture, which decides how much detail is worth while.
        """
        self._write_uniform(eye, shine, targets.size, jitter, pixel_height, 1.0)
        encoder = self.device.create_command_encoder()
        self._record(encoder, targets, look.mode, sample, rects, self._is_cut(eye))
        self.device.queue.submit([encoder.finish()])

    def _record(
        self,
        encoder: wgpu.GPUCommandEncoder,
        targets: Targets,
        mode: Mode,
        sample: int,
        rects: Sequence[Rect],
        cut: bool,
    ) -> None:
        views = [targets.color] if sample else [targets.color, targets.depth, targets.voxel]
        attachments = [
            {"view": view, "load_op": "load", "store_op": "store", "clear_value": (0, 0, 0, 0), "resolve_target": None}
            for view in views
        ]
        clock = pass_clock(self.device)
        render = encoder.begin_render_pass(color_attachments=attachments, timestamp_writes=clock.writes(self.timed_as))
        render.set_pipeline(self._pipeline(mode, sample == 0, cut))
        render.set_bind_group(0, self._bindings)
        if sample:
            share = 1.0 / (sample + 1)
            render.set_blend_constant((share, share, share, share))
        for rect in rects:
            render.set_scissor_rect(*rect)
            render.draw(3)
        render.end()

    def _clip(self, eye: Eye) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The voxels that are shown, low and high (3,); a voxel that the clip box only touches is shown whole."""
        shape = np.array(self.store.shape_voxels)
        low, high = eye.clip or (np.zeros(3), shape)
        return (
            np.clip(np.floor(low), 0, shape).astype(np.int64),
            np.clip(np.ceil(high), 0, shape).astype(np.int64),
        )

    def _is_cut(self, eye: Eye) -> bool:
        """Whether anything of the volume is taken away, so that each voxel must be asked about."""
        if eye.opening is not None:
            return True
        # The corner of the box that is nearest along the line of sight.
        forward = eye.basis.forward
        low, high = self._clip(eye)
        corner = np.where(forward > 0, low, high)
        return bool((corner - eye.basis.position) @ forward < eye.clear_depth + 1.0)

    def pick(
        self, eye: Eye, look: Look, shine: Shine, position: tuple[float, float], size: tuple[int, int]
    ) -> Picked | None:
        """What the ray through a pixel position of a picture of `size` meets: always a single voxel. Waits for the
        GPU.
        """
        self.store.settle()
        pixel = self._pixel
        # A target of one pixel, its one ray moved to where the pixel's would be.
        width, height = size
        jitter = (position[0] / width - 0.5, position[1] / height - 0.5)
        self._write_uniform(eye, shine, (1, 1), jitter, height, 0.0)
        encoder = self.device.create_command_encoder()
        views = Targets((1, 1), *(texture.create_view() for texture in pixel))
        self._record(encoder, views, look.mode, 0, [(0, 0, 1, 1)], self._is_cut(eye))
        self.device.queue.submit([encoder.finish()])
        voxel = np.frombuffer(self._read_pixel(pixel[2], 8), np.uint16)
        if not voxel[3]:
            return None
        depth = float(np.frombuffer(self._read_pixel(pixel[1], 4), np.float32)[0])
        return Picked((int(voxel[0]), int(voxel[1]), int(voxel[2])), depth)

    @cached_property
    def _pixel(self) -> tuple[wgpu.GPUTexture, ...]:
        usage = wgpu.TextureUsage
        return tuple(
            self.device.create_texture(
                size=(1, 1, 1), format=texture_format, usage=usage.RENDER_ATTACHMENT | usage.COPY_SRC
            )
            for texture_format in TARGET_FORMATS.values()
        )

    def _read_pixel(self, texture: wgpu.GPUTexture, n_bytes: int) -> bytes:
        return bytes(
            self.device.queue.read_texture(
                {"texture": texture, "origin": (0, 0, 0)}, {"bytes_per_row": n_bytes, "rows_per_image": 1}, (1, 1, 1)
            )
        )


def march_code(mode: Mode, layout: str, n_parts: int, max_steps: int, with_hit: bool, cut: bool) -> str:
    """The march's WGSL for one combination of switches."""
    return wgsl.compose(
        "march.wgsl",
        mode=mode,
        layout=layout,
        n_parts=n_parts,
        max_steps=max_steps,
        with_hit=with_hit,
        cut=cut,
        kinds=Kind,
    )


def palette_texture(device: wgpu.GPUDevice, table: NDArray[np.float32]) -> wgpu.GPUTexture:
    """A palette table (8, 256, 3) as the texture that the march samples."""
    texture = device.create_texture(
        size=(256, N_KINDS, 1),
        format="rgba16float",
        usage=wgpu.TextureUsage.TEXTURE_BINDING | wgpu.TextureUsage.COPY_DST,
    )
    data = np.ones((N_KINDS, 256, 4), np.float16)
    data[..., :3] = table
    device.queue.write_texture(
        {"texture": texture}, data, {"bytes_per_row": 2048, "rows_per_image": N_KINDS}, (256, N_KINDS, 1)
    )
    return texture


def _texture(sample_type: str, view_dimension: str = "3d") -> dict[str, object]:
    return {"texture": {"sample_type": sample_type, "view_dimension": view_dimension}}


def _whole(buffer: wgpu.GPUBuffer) -> dict[str, object]:
    return {"buffer": buffer, "offset": 0, "size": buffer.size}
