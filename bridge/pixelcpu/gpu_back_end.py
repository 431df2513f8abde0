"""GPU back end as bridge sees it: who has the GPU is asked to try a kernel, and to have it ready for the plugin.

Whoever it is (app/gpu_owner.py), it knows the picture's room, and bridge does not.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from bridge.pixelcpu.errors import PixelError, Unsupported
from bridge.pixelcpu.gpu_kernel import GpuKernel, gpu_kernel

if TYPE_CHECKING:
    from bridge.pixelcpu.gpu_trial import GpuCases
    from bridge.pixelcpu.learned import Learned
    from bridge.pixelcpu.native_loop import GpuRecord


class BackEnd(StrEnum):
    """Who does the rounds that are not left to QEMU."""

    AUTO = "auto"
    """Whoever was measured to be quickest at so many rounds."""
    HOST = "host"
    GPU = "gpu"
    """Where it can; else the host."""


class NoGpu(PixelError):
    """There is no GPU to be had, or the process that has it was lost; the text says why."""


class Gpu(Protocol):
    """Of one machine."""

    @property
    def device(self) -> str:
        """Its name; a record of another one says nothing. Waits until it has begun. Raises NoGpu."""

    def try_out(self, kernel: GpuKernel, cases: tuple[GpuCases, ...]) -> GpuRecord:
        """Run a kernel beside Unicorn. Takes seconds. Raises NoGpu."""

    def load(self, slot: int, kernel_id: int, kernel: GpuKernel) -> None:
        """Have the plugin's kernel of this slot and number ready. Raises NoGpu, PixelError."""

    def drop(self, slot: int) -> None:
        """Have none ready for this slot. Raises NoGpu."""

    def check(self) -> None:
        """Begin anew where it was lost. Raises NoGpu where that is no use."""


def kernel_for_gpu(learned: Learned) -> GpuKernel:
    """The kernel of a loop that was learned. Raises Unsupported."""
    if learned.native is None or learned.rounds is None:
        raise Unsupported("It has no kernel")
    return gpu_kernel(learned.native, learned.rounds)
