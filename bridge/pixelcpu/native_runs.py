"""Native code of loops tried out: Unicorn runs the x86 loop, this process the code that a plugin would, on the same
thousands of random states.

A state runs as many rounds as the code's own plan says, or a part of them. After so many Unicorn must be back at the
loop's first instruction, and then all registers, SSE registers that take part, and all of memory, what surrounds the
streams included, must be alike; but for registers that each round computes anew of what is folded, which must be left
as they were. Some states leave the plan's terms to chance, some have windows that end too soon, so
that the code must stop between two rounds. What the plugin would leave to QEMU, because what is stored and what is
touched besides lies too close (tcg_plugin/kernel_calls.c), is not run.

Both sides begin with the memory that all the states before left: it is compared after each some thousand states.

Code that finds out by itself when its loop ends may do fewer rounds than wanted. So that it does some, most of the
memory that a state has is one byte again and again, which is something that its code compares with as likely as not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.pixelcpu.decode import ALIGNMENT
from bridge.pixelcpu.errors import Unsupported
from bridge.pixelcpu.native_code import NativeCode
from bridge.pixelcpu.native_loop import NativeLoop, NativeRecord
from bridge.pixelcpu.native_states import STATE_WORDS, Aim, words_of
from bridge.pixelcpu.native_windows import Words, apart, inside, touched, windows
from bridge.pixelcpu.prove_loop import known_loop
from bridge.pixelcpu.unicorn_runs import run_states
from bridge.pixelcpu.x86_state import HALVES, REGISTERS, States, random_states

N_RUNS = 10_000
_BATCH = 3840
_MOST_BATCHES = 24
_MOST_ROUNDS = 1024
_ARENA = 16 << 20
_SLOT, _LEAST_ROUNDS = 4096, 8
"""A state's part of memory is so large at least, and for so many rounds; parts overlap where they must."""
_MARGIN, _GAP = 64, 48
_PAGE = 4096
_PLACES = (0x4000_0000, 0x7F5E_3C2A_9000, 0xFFFF_9F31_0000_0000)
"""Where memory lies: in 32 bits, where programs have theirs, and where kernels do."""
_USEFUL = 0.1
"""Of a batch's states; where fewer can be run, that place is given up."""
_CANARY = 0x5A5A_1234_DEAD_6789
_WORDS_EACH = 40
"""A state's, and behind it some that nobody may write."""
_MOST_FIXED = 4 << 20
_RARE = 24
"""One byte of so many is another one than those around it, where a loop looks for something."""


@dataclass(frozen=True, slots=True)
class Batch:
    """States, and what is to be done with each. All have n rows."""

    states: States
    planned: Words
    rounds: Words
    lows: Words
    """(n, streams): each stream's lowest byte over the rounds."""
    spans: Words
    """(n, streams): how many bytes from there."""
    good: NDArray[np.bool_]


def run(native: NativeLoop, n_runs: int = N_RUNS, seed: int = 1) -> NativeRecord:
    """Compare at least `n_runs` runs, or as many as can be. Raises UnicornFailed, BadCode, Unsupported.

    Runs code that was never run before, in this process: it may end it, or never return.
    """
    runs = Runs(native, seed)
    for _ in range(_MOST_BATCHES):
        if runs.done >= n_runs or runs.wrong or not runs.places:
            break
        runs.batch()
    return NativeRecord(runs.done, runs.aside, runs.wrong, runs.first, runs.rounds)


