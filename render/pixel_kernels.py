"""Kernels of the Pixel CPU that are run again and again over pages that stay on the GPU: arrays in, arrays out.

What a page held when it was sent is kept here as well and compared before each run: what is the same stays there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import wgpu
from numpy.typing import NDArray

from render.device import gpu_work
from render.errors import OutOfVideoMemory
from render.pixel_cpu import BadShader

PAGE = 4096
CAPACITY_BYTES = 256 << 20
"""Of pages that stay, or what the device lets a shader see, whichever is less."""
_SLACK = 16
"""Bytes behind the last page: words are read whole."""
_FEW = 64
"""Pieces that are sent one by one; where more have changed, all between them is sent as well."""
_FEWEST_BYTES = 1 << 16


@dataclass(slots=True)
class _Extent:
    """A run of pages on the GPU."""

    offset: int
    held: NDArray[np.uint64]
    """(n, 512): what the GPU has of them."""


@dataclass(slots=True)
class _Buffer:
    """A buffer that grows."""

    usage: wgpu.BufferUsage
    buffer: wgpu.GPUBuffer | None = None


@dataclass(slots=True)
class Sent:
    """What was sent to the GPU, for whoever measures."""

    bytes_: int = 0
    compared_bytes: int = 0


@dataclass(slots=True)
class _Pipeline:
    pipeline: wgpu.GPUComputePipeline
    layout: wgpu.GPUBindGroupLayout
    stores: bool


class PixelKernels:
    """For the device's thread."""

    def __init__(self, device: wgpu.GPUDevice, capacity_bytes: int = CAPACITY_BYTES) -> None:
        """Raises DeviceLost."""
        self._device = device
        most = int(device.limits["max-storage-buffer-binding-size"])
        self._capacity = min(capacity_bytes, most - _SLACK) // PAGE * PAGE
        self._extents: dict[bytes, _Extent] = {}
        self._end = 0
        self._pipelines: dict[int, _Pipeline] = {}
        self.sent = Sent()
        usage = wgpu.BufferUsage
        storage = usage.STORAGE | usage.COPY_DST | usage.COPY_SRC
        self._given, self._found = _Buffer(storage), _Buffer(storage)
        self._back = _Buffer(usage.MAP_READ | usage.COPY_DST)
        with gpu_work("make room for kernels"):
            self._memory = device.create_buffer(size=self._capacity + _SLACK, usage=storage)

    def compile(self, key: int, code: str, *, stores: bool) -> None:
        """Have a kernel under this number: memory, what it is given, what it found. Raises BadShader, DeviceLost."""
        stage = wgpu.ShaderStage.COMPUTE
        kinds = ("storage" if stores else "read-only-storage", "read-only-storage", "storage")
        entries = [{"binding": n, "visibility": stage, "buffer": {"type": kind}} for n, kind in enumerate(kinds)]
        with gpu_work("compile a kernel"):
            layout = self._device.create_bind_group_layout(entries=entries)
            try:
                pipeline = self._device.create_compute_pipeline(
                    layout=self._device.create_pipeline_layout(bind_group_layouts=[layout]),
                    compute={"module": self._device.create_shader_module(code=code), "entry_point": "main"},
                )
            except wgpu.GPUValidationError as error:
                raise BadShader(f"The kernel's shader is refused: {error}") from error
        self._pipelines[key] = _Pipeline(pipeline, layout, stores)

    def forget(self, key: int) -> None:
        """Let go of a kernel."""
        self._pipelines.pop(key, None)

    def place(self, keys: Sequence[bytes], contents: Sequence[NDArray[np.uint8]]) -> list[int]:
        """Have runs of pages (n, 4096) on the GPU as they are now; where each begins, in bytes.

        `keys`: a name for each; the same name has as many pages each time. They stay until room is needed, and hold
        for the next `run`. Raises OutOfVideoMemory, DeviceLost.
        """
        new = sum(content.nbytes for key, content in zip(keys, contents, strict=True) if key not in self._extents)
        if self._end + new > self._capacity:
            self._extents.clear()
            self._end = 0
            if sum(content.nbytes for content in contents) > self._capacity:
                raise OutOfVideoMemory(sum(content.nbytes for content in contents), "a kernel's pages")
        with gpu_work("send a kernel's pages"):
            return [self._placed(key, content) for key, content in zip(keys, contents, strict=True)]

    def _placed(self, key: bytes, content: NDArray[np.uint8]) -> int:
        words = np.ascontiguousarray(content).reshape(-1, PAGE).view(np.uint64)
        extent = self._extents.get(key)
        self.sent.compared_bytes += words.nbytes
        if extent is None:
            extent = self._extents[key] = _Extent(self._end, words.copy())
            self._end += words.nbytes
            self._send(extent, 0, len(words))
            return extent.offset
        changed = np.flatnonzero((words != extent.held).any(axis=1))
        if len(changed):
            extent.held[changed] = words[changed]
            starts = changed[np.flatnonzero(np.diff(changed, prepend=-2) != 1)]
            ends = changed[np.flatnonzero(np.diff(changed, append=len(words) + 1) != 1)] + 1
            if len(starts) > _FEW:
                starts, ends = starts[:1], ends[-1:]
            for first, end in zip(starts.tolist(), ends.tolist(), strict=True):
                self._send(extent, first, end)
        return extent.offset

    def _send(self, extent: _Extent, first: int, end: int) -> None:
        self._device.queue.write_buffer(self._memory, extent.offset + first * PAGE, extent.held[first:end])
        self.sent.bytes_ += (end - first) * PAGE

    def run(
        self,
        key: int,
        given: NDArray[np.uint32],
        found: NDArray[np.uint32],
        workgroups: int,
        wanted: Sequence[tuple[int, int]] = (),
    ) -> tuple[NDArray[np.uint32], list[NDArray[np.uint8]]]:
        """Run a kernel; the third buffer after it, and of memory the `wanted` bytes, (offset, size) each.

        `found`: what the third buffer holds at first. Raises DeviceLost.
        """
        with gpu_work("run a kernel"):
            return self._run(self._pipelines[key], given, found, workgroups, wanted)

    def _run(
        self,
        kernel: _Pipeline,
        given: NDArray[np.uint32],
        found: NDArray[np.uint32],
        workgroups: int,
        wanted: Sequence[tuple[int, int]],
    ) -> tuple[NDArray[np.uint32], list[NDArray[np.uint8]]]:
        device = self._device
        given_buffer = self._of(self._given, given.nbytes)
        found_buffer = self._of(self._found, found.nbytes)
        device.queue.write_buffer(given_buffer, 0, np.ascontiguousarray(given))
        device.queue.write_buffer(found_buffer, 0, found)
        cuts, size = [], found.nbytes
        for offset, count in wanted:
            first, end = offset // 4 * 4, -(-(offset + count) // 4) * 4
            cuts.append((first, end - first, size, offset - first, count))
            size += end - first
        back = self._of(self._back, size)
        entries = [
            {"binding": 0, "resource": {"buffer": self._memory}},
            {"binding": 1, "resource": {"buffer": given_buffer, "offset": 0, "size": given.nbytes}},
            {"binding": 2, "resource": {"buffer": found_buffer, "offset": 0, "size": found.nbytes}},
        ]
        encoder = device.create_command_encoder()
        compute = encoder.begin_compute_pass()
        compute.set_pipeline(kernel.pipeline)
        compute.set_bind_group(0, device.create_bind_group(layout=kernel.layout, entries=entries))
        compute.dispatch_workgroups(workgroups)
        compute.end()
        encoder.copy_buffer_to_buffer(found_buffer, 0, back, 0, found.nbytes)
        for first, count, at, _, _ in cuts:
            encoder.copy_buffer_to_buffer(self._memory, first, back, at, count)
        device.queue.submit([encoder.finish()])
        back.map_sync("READ", 0, size)
        try:
            content = np.frombuffer(back.read_mapped(0, size, copy=False), np.uint8).copy()
        finally:
            back.unmap()
        stored = []
        for first, count, at, skipped, size_wanted in cuts:
            self._note(first, content[at : at + count])
            stored.append(content[at + skipped : at + skipped + size_wanted])
        return content[: found.nbytes].view(np.uint32), stored

    def _note(self, first: int, content: NDArray[np.uint8]) -> None:
        """What the GPU has now of the run that these bytes are in."""
        for extent in self._extents.values():
            at = first - extent.offset
            if 0 <= at < extent.held.nbytes:
                extent.held.reshape(-1).view(np.uint8)[at : at + len(content)] = content
                return

    def _of(self, one: _Buffer, size: int) -> wgpu.GPUBuffer:
        if one.buffer is None or one.buffer.size < size:
            if one.buffer is not None:
                one.buffer.destroy()
            one.buffer = self._device.create_buffer(
                size=max(_FEWEST_BYTES, 1 << (size - 1).bit_length()), usage=one.usage
            )
        return one.buffer

    def destroy(self) -> None:
        """Let go of the GPU's memory."""
        for one in (self._given, self._found, self._back):
            if one.buffer is not None:
                one.buffer.destroy()
                one.buffer = None
        self._memory.destroy()
