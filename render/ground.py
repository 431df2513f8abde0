"""The ground: the finished background as a texture, drawn in an own pass and copied below every picture.

It is smooth, so that everything about it is worked out at the corners of a coarse grid; and it changes only with the
volumes' light on it, so that a still picture's ground is drawn once.
"""

from __future__ import annotations

import numpy as np
import wgpu

from render import wgsl
from render.backdrop import Background
from render.palettes import linear_from_hex
from render.pipelines import render_pipeline
from render.resource_size import resource_bytes
from render.timing import pass_clock

_GRID = (64, 36)
"""Cells across and down: finer than the halo's blur is wide."""
_UNIFORM = np.dtype(
    [("top", "f4", 4), ("bottom", "f4", 4), ("middle", "f4", 4), ("thrown", "f4", 2), ("size", "f4", 2)]
)


class Ground:
    """The ground of one size of picture."""

    def __init__(self, device: wgpu.GPUDevice, size: tuple[int, int]) -> None:
        self._device = device
        self._size = size
        usage = wgpu.TextureUsage
        # Encoded by its own shader: encoding by the format, pixel by pixel, costs more than all the rest in software.
        self.texture = device.create_texture(
            size=(*size, 1), format="rgba8unorm", usage=usage.RENDER_ATTACHMENT | usage.COPY_SRC
        )
        buffer = wgpu.BufferUsage
        self._uniform = device.create_buffer(size=_UNIFORM.itemsize, usage=buffer.UNIFORM | buffer.COPY_DST)
        self._sampler = device.create_sampler(mag_filter="linear", min_filter="linear")
        kinds: list[dict[str, object]] = [
            {"buffer": {"type": "uniform"}},
            {"texture": {"sample_type": "float"}},
            {"sampler": {"type": "filtering"}},
        ]
        stages = wgpu.ShaderStage.VERTEX
        entries = [{"binding": i, "visibility": stages, **kind} for i, kind in enumerate(kinds)]
        self._layout = device.create_bind_group_layout(entries=entries)
        code = wgsl.compose("backdrop.wgsl", columns=_GRID[0], rows=_GRID[1])
        self._pipeline = render_pipeline(device, code, [entries], [{"format": "rgba8unorm"}])

    @property
    def vram_bytes(self) -> int:
        """What it holds on the GPU."""
        return resource_bytes(self.texture) + resource_bytes(self._uniform)

    def draw(self, colors: Background, halo: wgpu.GPUTextureView) -> None:
        """Draw it in these colours, with this light thrown on it."""
        data = np.zeros(1, _UNIFORM)
        for name, color in (("top", colors.top), ("bottom", colors.bottom), ("middle", colors.middle)):
            data[name] = (*linear_from_hex(color), 1.0)
        data["thrown"], data["size"] = (colors.light, colors.shadow), self._size
        self._device.queue.write_buffer(self._uniform, 0, data)
        resources = [{"buffer": self._uniform, "offset": 0, "size": _UNIFORM.itemsize}, halo, self._sampler]
        bindings = self._device.create_bind_group(
            layout=self._layout, entries=[{"binding": i, "resource": resource} for i, resource in enumerate(resources)]
        )
        encoder = self._device.create_command_encoder()
        target = {"view": self.texture.create_view(), "load_op": "clear", "store_op": "store", "resolve_target": None}
        render = encoder.begin_render_pass(
            color_attachments=[{**target, "clear_value": (0, 0, 0, 1)}],
            timestamp_writes=pass_clock(self._device).writes("ground"),
        )
        render.set_pipeline(self._pipeline)
        render.set_bind_group(0, bindings)
        render.draw(6 * _GRID[0] * _GRID[1])
        render.end()
        self._device.queue.submit([encoder.finish()])

    def destroy(self) -> None:
        """Give the video memory back."""
        self.texture.destroy()
        self._uniform.destroy()
