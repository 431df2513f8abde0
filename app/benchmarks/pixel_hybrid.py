"""`bench pixel`'s loops: by QEMU alone, by proved kernels in it, and natively, in turns; and random runs, compared.

A guest's clock is the host's. A time is that of a whole loop, from the guest's first instruction to its last, with the
page tables walked and the registers handed over: nothing else is transferred, the kernels work in place.
"""

from __future__ import annotations

import ctypes
import itertools
import statistics
import subprocess
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np

from app.benchmarks.loop_guest import AREA, FIRST_PAGE, MIB, PAGE, LoopGuest, loop_guest
from app.benchmarks.pixel_calls import CODE_AT, Comparison
from app.benchmarks.pixel_loops import LOOPS, KnownLoop
from app.benchmarks.report import Result, at_least, at_most
from app.failures import CommandFailed
from bridge.pixelcpu.hybrid import LEAST_API, Hybrid, NoTakeover
from bridge.pixelcpu.native_loop import NativeLoop
from bridge.pixelcpu.prove_loop import prove_loop
from bridge.trace.errors import NoPlugin
from bridge.trace.session import TraceSession

ROUNDS = 8 << 20
"""Of each loop, on words as large as it takes."""
CALLS = 1_000_000
_RAM = 192 * MIB
_BARS = {
    "registers": at_least(5),
    "reduction": at_least(10),
    "map": at_least(10),
    "fill": at_least(10),
    "copy": at_least(10),
    "recurrence": at_least(5),
    "hash": at_least(10),
    "sequence": at_least(10),
    "search": at_least(10),
}
_NATIVE_BAR, _WRONG_BAR = at_least(60), at_most(0)
_SEEDS_AT_ONCE = 512
GAP = 17
"""Pages between both buffers, an odd number: QEMU keeps translations by the low bits of a page's number, one for each,
and both buffers' pages would put each other out."""
_SOURCE = """#include <stdint.h>
uint64_t f%d(uint64_t n, void *a, void *b) { (void)a; (void)b; %s }
"""


class NotHere(Exception):
    """There is no QEMU that kernels can run in; the words say which would do."""


def loops(*, rounds: int = ROUNDS, turns: int = 5, directory: Path | None = None) -> list[Result]:
    """Speed-up over QEMU alone, and share of the native speed, of each loop."""
    measured = [loop for loop in LOOPS if loop.c]
    with tempfile.TemporaryDirectory(dir=directory) as name:
        try:
            with loop_guest(Path(name), ram_bytes=_RAM) as guest:
                natives = _natives(measured)
                hybrid = hybrid_of(guest)
                compiled = _compiled(measured, Path(name))
                found = []
                for number, loop in enumerate(measured):
                    hybrid.install({number: natives[number]})
                    found += _measured(guest, hybrid, loop, CODE_AT + 0x200 * number, compiled[number], rounds, turns)
                return found
        except NotHere as error:
            return [Result("loops", None, "of QEMU alone", why=str(error))]


def calls(*, least: int = CALLS, directory: Path | None = None) -> list[Result]:
    """Random runs until kernels were called so often, each compared with QEMU alone."""
    with tempfile.TemporaryDirectory(dir=directory) as name:
        try:
            with loop_guest(Path(name)) as guest:
                comparison = Comparison(guest, hybrid_of(guest), dict(enumerate(_natives(LOOPS))))
                runs = done = faults = interrupts = rounds = 0
                wrong: list[str] = []
                for first in itertools.count(0, _SEEDS_AT_ONCE):
                    one = comparison.compare(range(first, first + _SEEDS_AT_ONCE))
                    runs, done, rounds = runs + one.runs, done + one.calls, rounds + one.rounds
                    faults, interrupts = faults + one.faults, interrupts + one.interrupts
                    wrong += one.wrong
                    if done >= least or wrong:
                        break
        except NotHere as error:
            return [Result("hybrid_wrong", None, "runs", _WRONG_BAR, str(error))]
    return [
        Result("hybrid_runs", runs, "runs"),
        Result("hybrid_calls", done, "calls", at_least(least)),
        Result("hybrid_rounds", rounds, "rounds"),
        Result("hybrid_page_faults", faults, "faults"),
        Result("hybrid_interrupts", interrupts, "interrupts"),
        Result("hybrid_wrong", len(wrong), "runs", _WRONG_BAR),
    ]


