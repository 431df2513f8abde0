"""Feeds: what carries the RAM of each machine to a store on the GPU, all along one curve, within a memory budget."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from app.feed import RamFeed
from app.video_memory_use import MemoryUse, store_use
from bridge.memory.errors import GuestMemoryError
from render.curves import CURVES
from render.errors import RenderError
from render.heat import HALF_LIFE_S
from render.timing import pass_clock
from render.video_memory import default_budget_bytes

if TYPE_CHECKING:
    import wgpu

    from app.pane import Pane
    from app.panes import Panes
    from app.volume_places import VolumePlaces
    from bridge.machine.manager import AnyMachine
    from bridge.memory.ram import GuestRam
    from render.arrangement import Point

_LEAST_BUDGET_BYTES = 64 << 20


class Feeds(Mapping[str, RamFeed]):
    """By machine: one for each whose RAM is shown, in all panes. Belongs to the main thread."""

    def __init__(self, device: wgpu.GPUDevice, panes: Panes, places: VolumePlaces) -> None:
        self._device = device
        self._panes = panes
        self._places = places
        self._feeds: dict[str, RamFeed] = {}
        self._coming: dict[str, RamFeed] = {}  # stores that fill, to be shown instead of those in `_feeds`
        self._refused: set[str] = set()
        self._broken: list[tuple[str, Exception]] = []
        self._pumped_s = 0.0
        self._half_life_s = HALF_LIFE_S
        self._usual_budget_bytes = default_budget_bytes(device)
        self.curve = "hilbert"
        """How addresses are laid in space: a name in CURVES."""
        self.memory_budget_bytes = 0
        """How much of the GPU's memory may be used; 0: half of it."""

    def __getitem__(self, machine: str) -> RamFeed:
        return self._feeds[machine]

    def __iter__(self) -> Iterator[str]:
        return iter(self._feeds)

    def __len__(self) -> int:
        return len(self._feeds)

    # Machines

    def sync(self, machines: Iterable[AnyMachine]) -> list[tuple[str, Exception]]:
        """Have a volume for each machine whose RAM is mapped, and none for others; returns what could not be shown."""
        problems, self._broken = self._broken, []
        wanted = {m.name: m.ram for m in machines if m.ram is not None and not m.info.state.ended}
        changed, shown_before = False, bool(self._feeds)
        for name in [n for n, feed in self._feeds.items() if feed.ram is not wanted.get(n)]:
            self._remove(name)
            changed = True
        self._refused &= wanted.keys()
        for name, ram in wanted.items():
            if ram is None or name in self._feeds or name in self._refused:
                continue
            try:
                self._add(name, ram)
                changed = True
            except (RenderError, GuestMemoryError, OSError) as error:
                self._refused.add(name)
                problems.append((name, error))
        if changed and self._feeds:
            for pane in self._panes:
                pane.view.camera.fit(time.monotonic() if shown_before else None)
        return problems

    def _feed(self, ram: GuestRam) -> RamFeed:
        feed = RamFeed(ram, self._device, curve=self.curve, budget_bytes=self._budget_left())
        feed.store.half_life_s = self._half_life_s
        return feed

    def _add(self, name: str, ram: GuestRam, origin: Point | None = None) -> None:
        feed = self._feed(ram)
        shown: list[Pane] = []
        try:
            origin = origin or self._places.place_for(name, feed.store.shape_voxels)
            for pane in self._panes:
                pane.view.add_volume(name, feed.store, label=name, origin=origin)
                shown.append(pane)
        except BaseException:
            for pane in shown:
                pane.view.remove_volume(name)
            feed.close()
            raise
        self._feeds[name] = feed

    def _remove(self, name: str) -> None:
        self._forget_coming(name)
        feed = self._feeds.pop(name)
        for pane in self._panes:
            pane.view.remove_volume(name)
        feed.close()

    def pump(self, budget_s: float) -> int:
        """Carry changed pages to the GPU for about `budget_s`, shared by all machines; returns how many.

        A machine whose RAM can no longer be followed is taken out of the picture; the next `sync` tells of it.
        """
        began_s = time.perf_counter()
        share = budget_s / max(1, len(self._feeds))
        carried = 0
        for name, feed in list(self._feeds.items()):
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

    @property
    def half_life_s(self) -> float:
        """In what time the write heat of a page that is left alone halves."""
        return self._half_life_s

    @half_life_s.setter
    def half_life_s(self, half_life_s: float) -> None:
        self._half_life_s = half_life_s
        for feed in (*self._feeds.values(), *self._coming.values()):
            feed.store.half_life_s = half_life_s

    # Curve and memory

    def set_curve(self, curve: str) -> None:
        """Lay addresses in space along another curve, a name in CURVES: each volume goes over to it when it is ready.

        What cannot be laid anew, for want of memory, stays as it is; the next `sync` tells of it. Raises KeyError.
        """
        if CURVES[curve].name == self.curve:
            return
        self.curve = curve
        for name in list(self._feeds):
            self._forget_coming(name)
            if self._feeds[name].store.curve.name != curve:
                self._lay_anew(name)

    def set_memory_budget(self, budget_bytes: int) -> None:
        """Set how much of the GPU's memory may be used; 0: half of it. Volumes that it concerns are laid anew."""
        if budget_bytes == self.memory_budget_bytes:
            return
        self.memory_budget_bytes = budget_bytes
        too_much = self._budget() < self.memory_use().total
        for name, feed in list(self._feeds.items()):
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
        old = self._feeds[name]
        try:
            if self.memory_use().total + old.store.vram_bytes > self._budget():
                self._fill_before_ones_eyes(name)
            else:
                self._coming[name] = self._feed(old.ram)
        except (RenderError, GuestMemoryError, OSError) as error:
            if name not in self._feeds:
                self._refused.add(name)
            self._broken.append((name, error))

    def _fill_before_ones_eyes(self, name: str) -> None:
        """Give the old store up first: for volumes that are too large to be held twice."""
        ram, origin = self._feeds[name].ram, self._panes.view.volume_box(name)[0]
        kept = [(pane, pane.view.camera.state, pane.view.cut(name)) for pane in self._panes]
        half_life_s = self._feeds[name].store.half_life_s
        self._remove(name)
        self._add(name, ram, origin)
        self._feeds[name].store.half_life_s = half_life_s
        for pane, camera, cut in kept:
            pane.view.set_cut(name, cut)
            pane.view.camera.state = replace(camera, opening=None)
        self._panes.mark(self._panes.marked)

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
        old, self._feeds[name] = self._feeds[name], feed
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
                title=attribute.title,
                palette=attribute.palette,
                logarithmic=attribute.logarithmic,
            )
        for pane in self._panes:
            pane.view.replace_volume(name, feed.store)
            camera = pane.view.camera
            if camera.state.opening is not None:  # the page that was laid open lies elsewhere now
                camera.close()
                if self._panes.marked is not None and self._panes.marked.machine == name:
                    camera.fly_to(pane.view.page_box(name, self._panes.marked.offset), time.monotonic())
        self._panes.forget_rest()
        old.close()

    def _forget_coming(self, name: str) -> None:
        if (coming := self._coming.pop(name, None)) is not None:
            coming.close()

    def memory_use(self) -> MemoryUse:
        """Return what is held on the GPU, and by whom."""
        return MemoryUse(
            machines={name: self._use_of(name) for name in self._feeds},
            pictures=sum(pane.view.vram_bytes for pane in self._panes) + pass_clock(self._device).vram_bytes,
            budget=self._budget(),
        )

    def _use_of(self, name: str) -> dict[str, int]:
        use = store_use(self._feeds[name].store)
        if name in self._coming:
            for kind, held in store_use(self._coming[name].store).items():
                use[kind] += held
        return use

    # Device

    def abandon(self) -> dict[str, tuple[GuestRam, Point]]:
        """Forget all stores, which went with the device that they were on; returns whose they were and where."""
        places = self._places.now()
        shown = {name: (feed.ram, places[name]) for name, feed in self._feeds.items()}
        for feed in (*self._feeds.values(), *self._coming.values()):
            feed.tracker.stop()  # what it had on the GPU went with the device
        self._feeds.clear()
        self._coming.clear()  # what they held is lost too; new ones are laid as is wanted now
        return shown

    def begin_anew(
        self, device: wgpu.GPUDevice, shown: Mapping[str, tuple[GuestRam, Point]]
    ) -> list[tuple[str, Exception]]:
        """Fill stores on another device; returns what could not be shown there."""
        self._device = device
        self._usual_budget_bytes = default_budget_bytes(device)
        problems: list[tuple[str, Exception]] = []
        for name, (ram, origin) in shown.items():
            try:
                self._add(name, ram, origin)
            except (RenderError, GuestMemoryError, OSError) as error:
                self._refused.add(name)
                problems.append((name, error))
        return problems

    def close(self) -> None:
        """Stop them all and free their stores."""
        for name in list(self._feeds):
            self._remove(name)
