"""Histograms of the channel that is looked at: exact where a page has one value, from a sample where a byte has.

Nothing here holds up the window. What the GPU knows of each page is read at a rate that leaves it 19 of 20 parts of the
time; bytes are counted in a thread, a thousand pages a second.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from app.jobs import Job, Jobs, JobState
from render.attributes import share_of
from render.channels import BY_VOXEL, HEAT_TOP

if TYPE_CHECKING:
    from app.feed import RamFeed
    from bridge.memory.ram import GuestRam
    from render.bricks import BrickStore

EVERY_S = 1.0
SAMPLE_PAGES = 1024
KEPT_SAMPLES = 16
"""Samples that are put together: the last quarter of a minute."""
PIECE_PAGES = 32  # counting more at once would keep other threads waiting
PAGE_SIZE = 4096

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Histogram:
    """How often each of the 256 scalars occurs."""

    counts: Counts
    """(256,) int64; of bytes, zero is not counted: it is never shown."""
    note: str
    """What was counted, in words."""
    zero_share: float | None = None
    """Of bytes, what part of them is zero."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Bytes of some pages of one machine: how often each value occurs, and in how many pages they were."""

    counts: Counts
    pages: int
    exact: bool
    """Every page that exists was looked at."""


@dataclass(slots=True)
class _Watched:
    """What is known of one machine's bytes."""

    ram: GuestRam
    samples: deque[Sample] = field(default_factory=lambda: deque(maxlen=KEPT_SAMPLES))
    due_s: float = 0.0
    job: Job | None = None


class Histograms:
    """Belongs to the main thread. Does nothing unless it is asked."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._bytes: dict[str, _Watched] = {}
        self._pages: Histogram | None = None
        self._pages_of: tuple[object, ...] = ()
        self._pages_due_s = 0.0
        self._random = np.random.default_rng()

    def of(self, feeds: Mapping[str, RamFeed], channel: str) -> Histogram | None:
        """Return the histogram of a channel over all shown machines; None where there is none yet.

        Asked in every frame it is brought up to date. Raises DeviceLost.
        """
        return self._of_bytes(feeds) if channel in BY_VOXEL else self._of_pages(feeds, channel)

    # Channels with a value a page

    def _of_pages(self, feeds: Mapping[str, RamFeed], channel: str) -> Histogram | None:
        now = time.monotonic()
        stores = [feed.store for feed in feeds.values()]
        which = (channel, *map(id, stores))
        if which != self._pages_of:
            self._pages, self._pages_of, self._pages_due_s = None, which, 0.0
        if now < self._pages_due_s or not stores:
            return self._pages
        found = [scalars_of_pages(store, channel) for store in stores]
        known = [scalars for scalars in found if scalars is not None]
        if known:
            counts = np.bincount(np.concatenate(known), minlength=256).astype(np.int64)
            self._pages = Histogram(counts, f"all {int(counts.sum()):,} pages that hold anything")
        else:
            self._pages = None
        took = time.monotonic() - now
        self._pages_due_s = now + max(EVERY_S, 20 * took)
        return self._pages

    # Channels with a value a byte

    def _of_bytes(self, feeds: Mapping[str, RamFeed]) -> Histogram | None:
        for name in [name for name, watched in self._bytes.items() if _ram_of(feeds, name) is not watched.ram]:
            del self._bytes[name]
        for name, feed in feeds.items():
            self._sample(self._bytes.setdefault(name, _Watched(feed.ram)))
        samples = [sample for watched in self._bytes.values() for sample in watched.samples]
        if not samples:
            return None
        counts = np.sum([sample.counts for sample in samples], axis=0)
        pages = sum(sample.pages for sample in samples)
        exact = all(sample.exact for sample in samples)
        total = int(counts.sum())
        zeros, counts[0] = int(counts[0]), 0
        note = f"all {pages:,} pages that exist" if exact else f"sample of {pages:,} pages"
        return Histogram(counts, note, zeros / total if total else None)

    def _sample(self, watched: _Watched) -> None:
        now = time.monotonic()
        if watched.job is not None or now < watched.due_s:
            return
        watched.due_s = now + EVERY_S
        seed = int(self._random.integers(1 << 32))

        def work(job: Job) -> Sample:
            return sample_bytes(watched.ram, SAMPLE_PAGES, seed, job)

        def end(job: Job) -> None:
            watched.job = None
            if job.state is JobState.DONE:
                if job.result.exact:
                    watched.samples.clear()
                watched.samples.append(job.result)
            else:
                watched.due_s = time.monotonic() + 10 * EVERY_S  # the machine goes away: whoever reads it says why

        watched.job = self._jobs.start("Counting bytes", work, on_end=end, quiet=True)


def _ram_of(feeds: Mapping[str, RamFeed], name: str) -> GuestRam | None:
    return feeds[name].ram if name in feeds else None


def scalars_of_pages(store: BrickStore, channel: str) -> NDArray[np.uint8] | None:
    """Return the scalar of each page that holds anything, (n,) uint8, as the picture has it; None for no such channel.

    Waits for the GPU. Raises DeviceLost.
    """
    if channel not in ("entropy", "heat", *store.attributes):
        return None
    summaries = store.read_summaries()
    holds = summaries.filled > 0
    if channel == "entropy":
        entropy: NDArray[np.uint8] = summaries.entropy[holds]
        return entropy
    if channel == "heat":
        return heat_scalars(store.heat_now()[holds])
    attribute = store.attribute(channel)
    values = attribute.values[holds]
    if attribute.kind == "categorical":
        numbers: NDArray[np.uint8] = values.astype(np.uint8)
        return numbers
    share = share_of(values, attribute.low, attribute.high, logarithmic=attribute.logarithmic)
    scalars: NDArray[np.uint8] = np.floor(share * 255 + 0.5).astype(np.uint8)
    return scalars


def heat_scalars(heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the scalars of write heat, on the logarithmic scale of `shaders/march_common.wgsl`."""
    share = np.log2(1.0 + heat.astype(np.float64)) / np.log2(1.0 + HEAT_TOP)
    scalars: NDArray[np.uint8] = np.floor(np.clip(share, 0.0, 1.0) * 255 + 0.5).astype(np.uint8)
    return scalars


def sample_bytes(ram: GuestRam, most_pages: int, seed: int, job: Job | None = None) -> Sample:
    """Count the bytes of pages chosen at random, in any thread; all there are where these are no more than that.

    Pages that the file does not hold are not read, which would make the host allocate them: they are zero, and count
    for nothing that is shown. Raises GuestMemoryError.
    """
    extents = np.array(ram.allocated_extents(), np.int64).reshape(-1, 2) // PAGE_SIZE
    ends = np.cumsum(extents[:, 1])
    existing = int(ends[-1]) if len(ends) else 0
    if existing <= most_pages:
        chosen = np.arange(existing)
    else:
        chosen = np.sort(np.random.default_rng(seed).choice(existing, most_pages, replace=False))
    extent = np.searchsorted(ends, chosen, side="right")
    pages = extents[extent, 0] + chosen - (ends - extents[:, 1])[extent] if existing else chosen
    counts = np.zeros(256, np.int64)
    memory = ram.pages
    for first in range(0, len(pages), PIECE_PAGES):
        if job is not None:
            job.check()
        counts += np.bincount(memory[pages[first : first + PIECE_PAGES]].ravel(), minlength=256)
    return Sample(counts, len(pages), existing <= most_pages)
