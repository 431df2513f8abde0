"""Trial of a kernel on the GPU: cases with what Unicorn makes of them are run there, and compared.

The cases are made where nothing knows of a GPU (`gpu_runs`), and run where nothing knows of Unicorn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.pixelcpu.gpu_kernel import GpuKernel
from bridge.pixelcpu.gpu_mailbox import PAGE, Asked, Request
from bridge.pixelcpu.native_loop import GpuRecord
from bridge.pixelcpu.native_windows import Words


@dataclass(frozen=True, slots=True)
class GpuCases:
    """Runs one after the other over the same memory."""

    at: int
    """Where the guest has it."""
    order: NDArray[np.uint32]
    """(pages,): which page of RAM each of the guest's pages is."""
    memory: NDArray[np.uint8]
    """(pages * 4096,), as the guest has it; before all runs …"""
    memory_after: NDArray[np.uint8]
    """… and after all, by Unicorn."""
    states: Words
    """(n, 33) before …"""
    states_after: Words
    """… and after, by Unicorn."""
    rounds: Words
    addresses: Words
    """(n, streams): of each stream's lowest byte."""
    spans: Words
    """(n, streams): bytes from there."""


Run = Callable[[Request, NDArray[np.uint8]], tuple[NDArray[np.uint64], list[NDArray[np.uint8]]]]
"""Does a request's rounds over RAM (n,) uint8; the state after, and what each of its storing streams holds then."""


def compare(kernel: GpuKernel, all_cases: tuple[GpuCases, ...], device: str, run: Run) -> GpuRecord:
    """Run all cases. Raises what `run` raises."""
    n_runs = n_rounds = wrong = 0
    first = ""
    for batch in all_cases:
        ram = np.empty_like(batch.memory)
        ram.reshape(-1, PAGE)[batch.order] = batch.memory.reshape(-1, PAGE)
        for n in range(len(batch.rounds)):
            request = _request(kernel, batch, n)
            after, stored = run(request, ram)
            for number, content in zip([k for k, s in enumerate(kernel.streams) if s.is_store], stored, strict=True):
                _commit(kernel, request, number, content, ram)
            bad = [word for word in sorted(kernel.writes) if after[word] != batch.states_after[n, word]]
            if bad:
                wrong += 1
                first = first or (
                    f"word {bad[0]} of the state is {int(after[bad[0]]):#x}, not "
                    f"{int(batch.states_after[n, bad[0]]):#x}, after {int(batch.rounds[n]):,} rounds"
                )
        made = ram.reshape(-1, PAGE)[batch.order].reshape(-1)
        differs = np.flatnonzero(made != batch.memory_after)
        if len(differs):
            wrong += 1
            first = first or f"memory at {batch.at + int(differs[0]):#x} differs after {len(batch.rounds)} runs"
        n_runs += len(batch.rounds)
        n_rounds += int(batch.rounds.sum())
    return GpuRecord(device, n_runs, n_rounds, wrong, first)


def _request(kernel: GpuKernel, batch: GpuCases, n: int) -> Request:
    streams = []
    for number, stream in enumerate(kernel.streams):
        first, size = int(batch.addresses[n, number]), int(batch.spans[n, number])
        at, end = (first - batch.at) // PAGE, (first + size - 1 - batch.at) // PAGE + 1
        streams.append(Asked(first, size, batch.order[at:end], stream.is_store))
    return Request(n + 1, 1, 0, int(batch.rounds[n]), batch.states[n], tuple(streams))


def _commit(
    kernel: GpuKernel, request: Request, number: int, content: NDArray[np.uint8], ram: NDArray[np.uint8]
) -> None:
    """As the plugin does: the bytes that rounds store, and none between."""
    asked, stream = request.streams[number], kernel.streams[number]
    step = abs(stream.stride) or stream.size
    at = (np.arange(request.rounds)[:, None] * step + np.arange(stream.size)).ravel()
    places = asked.first % PAGE + at
    ram[asked.pages[places // PAGE].astype(np.int64) * PAGE + places % PAGE] = content[at]
