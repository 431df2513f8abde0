"""Panes: the views of the memory that are open, one of them active; linked ones move together, all are marked alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

from app.layout import VOLUME
from app.pane import Pane, Screen
from app.place import Place
from render.camera import CameraState
from render.named_pages import NamedPages
from render.picking import Hit
from render.view import VolumeView

if TYPE_CHECKING:
    import wgpu

MAX_PANES = 4
"""More views than this leave none of them room, on a screen or in a frame's budget."""


class Panes(Sequence[Pane]):
    """Belongs to the main thread. The first one stays open; the active one was clicked last."""

    def __init__(self, device: wgpu.GPUDevice, screen: Screen) -> None:
        self._device = device
        self._screen = screen
        self._closed: list[Pane] = []
        self._named: tuple[NamedPages, ...] = ()
        self._together: CameraState | None = None  # where the linked cameras stood in the last frame
        self._panes = [Pane(device, VOLUME, screen)]
        self.active = self._panes[0]
        self.marked: Place | None = None
        """The selected byte."""

    @overload
    def __getitem__(self, index: int) -> Pane: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Pane]: ...

    def __getitem__(self, index: int | slice) -> Pane | Sequence[Pane]:
        return self._panes[index]

    def __len__(self) -> int:
        return len(self._panes)

    @property
    def view(self) -> VolumeView:
        """The active pane's view."""
        return self.active.view

    # Which there are

    def named(self, name: str | None = None) -> Pane:
        """Return a pane by name, or the active one. Raises KeyError."""
        if name is None:
            return self.active
        for pane in self._panes:
            if pane.name == name:
                return pane
        raise KeyError(name)

    def open(self, name: str | None = None) -> Pane:
        """Open another view, which looks at first as the active one does, and return it.

        Raises ValueError where there are MAX_PANES or one of that name.
        """
        names = [pane.name for pane in self._panes]
        if len(names) >= MAX_PANES or name in names:
            raise ValueError(f"{len(names)} views are open: {', '.join(names)}")
        like = self.active
        pane = Pane(self._device, name or next(n for n in pane_names() if n not in names), self._screen)
        try:
            pane.view.show_like(like.view)
            self._mark_in(pane)
            pane.view.names.show(self._named)
        except BaseException:
            pane.close()
            raise
        self._panes.append(pane)
        return pane

    def close(self, name: str) -> None:
        """Close a view; the first one stays. Raises KeyError, ValueError."""
        pane = self.named(name)
        if pane is self._panes[0]:
            raise ValueError("the first view stays open")
        self._panes.remove(pane)
        if self.active is pane:
            self.active = self._panes[0]
        self._closed.append(pane)  # the frame that is being built may still show it

    def free_closed(self) -> None:
        """Free what closed panes had on the GPU."""
        for pane in self._closed:
            pane.close()
        self._closed.clear()

    def activate(self, name: str) -> None:
        """Let actions and keys be about this pane. Raises KeyError."""
        self.active = self.named(name)

    def use_device(self, device: wgpu.GPUDevice) -> None:
        """Have empty views on another device, after the old one was lost with all that was on it."""
        self._device = device
        self._closed.clear()
        for pane in self._panes:
            pane.use_device(device)

    def destroy(self) -> None:
        """Free what they have on the GPU."""
        self.free_closed()
        for pane in self._panes:
            pane.close()

    # Cameras and pictures

    def link(self, name: str, linked: bool) -> None:
        """Keep a pane's camera together with those of the other linked panes, or no longer.

        The pane comes to where the others stand. A lone pane is linked with the active one, or with the first.
        """
        pane = self.named(name)
        pane.linked = linked
        others = [p for p in self._panes if p is not pane]
        if linked and others and not any(p.linked for p in others):
            (self.active if self.active is not pane else others[0]).linked = True
        if not linked and sum(p.linked for p in self._panes) == 1:
            for other in self._panes:
                other.linked = False
        leader = next((p for p in others if p.linked), None)
        self._together = None if leader is None else leader.view.camera.state
        if linked and leader is not None:
            pane.view.camera.skip()
            pane.view.camera.state = leader.view.camera.state

    def _follow_links(self, now_s: float) -> None:
        """Bring linked cameras to where one of them was moved; the active one is asked first."""
        linked = [pane for pane in self._panes if pane.linked]
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

    def draw(self, now_s: float, frame_s: float) -> bool:
        """Bring the pictures that can be seen up to date in about `frame_s`; False when nothing had to be done."""
        self._follow_links(now_s)
        shown = [pane for pane in self._panes if pane.visible]
        for pane in shown:
            budget, share_s = pane.view.budget, frame_s / len(shown)
            budget.still_s *= share_s / budget.frame_s
            budget.frame_s = share_s
        drawn = [pane.view.draw(now_s) for pane in shown]
        return any(drawn)

    def finish(self, now_s: float) -> None:
        """Draw all pictures that can be seen as well as it gets."""
        for pane in self._panes:
            pane.view.camera.skip()
        self._follow_links(now_s)
        for pane in self._panes:
            if pane.visible:
                pane.view.finish(now_s)

    def set_background(self, background: str) -> None:
        """Draw on the ground of a theme."""
        for pane in self._panes:
            pane.view.set_background(background)

    # What all of them show

    def set_hover(self, hit: Hit | None) -> None:
        """Mark the byte under the pointer, or none, in all panes: where it lies in one can be seen in the others."""
        for pane in self._panes:
            pane.view.marks.hover(hit)

    def will_look(self) -> bool:
        """Return whether a resting pointer still waits for its answer, so that frames must go on."""
        return any(pane.will_look() for pane in self._panes)

    def forget_rest(self) -> None:
        """Ask anew at the next rest: a picture or the pointer moved."""
        for pane in self._panes:
            pane.forget_rest()

    def mark(self, place: Place | None) -> None:
        """Show the selected byte in all panes."""
        self.marked = place
        for pane in self._panes:
            self._mark_in(pane)

    def name_pages(self, named: Sequence[NamedPages]) -> None:
        """Show names beside the volumes in all panes, the most important first."""
        self._named = tuple(named)
        for pane in self._panes:
            pane.view.names.show(self._named)

    @property
    def named_pages(self) -> tuple[NamedPages, ...]:
        """What is named beside the volumes."""
        return self._named

    def show_marks(self) -> None:
        """Show what is marked again, in views that were made anew."""
        for pane in self._panes:
            self._mark_in(pane)
            pane.view.names.show(self._named)

    def _mark_in(self, pane: Pane) -> None:
        place = self.marked
        if place is None or place.machine not in pane.view.volumes:
            pane.view.marks.select(None, None)
        else:
            pane.view.marks.select(place.machine, place.offset)


def pane_names() -> tuple[str, ...]:
    """Return what panes are called, in the order in which they are opened."""
    return (VOLUME, *(f"{VOLUME} {number}" for number in range(2, MAX_PANES + 1)))
