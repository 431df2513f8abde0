"""A folder's files as a dialog lists them: folders first, then files, by name, and never more than can be read."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from bridge.machine.plain_files import home_or_plain

MAX_ENTRIES = 2000
"""Of one folder. Who has more types the name."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line."""

    path: Path
    is_folder: bool
    size_bytes: int
    """0 for a folder."""

    @property
    def name(self) -> str:
        """Its name in print: what is no text in UTF-8 is replaced."""
        return self.path.name.encode(errors="replace").decode(errors="replace")


@dataclass(frozen=True, slots=True)
class Listing:
    """A folder's content at one instant."""

    folder: Path
    entries: tuple[Entry, ...]
    problem: str = ""
    """Why nothing can be listed, in a sentence."""
    cut: bool = False
    """Whether there are more entries than are listed."""


def list_folder(folder: Path) -> Listing:
    """List a folder. Never raises: what cannot be read is said in the listing."""
    found: list[Entry] = []
    try:
        with os.scandir(folder) as entries:
            read = list(islice(entries, MAX_ENTRIES + 1))
    except OSError as error:
        return Listing(folder, (), f"{folder} cannot be listed: {error.strerror or error}.")
    for entry in read[:MAX_ENTRIES]:
        if entry.name.startswith("."):
            continue
        try:
            status = entry.stat()
        except OSError:
            continue  # a link to nowhere, or gone already
        if stat.S_ISDIR(status.st_mode):
            found.append(Entry(Path(entry.path), True, 0))
        elif stat.S_ISREG(status.st_mode):
            found.append(Entry(Path(entry.path), False, status.st_size))
    found.sort(key=lambda one: (not one.is_folder, one.path.name.casefold()))
    return Listing(folder, tuple(found), cut=len(read) > MAX_ENTRIES)


def folder_of(text: str) -> Path:
    """Return the folder that a half-typed path is in: the path itself where it is one."""
    path = home_or_plain(text)
    return path if path.is_dir() else path.parent
