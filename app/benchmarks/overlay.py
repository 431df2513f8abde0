"""`bench overlay`: what highlights cost: frames while the camera moves, as a person has them, with 10,000 regions lit,
and whole frames with 10,000, with one and with none, drawn in turns.
"""

from __future__ import annotations

import statistics
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from app.benchmarks.frames import moving_bar, moving_times
from app.benchmarks.guest_ram import MIXTURE, guest_like_ram
from app.benchmarks.report import Report, Result, at_most
from app.benchmarks.scene import SIZE_PX, Scene, shown
from app.benchmarks.turns import percentile
from app.highlights import COLOURS
from render.curves import PAGE_SIZE
from render.device import request_device
from render.look import Look, Mode
from render.palettes import linear_from_hex

MIB = 1 << 20
_SIZE_MIB = 128
_REGIONS = 10_000
_BAR = 1.1
_MODES: tuple[Mode, ...] = ("solid", "translucent", "mip")


def run(
    *, size_mib: int = _SIZE_MIB, regions: int = _REGIONS, seconds_each: float = 6.0, size_px: tuple[int, int] = SIZE_PX
) -> Report:
    """Measures. `seconds_each` is how long each comparison goes on. Raises NoAdapter."""
    device, adapter = request_device()
    n_pages = size_mib * MIB // PAGE_SIZE
    many, one = lit_regions(n_pages, regions), lit_regions(n_pages, 1)
    colours = np.array([linear_from_hex(colour) for colour in COLOURS])
    bar = moving_bar(is_software=adapter.is_software)
    results: list[Result] = []
    with shown(device, guest_like_ram(n_pages), size_px) as scene:
        for mode in _MODES:
            scene.view.look = Look(mode=mode)
            with scene.at_full_resolution():
                took = _in_turns(scene, {"none": None, "one": one, "many": many}, colours, seconds_each)
            none_ms, few_ms, many_ms = (took[name] * 1000 for name in ("none", "one", "many"))
            results += [
                Result(f"overlay.{mode}.none_ms", none_ms, "ms"),
                Result(f"overlay.{mode}.one_ms", few_ms, "ms"),
                Result(f"overlay.{mode}.many_ms", many_ms, "ms"),
                Result(f"overlay.{mode}.many_over_none", many_ms / none_ms, "", at_most(_BAR)),
                Result(f"overlay.{mode}.many_over_one", many_ms / few_ms, ""),
            ]
            for name, lit in (("none", None), ("many", many)):
                scene.store.set_highlights(lit, colours)
                moving_s = moving_times(scene, seconds_each / 2)
                results += [
                    Result(f"overlay.{mode}.{name}_moving_p95", percentile(moving_s, 95) * 1000, "ms", bar),
                    Result(f"overlay.{mode}.{name}_moving_scale", scene.view.scale, ""),
                ]
    notes = (
        f"Drawn on {adapter.name} ({adapter.backend}, {adapter.driver}) at {size_px[0]}x{size_px[1]}, whole frames at "
        "full resolution, each waited for, drawn in turns; the least of each counts. Moving frames are drawn at the "
        "resolution that fits the frame, as in the window: its share of the full one, across and down, is the scale.",
        f"{size_mib} MiB of RAM, made from a seed, in runs of pages as in a Linux guest: {MIXTURE}. {regions:,} "
        f"regions of one to three pages in {len(COLOURS)} highlights, against one region and none.",
    )
    return Report("overlay", tuple(results), notes=notes)


def lit_regions(n_pages: int, regions: int) -> NDArray[np.uint8]:
    """(n_pages,) so many runs of pages, none next to another of its highlight, in turns of the highlights' numbers."""
    every = n_pages / regions
    index = np.zeros(n_pages, np.uint8)
    rng = np.random.default_rng(7)
    lengths = rng.integers(1, max(2, min(4, int(every))), regions)
    for number, length in enumerate(lengths.tolist()):
        begin = int(number * every)
        index[begin : begin + length] = 1 + number % len(COLOURS)
    return index


def _in_turns(
    scene: Scene, sets: dict[str, NDArray[np.uint8] | None], colours: NDArray[np.float64], seconds: float
) -> dict[str, float]:
    """The least seconds that a whole frame takes with each, which are drawn one after another again and again."""
    took: dict[str, list[float]] = {name: [] for name in sets}
    ends_s = monotonic() + seconds

    def turn(name: str) -> None:
        scene.store.set_highlights(sets[name], colours)
        scene.whole_frame()  # the first draws what changed, too
        began_s = monotonic()
        scene.whole_frame()
        took[name].append(monotonic() - began_s)

    while monotonic() < ends_s or min(map(len, took.values())) < 3:
        for name in sets:
            turn(name)
    return {name: statistics.quantiles(all_, n=20)[0] if len(all_) > 20 else min(all_) for name, all_ in took.items()}
