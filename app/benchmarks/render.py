"""`bench render`: what pictures cost here, against VTK and pygfx on the same bytes, and against the project's bars."""

from __future__ import annotations

import wgpu

from app.benchmarks.frames import moving_results, still_results
from app.benchmarks.guest_ram import MIXTURE, guest_like_ram
from app.benchmarks.peers import peer_results
from app.benchmarks.ram_sizes import MIB, sizes_that_fit
from app.benchmarks.report import Report, Result
from app.benchmarks.scene import SIZE_PX, gpu_bytes, shown
from app.benchmarks.uploads import upload_results, video_memory_results
from render.curves import PAGE_SIZE
from render.device import adapter_summary, request_device

# RAM's content, its copy in space, and both once more as the GPU's (which is memory too, in software).
_COPIES_NEEDED = 5.0
_UPLOADS_UP_TO_MIB = 64
_LARGE_FROM_MIB = 1024
_LARGE_SIZE_PX = (1920, 1080)


def run(
    *, sizes_mib: tuple[int, ...] = (64, 1024), seconds_each: float = 5.0, size_px: tuple[int, int] = SIZE_PX
) -> Report:
    """Measures. `seconds_each` is how long each comparison goes on. Raises NoAdapter."""
    device, adapter = request_device()
    results: list[Result] = []
    notes = [
        f"Drawn on {adapter.name} ({adapter.backend}, {adapter.driver}) at {size_px[0]}x{size_px[1]}. Figures are "
        "medians of whole frames, each waited for; what is compared is drawn in turns.",
        f"RAM is made from a seed, in runs of pages as in a Linux guest: {MIXTURE}.",
    ]
    for size_mib, label in sizes_that_fit(sizes_mib, _COPIES_NEEDED, notes):
        found, said = _of_one_size(device, size_mib, label, seconds_each, size_px)
        results += found
        notes += said
    return Report("render", tuple(results), notes=tuple(dict.fromkeys(notes)))


def _of_one_size(
    device: wgpu.GPUDevice, size_mib: int, label: str, seconds: float, size_px: tuple[int, int]
) -> tuple[list[Result], list[str]]:
    is_software = adapter_summary(device).is_software
    pages = guest_like_ram(size_mib * MIB // PAGE_SIZE)
    before = gpu_bytes()
    with shown(device, pages, size_px) as scene:
        results = moving_results(scene, label, seconds, is_software=is_software)
        results += video_memory_results(gpu_bytes() - before, label)
        if size_mib <= _UPLOADS_UP_TO_MIB:
            results += upload_results(scene, seconds)
        compared, notes = peer_results(scene, label, seconds)
        results += compared
    if size_mib >= _LARGE_FROM_MIB and not is_software:
        with shown(device, pages, _LARGE_SIZE_PX) as scene:
            results += still_results(scene, label, seconds)
    return results, notes
