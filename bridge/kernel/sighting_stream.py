"""The stream of sightings: from one to the next, only what changed crosses from the process that looks.

A look at a gigabyte is four megabytes of arrays, and from one to the next some hundred pages change. Who reads has the
same objects again for all that is the same, so that what follows from them need not be worked out again either.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

_MOST_CHANGED = 8
"""One in so many elements: where more are others, the whole array is shorter."""


@dataclass(frozen=True, slots=True)
class Same:
    """What it was before."""


@dataclass(frozen=True, slots=True)
class Patch:
    """An array in which some elements are others than before."""

    places: npt.NDArray[np.uint32]
    values: npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Parts:
    """A dataclass by its fields, some of them as above."""

    kind: type
    values: tuple[Any, ...]


_SAME = Same()


class Shortener:
    """Says of each value what changed since the one before. What it was given must not change after."""

    def __init__(self) -> None:
        self._before: Any = None

    def shorten(self, value: Any) -> Any:
        """What `Restorer.restore` makes the value of, if it is given all that this one has said, in order."""
        short, self._before = _difference(self._before, value), value
        return short


class Restorer:
    """Makes whole what a `Shortener` says."""

    def __init__(self) -> None:
        self._before: Any = None

    def restore(self, short: Any) -> Any:
        """The value; for what is the same as before the same object."""
        self._before = _whole(self._before, short)
        return self._before


def _difference(before: Any, now: Any) -> Any:
    if now is before:
        return _SAME
    if isinstance(now, np.ndarray):
        return _array_difference(before, now)
    if is_dataclass(now) and not isinstance(now, type):
        other = before if type(before) is type(now) else None
        found = tuple(_difference(getattr(other, field.name, None), getattr(now, field.name)) for field in fields(now))
        return Parts(type(now), found) if other is None or any(part is not _SAME for part in found) else _SAME
    return _SAME if type(before) is type(now) and before == now else now


def _array_difference(before: Any, now: npt.NDArray[Any]) -> Any:
    if not isinstance(before, np.ndarray) or before.dtype != now.dtype or before.shape != now.shape or now.ndim != 1:
        return now
    places = np.flatnonzero(before != now)
    if not len(places):
        return _SAME
    if len(places) * _MOST_CHANGED > len(now):
        return now
    return Patch(places.astype(np.uint32), now[places])


def _whole(before: Any, short: Any) -> Any:
    if isinstance(short, Same):
        return before
    if isinstance(short, Patch):
        array = before.copy()
        array[short.places] = short.values
        return array
    if isinstance(short, Parts):
        names = [field.name for field in fields(short.kind)]
        other = before if type(before) is short.kind else None
        parts = zip(names, short.values, strict=True)
        return short.kind(**{name: _whole(getattr(other, name, None), part) for name, part in parts})
    return short
