"""Kernels: watches each shown machine's kernel, turns what it sees into channels of the volume, and asks for panels."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from app.frozen_looks import FrozenLooks
from bridge.kernel.desk import Answer
from bridge.kernel.errors import KernelError
from bridge.kernel.frozen import Freezer
from bridge.kernel.page_classes import PageClass
from bridge.kernel.snapshot import Part
from bridge.kernel.watcher import PERIOD_S, KernelWatcher
from bridge.kernel.worker import Sighting
from render.palettes import CATEGORICAL, add_categories, palette_table, srgb_from_linear
from render.transfer import Transfer

if TYPE_CHECKING:
    from bridge.memory.ram import GuestRam
    from render.bricks import BrickStore

CLASS_CHANNEL, PROCESS_CHANNEL = "class", "process"
_MAX_ASKED, _FORGET_S = 64, 5.0
_POLL_S = 0.004
_NEVER_S = 1e6  # a wait that select takes and that nobody lives to see end
MAX_PROCESSES = 254
"""Categories that the process channel has left for processes: 256 less "nobody" and "others"."""
_NOBODY, _OTHERS = 0, 255
CLASS_PALETTE, PROCESS_PALETTE = "classes", "processes"
SAFE_PALETTE = "colour-blind safe classes"
CHANNEL_PALETTES: dict[str, tuple[str, ...]] = {CLASS_CHANNEL: (SAFE_PALETTE,)}
"""What a channel can be shown with beside its own palette, and no other channel can."""
_TITLES = {CLASS_CHANNEL: ("Page class", CLASS_PALETTE), PROCESS_CHANNEL: ("Process", PROCESS_PALETTE)}

# What a page of each class is called in the volume: related classes share a name, as a legend has to be read.
_SHOWN: dict[PageClass, str] = {
    PageClass.UNKNOWN: "Unknown",
    PageClass.HOLE: "No memory",
    PageClass.RESERVED: "Reserved",
    PageClass.KERNEL_TEXT: "Kernel code",
    PageClass.KERNEL_RODATA: "Kernel constants",
    PageClass.KERNEL_DATA: "Kernel data",
    PageClass.KERNEL_BSS: "Kernel data",
    PageClass.PER_CPU: "Kernel data",
    PageClass.MODULE: "Modules",
    PageClass.VMEMMAP: "Page records",
    PageClass.PAGE_TABLE: "Page tables",
    PageClass.SLAB: "Slabs",
    PageClass.KERNEL_STACK: "Kernel stacks",
    PageClass.VMALLOC: "Vmalloc",
    PageClass.KERNEL_PAGES: "Kernel's own pages",
    PageClass.ANONYMOUS: "Anonymous memory",
    PageClass.FILE: "File pages",
    PageClass.SHARED_MEMORY: "Shared memory",
    PageClass.FREE: "Free",
    PageClass.FREE_PER_CPU: "Free",
}
_SHOWN_PARTS: dict[Part, str] = {Part.CODE: "Program code", Part.STACK: "Stacks", Part.HEAP: "Heaps"}
CLASS_LABELS: tuple[str, ...] = tuple(
    # Nothing known is number zero; then what belongs to programs, which people look for first.
    dict.fromkeys(
        ("Unknown", *_SHOWN_PARTS.values(), "Anonymous memory", "File pages", "Shared memory", *_SHOWN.values())
    )
)
# What belongs to users is blue, green, red and cyan; the kernel's is yellow in many shades; what is free recedes.
_COLORS: dict[str, str] = {
    "Unknown": "#8a93a3",
    "No memory": "#20242c",
    "Reserved": "#5d6470",
    "Kernel code": "#ffd54a",
    "Kernel constants": "#e0b93f",
    "Kernel data": "#c79a2e",
    "Modules": "#ffb45c",
    "Page records": "#8f7a3d",
    "Page tables": "#fff0a0",
    "Slabs": "#b0812a",
    "Kernel stacks": "#d98a3d",
    "Vmalloc": "#a58a5a",
    "Kernel's own pages": "#9c8950",
    "Anonymous memory": "#d9486e",
    "File pages": "#4dd0e1",
    "Shared memory": "#26a6a0",
    "Free": "#2c3547",
    "Program code": "#4c9aff",
    "Stacks": "#4fc36b",
    "Heaps": "#f05545",
}
# Found by hill climbing from the colours of Okabe and Ito: the least distance between any two, in OKLab, as people see
# them with and without colour blindness (Machado and others, 2009, severity 1.0), is 0.089; that of the above is 0.005.
_SAFE_COLORS: dict[str, str] = {
    "Unknown": "#87a5b5",
    "No memory": "#15181f",
    "Reserved": "#4e4777",
    "Kernel code": "#f9ffa7",
    "Kernel constants": "#c5e94e",
    "Kernel data": "#d88719",
    "Modules": "#ebaa08",
    "Page records": "#784511",
    "Page tables": "#c0ffff",
    "Slabs": "#778664",
    "Kernel stacks": "#ffc8b4",
    "Vmalloc": "#b8b387",
    "Kernel's own pages": "#706260",
    "Anonymous memory": "#b275de",
    "File pages": "#71bafe",
    "Shared memory": "#8fdfff",
    "Free": "#2c3547",
    "Program code": "#0853bc",
    "Stacks": "#088ca0",
    "Heaps": "#d54c0e",
}
_BY_CLASS = np.array([CLASS_LABELS.index(_SHOWN[kind]) for kind in PageClass], np.uint8)
_BY_PART = np.array(
    [CLASS_LABELS.index(_SHOWN_PARTS[part]) if part in _SHOWN_PARTS else 255 for part in Part], np.uint8
)
_OF_USERS = np.isin(np.arange(len(PageClass)), (PageClass.ANONYMOUS, PageClass.FILE, PageClass.SHARED_MEMORY))


def offer_palettes() -> None:
    """Make the colours of page classes and of processes known to the picture."""
    others = srgb_from_linear(palette_table(CATEGORICAL[0])[0, :255].astype(np.float64))
    add_categories(PROCESS_PALETTE, np.concatenate([[[0.3, 0.33, 0.39]], np.clip(others, 0.0, 1.0)]))
    for palette, of_labels in ((CLASS_PALETTE, _COLORS), (SAFE_PALETTE, _SAFE_COLORS)):
        colors = [[int(of_labels[label][at : at + 2], 16) / 255 for at in (1, 3, 5)] for label in CLASS_LABELS]
        add_categories(palette, np.array(colors))


def _opacities() -> Transfer:
    """What is free is nearly transparent; every other class is as dense as the next."""
    return Transfer(tuple((i / 255, 0.02 if label == "Free" else 1.0) for i, label in enumerate(CLASS_LABELS)))


CHANNEL_TRANSFERS: dict[str, Transfer] = {
    CLASS_CHANNEL: _opacities(),
    PROCESS_CHANNEL: Transfer(((0.0, 0.02), (1 / 255, 1.0), (1.0, 1.0))),
}
"""How opaque the channels' categories are unless the user says otherwise."""


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
    n_shown: int = 0
    sighting: Sighting | None = None
    n_answered: int = 0
    asked: dict[tuple[Any, ...], Asked] = field(default_factory=dict)


