"""The marcher: one ray a pixel through a brick store, in an own pass into colour and depth; and one ray that picks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import wgpu

from render import wgsl
from render.bricks import NOT_RESIDENT, BrickStore
from render.camera import Box, CameraState, basis_of
from render.channels import BY_VOXEL, HEAT_TOP
from render.content import Kind
from render.cut import AXES, Axis
from render.eye import Eye, Rect, Shine
from render.highlight import COLOUR_WORDS
from render.look import Mode
from render.look_table import LookTable
from render.march_uniform import UNIFORM, clip_box, uniform_data
from render.pipelines import Layout, render_pipeline
from render.timing import pass_clock

__all__ = ["Eye", "Marcher", "Outputs", "Picked", "Rect", "Shine", "Switches", "Targets", "march_code"]

PICTURE_FORMATS = {"color": "rgba16float", "depth": "r32float"}
TARGET_FORMATS = {**PICTURE_FORMATS, "voxel": "rgba16uint"}
Outputs = Literal["color", "depth", "voxel"]
_N_OUTPUTS: dict[Outputs, int] = {"color": 1, "depth": 2, "voxel": 3}
_GOLDEN = 0.6180339887498949
"""The golden ratio's fraction: its multiples fill 0..1 evenly, however many there are."""


class Switches(NamedTuple):
    """What the shader's code depends on, besides the store."""

    mode: Mode
    by_page: bool
    """The scalar is the page's, not the voxel's."""
    hides: bool
    """Some scalars or kinds are not shown."""
    outputs: Outputs
    """What is wanted: the colour alone; its depth as well; and the voxel that was met, too."""
    cut: bool
    """Some voxels of the box are taken away."""
    sheets: bool = False
    """Slice planes are shown."""
    lit: bool = False
    """Some pages are lit up."""


@dataclass(frozen=True, slots=True)
class Targets:
    """What a march writes into. Views of textures of one size, or of one pixel."""

    size: tuple[int, int]
    color: wgpu.GPUTextureView
    depth: wgpu.GPUTextureView
    voxel: wgpu.GPUTextureView | None = None
    """Where it is told what each pixel met, if that is wanted."""


@dataclass(frozen=True, slots=True)
class Picked:
    """What one ray met."""

    voxel: tuple[int, int, int]
    depth: float
    sheet: Axis | None = None
    """The slice plane that shows the voxel there; None for the volume itself."""


class Flat(NamedTuple):
    """What a shader that includes `march_common.wgsl` needs of a marcher, for group 0."""

    layout: Layout
    bindings: wgpu.GPUBindGroup
    variables: dict[str, object]


