"""The scanner: when which part of RAM is compared with its shadow. Runs in a thread of its own.

Each round first looks at the pages that changed lately, then goes on with a sweep through all of RAM. A round may use
a share of one core; a guest that changes little is looked at less often and with a smaller share, and one that stands
still (paused, say) with the smallest, so that an idle window costs next to nothing.
"""

from __future__ import annotations

import math
import os
import threading
import time
from dataclasses import dataclass

import numpy as np

from bridge.memory import bus_errors, scan
from bridge.memory.errors import MapFailed
from bridge.memory.physical_map import PAGE_BYTES
from bridge.memory.ram import GuestRam
from bridge.memory.shadow import CHUNK_PAGES, Shadow

# A busy guest is looked at once per picture, a quiet one ten times a second.
_BUSY_PERIOD_S = 1 / 60
_QUIET_PERIOD_S = 1 / 10
_QUIET_CORE_SHARE = 0.04
_STILL_CORE_SHARE = 0.01

# A guest is quiet when for a second no round found more than this. An idle Linux changes a few dozen pages, and always
# the same ones (clock, run queue, timers): they are hot, therefore not fresh.
_QUIET_AFTER_S = 1.0
_BUSY_FRESH_PAGES = 16
_BUSY_CHANGED_PAGES = 128

# It stands still when for so long, and in a whole sweep, nothing changed at all: no running Linux does that.
_STILL_AFTER_S = 3.0

# Hot pages may take half of the time, so that the sweep always goes on at half speed at least.
_HOT_SHARE = 0.5
_HOT_CAPACITY = 16384

# Before it is measured. Any core of the last ten years does more, so the first round is short rather than long.
_FIRST_GUESS_BYTES_PER_S = 2e9
_SMOOTHING = 0.1

# Other figures are averages over about so long.
_LATELY_S = 0.5


@dataclass(frozen=True, slots=True)
class Measured:
    """What the scanner has done lately."""

    bytes_per_s: float = 0.0
    core_share: float = 0.0
    worst_age_s: float = math.inf
    measured_age_s: float = math.inf
    dirty_pages_per_s: float = 0.0
    sweeps: int = 0
    hot_pages: int = 0
    quiet: bool = False


