"""Volatility 3 beside the window: a worker process that starts when it is first needed, and its runs of plugins."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from bridge.kernel.volatility_engine.records import (
    ROW_LIMIT,
    TIME_LIMIT_S,
    Cancel,
    Cell,
    Column,
    Columns,
    Finished,
    Job,
    PluginList,
    Progress,
    Rows,
    Target,
)
from bridge.kernel.worker import read_frame, write_frame

_STOP_S = 2.0
_ROOT = Path(__file__).resolve().parents[3]
_ENDED = "The process that runs Volatility has ended. Run the plugin again to restart it."


@dataclass
class Run:
    """One run of a plugin, and what it said until now. Written by one thread; read what is there at any time."""

    job: Job
    columns: tuple[Column, ...] = ()
    depths: list[int] = field(default_factory=list)
    rows: list[tuple[Cell, ...]] = field(default_factory=list)
    """As long as `depths`, or one batch longer for a moment."""
    progress: Progress | None = None
    finished: Finished | None = None
    started_s: float = field(default_factory=time.monotonic)
    done: threading.Event = field(default_factory=threading.Event)

    @property
    def running(self) -> bool:
        """Whether more may come."""
        return self.finished is None

    def take(self, message: Progress | Columns | Rows | Finished) -> None:
        """Keep what was said; nothing more after the end."""
        if self.finished is not None:
            return
        if isinstance(message, Progress):
            self.progress = message
        elif isinstance(message, Columns):
            self.columns = message.columns
        elif isinstance(message, Rows):
            self.rows.extend(message.rows)
            self.depths.extend(message.depths)
        else:
            self.finished = message
            self.done.set()


class Volatility:
    """One worker, and the runs that it was asked for. Thread-safe; `wake` is called from another thread with news."""

    def __init__(self, wake: Callable[[], None] | None = None) -> None:
        self._lock = threading.Lock()
        self._wake = wake or (lambda: None)
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._runs: dict[int, Run] = {}
        self._n_jobs = 0
        self._n_news = 0
        self._closed = False
        self._listed = threading.Event()
        self.installed: PluginList | None = None
        """What plugins there are; None until the worker has said so (see `start`)."""

    @property
    def n_news(self) -> int:
        """Grows with everything that comes."""
        return self._n_news

    def start(self) -> None:
        """Start the worker if none runs. Raises OSError where no process can be started."""
        with self._lock:
            self._start()

    def _start(self) -> None:
        if self._closed or (self._process is not None and self._process.poll() is None):
            return
        self._reap()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", "from bridge.kernel.volatility_engine.worker import main; main()"],
            cwd=_ROOT,
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        self._thread = threading.Thread(
            target=self._listen, args=(self._process, self._process.stdout), name="volatility", daemon=True
        )
        self._thread.start()

    def wait_installed(self, timeout_s: float = 30.0) -> PluginList:
        """What plugins there are; waits for it."""
        self.start()
        self._listed.wait(timeout_s)
        return self.installed or PluginList("", (), "Volatility did not start in time.")

    def run(
        self,
        target: Target,
        plugin: str,
        options: Mapping[str, Cell | tuple[Cell, ...]] | None = None,
        *,
        time_limit_s: float = TIME_LIMIT_S,
        row_limit: int = ROW_LIMIT,
        folder: Path | None = None,
    ) -> Run:
        """Have a plugin run. Does not wait; what goes wrong is said in the run. Raises OSError where no process can be
        started.
        """
        with self._lock:
            self._start()
            self._n_jobs += 1
            job = Job(self._n_jobs, target, plugin, dict(options or {}), time_limit_s, row_limit, folder)
            run = self._runs[job.number] = Run(job)
            self._send(job)
        return run

    def cancel(self, run: Run) -> None:
        """End a run. What came until now stays."""
        with self._lock:
            self._runs.pop(run.job.number, None)
            if run.finished is None:
                took_s = time.monotonic() - run.started_s
                run.take(Finished(run.job.number, "Cancelled.", truncated=True, took_s=took_s))
                self._send(Cancel(run.job.number))

    def _send(self, message: object) -> None:
        if self._process is None:
            return
        assert self._process.stdin is not None
        try:
            write_frame(self._process.stdin, message)
        except (OSError, ValueError):
            self._end_all()  # it has died; what listens may have noticed before the job was there

    def _listen(self, process: subprocess.Popen[bytes], stream: IO[bytes]) -> None:
        while True:
            try:
                message = read_frame(stream)
            except (OSError, ValueError, EOFError):
                message = None
            with self._lock:
                if message is None:
                    if process is self._process and not self._closed:
                        self._end_all()
                elif isinstance(message, PluginList):
                    self.installed = message
                    self._listed.set()
                elif (run := self._runs.get(message.number)) is not None:
                    run.take(message)
                    if not run.running:
                        del self._runs[run.job.number]
                self._n_news += 1
            self._wake()
            if message is None:
                return

    def _end_all(self) -> None:
        for run in self._runs.values():
            run.take(Finished(run.job.number, _ENDED, truncated=True, took_s=time.monotonic() - run.started_s))
        self._runs.clear()

    def _reap(self) -> None:
        """End the worker, if it has not ended, and let go of it."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()  # it has nothing to put in order, and what it forked ends with it
        process.wait()
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.close()

    def close(self) -> None:
        """End the worker and all that it runs. A second call does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            process, thread = self._process, self._thread
            self._reap()
            self._end_all()
        if thread is not None:
            thread.join(_STOP_S)
        if process is not None and process.stdout is not None:
            process.stdout.close()