class Kernels:
    """One watcher a shown machine. Belongs to the main thread."""

    def __init__(self) -> None:
        offer_palettes()
        self._watched: dict[str, _Watched] = {}
        self._types: Path | None = None
        self.answered = False
        """Whether the last pump brought what panels wait for: an answer, or a kernel that was found or lost."""
        self.frozen_looks = FrozenLooks()

    def sync(self, rams: Mapping[str, GuestRam], still: Collection[str] = (), types: Path | None = None) -> None:
        """Watch exactly the machines whose RAM is shown. Those in `still` never change: one look tells all.

        `types`: the user's, for kernels that carry none.
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
                self._watched[name] = _Watched(watcher, ram)
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
                show_channels(stores[name], watched.sighting)
        return news or self.answered

    def hold(self, freezers: Mapping[str, Freezer], now_s: float, *, always: bool) -> None:
        """Look at machines while they are held: `always`, or only where a kernel changed too fast to be followed."""
        for name in freezers.keys() & self._watched.keys():
            watched = self._watched[name]
            seen = watched.sighting
            if seen is not None and (seen.torn or (always and not seen.problem)):
                self.frozen_looks.take(name, watched.watcher, freezers[name], now_s)

    def watcher(self, machine: str) -> KernelWatcher | None:
        """The watcher of a machine's kernel, where it is watched."""
        watched = self._watched.get(machine)
        return None if watched is None else watched.watcher

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
        watcher, deadline = watched.watcher, time.monotonic() + limit_s
        number = watcher.ask(name, *arguments)
        while (reply := watcher.answer(number)) is None:
            if time.monotonic() > deadline:
                raise KernelError(f"The kernel of {machine} gave no answer within {limit_s:.0f} s. Try again.")
            time.sleep(_POLL_S)
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


