"""Write watch: which pages of a machine are written during a span of time, by two sweeps of the scanner around it."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from bridge.memory.ram import GuestRam
from bridge.memory.shadow import create_shadow

_POLL_S = 0.02
_WHOLE_S = 1e6
"""A round that is given so long looks at all of RAM, whatever its size."""


def watch_writes(ram: GuestRam, seconds: float, cancelled: Callable[[], bool] = lambda: False) -> npt.NDArray[np.bool_]:
    """(n_pages,) which pages hold something else than `seconds` ago; less time where it is cancelled.

    Takes as much memory as the machine has. Raises MapFailed when the RAM file shrinks meanwhile.
    """
    from bridge.memory.scanner import Scanner  # not above: it loads a compiler

    shadow = create_shadow(ram)
    scanner = Scanner(ram, shadow, budget_bytes_per_s=np.inf, core_share=1.0)
    try:
        scanner.look(time.monotonic(), 1.0, _WHOLE_S)
        before = shadow.version.copy()
        deadline = time.monotonic() + seconds
        while (left_s := deadline - time.monotonic()) > 0 and not cancelled():
            time.sleep(min(_POLL_S, left_s))
        scanner.look(time.monotonic(), 1.0, _WHOLE_S)
        written: npt.NDArray[np.bool_] = shadow.version != before
        return written
    finally:
        scanner.close()
