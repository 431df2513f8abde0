"""Cases for a kernel on the GPU: random states, pages in any order, and what Unicorn makes of them."""

from __future__ import annotations

import numpy as np

from bridge.pixelcpu.gpu_mailbox import PAGE
from bridge.pixelcpu.gpu_trial import GpuCases
from bridge.pixelcpu.native_loop import LEAST_GPU_ROUNDS, LEAST_GPU_RUNS, NativeLoop
from bridge.pixelcpu.native_runs import Runs
from bridge.pixelcpu.native_states import words_of
from bridge.pixelcpu.unicorn_runs import run_states
from bridge.pixelcpu.x86_state import REGISTERS

_BATCH, _ARENA = 48, 1 << 20
_MOST_BATCHES = 48


def cases(native: NativeLoop, seed: int = 1) -> tuple[GpuCases, ...]:
    """At least `LEAST_GPU_ROUNDS` rounds in `LEAST_GPU_RUNS` runs, or as many as there can be.

    Raises UnicornFailed, BadCode, Unsupported.
    """
    runs = _Cases(native, seed)
    found: list[GpuCases] = []
    for _ in range(_MOST_BATCHES):
        done, rounds = sum(len(one.rounds) for one in found), sum(int(one.rounds.sum()) for one in found)
        if (done >= LEAST_GPU_RUNS and rounds >= LEAST_GPU_ROUNDS) or not runs.places:
            break
        one = runs.cases()
        if one is not None:
            found.append(one)
    return tuple(found)


class _Cases(Runs):
    def __init__(self, native: NativeLoop, seed: int) -> None:
        super().__init__(native, seed, _BATCH, _ARENA)

    def cases(self) -> GpuCases | None:
        """Some runs in the next place; None where none can be made there, and it is given up."""
        at, batch = self.made(self.places.pop(0))
        good, native = batch.good, self._native
        if not good.any():
            return None
        self.places.append(at)
        states, rounds = batch.states.chosen(good), batch.rounds[good]
        before = words_of(states, native)
        here = run_states(native.code, states, self._memory, vectors=bool(native.halves), rounds=rounds, memory_at=at)
        memory, self._memory = self._memory, here.memory
        after = words_of(here.states, native)
        after[:, : len(REGISTERS)] = here.states.registers
        order = self._rng.permutation(len(memory) // PAGE).astype(np.uint32)
        return GpuCases(at, order, memory, here.memory, before, after, rounds, batch.lows[good], batch.spans[good])
