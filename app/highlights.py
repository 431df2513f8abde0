"""Highlights: sets of pages that glow in the volume under names, in colours of their own, and how they are written.

Several at once, whatever they are of: something in the guest (a kind and a key, as what is chosen), the answer to a
query, or ranges of addresses. What is chosen is lit beside them; it comes and goes, these stay until they are removed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.chosen import KINDS, PAGE_BYTES, BadKey, Chosen, Key, Pages, key_text, parse_key, printable
from app.output import format_bytes
from bridge.memory.physical_map import PhysicalMap

MOST_HIGHLIGHTS = 254
"""One less than the picture has colours for: one is for what is chosen."""
MAX_NAME = 80
MAX_QUERY = 10_000
MAX_RANGES = 4096
QUERY, RANGES = "query", "ranges"
"""Kinds beside those of `app.chosen`: the answer to a query, and ranges of guest-physical addresses."""
COLOURS: tuple[str, ...] = (
    "#f0944d",
    "#3fb68b",
    "#c47af0",
    "#e3567a",
    "#3da5d9",
    "#a8b820",
    "#e07ad0",
    "#2fb5b5",
    "#d9a520",
    "#8d86f5",
    "#e0604a",
    "#5fae4a",
)
"""For those that were given none: far apart, and bright enough for a dark window and dark enough for a light one."""
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
_RANGE = re.compile(r"\s*(0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20})\s*\+\s*(0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20})\s*")
Ranges = tuple[tuple[int, int], ...]
"""Guest-physical start and length in bytes, of each."""


class BadHighlight(ValueError):
    """What cannot be a highlight; the message says why."""


@dataclass(frozen=True, slots=True)
class Highlight:
    """Equal where the same is meant and shown alike, whatever its pages are now."""

    machine: str
    name: str
    colour: str
    """`#rrggbb`."""
    kind: str
    """One of KINDS, or QUERY or RANGES."""
    key: Key = ""
    """Of a kind of KINDS; start, length, start, length … of RANGES."""
    query: str = ""
    """What it was asked for by; empty where nobody asked."""
    visible: bool = True
    pages: Pages | None = field(default=None, compare=False)
    """(n,) pages of the RAM file, rising; None until they are known."""
    problem: str = field(default="", compare=False)
    """Why they are not known, in a sentence."""

    @property
    def identity(self) -> tuple[str, str]:
        """What tells it from all others."""
        return self.machine, self.name

    @property
    def size_bytes(self) -> int:
        """How much it holds."""
        return 0 if self.pages is None else len(self.pages) * PAGE_BYTES

    @property
    def told(self) -> str:
        """How much it is, in a few words, or why that is not known."""
        if self.pages is None:
            return self.problem or "Looking for its pages"
        if not len(self.pages):
            return "No pages in memory"
        n = len(self.pages)
        return f"{format_bytes(self.size_bytes)}, {n:,} page{'s' if n != 1 else ''}"

    def describe(self) -> dict[str, Any]:
        """It as JSON values, for scripts."""
        return {
            **self.document(),
            "pages": None if self.pages is None else len(self.pages),
            "bytes": None if self.pages is None else self.size_bytes,
            "problem": self.problem,
        }

    def document(self) -> dict[str, Any]:
        """It as JSON values that `from_document` reads: what it is of, not which pages that are today."""
        key = ranges_text(ranges_of_key(self.key)) if self.kind == RANGES else key_text(self.key)
        return {
            "machine": self.machine,
            "name": self.name,
            "colour": self.colour,
            "kind": self.kind,
            "key": key,
            "query": self.query,
            "visible": self.visible,
        }


def from_document(document: object) -> Highlight:
    """The highlight that a document tells of, which anybody may have written. Raises BadHighlight."""
    if not isinstance(document, Mapping):
        raise BadHighlight(f"A highlight is an object with machine, name, colour and kind, not {_type(document)}.")
    visible = document.get("visible", True)
    if not isinstance(visible, bool):
        raise BadHighlight(f"Whether a highlight is visible is true or false, not {_type(visible)}.")
    machine, kind = _text(document, "machine", MAX_NAME), _text(document, "kind", 20)
    name, query = _text(document, "name", MAX_NAME), _text(document, "query", MAX_QUERY, may_lack=True)
    if not name or not machine or name != printable(name) or machine != printable(machine):
        raise BadHighlight("A highlight's name and machine are printable, and not empty.")
    key = checked_key(kind, _text(document, "key", 64 * MAX_RANGES, may_lack=True), query)
    return Highlight(machine, name, checked_colour(_text(document, "colour", 20)), kind, key, query, visible)


def _text(document: Mapping[str, object], member: str, limit: int, *, may_lack: bool = False) -> str:
    value = document.get(member, "" if may_lack else None)
    if not isinstance(value, str):
        raise BadHighlight(f"A highlight's {member} is text, not {_type(value)}.")
    if len(value) > limit:
        raise BadHighlight(f"A highlight's {member} has at most {limit:,} characters, not {len(value):,}.")
    return value


def _type(value: object) -> str:
    return "nothing" if value is None else type(value).__name__


def checked_key(kind: str, key: str, query: str) -> Key:
    """What the key of a highlight of a kind means. Raises BadHighlight."""
    if kind == QUERY:
        if not query:
            raise BadHighlight("A highlight of a query has a query.")
        return ""
    if kind == RANGES:
        return tuple(number for both in parse_ranges(key) for number in both)
    try:
        return parse_key(kind, key)
    except BadKey as error:
        raise BadHighlight(f"{error}, or {RANGES}" if kind not in KINDS else str(error)) from None


def checked_colour(text: str) -> str:
    """A colour as `#rrggbb`. Raises BadHighlight."""
    if not _COLOUR.fullmatch(text.strip()):
        raise BadHighlight(f"{text[:20]!r} is no colour: write #rrggbb.")
    return text.strip().lower()


# Ranges of addresses


def parse_ranges(text: str) -> Ranges:
    """What START+LENGTH,START+LENGTH… means; decimal or 0x. Raises BadHighlight."""
    parts = text.split(",", MAX_RANGES)
    if len(parts) > MAX_RANGES:
        raise BadHighlight(f"More than {MAX_RANGES:,} ranges are too many for one highlight.")
    ranges = []
    for part in parts:
        found = _RANGE.fullmatch(part)
        if found is None:
            raise BadHighlight(f"{part[:40]!r} is no range of addresses: write START+LENGTH, such as 0x100000+4096.")
        start, length = (int(number, 0) if number[:2].lower() == "0x" else int(number) for number in found.groups())
        if not length or start + length > 1 << 64:
            raise BadHighlight(f"{part[:40]!r} reaches beyond 64 bits, or holds nothing.")
        ranges.append((start, length))
    return tuple(ranges)


def ranges_text(ranges: Iterable[tuple[int, int]]) -> str:
    """Ranges as `parse_ranges` reads them."""
    return ",".join(f"{start:#x}+{length:#x}" for start, length in ranges)


def ranges_of_key(key: Key) -> Ranges:
    """The ranges that a highlight of RANGES is of."""
    assert isinstance(key, tuple)
    return tuple(zip(key[::2], key[1::2], strict=True))


def pages_of_ranges(ranges: Ranges, physical: PhysicalMap, n_pages: int) -> Pages:
    """Pages (n,) of the RAM file, rising, that ranges of guest-physical addresses touch; none where there is no RAM."""
    lit = np.zeros(n_pages, np.bool_)
    for start, length in ranges:
        for region in physical.regions:
            low, high = max(start, region.paddr), min(start + length, region.paddr + region.size_bytes)
            if low < high:
                first = (region.offset + low - region.paddr) // PAGE_BYTES
                last = -(-(region.offset + high - region.paddr) // PAGE_BYTES)
                lit[first:last] = True
    return np.flatnonzero(lit).astype(np.uint32)


def ranges_of_pages(pages: Pages, physical: PhysicalMap) -> NDArray[np.uint64]:
    """Guest-physical ranges (m, 2), start and length in bytes, of pages (n,) of the RAM file; rising, none adjacent."""
    found: list[NDArray[np.uint64]] = []
    offsets = np.unique(pages).astype(np.uint64) * np.uint64(PAGE_BYTES)
    for region in physical.regions:
        inside = offsets[(offsets >= region.offset) & (offsets < region.offset + region.size_bytes)]
        found.append(inside - np.uint64(region.offset) + np.uint64(region.paddr))
    starts = np.sort(np.concatenate(found)) if found else np.zeros(0, np.uint64)
    if not len(starts):
        return np.zeros((0, 2), np.uint64)
    begins = np.append(0, np.flatnonzero(np.diff(starts) != PAGE_BYTES) + 1)
    lengths = np.diff(np.append(begins, len(starts))).astype(np.uint64) * np.uint64(PAGE_BYTES)
    return np.stack([starts[begins], lengths], axis=1)


# Lists of them

Highlights = tuple[Highlight, ...]


def next_colour(highlights: Iterable[Highlight]) -> str:
    """The first colour that fewest have."""
    used = [highlight.colour for highlight in highlights]
    return min(COLOURS, key=used.count)


def free_name(highlights: Iterable[Highlight], machine: str, name: str) -> str:
    """A name like this one that no highlight of a machine has: `sshd`, `sshd 2` …, printable and bounded."""
    taken = {highlight.name for highlight in highlights if highlight.machine == machine}
    base = printable(name.strip() or "Pages")[:MAX_NAME]
    if base not in taken:
        return base
    endings = (f" {number}" for number in range(2, len(taken) + 3))
    return next(found for end in endings if (found := base[: MAX_NAME - len(end)] + end) not in taken)


def of_chosen(chosen: Chosen, name: str, colour: str) -> Highlight:
    """What is chosen, as a highlight that stays."""
    key, query = ("", str(chosen.key)) if chosen.kind == QUERY else (chosen.key, "")
    machine, pages, problem = chosen.machine, chosen.pages, chosen.problem
    return Highlight(machine, name, colour, chosen.kind, key, query, pages=pages, problem=problem)


def replaced(highlights: Highlights, old: Highlight, new: Highlight | None) -> Highlights:
    """The list with another one in a place, or with none."""
    return tuple(kept for one in highlights if (kept := new if one.identity == old.identity else one) is not None)


def holding(highlights: Sequence[Highlight], machine: str, page: int) -> list[Highlight]:
    """Those that show a page of a machine's RAM file, the smallest first: it is what is meant."""
    found = [one for one in highlights if one.visible and holds(one, machine, page)]
    return sorted(found, key=lambda one: one.size_bytes)


def holds(one: Highlight | Chosen, machine: str, page: int) -> bool:
    """Whether a page of a machine's RAM file is one of its own."""
    if one.machine != machine or one.pages is None:
        return False
    at = int(np.searchsorted(one.pages, page))
    return at < len(one.pages) and int(one.pages[at]) == page


def shown_again(now: Highlights, wanted: Highlights) -> Highlights:
    """The list that undo wants back, with the pages that are known now."""
    known = {(one.identity, one.kind, one.key): one for one in now}
    return tuple(
        replace(one, pages=same.pages, problem=same.problem)
        if (same := known.get((one.identity, one.kind, one.key))) is not None and one.kind != QUERY
        else one
        for one in wanted
    )
