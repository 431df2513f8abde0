"""What is behind the volume: a quiet vertical gradient with a little light in the middle, without bands."""

from __future__ import annotations

from typing import Any, ClassVar

import pygfx as gfx
import wgpu
from pygfx.renderers.wgpu import BaseShader, Binding, register_wgpu_render_function

from render import wgsl
from render.palettes import linear_from_hex


class BackdropMaterial(gfx.Material):
    """Colours as "#rrggbb": at the top, at the bottom, and in the middle, where the volume stands."""

    uniform_type: ClassVar[dict[str, str]] = dict(gfx.Material.uniform_type, top="4xf4", bottom="4xf4", middle="4xf4")

    def __init__(self, top: str, bottom: str, middle: str) -> None:
        super().__init__(depth_write=False, depth_test=False, alpha_mode="solid", render_queue=1000)
        self.set_colors(top, bottom, middle)

    def set_colors(self, top: str, bottom: str, middle: str) -> None:
        """Change the colours."""
        for name, color in (("top", top), ("bottom", bottom), ("middle", middle)):
            self.uniform_buffer.data[name] = (*linear_from_hex(color), 1.0)
        self.uniform_buffer.update_full()


class Backdrop(gfx.WorldObject):
    """The background of a scene."""


@register_wgpu_render_function(Backdrop, BackdropMaterial)
class BackdropShader(BaseShader):
    """One triangle behind everything."""

    type = "render"

    def get_bindings(self, wobject: Backdrop, shared: Any, _scene: Any) -> dict[int, dict[int, Binding]]:
        bindings = {
            0: Binding("u_stdinfo", "buffer/uniform", shared.uniform_buffer),
            1: Binding("u_wobject", "buffer/uniform", wobject.uniform_buffer),
            2: Binding("u_material", "buffer/uniform", wobject.material.uniform_buffer),
        }
        self.define_bindings(0, bindings)
        return {0: bindings}

    def get_pipeline_info(self, _wobject: Backdrop, _shared: Any) -> dict[str, Any]:
        return {"primitive_topology": wgpu.PrimitiveTopology.triangle_list, "cull_mode": wgpu.CullMode.none}

    def get_render_info(self, _wobject: Backdrop, _shared: Any) -> dict[str, Any]:
        return {"indices": (3, 1)}

    def get_code(self) -> str:
        return wgsl.include("backdrop.wgsl")
