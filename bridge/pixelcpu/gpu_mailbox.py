"""GPU mailbox: the side of it that has the GPU. The plugin asks for a kernel's rounds, and is answered in its time.

The plugin's side is tcg_plugin/gpu_calls.c; what lies where says tcg_plugin/trace_format.h. Guest memory is only read
here: what rounds store goes to a staging area, and the plugin copies it, if the answer was in time.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.trace.futex import wait, wake
from bridge.trace.layout import layout
from bridge.trace.shared_memory import TraceMemory

PAGE = 4096
_LOW = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Asked:
    """Bytes of the guest's that a stream's rounds touch."""

    first: int
    """Their lowest address."""
    size: int
    pages: NDArray[np.uint32]
    """(n,): where the pages that hold them, in the order of their addresses, lie in the RAM file."""
    is_store: bool
    staged: int = 0
    """Where in the staging area they are wanted, if it stores."""


@dataclass(frozen=True, slots=True)
class Request:
    """Rounds of a kernel that are wanted."""

    number: int
    id: int
    slot: int
    rounds: int
    state: NDArray[np.uint64]
    """(33,): registers of the Pixel CPU and flags, before."""
    streams: tuple[Asked, ...]


class GpuMailbox:
    """For one thread, but for `poke`."""

    def __init__(self, memory: TraceMemory) -> None:
        self._memory = memory
        self._request, self._worker = memory.gpu_request, memory.gpu_worker
        self._seen = int(self._request["number"])
        self._worker["ready"] = 0
        self._worker["generation"] = time.monotonic_ns() << 16 | os.getpid() & 0xFFFF

    def open(self) -> None:
        """Take requests, from now on for about a second: `wait` does it again each time."""
        self._worker["alive_ns"] = time.monotonic_ns()

    def shut(self) -> None:
        """Take none: whoever asks would wait in vain."""
        self._worker["alive_ns"] = 0

    def set_ready(self, slot: int, kernel_id: int) -> None:
        """Say that this kernel can be asked for; 0: none in this slot."""
        self._worker["ready"][slot] = kernel_id

    def wait(self, seconds: float) -> Request | None:
        """The next request; None where none came in so long, or somebody poked."""
        word = self._request["number"].reshape(1)
        self.open()
        if int(word[0]) in (0, self._seen):
            wait(word, int(word[0]) & _LOW, seconds)
        number = int(word[0])
        if number in (0, self._seen):
            return None
        request = self._read(number)
        if int(word[0]) != number:
            return None  # it was given up, and another one is being written
        self._seen = number
        return request

    def poke(self) -> None:
        """Have `wait` return, from another thread."""
        wake(self._request["number"].reshape(1))

    def answer(self, request: Request, state: NDArray[np.uint64] | None) -> None:
        """All rounds were done, and what they stored is staged; None: none were."""
        worker = self._worker
        worker["rounds"] = 0 if state is None else request.rounds
        if state is not None:
            worker["state"] = state
        worker["answered"] = request.number  # last: what it says is written
        wake(worker["answered"].reshape(1))
        self.open()

    def stage(self, at: int, content: NDArray[np.uint8]) -> None:
        """Put stored bytes where the request wants them. Raises ValueError where there is no room."""
        self._memory.gpu_staging[at : at + len(content)] = content

    def _read(self, number: int) -> Request | None:
        """None where it makes no sense, as one that is being written anew does."""
        one, most = self._request.copy(), layout().constants["GPU_PAGES"]
        streams = []
        for stream in one["stream"][: int(one["streams"])]:
            first, size, at, count = (int(stream[name]) for name in ("first", "bytes", "page", "pages"))
            pages = one["page"][at : at + count].astype(np.uint32)
            reaches = (first + size - 1) // PAGE - first // PAGE + 1 if size else 0
            if not size or at + count > most or count != reaches or (pages >= self._memory.pages).any():
                return None
            streams.append(Asked(first, size, pages, bool(stream["stores"]), int(stream["staged"])))
        if int(one["slot"]) >= layout().constants["MAX_KERNELS"] or not int(one["rounds"]):
            return None
        return Request(number, int(one["id"]), int(one["slot"]), int(one["rounds"]), one["state"], tuple(streams))
