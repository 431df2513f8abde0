"""Frozen looks: a look at a kernel while its machine stands still, for as few milliseconds as can be.

The worker that looks cannot stop the machine; the program that holds the machine's control socket can. So they take
turns: the worker says that it has nothing else to do, the machine is stopped, the worker looks and says so, the machine
goes on, and only then is it told what was seen. Every wait is bounded, and a machine that was stopped is let go
whatever happens: what was seen is called frozen only if the machine stood still to the end.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bridge.kernel.errors import KernelError

if TYPE_CHECKING:
    from bridge.kernel.snapshot import Introspector, SemanticSnapshot
    from bridge.kernel.watcher import KernelWatcher

Freezer = Callable[[], AbstractContextManager[Any]]
"""Makes what holds a machine still for the length of a `with` block: `Machine.briefly_held`."""

PREPARE, LOOK, PUBLISH = "frozen: prepare", "frozen: look", "frozen: publish"
"""What the worker is asked, in this order. PUBLISH says whether the machine stood still while it looked."""
STEPS = (PREPARE, LOOK, PUBLISH)
HOLD_S = 1.0
"""How long the worker waits for the next step before it goes on as ever."""

_TURN_S = 0.0002
"""Of 5 ms, which is what Python allows a thread that another one waits for."""
_HURRYING = threading.Lock()
_READY_S = 20.0
"""A look that is under way, or questions, may come first. The machine runs on meanwhile."""
_LOOK_S = 0.25
"""The longest that a machine is held. A look at 1 GiB takes a tenth of it."""


class CouldNotFreeze(KernelError):
    """A frozen look that did not come about; the machine runs as before."""


@dataclass(frozen=True, slots=True)
class FrozenLook:
    """How a frozen look went."""

    held_s: float
    """How long the machine stood still, as far as this process can tell: from before it was stopped until after."""
    looked_s: float
    """How long of that the worker looked."""


def look_frozen(watcher: KernelWatcher, freezer: Freezer, *, look_s: float = _LOOK_S) -> FrozenLook:
    """Have the worker look while the machine stands still; what it saw comes as the next sighting.

    Blocks for some tens of milliseconds, a few seconds at most: not for the window's thread. Raises CouldNotFreeze, and
    what `freezer` raises.
    """
    ready = watcher.wait_for(watcher.ask(PREPARE), _READY_S)
    if ready is None:
        raise CouldNotFreeze(f"The process that looks at the kernel did not answer within {_READY_S:g} s.")
    if ready.problem:
        raise CouldNotFreeze(ready.problem)
    with _hurry():
        began_s = time.monotonic()
        try:
            with freezer():
                looked = watcher.wait_for(watcher.ask(LOOK), look_s)
        except BaseException:
            watcher.ask(PUBLISH, False)
            raise
        held_s = time.monotonic() - began_s
    stood_still = looked is not None and not looked.problem
    watcher.ask(PUBLISH, stood_still)
    if looked is None:
        raise CouldNotFreeze(f"The look took longer than {look_s * 1000:.0f} ms; the machine was let go.")
    if looked.problem:
        raise CouldNotFreeze(looked.problem)
    return FrozenLook(held_s, looked.took_s)


@contextlib.contextmanager
def _hurry() -> Iterator[None]:
    """Have this process's threads take turns faster while a machine waits: five of them pass it on to each other."""
    with _HURRYING:  # one at a time: the setting is the process's
        before_s = sys.getswitchinterval()
        sys.setswitchinterval(_TURN_S)
        try:
            yield
        finally:
            sys.setswitchinterval(before_s)


def look_while_held(introspector: Introspector, freezer: Freezer) -> SemanticSnapshot:
    """The same within one process. Raises KernelError, and what `freezer` raises."""
    introspector.look()  # finds, loads and remembers what must not be waited for while the machine is held
    with freezer():
        return introspector.look(frozen=True)
