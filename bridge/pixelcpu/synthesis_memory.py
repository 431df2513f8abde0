"""Memory of examples: every address has a byte, in each state its own where that matters; stores are remembered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.pixelcpu.memory import Addresses

_CORNERS = np.array([0x00, 0x01, 0x7F, 0x80, 0xFF], np.uint64)
_ONE = np.uint64(1)
Lanes = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Known:
    """What memory holds in one state."""

    bytes_: Mapping[int, int]
    others: int
    """What all other bytes are."""


class ExampleMemory:
    """What is not known of a state is made of the address; every other byte is a corner case."""

    def __init__(self, known: Sequence[Known | None]) -> None:
        """`known`: of each lane's state."""
        self._known = known
        self._stores: list[tuple[NDArray[np.uint64], NDArray[np.uint8], NDArray[np.bool_]]] = []

    def load(self, addresses: Addresses, size: int, lanes: Lanes) -> NDArray[Any]:
        """Words (n,) of `size` bytes, little-endian."""
        lanes = np.asarray(lanes)
        places = np.broadcast_to(addresses, lanes.shape)[:, None] + _upto(size)
        return np.ascontiguousarray(self._bytes(places, lanes)).view(f"<u{size}")[:, 0]

    def store(self, addresses: Addresses, values: NDArray[Any], lanes: Lanes) -> None:
        """Write words (n,)."""
        n, size = len(self._known), values.itemsize
        where, what, there = np.zeros(n, np.uint64), np.zeros((n, size), np.uint8), np.zeros(n, np.bool_)
        where[lanes], there[lanes] = addresses, True
        what[lanes] = np.ascontiguousarray(values).view(np.uint8).reshape(-1, size)
        self._stores.append((where, what, there))

    def equals(self, other: ExampleMemory) -> bool:
        """Whether stores left the same in both, which began as the same."""
        for where, what, there in (*self._stores, *other._stores):
            lanes = np.flatnonzero(there)
            places = where[lanes][:, None] + _upto(what.shape[1])
            if not np.array_equal(self._bytes(places, lanes), other._bytes(places, lanes)):
                return False
        return True

    def _bytes(self, places: NDArray[np.uint64], lanes: Lanes) -> NDArray[np.uint8]:
        """(n, size): what is there now, in the states of some lanes."""
        found = _made_of(places)
        for row, lane in enumerate(lanes.tolist()):
            known = self._known[lane]
            if known is not None:
                found[row] = [known.bytes_.get(place, known.others) for place in places[row].tolist()]
        for where, what, there in self._stores:
            offsets = places - where[lanes][:, None]
            hit = (offsets < np.uint64(what.shape[1])) & there[lanes][:, None]
            if hit.any():
                stored = np.take_along_axis(what[lanes], np.where(hit, offsets, 0).astype(np.intp), axis=1)
                found = np.where(hit, stored, found)
        return found


def _made_of(places: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """A byte of each address, by the last steps of SplitMix64 (Steele, Lea and Flood, 2014)."""
    mixed = (places ^ places >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ mixed >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    corner = _CORNERS[(mixed >> np.uint64(16)).astype(np.intp) % len(_CORNERS)]
    return np.where(mixed >> np.uint64(40) & _ONE, corner, mixed >> np.uint64(56)).astype(np.uint8)


def _upto(size: int) -> NDArray[np.uint64]:
    return np.arange(size, dtype=np.uint64)
