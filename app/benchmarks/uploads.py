"""What it costs to bring written pages to the GPU, summaries and all, and how much video memory a guest takes."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from time import perf_counter

import numpy as np
import wgpu

from app.benchmarks.report import Bar, Result, at_most
from app.benchmarks.scene import Scene
from app.benchmarks.turns import in_turns
from render.device import adapter_summary
from render.timing import pass_clock

_SOME_PAGES, _MANY_PAGES = 1600, 16384
_SOME_BAR, _MANY_BAR = at_most(8.0), at_most(3.0)
_MEMORY_BARS = {"1gib": at_most(1.3)}
_SOME_COMPUTE_BAR, _MANY_COMPUTE_BAR = at_most(1.0), at_most(3.0)  # of a GPU; in software the processor is it
_LEAST_TURNS = 7


def upload_results(scene: Scene, seconds: float) -> list[Result]:
    """Dirty pages to the GPU, ready to be marched, against writing the same bytes into a buffer."""
    device, fence = scene.view.device, scene.fence
    is_software = adapter_summary(device).is_software
    plain = scene.pages[:_MANY_PAGES]
    buffer = device.create_buffer(size=plain.nbytes, usage=wgpu.BufferUsage.STORAGE | wgpu.BufferUsage.COPY_DST)

    def write() -> None:
        device.queue.write_buffer(buffer, 0, plain)
        fence.wait()

    some, many = _upload(scene, _SOME_PAGES), _upload(scene, len(plain))
    (some_s,) = in_turns(perf_counter, seconds, some, least=_LEAST_TURNS)
    some_passes = _compute(device, f"upload_{_SOME_PAGES}_pages", None if is_software else _SOME_COMPUTE_BAR)
    many_s, write_s = in_turns(perf_counter, seconds, many, write, least=_LEAST_TURNS)
    many_passes = _compute(device, f"upload_{len(plain)}_pages", None if is_software else _MANY_COMPUTE_BAR)
    buffer.destroy()
    some_ms, many_ms, write_ms = (statistics.median(times_s) * 1e3 for times_s in (some_s, many_s, write_s))
    return [
        Result(f"upload_{_SOME_PAGES}_pages", some_ms, "ms", _SOME_BAR),
        *some_passes,
        Result(f"upload_{len(plain)}_pages", many_ms, "ms"),
        *many_passes,
        Result(f"write_{len(plain)}_pages_plainly", write_ms, "ms"),
        Result(f"upload_{len(plain)}_pages_to_plain_write", many_ms / write_ms, "ratio", _MANY_BAR),
    ]


def _upload(scene: Scene, count: int) -> Callable[[], None]:
    """What uploads the same `count` pages, scattered over the volume, and waits until they can be marched."""
    store, clock = scene.store, pass_clock(scene.view.device)
    count = min(count, store.n_pages)
    pages = np.sort(np.random.default_rng(0).choice(store.n_pages, count, replace=False)).astype(np.uint32)
    data = scene.pages[pages]

    def work() -> None:
        store.upload(pages, data)
        store.settle()
        scene.fence.wait()
        clock.close_batch()

    return work


def _compute(device: wgpu.GPUDevice, name: str, bar: Bar | None) -> list[Result]:
    """The share of the GPU's own passes, all together, by its clock; nothing where it has none."""
    totals_s = [sum(s for part, s in timings.items() if "/" not in part) for timings in pass_clock(device).take()]
    return [Result(f"{name}_gpu", statistics.median(totals_s) * 1e3, "ms", bar)] if totals_s else []


def video_memory_results(taken_bytes: int, label: str) -> list[Result]:
    """All textures and buffers: the guest's, and the pictures'."""
    return [Result(f"video_memory_{label}", taken_bytes / (1 << 30), "GiB", _MEMORY_BARS.get(label))]
