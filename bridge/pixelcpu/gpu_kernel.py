"""A loop's kernel for the GPU: its shader, and how a request becomes the shader's buffers and its results an answer.

Pages that follow each other for the guest are gathered into one run, wherever in RAM they lie, so that a stream's bytes
are in one piece of the shader's memory. Streams that share pages share a run: what one stores another one finds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.pixelcpu.errors import Unsupported
from bridge.pixelcpu.gpu_mailbox import PAGE, Asked, Request
from bridge.pixelcpu.isa import FLAGS_MASK, N_REGISTERS, Shape
from bridge.pixelcpu.microcode import Program
from bridge.pixelcpu.native_loop import NativeLoop, NativeStream
from bridge.pixelcpu.wgsl import GROUP, Region, Shader, shader

MOST_GROUPS = 256
"""Workgroups: each of their invocations does several lanes of a long loop, and folds them for each reduction."""


@dataclass(frozen=True, slots=True)
class GpuKernel:
    """Can be sent to another process, with all that whoever runs it has to know."""

    made: Shader
    access_streams: tuple[int, ...]
    streams: tuple[NativeStream, ...]
    writes: frozenset[int]
    """Words of the state that rounds change; others are not to be believed."""

    @property
    def stores(self) -> bool:
        """Whether its shader writes to memory."""
        return self.made.stores

    def given(self, request: Request, gathered: Gathered, offsets: Sequence[int]) -> NDArray[np.uint32]:
        """The shader's second buffer; `offsets`: where each of the runs lies in its memory. Raises PixelError."""
        regions = []
        for number in self.access_streams:
            asked, (run, at) = request.streams[number], gathered.places[number]
            regions.append(Region(asked.first, asked.size, offsets[run] + at))
        registers = request.state[:N_REGISTERS].copy()
        return self.made.given(request.rounds, registers, int(request.state[N_REGISTERS]) & FLAGS_MASK, regions)

    @staticmethod
    def groups(rounds: int) -> int:
        """Workgroups for so many rounds."""
        return min(MOST_GROUPS, -(-rounds // GROUP))

    def after(self, request: Request, found: NDArray[np.uint32]) -> NDArray[np.uint64]:
        """(33,) the state after, from the shader's third buffer. Raises PixelError where a lane was outside."""
        registers, flags = self.made.finish(request.rounds, found)
        return np.append(registers, np.uint64(flags))


@dataclass(frozen=True, slots=True)
class Gathered:
    """Where a request's pages are put together."""

    runs: tuple[NDArray[np.uint32], ...]
    """Of each the pages of the RAM file, in order."""
    places: tuple[tuple[int, int], ...]
    """Of each stream the run, and the byte in it, where its bytes begin."""


def gathered(streams: Sequence[Asked]) -> Gathered:
    """Put the pages of all streams together. A page that has two addresses is in two runs."""
    if not streams:
        return Gathered((), ())
    virtual = np.concatenate([one.first // PAGE + np.arange(len(one.pages), dtype=np.int64) for one in streams])
    pages = np.concatenate([one.pages for one in streams])
    virtual, where = np.unique(virtual, return_index=True)
    pages = pages[where]
    starts = np.flatnonzero(np.diff(virtual, prepend=virtual[0] - 2) != 1)
    ends = np.append(starts[1:], len(virtual))
    places = []
    for one in streams:
        at = int(np.searchsorted(virtual, one.first // PAGE))
        run = int(np.searchsorted(starts, at, "right")) - 1
        places.append((run, (at - int(starts[run])) * PAGE + one.first % PAGE))
    return Gathered(tuple(pages[a:b] for a, b in zip(starts, ends, strict=True)), tuple(places))


def gpu_kernel(native: NativeLoop, rounds: Program) -> GpuKernel:
    """Of a proved loop, whose rounds need no order. Raises Unsupported."""
    if native.ordered or native.ends_itself:
        raise Unsupported("Its rounds have an order, and the GPU does them side by side")
    if any(i.row.shape is Shape.STORE_IF for i in rounds.instructions):
        raise Unsupported("Whether it stores depends on what it finds, and the GPU's stores are copied as a whole")
    if len(rounds.accesses) != len(native.access_streams):
        raise Unsupported("Which bytes its loads and stores touch is not known one by one")
    return GpuKernel(shader(rounds), native.access_streams, native.streams, native.writes)
