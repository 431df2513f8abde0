"""Off-screen window: the same window on a canvas that is no screen, for pictures and for tests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rendercanvas.offscreen import OffscreenRenderCanvas

from app.answers import shown_title
from app.failures import CommandFailed, UsageError
from app.imgui_host import MemoryClipboard
from app.jobs import JobState
from app.shot_look import ShotLook
from app.waiting import LOOK_AFTER_READY_S
from app.window import Window
from app.window_options import WindowOptions
from bridge.machine.discovery import find_record

STEP_S = 0.004
CATCH_UP_S = 1.0
SHOT_LIMIT_S = 90.0


class OffscreenWindow:
    """A window without a screen. Frames are drawn when they are asked for; `with` closes it."""

    def __init__(self, options: WindowOptions, *, pixel_ratio: float = 1.0, keep: bool = True) -> None:
        width, height = options.size
        self.canvas = OffscreenRenderCanvas(size=(width / pixel_ratio, height / pixel_ratio), pixel_ratio=pixel_ratio)
        self.clipboard = MemoryClipboard()
        self.window = Window(self.canvas, options, clipboard=self.clipboard, keep=keep)

    def __enter__(self) -> OffscreenWindow:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self.window.close()
        self.canvas.close()

    def frame(self, count: int = 1) -> None:
        """Tick and draw, whether or not anything changed."""
        for _ in range(count):
            self.window.tick()
            self.window.frame(present=False)

    def send(self, *events: Mapping[str, Any]) -> None:
        """Send input events, each followed by a frame, as a person would."""
        for event in events:
            self.window.on_event(event)
            self.frame()

    def run_until(self, done: Callable[[], bool], limit_s: float, what: str) -> None:
        """Draw frames until `done`. Raises CommandFailed when it takes longer than `limit_s`."""
        deadline = time.monotonic() + limit_s
        while not done():
            if time.monotonic() > deadline:
                raise CommandFailed(f"{what} within {limit_s:.0f} s: {self.why()}")
            if self.window.tick():
                self.window.frame(present=False)
            time.sleep(STEP_S)

    def why(self) -> str:
        """Say what failed or is under way, for an error message."""
        state = self.window.state
        failed = [f"{t.title}: {t.detail}" for t in state.toasts.shown()]
        running = [f"{j.title} ({j.note})" for j in state.jobs.running()]
        return "; ".join(failed + running) or "nothing was reported"

    def show_running(self, name: str) -> None:
        """Look into a machine that runs already, whoever owns it. Raises NoSuchMachine and other MachineErrors."""
        record = find_record(name)
        job = self.window.session.machines.attach(record.control_socket, name)
        self.run_until(lambda: job.wait(0), 10.0, f"{name} could not be looked into")
        if job.state is not JobState.DONE and job.error is not None:
            raise job.error

    def settle(self, limit_s: float) -> None:
        """Draw until the guest is up, all of its memory is shown, and the picture is as sharp as it gets."""
        state = self.window.state
        started = time.monotonic()

        def launched() -> bool:
            if state.launching:
                return False
            machines = state.manager.machines()
            if not machines:
                raise CommandFailed(f"The guest could not be started: {self.why()}")
            return all(m.name in state.stage.feeds for m in machines)

        self.run_until(launched, limit_s, "The guest did not start")
        left = limit_s - (time.monotonic() - started)
        for machine in state.manager.machines():
            expected = machine.record is not None and machine.record.ready_marker is not None
            if expected:
                self.run_until(lambda m=machine: m.ready, left, f"{machine.name} did not come up")  # type: ignore[misc]
        looked = time.monotonic() + LOOK_AFTER_READY_S
        self.run_until(lambda: time.monotonic() > looked and _all_swept(self), left, "The memory was not read")
        caught_up = time.monotonic() + CATCH_UP_S  # a busy guest always has written something more
        while state.stage.feeds.pump(CATCH_UP_S / 4) and time.monotonic() < caught_up:
            pass
        self.sharpen()

    def meet_kernels(self, limit_s: float) -> None:
        """Draw until the kernel of each machine was looked at. Raises CommandFailed where one has none."""
        state = self.window.state
        kernels, names = state.kernels, tuple(state.stage.feeds)
        self.run_until(lambda: all(kernels.sighting(name) for name in names), limit_s, "No kernel was looked at")
        for name in names:
            sighting = kernels.sighting(name)
            if sighting is not None and sighting.problem:
                raise CommandFailed(f"{name}: {sighting.problem}")
        self.frame(2)  # its channels are offered

    def light_up(self, limit_s: float) -> None:
        """Draw until the pages of what is chosen are known. Raises CommandFailed where they cannot be."""
        state = self.window.state

        def known() -> bool:
            return state.chosen is None or state.chosen.pages is not None or bool(state.chosen.problem)

        self.run_until(known, limit_s, "Its pages were not found")
        if state.chosen is not None and not (state.chosen.pages is not None and len(state.chosen.pages)):
            raise CommandFailed(state.chosen.told)

    def ask(self, question: str, limit_s: float, *, fly: bool) -> None:
        """Ask of the machine that is shown, as from the search box, and draw until the answer is there.

        Raises UsageError for what is not understood, CommandFailed where nothing is found that could be lit up.
        """
        session, state = self.window.session, self.window.state
        job = session.answers.ask(question, next(iter(state.stage.feeds)), fly=fly)
        self.run_until(lambda: job.wait(0), limit_s, "No answer came")
        asked = state.queries.latest
        assert asked is not None
        if asked.query is None:
            raise UsageError("\n  ".join([asked.problem, *asked.nearest]))
        if asked.result is None:
            raise CommandFailed(asked.problem)
        if not len(asked.result.pages):
            raise CommandFailed(" ".join([f"{shown_title(asked)} has no pages in memory.", *asked.result.notes]))

    def sharpen(self) -> None:
        """Draw the picture of the volume as well as it gets, and the frame around it."""
        self.frame(3)
        self.window.state.stage.panes.finish(time.monotonic())
        self.window.state.toasts.dismiss()
        self.frame(2)

    def picture(self) -> NDArray[np.uint8]:
        """Return the last frame, (height, width, 4) uint8."""
        return self.window.picture()


def _all_swept(offscreen: OffscreenWindow) -> bool:
    feeds: Iterable[Any] = offscreen.window.state.stage.feeds.values()
    return all(feed.stats.scan.sweeps >= 1 for feed in feeds)


def window_screenshot(
    options: WindowOptions, *, machine: str | None = None, look: ShotLook | None = None
) -> NDArray[np.uint8]:
    """Draw the whole window off-screen, with its guest up and its memory shown, and return the picture.

    The picture is (height, width, 4) uint8. With `machine`, one that runs already is shown instead of launching.
    """
    with OffscreenWindow(options, keep=False) as offscreen:
        if look is not None:
            look.prepare(offscreen.window.session)
        if machine is not None:
            offscreen.show_running(machine)
        else:
            offscreen.window.session.start()
        offscreen.settle(SHOT_LIMIT_S)
        if look is not None:
            if look.asks_kernel:
                offscreen.meet_kernels(SHOT_LIMIT_S)
            look.arrange(offscreen.window.session)
            if look.highlight is not None:
                offscreen.light_up(SHOT_LIMIT_S)
            if look.find is not None:
                offscreen.ask(look.find, SHOT_LIMIT_S, fly=look.camera is None)
            offscreen.sharpen()
        return offscreen.picture()
