"""Process that has the GPU: does loops' rounds there for a machine's plugin, and tries new kernels beside Unicorn.

Run as `python -c "from app.gpu_worker import main; main()"`. Orders come in on standard input, answers go out on
standard output, as pickles between a program and its own child; it ends when its input does. Requests of the plugin
come through the shared memory. The guest's RAM is only read here. Whoever ends it, at whatever moment, does no harm:
the plugin then does the rounds on the host.
"""

from __future__ import annotations

import contextlib
import os
import queue
import resource
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import wgpu
from numpy.typing import NDArray

from bridge.pixelcpu.child_frames import read_frame, write_frame
from bridge.pixelcpu.errors import PixelError
from bridge.pixelcpu.gpu_kernel import GpuKernel, gathered
from bridge.pixelcpu.gpu_mailbox import PAGE, GpuMailbox, Request
from bridge.pixelcpu.gpu_trial import GpuCases, compare
from bridge.pixelcpu.isa import N_REGISTERS
from bridge.pixelcpu.native_loop import GpuRecord
from bridge.pixelcpu.wgsl import Region
from bridge.trace.shared_memory import TraceMemory
from render.device import AdapterSummary, request_device
from render.errors import DeviceLost, OutOfVideoMemory, RenderError
from render.pixel_cpu import BadShader
from render.pixel_kernels import PixelKernels

_HEARTBEAT_S = 0.2
_TRIED = -1
"""The number of a kernel that is only tried."""


@dataclass(frozen=True, slots=True)
class Begin:
    """The first order: where the machine's shared memory and its RAM are. Answered with the GPU's name, or why not."""

    trace: str
    ram: str
    software: bool = False
    """Whether a GPU that is drawn by the processor does as well."""


@dataclass(frozen=True, slots=True)
class Try:
    """Run a kernel beside Unicorn; answered with a GpuRecord."""

    kernel: GpuKernel
    cases: tuple[GpuCases, ...]


@dataclass(frozen=True, slots=True)
class Load:
    """Have a kernel ready for the plugin; answered with why not, or nothing."""

    slot: int
    id: int
    kernel: GpuKernel


@dataclass(frozen=True, slots=True)
class Drop:
    """Have none ready in this slot."""

    slot: int


class Gpu:
    """The device, and kernels on it. For one thread."""

    def __init__(self, *, software: bool) -> None:
        """Raises RenderError."""
        device, summary = request_device()
        if summary.is_software and not software:
            raise RenderError(f"There is no GPU but {summary.name}, which is the processor itself.")
        self.kernels, self.name = PixelKernels(device), device_name(summary)

    def load(self, key: int, kernel: GpuKernel) -> None:
        """Compile it, and run a lane that finds no memory: some drivers compile only then. Raises RenderError."""
        self.kernels.compile(key, kernel.made.code, stores=kernel.stores)
        given = kernel.made.given(1, np.zeros(N_REGISTERS, np.uint64), 0, Region(0, 0))
        for groups in (1, kernel.groups(1 << 31)):
            self.kernels.run(key, given, kernel.made.room(groups), groups)

    def run(
        self, key: int, kernel: GpuKernel, request: Request, ram: NDArray[np.uint8]
    ) -> tuple[NDArray[np.uint64], list[NDArray[np.uint8]]]:
        """Do a request's rounds; the state after, and what each storing stream holds then. Raises PixelError,
        RenderError."""
        together = gathered(request.streams)
        offsets = self.kernels.place(
            [run.tobytes() for run in together.runs], [_content(ram, run) for run in together.runs]
        )
        given = kernel.given(request, together, offsets)
        groups = kernel.groups(request.rounds)
        wanted = [
            (offsets[run] + at, asked.size)
            for asked, (run, at) in zip(request.streams, together.places, strict=True)
            if asked.is_store
        ]
        found, stored = self.kernels.run(key, given, kernel.made.room(groups), groups, wanted)
        return kernel.after(request, found), stored

    def try_out(self, kernel: GpuKernel, cases: tuple[GpuCases, ...]) -> GpuRecord:
        """Run it beside Unicorn. Raises RenderError."""
        try:
            self.load(_TRIED, kernel)
            return compare(kernel, cases, self.name, lambda request, ram: self.run(_TRIED, kernel, request, ram))
        except (PixelError, BadShader) as error:
            return GpuRecord(self.name, 0, 0, 0, str(error))
        finally:
            self.kernels.forget(_TRIED)


