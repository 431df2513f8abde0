"""What a process costs its host, from one look to the next."""

from __future__ import annotations

import threading
import time

import psutil

from bridge.machine.states import Usage

NOTHING = Usage(0.0, 0, 0.0)


class UsageMeter:
    """Thread-safe; never raises, and never blocks for longer than /proc takes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: psutil.Process | None = None

    def read(self, pid: int) -> Usage:
        """The use of process `pid` now, its CPU share since the call before; `NOTHING` when it has ended."""
        try:
            with self._lock:
                if self._process is None or self._process.pid != pid:
                    self._process = psutil.Process(pid)
                with self._process.oneshot():
                    uptime_s = max(0.0, time.time() - self._process.create_time())
                    return Usage(self._process.cpu_percent(None), self._process.memory_info().rss, uptime_s)
        except psutil.Error:
            return NOTHING
