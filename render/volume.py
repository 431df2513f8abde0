"""The volume as a pygfx world object: puts the marched picture into a scene, with its depth."""

from __future__ import annotations

import itertools
from typing import Any, ClassVar

import numpy as np
import pygfx as gfx
import wgpu
from numpy.typing import NDArray
from pygfx.renderers.wgpu import BaseShader, Binding, GfxSampler, GfxTextureView, register_wgpu_render_function
from pygfx.renderers.wgpu.engine.update import ensure_wgpu_object

from render import wgsl
from render.camera import OrbitCamera
from render.march import PICTURE_FORMATS, Targets

_PREMULTIPLIED = {
    "method": "blended",
    "color_src": "one",
    "color_dst": "one-minus-src-alpha",
    "alpha_src": "one",
    "alpha_dst": "one-minus-src-alpha",
}


class MatchedCamera(gfx.Camera):
    """pygfx's side of an OrbitCamera: the same rays that the march takes, and depth from 0 (near) to 1."""

    def __init__(self) -> None:
        super().__init__()
        self._half_extent = (1.0, 1.0)
        self._depth_range = (0.1, 100.0)

    def follow(self, camera: OrbitCamera) -> None:
        """Stand where `camera` stands."""
        basis = camera.basis
        matrix = np.eye(4)
        matrix[:3, 0], matrix[:3, 1], matrix[:3, 2], matrix[:3, 3] = (
            basis.right,
            basis.up,
            -basis.forward,
            basis.position,
        )
        self.world.matrix = matrix
        self._half_extent, self._depth_range = camera.half_extent(), camera.depth_range()
        self.flag_update()

    def _update_projection_matrix(self) -> NDArray[np.float64]:
        near, far = self._depth_range
        projection = np.zeros((4, 4))
        projection[0, 0], projection[1, 1] = 1 / self._half_extent[0], 1 / self._half_extent[1]
        projection[2, 2], projection[2, 3] = far / (near - far), far * near / (near - far)
        projection[3, 2] = -1.0
        return projection


_numbers = itertools.count(1)


class MarchedImage:
    """The textures that a march writes and the world object samples."""

    def __init__(self, size: tuple[int, int]) -> None:
        usage = wgpu.TextureUsage
        self.number = next(_numbers)
        """Another for each image that there ever is."""
        self.size = size
        self.textures = {
            name: gfx.Texture(
                dim=2,
                size=(*size, 1),
                format=texture_format,
                colorspace="physical",
                usage=usage.RENDER_ATTACHMENT | usage.TEXTURE_BINDING | usage.COPY_SRC | usage.COPY_DST,
            )
            for name, texture_format in PICTURE_FORMATS.items()
        }
        self.views = {name: GfxTextureView(texture) for name, texture in self.textures.items()}

    def targets(self) -> Targets:
        """The same textures as render targets."""
        return Targets(
            self.size, **{name: ensure_wgpu_object(texture).create_view() for name, texture in self.textures.items()}
        )

    def destroy(self) -> None:
        """Give the video memory back now, not at the next garbage collection."""
        for texture in self.textures.values():
            if texture._wgpu_object is not None:
                texture._wgpu_object.destroy()


