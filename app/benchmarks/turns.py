"""Timing: what is compared runs in turns in one loop, because a machine's speed changes with what else it does."""

import itertools
from collections.abc import Callable, Sequence
from time import monotonic

import numpy as np


def in_turns(
    clock: Callable[[], float], seconds: float, *actions: Callable[[], object], least: int = 3
) -> list[list[float]]:
    """Runs the actions in turns for so long, `least` times at least; what each took by `clock`, without the first."""
    times: list[list[float]] = [[] for _ in actions]
    end = monotonic() + seconds
    for turn in itertools.count():
        for action, taken in zip(actions, times, strict=True):
            start = clock()
            action()
            if turn:  # the first touches memory and compiles shaders for the first time
                taken.append(clock() - start)
        if turn >= least and monotonic() >= end:
            return times
    raise AssertionError("unreachable")  # pragma: no cover - the loop has no other end


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` (0 to 100) of `values` lie below."""
    return float(np.percentile(values, share))
