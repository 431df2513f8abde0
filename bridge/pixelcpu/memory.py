"""Memory for the interpreter: an array of bytes at an address, read and written by arrays of addresses."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bridge.pixelcpu.errors import MemoryFault

Addresses = NDArray[np.uint64]


class Memory(Protocol):
    """What the interpreter loads from and stores to. Addresses (n,); `lanes` (n,) are whose they are, for errors."""

    def load(self, addresses: Addresses, size: int, lanes: NDArray[np.intp]) -> NDArray[Any]:
        """Words (n,) of an unsigned type of `size` bytes. Raises MemoryFault."""
        ...

    def store(self, addresses: Addresses, values: NDArray[Any], lanes: NDArray[np.intp]) -> None:
        """Write words (n,) of an unsigned type. Raises MemoryFault, and has written nothing then."""
        ...


class ArrayMemory:
    """Bytes (n,) uint8, in place, whose first has the address `origin`. What is not writable cannot be stored to."""

    def __init__(self, content: NDArray[np.uint8], origin: int = 0) -> None:
        if content.dtype != np.uint8 or content.ndim != 1 or not content.flags.c_contiguous:
            raise ValueError(f"memory is contiguous (n,) uint8, not {content.shape} {content.dtype}")
        self.content, self.origin = content, origin

    def load(self, addresses: Addresses, size: int, lanes: NDArray[np.intp]) -> NDArray[Any]:
        """Words (n,) of `size` bytes, little-endian. Raises MemoryFault."""
        places = self._places(addresses, size, lanes, is_store=False)
        words: NDArray[Any] = self._words(size)[places]
        return words

    def store(self, addresses: Addresses, values: NDArray[Any], lanes: NDArray[np.intp]) -> None:
        """Write words (n,). Raises MemoryFault."""
        places = self._places(addresses, values.itemsize, lanes, is_store=True)
        self._words(values.itemsize)[places] = values

    def _places(self, addresses: Addresses, size: int, lanes: NDArray[np.intp], *, is_store: bool) -> Addresses:
        places = addresses - np.array([self.origin & ((1 << 64) - 1)], np.uint64)
        room = len(self.content) - size
        if is_store and not self.content.flags.writeable:
            room = -1
        outside = places > np.uint64(room) if room >= 0 else np.ones(places.shape, np.bool_)
        if outside.any():
            first = int(outside.argmax())
            raise MemoryFault(int(addresses[first]), size, int(lanes[first]), is_store=is_store)
        return places

    def _words(self, size: int) -> NDArray[Any]:
        """A word at each byte: they overlap, and most are not aligned, which numpy takes care of."""
        return np.ndarray((len(self.content) - size + 1,), f"<u{size}", self.content, strides=(1,))


NO_MEMORY = ArrayMemory(np.zeros(0, np.uint8))
"""For programs without loads and stores: any access is a fault."""
