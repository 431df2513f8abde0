"""What it costs to bring written pages to the GPU, summaries and all, and how much video memory a guest takes."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from time import perf_counter

import numpy as np
import wgpu

from app.benchmarks.report import Result, at_most
from app.benchmarks.scene import Scene
from app.benchmarks.turns import in_turns

_SOME_PAGES, _MANY_PAGES = 1600, 16384
_SOME_BAR, _MANY_BAR = at_most(8.0), at_most(3.0)
_MEMORY_BARS = {"1gib": at_most(1.3)}
_LEAST_TURNS = 7


def upload_results(scene: Scene, seconds: float) -> list[Result]:
    """Dirty pages to the GPU, ready to be marched, against writing the same bytes into a buffer."""
    store, fence, device = scene.store, scene.fence, scene.view.device
    rng = np.random.default_rng(0)

    def upload(count: int) -> Callable[[], None]:
        count = min(count, store.n_pages)
        pages = np.sort(rng.choice(store.n_pages, count, replace=False)).astype(np.uint32)
        data = scene.pages[pages]

        def work() -> None:
            store.upload(pages, data)
            store.settle()
            fence.wait()

        return work

    plain = scene.pages[:_MANY_PAGES]
    buffer = device.create_buffer(size=plain.nbytes, usage=wgpu.BufferUsage.STORAGE | wgpu.BufferUsage.COPY_DST)

    def write() -> None:
        device.queue.write_buffer(buffer, 0, plain)
        fence.wait()

    (some_s,) = in_turns(perf_counter, seconds, upload(_SOME_PAGES), least=_LEAST_TURNS)
    many_s, write_s = in_turns(perf_counter, seconds, upload(_MANY_PAGES), write, least=_LEAST_TURNS)
    buffer.destroy()
    some, many, plainly = map(statistics.median, (some_s, many_s, write_s))
    return [
        Result(f"upload_{_SOME_PAGES}_pages", some * 1e3, "ms", _SOME_BAR),
        Result(f"upload_{len(plain)}_pages", many * 1e3, "ms"),
        Result(f"write_{len(plain)}_pages_plainly", plainly * 1e3, "ms"),
        Result(f"upload_{len(plain)}_pages_to_plain_write", many / plainly, "ratio", _MANY_BAR),
    ]


def video_memory_results(taken_bytes: int, label: str) -> list[Result]:
    """All textures and buffers: the guest's, and the pictures'."""
    return [Result(f"video_memory_{label}", taken_bytes / (1 << 30), "GiB", _MEMORY_BARS.get(label))]
