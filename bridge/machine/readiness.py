"""When a guest is up: its ready marker, looked for in what the console prints, piece by piece."""

from __future__ import annotations

import threading


class Readiness:
    """Fed on the background loop, waited for from any thread."""

    def __init__(self, marker: bytes | None) -> None:
        self._marker = marker or None
        self._tail = b""
        self._ready = threading.Event()
        self._settled = threading.Event()  # ready, or never to be

    @property
    def reached(self) -> bool:
        """True once the guest is up."""
        return self._ready.is_set()

    def seen_in(self, output: bytes) -> bool:
        """Say whether the marker, for which one still waits, ends within this piece of output."""
        if self._marker is None or self.reached:
            return False
        text = self._tail + output
        self._tail = text[len(text) - min(len(text), len(self._marker) - 1) :]
        return self._marker in text

    def reach(self) -> None:
        """The guest is up."""
        self._ready.set()
        self._settled.set()

    def give_up(self) -> None:
        """The machine has ended; who waits need not wait longer."""
        self._settled.set()

    def wait(self, timeout_s: float) -> bool:
        """Wait until the guest is up. False at once when nothing would tell."""
        if self._marker is not None:
            self._settled.wait(timeout_s)
        return self.reached
