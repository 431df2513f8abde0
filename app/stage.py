"""Stage: the GPU side of the window: one view, a feed and a volume a machine, made anew when the device is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from imgui_bundle import imgui

from app.feed import RamFeed
from app.place import Place
from app.theme import Palette
from bridge.memory.errors import GuestMemoryError
from render.camera import CameraState
from render.device import AdapterSummary, replace_device, request_device
from render.errors import RenderError
from render.hilbert import voxel_from_address
from render.palettes import PALETTES
from render.view import Hit, VolumeView

if TYPE_CHECKING:
    import wgpu

    from bridge.machine.machine import Machine
    from bridge.memory.dirty import ScanStats
    from bridge.memory.ram import GuestRam

MIN_SIDE_PX = 16


@dataclass(slots=True)
class _Resting:
    """Where the pointer rests, since when, and what was found there."""

    at: tuple[float, float] = (-1.0, -1.0)
    since_s: float = 0.0
    asked: bool = False
    hit: Hit | None = None


class Stage:
    """What is drawn in the volume panel. Belongs to the main thread."""

    def __init__(self) -> None:
        self.device: wgpu.GPUDevice
        self.adapter: AdapterSummary
        self.device, self.adapter = request_device()
        self.feeds: dict[str, RamFeed] = {}
        self.pixel_ratio = 1.0
        self.image: Callable[[wgpu.GPUTextureView], imgui.ImTextureRef] | None = None
        self.forget_image: Callable[[wgpu.GPUTextureView], None] = lambda _view: None
        self._size_px = (MIN_SIDE_PX, MIN_SIDE_PX)
        self._resting = _Resting()
        self._refused: set[str] = set()
        self._broken: list[tuple[str, Exception]] = []
        self._theme: Palette | None = None
        self._texture: tuple[wgpu.GPUTexture, wgpu.GPUTextureView] | None = None
        self.view = VolumeView(self.device, size_px=self._size_px)

    # Machines

    def sync(self, machines: Iterable[Machine]) -> list[tuple[str, Exception]]:
        """Have a volume for each machine whose RAM is mapped, and none for others; returns what could not be shown."""
        problems, self._broken = self._broken, []
        wanted = {m.name: m.ram for m in machines if m.ram is not None and not m.info.state.ended}
        changed = False
        for name in [n for n, feed in self.feeds.items() if feed.ram is not wanted.get(n)]:
            self._remove(name)
            changed = True
        self._refused &= wanted.keys()
        for name, ram in wanted.items():
            if ram is None or name in self.feeds or name in self._refused:
                continue
            try:
                self._add(name, ram)
                changed = True
            except (RenderError, GuestMemoryError, OSError) as error:
                self._refused.add(name)
                problems.append((name, error))
        if changed and self.feeds:
            self.view.camera.fit()
        return problems

    def _add(self, name: str, ram: GuestRam) -> None:
        feed = RamFeed(ram, self.device)
        try:
            self.view.add_volume(name, feed.store, label=name)
        except BaseException:
            feed.close()
            raise
        self.feeds[name] = feed

    def _remove(self, name: str) -> None:
        feed = self.feeds.pop(name)
        self.view.remove_volume(name)
        feed.close()

    def pump(self, budget_s: float) -> int:
        """Carry changed pages to the GPU for about `budget_s`, shared by all machines; returns how many.

        A machine whose RAM can no longer be followed is taken out of the picture; the next `sync` tells of it.
        """
        share = budget_s / max(1, len(self.feeds))
        carried = 0
        for name, feed in list(self.feeds.items()):
            try:
                carried += feed.pump(share)
            except (GuestMemoryError, OSError) as error:
                self._remove(name)
                self._refused.add(name)
                self._broken.append((name, error))
        return carried

    # Device

    def rebuild(self) -> list[tuple[str, Exception]]:
        """Make everything anew on another device, after the old one was lost. Raises RenderError when there is none."""
        rams = {name: feed.ram for name, feed in self.feeds.items()}
        camera, look = self.view.camera.state, self.view.look
        for feed in self.feeds.values():
            feed.tracker.stop()  # what it had on the GPU went with the device
        self.feeds.clear()
        self._texture = None
        self.device, self.adapter = replace_device()
        self.view = VolumeView(self.device, size_px=self._size_px)
        problems: list[tuple[str, Exception]] = []
        for name, ram in rams.items():
            try:
                self._add(name, ram)
            except (RenderError, GuestMemoryError, OSError) as error:
                self._refused.add(name)
                problems.append((name, error))
        self.view.look = look
        self.view.camera.state = camera
        if self._theme is not None:
            self.use_theme(self._theme)
        return problems

    def close(self) -> None:
        """Stop all feeds and free what is on the GPU."""
        for name in list(self.feeds):
            self._remove(name)
        self.view.destroy()

    # Picture

    def use_theme(self, palette: Palette) -> None:
        """Draw on the ground of a theme."""
        self._theme = palette
        self.view.set_background(palette.name)

    @property
    def palettes(self) -> tuple[str, ...]:
        return PALETTES

    def show_in(self, width: float, height: float) -> None:
        """Fit the picture to a panel of this logical size: one texel a physical pixel."""
        size = tuple(max(MIN_SIDE_PX, round(side * self.pixel_ratio)) for side in (width, height))
        if size != self._size_px:
            self._size_px = (size[0], size[1])
            self.view.resize(*self._size_px)

    def texture(self) -> imgui.ImTextureRef:
        """Return the picture for `imgui.image`."""
        assert self.image is not None
        texture = self.view.texture
        if self._texture is None or self._texture[0] is not texture:
            if self._texture is not None:
                self.forget_image(self._texture[1])
            self._texture = (texture, texture.create_view())
        return self.image(self._texture[1])

    def draw(self, now_s: float) -> bool:
        """Bring the picture up to date; False when nothing had to be done."""
        return bool(self.view.draw(now_s))

    # Places

    def hit(self, x: float, y: float) -> Hit | None:
        """Return what lies under a point of the panel, in logical pixels from its upper left corner."""
        found: Hit | None = self.view.pick(x * self.pixel_ratio, y * self.pixel_ratio)
        return found

    def pick(self, x: float, y: float) -> Place | None:
        """Return the byte under a point of the panel."""
        hit = self.hit(x, y)
        return Place(hit.key, hit.address) if hit is not None and hit.key in self.feeds else None

    def resting_hit(self, x: float, y: float, rest_s: float) -> Hit | None:
        """Return what lies under a pointer that has rested for `rest_s`; asked once, because it waits for the GPU."""
        now, resting = time.monotonic(), self._resting
        if resting.at != (x, y):
            self._resting = _Resting((x, y), now)
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

    def ram(self, machine: str) -> GuestRam | None:
        """Return a shown machine's RAM."""
        feed = self.feeds.get(machine)
        return None if feed is None else feed.ram

    def paddr(self, place: Place) -> int | None:
        """Return the guest-physical address of a place; None where that part of the RAM file is not mapped."""
        ram = self.ram(place.machine)
        if ram is None:
            return None
        try:
            return int(ram.physical_map.paddr_from_offset(place.offset))
        except GuestMemoryError:
            return None

    def place(self, machine: str, address: int) -> Place:
        """Return the place of a guest-physical address. Raises GuestMemoryError where there is no RAM."""
        ram = self.ram(machine)
        if ram is None:
            raise KeyError(machine)
        return Place(machine, int(ram.physical_map.offset_from_paddr(address)))

    def end_paddr(self, machine: str) -> int:
        """Return the address after a machine's last byte of RAM."""
        ram = self.ram(machine)
        return 0 if ram is None else max(r.paddr + r.size_bytes for r in ram.physical_map.regions)

    def voxel(self, place: Place) -> tuple[int, int, int]:
        """Return where a place lies in its machine's volume."""
        order = self.feeds[place.machine].store.order
        x, y, z = voxel_from_address(np.array([place.offset], np.uint64), order)[0].tolist()
        return x, y, z

    def fly_to(self, place: Place, now_s: float) -> None:
        """Fly to a byte: close enough that its page fills a good part of the picture."""
        self.view.camera.fly_to(self.view.page_box(place.machine, place.offset), now_s)

    def fit(self, machine: str | None, now_s: float) -> None:
        """Fly until one volume, or all, fill the picture."""
        if machine is None:
            self.view.camera.fit(now_s)
        else:
            self.view.camera.fly_to(self.view.volume_box(machine), now_s)

    def mark(self, place: Place | None) -> None:
        """Show the selected byte."""
        if place is None:
            self.view.set_selection(None, None)
        else:
            self.view.set_selection(place.machine, place.offset)

    @property
    def camera(self) -> CameraState:
        """Where the camera stands: frozen, for undo and scripts."""
        return self.view.camera.state

    # Figures

    def volumes(self) -> dict[str, int]:
        """Return the shown machines and their sizes in bytes."""
        return {name: feed.ram.size_bytes for name, feed in self.feeds.items()}

    def scan_stats(self, machine: str) -> ScanStats | None:
        """Return how a machine's RAM is being compared."""
        feed = self.feeds.get(machine)
        return None if feed is None else feed.stats.scan

    @property
    def device_label(self) -> str:
        """What draws, in words."""
        return f"{self.adapter.name} ({self.adapter.backend}, {self.adapter.driver})"
