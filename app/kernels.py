"""Kernels: watches each shown machine's kernel, and puts the questions of panels to it."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.colour_book import ColourBook
from app.frozen_looks import FrozenLooks
from app.kernel_channels import ShownChannels, offer_palettes, show_channels
from bridge.kernel.desk import Answer
from bridge.kernel.errors import KernelError
from bridge.kernel.frozen import Freezer
from bridge.kernel.watcher import PERIOD_S, KernelWatcher
from bridge.kernel.worker import Sighting
from bridge.semantic.store.feeder import Watched

if TYPE_CHECKING:
    from bridge.memory.ram import GuestRam
    from render.bricks import BrickStore

_MAX_ASKED, _FORGET_S = 64, 5.0
_NEVER_S = 1e6  # a wait that select takes and that nobody lives to see end


@dataclass(slots=True)
class Asked:
    """A question that a panel asks again and again while it is shown, and the latest answer to it."""

    answer: Answer | None = None
    """None before the first."""
    number: int | None = None
    """Of the question that is under way."""
    asked_s: float = -math.inf
    used_s: float = 0.0


@dataclass(slots=True)
class _Watched:
    watcher: KernelWatcher
    ram: GuestRam
    still: bool
    shown: ShownChannels
    n_shown: int = 0
    sighting: Sighting | None = None
    n_answered: int = 0
    asked: dict[tuple[Any, ...], Asked] = field(default_factory=dict)


class Kernels:
    """One watcher a shown machine. Belongs to the main thread."""

    def __init__(self) -> None:
        offer_palettes()
        self.book = ColourBook()
        """The colours that programs have, in all machines."""
        self._watched: dict[str, _Watched] = {}
        self._types: Path | None = None
        self.answered = False
        """Whether the last pump brought what panels wait for: an answer, or a kernel that was found or lost."""
        self.frozen_looks = FrozenLooks()

    def sync(
        self,
        rams: Mapping[str, GuestRam],
        still: Collection[str] = (),
        types: Path | None = None,
        *,
        paused: Collection[str] = (),
    ) -> None:
        """Watch exactly the machines whose RAM is shown. Those in `still` never change: one look tells all.

        `types`: the user's, for kernels that carry none. `paused`: those that stand still for now.
        """
        stale = [name for name, watched in self._watched.items() if rams.get(name) is not watched.ram]
        if types != self._types:
            self._types, stale = types, list(self._watched)
        for name in stale:
            self._watched.pop(name).watcher.close()
        for name, ram in rams.items():
            if name not in self._watched:
                period_s = _NEVER_S if name in still else PERIOD_S
                watcher = KernelWatcher(ram.path, ram.physical_map, period_s=period_s, still=name in still, types=types)
                self._watched[name] = _Watched(watcher, ram, name in still, ShownChannels(self.book))
            self._watched[name].watcher.stands(name in paused)
            self._watched[name].watcher.follow(ram.physical_map)  # the firmware moves RAM about as it boots

    def pump(self, stores: Mapping[str, BrickStore]) -> bool:
        """Bring the channels up to date with what was seen since; whether anything was new."""
        news = self.answered = False
        for name, watched in self._watched.items():
            self.answered |= _collect(watched)
            if watched.watcher.n_seen == watched.n_shown or name not in stores:
                continue
            watched.n_shown = watched.watcher.n_seen
            before, watched.sighting = watched.sighting, watched.watcher.latest()
            self.answered |= _problem(before) != _problem(watched.sighting)
            news = True
            if watched.sighting is not None:
                show_channels(stores[name], watched.sighting, watched.shown)
        return news or self.answered

    def hold(self, freezers: Mapping[str, Freezer], now_s: float, *, always: bool) -> None:
        """Look at machines while they are held: `always`, or only where a kernel changed too fast to be followed."""
        for name in freezers.keys() & self._watched.keys():
            watched = self._watched[name]
            seen = watched.sighting
            if seen is not None and (seen.torn or (always and not seen.problem)):
                self.frozen_looks.take(name, watched.watcher, freezers[name], now_s)

    def watched(self) -> dict[str, Watched]:
        """What the semantic store writes down. May be called from any thread."""
        return {name: Watched(one.watcher, one.ram.size_bytes, one.still) for name, one in list(self._watched.items())}

    def watcher(self, machine: str) -> KernelWatcher | None:
        """The watcher of a machine's kernel, where it is watched."""
        watched = self._watched.get(machine)
        return None if watched is None else watched.watcher

    def process_colour(self, machine: str, pid: int) -> str | None:
        """The colour that a process has as long as it lives, `#rrggbb`; None where it has no memory of its own."""
        watched = self._watched.get(machine)
        return None if watched is None else watched.shown.colours.colour_of(pid)

    def sighting(self, machine: str) -> Sighting | None:
        """The latest look at a machine's kernel; None before the first."""
        watched = self._watched.get(machine)
        return None if watched is None else watched.sighting

    def ask(self, machine: str, name: str, *arguments: Any, now_s: float, every_s: float = 2.0) -> Answer | None:
        """The latest answer to one of desk.QUESTIONS; None before the first.

        For panels, in every frame that they are shown: the question is put anew when the answer is `every_s` old
        (math.inf: never, what is asked for does not change), and forgotten when no panel asks for a while. The window
        is woken when the answer comes. Arguments must be hashable.
        """
        watched = self._watched.get(machine)
        if watched is None:
            return None
        asked = watched.asked.setdefault((name, *arguments), Asked())
        asked.used_s = now_s
        if asked.number is None and now_s - asked.asked_s >= every_s:
            asked.number, asked.asked_s = watched.watcher.ask(name, *arguments), now_s
        if len(watched.asked) > _MAX_ASKED:
            watched.asked = {key: one for key, one in watched.asked.items() if now_s - one.used_s < _FORGET_S}
        return asked.answer

    def inquire(self, machine: str, name: str, *arguments: Any, limit_s: float = 20.0) -> Any:
        """Put one of desk.QUESTIONS and wait for the answer: for jobs, never for a frame. Raises KernelError."""
        watched = self._watched.get(machine)
        if watched is None:
            raise KernelError(f"The memory of {machine} is not shown any more.")
        reply = watched.watcher.wait_for(watched.watcher.ask(name, *arguments), limit_s)
        if reply is None:
            raise KernelError(f"The kernel of {machine} gave no answer within {limit_s:.0f} s. Try again.")
        if reply.problem:
            raise KernelError(reply.problem)
        return reply.value

    def close(self) -> None:
        """End all watchers."""
        self.frozen_looks.close()
        self.sync({})


def _problem(sighting: Sighting | None) -> str | None:
    return None if sighting is None else sighting.problem


def _collect(watched: _Watched) -> bool:
    """Take the answers that came; whether there were any."""
    if watched.watcher.n_answered == watched.n_answered:
        return False
    watched.n_answered = watched.watcher.n_answered
    for asked in watched.asked.values():
        if asked.number is not None and (reply := watched.watcher.answer(asked.number)) is not None:
            asked.answer, asked.number = reply, None
    return True
