"""Reads by guest-physical address, many at a time, from whatever holds the RAM: a live mapping or a dump."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from bridge.memory.errors import InvalidAddress
from bridge.memory.physical_map import PhysicalMap

U64 = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

_PAGE = 4096
_MAX_VIEWS = 64


class HoldsRam(Protocol):
    """Bytes and where in the guest's address space they lie: a `GuestRam`, or a dump."""

    @property
    def size_bytes(self) -> int:
        """How many bytes there are."""
        ...

    @property
    def bytes(self) -> npt.NDArray[np.uint8]:
        """All of them, (size_bytes,) uint8."""
        ...

    @property
    def physical_map(self) -> PhysicalMap:
        """Which physical address lies where among them."""
        ...


@runtime_checkable
class KnowsItsHoles(Protocol):
    """RAM of which parts do not exist yet, and would by being read: a `GuestRam`."""

    def allocated_extents(self) -> list[tuple[int, int]]:
        """(offset, length) of the parts that exist, page-aligned, in order."""
        ...


class PhysicalReader:
    """Physical memory as arrays. What lies outside of RAM is masked out; only `read` raises for it."""

    def __init__(self, ram: HoldsRam) -> None:
        self.ram = ram
        self.bytes = np.asarray(ram.bytes)  # of a memmap, each index would make a memmap
        regions = ram.physical_map.regions
        self._starts = np.array([region.paddr for region in regions], np.uint64)
        self._ends = np.array([region.paddr_end for region in regions], np.uint64)
        # Modulo 2^64: offset = paddr + shift.
        self._shifts = np.array([(region.offset - region.paddr) % (1 << 64) for region in regions], np.uint64)
        self.end_paddr = max((region.paddr_end for region in regions), default=0)
        self.region_table: U64 = np.stack([self._starts, self._ends, self._shifts], axis=1)
        """(r, 3) where each region starts and ends, and what is added for its place in `bytes`, modulo 2^64."""
        self.is_aligned = all(region.offset % 8 == region.paddr % 8 for region in regions)
        self._pages = self.bytes[: ram.size_bytes // _PAGE * _PAGE].reshape(-1, _PAGE)
        self._views: dict[int, npt.NDArray[np.uint8]] = {}
        whole = ram.size_bytes // 8 * 8
        self.all_words: U64 = (
            np.frombuffer(self.bytes[:whole].data, "<u8") if self.is_aligned else np.zeros(0, np.uint64)
        )
        """All of `bytes` as words; none where regions do not begin at whole words (`is_aligned` tells)."""

    @property
    def n_pages(self) -> int:
        """How many pages of RAM there are: no kernel structure has more elements than a small multiple of that."""
        return -(-self.ram.size_bytes // 4096)

    def extents(self) -> list[tuple[int, int]]:
        """(offset, length) of the parts of `bytes` that whoever reads all of it should read; the rest is zero."""
        if isinstance(self.ram, KnowsItsHoles):
            return self.ram.allocated_extents()
        return [(0, len(self.bytes))]

    def copy(self, offset: int, length: int) -> bytearray:
        """What lies at an offset of `bytes`, as far as they go; holes come as zeros and stay holes."""
        held = bytearray(max(min(length, len(self.bytes) - offset), 0))
        copy = np.frombuffer(held, np.uint8)
        for start, size in self.extents():
            begin, end = max(start, offset), min(start + size, offset + len(copy))
            if begin < end:
                copy[begin - offset : end - offset] = self.bytes[begin:end]
        return held

    def offsets(self, paddrs: U64, length: int = 1) -> tuple[U64, Mask]:
        """Where in `bytes` each of `paddrs` (n,) lies, and whether all `length` bytes there are RAM, in one region."""
        if not len(self._starts):
            return np.zeros(len(paddrs), np.uint64), np.zeros(len(paddrs), np.bool_)
        if len(self._starts) == 1:
            start, end, shift = self._starts[0], self._ends[0], self._shifts[0]
            ok = (paddrs >= start) & (paddrs < end) & (end - paddrs >= np.uint64(length))
            return np.where(ok, paddrs + shift, np.uint64(0)), ok
        index = np.searchsorted(self._starts, paddrs, side="right").astype(np.int64) - 1
        known = index >= 0
        index = np.maximum(index, 0)
        ends = self._ends[index]
        ok = known & (paddrs < ends) & (ends - paddrs >= np.uint64(length))
        return np.where(ok, paddrs + self._shifts[index], np.uint64(0)), ok

    def pages_of(self, paddrs: U64) -> npt.NDArray[np.int64]:
        """The pages of `bytes` that hold `paddrs` (n,); those that are not RAM are left out."""
        offsets, ok = self.offsets(paddrs)
        return (offsets[ok] >> np.uint64(12)).astype(np.int64)

    def words(self, paddrs: U64) -> tuple[U64, Mask]:
        """The little-endian 64-bit words at `paddrs` (n,): values (n,) uint64, zero where the mask (n,) is False."""
        offsets, ok = self.offsets(paddrs, 8)
        if self.is_aligned and not np.any(paddrs & np.uint64(7)):
            values = self.all_words[np.minimum(offsets >> np.uint64(3), np.uint64(max(len(self.all_words) - 1, 0)))]
            return np.where(ok, values, np.uint64(0)), ok
        rows, ok = self.rows(paddrs, 8)
        return rows.view("<u8").reshape(-1), ok

    def rows(self, paddrs: U64, length: int) -> tuple[npt.NDArray[np.uint8], Mask]:
        """`length` bytes from each of `paddrs` (n,): (n, length) uint8, zero where the mask (n,) is False."""
        offsets, ok = self.offsets(paddrs, length)
        if not length or not ok.any():
            return np.zeros((len(paddrs), length), np.uint8), ok
        whole = bool(ok.all())
        places = (offsets if whole else offsets[ok]).astype(np.int64)
        if length == _PAGE and not (places & (_PAGE - 1)).any():
            found = self._pages[places >> 12]
        else:
            found = self._windows(length)[places]
        if whole:
            return found, ok
        rows = np.zeros((len(paddrs), length), np.uint8)
        rows[ok] = found
        return rows, ok

    def _windows(self, length: int) -> npt.NDArray[np.uint8]:
        """`bytes` from every place on: (size_bytes - length + 1, length), a view."""
        view = self._views.get(length)
        if view is None:  # making one takes longer than to read from it
            view = np.lib.stride_tricks.sliding_window_view(self.bytes, length)
            if len(self._views) < _MAX_VIEWS:
                self._views[length] = view
        return view

    def read(self, paddr: int, length: int) -> bytes:
        """`length` bytes from `paddr` on, across regions that touch. Raises InvalidAddress."""
        if paddr < 0 or length < 0 or length > self.ram.size_bytes:
            raise InvalidAddress(paddr, length, self.end_paddr)
        pieces: list[bytes] = []
        while length:
            index = int(np.searchsorted(self._starts, np.uint64(min(paddr, (1 << 64) - 1)), side="right")) - 1
            if index < 0 or paddr >= int(self._ends[index]):
                raise InvalidAddress(paddr, length, self.end_paddr)
            n = min(length, int(self._ends[index]) - paddr)
            offset = (paddr + int(self._shifts[index])) % (1 << 64)
            pieces.append(self.bytes[offset : offset + n].tobytes())
            paddr, length = paddr + n, length - n
        return b"".join(pieces)
