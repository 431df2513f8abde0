"""The pygfx peer: pygfx's own Volume with the same bytes and the same rays.

Drawn in two ways. As it comes: its renderer's and materials' own settings, which is how people meet it; that renderer
draws four fragments a pixel for smooth edges. And with one sample a pixel, of the nearest voxel, at the surface that we
show: like for like with the first sample of ours.
"""

from __future__ import annotations

from types import TracebackType
from typing import Literal

import numpy as np
import numpy.typing as npt
import pygfx as gfx
import wgpu

from app.benchmarks.report import NotMeasured
from app.benchmarks.scene import Fence, Volume
from render.camera import OrbitCamera
from render.volume import MatchedCamera

Way = Literal["iso", "iso_one_sample", "mip", "mip_one_sample"]
_LOWEST_BYTE = 0.5 / 255  # zero is nothing; any other byte is the surface that a first hit shows


class PygfxPeer:
    """Draws a volume with pygfx."""

    def __init__(self, device: wgpu.GPUDevice, volume: Volume, camera: OrbitCamera, size_px: tuple[int, int]) -> None:
        """`volume`: (z, y, x) uint8. Raises NotMeasured where it does not fit the device."""
        limit = int(device.limits["max-texture-dimension-3d"])
        if max(volume.shape) > limit:
            raise NotMeasured(f"pygfx keeps a volume in one texture, and {max(volume.shape)} is over {limit} here")
        self._device = device
        self._fence = Fence(device)
        self._grid = gfx.Texture(volume, dim=3, format="r8unorm")
        usage = wgpu.TextureUsage.RENDER_ATTACHMENT | wgpu.TextureUsage.TEXTURE_BINDING | wgpu.TextureUsage.COPY_SRC
        self._target = gfx.Texture(dim=2, size=(*size_px, 1), format="rgba8unorm", usage=usage)
        as_it_comes = gfx.WgpuRenderer(self._target)
        one_sample = gfx.WgpuRenderer(self._target, pixel_scale=1, ppaa="none")
        self._camera = MatchedCamera()
        self._camera.follow(camera)
        nearest = gfx.VolumeMipMaterial(interpolation="nearest")
        ways: dict[Way, tuple[gfx.WgpuRenderer, gfx.Material]] = {
            "iso": (as_it_comes, gfx.VolumeIsoMaterial()),
            "iso_one_sample": (one_sample, gfx.VolumeIsoMaterial(threshold=_LOWEST_BYTE, interpolation="nearest")),
            "mip": (as_it_comes, nearest),
            "mip_one_sample": (one_sample, nearest),
        }
        self._ways: dict[Way, tuple[gfx.WgpuRenderer, gfx.Scene]] = {}
        geometry = gfx.Geometry(grid=self._grid)
        for way, (renderer, material) in ways.items():
            thing = gfx.Volume(geometry, material)
            thing.local.position = (0.5, 0.5, 0.5)  # pygfx has a voxel's centre, not its corner, at whole numbers
            scene = gfx.Scene()
            scene.add(thing)
            self._ways[way] = renderer, scene

    def frame(self, way: Way) -> None:
        """Draw one frame and wait for the GPU."""
        renderer, scene = self._ways[way]
        renderer.render(scene, self._camera)
        self._fence.wait()

    def picture(self) -> npt.NDArray[np.uint8]:
        """The last frame, (height, width, 4) uint8."""
        width, height = self._target.size[:2]
        raw = self._device.queue.read_texture(
            {"texture": self._target._wgpu_object},
            {"bytes_per_row": 4 * width, "rows_per_image": height},
            (width, height, 1),
        )
        return np.frombuffer(raw, np.uint8).reshape(height, width, 4)

    def close(self) -> None:
        """Give the video memory back."""
        for texture in (self._grid, self._target):
            if texture._wgpu_object is not None:
                texture._wgpu_object.destroy()

    def __enter__(self) -> PygfxPeer:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self.close()
