"""What is behind the volume: a quiet gradient without bands, on which the volume throws its light, or its shadow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pygfx as gfx
import wgpu
from pygfx.renderers.wgpu import BaseShader, Binding, GfxSampler, GfxTextureView, register_wgpu_render_function

from render import wgsl
from render.palettes import linear_from_hex

_GRID = (64, 36)
"""Cells across and down: finer than the halo's blur is wide."""


@dataclass(frozen=True, slots=True)
class Background:
    """The colours around the volume; "#rrggbb" each."""

    top: str
    bottom: str
    middle: str
    line: str
    text: str
    selection: str
    hover: str
    flash: str
    sheet: str
    """Zero bytes on a slice plane."""
    planes: tuple[str, str, str, str]
    """The edges of the x, y, z and oblique planes."""
    light: float
    """How much of the volume's light falls on the ground."""
    shadow: float
    """How much it dims the ground around it."""


DARK = Background(
    top="#0b101d",
    bottom="#04060b",
    middle="#101a2e",
    line="#51607e",
    text="#8b98b4",
    selection="#ffd166",
    hover="#cdd7ee",
    flash="#ffe2a8",
    sheet="#172036",
    planes=("#ff7a70", "#45d69a", "#4cb8ff", "#f2b24c"),
    light=0.22,
    shadow=0.0,
)
LIGHT = Background(
    top="#f4f6fa",
    bottom="#dfe4ec",
    middle="#ffffff",
    line="#8a95aa",
    text="#56617a",
    selection="#b4460a",
    hover="#33405c",
    flash="#ffffff",
    sheet="#f7f9fc",
    planes=("#c32b36", "#0b7d4f", "#0a66c9", "#945600"),
    light=0.06,
    shadow=0.22,
)
BACKGROUNDS = {"dark": DARK, "light": LIGHT}


class BackdropMaterial(gfx.Material):
    """The ground's colours, and what the volume throws on it."""

    uniform_type: ClassVar[dict[str, str]] = dict(
        gfx.Material.uniform_type, top="4xf4", bottom="4xf4", middle="4xf4", thrown="4xf4"
    )

    def __init__(self, halo: GfxTextureView) -> None:
        super().__init__(depth_write=False, depth_test=False, alpha_mode="solid", render_queue=1000)
        self._store.halo = halo

    @property
    def halo(self) -> GfxTextureView:
        """The blurred picture of the volumes."""
        return self._store.halo

    @halo.setter
    def halo(self, halo: GfxTextureView) -> None:
        self._store.halo = halo

    def set_colors(self, top: str, bottom: str, middle: str, light: float, shadow: float) -> None:
        """Colours as "#rrggbb" at the top, at the bottom and in the middle; how strong light and shadow are."""
        for name, color in (("top", top), ("bottom", bottom), ("middle", middle)):
            self.uniform_buffer.data[name] = (*linear_from_hex(color), 1.0)
        self.uniform_buffer.data["thrown"] = (light, shadow, 0.0, 0.0)
        self.uniform_buffer.update_full()


class Backdrop(gfx.WorldObject):
    """The background of a scene."""


@register_wgpu_render_function(Backdrop, BackdropMaterial)
class BackdropShader(BaseShader):
    """A coarse grid behind everything."""

    type = "render"

    def get_bindings(self, wobject: Backdrop, shared: Any, _scene: Any) -> dict[int, dict[int, Binding]]:
        material: BackdropMaterial = wobject.material
        self["columns"], self["rows"] = _GRID
        bindings = {
            0: Binding("u_stdinfo", "buffer/uniform", shared.uniform_buffer),
            1: Binding("u_wobject", "buffer/uniform", wobject.uniform_buffer),
            2: Binding("u_material", "buffer/uniform", material.uniform_buffer),
            3: Binding("t_halo", "texture/auto", material.halo, wgpu.ShaderStage.VERTEX),
            4: Binding("s_halo", "sampler/filtering", GfxSampler("linear", "clamp"), wgpu.ShaderStage.VERTEX),
        }
        self.define_bindings(0, bindings)
        return {0: bindings}

    def get_pipeline_info(self, _wobject: Backdrop, _shared: Any) -> dict[str, Any]:
        return {"primitive_topology": wgpu.PrimitiveTopology.triangle_list, "cull_mode": wgpu.CullMode.none}

    def get_render_info(self, _wobject: Backdrop, _shared: Any) -> dict[str, Any]:
        return {"indices": (6 * _GRID[0] * _GRID[1], 1)}

    def get_code(self) -> str:
        return wgsl.include("backdrop.wgsl")