def hybrid_of(guest: LoopGuest) -> Hybrid:
    """The guest's table of kernels. Raises NotHere."""
    try:
        return Hybrid(TraceSession(guest.machine))
    except (NoTakeover, NoPlugin) as error:
        raise NotHere(f"QEMU with plugin interface {LEAST_API} is needed (./glassbox qemu fetch): {error}") from error


def _natives(loops_: tuple[KnownLoop, ...] | list[KnownLoop]) -> list[NativeLoop]:
    found = []
    for loop in loops_:
        attempt = prove_loop(loop.code)
        if attempt.native is None:
            raise CommandFailed(f"the loop “{loop.name}” was not proved: {attempt.reason}")
        found.append(attempt.native)
    return found


def _compiled(measured: list[KnownLoop], directory: Path) -> list[ctypes._NamedFuncPointer]:
    """Each loop's C, by the system's compiler with -O2, in one library."""
    source, library = directory / "loops.c", directory / "loops.so"
    source.write_text("".join(_SOURCE % (number, loop.c) for number, loop in enumerate(measured)))
    try:
        subprocess.run(
            ["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(source)],
            check=True,
            capture_output=True,
            text=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise CommandFailed(f"the loops could not be compiled: {getattr(error, 'stderr', '') or error}") from error
    loaded = ctypes.CDLL(str(library))
    found = []
    for number in range(len(measured)):
        function = loaded[f"f{number}"]
        function.restype = ctypes.c_uint64
        function.argtypes = [ctypes.c_uint64, ctypes.c_void_p, ctypes.c_void_p]
        found.append(function)
    return found


def _measured(
    guest: LoopGuest,
    hybrid: Hybrid,
    loop: KnownLoop,
    at: int,
    native: ctypes._NamedFuncPointer,
    rounds: int,
    turns: int,
) -> list[Result]:
    size = max(PAGE, -(-rounds * loop.element // PAGE) * PAGE)
    pages = size // PAGE
    frames = FIRST_PAGE // PAGE + np.arange(2 * pages)
    chance = np.random.default_rng(3)
    content = chance.integers(0, 256, size, np.uint8)
    if loop.kind == "search":  # for a byte with its highest bit set, which is there once
        content &= 0x7F
        content[rounds - 1] |= 0x80
    mine, other = content.copy(), np.zeros(size, np.uint8)
    times: dict[str, list[float]] = {"qemu": [], "hybrid": [], "scattered": [], "native": []}
    registers = loop.registers(rounds, AREA, AREA + size + GAP * PAGE)
    results: dict[str, tuple[int, bytes]] = {}
    for turn in range(turns + 1):  # the first brings code into caches, and teaches the plugin what a call is worth
        for way in times:
            if way == "native":
                began = perf_counter()
                native(rounds, mine.ctypes.data, other.ctypes.data)
                took_s = perf_counter() - began
            else:
                hybrid.switch(on=way != "qemu")
                laid = chance.permutation(frames) if way == "scattered" else frames
                guest.map_pages(0, laid[:pages])
                guest.map_pages(pages + GAP, laid[pages:])
                for number in range(2 * pages if turn == 0 else 0):
                    guest.ram[FIRST_PAGE + number * PAGE : FIRST_PAGE + (number + 1) * PAGE] = content[
                        number % pages * PAGE : (number % pages + 1) * PAGE
                    ]
                guest.run(loop.code, at, registers, limit_s=600)  # it is translated anew
                outcome = guest.run(loop.code, at, registers, limit_s=600)
                took_s = outcome.took_s
                if way != "scattered":
                    results[way] = int(outcome.registers[0]), guest.ram[FIRST_PAGE : FIRST_PAGE + 2 * size].tobytes()
            if turn:
                times[way].append(took_s)
    if results["qemu"] != results["hybrid"]:
        raise CommandFailed(f"“{loop.name}” had another result by its kernel than by QEMU")
    took = {way: statistics.median(each) for way, each in times.items()}
    name = loop.name.replace(" ", "_")
    return [
        Result(f"{name}_speed_up", took["qemu"] / took["hybrid"], "of QEMU alone", _BARS[loop.kind]),
        Result(f"{name}_scattered_pages", took["qemu"] / took["scattered"], "of QEMU alone"),
        Result(f"{name}_of_native", 100 * took["native"] / took["hybrid"], "% of cc -O2", _NATIVE_BAR),
        Result(f"{name}_rounds", rounds / took["hybrid"] / 1e9, "G rounds/s"),
    ]
