"""Stage: the GPU side of the window: a feed a machine, shown in one pane or more; made anew on another device."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from app.feeds import Feeds
from app.pane import Pane, Screen
from app.panes import Panes
from app.place import Place
from app.theme import Palette
from app.volume_places import VolumePlaces
from bridge.memory.errors import GuestMemoryError
from render.backdrop import BACKGROUNDS
from render.camera import CameraState
from render.cut import Cut
from render.device import AdapterSummary, replace_device, request_device
from render.palettes import linear_from_hex, palette_names
from render.view import VolumeView

if TYPE_CHECKING:
    import wgpu

    from bridge.machine.manager import AnyMachine
    from bridge.memory.dirty import ScanStats
    from bridge.memory.ram import GuestRam

GPU_FRAME_S, SOFTWARE_FRAME_S = 0.016, 0.033


class Stage:
    """What is drawn in the volume panels. Belongs to the main thread.

    All views show the same stores: a second view costs pictures, no second copy of the bytes. Where a method takes no
    pane it is about the active one, which was clicked last.
    """

    def __init__(self) -> None:
        self.device: wgpu.GPUDevice
        self.adapter: AdapterSummary
        self.device, self.adapter = request_device()
        self.screen = Screen()
        self.panes = Panes(self.device, self.screen)
        self.places = VolumePlaces(self.panes)
        self.feeds = Feeds(self.device, self.panes, self.places)
        self._frame_budget_s = 0.0
        self._theme: Palette | None = None

    @property
    def active(self) -> Pane:
        """The active pane."""
        return self.panes.active

    @property
    def view(self) -> VolumeView:
        """The active pane's view."""
        return self.panes.view

    @property
    def camera(self) -> CameraState:
        """Where the camera stands: frozen, for undo and scripts."""
        return self.view.camera.state

    def sync(self, machines: Iterable[AnyMachine]) -> list[tuple[str, Exception]]:
        """Have a volume for each machine whose RAM is mapped, and none for others; returns what could not be shown."""
        self.panes.free_closed()
        return self.feeds.sync(machines)

    # Device

    def rebuild(self) -> list[tuple[str, Exception]]:
        """Make everything anew on another device, after the old one was lost. Raises RenderError when there is none."""
        kept = [(pane, pane.view.camera.state, pane.view.look, _cuts(pane.view)) for pane in self.panes]
        shown = self.feeds.abandon()
        self.device, self.adapter = replace_device()
        self.panes.use_device(self.device)
        problems = self.feeds.begin_anew(self.device, shown)
        for pane, camera, look, cuts in kept:
            for name in cuts.keys() & self.feeds.keys():
                pane.view.set_cut(name, cuts[name])
            pane.view.look = look
            pane.view.camera.state = camera
        self.panes.show_marks()
        if self._theme is not None:
            self.use_theme(self._theme)
        return problems

    def close(self) -> None:
        """Stop all feeds and free what is on the GPU."""
        self.feeds.close()
        self.panes.destroy()

    @property
    def device_label(self) -> str:
        """What draws, in words."""
        return f"{self.adapter.name} ({self.adapter.backend}, {self.adapter.driver})"

    # Picture

    def use_theme(self, palette: Palette) -> None:
        """Draw on the ground of a theme."""
        self._theme = palette
        self.panes.set_background(palette.name)

    @property
    def accent(self) -> tuple[float, float, float]:
        """The colour of what is lit up where it has none of its own, in linear light."""
        return linear_from_hex(self.accent_hex)

    @property
    def accent_hex(self) -> str:
        """The same as `#rrggbb`."""
        return BACKGROUNDS["dark" if self._theme is None else self._theme.name].accent

    @property
    def palettes(self) -> tuple[str, ...]:
        return palette_names()

    @property
    def frame_budget_s(self) -> float:
        """How long a frame may take while anything moves."""
        return self._frame_budget_s or (SOFTWARE_FRAME_S if self.adapter.is_software else GPU_FRAME_S)

    def set_frame_budget(self, seconds: float) -> None:
        """Set how long a frame may take while anything moves; 0: what suits the adapter."""
        self._frame_budget_s = seconds

    def draw(self, now_s: float) -> bool:
        """Bring the pictures that can be seen up to date; False when nothing had to be done."""
        return self.panes.draw(now_s, self.frame_budget_s)

    # Where a byte is

    def pick(self, x: float, y: float, pane: Pane | None = None) -> Place | None:
        """Return the byte under a point of a pane's picture, in logical pixels from its upper left corner."""
        hit = (pane or self.active).hit(x, y)
        return Place(hit.key, hit.address) if hit is not None and hit.key in self.feeds else None

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
        store = self.feeds[place.machine].store
        x, y, z = store.curve.voxel_from_address(np.array([place.offset], np.uint64), store.order)[0].tolist()
        return x, y, z

    def curve_of(self, place: Place) -> str:
        """Return the curve along which a place's machine is laid now."""
        return self.feeds[place.machine].store.curve.name

    # Where the camera goes

    def fly_to(self, place: Place, now_s: float) -> None:
        """Fly to a byte: close enough that its page fills a good part of the picture."""
        self.view.camera.fly_to(self.view.page_box(place.machine, place.offset), now_s)

    def fly_to_pages(self, machine: str, pages: NDArray[np.uint32], now_s: float) -> None:
        """Fly until all of some pages of a machine, (n,), are in view. Raises KeyError."""
        self.view.camera.fly_to_boxes(self.view.page_boxes(machine, pages), now_s)

    def fit(self, machine: str | None, now_s: float) -> None:
        """Fly until one volume, or all, fill the picture."""
        if machine is None:
            self.view.camera.fit(now_s)
        else:
            self.view.camera.fly_to(self.view.volume_box(machine), now_s)

    # Figures

    def volumes(self) -> dict[str, int]:
        """Return the shown machines and their sizes in bytes."""
        return {name: feed.ram.size_bytes for name, feed in self.feeds.items()}

    def scan_stats(self, machine: str) -> ScanStats | None:
        """Return how a machine's RAM is being compared."""
        feed = self.feeds.get(machine)
        return None if feed is None else feed.stats.scan


def _cuts(view: VolumeView) -> dict[str, Cut]:
    return {name: view.cut(name) for name in view.volumes}
