"""Does looking into the guest's kernel make the window's frames later? The same window with and without, in turns."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, sleep

import psutil

from app.benchmarks.report import Result, at_most
from app.benchmarks.window import OpenedWindow, measure_frames, opened_window
from app.control import send_action
from app.failures import CommandFailed

_WORKER_ARGUMENT = "bridge.kernel.worker"
_CHANNEL_LIMIT_S = 60.0
_SETTLE_S = 0.5
_BAR = at_most(1.1)


def window_results(seconds: float, guest: str = "demo", *, turns: int = 4) -> tuple[list[Result], list[str]]:
    """Frames of a window that shows page classes with its camera turning; and how they were measured, in sentences.

    Without: the processes that look into the kernel are stopped, so that the picture stays the same. Raises
    CommandFailed, ComponentMissing.
    """
    work: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    between: dict[bool, list[float]] = {True: [], False: []}
    with opened_window(guest) as opened:
        _show_classes(opened)
        measure_frames(opened.socket, min(seconds, 2.0), turning=True)  # until the resolution has settled
        for _ in range(turns):
            for looking in (True, False):
                with _looking(opened.pid, looking):
                    sleep(_SETTLE_S)
                    frames = measure_frames(opened.socket, seconds / turns, turning=True)
                work[looking].append((frames["work_p50_s"] * 1e3, frames["work_p99_s"] * 1e3))
                between[looking].append(frames["interval_p99_s"] * 1e3)
        notes = opened.notes
    results = []
    for looking, name in ((True, "with"), (False, "without")):
        p50s, p99s = zip(*work[looking], strict=True)
        results += [
            Result(f"frame_work_p50_{name}_introspection", statistics.median(p50s), "ms"),
            Result(f"frame_work_p99_{name}_introspection", statistics.median(p99s), "ms"),
            Result(f"frame_to_frame_p99_{name}_introspection", statistics.median(between[looking]), "ms"),
        ]
    figures = {result.name: result.value or 0.0 for result in results}
    ratio = figures["frame_work_p99_with_introspection"] / figures["frame_work_p99_without_introspection"]
    results.append(Result("frame_work_p99_with_to_without", ratio, "ratio", _BAR))
    said = (
        f"The window is one and the same, coloured by page class with its camera turning; its process "
        f"that looks into the kernel runs and is stopped in turns, {turns} of each. Figures are medians of the turns'."
    )
    return results, [*notes, said]


def _show_classes(opened: OpenedWindow) -> None:
    """Colour by page class as soon as the first look has come."""
    deadline = monotonic() + _CHANNEL_LIMIT_S
    while monotonic() < deadline:
        if send_action("view.channel", ["class"], socket=opened.socket).get("ok"):
            return
        sleep(0.1)
    raise CommandFailed(f"no kernel was recognised in the window's guest after {_CHANNEL_LIMIT_S:.0f} s")


def workers_of(pid: int) -> list[psutil.Process]:
    """The processes under process `pid` that look into kernels."""
    children = psutil.Process(pid).children(recursive=True)
    return [child for child in children if any(_WORKER_ARGUMENT in argument for argument in child.cmdline())]


@contextmanager
def _looking(window_pid: int, looking: bool) -> Iterator[None]:
    """For the length of the body the window's workers run, or are stopped."""
    workers = workers_of(window_pid)
    if not workers:
        raise CommandFailed("the window has no process that looks into its guest's kernel")
    if not looking:
        for worker in workers:
            worker.suspend()
    try:
        yield
    finally:
        if not looking:
            for worker in workers:
                worker.resume()
