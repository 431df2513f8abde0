"""Runs compute shaders of the Pixel CPU: text and arrays in, arrays out. What they mean is not known here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import wgpu
from numpy.typing import NDArray

from render.device import gpu_work
from render.errors import OutOfVideoMemory, RenderError

_BufferUsage = wgpu.BufferUsage


class BadShader(RenderError):
    """A text that the GPU's driver does not take."""


@dataclass(frozen=True, slots=True)
class Binding:
    """A storage buffer: what it holds at first, a whole number of 4-byte words, and whether the shader writes to it."""

    content: NDArray[Any]
    writable: bool = False


class ComputeKernel:
    """A compute shader with the entry point `main` and storage buffers in group 0. For the device's thread."""

    def __init__(self, device: wgpu.GPUDevice, code: str, writable: Sequence[bool]) -> None:
        """`writable`: for each of its buffers. Raises BadShader and DeviceLost."""
        self._device, self._writable = device, tuple(writable)
        entries = [
            {
                "binding": number,
                "visibility": wgpu.ShaderStage.COMPUTE,
                "buffer": {"type": "storage" if written else "read-only-storage"},
            }
            for number, written in enumerate(self._writable)
        ]
        with gpu_work("compile a kernel"):
            self._layout = device.create_bind_group_layout(entries=entries)
            try:
                self._pipeline = device.create_compute_pipeline(
                    layout=device.create_pipeline_layout(bind_group_layouts=[self._layout]),
                    compute={"module": device.create_shader_module(code=code), "entry_point": "main"},
                )
            except wgpu.GPUValidationError as error:
                raise BadShader(f"The kernel's shader is refused: {error}") from error

    def run(self, bindings: Sequence[Binding], workgroups: int) -> list[NDArray[np.uint8]]:
        """Run it over a number of workgroups; what its writable buffers hold then, as bytes (n,), in order.

        Raises OutOfVideoMemory where a buffer is larger than the device lets a shader see, and DeviceLost.
        """
        if [binding.writable for binding in bindings] != list(self._writable):
            raise ValueError("the bindings are not those that the kernel was made for")
        most = int(self._device.limits["max-storage-buffer-binding-size"])
        if not 1 <= workgroups <= int(self._device.limits["max-compute-workgroups-per-dimension"]):
            raise ValueError(f"{workgroups:,} workgroups cannot be run at once")
        for binding in bindings:
            if not binding.content.nbytes or binding.content.nbytes % 4:
                raise ValueError(f"a buffer of {binding.content.nbytes} bytes is no whole number of words")
            if binding.content.nbytes > most:
                raise OutOfVideoMemory(binding.content.nbytes, "a kernel's memory")
        with gpu_work("run a kernel"):
            return self._run(bindings, workgroups)

    def _run(self, bindings: Sequence[Binding], workgroups: int) -> list[NDArray[np.uint8]]:
        device = self._device
        usage = _BufferUsage.STORAGE | _BufferUsage.COPY_DST | _BufferUsage.COPY_SRC
        buffers = []
        try:
            for binding in bindings:
                buffers.append(device.create_buffer(size=binding.content.nbytes, usage=usage))
                device.queue.write_buffer(buffers[-1], 0, np.ascontiguousarray(binding.content))
            entries = [{"binding": n, "resource": {"buffer": buffer}} for n, buffer in enumerate(buffers)]
            encoder = device.create_command_encoder()
            compute = encoder.begin_compute_pass()
            compute.set_pipeline(self._pipeline)
            compute.set_bind_group(0, device.create_bind_group(layout=self._layout, entries=entries))
            compute.dispatch_workgroups(workgroups)
            compute.end()
            device.queue.submit([encoder.finish()])
            return [
                np.frombuffer(device.queue.read_buffer(buffer), np.uint8).copy()
                for buffer, binding in zip(buffers, bindings, strict=True)
                if binding.writable
            ]
        finally:
            for buffer in buffers:
                buffer.destroy()