class Marcher:
    """The pipelines and bindings by which one brick store is marched."""

    def __init__(self, store: BrickStore) -> None:
        self.store = store
        self.device = store.device
        self.timed_as = "march"
        """What the march is called where passes are timed."""
        usage = wgpu.BufferUsage
        self._uniform = self.device.create_buffer(size=UNIFORM.itemsize, usage=usage.UNIFORM | usage.COPY_DST)
        self._sampler = self.device.create_sampler(mag_filter="linear", min_filter="linear")
        self._blank = self.device.create_texture(
            size=(1, 1, 1), format="r8unorm", dimension="3d", usage=wgpu.TextureUsage.TEXTURE_BINDING
        )
        self._blank_words = self.device.create_buffer(size=16, usage=usage.STORAGE)
        self._bound: tuple[object, ...] = ()
        self._pipelines: dict[Switches, wgpu.GPURenderPipeline] = {}

    def _bind(self, table: LookTable) -> None:
        """Have the textures of a look bound. Bindings are made anew only when one of them is another texture."""
        store = self.store
        attribute = self._blank  # where the channel is no attribute of this volume: all are zero
        if table.look.channel in store.attributes:
            attribute = store.attribute(table.look.channel).texture
        lit = store.highlight.buffer or self._blank_words
        if self._bound == (table.texture, attribute, lit, *store.parts):
            return
        self._bound = (table.texture, attribute, lit, *store.parts)
        entries: list[tuple[dict[str, object], object]] = [
            ({"buffer": {"type": "uniform"}}, _whole(self._uniform)),
            (_texture("uint"), store.bricks.create_view()),
            (_texture("unfilterable-float"), store.heat.create_view()),
            (_texture("uint"), store.blocks.create_view()),
            (_texture("float"), store.cells.create_view()),
            (_texture("unfilterable-float", "2d"), table.texture.create_view()),
            ({"sampler": {"type": "filtering"}}, self._sampler),
            (_texture("float"), attribute.create_view()),
            ({"buffer": {"type": "read-only-storage"}}, _whole(lit)),
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
        kinds = [{"binding": i, "visibility": wgpu.ShaderStage.FRAGMENT, **kind} for i, (kind, _) in enumerate(entries)]
        self._layout = kinds
        layout = self.device.create_bind_group_layout(entries=kinds)
        resources = [{"binding": i, "resource": resource} for i, (_, resource) in enumerate(entries)]
        self._bindings = self.device.create_bind_group(layout=layout, entries=resources)

    def prepare_flat(self, table: LookTable, shine: Shine, clip: Box | None) -> Flat:
        """Set what does not depend on where one looks from, for a pass of another shader in the next submission."""
        anywhere = Eye(basis_of(CameraState()), (1.0, 1.0), 0.0, None, clip)
        self._prepare(anywhere, table, shine, (1, 1), (0.0, 0.0), 0.0, 1, 0.0)
        switches = self._switches(table, anywhere, "color")._replace(mode="slice", cut=False)
        variables = common_variables(switches, self.store.layout, len(self.store.parts), self._max_steps)
        return Flat(self._layout, self._bindings, variables)

    @cached_property
    def _max_steps(self) -> int:
        # A ray crosses at most one face of each axis a voxel: no walk is longer, so the loop is bounded by this.
        return sum(self.store.shape_voxels) + 8

    def _pipeline(self, key: Switches) -> wgpu.GPURenderPipeline:
        if key not in self._pipelines:
            code = march_code(key, self.store.layout, len(self.store.parts), self._max_steps)
            # Later samples of the same picture are averaged in: new = old + (sample - old) * share.
            mix = {"operation": "add", "src_factor": "constant", "dst_factor": "one-minus-constant"}
            formats = list(TARGET_FORMATS.values())[: _N_OUTPUTS[key.outputs]]
            targets: list[dict[str, object]] = [{"format": texture_format} for texture_format in formats]
            if key.outputs == "color":
                targets[0]["blend"] = {"color": mix, "alpha": mix}
            self._pipelines[key] = render_pipeline(self.device, code, [self._layout], targets)
        return self._pipelines[key]

    def march(
        self,
        targets: Targets,
        eye: Eye,
        table: LookTable,
        shine: Shine,
        rects: Sequence[Rect],
        *,
        sample: int,
        jitter: tuple[float, float],
        pixel_height: int,
    ) -> None:
        """March the pixels of `rects`.

        Sample 0 replaces what is there and finds the depth; later ones are averaged in. `pixel_height` is the
        height of the picture whose pixels decide how much detail is worth while.
        """
        phase = (sample * _GOLDEN) % 1.0
        self._prepare(eye, table, shine, targets.size, jitter, phase, pixel_height, 1.0)
        outputs: Outputs = "color" if sample else "depth" if targets.voxel is None else "voxel"
        encoder = self.device.create_command_encoder()
        self._record(encoder, targets, self._switches(table, eye, outputs), sample, rects)
        self.device.queue.submit([encoder.finish()])

    def _record(
        self,
        encoder: wgpu.GPUCommandEncoder,
        targets: Targets,
        switches: Switches,
        sample: int,
        rects: Sequence[Rect],
    ) -> None:
        views = [targets.color]
        if not sample:
            views.append(targets.depth)
            if targets.voxel is not None:
                views.append(targets.voxel)
        attachments = [
            {"view": view, "load_op": "load", "store_op": "store", "clear_value": (0, 0, 0, 0), "resolve_target": None}
            for view in views
        ]
        clock = pass_clock(self.device)
        render = encoder.begin_render_pass(color_attachments=attachments, timestamp_writes=clock.writes(self.timed_as))
        render.set_pipeline(self._pipeline(switches))
        render.set_bind_group(0, self._bindings)
        if sample:
            share = 1.0 / (sample + 1)
            render.set_blend_constant((share, share, share, share))
        for rect in rects:
            render.set_scissor_rect(*rect)
            render.draw(3)
        render.end()

    def _prepare(
        self,
        eye: Eye,
        table: LookTable,
        shine: Shine,
        resolution: tuple[int, int],
        jitter: tuple[float, float],
        phase: float,
        pixel_height: int,
        detail: float,
    ) -> None:
        self._bind(table)
        data = uniform_data(
            self.store,
            eye,
            table,
            shine,
            resolution=resolution,
            jitter=jitter,
            phase=phase,
            pixel_height=pixel_height,
            detail=detail,
        )
        self.device.queue.write_buffer(self._uniform, 0, data)

    def _switches(self, table: LookTable, eye: Eye, outputs: Outputs) -> Switches:
        look = table.look
        hides = table.hides or bool(look.hidden_kinds)
        by_page, lit = look.channel not in BY_VOXEL, self.store.highlight.index is not None
        return Switches(look.mode, by_page, hides, outputs, self._is_cut(eye), bool(eye.planes), lit)

    def _is_cut(self, eye: Eye) -> bool:
        """Whether anything of the volume is taken away, so that each voxel must be asked about."""
        if eye.opening is not None:
            return True
        # The corner of the box that is nearest along the line of sight.
        forward = eye.basis.forward
        low, high = clip_box(self.store, eye)
        corner = np.where(forward > 0, low, high)
        return bool((corner - eye.basis.position) @ forward < eye.clear_depth + 1.0)

    def pick(
        self,
        eye: Eye,
        table: LookTable,
        shine: Shine,
        position: tuple[float, float],
        size: tuple[int, int],
    ) -> Picked | None:
        """What the ray through a pixel position of a picture of `size` meets: always a single voxel. Waits for the
        GPU.
        """
        self.store.settle()
        pixel = self._pixel
        # A target of one pixel, its one ray moved to where the pixel's would be.
        width, height = size
        jitter = (position[0] / width - 0.5, position[1] / height - 0.5)
        self._prepare(eye, table, shine, (1, 1), jitter, 0.0, height, 0.0)
        encoder = self.device.create_command_encoder()
        views = Targets((1, 1), *(texture.create_view() for texture in pixel))
        self._record(encoder, views, self._switches(table, eye, "voxel"), 0, [(0, 0, 1, 1)])
        self.device.queue.submit([encoder.finish()])
        voxel = np.frombuffer(self._read_pixel(pixel[2], 8), np.uint16)
        if not voxel[3]:
            return None
        depth = float(np.frombuffer(self._read_pixel(pixel[1], 4), np.float32)[0])
        sheet = AXES[int(voxel[3]) - 2] if voxel[3] >= 2 else None
        return Picked((int(voxel[0]), int(voxel[1]), int(voxel[2])), depth, sheet)

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


def march_code(switches: Switches, layout: str, n_parts: int, max_steps: int) -> str:
    """The march's WGSL for one combination of switches."""
    return wgsl.compose("march.wgsl", **common_variables(switches, layout, n_parts, max_steps))


def common_variables(switches: Switches, layout: str, n_parts: int, max_steps: int) -> dict[str, object]:
    """The template variables of `march_common.wgsl`."""
    return {
        **switches._asdict(),
        "layout": layout,
        "n_parts": n_parts,
        "max_steps": max_steps,
        "not_resident": NOT_RESIDENT,
        "heat_top": HEAT_TOP,
        "kinds": Kind,
        "colour_words": COLOUR_WORDS,
    }


def _texture(sample_type: str, view_dimension: str = "3d") -> dict[str, object]:
    return {"texture": {"sample_type": sample_type, "view_dimension": view_dimension}}


def _whole(buffer: wgpu.GPUBuffer) -> dict[str, object]:
    return {"buffer": buffer, "offset": 0, "size": buffer.size}
