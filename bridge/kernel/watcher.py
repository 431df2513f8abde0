"""The watcher: starts the worker for one machine, keeps the latest of what it saw, and takes questions to it."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from collections import OrderedDict
from pathlib import Path
from typing import IO, Any

from bridge.kernel.desk import Answer, Question
from bridge.kernel.worker import Assignment, Sighting, read_frame, write_frame
from bridge.memory.physical_map import PhysicalMap

PERIOD_S = 0.5
CORE_SHARE = 0.03
_STOP_S = 2.0
_KEPT_ANSWERS = 256
"""That nobody fetched: the oldest are forgotten."""
_ROOT = Path(__file__).resolve().parents[2]


class KernelWatcher:
    """Watches one machine's RAM from a process of its own, so that no look ever makes a frame wait.

    `latest()` is a mailbox: it holds the newest sighting only. Thread-safe.
    """

    def __init__(
        self, path: Path, physical_map: PhysicalMap, *, period_s: float = PERIOD_S, core_share: float = CORE_SHARE
    ) -> None:
        """Start watching. Raises OSError where no process can be started."""
        self._lock = threading.Lock()
        self._latest: Sighting | None = None
        self._n_seen = 0
        self._answers: OrderedDict[int, Answer] = OrderedDict()
        self._n_answered = 0
        self._numbers = itertools.count(1)
        self._closed = False
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", "from bridge.kernel.worker import main; main()"],
            cwd=_ROOT,
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._assign(self._process.stdin, Assignment(path, physical_map, period_s, core_share))
        self._thread = threading.Thread(
            target=self._listen, args=(self._process.stdout,), name="kernel watcher", daemon=True
        )
        self._thread.start()

    @property
    def n_seen(self) -> int:
        """How many sightings came: grows with each."""
        return self._n_seen

    def latest(self) -> Sighting | None:
        """The newest sighting; None before the first."""
        with self._lock:
            return self._latest

    @property
    def n_answered(self) -> int:
        """How many answers came: grows with each."""
        return self._n_answered

    def ask(self, name: str, *arguments: Any) -> int:
        """Put one of desk.QUESTIONS to the worker; the number under which its answer will be. Does not wait."""
        number = next(self._numbers)
        assert self._process.stdin is not None
        try:
            write_frame(self._process.stdin, Question(number, name, arguments))
        except (OSError, ValueError):
            self._keep(Answer(number, None, "The process that looks at the kernel has ended."))
        return number

    def answer(self, number: int) -> Answer | None:
        """The answer to a question, once; None while there is none."""
        with self._lock:
            return self._answers.pop(number, None)

    def _keep(self, reply: Answer) -> None:
        with self._lock:
            self._answers[reply.number] = reply
            while len(self._answers) > _KEPT_ANSWERS:
                self._answers.popitem(last=False)
            self._n_answered += 1

    def close(self) -> None:
        """End the worker. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()  # it ends by itself when its input does
            self._process.wait(_STOP_S)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._thread.join(_STOP_S)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _assign(self, stream: IO[bytes], assignment: Assignment) -> None:
        try:
            write_frame(stream, assignment)
        except OSError:
            return  # the worker died at once; listening tells

    def _listen(self, stream: IO[bytes]) -> None:
        while True:
            try:
                seen = read_frame(stream)
            except (OSError, ValueError, EOFError):
                seen = None
            if isinstance(seen, Answer):
                self._keep(seen)
                continue
            with self._lock:
                if seen is None:
                    if not self._closed:
                        problem = (
                            "The process that looks at the kernel has ended. Open the machine again to restart it."
                        )
                        self._latest = Sighting(0.0, 0.0, problem)
                        self._n_seen += 1
                    return
                self._latest = seen
                self._n_seen += 1


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(_ROOT)}
