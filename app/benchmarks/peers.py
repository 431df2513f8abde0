"""Whole frames of ours against the same frames of VTK and pygfx.

The same bytes, the same rays, the same size of picture. Ours are frames as the window shows them: march, frame lines,
labels, ground; a peer's frame has nothing but its volume.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from time import perf_counter

import numpy as np

from app.benchmarks.peer_pygfx import PygfxPeer, Way
from app.benchmarks.peer_vtk import VtkPeer
from app.benchmarks.report import Bar, NotMeasured, Result, at_most
from app.benchmarks.scene import Scene, Volume, coverage, in_space, opacity_of_bytes
from app.benchmarks.turns import in_turns
from render.look import Mode

_TRANSLUCENT_BAR = at_most(0.6)
_SOLID_BAR, _SOLID_LARGE_BAR = at_most(0.08), at_most(0.02)
_MIP_BAR = at_most(0.7)
_COVERAGE_BAR = at_most(0.02)  # of 1: how far two pictures of "equal opacity" may differ on the mean
_LARGE_BYTES = 1 << 30
_LEAST_FRAMES = 5


def peer_results(scene: Scene, label: str, seconds: float) -> tuple[list[Result], list[str]]:
    """Every mode that a peer has too; and what was matched, in sentences."""
    large = scene.pages.nbytes >= _LARGE_BYTES
    volume = in_space(scene.store, scene.pages)
    notes: list[str] = []
    with scene.at_full_resolution():
        results = [] if large else _translucent(scene, volume, label, seconds, notes)
        results += _pygfx(scene, volume, label, seconds, large=large)
    notes.append(
        "pygfx is measured as it comes (its renderer draws four fragments a pixel; MIP with the nearest voxel), and "
        "with one sample a pixel of the nearest voxel, its isosurface at the lowest byte above 0."
    )
    return results, notes


def _translucent(scene: Scene, volume: Volume, label: str, seconds: float, notes: list[str]) -> list[Result]:
    name, to_peer = f"translucent_{label}", f"translucent_{label}_to_vtk"
    differs = f"{to_peer}_coverage_difference"
    view = scene.view
    view.look = replace(view.look, mode="translucent")
    ours = Result(name, _median_ms(scene.whole_frame, seconds), "ms")
    try:
        with VtkPeer(volume, view.camera, view.size_px, opacity_of_bytes(view.look)) as peer:
            our_s, peer_s = in_turns(perf_counter, seconds, scene.whole_frame, peer.frame, least=_LEAST_FRAMES)
            our_cover, peer_cover = coverage(view), peer.coverage()
    except NotMeasured as error:
        return [
            ours,
            Result(f"{name}_vtk", None, "ms", why=str(error)),
            Result(to_peer, None, "ratio", _TRANSLUCENT_BAR, why=str(error)),
            Result(differs, None, "of 1", _COVERAGE_BAR, why=str(error)),
        ]
    notes.append(
        f"VTK draws with {peer.driver}: vtkOpenGLGPUVolumeRayCastMapper, composite, a sample a voxel's length, nearest "
        f"voxel, no shading, and for each byte the same opacity over a length. Of the ground the pictures hide "
        f"{our_cover.mean():.4f} (ours) and {peer_cover.mean():.4f} (VTK)."
    )
    return [
        *_compared(name, "vtk", our_s, peer_s, _TRANSLUCENT_BAR),
        Result(differs, float(np.abs(our_cover - peer_cover).mean()), "of 1", _COVERAGE_BAR),
    ]


def _pygfx(scene: Scene, volume: Volume, label: str, seconds: float, *, large: bool) -> list[Result]:
    rows: list[tuple[Mode, Way, Way, Bar | None]] = [
        ("solid", "iso", "iso_one_sample", _SOLID_LARGE_BAR if large else _SOLID_BAR),
        ("mip", "mip", "mip_one_sample", None if large else _MIP_BAR),
    ]
    view, results = scene.view, []
    try:
        with PygfxPeer(view.device, volume, view.camera, view.size_px) as peer:
            for mode, usual, one_sample, bar in rows:
                view.look = replace(view.look, mode=mode)
                ours_s, usual_s, one_sample_s = in_turns(
                    perf_counter,
                    seconds,
                    scene.whole_frame,
                    partial(peer.frame, usual),
                    partial(peer.frame, one_sample),
                    least=_LEAST_FRAMES,
                )
                name = f"{mode}_{label}"
                results += _compared(name, f"pygfx_{usual}", ours_s, usual_s, bar)
                results += _compared(name, f"pygfx_{one_sample}", ours_s, one_sample_s, None)[1:]
    except NotMeasured as error:
        for mode, usual, _, bar in rows:
            view.look = replace(view.look, mode=mode)
            name = f"{mode}_{label}"
            results += [
                Result(name, _median_ms(scene.whole_frame, seconds), "ms"),
                Result(f"{name}_pygfx_{usual}", None, "ms", why=str(error)),
                Result(f"{name}_to_pygfx_{usual}", None, "ratio", bar, why=str(error)),
            ]
    return results


def _median_ms(frame: Callable[[], object], seconds: float) -> float:
    (times_s,) = in_turns(perf_counter, seconds, frame, least=_LEAST_FRAMES)
    return statistics.median(times_s) * 1e3


def _compared(name: str, peer: str, our_s: list[float], peer_s: list[float], bar: Bar | None) -> list[Result]:
    ours, theirs = statistics.median(our_s), statistics.median(peer_s)
    return [
        Result(name, ours * 1e3, "ms"),
        Result(f"{name}_{peer}", theirs * 1e3, "ms"),
        Result(f"{name}_to_{peer}", ours / theirs, "ratio", bar),
    ]
