"""Colour book: which colours the processes of programs were given, so that they have the same in the next run.

A process that comes while another has the colour that its name gives takes another colour. Which of the two came first
may differ from run to run; what is in the book does not.
"""

from __future__ import annotations

import json
from pathlib import Path

from app.settings import BadSettings, read_bounded, set_aside, write_atomically
from bridge.machine.directories import config_dir

FILE = "process-colours.json"
MAX_NAMES = 4096
"""A guest chooses its programs' names: one that makes up new ones without end fills no disk, and later names have the
colours that they would have without a book.
"""
MAX_EACH = 16
"""Colours that are remembered of one program, of which several processes may live at once."""
SAVE_AFTER_S = 2.0


class ColourBook:
    """Places in the palette by program, for all machines. Belongs to the main thread."""

    def __init__(self) -> None:
        self._places: dict[str, tuple[int, ...]] = {}
        self._folder: Path | None = None
        self._changed_s: float | None = None
        self._is_new = False

    def load(self, folder: Path, *, keep: bool = True) -> str | None:
        """Know what was given in earlier runs; `keep`: and save what is given from now on.

        Returns a sentence where the file had to be given up.
        """
        self._folder = folder if keep else None
        path = folder / FILE
        try:
            self._places = _places_from(json.loads(read_bounded(path)))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            return (
                set_aside(path, "colours of processes", error, "Their names give them colours again") if keep else None
            )
        return None

    def given(self, name: str) -> tuple[int, ...]:
        """The places that processes of a program had, the first one's first."""
        return self._places.get(name, ())

    def note(self, name: str, place: int) -> None:
        """A process of a program has a place that none of the program had before."""
        given = self.given(name)
        if place in given or len(given) >= MAX_EACH or (not given and len(self._places) >= MAX_NAMES):
            return
        self._places[name] = (*given, place)
        self._is_new = True

    def pump(self, now_s: float) -> None:
        """Save what is new once a moment has passed, so that a guest that starts is one write. Raises OSError."""
        if self._is_new and self._changed_s is None:
            self._changed_s = now_s
        if self._changed_s is not None and now_s - self._changed_s > SAVE_AFTER_S:
            self.save()

    def save(self) -> None:
        """Write what is new. A disk that refuses is asked again when there is more. Raises OSError."""
        if not self._is_new:
            return
        self._is_new, self._changed_s = False, None
        if self._folder is not None:
            write_atomically(self._folder / FILE, json.dumps(self._places) + "\n")


def book_of_user() -> ColourBook:
    """What the user's windows gave, to draw by and not to be changed."""
    book = ColourBook()
    book.load(config_dir(), keep=False)
    return book


def _places_from(document: object) -> dict[str, tuple[int, ...]]:
    """Raises BadSettings."""
    from app.process_colours import N_COLOURS

    if not isinstance(document, dict) or len(document) > MAX_NAMES:
        raise BadSettings(f"it does not hold one JSON object of at most {MAX_NAMES:,} names")
    for name, places in document.items():
        if not isinstance(places, list) or len(places) > MAX_EACH:
            raise BadSettings(f"“{name[:40]}” has no list of at most {MAX_EACH} colours")
        if not all(type(place) is int and 0 <= place < N_COLOURS for place in places):
            raise BadSettings(f"“{name[:40]}” has a colour that is none of 0 to {N_COLOURS - 1}")
    return {name: tuple(places) for name, places in document.items()}