class Runs:
    """Of one loop, over memory that goes on from batch to batch."""

    def __init__(self, native: NativeLoop, seed: int, batch: int = _BATCH, arena: int = _ARENA) -> None:
        """`batch`: states at a time; `arena`: bytes of memory for them. Raises Unsupported."""
        self._native, self._code = native, NativeCode(native)
        self._loop = known_loop(native.code)
        self._aim, self._to_end = Aim(self._loop), True
        self._rng = np.random.default_rng(seed)
        self._slot = self._slot_bytes()
        self._count, arena = batch, max(arena, 2 * self._slot)
        self._pitch = min(self._slot, (arena - self._slot) // batch)
        self._size = arena + 2 * _PAGE
        self._memory = self._filled()
        self.places = [*_PLACES]
        self.done = self.aside = self.wrong = self.rounds = 0
        self.first = ""

    def _filled(self) -> NDArray[np.uint8]:
        found = self._rng.integers(0, 256, self._size, np.uint8)
        if self._native.ends_itself:
            places = np.arange(self._size) // self._pitch
            likely = np.frombuffer(self._native.code + bytes([0, 255]), np.uint8)
            again = self._rng.choice(likely, places[-1] + 1)[places]
            found = np.where(self._rng.integers(0, _RARE, self._size) == 0, found, again)
        return found

    def _slot_bytes(self) -> int:
        groups = self._aim.groups
        need = 2 * _MARGIN + sum(one.n_bytes + _GAP + _LEAST_ROUNDS * abs(one.stride) for one in groups)
        slot = max(_SLOT, 1 << (need - 1).bit_length())
        if slot > _ARENA // 2:
            raise Unsupported("Its rounds lie too far apart to be run beside Unicorn")
        return slot

    def batch(self) -> None:
        """Some thousand states."""
        at = self.places.pop(0)
        at, batch = self.made(at)
        useful = int(batch.good.sum())
        if useful >= _USEFUL * self._count:
            self.places.append(at)
        self.aside += self._count - useful
        if useful:
            self._compare(at, batch)

    # What is run.

    def made(self, at: int) -> tuple[int, Batch]:
        """States of which memory lies at `at`, or where it then must; and where that is. Raises Unsupported."""
        rng, aim, count = self._rng, self._aim, self._count
        states = random_states(count, int(rng.integers(1 << 32)))
        wanted = self._wanted(rng.integers(0, 20, count))
        lows = np.uint64(at + _PAGE) + self._lows(wanted)
        left = (rng.integers(0, 8, count) == 0) & all(aim.free)
        more = rng.integers(0, 1 << 16, count, np.uint64) * rng.integers(0, 2, count, np.uint64)
        states = aim.aimed(states, wanted, lows, left, more)
        place = self._place_of(states, wanted, at)
        if place is None:
            if not self._to_end:
                raise Unsupported("Where it loads and stores cannot be chosen to run it beside Unicorn")
            self._aim, self._to_end = Aim(self._loop, to_end=False), False
            return self.made(at)
        at = place
        planned, addresses = self._planned(states)
        part = rng.integers(0, 8, count) == 0
        rounds = np.where(planned <= 2 * wanted + np.uint64(8), planned, np.minimum(planned, wanted))
        rounds = np.where(part, np.minimum(rounds, np.uint64(1) + rng.integers(0, 1 << 10, count, np.uint64)), rounds)
        rounds, clear = apart(self._native, addresses, rounds)
        first, spans = touched(self._native, addresses, rounds)
        good = (rounds > 0) & clear & inside(first, spans, at, self._size)
        return at, Batch(states, planned, rounds, first, spans, good)

    def _wanted(self, kind: NDArray[np.int64]) -> Words:
        """(n,): rounds: one, few, some, and as many as a slot takes."""
        groups = self._aim.groups
        room = self._slot - 2 * _MARGIN - sum(one.n_bytes + _GAP for one in groups)
        most = min(_MOST_ROUNDS, room // max(1, sum(abs(one.stride) for one in groups)))
        top = np.select([kind < 2, kind < 8, kind < 15], [1, min(8, most), min(64, most)], most)
        return self._rng.integers(1, top + 1).astype(np.uint64)

    def _lows(self, rounds: Words) -> Words:
        """(n, groups): where each group's bytes begin: one behind the other in any order, or anywhere in the slot."""
        rng, count = self._rng, len(rounds)
        spans = self._aim.spans(rounds)
        slots = (np.arange(count, dtype=np.uint64) * np.uint64(self._pitch))[:, None]
        gaps = rng.integers(0, _GAP, spans.shape, np.uint64) * rng.integers(0, 2, spans.shape, np.uint64)
        order = rng.random(spans.shape).argsort(axis=1)
        ends = np.take_along_axis(gaps + spans, order, axis=1).cumsum(axis=1)
        begins = np.empty_like(spans)
        np.put_along_axis(begins, order, ends - np.take_along_axis(spans, order, axis=1), axis=1)
        begins += rng.integers(0, _MARGIN, (count, 1), np.uint64)
        room = np.uint64(self._slot) - np.minimum(spans, np.uint64(self._slot - 1))
        anywhere = (rng.random(spans.shape) * room).astype(np.uint64)
        near = rng.integers(0, 8, (count, 1)) == 0
        found: Words = slots + np.where(near, anywhere, begins)
        if self._loop.aligned:  # where it is not no round is planned, which a few may show
            found = np.where(rng.integers(0, _RARE, (count, 1)) == 0, found, found & ~np.uint64(ALIGNMENT - 1))
        return found

    def _place_of(self, states: States, rounds: Words, at: int) -> int | None:
        """Where memory must lie so that streams whose place cannot be chosen are in it; None where it cannot."""
        fixed = ~np.array(self._aim.free, bool)
        if not fixed.any():
            return at
        firsts = self._aim.bases_of(states)[:, fixed]
        moved = (rounds - np.uint64(1))[:, None] * np.array([abs(g.stride) for g in self._aim.groups], np.uint64)[fixed]
        bytes_ = np.array([one.n_bytes for one in self._aim.groups], np.uint64)[fixed]
        if ((firsts - np.uint64(at) < np.uint64(self._size)).mean()) > 0.5:
            return at
        low, high = int((firsts - moved).min()), int((firsts + moved + bytes_).max())
        if low < _PAGE or not 0 < high - low < min(_MOST_FIXED, self._size - 2 * _PAGE):
            return None
        return low // _PAGE * _PAGE

    def _planned(self, states: States) -> tuple[Words, Words]:
        """(n,) rounds and (n, streams) addresses, as the native code has them."""
        words, streams = words_of(states, self._native), max(1, len(self._native.streams))
        before, addresses = words.copy(), np.zeros((len(words), streams), np.uint64)
        plan, state, to = self._code.plan, words.ctypes.data, addresses.ctypes.data
        each, wide = 8 * STATE_WORDS, 8 * streams
        found = np.array([plan(state + n * each, to + n * wide) for n in range(len(words))], np.uint64)
        if (words != before).any():
            self.wrong, self.first = int((words != before).any(axis=1).sum()), "its plan changed the state"
        return found, addresses[:, : len(self._native.streams)]

    def _windows(self, at: int, host: int, batch: Batch) -> tuple[Words, NDArray[np.bool_]]:
        """(n, accesses, 3) as `run` takes them, and which end too soon."""
        rng, count, streams = self._rng, len(batch.rounds), self._native.streams
        first, ends = batch.lows.copy(), batch.lows + batch.spans
        whole = rng.integers(0, 2, (count, 1)) == 0
        first = np.where(whole, first & ~np.uint64(_PAGE - 1), first)
        ends = np.where(whole, (ends + np.uint64(_PAGE - 1)) & ~np.uint64(_PAGE - 1), ends)
        cut = np.zeros(count, bool)
        moving = [number for number, one in enumerate(streams) if one.stride]
        if moving:
            number = rng.choice(moving, count)
            rows = np.arange(count)
            down = np.array([one.stride < 0 for one in streams])[number]
            cut = (rng.integers(0, 8, count) == 0) & (batch.rounds > 1)
            away = (rng.random(count) * batch.spans[rows, number]).astype(np.uint64) + np.uint64(1)
            low, high = batch.lows[rows, number], (batch.lows + batch.spans)[rows, number]
            first[rows, number] = np.where(cut & down, low + away, first[rows, number])
            ends[rows, number] = np.where(cut & ~down, high - away, ends[rows, number])
        return windows(self._native, first, ends, at - host), cut

    # What came of it.

    def _compare(self, at: int, batch: Batch) -> None:
        good = batch.good
        batch = Batch(
            batch.states.chosen(good),
            batch.planned[good],
            batch.rounds[good],
            batch.lows[good],
            batch.spans[good],
            good[good],
        )
        memory = self._memory.copy()
        given, cut = self._windows(at, memory.ctypes.data, batch)
        before = words_of(batch.states, self._native)
        words, made = self._called(before, given, batch.rounds)
        short = cut | self._native.ends_itself
        wrong = {"rounds": (made > batch.rounds) | (~short & (made != batch.rounds))}
        wrong["what lies behind the state"] = (words[:, STATE_WORDS:] != np.uint64(_CANARY)).any(axis=1)
        some = (made > 0) & ~wrong["rounds"]
        if some.any():
            self._beside(at, batch, made, some, self._after(batch.states, before, words), memory, wrong)
        elif (memory != self._memory).any():
            wrong["memory"] = np.ones(len(made), bool)
        self._memory = memory
        bad = np.any(list(wrong.values()), axis=0)
        self.done += int(some.sum())
        self.aside += int((~some & ~bad).sum())
        self.rounds += int(made[some].sum())
        if bad.any() and not self.wrong:
            self.wrong = int(bad.sum())
            self.first = _told(int(bad.argmax()), wrong, batch, made)

    def _called(self, before: Words, given: Words, rounds: Words) -> tuple[Words, Words]:
        """(n, `_WORDS_EACH`) states after, and (n,) how many rounds the native code says that it did."""
        count = len(before)
        words = np.full((count, _WORDS_EACH), _CANARY, np.uint64)
        words[:, :STATE_WORDS] = before
        call, state, window, wide = self._code.run, words.ctypes.data, given.ctypes.data, given[0].nbytes
        parts = self._rng.integers(1, rounds + np.uint64(1), dtype=np.uint64)
        pieces = np.where(self._rng.integers(0, 4, count) == 0, parts, rounds)
        made = np.zeros(count, np.uint64)
        for n, (wanted, piece) in enumerate(zip(rounds.tolist(), pieces.tolist(), strict=True)):
            done = call(state, window, piece)
            if done == piece < wanted:  # as at the end of a run of pages: the rest goes on from there
                done += call(state, window, wanted - piece)
            made[n] = done
            state += 8 * _WORDS_EACH
            window += wide
        return words, made

    def _after(self, states: States, before: Words, words: Words) -> States:
        """What the plugin would have the processor go on with."""
        writes = np.array([word in self._native.writes for word in range(STATE_WORDS)])
        kept = np.where(writes, words[:, :STATE_WORDS], before)
        halves = states.halves.copy()
        for half, word in self._native.halves.items():
            halves[:, half] = kept[:, word]
        return States(kept[:, : len(REGISTERS)], states.flags, halves)

    def _beside(
        self,
        at: int,
        batch: Batch,
        made: Words,
        some: NDArray[np.bool_],
        after: States,
        memory: NDArray[np.uint8],
        wrong: dict[str, NDArray[np.bool_]],
    ) -> None:
        """Note what Unicorn finds otherwise."""
        states, vectors, stale = batch.states, bool(self._native.halves), self._loop.of_folds
        here = run_states(
            self._native.code,
            states.chosen(some),
            self._memory,
            vectors=vectors,
            rounds=made[some],
            memory_at=at,
        )

        def note(name: str, found: NDArray[np.bool_]) -> None:
            wrong[name] = np.zeros(len(made), bool)
            wrong[name][some] = found

        note("the loop's end", here.rounds_left != 0)
        for number, name in enumerate(REGISTERS):
            expected = states.registers[some] if name in stale else here.states.registers
            note(name, expected[:, number] != after.registers[some, number])
        for number, name in enumerate(HALVES if vectors else ()):
            expected = states.halves[some] if name in stale else here.states.halves
            note(name, expected[:, number] != after.halves[some, number])
        differs = np.flatnonzero(here.memory != memory)
        if len(differs):
            address = np.uint64(at + int(differs[0]))
            away = np.minimum(address - batch.lows, batch.lows + batch.spans - address)  # either wraps if it is outside
            near = int(away.min(axis=1, initial=1 << 63).argmin())
            wrong[f"memory at {int(address):#x}"] = np.arange(len(made)) == near


def _told(at: int, wrong: dict[str, NDArray[np.bool_]], batch: Batch, made: Words) -> str:
    names = [name for name, where in wrong.items() if where[at]]
    values = _values(batch.states.registers[at])
    return (
        f"{', '.join(names)} after {int(made[at]):,} of {int(batch.rounds[at]):,} rounds, "
        f"{int(batch.planned[at]):,} planned, from {values}"
    )


def _values(registers: Sequence[np.uint64] | Words) -> str:
    return " ".join(f"{name}={int(value):#x}" for name, value in zip(REGISTERS, registers, strict=True))
