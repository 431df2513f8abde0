"""Chosen: what the user points at in the guest (a process, a file, a class of pages …), and its pages lit up.

There is one at a time. Panels choose through the action `choose.pages_of`; its pages are asked of the kernel's worker
again and again while it is chosen (`app/lighting.py`), since they come and go.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from app.kernel_channels import CLASS_LABELS, shown_classes
from app.output import format_bytes
from bridge.kernel.page_classes import CLASS_TITLES, PageClass
from bridge.kernel.snapshot import PART_TITLES, Part

if TYPE_CHECKING:
    from bridge.kernel.worker import Sighting

KINDS: dict[str, str] = {
    "process": "PID",
    "region": "PID,START,END",
    "class": "a class of pages, such as slab",
    "part": "a part of processes, such as heap",
    "category": "a colour of the channel Page class, such as Heaps, or one process's share of it, Heaps of PID",
    "module": "a module's name",
    "slab": "a slab cache's name",
    "file": "a path",
    "symbol": "ADDRESS,SIZE",
    "stack": "TID: its kernel stack",
    "tables": "PID: its page tables; 0: the kernel's own",
}
"""What can be chosen, and how its key is written."""
Key = int | str | tuple[int, ...]
_NUMBERS = {"process": 1, "stack": 1, "tables": 1, "region": 3, "symbol": 2}
_ENUMS: dict[str, type[IntEnum]] = {"class": PageClass, "part": Part}
OF = " of "
"""Between a category's label and a process in a key: `Heaps of 412`."""
ASK_EVERY_S = 2.0
MAX_TITLE = 120
PAGE_BYTES = 4096
Pages = NDArray[np.uint32]


class BadKey(ValueError):
    """A kind or key that means nothing; the message says what would."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is chosen in one machine. Equal where the same thing is meant, whatever its pages are now."""

    machine: str
    kind: str
    """One of KINDS."""
    key: Key
    title: str
    """What people call it: `sshd (412)`."""
    pages: Pages | None = field(default=None, compare=False)
    """(n,) pages of the RAM file; None until they are known."""
    problem: str = field(default="", compare=False)
    """Why they are not known, in a sentence."""

    @property
    def size_bytes(self) -> int:
        """How much it holds."""
        return 0 if self.pages is None else len(self.pages) * PAGE_BYTES

    @property
    def told(self) -> str:
        """It in a line: `sshd (412): 1.2 MiB, 312 pages`."""
        if self.pages is None:
            return f"{self.title}: {self.problem or 'looking for its pages'}"
        n = len(self.pages)
        if not n:
            return f"{self.title}: no pages in memory"
        return f"{self.title}: {format_bytes(self.size_bytes)}, {n:,} page{'s' if n != 1 else ''}"

    def describe(self) -> dict[str, Any]:
        """It as JSON values, for scripts."""
        return {
            "machine": self.machine,
            "kind": self.kind,
            "key": key_text(self.key),
            "title": self.title,
            "pages": None if self.pages is None else len(self.pages),
            "bytes": None if self.pages is None else self.size_bytes,
            "problem": self.problem,
        }


def key_text(key: Key) -> str:
    """A key as `parse_key` reads it, and as the action takes it."""
    if isinstance(key, tuple):
        return ",".join(str(key[0]) if i == 0 and key[0] < 1 << 32 else f"{n:#x}" for i, n in enumerate(key))
    return str(key)


