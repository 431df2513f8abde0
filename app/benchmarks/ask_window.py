"""From Enter in the search box to the first frame with the answer: its table listed, its pages lit.

Measured in a window that draws off-screen, on the demo guest at work; frames are drawn when the window's own loop would
draw them.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter, sleep

from app.benchmarks.introspect_guest import start_processes
from app.benchmarks.report import Result, at_most
from app.failures import CommandFailed
from app.offscreen import OffscreenWindow
from app.queries import Asked
from app.window_options import WindowOptions
from bridge.machine.machine import Machine

SIZE = (1280, 720)
_LIMIT_S = 180.0
_TICK_S = 1 / 60
"""How often the window's loop looks whether a frame is due; see app/native_loop.py."""
_BAR = at_most(100.0)


@contextmanager
def _own_homes() -> Iterator[None]:
    """Settings, sockets and databases of the benchmark's own: the user's window is none of its business."""
    names = ("XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME")
    before = {name: os.environ.get(name) for name in names}
    with tempfile.TemporaryDirectory(prefix="glassbox-bench-") as folder:
        os.environ |= dict.fromkeys(names, folder)
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name)
                os.environ |= {} if value is None else {name: value}


@dataclass(frozen=True, slots=True)
class Turn:
    """One question, in milliseconds from Enter on."""

    whole: float
    """To the end of the first frame that shows the answer."""
    frames: float
    """Of that, what was spent in drawing frames, from that which takes in the key to that which shows the answer."""
    job: float
    """From the question's being put, in the first of these frames, until its answer was there."""
    answering: float
    """Of that, what the query itself took."""


def window_results(questions: Mapping[str, str], n_tasks: int, *, times: int) -> tuple[list[Result], list[str]]:
    """Ask each question so many times. Raises CommandFailed where the guest or its processes do not come."""
    results: list[Result] = []
    with _own_homes(), OffscreenWindow(WindowOptions(guest_name="demo", size=SIZE, tour=False)) as window:
        window.window.session.start()
        window.settle(_LIMIT_S)
        (machine,) = window.window.state.manager.machines()
        assert isinstance(machine, Machine)
        start_processes(machine, n_tasks)
        window.meet_kernels(_LIMIT_S)
        window.run_until(lambda: _processes(window, machine.name) >= n_tasks, _LIMIT_S, "Its processes were not seen")
        for name, text in questions.items():
            turns = [_ask(window, text) for _ in range(times)]
            whole = statistics.median(turn.whole for turn in turns)
            beside = statistics.median(turn.whole - turn.frames for turn in turns)
            results += [
                Result(f"window_{name}_enter_to_shown_p50", whole, "ms", _BAR),
                Result(f"window_{name}_beside_frames_p50", beside, "ms", _BAR),
                Result(f"window_{name}_job_p50", statistics.median(turn.job for turn in turns), "ms"),
                Result(f"window_{name}_answering_p50", statistics.median(turn.answering for turn in turns), "ms"),
            ]
        device = window.window.state.device_label
    note = (
        f"enter_to_shown: from the key event to the end of the first frame in which the answer is listed and lit, in a "
        f"window of {SIZE[0]}x{SIZE[1]} off-screen on {device}; medians of {times}. It takes two frames at least: one "
        "that takes in the key, one that shows the answer. beside_frames: the same without the time in which frames "
        "were drawn, which is what is left where a GPU draws them. job: from the question's being put until its answer "
        "was there, in a thread beside the frames; answering: of that, the query itself."
    )
    return results, [note]


def _processes(window: OffscreenWindow, machine: str) -> int:
    sighting = window.window.state.kernels.sighting(machine)
    return 0 if sighting is None or sighting.processes is None else len(sighting.processes)


def _ask(window: OffscreenWindow, text: str) -> Turn:
    """Put a question into the search box, wait until it is understood, press Enter, draw until its answer is shown."""
    state = window.window.state
    before = state.queries.latest
    state.actions.run("window.search", (text,))
    machine = next(iter(state.stage.feeds))

    def understood() -> bool:
        reading = state.readings.of(text, machine)
        return reading is not None and reading.text == text

    window.run_until(understood, _LIMIT_S, "The question was not read")
    window.frame()
    began, drawn = perf_counter(), 0.0
    window.window.on_event({"event_type": "key_down", "key": "Enter"})
    while not _shown(window, before):
        if perf_counter() - began > _LIMIT_S:
            raise CommandFailed(f"The answer was not shown within {_LIMIT_S:.0f} s")
        if window.window.tick():
            start = perf_counter()
            window.window.frame(present=False)
            drawn += perf_counter() - start
        else:
            sleep(_TICK_S)
    ended = perf_counter()
    window.send({"event_type": "key_up", "key": "Enter"})
    asked = state.queries.latest
    assert asked is not None
    assert asked.result is not None
    job_s = asked.answered_s - asked.asked_s
    return Turn((ended - began) * 1e3, drawn * 1e3, job_s * 1e3, asked.result.elapsed_s * 1e3)


def _shown(window: OffscreenWindow, before: Asked | None) -> bool:
    """Whether the frame that was drawn last lists another answer than that before, and lights it up."""
    state = window.window.state
    asked, results = state.queries.latest, state.results
    if asked is None or asked is before or asked.result is None or results.number != asked.number:
        return False
    chosen = state.chosen
    lit = chosen is not None and chosen.pages is asked.result.pages
    return lit and results.table.model.rows is asked.rows