def show_channels(store: BrickStore, sighting: Sighting) -> None:
    """Set the channels of classes and of processes as a sighting says."""
    if sighting.classes is None or sighting.processes is None or sighting.parts is None:
        # Not taken away: a view may be drawing them. Nothing is known of any page.
        for channel in {CLASS_CHANNEL, PROCESS_CHANNEL} & set(store.attributes):
            if store.attribute(channel).values.any():
                _set(store, channel, np.zeros(store.n_pages, np.uint8), store.attribute(channel).labels)
        return
    shown = shown_classes(sighting)
    if CLASS_CHANNEL not in store.attributes or (store.attribute(CLASS_CHANNEL).values != shown).any():
        _set(store, CLASS_CHANNEL, shown, dict(enumerate(CLASS_LABELS)))
    owners, labels = shown_processes(sighting)
    before = store.attribute(PROCESS_CHANNEL) if PROCESS_CHANNEL in store.attributes else None
    if before is None or before.labels != labels or (before.values != owners).any():
        _set(store, PROCESS_CHANNEL, owners, labels)


def _set(store: BrickStore, channel: str, values: NDArray[np.uint8], labels: Mapping[int, str]) -> None:
    title, palette = _TITLES[channel]
    store.set_attribute(channel, values, kind="categorical", labels=labels, title=title, palette=palette)


def shown_classes(sighting: Sighting) -> NDArray[np.uint8]:
    """(n_pages,) the class of each page as an index into CLASS_LABELS: its part of a process where it has one."""
    assert sighting.classes is not None
    assert sighting.parts is not None
    shown: NDArray[np.uint8] = _BY_CLASS[sighting.classes]
    parts = _BY_PART[sighting.parts]
    return np.where(_OF_USERS[sighting.classes] & (parts != 255), parts, shown)


def shown_processes(sighting: Sighting) -> tuple[NDArray[np.uint8], dict[int, str]]:
    """(n_pages,) whose each page is, as a category, and what the categories are called: the largest process first."""
    assert sighting.processes is not None
    assert sighting.first_owner is not None
    tasks = sighting.processes
    order = np.argsort(-tasks.rss_bytes, kind="stable")[:MAX_PROCESSES]
    order = order[tasks.rss_bytes[order] > 0]
    category = np.full(len(tasks) + 1, _OTHERS, np.uint8)  # one more, so that -1 is nobody
    category[order] = np.arange(1, len(order) + 1)
    category[-1] = _NOBODY
    labels = {_NOBODY: "Nobody"} | {
        place: f"{tasks.names[i]} ({tasks.pids[i]})" for place, i in enumerate(order.tolist(), start=1)
    }
    owners: NDArray[np.uint8] = category[sighting.first_owner]
    if (owners == _OTHERS).any():
        labels[_OTHERS] = "Others"
    return owners, labels
