"""`bench pixel`'s loops by QEMU alone, by kernels on the host, and by kernels on the GPU, in one run, in turns.

A time is that of a whole loop, with all that is sent to the GPU and copied back. On the GPU it is told for a loop over
pages that are there already and did not change, and for one whose pages all changed.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

import numpy as np

from app.benchmarks.loop_guest import AREA, FIRST_PAGE, MIB, PAGE, LoopGuest, loop_guest
from app.benchmarks.pixel_calls import CODE_AT
from app.benchmarks.pixel_hybrid import GAP, NotHere, hybrid_of
from app.benchmarks.pixel_loops import LOOPS, KnownLoop
from app.benchmarks.report import Result
from app.failures import CommandFailed
from app.gpu_owner import GpuOwner
from bridge.pixelcpu.errors import PixelError
from bridge.pixelcpu.gpu_back_end import BackEnd, NoGpu
from bridge.pixelcpu.gpu_kernel import gpu_kernel
from bridge.pixelcpu.gpu_runs import cases
from bridge.pixelcpu.hybrid import Hybrid
from bridge.pixelcpu.prove_loop import prove_loop
from bridge.trace.session import TraceSession

ROUNDS = 2 << 20
MEASURED = ("mixed", "sum", "checksum of bytes", "fill", "copy", "map")
_RAM = 128 * MIB
_MOST_RUNS = 40


def gpu(*, rounds: int = ROUNDS, turns: int = 5, directory: Path | None = None) -> tuple[list[Result], str]:
    """Of each loop the times of QEMU alone by those of the host's and the GPU's kernels; and the GPU's name."""
    with tempfile.TemporaryDirectory(dir=directory) as name:
        try:
            with loop_guest(Path(name), ram_bytes=_RAM) as guest:
                hybrid = hybrid_of(guest)
                with GpuOwner.of(TraceSession(guest.machine), software=True) as owner:
                    found: list[Result] = []
                    for number, loop in enumerate(one for one in LOOPS if one.name in MEASURED):
                        found += _measured(guest, hybrid, owner, loop, number, rounds, turns)
                    return found, owner.device
        except (NotHere, NoGpu) as error:
            return [Result("gpu_loops", None, "of QEMU alone", why=str(error))], ""


def _measured(
    guest: LoopGuest, hybrid: Hybrid, owner: GpuOwner, loop: KnownLoop, number: int, rounds: int, turns: int
) -> list[Result]:
    attempt = prove_loop(loop.code)
    assert attempt.native is not None
    assert attempt.rounds is not None
    name = loop.name.replace(" ", "_")
    kernel = gpu_kernel(attempt.native, attempt.rounds)
    try:
        record = owner.try_out(kernel, cases(attempt.native))
        if not record.good:
            return [Result(f"{name}_gpu", None, "of QEMU alone", why=record.first or "too few runs could be compared")]
        hybrid.install({number: attempt.native})
        owner.load(number, hybrid.id_of(number), kernel)
    except NoGpu:
        raise
    except PixelError as error:
        return [Result(f"{name}_gpu", None, "of QEMU alone", why=str(error))]
    times: dict[str, list[float]] = {"qemu": [], "host": [], "resident": [], "changed": []}
    size = max(PAGE, -(-rounds * loop.element // PAGE) * PAGE)
    pages = size // PAGE
    frames = FIRST_PAGE // PAGE + np.arange(2 * pages)
    guest.map_pages(0, frames[:pages])
    guest.map_pages(pages + GAP, frames[pages:])
    memory = guest.ram[FIRST_PAGE : FIRST_PAGE + 2 * size].view(np.uint64)
    memory[:] = np.random.default_rng(3).integers(0, 1 << 63, len(memory), np.uint64)
    registers = loop.registers(rounds, AREA, AREA + size + GAP * PAGE)
    at = CODE_AT + 0x200 * number
    share = 0.0
    for way in times:
        hybrid.prefer(BackEnd.HOST if way == "host" else BackEnd.GPU)
        hybrid.switch(on=way != "qemu")
        runs = 0
        while len(times[way]) < turns and runs < _MOST_RUNS:
            if way == "changed":
                memory += np.uint64(1)
            before = _gpu_rounds(hybrid, number)
            took_s = guest.run(loop.code, at, registers, limit_s=600).took_s
            runs += 1
            mostly = _gpu_rounds(hybrid, number) - before > 0.9 * rounds
            if runs > 2 and (way in ("qemu", "host") or mostly):
                times[way].append(took_s)
            share = max(share, (_gpu_rounds(hybrid, number) - before) / rounds)
    if not times["qemu"] or not times["host"]:
        raise CommandFailed(f"“{loop.name}” could not be measured")
    took = {way: statistics.median(each) for way, each in times.items() if each}
    told = next((one.gpu for one in hybrid.told() if one.slot == number), None)
    results = [Result(f"{name}_host", took["qemu"] / took["host"], "of QEMU alone")]
    for way in ("resident", "changed"):
        if way in took:
            results.append(Result(f"{name}_gpu_{way}", took["qemu"] / took[way], "of QEMU alone"))
        else:
            why = f"at most {share:.0%} of the rounds were done there in {_MOST_RUNS} runs"
            results.append(Result(f"{name}_gpu_{way}", None, "of QEMU alone", why=why))
    if told is not None and told.call_ns:
        results.append(Result(f"{name}_gpu_call", told.call_ns / 1e6, "ms"))
    if told is not None and told.round_ns:
        results.append(Result(f"{name}_gpu_round", told.round_ns, "ns"))
        results.append(Result(f"{name}_host_round", told.host_round_ns, "ns"))
    return results


def _gpu_rounds(hybrid: Hybrid, slot: int) -> int:
    return next((one.gpu.rounds for one in hybrid.told() if one.slot == slot and one.gpu is not None), 0)
