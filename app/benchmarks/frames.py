"""Frames of our own view: while the camera turns, at the resolution that fits the budget, and whole ones."""

from __future__ import annotations

import statistics
from dataclasses import replace
from time import monotonic, perf_counter

from app.benchmarks.report import Bar, Result, at_most
from app.benchmarks.scene import KEY, Scene, pass_results
from app.benchmarks.turns import in_turns, percentile
from render.cut import Cut, Plane
from render.look import MODES
from render.timing import pass_clock

_WARM_UP_FRAMES = 25  # until the resolution has settled
_LEAST_FRAMES = 60
_TURN_DEGREES = 2.0
_SOFTWARE_BAR, _GPU_BAR = at_most(33.0), at_most(16.0)
_WHOLE_FRAME_BAR = at_most(8.0)


def moving_results(scene: Scene, label: str, seconds: float, *, is_software: bool) -> list[Result]:
    """Every mode while the camera turns: what a person feels."""
    bar = moving_bar(is_software=is_software)
    results = []
    for mode in MODES:
        scene.view.look = replace(scene.view.look, mode=mode)
        scene.view.set_cut(KEY, middle_planes(scene) if mode == "slice" else Cut())
        times_s = moving_times(scene, seconds)
        name = f"{mode}_{label}_moving"
        results += [
            Result(f"{name}_p50", statistics.median(times_s) * 1e3, "ms"),
            Result(f"{name}_p95", percentile(times_s, 95) * 1e3, "ms", bar),
            *pass_results(scene.view.device, name),
        ]
    scene.view.set_cut(KEY, Cut())
    return results


def moving_bar(*, is_software: bool) -> Bar:
    """How long all but one of twenty frames may take while the camera moves, in ms."""
    return _SOFTWARE_BAR if is_software else _GPU_BAR


def moving_times(scene: Scene, seconds: float) -> list[float]:
    """What frames take, in seconds, while the camera turns for so long, once the resolution has settled."""
    for _ in range(_WARM_UP_FRAMES):
        _turned_frame(scene)
    pass_clock(scene.view.device).take()
    times_s: list[float] = []
    end = monotonic() + seconds
    while monotonic() < end or len(times_s) < _LEAST_FRAMES:
        started = perf_counter()
        _turned_frame(scene)
        times_s.append(perf_counter() - started)
    return times_s


def still_results(scene: Scene, label: str, seconds: float) -> list[Result]:
    """Every mode at full resolution: for machines whose GPU does that in a frame."""
    width, height = scene.view.size_px
    results = []
    with scene.at_full_resolution():
        for mode in MODES:
            scene.view.look = replace(scene.view.look, mode=mode)
            scene.view.set_cut(KEY, middle_planes(scene) if mode == "slice" else Cut())
            (times_s,) = in_turns(perf_counter, seconds, scene.whole_frame, least=5)
            results.append(
                Result(f"{mode}_{label}_{width}x{height}", statistics.median(times_s) * 1e3, "ms", _WHOLE_FRAME_BAR)
            )
    scene.view.set_cut(KEY, Cut())
    return results


def middle_planes(scene: Scene) -> Cut:
    """The three planes through the volume's middle."""
    x, y, z = scene.store.shape_voxels
    return Cut((Plane("x", x / 2), Plane("y", y / 2), Plane("z", z / 2)))


def _turned_frame(scene: Scene) -> None:
    scene.view.camera.orbit(_TURN_DEGREES, 0.0)
    scene.view.draw(monotonic())
    scene.fence.wait()
