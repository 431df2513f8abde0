"""Frozen looks: holds running machines still for some milliseconds while their kernels are looked at, over and over."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

from bridge.kernel.errors import KernelError
from bridge.kernel.frozen import Freezer, FrozenLook, look_frozen
from bridge.kernel.watcher import KernelWatcher
from bridge.machine.errors import MachineError

EVERY_S = 0.5
_AFTER_FAILURE_S = 5.0
_CLOSE_S = 6.0
"""Longer than a frozen look waits for anything."""
logger = logging.getLogger("kernel")


@dataclass(slots=True)
class _Turn:
    watcher: KernelWatcher
    thread: threading.Thread | None = None
    due_s: float = 0.0
    last: FrozenLook | None = None
    problem: str = ""


class FrozenLooks:
    """Looks at each machine in a thread of its own, one look at a time. Belongs to the main thread."""

    def __init__(self) -> None:
        self._turns: dict[str, _Turn] = {}

    def take(self, machine: str, watcher: KernelWatcher, freezer: Freezer, now_s: float) -> None:
        """Begin a frozen look, if none is under way and it is time for one. Call it in each frame."""
        turn = self._turns.get(machine)
        if turn is None or turn.watcher is not watcher:
            turn = self._turns[machine] = _Turn(watcher)
        if (turn.thread is not None and turn.thread.is_alive()) or now_s < turn.due_s:
            return
        turn.due_s = now_s + (_AFTER_FAILURE_S if turn.problem else EVERY_S)
        turn.thread = threading.Thread(target=_look, args=(machine, turn, freezer), name="frozen look", daemon=True)
        turn.thread.start()

    def last(self, machine: str) -> FrozenLook | None:
        """How the latest one went; None before the first, and after one that failed."""
        turn = self._turns.get(machine)
        return None if turn is None or turn.problem else turn.last

    def close(self) -> None:
        """Wait for those under way: no machine is left standing."""
        for turn in self._turns.values():
            if turn.thread is not None:
                turn.thread.join(_CLOSE_S)


def _look(machine: str, turn: _Turn, freezer: Freezer) -> None:
    try:
        turn.last, turn.problem = look_frozen(turn.watcher, freezer), ""
    except (KernelError, MachineError) as error:
        if str(error) != turn.problem:
            logger.warning("%s could not be looked at while it stands still: %s", machine, error)
        turn.problem = str(error)
