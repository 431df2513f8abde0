"""Flat pane: one slice plane's flat picture as an ImGui image, one texel a physical pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from render.slice_view import SliceView

if TYPE_CHECKING:
    import wgpu
    from imgui_bundle import imgui

    from app.pane import Screen
    from app.slices_ui import FlatPlace
    from render.cut import Plane
    from render.slice_view import Raster
    from render.view import VolumeView


class FlatPane:
    """Belongs to the main thread."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._flat: SliceView | None = None
        self._texture: tuple[wgpu.GPUTexture, wgpu.GPUTextureView] | None = None

    def draw(
        self, view: VolumeView, machine: str, plane: Plane, place: FlatPlace, size: tuple[float, float], now_s: float
    ) -> bool:
        """Bring the picture, of a logical size, up to date; returns whether anything changed. Raises DeviceLost."""
        ratio = self._screen.pixel_ratio
        size_px = max(1, round(size[0] * ratio)), max(1, round(size[1] * ratio))
        if self._flat is None or self._flat.device is not view.device:
            self._texture = None  # a lost device took the old one along
            self._flat = SliceView(view.device, size_px)
        self._flat.resize(size_px)
        return view.draw_slice(self._flat, machine, plane, place.centre, place.zoom, now_s)

    @property
    def raster(self) -> Raster | None:
        """Which pixel shows what."""
        return None if self._flat is None else self._flat.raster

    def texture(self) -> imgui.ImTextureRef:
        """Return the picture for `imgui.image`."""
        assert self._screen.image is not None
        assert self._flat is not None
        texture = self._flat.texture
        if self._texture is None or self._texture[0] is not texture:
            self._forget_texture()
            self._texture = (texture, texture.create_view())
        return self._screen.image(self._texture[1])

    def voxel_at(self, x: float, y: float) -> tuple[int, int, int] | None:
        """Return the voxel at a point, in logical pixels from the picture's upper left corner."""
        ratio = self._screen.pixel_ratio
        return None if self._flat is None else self._flat.voxel_at(x * ratio, y * ratio)

    def _forget_texture(self) -> None:
        if self._texture is not None:
            self._screen.forget_image(self._texture[1])
            self._texture = None

    def close(self) -> None:
        """Free what is on the GPU."""
        self._forget_texture()
        if self._flat is not None:
            self._flat.destroy()
            self._flat = None
