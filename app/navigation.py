"""Navigation: which byte is selected, what is lit up, where the camera goes, and the way back."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from app.actions import BadArguments
from app.chosen import Chosen
from app.highlights import Highlights, shown_again
from app.lighting import Lighting

if TYPE_CHECKING:
    from app.greeting import Greeting
    from app.keeping import Keeping
    from app.looks import Looks
    from app.place import Place
    from app.state import AppState, Look


class Navigation:
    """Belongs to the main thread."""

    def __init__(self, state: AppState, kept: Keeping, looks: Looks, greeting: Greeting) -> None:
        self._state = state
        self._kept = kept
        self._looks = looks
        self._greeting = greeting
        self.lighting = Lighting(state.stage, state.kernels)

    def select(self, place: Place | None, *, remember: bool = True) -> None:
        """Select a byte, or nothing."""
        state = self._state
        if place == state.selection:
            return
        if remember:
            state.remember()
        state.selection = place
        if place is not None:
            state.current = place.machine
            address = state.stage.paddr(place)
            state.address_text = f"{address:#x}" if address is not None else ""
        state.stage.panes.mark(place)

    def choose(self, chosen: Chosen | None, *, remember: bool = True, fly: bool = True) -> None:
        """Light up the pages of something in the guest and fly there, or light up nothing."""
        state = self._state
        if remember:
            state.remember()
        state.chosen = chosen
        if chosen is not None:
            self.lighting.ask_anew(chosen)
            if fly:
                self.lighting.fly_when_known(chosen)
            state.current = chosen.machine
            self._greeting.end()
        self.follow_chosen()

    def fly_to_chosen(self) -> None:
        """Fly to the pages that are lit up, now or as soon as they are known."""
        self._state.remember()
        if self._state.chosen is not None:
            self.lighting.fly_when_known(self._state.chosen)
        self.follow_chosen()
        self._greeting.end()

    def follow_chosen(self) -> bool:
        """Bring what is lit up to date; returns whether that changed anything."""
        state, chosen, highlights = self._state, self._state.chosen, self._state.highlights
        state.chosen, state.highlights = self.lighting.update(chosen, highlights, time.monotonic())
        return state.chosen is not chosen or state.highlights is not highlights

    def light(self, highlights: Highlights, *, remember: bool = True) -> None:
        """Light these up beside what is chosen, and no others."""
        if remember:
            self._state.remember()
        self._state.highlights = highlights
        self.follow_chosen()

    def place_of(self, address: int, machine: str | None = None) -> Place:
        """Return the place of a guest-physical address. Raises GuestMemoryError where there is no RAM."""
        state = self._state
        if not machine:
            machine = state.selection.machine if state.selection is not None else state.require_machine(None).name
        if machine not in state.stage.feeds:
            state.require_machine(machine)
            raise BadArguments(f"the memory of {machine} is not shown")
        return state.stage.place(machine, address)

    def go_to(self, address: int, machine: str | None = None) -> None:
        """Select the byte at a guest-physical address and fly there. Raises GuestMemoryError where there is no RAM."""
        self.fly_to(self.place_of(address, machine))

    def fly_to(self, place: Place) -> None:
        """Select a byte and fly there."""
        self._state.remember()
        self.select(place, remember=False)
        self._state.stage.fly_to(place, time.monotonic())
        self._greeting.end()

    def time_travel(self, *, forward: bool) -> bool:
        """Undo or redo selection and camera; returns whether there was anything."""
        state = self._state
        look = (state.history.redo if forward else state.history.undo)(state.look())
        if look is None:
            return False
        self._show_look(look)
        return True

    def _show_look(self, look: Look) -> None:
        state = self._state
        gone = look.selection is not None and look.selection.machine not in state.stage.feeds
        self.select(None if gone else look.selection, remember=False)
        if look.origins:
            state.stage.places.put(dict(look.origins))
        with contextlib.suppress(KeyError):  # a view that was closed since then: the active one goes there
            self._looks.activate(look.view)
        state.stage.view.camera.skip()
        state.stage.view.camera.state = look.camera
        state.slicings.restore(state.stage, look.slicings)
        self._kept.change(half_life_s=look.half_life_s)
        self._looks.show(look.shown, remember=False)
        if look.highlights != state.highlights:
            self.light(shown_again(state.highlights, look.highlights), remember=False)
        if look.chosen != state.chosen:
            self.choose(look.chosen, remember=False, fly=False)
        self._greeting.end()
