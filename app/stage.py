"""Stage: the GPU side of the window: a feed a machine, shown by one view or more; made anew on another device."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from app.feed import RamFeed
from app.layout import VOLUME
from app.pane import Pane, Screen
from app.place import Place
from app.theme import Palette
from app.video_memory_use import MemoryUse, store_use
from bridge.memory.errors import GuestMemoryError
from render.arrangement import Point, Shape, arrange, box_at, fits, free_place, snapped
from render.camera import CameraState
from render.curves import CURVES
from render.cut import Cut
from render.device import AdapterSummary, replace_device, request_device
from render.errors import RenderError
from render.heat import HALF_LIFE_S
from render.palettes import palette_names
from render.timing import pass_clock
from render.video_memory import default_budget_bytes
from render.view import Hit, VolumeView

if TYPE_CHECKING:
    import wgpu

    from bridge.machine.manager import AnyMachine
    from bridge.memory.dirty import ScanStats
    from bridge.memory.ram import GuestRam

_LEAST_BUDGET_BYTES = 64 << 20
GPU_FRAME_S, SOFTWARE_FRAME_S = 0.016, 0.033
MAX_PANES = 4
"""More views than this leave none of them room, on a screen or in a frame's budget."""


class Stage:
    """What is drawn in the volume panels. Belongs to the main thread.

    All views show the same stores: a second view costs pictures, no second copy of the bytes. Where a method takes no
    pane it is about the active one, which was clicked last.
    """

    def __init__(self) -> None:
        self.device: wgpu.GPUDevice
        self.adapter: AdapterSummary
        self.device, self.adapter = request_device()
        self.feeds: dict[str, RamFeed] = {}
        self.curve = "hilbert"
        """How addresses are laid in space: a name in CURVES."""
        self._coming: dict[str, RamFeed] = {}  # stores that fill, to be shown instead of those in `feeds`
        self.screen = Screen()
        self.memory_budget_bytes = 0
        """How much of the GPU's memory may be used; 0: half of it."""
        self._frame_budget_s = 0.0
        self._usual_budget_bytes = default_budget_bytes(self.device)
        self._pumped_s = 0.0
        self._refused: set[str] = set()
        self._broken: list[tuple[str, Exception]] = []
        self._closed: list[Pane] = []
        self._theme: Palette | None = None
        self.places: dict[str, Point] = {}
        """Where people put volumes, by machine: kept also for those that are not shown now."""
        self._half_life_s = HALF_LIFE_S
        self._marked: Place | None = None
        self._outlined: tuple[str, NDArray[np.uint32], str] | None = None
        self._together: CameraState | None = None  # where the linked cameras stood in the last frame
        self.panes: list[Pane] = [Pane(self.device, VOLUME, self.screen)]
        self.active = self.panes[0]

    @property
    def view(self) -> VolumeView:
        """The active pane's view."""
        return self.active.view

    # Panes

    def pane(self, name: str | None = None) -> Pane:
        """Return a pane by name, or the active one. Raises KeyError."""
        if name is None:
            return self.active
        for pane in self.panes:
            if pane.name == name:
                return pane
        raise KeyError(name)

    def open_pane(self, name: str | None = None) -> Pane:
        """Open another view, which looks at first as the active one does, and return it.

        Raises ValueError where there are MAX_PANES or one of that name.
        """
        names = [pane.name for pane in self.panes]
        if len(names) >= MAX_PANES or name in names:
            raise ValueError(f"{len(names)} views are open: {', '.join(names)}")
        like = self.active
        pane = Pane(self.device, name or next(n for n in pane_names() if n not in names), self.screen)
        try:
            self._fill(pane, like.view)
        except BaseException:
            pane.close()
            raise
        self.panes.append(pane)
        return pane

    def close_pane(self, name: str) -> None:
        """Close a view; the first one stays. Raises KeyError, ValueError."""
        pane = self.pane(name)
        if pane is self.panes[0]:
            raise ValueError("the first view stays open")
        self.panes.remove(pane)
        if self.active is pane:
            self.active = self.panes[0]
        self._closed.append(pane)  # the frame that is being built may still show it

    def _free_closed(self) -> None:
        for pane in self._closed:
            pane.close()
        self._closed.clear()

    def activate(self, name: str) -> None:
        """Let actions and keys be about this pane. Raises KeyError."""
        self.active = self.pane(name)

    def link(self, name: str, linked: bool) -> None:
        """Keep a pane's camera together with those of the other linked panes, or no longer.

        The pane comes to where the others stand. A lone pane is linked with the active one, or with the first.
        """
        pane = self.pane(name)
        pane.linked = linked
        others = [p for p in self.panes if p is not pane]
        if linked and others and not any(p.linked for p in others):
            (self.active if self.active is not pane else others[0]).linked = True
        if not linked and sum(p.linked for p in self.panes) == 1:
            for other in self.panes:
                other.linked = False
        leader = next((p for p in others if p.linked), None)
        self._together = None if leader is None else leader.view.camera.state
        if linked and leader is not None:
            pane.view.camera.skip()
            pane.view.camera.state = leader.view.camera.state

    def _fill(self, pane: Pane, like: VolumeView) -> None:
        """Show everything in a new view, as another one does."""
        if self._theme is not None:
            pane.view.set_background(self._theme.name)
        for name, feed in self.feeds.items():
            pane.view.add_volume(name, feed.store, label=name, origin=like.volume_box(name)[0])
            pane.view.set_cut(name, like.cut(name))
        pane.view.look = like.look
        pane.view.camera.state = like.camera.state
        self._mark_in(pane)
        self._outline_in(pane)

    def _follow_links(self, now_s: float) -> None:
        """Bring linked cameras to where one of them was moved; the active one is asked first."""
        linked = [pane for pane in self.panes if pane.linked]
        if len(linked) < 2:
            self._together = None
            return
        for pane in linked:
            pane.view.camera.update(now_s)
        linked.sort(key=lambda pane: pane is not self.active)
        moved = [pane for pane in linked if pane.view.camera.state != self._together]
        if not moved:
            return
        # One that flies leads: where the others stand it has been.
        leader = next((pane for pane in moved if pane.view.camera.moving), moved[0])
        state = leader.view.camera.state
        for pane in linked:
            if pane is not leader and pane.view.camera.state != state:
                pane.view.camera.skip()
                pane.view.camera.state = state
        self._together = state

    # Machines

    def sync(self, machines: Iterable[AnyMachine]) -> list[tuple[str, Exception]]:
        """Have a volume for each machine whose RAM is mapped, and none for others; returns what could not be shown."""
        self._free_closed()
        problems, self._broken = self._broken, []
        wanted = {m.name: m.ram for m in machines if m.ram is not None and not m.info.state.ended}
        changed, shown_before = False, bool(self.feeds)
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
            for pane in self.panes:
                pane.view.camera.fit(time.monotonic() if shown_before else None)
        return problems

    def _feed(self, ram: GuestRam) -> RamFeed:
        feed = RamFeed(ram, self.device, curve=self.curve, budget_bytes=self._budget_left())
        feed.store.half_life_s = self._half_life_s
        return feed

    def _add(self, name: str, ram: GuestRam, origin: Point | None = None) -> None:
        feed = self._feed(ram)
        shown: list[Pane] = []
        try:
            origin = origin or self._place_for(name, feed.store.shape_voxels)
            for pane in self.panes:
                pane.view.add_volume(name, feed.store, label=name, origin=origin)
                shown.append(pane)
        except BaseException:
            for pane in shown:
                pane.view.remove_volume(name)
            feed.close()
            raise
        self.feeds[name] = feed

    def _place_for(self, name: str, shape: Shape) -> Point:
        """Where it was put before, unless another stands there now."""
        others = [self.view.volume_box(other) for other in self.view.volumes]
        kept = self.places.get(name)
        if kept is not None and fits(box_at(kept, shape), others):
            return kept
        return free_place(shape, others)

    def origins(self) -> dict[str, Point]:
        """Return where the volumes stand."""
        return {name: self.view.volume_box(name)[0] for name in self.feeds}

    def move(self, machine: str, origin: Sequence[float]) -> bool:
        """Put a volume on the place of the grid that is nearest to `origin`; False where another one stands.

        Raises KeyError.
        """
        shape = self.feeds[machine].store.shape_voxels
        place = snapped(origin)
        others = [self.view.volume_box(other) for other in self.feeds if other != machine]
        if not fits(box_at(place, shape), others):
            return False
        self.places[machine] = place
        self._put({machine: place})
        return True

    def put(self, origins: Mapping[str, Point]) -> None:
        """Let volumes stand where they stood: for undo."""
        self.places.update(origins)
        self._put({name: origin for name, origin in origins.items() if name in self.feeds})

    def arrange(self) -> None:
        """Let all volumes stand beside each other in a grid, and forget where they were put."""
        origins = arrange({name: feed.store.shape_voxels for name, feed in self.feeds.items()})
        for name in origins:
            self.places.pop(name, None)
        self._put(origins)

    def _put(self, origins: Mapping[str, Point]) -> None:
        for pane in self.panes:
            for name, origin in origins.items():
                pane.view.move_volume(name, origin)

    def _remove(self, name: str) -> None:
        self._forget_coming(name)
        feed = self.feeds.pop(name)
        for pane in self.panes:
            pane.view.remove_volume(name)
        feed.close()

    def pump(self, budget_s: float) -> int:
        """Carry changed pages to the GPU for about `budget_s`, shared by all machines; returns how many.

        A machine whose RAM can no longer be followed is taken out of the picture; the next `sync` tells of it.
        """
        began_s = time.perf_counter()
        share = budget_s / max(1, len(self.feeds))
        carried = 0
        for name, feed in list(self.feeds.items()):
            try:
                carried += feed.pump(share)
            except (GuestMemoryError, OSError) as error:
                self._remove(name)
                self._refused.add(name)
                self._broken.append((name, error))
        carried += self._pump_coming(budget_s)
        if carried:
            self._pumped_s += time.perf_counter() - began_s
        return carried

    def take_pumped_s(self) -> float:
        """Return how long carrying pages took since the last call, by the processor's clock."""
        pumped_s, self._pumped_s = self._pumped_s, 0.0
        return pumped_s

    # Curves

    def set_curve(self, curve: str) -> None:
        """Lay addresses in space along another curve, a name in CURVES: each volume goes over to it when it is ready.

        What cannot be laid anew, for want of memory, stays as it is; the next `sync` tells of it. Raises KeyError.
        """
        if CURVES[curve].name == self.curve:
            return
        self.curve = curve
        for name in list(self.feeds):
            self._forget_coming(name)
            if self.feeds[name].store.curve.name != curve:
                self._lay_anew(name)

    def set_memory_budget(self, budget_bytes: int) -> None:
        """Set how much of the GPU's memory may be used; 0: half of it. Volumes that it concerns are laid anew."""
        if budget_bytes == self.memory_budget_bytes:
            return
        self.memory_budget_bytes = budget_bytes
        too_much = self._budget() < self.memory_use().total
        for name, feed in list(self.feeds.items()):
            if too_much or feed.store.is_pooled:
                self._forget_coming(name)
                self._lay_anew(name)

    @property
    def laying(self) -> tuple[str, ...]:
        """The machines that are being laid along another curve."""
        return tuple(self._coming)

    @property
    def usual_budget_bytes(self) -> int:
        """The memory budget where none is set: half of what the adapter had when it was opened."""
        return self._usual_budget_bytes

    def _budget_left(self) -> int:
        """What one more volume may take on the GPU; where little is left it is shown coarsely, but shown."""
        return max(_LEAST_BUDGET_BYTES, self._budget() - self.memory_use().total)

    def _budget(self) -> int:
        return self.memory_budget_bytes or self._usual_budget_bytes

    def _lay_anew(self, name: str) -> None:
        """Fill another store from the same RAM; the old one is shown until that is done, where there is room for both.

        A scanner of its own finds all that is not zero, as it did for the first store: no second way to fill one.
        """
        old = self.feeds[name]
        try:
            if self.memory_use().total + old.store.vram_bytes > self._budget():
                self._fill_before_ones_eyes(name)
            else:
                self._coming[name] = self._feed(old.ram)
        except (RenderError, GuestMemoryError, OSError) as error:
            if name not in self.feeds:
                self._refused.add(name)
            self._broken.append((name, error))

    def _fill_before_ones_eyes(self, name: str) -> None:
        """Give the old store up first: for volumes that are too large to be held twice."""
        ram, origin = self.feeds[name].ram, self.view.volume_box(name)[0]
        kept = [(pane, pane.view.camera.state, pane.view.cut(name)) for pane in self.panes]
        half_life_s = self.feeds[name].store.half_life_s
        self._remove(name)
        self._add(name, ram, origin)
        self.feeds[name].store.half_life_s = half_life_s
        for pane, camera, cut in kept:
            pane.view.set_cut(name, cut)
            pane.view.camera.state = replace(camera, opening=None)
        self.mark(self._marked)

    def _pump_coming(self, budget_s: float) -> int:
        carried = 0
        for name, feed in list(self._coming.items()):
            try:
                carried += feed.pump(budget_s / len(self._coming))
            except (GuestMemoryError, OSError) as error:
                self._forget_coming(name)
                self._broken.append((name, error))
                continue
            if feed.caught_up:
                del self._coming[name]
                self._go_over(name, feed)
        return carried

    def _go_over(self, name: str, feed: RamFeed) -> None:
        """Show a machine's new store instead of the old one; the selected byte is where it is now."""
        old, self.feeds[name] = self.feeds[name], feed
        feed.store.half_life_s = old.store.half_life_s
        for attribute in (old.store.attribute(known) for known in old.store.attributes):
            feed.store.set_attribute(
                attribute.name,
                attribute.values,
                kind=attribute.kind,
                low=attribute.low,
                high=attribute.high,
                labels=attribute.labels,
                unit=attribute.unit,
            )
        for pane in self.panes:
            pane.view.replace_volume(name, feed.store)
            camera = pane.view.camera
            if camera.state.opening is not None:  # the page that was laid open lies elsewhere now
                camera.close()
                if self._marked is not None and self._marked.machine == name:
                    camera.fly_to(pane.view.page_box(name, self._marked.offset), time.monotonic())
        self.forget_rest()
        old.close()

    def _forget_coming(self, name: str) -> None:
        if (coming := self._coming.pop(name, None)) is not None:
            coming.close()

    # Device

    def rebuild(self) -> list[tuple[str, Exception]]:
        """Make everything anew on another device, after the old one was lost. Raises RenderError when there is none."""
        rams, origins = {name: feed.ram for name, feed in self.feeds.items()}, self.origins()
        kept = [(pane, pane.view.camera.state, pane.view.look, _cuts(pane.view)) for pane in self.panes]
        for feed in (*self.feeds.values(), *self._coming.values()):
            feed.tracker.stop()  # what it had on the GPU went with the device
        self.feeds.clear()
        self._closed.clear()
        self._coming.clear()  # what they held is lost too; new ones are laid as is wanted now
        self.device, self.adapter = replace_device()
        self._usual_budget_bytes = default_budget_bytes(self.device)
        for pane in self.panes:
            pane.use_device(self.device)
        problems: list[tuple[str, Exception]] = []
        for name, ram in rams.items():
            try:
                self._add(name, ram, origins[name])
            except (RenderError, GuestMemoryError, OSError) as error:
                self._refused.add(name)
                problems.append((name, error))
        for pane, camera, look, cuts in kept:
            for name in cuts.keys() & self.feeds.keys():
                pane.view.set_cut(name, cuts[name])
            pane.view.look = look
            pane.view.camera.state = camera
        for pane in self.panes:
            self._outline_in(pane)
        if self._theme is not None:
            self.use_theme(self._theme)
        return problems

    def close(self) -> None:
        """Stop all feeds and free what is on the GPU."""
        for name in list(self.feeds):
            self._remove(name)
        self._free_closed()
        for pane in self.panes:
            pane.close()

    # Picture

    def use_theme(self, palette: Palette) -> None:
        """Draw on the ground of a theme."""
        self._theme = palette
        for pane in self.panes:
            pane.view.set_background(palette.name)

    @property
    def half_life_s(self) -> float:
        """In what time the write heat of a page that is left alone halves."""
        return self._half_life_s

    @half_life_s.setter
    def half_life_s(self, half_life_s: float) -> None:
        self._half_life_s = half_life_s
        for feed in (*self.feeds.values(), *self._coming.values()):
            feed.store.half_life_s = half_life_s

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

    def _share_frame(self) -> None:
        """Give each view that can be seen its share of a frame."""
        shown = [pane for pane in self.panes if pane.visible]
        for pane in shown:
            budget, share_s = pane.view.budget, self.frame_budget_s / len(shown)
            budget.still_s *= share_s / budget.frame_s
            budget.frame_s = share_s

    def draw(self, now_s: float) -> bool:
        """Bring the pictures that can be seen up to date; False when nothing had to be done."""
        self._follow_links(now_s)
        self._share_frame()
        drawn = [pane.view.draw(now_s) for pane in self.panes if pane.visible]
        return any(drawn)

    def finish(self, now_s: float) -> None:
        """Draw all pictures that can be seen as well as it gets."""
        for pane in self.panes:
            pane.view.camera.skip()
        self._follow_links(now_s)
        for pane in self.panes:
            if pane.visible:
                pane.view.finish(now_s)

    # Places

    def pick(self, x: float, y: float, pane: Pane | None = None) -> Place | None:
        """Return the byte under a point of a pane's picture, in logical pixels from its upper left corner."""
        hit = (pane or self.active).hit(x, y)
        return Place(hit.key, hit.address) if hit is not None and hit.key in self.feeds else None

    def set_hover(self, hit: Hit | None) -> None:
        """Mark the byte under the pointer, or none, in all panes: where it lies in one can be seen in the others."""
        for pane in self.panes:
            pane.view.set_hover(hit)

    def will_look(self) -> bool:
        """Return whether a resting pointer still waits for its answer, so that frames must go on."""
        return any(pane.will_look() for pane in self.panes)

    def forget_rest(self) -> None:
        """Ask anew at the next rest: a picture or the pointer moved."""
        for pane in self.panes:
            pane.forget_rest()

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

    def mark(self, place: Place | None) -> None:
        """Show the selected byte in all panes."""
        self._marked = place
        for pane in self.panes:
            self._mark_in(pane)

    def outline(self, machine: str | None, pages: NDArray[np.uint32] | None = None, label: str = "") -> None:
        """Show boxes around pages (n,) of a machine in all panes, with a name; None: around nothing."""
        self._outlined = None if machine is None or pages is None else (machine, pages, label)
        for pane in self.panes:
            self._outline_in(pane)

    def _outline_in(self, pane: Pane) -> None:
        if self._outlined is not None and self._outlined[0] in self.feeds:
            pane.view.set_outline(*self._outlined)
        else:
            pane.view.set_outline(None)

    def _mark_in(self, pane: Pane) -> None:
        place = self._marked
        if place is None or place.machine not in self.feeds:
            pane.view.set_selection(None, None)
        else:
            pane.view.set_selection(place.machine, place.offset)

    @property
    def camera(self) -> CameraState:
        """Where the camera stands: frozen, for undo and scripts."""
        return self.view.camera.state

    # Figures

    def volumes(self) -> dict[str, int]:
        """Return the shown machines and their sizes in bytes."""
        return {name: feed.ram.size_bytes for name, feed in self.feeds.items()}

    def memory_use(self) -> MemoryUse:
        """Return what is held on the GPU, and by whom."""
        return MemoryUse(
            machines={name: self._use_of(name) for name in self.feeds},
            pictures=sum(pane.view.vram_bytes for pane in self.panes) + pass_clock(self.device).vram_bytes,
            budget=self._budget(),
        )

    def _use_of(self, name: str) -> dict[str, int]:
        use = store_use(self.feeds[name].store)
        if name in self._coming:
            for kind, held in store_use(self._coming[name].store).items():
                use[kind] += held
        return use

    def scan_stats(self, machine: str) -> ScanStats | None:
        """Return how a machine's RAM is being compared."""
        feed = self.feeds.get(machine)
        return None if feed is None else feed.stats.scan

    @property
    def device_label(self) -> str:
        """What draws, in words."""
        return f"{self.adapter.name} ({self.adapter.backend}, {self.adapter.driver})"


def pane_names() -> tuple[str, ...]:
    """Return what panes are called, in the order in which they are opened."""
    return (VOLUME, *(f"{VOLUME} {number}" for number in range(2, MAX_PANES + 1)))


def _cuts(view: VolumeView) -> dict[str, Cut]:
    return {name: view.cut(name) for name in view.volumes}
