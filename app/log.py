"""The log: a bounded, thread-safe ring of what happened, fed by Python's logging and read by the log panel."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass

CAPACITY = 4000
MAX_TEXT = 4000  # a guest or driver may send anything; a line is for reading


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One line of the log."""

    number: int  # counts up from 0, never reused
    at_s: float  # wall clock, seconds since the epoch
    level: int  # logging.DEBUG … logging.CRITICAL
    source: str  # "window", a machine's name, a library
    text: str

    @property
    def clock(self) -> str:
        """The local time of day: 14:03:07.250."""
        return time.strftime("%H:%M:%S", time.localtime(self.at_s)) + f".{int(self.at_s % 1 * 1000):03d}"


class LogRing:
    """The last `capacity` entries. Any thread may add; reading returns a copy."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._entries: deque[LogEntry] = deque(maxlen=capacity)
        self._lock = threading.Lock()
        self._next = 0

    @property
    def version(self) -> int:
        """How many entries were ever added: changes when there is something new."""
        return self._next

    def add(self, level: int, source: str, text: str) -> LogEntry:
        """Append a line; control characters, which could forge lines, are shown as escapes."""
        shown = "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text[:MAX_TEXT]).rstrip()
        if len(text) > MAX_TEXT:
            shown += f" … ({len(text) - MAX_TEXT:,} more characters)"
        with self._lock:
            entry = LogEntry(self._next, time.time(), level, source, shown)
            self._entries.append(entry)
            self._next += 1
        return entry

    def entries(self, *, level: int = logging.NOTSET, needle: str = "") -> list[LogEntry]:
        """Return the kept entries of at least `level` that contain `needle` (case does not matter), oldest first."""
        with self._lock:
            kept = list(self._entries)
        wanted = needle.casefold()
        return [e for e in kept if e.level >= level and (wanted in e.text.casefold() or wanted in e.source.casefold())]

    def clear(self) -> None:
        """Forget all entries."""
        with self._lock:
            self._entries.clear()
            self._next += 1


class RingHandler(logging.Handler):
    """Sends what libraries and our own modules log into a ring."""

    def __init__(self, ring: LogRing) -> None:
        super().__init__(logging.INFO)
        self._ring = ring

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
            if record.exc_info and record.exc_info[1] is not None:
                text += f": {record.exc_info[1]}"
        except Exception:  # noqa: BLE001 - a library's bad format string must not become our crash
            text = str(record.msg)
        self._ring.add(record.levelno, record.name.split(".")[0], text)
