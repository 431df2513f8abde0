"""Kernel channels: what a look at a kernel says of each page, as channels of the volume with names and colours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from app.colour_book import ColourBook
from app.process_colours import ProcessColours, process_palette
from bridge.kernel.page_classes import PageClass
from bridge.kernel.snapshot import Part
from bridge.kernel.tasks import Tasks
from bridge.kernel.worker import Sighting
from render.palettes import add_categories
from render.transfer import Transfer

if TYPE_CHECKING:
    from render.bricks import BrickStore

CLASS_CHANNEL, PROCESS_CHANNEL = "class", "process"
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
_OF_USERS = (PageClass.ANONYMOUS, PageClass.FILE, PageClass.SHARED_MEMORY)
_BY_BOTH = np.array(
    [
        [
            CLASS_LABELS.index(_SHOWN_PARTS[part] if kind in _OF_USERS and part in _SHOWN_PARTS else _SHOWN[kind])
            for part in Part
        ]
        for kind in PageClass
    ],
    np.uint8,
)
"""By PageClass and Part."""


def offer_palettes() -> None:
    """Make the colours of page classes and of processes known to the picture."""
    nobody, others = [[0.3, 0.33, 0.39]], [[0.55, 0.57, 0.62]]
    add_categories(PROCESS_PALETTE, np.concatenate([nobody, process_palette(), others]))
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


class ShownChannels:
    """What the channels of one machine's volume say, worked out again only where a look says something else.

    A process keeps its category, and so its colour, as long as it lives.
    """

    def __init__(self, book: ColourBook | None = None) -> None:
        """`book`: the colours that programs had before."""
        self.colours = ProcessColours(book)
        self._of_classes: tuple[object, object] | None = None
        self._classes: NDArray[np.uint8] = np.zeros(0, np.uint8)
        self._tasks: Tasks | None = None
        self._categories: NDArray[np.uint8] = np.zeros(0, np.uint8)
        self._labels: dict[int, str] = {}
        self._of_owners: tuple[object, object] | None = None
        self._owners: NDArray[np.uint8] = np.zeros(0, np.uint8)
        self._has_others = False

    def classes(self, sighting: Sighting) -> NDArray[np.uint8]:
        """(n_pages,) as `shown_classes`; the same array while a look has the same arrays."""
        if not _is_of(self._of_classes, sighting.classes, sighting.parts):
            self._classes = shown_classes(sighting)
            self._of_classes = sighting.classes, sighting.parts
        return self._classes

    def processes(self, sighting: Sighting) -> tuple[NDArray[np.uint8], dict[int, str]]:
        """(n_pages,) whose each page is, as a category; and what the categories are called."""
        tasks, owners = sighting.processes, sighting.first_owner
        assert tasks is not None
        assert owners is not None
        if self._tasks is not tasks:
            categories, self._labels = _categories(tasks, self.colours)
            if not np.array_equal(categories, self._categories):
                self._categories = categories
            self._tasks = tasks
        if not _is_of(self._of_owners, owners, self._categories):
            self._owners = self._categories[owners]
            self._has_others = bool((self._owners == _OTHERS).any())
            self._of_owners = owners, self._categories
        return self._owners, {**self._labels, _OTHERS: "Others"} if self._has_others else self._labels


def _is_of(before: tuple[object, object] | None, first: object, second: object) -> bool:
    return before is not None and before[0] is first and before[1] is second


def show_channels(store: BrickStore, sighting: Sighting, shown: ShownChannels | None = None) -> None:
    """Set the channels of classes and of processes as a sighting says.

    `shown`: what was shown of the same machine before; without, as if nothing had been.
    """
    if sighting.classes is None or sighting.processes is None or sighting.parts is None:
        # Not taken away: a view may be drawing them. Nothing is known of any page.
        for channel in {CLASS_CHANNEL, PROCESS_CHANNEL} & set(store.attributes):
            if store.attribute(channel).values.any():
                _set(store, channel, np.zeros(store.n_pages, np.uint8), store.attribute(channel).labels)
        return
    shown = shown or ShownChannels()
    classes = shown.classes(sighting)
    if CLASS_CHANNEL not in store.attributes or (store.attribute(CLASS_CHANNEL).values != classes).any():
        _set(store, CLASS_CHANNEL, classes, dict(enumerate(CLASS_LABELS)))
    owners, labels = shown.processes(sighting)
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
    shown: NDArray[np.uint8] = _BY_BOTH.reshape(-1)[sighting.classes * np.uint8(len(Part)) + sighting.parts]
    return shown


def shown_processes(sighting: Sighting) -> tuple[NDArray[np.uint8], dict[int, str]]:
    """(n_pages,) whose each page is, as a category, and what the categories are called; for one look alone."""
    return ShownChannels().processes(sighting)


def _categories(tasks: Tasks, colours: ProcessColours) -> tuple[NDArray[np.uint8], dict[int, str]]:
    """(n + 1,) the category of each process and, last, of nobody, so that -1 is nobody; and what categories are called:
    the largest process first.
    """
    places = colours.follow(tasks)
    category = np.full(len(tasks) + 1, _OTHERS, np.uint8)
    category[-1] = _NOBODY
    labels = {_NOBODY: "Nobody"}
    pids = tasks.pids.tolist()
    for i in np.argsort(-tasks.rss_bytes, kind="stable").tolist():
        place = places.get(pids[i])
        if place is not None:
            category[i] = place + 1
            labels[place + 1] = f"{tasks.names[i]} ({pids[i]})"
    return category, labels
