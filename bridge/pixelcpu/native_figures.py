"""Measures what a loop's native code takes on this host: a round, near and far memory, and a call by itself.

Unlike `native_runs`, it believes the code: it is measured after it was tried.
"""

from __future__ import annotations

from functools import cache
from time import perf_counter_ns

import numpy as np

from bridge.pixelcpu.decode import ALIGNMENT
from bridge.pixelcpu.llvm import object_of
from bridge.pixelcpu.native_code import Mapped, NativeCode
from bridge.pixelcpu.native_loop import Figures, NativeLoop
from bridge.pixelcpu.native_states import STATE_WORDS, Aim, words_of
from bridge.pixelcpu.native_windows import Words, apart, inside, touched, windows
from bridge.pixelcpu.object_image import image_of
from bridge.pixelcpu.prove_loop import known_loop
from bridge.pixelcpu.x86_state import random_states

_NEAR_BYTES, _FAR_BYTES = 256 << 10, 32 << 20
_NO_MEMORY_ROUNDS = 1 << 18
_NEAR_TIMES, _FAR_TIMES = 9, 3
_CALLS, _CALL_TIMES = 1024, 5
_AT, _APART = 0x1_0000_0000, 256
_LEAST = 64
"""Rounds; fewer say little about one."""
_TRIED = 16
_CALLS_TEXT = """
define i64 @calls(ptr %plan, ptr %run, ptr %state, ptr %addresses, ptr %windows, i64 %n) {
entry:
  br label %loop
loop:
  %at = phi i64 [ 0, %entry ], [ %next, %loop ]
  %planned = call i64 %plan(ptr %state, ptr %addresses)
  %done = call i64 %run(ptr %state, ptr %windows, i64 1)
  %next = add i64 %at, 1
  %more = icmp ult i64 %next, %n
  br i1 %more, label %loop, label %end
end:
  ret i64 %planned
}
"""
"""Calls from native code, as the plugin's are; from here one takes longer by itself than what it calls."""


def measure(native: NativeLoop) -> Figures:
    """Run it often. Takes some tens of milliseconds. Raises BadCode, Unsupported."""
    bench = _Bench(native)
    moves = bench.bytes_a_round
    near = bench.round_ns(_NEAR_BYTES // moves if moves else _NO_MEMORY_ROUNDS, _NEAR_TIMES)
    far = bench.round_ns(_FAR_BYTES // moves, _FAR_TIMES) if moves else 0.0
    return Figures(near, far, bench.call_ns())


class _Bench:
    def __init__(self, native: NativeLoop) -> None:
        self._native, self._code, self._aim = native, NativeCode(native), Aim(known_loop(native.code))
        self.bytes_a_round = sum(abs(one.stride) for one in self._aim.groups)

    def round_ns(self, rounds: int, times: int) -> float:
        """Of so many at once; 0 where no state was found that does nearly so many."""
        prepared = self._prepared(rounds)
        if prepared is None or prepared[2] < _LEAST:
            return 0.0
        words, given, done, _memory = prepared
        taken = [self._taken(words, given, done) for _ in range(times)]
        if min(made for _, made in taken) < _LEAST:  # it found its end
            return 0.0
        one, _ = min(self._taken(words, given, 1) for _ in range(times))  # a call from here, too
        return min(max(0, ns - one) / (made - 1) for ns, made in taken)

    def call_ns(self) -> float:
        """A plan and a round, one after the other, as far as the rounds go."""
        prepared = self._prepared(_CALLS)
        if prepared is None or prepared[2] < _LEAST:
            return 0.0
        words, given, done, _memory = prepared
        addresses = np.zeros(max(1, len(self._native.streams)), np.uint64)
        calls = _calls()
        each = calls.function(0, 6)
        plan, run = self._code.address(self._native.plan), self._code.address(self._native.run)
        taken = []
        for _ in range(_CALL_TIMES):
            state = words.copy()
            began = perf_counter_ns()
            each(plan, run, state.ctypes.data, addresses.ctypes.data, given.ctypes.data, done)
            taken.append(perf_counter_ns() - began)
        return min(taken) / done

    def _taken(self, words: Words, given: Words, rounds: int) -> tuple[int, int]:
        """Nanoseconds, and the rounds that were done."""
        state = words.copy()
        call, at, window = self._code.run, state.ctypes.data, given.ctypes.data
        began = perf_counter_ns()
        made = call(at, window, rounds)
        return perf_counter_ns() - began, made

    def _prepared(self, rounds: int) -> tuple[Words, Words, int, object] | None:
        """A state (1, 33), its windows, how many of the rounds it does, and the memory, to be kept meanwhile."""
        aim, native = self._aim, self._native
        wanted = np.full(_TRIED, rounds, np.uint64)
        spans = aim.spans(wanted)
        reach = (spans + np.uint64(_APART + ALIGNMENT - 1)) & ~np.uint64(ALIGNMENT - 1)
        begins = reach.cumsum(axis=1) - reach + np.uint64(_APART)
        size = int(reach[0].sum()) + _APART
        nobody = np.zeros(_TRIED, bool)
        states = aim.aimed(random_states(_TRIED, 1), wanted, begins + np.uint64(_AT), nobody, np.zeros_like(wanted))
        words = words_of(states, native)
        addresses = np.zeros((_TRIED, max(1, len(native.streams))), np.uint64)
        planned = np.array(
            [
                self._code.plan(words.ctypes.data + 8 * STATE_WORDS * n, addresses[n:].ctypes.data)
                for n in range(_TRIED)
            ],
            np.uint64,
        )
        addresses = addresses[:, : len(native.streams)]
        done, clear = apart(native, addresses, np.minimum(planned, wanted))
        first, bytes_ = touched(native, addresses, done)
        good = np.flatnonzero(clear & inside(first, bytes_, _AT, size) & (done > 0) & (2 * done >= wanted))
        if not len(good):
            return None
        one = good[:1]
        memory = np.ones(size, np.uint8)
        given = windows(native, first[one], (first + bytes_)[one], _AT - memory.ctypes.data)
        return words[one].copy(), given, int(done[one[0]]), memory


@cache
def _calls() -> Mapped:
    return Mapped(image_of(object_of(_CALLS_TEXT), ("calls",)).content)
