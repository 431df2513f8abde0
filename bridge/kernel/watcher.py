"""The watcher: starts the worker for one machine, keeps the latest of what it saw, and takes questions to it."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from bridge.kernel.desk import Answer, Question
from bridge.kernel.sighting_stream import Restorer
from bridge.kernel.worker import Assignment, Sighting, Standing, read_frame, write_frame
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
        self,
        path: Path,
        physical_map: PhysicalMap,
        *,
        period_s: float = PERIOD_S,
        core_share: float = CORE_SHARE,
        still: bool = False,
        types: Path | None = None,
    ) -> None:
        """Start watching. `still`: the machine never changes. `types`: the user's own, for a kernel that carries none.

        Raises OSError where no process can be started.
        """
        self._lock = threading.Lock()
        self._answered = threading.Condition(self._lock)
        self._writing = threading.Lock()
        self._assignment = Assignment(path, physical_map, period_s, core_share, still, types)
        self._standing = False
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
        self._send(self._assignment)
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
        if not self._send(Question(number, name, arguments)):
            self._keep(Answer(number, None, "The process that looks at the kernel has ended."))
        return number

    def follow(self, physical_map: PhysicalMap) -> None:
        """Tell the worker that the machine's RAM lies elsewhere now; does nothing where it knows."""
        if physical_map != self._assignment.physical_map:
            self._assignment = replace(self._assignment, physical_map=physical_map)
            self._send(self._assignment)

    def stands(self, standing: bool) -> None:
        """Tell the worker whether the machine is paused: what it sees then is frozen. Does nothing where it knows."""
        if standing != self._standing:
            self._standing = standing
            self._send(Standing(standing))

    def answer(self, number: int) -> Answer | None:
        """The answer to a question, once; None while there is none."""
        with self._lock:
            return self._answers.pop(number, None)

    def wait_for(self, number: int, timeout_s: float) -> Answer | None:
        """The answer to a question, once it is there; None if it does not come in time."""
        with self._answered:
            self._answered.wait_for(lambda: number in self._answers, timeout_s)
            return self._answers.pop(number, None)

    def _keep(self, reply: Answer) -> None:
        with self._lock:
            self._answers[reply.number] = reply
            while len(self._answers) > _KEPT_ANSWERS:
                self._answers.popitem(last=False)
            self._n_answered += 1
            self._answered.notify_all()

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

    def _send(self, message: Assignment | Question | Standing) -> bool:
        """Whether the worker is there to get it."""
        assert self._process.stdin is not None
        try:
            with self._writing:  # whole messages, whoever sends them
                write_frame(self._process.stdin, message)
        except (OSError, ValueError):
            return False  # it has ended; listening tells
        return True

    def _listen(self, stream: IO[bytes]) -> None:
        restorer = Restorer()
        while True:
            try:
                seen = read_frame(stream)
            except (OSError, ValueError, EOFError):
                seen = None
            if isinstance(seen, Answer):
                self._keep(seen)
                continue
            if seen is not None:
                seen = restorer.restore(seen)
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
