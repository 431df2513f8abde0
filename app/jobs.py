"""Jobs: long work in threads, with progress and cancelling, whose results come back on the main thread."""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Callable
from enum import StrEnum
from typing import Any

KEPT_FINISHED_S = 1.5  # a finished job stays in the status bar this long


class JobState(StrEnum):
    """Where a job is."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class JobCancelled(Exception):
    """Raised inside a job's work to leave it after `Job.cancelled()` turned true."""


class Job:
    """One piece of long work. Its thread reports; any thread may read, cancel or wait."""

    def __init__(self, number: int, title: str, *, can_cancel: bool, quiet: bool = False) -> None:
        self.number = number
        self.title = title
        self.can_cancel = can_cancel
        self.quiet = quiet  # not worth a line in the status bar
        self.state = JobState.RUNNING
        self.note = ""
        self.fraction: float | None = None  # None: not known how far
        self.result: Any = None
        self.error: BaseException | None = None
        self.started_s = time.monotonic()
        self.ended_s: float | None = None
        self._cancel = threading.Event()
        self._settled = threading.Event()

    def report(self, note: str, fraction: float | None = None) -> None:
        """Say from within the work what is being done, and how far it is (0..1)."""
        self.note = note
        self.fraction = None if fraction is None else min(max(fraction, 0.0), 1.0)

    def cancel(self) -> bool:
        """Ask the work to stop; returns False where it cannot be asked."""
        if self.can_cancel:
            self._cancel.set()
        return self.can_cancel

    def cancelled(self) -> bool:
        """Return whether the work was asked to stop: its thread polls this."""
        return self._cancel.is_set()

    def check(self) -> None:
        """Raise JobCancelled in the work when it was asked to stop."""
        if self._cancel.is_set():
            raise JobCancelled(self.title)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the job ended *and* its end was handled on the main thread. Never call this from there."""
        return self._settled.wait(timeout_s)

    def settle(self) -> None:
        """Let waiters go on; the runner calls this after the end was handled."""
        self._settled.set()


class Jobs:
    """Runs jobs and hands their ends to the main thread, which calls `pump()` once a frame."""

    def __init__(self, wake: Callable[[], None] = lambda: None) -> None:
        self._wake = wake
        self._numbers = itertools.count(1)
        self._ended: queue.SimpleQueue[tuple[Job, Callable[[Job], None]]] = queue.SimpleQueue()
        self._jobs: list[Job] = []
        self._threads: dict[int, threading.Thread] = {}
        self._closed = False

    def start(
        self,
        title: str,
        work: Callable[[Job], Any],
        *,
        on_end: Callable[[Job], None] = lambda _job: None,
        can_cancel: bool = True,
        quiet: bool = False,
    ) -> Job:
        """Run `work(job)` in a thread; `on_end(job)` follows on the main thread, with `job.state` set."""
        job = Job(next(self._numbers), title, can_cancel=can_cancel, quiet=quiet)
        if self._closed:
            job.state, job.ended_s = JobState.CANCELLED, time.monotonic()
            job.settle()
            return job
        thread = threading.Thread(target=self._run, args=(job, work, on_end), name=f"job {job.number}", daemon=True)
        self._jobs.append(job)
        self._threads[job.number] = thread
        thread.start()
        return job

    def _run(self, job: Job, work: Callable[[Job], Any], on_end: Callable[[Job], None]) -> None:
        try:
            job.result = work(job)
            state = JobState.DONE
        except JobCancelled:
            state = JobState.CANCELLED
        except BaseException as error:  # noqa: BLE001 - handed to the main thread, which shows it
            job.error = error
            # An interrupted launch fails in whatever way it was interrupted: that is no failure.
            state = JobState.CANCELLED if job.cancelled() else JobState.FAILED
        job.ended_s = time.monotonic()
        job.state = state
        self._ended.put((job, on_end))
        self._wake()

    def pump(self) -> int:
        """Handle ended jobs on the calling (main) thread; returns how many."""
        handled = 0
        while True:
            try:
                job, on_end = self._ended.get_nowait()
            except queue.Empty:
                break
            handled += 1
            self._threads.pop(job.number, None)
            try:
                on_end(job)
            finally:
                job.settle()
        now = time.monotonic()
        self._jobs = [j for j in self._jobs if j.ended_s is None or now - j.ended_s < KEPT_FINISHED_S]
        return handled

    def shown(self) -> list[Job]:
        """Return the jobs that the status bar shows: running ones and those that just ended."""
        return [j for j in self._jobs if not j.quiet]

    def running(self) -> list[Job]:
        """Return the jobs under way."""
        return [j for j in self._jobs if j.state is JobState.RUNNING]

    def get(self, number: int) -> Job | None:
        """Return the shown job with `number`."""
        return next((j for j in self._jobs if j.number == number), None)

    def close(self, timeout_s: float = 5.0) -> list[Job]:
        """Cancel all jobs, wait for them up to `timeout_s` in sum, handle their ends; returns those still running."""
        self._closed = True
        for job in self.running():
            job.cancel()
        deadline = time.monotonic() + timeout_s
        for thread in list(self._threads.values()):
            thread.join(max(0.0, deadline - time.monotonic()))
        self.pump()
        return self.running()