class MemoryVolumeMaterial(gfx.Material):
    """How the marched image is composited: colour over what is behind, depth and pick as if the voxels were there."""

    uniform_type: ClassVar[dict[str, str]] = dict(
        gfx.Material.uniform_type, shape="4xf4", used="4xf4", old_used="4xf4", mixed="4xf4"
    )

    def __init__(self, image: MarchedImage, shape: tuple[int, int, int]) -> None:
        super().__init__(alpha_config=_PREMULTIPLIED, depth_write=True, depth_test=True, pick_write=False)
        self._images = {image.number: image}
        # pygfx binds anew what it sees to change, and knows an object by its place in memory: one made where another
        # has just been would pass for it, and destroyed textures that stay bound end the process. No number repeats.
        self._store.image = image.number
        self._store.old = 0
        self._store.sharp = True
        self.uniform_buffer.data["shape"] = (*shape, 0)
        self.show(image, image.size)

    @property
    def image(self) -> MarchedImage:
        """What the march wrote."""
        return self._images[self._store.image]

    @property
    def old(self) -> MarchedImage | None:
        """What is still mixed in of the picture that was shown before."""
        return self._images.get(self._store.old)

    @property
    def sharp(self) -> bool:
        """Whether the image has as many pixels as the picture, so that it needs no interpolation."""
        return bool(self._store.sharp)

    def show(self, image: MarchedImage, size: tuple[int, int], old: MarchedImage | None = None) -> None:
        """Show the `size` pixels of an image; with `old`, which was shown till now, mixed in at first."""
        data = self.uniform_buffer.data
        data["old_used"] = data["used"]
        self._images = {one.number: one for one in (image, old) if one is not None}
        self._store.image, self._store.old = image.number, 0 if old is None else old.number
        self._store.sharp = size == image.size
        data["used"] = (*size, 0, 0)
        data["mixed"] = (1.0 if old is not None else 0.0, 0, 0, 0)
        self.uniform_buffer.update_full()

    @property
    def used(self) -> tuple[float, float]:
        """The share of the image's texture, across and down, that is shown."""
        across, down = self.uniform_buffer.data["used"][:2]
        return float(across) / self.image.size[0], float(down) / self.image.size[1]

    def fade(self, step: float) -> bool:
        """Let `step` less of the old picture show; False if none is left to fade."""
        if self.old is None:
            return False
        left = float(self.uniform_buffer.data["mixed"][0]) - step
        if left <= 1e-3:
            self._store.old = 0
        self.uniform_buffer.data["mixed"] = (max(left, 0.0), 0, 0, 0)
        self.uniform_buffer.update_full()
        return True


class MemoryVolume(gfx.WorldObject):
    """One machine's RAM in a scene. Its box spans from its position to its position plus its shape, in voxels."""

    def __init__(self, material: MemoryVolumeMaterial, key: str) -> None:
        super().__init__(None, material)
        self.key = key


@register_wgpu_render_function(MemoryVolume, MemoryVolumeMaterial)
class MemoryVolumeShader(BaseShader):
    """Draws the far sides of the volume's box; pixels without a hit are dropped."""

    type = "render"

    def get_bindings(self, wobject: MemoryVolume, shared: Any, _scene: Any) -> dict[int, dict[int, Binding]]:
        material: MemoryVolumeMaterial = wobject.material
        self["sharp"] = material.sharp
        self["fading"] = material.old is not None
        views = material.image.views
        old = (material.old or material.image).views
        bindings = [
            Binding("u_stdinfo", "buffer/uniform", shared.uniform_buffer),
            Binding("u_wobject", "buffer/uniform", wobject.uniform_buffer),
            Binding("u_material", "buffer/uniform", material.uniform_buffer),
            Binding("t_color", "texture/auto", views["color"], wgpu.ShaderStage.FRAGMENT),
            Binding("t_depth", "texture/auto", views["depth"], wgpu.ShaderStage.FRAGMENT),
            Binding("t_old", "texture/auto", old["color"], wgpu.ShaderStage.FRAGMENT),
            Binding("s_color", "sampler/filtering", GfxSampler("linear", "clamp"), wgpu.ShaderStage.FRAGMENT),
        ]
        numbered = dict(enumerate(bindings))
        self.define_bindings(0, numbered)
        return {0: numbered}

    def get_pipeline_info(self, _wobject: MemoryVolume, _shared: Any) -> dict[str, Any]:
        return {"primitive_topology": wgpu.PrimitiveTopology.triangle_list, "cull_mode": wgpu.CullMode.front}

    def get_render_info(self, _wobject: MemoryVolume, _shared: Any) -> dict[str, Any]:
        return {"indices": (36, 1)}

    def get_code(self) -> str:
        return wgsl.include("volume.wgsl")
