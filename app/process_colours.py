"""Process colours: one for each process of a guest, kept as long as it lives, and the same for a program in every run.

A program's name decides which colour it has; a second process of the same name, or one whose colour would be too much
like that of another, gets the next best that its name gives. Which of them gives way depends on who came first: what
was given is in the colour book (app/colour_book.py), so that the same guest has the same colours tomorrow.
"""

from __future__ import annotations

from functools import cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from app.colour_book import ColourBook
from bridge.kernel.tasks import Tasks
from render.palettes import linear_from_oklch, oklab_from_linear, srgb_from_linear

N_COLOURS = 254
"""Categories that a channel has left for processes: 256 less "nobody" and "others"."""
_TRIES = 24
_FAR_ENOUGH = 0.085
"""In OKLab: two colours that are farther apart than this are told apart also where they do not touch."""
_GOLDEN_DEGREES = 137.50776405003785
_LIGHTNESS, _CHROMA = (0.70, 0.58, 0.80, 0.64), (0.16, 0.15, 0.12, 0.10)


@cache
def process_palette() -> NDArray[np.float64]:
    """The colours that there are, (N_COLOURS, 3) sRGB: hues turn by the golden angle, lightness goes round beside."""
    place = np.arange(N_COLOURS, dtype=np.int64)
    linear = linear_from_oklch(
        np.array(_LIGHTNESS)[place % len(_LIGHTNESS)],
        np.array(_CHROMA)[place // len(_LIGHTNESS) % len(_CHROMA)],
        (place * _GOLDEN_DEGREES % 360).astype(np.float64),
    )
    palette = np.clip(srgb_from_linear(linear), 0.0, 1.0)
    palette.flags.writeable = False
    return palette


@cache
def _distances() -> NDArray[np.float64]:
    """How far any two colours are from each other, in OKLab, (N_COLOURS, N_COLOURS)."""
    linear = process_palette() ** 2.2  # near enough to compare by
    lab = oklab_from_linear(linear)
    return np.asarray(np.linalg.norm(lab[:, None] - lab[None], axis=2))


def wishes(name: str) -> list[int]:
    """The colours that a program of a name would have, the best first: places in the palette."""
    found: list[int] = []
    for turn in range(_TRIES):
        digest = blake2b(f"{turn}:{name}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
        found.append(int.from_bytes(digest, "big") % N_COLOURS)
    return list(dict.fromkeys(found))


class ProcessColours:
    """Of one machine."""

    def __init__(self, book: ColourBook | None = None) -> None:
        """`book`: what programs had before; without, their names alone decide."""
        self._book = book or ColourBook()
        self._places: dict[tuple[int, int], int] = {}  # by pid and start, of those that live

    def follow(self, tasks: Tasks) -> dict[int, int]:
        """Places in the palette by pid, of processes with memory of their own: at most N_COLOURS, the largest.

        New ones are asked in the order in which they began, so that it does not matter how often this is called.
        """
        largest = np.argsort(-tasks.rss_bytes, kind="stable")[:N_COLOURS]
        largest = largest[tasks.rss_bytes[largest] > 0]
        # As lists: a number taken from an array one at a time costs ten times as much, and this is done in each look.
        both = zip(tasks.pids[largest].tolist(), tasks.start_ns[largest].tolist(), strict=True)
        keys = dict(zip(both, largest.tolist(), strict=True))
        self._places = {key: place for key, place in self._places.items() if key in keys}
        for key in sorted(keys.keys() - self._places.keys(), key=lambda key: (key[1], key[0])):
            name = tasks.names[keys[key]]
            self._places[key] = place = self._place_for(name)
            self._book.note(name, place)
        return {pid: place for (pid, _), place in self._places.items()}

    def _place_for(self, name: str) -> int:
        taken = np.fromiter(self._places.values(), np.int64, len(self._places))
        for place in self._book.given(name):
            if place not in taken:
                return place
        if not len(taken):
            return wishes(name)[0]
        apart = _distances()[:, taken].min(axis=1)
        wanted = wishes(name)
        for place in wanted:
            if apart[place] > _FAR_ENOUGH:
                return place
        return int(max(wanted, key=lambda place: apart[place]) if apart[wanted].max() > 0 else apart.argmax())

    def colour_of(self, pid: int) -> str | None:
        """The colour of a process as `#rrggbb`; None where it has none."""
        place = next((place for (its, _), place in self._places.items() if its == pid), None)
        if place is None:
            return None
        return "#" + "".join(f"{round(part * 255):02x}" for part in process_palette()[place])
