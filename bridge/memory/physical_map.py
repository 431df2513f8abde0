"""The guest-physical memory map: which physical address lies at which offset of the RAM file.

QEMU has no structured source for this. `query-memory-devices` knows hot-plugged DIMMs only, `x-query-ramblock` is text
and knows sizes but no addresses, and the `*-mem-size` properties of a board would have us rebuild what the board does
with them. The flat view (`info mtree -f`) is what the CPUs of the machine really see, after priorities and aliases, on
every board, so it is what is read here.

The view is that of an instant: the firmware turns RAM under 1 MiB from ROM to RAM as it boots. RAM that lies behind
something else at that instant has no address at which a CPU could read it, but it has a home: `shadowed` keeps it, so
that every byte of the file has an address to show, and no address is claimed that would read something else.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from bridge.memory.errors import InvalidAddress, PhysicalMapUnreadable

PAGE_BYTES = 4096

# A real machine's flat view has 10 to 60 lines for each of a few dozen devices. What is longer is not a memory map.
_MAX_TEXT_CHARS = 8 << 20
_MAX_REGIONS = 512
_ADDRESS_END = 1 << 64

# One line of a flat view. Under KVM the accelerator's name follows, once for each address space that the view serves:
# "ram @00000000c0000000 KVM KVM".
_RANGE_LINE = re.compile(
    r"^ +(?P<first>[0-9a-f]{16})-(?P<last>[0-9a-f]{16}) \(prio -?\d{1,10}, (?P<kind>[a-z/-]{1,16})\): (?P<rest>.*)$"
)
_RAM_KINDS = frozenset({"ram", "rom", "nv-ram", "nv-rom"})


@dataclass(frozen=True, slots=True)
class RamRegion:
    """`size_bytes` of the RAM file from `offset` on, which the guest sees at physical address `paddr`."""

    paddr: int
    offset: int
    size_bytes: int
    name: str

    @property
    def paddr_end(self) -> int:
        """The first address after the region."""
        return self.paddr + self.size_bytes

    @property
    def offset_end(self) -> int:
        """The first file offset after the region."""
        return self.offset + self.size_bytes

    def __str__(self) -> str:
        return f"{self.paddr:#x}-{self.paddr_end - 1:#x}"


@dataclass(frozen=True)
class PhysicalMap:
    """Regions of RAM by physical address, sorted, disjoint in address, touching ones merged.

    `regions` is what a CPU reads as RAM now; `shadowed` is RAM behind something else (a ROM, a video aperture).
    """

    size_bytes: int
    regions: tuple[RamRegion, ...]
    shadowed: tuple[RamRegion, ...] = ()

    def __post_init__(self) -> None:
        for region in (*self.regions, *self.shadowed):
            if region.size_bytes <= 0 or min(region.paddr, region.offset) < 0 or region.paddr_end > _ADDRESS_END:
                raise PhysicalMapUnreadable(f"The memory map has an impossible region: {region!r}.")
            if region.offset_end > self.size_bytes:
                raise PhysicalMapUnreadable(
                    f"The memory map puts {region} at file offset {region.offset:#x}, but the RAM has only "
                    f"{self.size_bytes:,} bytes. Is this the right memory backend?"
                )
        # A shadowed region lies at addresses that are taken, so it is checked against its own kind only.
        for regions in (self.regions, self.shadowed):
            for before, after in itertools.pairwise(regions):
                if after.paddr < before.paddr_end:
                    raise PhysicalMapUnreadable(f"The memory map's regions {before} and {after} overlap.")

    @classmethod
    def flat(cls, size_bytes: int, name: str = "ram") -> PhysicalMap:
        """All RAM in one piece from address 0: a small machine, a dump."""
        return cls(size_bytes, (RamRegion(0, 0, size_bytes, name),))

    @classmethod
    def from_mtree(cls, text: str, backend: str, size_bytes: int) -> PhysicalMap:
        """The map of one memory backend out of what `info mtree -f` prints.

        `backend` is the id (or the QOM path) of the memory backend object. Other backends (DIMMs, NUMA nodes) have
        files of their own, and are not in this map.
        """
        if len(text) > _MAX_TEXT_CHARS:
            raise PhysicalMapUnreadable(f"QEMU's memory map is {len(text):,} characters long; that is not believable.")
        identity = backend.rsplit("/", 1)[-1]
        # Boards before 4.0 name a backend's region by its QOM path.
        own = re.compile(rf"(?:/objects/)?{re.escape(identity)}(?: @(?P<offset>[0-9a-f]{{16}}))?(?: \w+)*$")
        regions: list[RamRegion] = []
        for line in _lines_of_cpu_view(text):
            line_match = _RANGE_LINE.match(line)
            if line_match is None or line_match["kind"] not in _RAM_KINDS:
                continue
            own_match = own.match(line_match["rest"])
            if own_match is None:
                continue
            first, last = int(line_match["first"], 16), int(line_match["last"], 16)
            regions.append(RamRegion(first, int(own_match["offset"] or "0", 16), last - first + 1, identity))
            if len(regions) > _MAX_REGIONS:
                raise PhysicalMapUnreadable(f"QEMU's memory map has more than {_MAX_REGIONS} pieces of {identity!r}.")
        if not regions:
            raise PhysicalMapUnreadable(
                f"QEMU's memory map shows no RAM of the memory backend {identity!r}. Is it the machine's own "
                f"(-machine memory-backend={identity})?"
            )
        visible = _merged(sorted(regions, key=lambda region: region.paddr))
        return cls(size_bytes, visible, _behind(visible))

    def describe(self) -> str:
        """The address ranges as a person reads them."""
        return ", ".join(map(str, self.regions))

    def contiguous_offset(self, paddr: int, length: int) -> int:
        """File offset of `length` bytes at `paddr` that lie in RAM in one piece; else `InvalidAddress`."""
        if length >= 0 and 0 <= paddr < _ADDRESS_END:
            index = int(np.searchsorted(self._by_paddr[0], np.uint64(paddr), side="right")) - 1
            if index >= 0:
                region = self.regions[index]
                if paddr < region.paddr_end and paddr + length <= region.paddr_end:
                    return region.offset + paddr - region.paddr
        raise InvalidAddress(paddr, length, self.size_bytes, f"RAM is at {self.describe()}.")

    @overload
    def offset_from_paddr(self, paddr: int) -> int: ...
    @overload
    def offset_from_paddr(self, paddr: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]: ...
    def offset_from_paddr(self, paddr: int | npt.NDArray[np.uint64]) -> int | npt.NDArray[np.int64]:
        """File offset of a physical address. An array gives (n,) int64 with -1 where no RAM is; a scalar raises
        `InvalidAddress` there."""
        if isinstance(paddr, np.ndarray):
            return _translate(self._by_paddr, paddr)
        return self.contiguous_offset(int(paddr), 1)

    @overload
    def paddr_from_offset(self, offset: int) -> int: ...
    @overload
    def paddr_from_offset(self, offset: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]: ...
    def paddr_from_offset(self, offset: int | npt.NDArray[np.uint64]) -> int | npt.NDArray[np.int64]:
        """Physical address of a file offset: the lowest one at which it can be read, or its home when it is shadowed.

        An array gives (n,) int64 with -1 where the offset has no address; a scalar raises `InvalidAddress` there.
        """
        if isinstance(offset, np.ndarray):
            return _translate(self._by_offset, offset)
        if 0 <= offset < self.size_bytes:
            paddr = int(_translate(self._by_offset, np.array([offset], np.uint64))[0])
            if paddr >= 0:
                return paddr
        raise InvalidAddress(int(offset), 1, self.size_bytes, "This is an offset in the RAM file.")

    @cached_property
    def _by_paddr(self) -> _Table:
        return _table((region.paddr, region.offset, region.size_bytes) for region in self.regions)

    @cached_property
    def _by_offset(self) -> _Table:
        # An offset that is seen twice (an alias) takes its lowest visible address.
        pieces: list[tuple[int, int, int]] = []
        for region in (*self.regions, *self.shadowed):
            start = region.offset
            for known_start, _, known_size in sorted(pieces):
                if known_start >= region.offset_end:
                    break
                if start < known_start:
                    pieces.append((start, region.paddr + start - region.offset, known_start - start))
                start = max(start, known_start + known_size)
            if start < region.offset_end:
                pieces.append((start, region.paddr + start - region.offset, region.offset_end - start))
        return _table(sorted(pieces))


def query_physical_map(qmp: Callable[..., Any], backend: str) -> PhysicalMap:
    """Asks a running QEMU for the map of one of its memory backends.

    `qmp(command, **arguments)` runs a QMP command and returns its result. `backend` is an object id or a QOM path.
    """
    path = backend if backend.startswith("/") else f"/objects/{backend}"
    size_bytes = qmp("qom-get", path=path, property="size")
    if not isinstance(size_bytes, int) or isinstance(size_bytes, bool) or not 0 < size_bytes < 1 << 56:
        raise PhysicalMapUnreadable(f"QEMU says that the memory backend {backend!r} has {size_bytes!r} bytes.")
    text = qmp("human-monitor-command", **{"command-line": "info mtree -f"})
    if not isinstance(text, str):
        raise PhysicalMapUnreadable(f"QEMU answered `info mtree -f` with {type(text).__name__}, not with text.")
    return PhysicalMap.from_mtree(text, backend, size_bytes)


# (start, target, size), each (k,) uint64, sorted by start.
_Table = tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64], npt.NDArray[np.uint64]]


def _table(rows: Iterable[tuple[int, int, int]]) -> _Table:
    columns = np.array(list(rows), np.uint64).reshape(-1, 3)
    return columns[:, 0].copy(), columns[:, 1].copy(), columns[:, 2].copy()


def _translate(table: _Table, keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    starts, targets, sizes = table
    keys = keys.astype(np.uint64, copy=False)
    index = np.searchsorted(starts, keys, side="right").astype(np.int64) - 1
    found = index >= 0
    index = np.maximum(index, 0)
    result = np.full(keys.shape, -1, np.int64)
    if len(starts):
        distance = keys - np.where(found, starts[index], keys)
        found &= distance < sizes[index]
        np.copyto(result, (targets[index] + distance).astype(np.int64), where=found)
    return result


def _lines_of_cpu_view(text: str) -> list[str]:
    """Lines of the flat view of the address space "memory", which is the CPUs' one outside system management mode."""
    lines: list[str] = []
    wanted = False
    for line in text.splitlines():
        if line.startswith("FlatView #"):
            if wanted:
                break
        elif line.startswith(' AS "memory",'):
            wanted = True
        elif wanted:
            lines.append(line)
    return lines


def _merged(regions: Sequence[RamRegion]) -> tuple[RamRegion, ...]:
    """Regions in order of address, with those joined that go on in both address and offset."""
    merged: list[RamRegion] = []
    for region in regions:
        before = merged[-1] if merged else None
        if before and before.paddr_end == region.paddr and before.offset_end == region.offset:
            merged[-1] = RamRegion(before.paddr, before.offset, before.size_bytes + region.size_bytes, before.name)
        else:
            merged.append(region)
    return tuple(merged)


def _behind(visible: Sequence[RamRegion]) -> tuple[RamRegion, ...]:
    """RAM behind something else: a gap as wide in the file as in the address space."""
    return tuple(
        RamRegion(before.paddr_end, before.offset_end, after.paddr - before.paddr_end, before.name)
        for before, after in itertools.pairwise(visible)
        if after.paddr - before.paddr_end == after.offset - before.offset_end > 0
    )