def parse_key(kind: str, text: str) -> Key:
    """What a key means: numbers for processes and addresses, a number for classes and parts, else the text itself.

    Raises BadKey.
    """
    if kind not in KINDS:
        raise BadKey(f"kind: {kind[:40]!r} is none of {', '.join(KINDS)}")
    text = text.strip()
    if kind in _NUMBERS:
        try:
            numbers = tuple(int(part, 0) for part in text.split(","))
        except ValueError:
            numbers = ()
        if len(numbers) != _NUMBERS[kind] or not all(0 <= number < 1 << 64 for number in numbers):
            raise BadKey(f"key: of a {kind} it is {KINDS[kind]}, not {text[:60]!r}")
        return numbers[0] if len(numbers) == 1 else numbers
    if kind in _ENUMS:
        return _member(kind, text)
    if kind == "category":
        name, of, pid = text.partition(OF)
        found = next((label for label in CLASS_LABELS if label.casefold() == name.casefold()), None)
        if found is None:
            raise BadKey(f"key: {text[:40]!r} is none of {', '.join(CLASS_LABELS)}")
        if of and not (pid.isascii() and pid.isdigit() and len(pid) < 20):
            raise BadKey(f"key: {pid[:40]!r} is no process's number")
        return f"{found}{of}{pid}"
    if not text:
        raise BadKey(f"key: of a {kind} it is {KINDS[kind]}")
    return text


def _member(kind: str, text: str) -> int:
    members, titles = _ENUMS[kind], CLASS_TITLES if kind == "class" else PART_TITLES
    wanted = text.casefold().replace("-", "_").replace(" ", "_")
    for member in members:
        title = titles[member].casefold().replace(" ", "_")  # type: ignore[index]
        if wanted in (member.name.casefold(), title, str(int(member))):
            return int(member)
    raise BadKey(f"key: {text[:40]!r} is none of {', '.join(member.name.lower() for member in members)}")


def title_of(kind: str, key: Key, sighting: Sighting | None) -> str:
    """What people call it. Guest strings in it are printable and bounded."""
    if kind == "process":
        return _process(key, sighting)
    if kind == "region" and isinstance(key, tuple):
        return f"{_process(key[0], sighting)} {key[1]:#x} to {key[2]:#x}"
    if kind == "class" and isinstance(key, int):
        return CLASS_TITLES[PageClass(key)]
    if kind == "part" and isinstance(key, int):
        return f"{PART_TITLES[Part(key)]} of every process"
    if kind == "symbol" and isinstance(key, tuple):
        return f"{key[0]:#x}, {format_bytes(key[1])}"
    if kind == "stack":
        return f"Kernel stack of {_process(key, sighting)}"
    if kind == "tables":
        if key == 0:
            return "The kernel's own page tables"
        return f"Page tables of {_process(key, sighting)}"
    if kind == "category":
        label, of, pid = str(key).partition(OF)
        return f"{label}{of}{_process(int(pid), sighting)}" if of else label
    return printable(str(key))


def printable(text: str) -> str:
    """A guest's string on one line that can be shown: bounded, nothing that a terminal or a font would act on."""
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[: MAX_TITLE + 1])
    return shown if len(shown) <= MAX_TITLE else shown[: MAX_TITLE - 1] + "…"


def _process(pid: object, sighting: Sighting | None) -> str:
    if sighting is not None and sighting.processes is not None:
        found = np.flatnonzero(sighting.processes.pids == pid)
        if len(found):
            return f"{printable(sighting.processes.names[int(found[0])])} ({pid})"
    return f"process {pid}"


def seen_pages(sighting: Sighting | None, kind: str, key: Key) -> Pages | None:
    """The pages of what a look says of every page anyway, (n,) uint32; None where the worker has to be asked."""
    if kind not in ("class", "part", "category") or sighting is None:
        return None
    if sighting.classes is None or sighting.parts is None or sighting.first_owner is None:
        return None
    if kind == "class":
        mask = sighting.classes == key
    elif kind == "part":
        mask = sighting.parts == key
    else:
        label, of, pid = str(key).partition(OF)
        mask = shown_classes(sighting) == CLASS_LABELS.index(label)
        if of and sighting.processes is not None:
            mask &= np.isin(sighting.first_owner, np.flatnonzero(sighting.processes.pids == int(pid)))
    return np.flatnonzero(mask).astype(np.uint32)
