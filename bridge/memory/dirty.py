"""Finds changed pages by comparing RAM with a shadow, in a thread of its own, and hands them to one consumer.

The promise: what the consumer was given is what the shadow holds, and the shadow differs from RAM only in pages that
changed since they were last looked at, which was at most `ScanStats.worst_age_s` ago. So a page can be shown late, but
never stays wrong, and is never missed. Why that holds without a lock is told in `bridge.memory.scan`.

The shadow starts as zeros, as an empty volume does, so the first sweep delivers every page that is not zero.
"""

from __future__ import annotations

import math
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bridge.memory.physical_map import PAGE_BYTES
from bridge.memory.ram import GuestRam
from bridge.memory.shadow import WORDS_A_PAGE, create_shadow

if TYPE_CHECKING:
    from bridge.memory.scanner import Scanner


@dataclass(frozen=True, slots=True)
class DirtyPages:
    """Changed pages. The arrays are used again by the next `take`."""

    pages: npt.NDArray[np.uint32]  # (n,) page numbers by offset in the RAM file, each at most once
    data: npt.NDArray[np.uint8]  # (n, 4096) their bytes, out of the shadow
    first_seen_s: float  # time.monotonic() at which the oldest of these changes was found; inf when there is none


@dataclass(frozen=True, slots=True)
class ScanStats:
    """What the scanner does, lately."""

    bytes_per_s: float  # RAM compared per second of the scanner's own processor time
    core_share: float  # of one core, that it used
    worst_age_s: float  # every page is looked at again within this time, at this speed and with this share
    measured_age_s: float  # the longest time between two looks at a page, in the last complete sweep and this one
    dirty_pages_per_s: float
    sweeps: int  # complete ones
    pending_pages: int  # changed, and not taken yet
    hot_pages: int  # changed lately, looked at in every round
    quiet: bool  # the guest changes little, and the scanner has slowed down


def default_core_share() -> float:
    """Share of one core for a scanner: a quarter where the guest has few cores to run on, more on bigger machines."""
    return max(0.25, min(1.0, len(os.sched_getaffinity(0)) / 8))


class DirtyTracker:
    """Watches one machine's RAM. `take` is for one thread; all else may be called from any."""

    def __init__(self, ram: GuestRam, *, budget_bytes_per_s: float = math.inf, core_share: float | None = None) -> None:
        """Starts nothing yet. `budget_bytes_per_s` and `core_share` each limit how much is compared."""
        self._ram = ram
        self._budget_bytes_per_s = budget_bytes_per_s
        self._core_share = core_share or default_core_share()
        self._shadow = create_shadow(ram)
        self._out_pages = np.zeros(0, np.uint32)
        self._out_words = np.zeros(0, np.uint64)
        self._next_page = 0
        self._scanner: Scanner | None = None
        self._error: Exception | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Starts the scanner's thread; once."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"scan {self._ram.path.name}", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Ends the scanner for good. What is pending can still be taken."""
        self._stopping.set()
        if self._thread is not None:
            # A round takes milliseconds. Only compiling, in the first run ever, takes longer, and needs no waiting for.
            self._thread.join(timeout=1.0)

    def take(self, max_pages: int) -> DirtyPages:
        """Up to `max_pages` changed pages, in turn. Never waits. Raises what ended the scanner, once all is taken."""
        count, oldest_s = 0, math.inf
        if self._scanner is not None and max_pages > 0:
            from bridge.memory import scan  # loaded by the scanner by now; loading it here would stop the window

            if len(self._out_pages) < max_pages:
                self._out_pages = np.zeros(max_pages, np.uint32)
                self._out_words = np.zeros(max_pages * WORDS_A_PAGE, np.uint64)
            count, self._next_page, oldest_s = scan.take_pending(
                self._shadow, self._out_pages[:max_pages], self._out_words, self._next_page
            )
        if count == 0 and self._error is not None:
            raise self._error
        data = self._out_words[: count * WORDS_A_PAGE].view(np.uint8).reshape(count, PAGE_BYTES)
        return DirtyPages(self._out_pages[:count], data, oldest_s)

    def peek(self, pages: npt.NDArray[np.uint32]) -> DirtyPages:
        """The bytes of `pages` (n,) as last seen, out of the shadow, without those being written at this moment.

        Takes nothing away: what changed since the consumer got it is still delivered by `take`. A page that the scanner
        writes while it is copied here changes, so that is delivered, too.
        """
        shadow = self._shadow
        before = shadow.version[pages]
        data = shadow.words.reshape(-1, WORDS_A_PAGE)[pages]
        whole = (before % 2 == 0) & (shadow.version[pages] == before)
        return DirtyPages(pages[whole], data[whole].view(np.uint8).reshape(-1, PAGE_BYTES), math.inf)

    @property
    def stats(self) -> ScanStats:
        """Present figures; cheap enough for every frame."""
        if self._scanner is None:
            return ScanStats(0.0, 0.0, math.inf, math.inf, 0.0, 0, 0, 0, False)
        measured = self._scanner.measured
        return ScanStats(
            bytes_per_s=measured.bytes_per_s,
            core_share=measured.core_share,
            worst_age_s=measured.worst_age_s,
            measured_age_s=measured.measured_age_s,
            dirty_pages_per_s=measured.dirty_pages_per_s,
            sweeps=measured.sweeps,
            pending_pages=self._shadow.n_pending(),
            hot_pages=measured.hot_pages,
            quiet=measured.quiet,
        )

    def _run(self) -> None:
        try:
            from bridge.memory.scanner import Scanner  # not above: it loads a compiler

            scanner = Scanner(
                self._ram, self._shadow, budget_bytes_per_s=self._budget_bytes_per_s, core_share=self._core_share
            )
            try:
                self._scanner = scanner
                scanner.run(self._stopping)
            finally:
                scanner.close()
        except Exception as error:  # noqa: BLE001 - it is for the consumer's thread, which can show it
            self._error = error
