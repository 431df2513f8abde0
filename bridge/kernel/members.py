"""Members of many objects at once: only the words that hold them are read, wherever the objects lie."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from bridge.kernel.space import KernelSpace

U64 = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]


class Members:
    """Where some members of one struct lie: name -> (offset, size in bytes)."""

    def __init__(self, places: Mapping[str, tuple[int, int]]) -> None:
        self._places = dict(places)
        words = {at for offset, size in places.values() for at in range(offset & ~7, offset + size, 8)}
        self._offsets = np.array(sorted(words), np.uint64)
        self._column = {at: index for index, at in enumerate(self._offsets.tolist())}

    def read(self, space: KernelSpace, objects: U64) -> Columns:
        """Read them from the objects at virtual addresses (n,)."""
        words, mapped = space.words_of(objects, self._offsets)
        return Columns(self._places, self._column, words, np.logical_and.reduce(mapped, axis=1))


class Columns:
    """What was read: a column a member. What could not be read is zero, and its object is not `ok`."""

    def __init__(self, places: dict[str, tuple[int, int]], column: dict[int, int], words: U64, ok: Mask) -> None:
        self._places = places
        self._column = column
        self._words = words
        self.ok = ok

    def u64(self, name: str) -> U64:
        """(n,) a member of up to eight bytes, as an unsigned number. It must not cross an aligned word."""
        offset, size = self._places[name]
        word = self._words[:, self._column[offset & ~7]]
        if size == 8 and not offset & 7:
            return word
        return (word >> np.uint64(8 * (offset & 7))) & np.uint64((1 << 8 * size) - 1)

    def i64(self, name: str) -> npt.NDArray[np.int64]:
        """(n,) the same, with its sign."""
        _, size = self._places[name]
        unused = np.int64(64 - 8 * size)
        signed: npt.NDArray[np.int64] = (self.u64(name) << np.uint64(unused)).view(np.int64) >> unused
        return signed

    def words(self, name: str) -> U64:
        """(n, w) the words that hold a member of each object."""
        offset, size = self._places[name]
        return self._words[:, self._column[offset & ~7] : self._column[offset + size - 1 & ~7] + 1]

    def raw(self, name: str) -> list[bytes]:
        """The bytes of a member of each object."""
        offset, size = self._places[name]
        data = np.ascontiguousarray(self.words(name)).view(np.uint8)
        start = offset & 7
        pieces = np.ascontiguousarray(data[:, start : start + size])
        return [bytes(piece) for piece in pieces.view(np.dtype((np.void, size))).reshape(-1).tolist()]

    def text(self, name: str) -> tuple[str, ...]:
        """A member that holds text up to its zero byte, of each object."""
        known: dict[bytes, str] = {}  # hundreds of processes have the same name
        return tuple(known.get(raw) or known.setdefault(raw, _text(raw)) for raw in self.raw(name))


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")
