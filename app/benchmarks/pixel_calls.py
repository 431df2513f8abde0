"""Random runs of known loops, by kernels and by QEMU alone, compared whole: registers, flags, memory, page tables.

Trip counts, alignments, and where pages lie are random; pages are absent, read-only, not accessed or not written yet,
or two of the guest's pages are one; buffers overlap; timer interrupts come.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.benchmarks.loop_guest import (
    ACCESSED,
    AREA,
    DIRTY,
    FIRST_PAGE,
    PAGE,
    PRESENT,
    READY,
    WRITABLE,
    LoopGuest,
    Outcome,
)
from app.benchmarks.pixel_loops import LOOPS, KnownLoop
from bridge.pixelcpu.hybrid import KernelTable
from bridge.pixelcpu.native_loop import NativeLoop

PAGES = 48
"""Of the area, for each of both buffers."""
CODE_AT = 0x20000
_APART = 0x200
"""Bytes from one loop's code to the next."""
BATCH = 64


@dataclass(frozen=True, slots=True)
class Case:
    """One run."""

    loop: int
    registers: tuple[int, ...]
    flags: int
    vectors: NDArray[np.uint64]
    frames: NDArray[np.int64]
    bits: NDArray[np.uint64]
    """(2 * PAGES,), as frames: of the page tables' entries."""
    timer_hz: int
    seed: int


@dataclass(frozen=True, slots=True)
class Compared:
    """What came of many runs."""

    runs: int
    calls: int
    """In which kernels did rounds."""
    rounds: int
    faults: int
    interrupts: int
    wrong: tuple[str, ...]
    """What differed, in words; empty where nothing did."""


def case_of(seed: int, loops: Sequence[KnownLoop] = LOOPS) -> Case:
    """A random one; the same for the same number."""
    rng = np.random.default_rng(seed)
    number = int(rng.integers(len(loops)))
    loop = loops[number]
    element = max(loop.element, 1)
    most = (PAGES - 4) * PAGE // element
    n = int(rng.integers(1, 1 + int(rng.choice([3, 300, most // 8, most]))))
    aligned = bool(rng.random() < 0.3)
    offsets = [
        int(rng.integers(0, 2 * PAGE)) // (element if aligned else 1) * (element if aligned else 1) for _ in "ab"
    ]
    a, b = AREA + offsets[0], AREA + PAGES * PAGE + offsets[1]
    if rng.random() < 0.15:  # they overlap
        b = a + int(rng.integers(-600, 600)) // element * element
        b = max(b, AREA)
    frames = rng.permutation(2 * PAGES)
    if rng.random() < 0.3:
        frames = np.arange(2 * PAGES)
    if rng.random() < 0.2:  # some pages are others as well
        frames[rng.integers(0, 2 * PAGES, 6)] = frames[rng.integers(0, 2 * PAGES, 6)]
    bits = np.full(2 * PAGES, READY, np.uint64)
    if rng.random() < 0.5:
        kinds = np.array(
            [
                0,
                PRESENT,
                PRESENT | ACCESSED,
                PRESENT | WRITABLE | ACCESSED,
                PRESENT | WRITABLE,
                PRESENT | ACCESSED | DIRTY,
            ],
            np.uint64,
        )
        where = rng.random(2 * PAGES) < rng.choice([0.03, 0.3])
        bits[where] = rng.choice(kinds, int(where.sum()))
    return Case(
        number,
        tuple(loop.registers(n, a, b)),
        2 | int(rng.integers(0, 1 << 12)) & 0x8D5,
        rng.integers(0, 1 << 64, (16, 2), np.uint64),
        frames.astype(np.int64),
        bits,
        int(rng.choice([0, 0, 2000])),
        seed,
    )


class Comparison:
    """Runs cases on one guest whose kernels are installed."""

    def __init__(self, guest: LoopGuest, hybrid: KernelTable, natives: Mapping[int, NativeLoop]) -> None:
        """`natives`: by the loop's number in `LOOPS`."""
        self._guest, self._hybrid, self._natives = guest, hybrid, natives
        self._loops = LOOPS
        self._memory = guest.ram[FIRST_PAGE : FIRST_PAGE + 2 * PAGES * PAGE]
        self._content = np.random.default_rng(7).integers(0, 256, len(self._memory), np.uint8)
        hybrid.install(dict(natives))

    def compare(self, seeds: Sequence[int]) -> Compared:
        """Run each case both ways. Raises CommandFailed, TraceError, MachineError."""
        before = self._hybrid.told()
        runs = calls = rounds = faults = interrupts = 0
        wrong: list[str] = []
        for first in range(0, len(seeds), BATCH):
            cases = [case_of(seed, self._loops) for seed in seeds[first : first + BATCH]]
            self._hybrid.switch(on=True)
            mine = [self._run(case) for case in cases]
            self._hybrid.switch(on=False)
            for case, (outcome, memory, entries) in zip(cases, mine, strict=True):
                expected, its_memory, its_entries = self._run(case)
                differs = _differences(outcome, expected)
                if not np.array_equal(memory, its_memory):
                    differs.append(f"memory at {int((memory != its_memory).argmax()):#x}")
                if not np.array_equal(entries, its_entries):
                    differs.append("page tables")
                if differs:
                    wrong.append(f"{self._loops[case.loop].name}, case {case.seed}: {', '.join(differs)}")
                runs += 1
                faults += outcome.faults
                interrupts += outcome.ticks
        was = {one.slot: one for one in before}
        for one in self._hybrid.told():
            calls += one.calls - (was[one.slot].calls if one.slot in was else 0)
            rounds += one.rounds - (was[one.slot].rounds if one.slot in was else 0)
        return Compared(runs, calls, rounds, faults, interrupts, tuple(wrong))

    def _run(self, case: Case) -> tuple[Outcome, NDArray[np.uint8], NDArray[np.uint64]]:
        guest = self._guest
        self._memory[:] = self._content
        guest.map_pages(0, FIRST_PAGE // PAGE + case.frames)
        entries = guest.entries[: 2 * PAGES]
        entries[:] = entries & ~np.uint64(PAGE - 1) | case.bits
        outcome = guest.run(
            self._loops[case.loop].code,
            CODE_AT + case.loop * _APART,
            case.registers,
            flags=case.flags,
            vectors=case.vectors,
            timer_hz=case.timer_hz,
        )
        return outcome, self._memory.copy(), entries.copy()


def _differences(mine: Outcome, expected: Outcome) -> list[str]:
    found = [f"register {n}" for n in np.flatnonzero(mine.registers != expected.registers)]
    found += [f"xmm{n}" for n in np.flatnonzero((mine.vectors != expected.vectors).any(axis=1))]
    if mine.flags != expected.flags:
        found.append(f"flags {mine.flags:#x}, not {expected.flags:#x}")
    if mine.faults != expected.faults:
        found.append(f"{mine.faults} page faults, not {expected.faults}")
    return found