class Scanner:
    """Scans one machine's RAM into its shadow."""

    def __init__(self, ram: GuestRam, shadow: Shadow, *, budget_bytes_per_s: float, core_share: float) -> None:
        """Loads the compiled code, the first time in a process; takes a moment."""
        self.measured = Measured()  # replaced, never changed: any thread may read it
        self._ram = ram
        self._words = ram.bytes.view(np.uint64)
        self._guarded = self._words.ctypes.data
        bus_errors.guard(self._guarded, self._words.nbytes)
        self._shadow = shadow
        self._budget_bytes_per_s = budget_bytes_per_s
        self._core_share = core_share
        self._fd = ram.duplicate_fd()
        self._state = np.zeros(scan.N_STATE, np.int64)
        self._hot = np.zeros(_HOT_CAPACITY, np.uint32)
        self._bytes_per_s = _FIRST_GUESS_BYTES_PER_S
        self._data_bytes = 0
        self._sweeps = 0
        n_chunks = len(shadow.chunk_version)
        self._looked_at_s = np.full(n_chunks, np.nan)
        self._changed_s = -math.inf  # when, and in which sweep, a change was last found
        self._changed_sweep = 0
        self._age_s = 0.0
        self._age_of_last_sweep_s = math.inf
        self._round_s = self._slowest_round_s = _BUSY_PERIOD_S
        # Rounds without a budget do nothing but load the code.
        scan.look_at_hot(self._fd, self._words, shadow, self._hot, self._state, 0, 0.0)
        scan.sweep(self._fd, self._words, shadow, self._hot, self._state, 0, 0, 0.0)
        scan.take_pending(shadow, np.zeros(0, np.uint32), np.zeros(0, np.uint64), 0)

    def run(self, stopping: threading.Event) -> None:
        """Scans until told to stop. Raises `MapFailed` when the RAM file shrinks."""
        busy_until_s = time.monotonic() + _QUIET_AFTER_S
        while not stopping.is_set():
            start_s, start_cpu_s = time.monotonic(), time.thread_time()
            quiet = start_s >= busy_until_s
            share = min(self._share_when(quiet, start_s), self._core_share)
            period_s = _QUIET_PERIOD_S if quiet else _BUSY_PERIOD_S
            if self.look(start_s, share, period_s):
                busy_until_s = start_s + _QUIET_AFTER_S
            cpu_s = time.thread_time() - start_cpu_s
            wait_s = start_s + max(period_s, cpu_s / share) - time.monotonic()
            stopping.wait(max(wait_s, 0.0))
            self._account(time.monotonic() - start_s, cpu_s, share, period_s, quiet)

    def _share_when(self, quiet: bool, now_s: float) -> float:
        if not quiet:
            return self._core_share
        still = now_s - self._changed_s >= _STILL_AFTER_S and self._sweeps > self._changed_sweep + 1
        return _STILL_CORE_SHARE if still else _QUIET_CORE_SHARE

    def close(self) -> None:
        """Gives up the RAM file and its mapping."""
        os.close(self._fd)
        bus_errors.release(self._guarded)
        self._words = np.zeros(0, np.uint64)

    def look(self, now_s: float, share: float, period_s: float) -> bool:
        """One round. Gives True when it found that the guest is busy."""
        state = self._state
        state[[scan.CHECKED, scan.CHANGED, scan.FRESH]] = 0
        self._data_bytes = min(self._allocated_bytes(), self._ram.size_bytes)

        budget_bytes = min(self._bytes_per_s * share, self._budget_bytes_per_s) * period_s
        budget_pages = max(CHUNK_PAGES, int(budget_bytes) // PAGE_BYTES)
        all_at_once = budget_pages * PAGE_BYTES >= self._data_bytes
        first_page = int(state[scan.POSITION])
        source = (self._fd, self._words, self._shadow, self._hot, state)
        intact = True
        if all_at_once:
            self._forget_hot()
        else:
            intact = scan.look_at_hot(*source, int(budget_pages * _HOT_SHARE), now_s)
            budget_pages -= int(state[scan.CHECKED])
        if not (intact and scan.sweep(*source, budget_pages, self._sweeps, now_s)):
            self._allocated_bytes()
            raise MapFailed(self._ram.path, "it shrank while it was read. Detach the machine.")
        self._note_ages(first_page, now_s)
        if state[scan.POSITION] >= self._ram.n_pages:
            state[scan.POSITION] = 0
            self._sweeps += 1
            self._age_of_last_sweep_s, self._age_s = self._age_s if self._sweeps > 1 else math.inf, 0.0
        if state[scan.CHANGED]:
            self._changed_s, self._changed_sweep = now_s, self._sweeps
        fresh = 0 if all_at_once else state[scan.FRESH]
        return bool(fresh >= _BUSY_FRESH_PAGES or state[scan.CHANGED] >= _BUSY_CHANGED_PAGES)

    def _allocated_bytes(self) -> int:
        status = os.fstat(self._fd)
        if status.st_size < self._ram.size_bytes:
            raise MapFailed(
                self._ram.path,
                f"it shrank from {self._ram.size_bytes:,} to {status.st_size:,} bytes. Detach the machine.",
            )
        return status.st_blocks * 512

    def _forget_hot(self) -> None:
        if self._state[scan.N_HOT]:
            self._shadow.heat[self._hot[: self._state[scan.N_HOT]]] = 0
            self._state[scan.N_HOT] = 0

    def _note_ages(self, first_page: int, now_s: float) -> None:
        chunks = slice(first_page // CHUNK_PAGES, -(-int(self._state[scan.POSITION]) // CHUNK_PAGES))
        ages_s = now_s - self._looked_at_s[chunks]
        if len(ages_s) and self._sweeps:
            self._age_s = max(self._age_s, float(ages_s.max()))
        self._looked_at_s[chunks] = now_s

    def _account(self, elapsed_s: float, cpu_s: float, share: float, period_s: float, quiet: bool) -> None:
        checked_bytes = int(self._state[scan.CHECKED]) * PAGE_BYTES
        if checked_bytes and cpu_s > 0:
            self._bytes_per_s += _SMOOTHING * (checked_bytes / cpu_s - self._bytes_per_s)
        hot_pages = int(self._state[scan.N_HOT])
        speed = min(self._bytes_per_s * share, self._budget_bytes_per_s)
        sweep_speed = speed - min(hot_pages * PAGE_BYTES / period_s, speed * _HOT_SHARE)
        before = self.measured
        weight = 1 - math.exp(-elapsed_s / _LATELY_S)
        # On a loaded machine rounds come later than they should. What is stated is what holds as things are.
        self._round_s += weight * (elapsed_s - self._round_s)
        self._slowest_round_s = max(elapsed_s, period_s, self._slowest_round_s * (1 - weight / 4))
        rounds = self._data_bytes / (sweep_speed * period_s)
        dirty_per_s = int(self._state[scan.CHANGED]) / elapsed_s
        self.measured = Measured(
            bytes_per_s=self._bytes_per_s,
            core_share=before.core_share + weight * (cpu_s / elapsed_s - before.core_share),
            # One more for the page that changed just after it was looked at, and one for a round that comes late.
            worst_age_s=rounds * max(self._round_s, period_s) + 2 * self._slowest_round_s,
            measured_age_s=max(self._age_of_last_sweep_s, self._age_s),
            dirty_pages_per_s=before.dirty_pages_per_s + weight * (dirty_per_s - before.dirty_pages_per_s),
            sweeps=self._sweeps,
            hot_pages=hot_pages,
            quiet=quiet,
        )
