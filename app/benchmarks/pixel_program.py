"""`bench pixel`'s program: a checksum and an image filter over 32 MiB in a Linux guest, with kernels and without.

The program is C, by the system's own compiler; the guest's kernel is the demo guest's. What is hot is found by counting
blocks, proved, and taken over: nothing of the program is known beforehand. It says itself how long each turn took, by
the guest's clock, and what came out.
"""

from __future__ import annotations

import dataclasses
import re
import statistics
import subprocess
import tempfile
from pathlib import Path
from time import monotonic, sleep

from app.benchmarks.report import Result, at_least, at_most
from app.failures import CommandFailed
from bridge.machine import cpio
from bridge.machine.catalogue import find_guest
from bridge.machine.machine import Machine
from bridge.machine.manager import MachineManager
from bridge.pixelcpu.errors import BadCode
from bridge.pixelcpu.hybrid import LEAST_API, Hybrid, NoTakeover
from bridge.pixelcpu.native_loop import NativeLoop
from bridge.pixelcpu.prove_loop import prove_loop
from bridge.trace.errors import NoPlugin
from bridge.trace.modes import Mode, Wish
from bridge.trace.session import TraceSession

MIB = 1 << 20
_LIMIT_S = 240.0
_HOTTEST = 12
_SPEED_UP_BAR, _WRONG_BAR = at_least(2), at_most(0)
_TURN = re.compile(rb"turn (\d+): (\d+) ns, ([0-9a-f]{8})")
_SOURCE = r"""
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

__attribute__((noinline)) static uint32_t checksum(const uint8_t *p, size_t n)
{
    uint32_t s = 0;
    for (size_t i = 0; i < n; i++)
        s += (uint32_t)p[i] << 3 ^ p[i];
    return s;
}

__attribute__((noinline)) static void brighter(uint8_t *to, const uint8_t *from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = (uint8_t)((from[i] * 3u >> 2) + 16);
}

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

int main(int count, char **words)
{
    unsigned most = count > 1 ? (unsigned)atoi(words[1]) : 0; /* 0: for ever */
    volatile size_t size = SIZE;
    size_t n = size;
    uint8_t *image = malloc(n), *made = malloc(n);
    uint32_t x = 1;
    for (size_t i = 0; i < n; i++)
        image[i] = (uint8_t)((x = x * 1664525 + 1013904223) >> 24);
    for (unsigned turn = 0; !most || turn < most; turn++) {
        image[turn % n] ^= 1;
        uint64_t began = now();
        uint32_t first = checksum(image, n);
        brighter(made, image, n);
        uint32_t second = checksum(made, n);
        printf("turn %u: %llu ns, %08x\n", turn, (unsigned long long)(now() - began), first * 31 + second);
        fflush(stdout);
    }
}
"""


def program(*, size: int = 32 * MIB, turns: int = 5, directory: Path | None = None) -> list[Result]:
    """Speed-up of the whole program, and whether what it says is what it says without kernels."""
    with tempfile.TemporaryDirectory(dir=directory) as name, MachineManager(traceable=True) as manager:
        initrd = Path(name) / "initrd"
        initrd.write_bytes(_initramfs(Path(name), size))
        guest = dataclasses.replace(find_guest("demo"), initrd=initrd, keeps_state=False, ready_marker=None)
        machine = manager.launch(guest, ram_bytes=256 * MIB)
        try:
            session = TraceSession(machine)
            hybrid = Hybrid(session)
        except (NoTakeover, NoPlugin) as error:
            why = f"QEMU with plugin interface {LEAST_API} is needed (./glassbox qemu fetch): {error}"
            return [Result("program_speed_up", None, "of QEMU alone", _SPEED_UP_BAR, why)]
        console = _Console(machine)
        console.turns(1)
        loops = _hot_loops(session, console)
        hybrid.install(dict(enumerate(loops)))
        took: dict[bool, list[float]] = {True: [], False: []}
        said: dict[int, str] = {}
        for _ in range(turns):
            for on in (False, True):
                hybrid.switch(on=on)
                whole = console.turns(3)[1:]  # the first was begun before
                took[on] += [one.ns for one in whole]
                said |= {one.number: one.said for one in whole}
        rounds = sum(one.rounds for one in hybrid.told())
        wrong = sum(
            said[number] != text for number, text in _natively(Path(name), max(said) + 1).items() if number in said
        )
    speed_up = statistics.median(took[False]) / statistics.median(took[True])
    return [
        Result("program_speed_up", speed_up, "of QEMU alone", _SPEED_UP_BAR),
        Result("program_loops", len(loops), "loops"),
        Result("program_rounds", rounds, "rounds"),
        Result("program_turns_compared", len(said), "turns"),
        Result("program_wrong", wrong, "turns", _WRONG_BAR),
    ]


@dataclasses.dataclass(frozen=True, slots=True)
class _Turn:
    number: int
    ns: int
    said: str


class _Console:
    """What the program says, as it says it."""

    def __init__(self, machine: Machine) -> None:
        assert machine.record is not None
        self._machine, self._log = machine, machine.record.console_log

    def turns(self, count: int) -> list[_Turn]:
        """The next so many that end from now on. Raises CommandFailed."""
        known = len(self._all())
        deadline = monotonic() + _LIMIT_S
        while len(found := self._all()) < known + count:
            if monotonic() > deadline or not self._machine.runs:
                raise CommandFailed("the guest's program did not go on in time")
            sleep(0.01)
        return found[known : known + count]

    def _all(self) -> list[_Turn]:
        text = self._log.read_bytes() if self._log.exists() else b""
        return [_Turn(int(one[1]), int(one[2]), one[3].decode()) for one in _TURN.finditer(text)]


def _initramfs(directory: Path, size: int) -> bytes:
    """The program as init. Raises CommandFailed."""
    source = directory / "program.c"
    source.write_text(_SOURCE.replace("SIZE", str(size)))
    command = ["cc", "-O2", "-static", "-o", str(directory / "program"), str(source)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise CommandFailed(f"the program could not be compiled: {getattr(error, 'stderr', '') or error}") from error
    program_file = cpio.file("init", (directory / "program").read_bytes(), 0o755)
    return cpio.write_archive([cpio.directory("dev"), cpio.character_device("dev/console", 5, 1), program_file])


def _natively(directory: Path, turns: int) -> dict[int, str]:
    """What the same program says here."""
    ran = subprocess.run([str(directory / "program"), str(turns)], check=True, capture_output=True, timeout=_LIMIT_S)
    return {int(one[1]): one[3].decode() for one in _TURN.finditer(ran.stdout)}


def _hot_loops(session: TraceSession, console: _Console) -> list[NativeLoop]:
    """Kernels of the hottest blocks that are loops, counted over a few turns. Raises TraceError, MachineError."""
    session.set(Wish(Mode.COUNTERS))
    before = session.counts()
    console.turns(2)
    after = session.counts()
    entered = after.total.astype(float)
    entered[: len(before.total)] -= before.total
    work = entered * after.blocks["instructions"]
    session.set(Wish())
    found = []
    for number in work.argsort()[::-1][:_HOTTEST].tolist():
        try:
            native = prove_loop(session.code_of(after.blocks[number])).native
        except BadCode:
            continue
        if native is not None:
            found.append(native)
    return found
