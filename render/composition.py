"""The composition: ground, marched pictures and overlays become the one picture that the window shows.

pygfx draws the scene (frames, labels, markers and the marched pictures as world objects) on a copy of the ground; what
it drew is copied as it is, before its own output pass, which would resample and encode once more.
"""

from __future__ import annotations

from collections.abc import Sequence

import pygfx as gfx
import wgpu
from pygfx.renderers.wgpu.engine.blender import Blender

from render.backdrop import Background
from render.callout_layer import CalloutLayer
from render.camera import OrbitCamera
from render.frame import BoxMarker
from render.ground import Ground
from render.halo import Halo, Lit
from render.resource_size import resource_bytes
from render.timing import pass_clock
from render.volume import MatchedCamera


class Composition:
    """Everything of a view that belongs to no volume."""

    def __init__(self, device: wgpu.GPUDevice, size: tuple[int, int], background: Background) -> None:
        self.device = device
        self.scene = gfx.Scene()
        self.selection_mark = BoxMarker(background.selection, 2.0, through=0.4)
        self.page_mark = BoxMarker(background.selection, 1.0, through=0.15)
        self.hover_mark = BoxMarker(background.hover, 1.5, through=0.1)
        self.callouts = CalloutLayer(background.plate, background.plate_text)
        self._marks = (self.selection_mark, self.page_mark, self.hover_mark)
        self.scene.add(*self._marks)
        self._background = background
        self._camera = MatchedCamera()
        self._renderer: gfx.WgpuRenderer | None = None
        self._make_targets(size)

    def _make_targets(self, size: tuple[int, int]) -> None:
        self._size = size
        usage = wgpu.TextureUsage
        self.texture: wgpu.GPUTexture = self.device.create_texture(
            size=(*size, 1),
            format="rgba8unorm",
            usage=usage.TEXTURE_BINDING | usage.COPY_DST | usage.COPY_SRC | usage.RENDER_ATTACHMENT,
        )
        self._halo = Halo(self.device, size)
        self._ground = Ground(self.device, size)
        # pygfx asks its target only for its size.
        target = gfx.Texture(dim=2, size=(*size, 1), format="rgba8unorm")
        if self._renderer is None:
            self._renderer = gfx.WgpuRenderer(target, pixel_scale=1, ppaa="none")
            # What is under the pointer is asked of the march itself, exactly; pygfx's own pick values would be a
            # quarter of the bytes that a frame writes.
            self._renderer._blender = Blender(enable_pick=False)
            self._renderer._blender.texture_info["color"]["usage"] |= usage.COPY_DST
        else:  # another renderer would compile every pipeline again
            self._renderer._target = target

    def resize(self, size: tuple[int, int]) -> None:
        """Be of another size."""
        self._destroy_targets()
        self._make_targets(size)

    def set_background(self, background: Background) -> None:
        """Have other colours around the volumes."""
        self._background = background
        self.selection_mark.set_color(background.selection)
        self.page_mark.set_color(background.selection)
        self.hover_mark.set_color(background.hover)
        self.callouts.set_colors(background.plate, background.plate_text)

    def set_scale(self, pixel_ratio: float) -> None:
        """Draw for a screen with this many pixels to the unit."""
        for mark in self._marks:
            mark.set_scale(pixel_ratio)
        self.callouts.set_scale(pixel_ratio)

    def light_ground(self, pictures: Sequence[Lit]) -> None:
        """Draw the ground with the light that these pictures throw on it."""
        self._halo.update(pictures)
        self._ground.draw(self._background, self._halo.view)

    def draw(self, camera: OrbitCamera) -> None:
        """Put the picture together, as `camera` sees it."""
        renderer = self._renderer
        assert renderer is not None
        blender = renderer._blender
        blender.ensure_target_size(self._size)
        blender.get_texture_view("color", wgpu.TextureUsage.RENDER_ATTACHMENT, create_if_not_exist=True)
        color, whole = {"texture": blender.get_texture("color")}, (*self._size, 1)
        blender.texture_info["color"]["clear"] = False
        blender.texture_info["depth"]["clear"] = True
        with pass_clock(self.device).around("compose"):
            self._copy({"texture": self._ground.texture}, color, whole)
            self._camera.follow(camera)
            renderer.render(self.scene, self._camera, clear=False, flush=False)
            if self.callouts.placed:
                blender.texture_info["color"]["clear"] = False
                renderer.render(self.callouts.scene, self.callouts.camera, clear=False, flush=False)
            renderer._renders_since_last_flush = 0
            self._copy(color, {"texture": self.texture}, whole)

    def _copy(self, source: dict[str, object], to: dict[str, object], size: tuple[int, int, int]) -> None:
        encoder = self.device.create_command_encoder()
        encoder.copy_texture_to_texture(source, to, size)
        self.device.queue.submit([encoder.finish()])

    @property
    def vram_bytes(self) -> int:
        """What it holds on the GPU."""
        assert self._renderer is not None
        composed = self._renderer._blender._textures.values()
        return sum(map(resource_bytes, (self.texture, *composed))) + self._halo.vram_bytes + self._ground.vram_bytes

    def _destroy_targets(self) -> None:
        self.texture.destroy()
        self._halo.destroy()
        self._ground.destroy()

    def destroy(self) -> None:
        """Give the video memory back."""
        self._destroy_targets()
        self.scene.clear()
        self.callouts.scene.clear()
