"""Places: what lies at an address or is called by a symbol, and which bytes of which pages that is."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bridge.kernel.errors import KernelError
from bridge.kernel.owned import Owned
from bridge.memory.physical_map import PAGE_BYTES
from bridge.semantic.query.found import Found, Spans, one
from bridge.semantic.query.model import Subject
from bridge.semantic.query.results import NO_PAGES, NO_RANGES, U32, Ranges, ranges_of
from bridge.semantic.query.sight import Sight
from bridge.semantic.query.texts import shown

_KERNEL_HALF = 0xFFFF_8000_0000_0000
_USER_END = 1 << 56
_PER_CPU_END = 1 << 32
"""Symbols of the area of each CPU count from its beginning."""
_FEW_PLACES = 64
"""Pages of a virtual range that are looked for one by one, so that it is known which bytes of them are meant."""


def symbol(sight: Sight, subject: Subject) -> Iterator[Found]:
    """What the kernel calls by a name."""
    name = shown(str(subject.value))
    place = sight.ask("symbol_range", subject.value)
    if place is None:
        sight.note(f"The kernel has no symbol {name}.")
        return
    address, size = place
    if address < _PER_CPU_END:
        sight.note(f"{name} is in the area of each CPU, at {address:#x} of it.")
        return
    pages, ranges = bytes_at(sight, address, size, None)
    yield one(f"{name} at {address:#x}", "symbol", None, pages, ranges)


def address(sight: Sight, subject: Subject, pid: int | None) -> Iterator[Found]:
    """What lies at an address: a virtual one of a process, of the kernel by its size, else a physical one."""
    assert isinstance(subject.value, tuple)
    start, length = subject.value
    if start >= _KERNEL_HALF or pid is not None:
        pages, ranges = bytes_at(sight, start, length, None if start >= _KERNEL_HALF else pid)
    else:
        pages, ranges = _physical_bytes(sight, start, length)
    if not len(pages):
        hint = ""
        if pid is None and _ram_end(sight) <= start < _USER_END:
            hint = f" For a virtual one, say of which process: address {start:#x} in process 1."
        sight.note(f"Nothing is in memory at {start:#x}.{hint}")
    elif len(pages) == 1:
        label, _, owner = sight.namer.names(pages)[0]
        yield one(f"{start:#x}: {_told(sight, int(ranges[0, 0]), label)}", "address", owner, pages, ranges)
    else:
        groups = sight.namer.groups(pages)
        # Each range goes to the group of its first page.
        first = sight.pages_at(ranges[:, 0])
        begins, ends = groups.starts[:-1].tolist(), groups.starts[1:].tolist()
        own = [ranges[np.isin(first, groups.pages[at:end])] for at, end in zip(begins, ends, strict=True)]
        spans = Spans(np.cumsum([0, *map(len, own)]), np.concatenate(own))
        kinds = ["address"] * len(groups)
        yield Found(groups.labels, kinds, groups.pids, groups.starts, groups.pages, spans)


def _told(sight: Sight, paddr: int, label: str) -> str:
    """What a byte is, beyond the name of its page."""
    try:
        story = sight.ask("where", paddr)
    except KernelError:
        return label
    if story.symbol is not None:
        return f"{shown(str(story.symbol))}, {label}"
    if story.slab_object is not None:
        held = story.slab_object
        state = "in use" if held.allocated else "free"
        return f"{label}, object at {held.address:#x} of {held.size_bytes:,} bytes, {state}"
    if story.mappings and story.file_path:
        return f"{label}, mapped by {sight.called.called(story.mappings[0].pid)}"
    return label


def _ram_end(sight: Sight) -> int:
    return max((region.paddr_end for region in sight.map.regions), default=0)


def _physical_bytes(sight: Sight, start: int, length: int) -> tuple[U32, Ranges]:
    pieces, pages = [], []
    for region in sight.map.regions:
        first, end = max(start, region.paddr), min(start + length, region.paddr_end)
        if first < end:
            offset = region.offset + first - region.paddr
            pieces.append((first, end - first))
            pages.append(np.arange(offset // PAGE_BYTES, (offset + end - first - 1) // PAGE_BYTES + 1))
    if not pieces:
        return NO_PAGES, NO_RANGES
    return np.unique(np.concatenate(pages)).astype(np.uint32), np.array(pieces, np.int64)


def bytes_at(sight: Sight, vaddr: int, length: int, pid: int | None) -> tuple[U32, Ranges]:
    """Where bytes of the kernel (None) or of a process lie: pages, and a range for each."""
    pieces: list[tuple[int, int]] = []
    end = vaddr + length
    if length > _FEW_PLACES * PAGE_BYTES:
        pages = _virtual_pages(sight, vaddr, length, pid)
        return pages, ranges_of(sight.map, pages)
    for at in range(vaddr & ~(PAGE_BYTES - 1), end, PAGE_BYTES):
        first = max(at, vaddr)
        try:
            paddr = sight.ask("physical", first, pid)
        except KernelError:
            continue
        pieces.append((paddr, min(at + PAGE_BYTES, end) - first))
    if not pieces:
        return NO_PAGES, NO_RANGES
    ranges = np.array(pieces, np.int64)
    offsets = sight.map.offset_from_paddr(ranges[:, 0].astype(np.uint64))
    inside = offsets >= 0
    return np.unique(offsets[inside] // PAGE_BYTES).astype(np.uint32), ranges[inside]


def _virtual_pages(sight: Sight, vaddr: int, length: int, pid: int | None) -> U32:
    """The pages of a long virtual range, all asked for at once."""
    if pid is None:
        found: U32 = sight.ask("pages_of", "symbol", (vaddr, length))
        return found
    owned: Owned = sight.ask("owned", (pid,), None)
    inside = (owned.vaddrs >= np.uint64(vaddr)) & (owned.vaddrs - np.uint64(vaddr) < np.uint64(length))
    return np.unique(owned.pages[inside])
