"""Needles: byte strings with masks, laid out for the compiled loop, and where in each to look first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Needle:
    """Bytes that match where `memory & mask == value & mask`, for each byte."""

    value: bytes
    mask: bytes
    name: str
    """What it is called among the alternatives of a pattern."""


@dataclass(frozen=True, slots=True)
class PackedNeedles:
    """All needles of a search, as the loop takes them."""

    values: U8
    """One after the other, masked."""
    masks: U8
    bounds: I64
    """(n + 1,) where each begins in `values`."""
    anchors: I64
    """(n, 2) the two bytes of each that are compared first."""
    longest: int

    @property
    def lengths(self) -> I64:
        """(n,) bytes of each."""
        return np.diff(self.bounds)


def pack_needles(needles: tuple[Needle, ...], sample: U8) -> PackedNeedles:
    """Lays needles out. `sample` (n,): some of the memory to be searched; the bytes of a needle that are rarest in it
    are compared first, since zeros and 0xff fill most of any guest.
    """
    masks = np.frombuffer(b"".join(needle.mask for needle in needles), np.uint8)
    values = np.frombuffer(b"".join(needle.value for needle in needles), np.uint8) & masks
    bounds = np.cumsum([0, *(len(needle.value) for needle in needles)], dtype=np.int64)
    counts = np.bincount(sample, minlength=256) + 1
    likely = np.zeros(len(values), np.int64)
    every = np.arange(256, dtype=np.uint8)
    for mask in np.unique(masks):
        # How often memory, so masked, is each value.
        masked = np.bincount(every & mask, counts, minlength=256)
        chosen = masks == mask
        likely[chosen] = masked[values[chosen]]
    anchors = np.zeros((len(needles), 2), np.int64)
    for index in range(len(needles)):
        rarest = np.argsort(likely[bounds[index] : bounds[index + 1]], kind="stable")
        anchors[index] = rarest[0], rarest[min(1, len(rarest) - 1)]
    return PackedNeedles(values, masks, bounds, anchors, int(np.diff(bounds).max()))
