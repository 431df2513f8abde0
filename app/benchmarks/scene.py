"""What all pictures of the render benchmark show: one RAM content, on the GPU and in space, before one camera."""

from __future__ import annotations

import gc
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from time import monotonic

import numpy as np
import numpy.typing as npt
import wgpu

from app.benchmarks.report import Result
from render.backdrop import DARK
from render.brick_upload import BATCH_PAGES, loops
from render.bricks import BrickStore
from render.curves import BRICK_SIDE
from render.look import Look
from render.look_table import extinctions_of
from render.timing import pass_clock
from render.view import VolumeView

SIZE_PX = (1280, 720)
KEY = "bench"
_NO_HURRY_S = 10.0  # the longest budget that a view takes
_NUDGE_DEGREES = 0.01  # another picture is due after it, and it looks the same

Volume = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Scene:
    """A store that is filled and a view that shows it whole."""

    store: BrickStore
    view: VolumeView
    pages: npt.NDArray[np.uint8]
    fence: Fence

    def whole_frame(self) -> None:
        """Draw one frame at full resolution, for another camera than before, and wait for the GPU."""
        self.view.camera.orbit(_NUDGE_DEGREES, 0.0)
        self.view.draw(monotonic())
        self.fence.wait()

    @contextmanager
    def at_full_resolution(self) -> Iterator[None]:
        """Within it frames take whatever time they need."""
        budget_s, self.view.frame_budget_s = self.view.frame_budget_s, _NO_HURRY_S
        self.whole_frame()
        try:
            yield
        finally:
            self.view.frame_budget_s = budget_s


class Fence:
    """Waits for the GPU by reading four bytes back: the one way that works everywhere."""

    def __init__(self, device: wgpu.GPUDevice) -> None:
        self._device = device
        self._buffer = device.create_buffer(size=4, usage=wgpu.BufferUsage.COPY_SRC | wgpu.BufferUsage.COPY_DST)

    def wait(self) -> None:
        """Return when all that was submitted is done."""
        self._device.queue.read_buffer(self._buffer)


@contextmanager
def shown(device: wgpu.GPUDevice, pages: npt.NDArray[np.uint8], size_px: tuple[int, int] = SIZE_PX) -> Iterator[Scene]:
    """The pages (n, 4096) uint8 in a store and in a view that looks at all of them."""
    loops.wait()  # a window does without them for its first half second; what is measured is what comes after
    store = BrickStore(device, pages.size)
    view = VolumeView(device, size_px)
    try:
        fence = Fence(device)
        for first in range(0, len(pages), BATCH_PAGES):
            part = pages[first : first + BATCH_PAGES]
            store.upload(np.arange(first, first + len(part), dtype=np.uint32), part, flash=False)
            fence.wait()
        view.add_volume(KEY, store)
        view.camera.fit()
        yield Scene(store, view, pages, fence)
    finally:
        view.destroy()
        store.destroy()


def in_space(store: BrickStore, pages: npt.NDArray[np.uint8]) -> Volume:
    """The same bytes as other programs take them: (z, y, x) uint8, zero where no page is."""
    x, y, z = store.shape_voxels
    bricks = np.zeros((z // BRICK_SIDE, y // BRICK_SIDE, x // BRICK_SIDE, BRICK_SIDE**3), np.uint8)
    places, states = store.curve.bricks_from_pages(len(pages), store.order)
    orders = store.curve.step_tables(4).address
    for state in np.unique(states):
        here = np.flatnonzero(states == state)
        bx, by, bz = places[here].T
        bricks[bz, by, bx] = pages[here][:, orders[state]]
    cut = bricks.reshape(*bricks.shape[:3], BRICK_SIDE, BRICK_SIDE, BRICK_SIDE)
    return np.ascontiguousarray(cut.transpose(0, 3, 1, 4, 2, 5)).reshape(z, y, x)


def opacity_of_bytes(look: Look) -> npt.NDArray[np.float64]:
    """How much a voxel of each byte hides over its own length, (256,): what a peer is given to draw the same."""
    hidden: npt.NDArray[np.float64] = -np.expm1(-extinctions_of(look).astype(np.float64))
    return hidden


def coverage(view: VolumeView) -> npt.NDArray[np.float64]:
    """How much of the ground each pixel hides, (height, width): two pictures, on black ground and on white, tell."""
    on_black, on_white = (_picture_on(view, ground) for ground in ("#000000", "#ffffff"))
    hidden: npt.NDArray[np.float64] = 1.0 - (on_white - on_black).mean(axis=2)
    return hidden.clip(0.0, 1.0)


def _picture_on(view: VolumeView, ground: str) -> npt.NDArray[np.float64]:
    """The finished picture in linear light, (height, width, 3)."""
    view.set_background(
        replace(DARK, top=ground, bottom=ground, middle=ground, line="#000000", text="#000000", light=0.0, shadow=0.0)
    )
    view.finish(monotonic())
    picture: npt.NDArray[np.float64] = view.screenshot()[..., :3] / 255
    view.set_background(DARK)
    linear: npt.NDArray[np.float64] = np.where(picture <= 0.04045, picture / 12.92, ((picture + 0.055) / 1.055) ** 2.4)
    return linear


def pass_results(device: wgpu.GPUDevice, name: str) -> list[Result]:
    """What each pass took by the GPU's own clock, in the batches that came back since the last call."""
    taken: dict[str, list[float]] = {}
    for timings in pass_clock(device).take():
        for pass_name, seconds in timings.items():
            if "/" not in pass_name:  # the parts of a pass: one volume's, say
                taken.setdefault(pass_name, []).append(seconds)
    return [
        Result(f"{name}_gpu_{pass_name}", statistics.median(seconds) * 1e3, "ms")
        for pass_name, seconds in taken.items()
    ]


def gpu_bytes() -> int:
    """What all textures and buffers of this process take, as the GPU was asked for them."""
    gc.collect()
    return int(wgpu.diagnostics.object_counts.get_dict()["total"]["resource_mem"])