def device_name(summary: AdapterSummary) -> str:
    """The GPU, its driver, and what speaks to it."""
    return ", ".join(part for part in (summary.name, summary.driver, f"wgpu {wgpu.__version__}") if part)


def _content(ram: NDArray[np.uint8], pages: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """(n, 4096): these pages of RAM as they are now; in place where they follow each other."""
    first, end = int(pages[0]), int(pages[0]) + len(pages)
    if int(pages[-1]) == end - 1 and (len(pages) < 2 or (np.diff(pages.astype(np.int64)) == 1).all()):
        return ram[first * PAGE : end * PAGE].reshape(-1, PAGE)
    whole = len(ram) // PAGE
    return ram[: whole * PAGE].reshape(whole, PAGE)[pages]


class _Worker:
    def __init__(self, begin: Begin, gpu: Gpu, orders: queue.SimpleQueue[Any]) -> None:
        self._gpu, self._orders = gpu, orders
        self.mailbox = GpuMailbox(TraceMemory.open(Path(begin.trace)))
        self._ram = np.memmap(begin.ram, np.uint8, "r")
        self._kernels: dict[int, tuple[int, GpuKernel]] = {}

    def serve(self, answers: Any) -> None:
        """Until there are no more orders."""
        while True:
            while not self._orders.empty():
                order = self._orders.get()
                if order is None:
                    self.mailbox.shut()
                    return
                self.mailbox.shut()
                write_frame(answers, self._obeyed(order))
            request = self.mailbox.wait(_HEARTBEAT_S)
            if request is not None:
                self._do(request)

    def _obeyed(self, order: Try | Load | Drop) -> Any:
        try:
            if isinstance(order, Try):
                return self._gpu.try_out(order.kernel, order.cases)
            self.mailbox.set_ready(order.slot, 0)
            self._kernels.pop(order.slot, None)
            self._gpu.kernels.forget(order.slot)
            if isinstance(order, Load):
                self._gpu.load(order.slot, order.kernel)
                self._kernels[order.slot] = order.id, order.kernel
                self.mailbox.set_ready(order.slot, order.id)
        except PixelError as error:
            return error
        except DeviceLost:
            raise  # nothing that was made holds any more: this process ends, and another one begins
        except RenderError as error:
            return PixelError(str(error))
        return ""

    def _do(self, request: Request) -> None:
        known_id, kernel = self._kernels.get(request.slot, (0, None))
        if kernel is None or known_id != request.id or len(request.streams) != len(kernel.streams):
            self.mailbox.answer(request, None)
            return
        try:
            after, stored = self._gpu.run(request.slot, kernel, request, self._ram)
            for asked, content in zip(_storing(request), stored, strict=True):
                self.mailbox.stage(asked.staged, content)
        except (PixelError, OutOfVideoMemory, ValueError):
            self.mailbox.answer(request, None)
            return
        self.mailbox.answer(request, after)


def _storing(request: Request) -> Sequence[Any]:
    return [asked for asked in request.streams if asked.is_store]


def main() -> None:
    """Obey until the input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a driver prints is no answer
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    begin = read_frame(sys.stdin.buffer)
    if begin is None:
        return
    try:
        gpu = Gpu(software=begin.software)
    except RenderError as error:
        with contextlib.suppress(OSError):  # nobody waits any more
            write_frame(answers, PixelError(str(error)))
        return
    orders: queue.SimpleQueue[Any] = queue.SimpleQueue()
    worker = _Worker(begin, gpu, orders)
    try:
        write_frame(answers, gpu.name)
    except OSError:
        return

    def read() -> None:
        order: Any = True
        while order is not None:
            order = read_frame(sys.stdin.buffer)
            orders.put(order)
            worker.mailbox.poke()

    threading.Thread(target=read, name="orders", daemon=True).start()
    worker.serve(answers)
