"""What a search found: matches by offset in the RAM file, in the order of the places that were searched."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bridge.semantic.search.places import I64, U64, Places


@dataclass(frozen=True, slots=True)
class Hits:
    """Some matches, in order."""

    offsets: U64
    """(n,) where each begins in the RAM file."""
    lengths: npt.NDArray[np.uint32]
    """(n,) bytes."""
    which: npt.NDArray[np.int32]
    """(n,) which of the names of the search each is one of: an alternative, a string of a rule."""
    vaddrs: U64 | None
    """(n,) virtual addresses, where an address space was searched."""
    parts: I64
    """(m, 3) where each lies: its index, offset in the RAM file, length. More than one where it goes on in a page that
    lies elsewhere.
    """

    def __len__(self) -> int:
        return len(self.offsets)


@dataclass(frozen=True, slots=True)
class SearchResult(Hits):
    """All that was found."""

    names: tuple[str, ...]
    """What `which` counts."""
    complete: bool
    """Whether there are no more."""
    notes: tuple[str, ...]
    """Why it is not complete, and what else has to be known of it, in sentences."""
    searched_bytes: int
    total_bytes: int
    gone: int
    """Matches that the guest had overwritten before they could be delivered."""
    elapsed_s: float


def hits_at(places: Places, positions: I64, lengths: npt.NDArray[np.uint32], which: npt.NDArray[np.int32]) -> Hits:
    """Matches by where in the order of the places they begin."""
    return Hits(
        offsets=places.offsets_of(positions),
        lengths=lengths,
        which=which,
        vaddrs=None if places.vaddrs is None else places.vaddrs_of(positions),
        parts=places.parts_of(positions, lengths.astype(np.int64)),
    )


def joined_hits(places: Places, batches: list[Hits]) -> Hits:
    """Batches as one."""
    if not batches:
        none = np.zeros(0, np.int64)
        return hits_at(places, none, none.astype(np.uint32), none.astype(np.int32))
    before = np.cumsum([0, *map(len, batches)])
    parts = np.concatenate([b.parts + np.array([n, 0, 0]) for b, n in zip(batches, before[:-1], strict=True)])
    return Hits(
        offsets=np.concatenate([b.offsets for b in batches]),
        lengths=np.concatenate([b.lengths for b in batches]),
        which=np.concatenate([b.which for b in batches]),
        vaddrs=None if places.vaddrs is None else np.concatenate([_vaddrs(b) for b in batches]),
        parts=parts,
    )


def _vaddrs(hits: Hits) -> U64:
    assert hits.vaddrs is not None
    return hits.vaddrs
