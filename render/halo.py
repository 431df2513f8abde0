"""The halo: a small, wide blur of the marched pictures, which the backdrop shows as light on the ground."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import wgpu

from render import wgsl
from render.pipelines import render_pipeline
from render.resource_size import resource_bytes
from render.timing import pass_clock

_SHRINK = 20
"""The halo's pixels are this many of the picture's: far below what a blur this wide can show."""
_FORMAT = "rgba16float"
_LAYOUT: list[dict[str, object]] = [
    {"binding": 0, "visibility": wgpu.ShaderStage.FRAGMENT, "texture": {"sample_type": "float"}},
    {"binding": 1, "visibility": wgpu.ShaderStage.FRAGMENT, "sampler": {"type": "filtering"}},
    {"binding": 2, "visibility": wgpu.ShaderStage.FRAGMENT, "buffer": {"type": "uniform"}},
]


@dataclass(frozen=True, slots=True)
class Lit:
    """A marched picture, and the share of its texture, across and down, that it fills."""

    color: wgpu.GPUTextureView
    used: tuple[float, float]


class Halo:
    """Textures and pipelines for one size of picture."""

    def __init__(self, device: wgpu.GPUDevice, picture_size: tuple[int, int]) -> None:
        self.device = device
        self.size = tuple(max(1, -(-side // _SHRINK)) for side in picture_size)
        usage = wgpu.TextureUsage
        self._textures = [
            device.create_texture(
                size=(*self.size, 1), format=_FORMAT, usage=usage.RENDER_ATTACHMENT | usage.TEXTURE_BINDING
            )
            for _ in range(2)
        ]
        self.view = self._textures[0].create_view()
        """The finished halo."""
        self._sampler = device.create_sampler(mag_filter="linear", min_filter="linear")
        self._layout = device.create_bind_group_layout(entries=_LAYOUT)
        self._used: list[wgpu.GPUBuffer] = []
        radius = max(2, self.size[1] // 4)
        self._steps = {step: self._pipeline(step, radius) for step in ("shrink", "across", "down")}

    def _pipeline(self, step: str, radius: int) -> wgpu.GPURenderPipeline:
        code = wgsl.compose("halo.wgsl", step=step, width=self.size[0], height=self.size[1], radius=radius)
        add = {"operation": "add", "src_factor": "one", "dst_factor": "one"}
        target: dict[str, object] = {"format": _FORMAT}
        if step == "shrink":  # every volume adds its own light
            target["blend"] = {"color": add, "alpha": add}
        return render_pipeline(self.device, code, [_LAYOUT], [target])

    def update(self, pictures: Sequence[Lit]) -> None:
        """Blur what the marches wrote, all volumes together."""
        first, second = self._textures
        while len(self._used) < len(pictures) + 1:
            usage = wgpu.BufferUsage.UNIFORM | wgpu.BufferUsage.COPY_DST
            self._used.append(self.device.create_buffer(size=16, usage=usage))
        shares = [(1.0, 1.0), *(picture.used for picture in pictures)]
        for buffer, share in zip(self._used, shares, strict=False):
            self.device.queue.write_buffer(buffer, 0, np.array([*share, 0, 0], np.float32))
        encoder = self.device.create_command_encoder()
        shrunk = [(picture.color, used) for picture, used in zip(pictures, self._used[1:], strict=False)]
        self._draw(encoder, "shrink", shrunk, first)
        self._draw(encoder, "across", [(first.create_view(), self._used[0])], second)
        self._draw(encoder, "down", [(second.create_view(), self._used[0])], first)
        self.device.queue.submit([encoder.finish()])

    def _draw(
        self,
        encoder: wgpu.GPUCommandEncoder,
        step: str,
        sources: Sequence[tuple[wgpu.GPUTextureView, wgpu.GPUBuffer]],
        target: wgpu.GPUTexture,
    ) -> None:
        attachment = {
            "view": target.create_view(),
            "load_op": "clear",
            "store_op": "store",
            "clear_value": (0, 0, 0, 0),
        }
        render = encoder.begin_render_pass(
            color_attachments=[{**attachment, "resolve_target": None}],
            timestamp_writes=pass_clock(self.device).writes("halo"),
        )
        render.set_pipeline(self._steps[step])
        for source, used in sources:
            entries = [
                {"binding": 0, "resource": source},
                {"binding": 1, "resource": self._sampler},
                {"binding": 2, "resource": {"buffer": used, "offset": 0, "size": 16}},
            ]
            render.set_bind_group(0, self.device.create_bind_group(layout=self._layout, entries=entries))
            render.draw(3)
        render.end()

    @property
    def vram_bytes(self) -> int:
        """What the blurred pictures take."""
        return sum(map(resource_bytes, (*self._textures, *self._used)))

    def destroy(self) -> None:
        """Give the video memory back."""
        for resource in (*self._textures, *self._used):
            resource.destroy()
