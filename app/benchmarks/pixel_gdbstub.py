"""`bench pixel`'s loops through QEMU's gdbstub, by the machine's usual QEMU: alone and with kernels, in turns."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from app.benchmarks.loop_guest import AREA, FIRST_PAGE, MIB, PAGE, LoopGuest, loop_guest
from app.benchmarks.pixel_calls import CODE_AT
from app.benchmarks.pixel_loops import LOOPS, KnownLoop
from app.benchmarks.report import Result, at_most
from app.failures import CommandFailed
from bridge.pixelcpu.gdb_hybrid import GdbHybrid
from bridge.pixelcpu.hybrid import NoTakeover, Told
from bridge.pixelcpu.prove_loop import prove_loop
from bridge.trace.errors import NoPlugin
from bridge.trace.session import TraceSession

ROUNDS = 8 << 20
_NAMES = ("mixed", "sum", "fill", "copy", "in place")
_RAM = 192 * MIB
_GAP = 17
_FOUND_S = 30.0
_LONGEST_BAR = at_most(50)


def gdbstub(*, rounds: int = ROUNDS, turns: int = 5, directory: Path | None = None) -> list[Result]:
    """Speed-up over QEMU alone of each loop, what a call costs, and from how many rounds on one pays."""
    with tempfile.TemporaryDirectory(dir=directory) as name:
        try:
            with loop_guest(Path(name), ram_bytes=_RAM) as guest:
                hybrid = GdbHybrid(TraceSession(guest.machine), eager=True)
                try:
                    results: list[Result] = []
                    for number, loop in enumerate(loop for loop in LOOPS if loop.name in _NAMES):
                        results += _measured(guest, hybrid, loop, number, rounds, turns)
                    return results
                finally:
                    hybrid.close()
        except (NoTakeover, NoPlugin) as error:
            return [Result("gdbstub", None, "of QEMU alone", why=str(error))]


def _measured(guest: LoopGuest, hybrid: GdbHybrid, loop: KnownLoop, slot: int, rounds: int, turns: int) -> list[Result]:
    native = prove_loop(loop.code).native
    if native is None:
        raise CommandFailed(f"the loop “{loop.name}” was not proved")
    at = CODE_AT + PAGE * slot
    size = max(PAGE, -(-rounds * loop.element // PAGE) * PAGE)
    pages = size // PAGE
    # An odd number of pages apart: QEMU keeps translations by the low bits of a page's number, one for each.
    registers = loop.registers(rounds, AREA, AREA + size + _GAP * PAGE)
    frames = FIRST_PAGE // PAGE + np.arange(2 * pages)
    guest.map_pages(0, frames[:pages])
    guest.map_pages(pages + _GAP, frames[pages:])
    area = guest.ram[FIRST_PAGE : FIRST_PAGE + 2 * size]
    content = np.random.default_rng(3).integers(0, 256, size, np.uint8)
    hybrid.install({slot: native})
    guest.run(loop.code, at, registers)
    _until_found(hybrid, slot)
    times: dict[bool, list[float]] = {False: [], True: []}
    results: dict[bool, tuple[int, bytes]] = {}
    for turn in range(turns + 1):  # the first brings code and memory into reach
        for on in times:
            hybrid.switch(on=on)
            area[:size], area[size:] = content, content
            before = _told(hybrid, slot).rounds
            outcome = guest.run(loop.code, at, registers)
            if on and _told(hybrid, slot).rounds - before < rounds // 2:
                raise CommandFailed(f"“{loop.name}” was not done by its kernel: {_told(hybrid, slot).declined}")
            results[on] = int(outcome.registers[0]), area.tobytes()
            if turn:
                times[on].append(outcome.took_s)
    told = _told(hybrid, slot)
    hybrid.install({slot: None})
    if results[False] != results[True]:
        raise CommandFailed(f"“{loop.name}” had another result by its kernel than by QEMU")
    name = loop.name.replace(" ", "_")
    alone_s, with_s = statistics.median(times[False]), statistics.median(times[True])
    gained_ns = (alone_s - with_s) / rounds * 1e9
    return [
        Result(f"gdbstub_{name}_speed_up", alone_s / with_s, "of QEMU alone"),
        Result(f"gdbstub_{name}_call", told.call_ns / 1e6, "ms besides its rounds"),
        Result(f"gdbstub_{name}_pays_from", told.call_ns / gained_ns if gained_ns > 0 else None, "rounds"),
        Result(f"gdbstub_{name}_longest", told.longest_ms, "ms a call", _LONGEST_BAR),
    ]


def _until_found(hybrid: GdbHybrid, slot: int) -> None:
    deadline = time.monotonic() + _FOUND_S
    while not _told(hybrid, slot).translations:
        if time.monotonic() > deadline:
            raise CommandFailed("a loop that ran was not found in the trace")
        time.sleep(0.01)


def _told(hybrid: GdbHybrid, slot: int) -> Told:
    return next(one for one in hybrid.told() if one.slot == slot)
