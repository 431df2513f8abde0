"""Pane: one view of the memory in a panel of its own: its picture, its size, and what the pointer rests on."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from render.camera import CameraState
from render.picking import Hit
from render.view import VolumeView

if TYPE_CHECKING:
    import wgpu
    from imgui_bundle import imgui

MIN_SIDE_PX = 16
Rect = tuple[float, float, float, float]
"""x, y, width, height in logical pixels."""
NOWHERE: Rect = (0.0, 0.0, 0.0, 0.0)


@dataclass(slots=True)
class Screen:
    """What all panes are shown on: how a texture becomes an ImGui image there, and its pixels."""

    image: Callable[[wgpu.GPUTextureView], imgui.ImTextureRef] | None = None
    forget_image: Callable[[wgpu.GPUTextureView], None] = lambda _view: None
    pixel_ratio: float = 1.0


@dataclass(slots=True)
class _Resting:
    """Where the pointer rests, since when, and what was found there."""

    at: tuple[float, float] = (-1.0, -1.0)
    camera: CameraState | None = None
    since_s: float = 0.0
    asked: bool = False
    hit: Hit | None = None


class Pane:
    """Belongs to the main thread. `name` is the panel's title and what actions call it by."""

    def __init__(self, device: wgpu.GPUDevice, name: str, screen: Screen) -> None:
        self.name = name
        self.view = _view(device, (MIN_SIDE_PX, MIN_SIDE_PX))
        self.rect: Rect = NOWHERE
        """Where its picture lies in the window; nowhere while the panel is hidden."""
        self.linked = False
        """Whether its camera goes with those of the other linked panes."""
        self.visible = True
        self._screen = screen
        self._size_px = (MIN_SIDE_PX, MIN_SIDE_PX)
        self._resting = _Resting()
        self._texture: tuple[wgpu.GPUTexture, wgpu.GPUTextureView] | None = None

    def place(self, rect: Rect) -> None:
        """Lie there in the window from now on: one texel a physical pixel. Nowhere: the panel is hidden."""
        self.rect = rect
        self.visible = rect != NOWHERE
        if not self.visible:
            return
        size = tuple(max(MIN_SIDE_PX, round(side * self._screen.pixel_ratio)) for side in rect[2:])
        if size != self._size_px:
            self._size_px = (size[0], size[1])
            self.view.resize(*self._size_px)

    def texture(self) -> imgui.ImTextureRef:
        """Return the picture for `imgui.image`."""
        assert self._screen.image is not None
        texture = self.view.texture
        if self._texture is None or self._texture[0] is not texture:
            self._forget_texture()
            self._texture = (texture, texture.create_view())
        return self._screen.image(self._texture[1])

    def _forget_texture(self) -> None:
        if self._texture is not None:
            self._screen.forget_image(self._texture[1])
            self._texture = None

    def use_device(self, device: wgpu.GPUDevice) -> None:
        """Have an empty view on another device, after the old one was lost with all that was on it."""
        self._texture = None
        self.view = _view(device, self._size_px)

    def hit(self, x: float, y: float) -> Hit | None:
        """Return what lies under a point, in logical pixels from the picture's upper left corner."""
        found: Hit | None = self.view.pick(x * self._screen.pixel_ratio, y * self._screen.pixel_ratio)
        return found

    def resting_hit(self, x: float, y: float, rest_s: float) -> Hit | None:
        """Return what lies under a pointer that has rested for `rest_s`; asked once, because it waits for the GPU."""
        now, resting, camera = time.monotonic(), self._resting, self.view.camera.state
        if resting.at != (x, y) or resting.camera != camera:  # under a pointer that rests a flight moves the world
            self._resting = _Resting((x, y), camera, now)
            return None
        if not resting.asked and now - resting.since_s >= rest_s:
            resting.asked = True
            resting.hit = self.hit(x, y)
        return resting.hit

    def will_look(self) -> bool:
        """Return whether a resting pointer still waits for its answer, so that frames must go on."""
        return self._resting.at != (-1.0, -1.0) and not self._resting.asked

    def forget_rest(self) -> None:
        """Ask anew at the next rest: the picture or the pointer moved."""
        self._resting = _Resting()

    def close(self) -> None:
        """Free what is on the GPU. The stores live on."""
        self._forget_texture()
        self.view.destroy()


def _view(device: wgpu.GPUDevice, size_px: tuple[int, int]) -> VolumeView:
    view = VolumeView(device, size_px=size_px)
    view.closes_batch = False  # the window does, after all panes and its own pass
    return view
