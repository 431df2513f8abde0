"""`bench window`: is the window there soon, smooth while a guest works, and cheap while nothing happens?

Measured on the real window. The guest writes memory as fast as it can; the window is measured once left alone, once
with its camera turning, and once more when the guest is paused and nobody touches anything.
"""

import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import psutil

from app.benchmarks.report import Report, Result, at_most
from app.control import ControlError, send_action
from app.failures import CommandFailed, ComponentMissing
from app.screen import screen_problem

START_LIMIT_S = 120.0
BUSY_COMMAND = "while :; do dd if=/dev/urandom of=/tmp/busy bs=64k count=64 2>/dev/null; done &\n"
SIZE = (1280, 720)
_TURN_DEGREES = 2.0
_REST_LIMIT_S = 60.0
_RESTING_FRAMES = 5  # a second: more is drawn while written pages cool down and the picture is refined
_IDLE_BAR = at_most(5.0)


def run(*, seconds_each: float = 15.0, guest: str = "demo") -> Report:
    """Open a window on a busy guest and measure its frames. Raises ComponentMissing without any screen to use."""
    notes = [f"Window of {SIZE[0]}x{SIZE[1]} on a guest that overwrites 4 MiB over and over."]
    with opened_window(guest) as opened:
        notes += opened.notes
        send_action("console.send", [BUSY_COMMAND], socket=opened.socket)
        sleep(2)
        still = measure_frames(opened.socket, seconds_each, turning=False)
        turning = measure_frames(opened.socket, seconds_each, turning=True)
        idle_percent, idle_frames = _idle(opened.pid, opened.socket, seconds_each)
    results = (
        Result("window_answers", opened.answered_s * 1e3, "ms"),
        *_results("still", still),
        *_results("turning", turning),
        Result("idle_core_percent", idle_percent, "% of a core", _IDLE_BAR),
        Result("idle_frames", float(idle_frames), "frames"),
    )
    return Report("window", results, notes=tuple(notes))


@dataclass(frozen=True, slots=True)
class OpenedWindow:
    """A window whose guest is up."""

    pid: int
    socket: Path
    answered_s: float
    """How long after its start it first answered."""
    notes: tuple[str, ...]


@contextmanager
def opened_window(guest: str) -> Iterator[OpenedWindow]:
    """Have a real window with a guest, on a screen of its own where there is none; it has ended afterwards.

    Raises ComponentMissing without any screen to use, CommandFailed when the guest does not come up.
    """
    with ExitStack() as stack:
        environment = dict(os.environ)
        notes: tuple[str, ...] = ()
        if screen_problem() is not None:
            environment["DISPLAY"] = stack.enter_context(_virtual_screen())
            notes = ("No screen here: measured on a virtual one (Xvfb).",)
        private = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="glassbox-bench-")))
        # A directory of its own: the user's window, settings and layout are none of the benchmark's business.
        environment |= {"XDG_RUNTIME_DIR": str(private), "XDG_CONFIG_HOME": str(private / "config")}
        socket = private / "glassbox" / "window.sock"
        command = [sys.executable, "-m", "app", "window", "--guest", guest, "--size", f"{SIZE[0]}x{SIZE[1]}"]
        started_s = monotonic()
        window = subprocess.Popen(
            command,
            env=environment,
            cwd=Path(__file__).resolve().parents[2],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        stack.callback(_close, window, socket)
        up_s, state = _wait_for_guest(window, socket)
        yield OpenedWindow(window.pid, socket, up_s - started_s, (*notes, f"Drawn on {state['device']}."))


def _wait_for_guest(window: "subprocess.Popen[bytes]", socket: Path) -> tuple[float, dict[str, Any]]:
    """When the window first answered, and its state once the guest is up."""
    answered_s = math.inf
    deadline = monotonic() + START_LIMIT_S
    while monotonic() < deadline:
        if window.poll() is not None:
            raise CommandFailed(f"the window ended with code {window.returncode} before the guest was up")
        state = window_state(socket) if socket.exists() else None
        if state is not None:
            answered_s = min(answered_s, monotonic())
            if not state["jobs"] and any(m["state"] == "running" for m in state["machines"]):
                return answered_s, state
        sleep(0.05)
    raise CommandFailed(f"no guest was up in the window after {START_LIMIT_S:.0f} s")


def window_state(socket: Path) -> dict[str, Any] | None:
    """What `window.state` says; None when it does not answer."""
    try:
        result = send_action("window.state", [], socket=socket).get("result")
    except (ControlError, OSError):
        return None
    return result if isinstance(result, dict) else None


def measure_frames(socket: Path, seconds: float, *, turning: bool) -> dict[str, Any]:
    """What the window says of the frames that it draws for so long, left alone or with its camera turning."""
    send_action("window.forget_frames", [], socket=socket)
    end = monotonic() + seconds
    while monotonic() < end:
        if turning:
            send_action("volume.orbit", [_TURN_DEGREES, 0.0], socket=socket)
        else:
            sleep(0.1)
    return _frames(socket)


def _idle(pid: int, socket: Path, seconds: float) -> tuple[float, int]:
    """What the window's own process costs while its guest is paused, and what it draws. QEMU is another process."""
    send_action("machine.pause", [], socket=socket)
    _wait_for_rest(socket)
    send_action("window.forget_frames", [], socket=socket)
    process = psutil.Process(pid)
    before, begin = process.cpu_times(), monotonic()
    sleep(seconds)
    after, end = process.cpu_times(), monotonic()
    used_s = float(after.user + after.system - before.user - before.system)
    return 100 * used_s / (end - begin), _frames(socket)["count"]


def _wait_for_rest(socket: Path) -> None:
    """Return once the heat of the last writes has faded, for which there is a setting, and the picture is refined."""
    deadline = monotonic() + _REST_LIMIT_S
    while monotonic() < deadline:
        send_action("window.forget_frames", [], socket=socket)
        sleep(1)
        if _frames(socket)["count"] <= _RESTING_FRAMES:
            return
    raise CommandFailed(f"the window was still drawing {_REST_LIMIT_S:.0f} s after its guest was paused")


def _frames(socket: Path) -> dict[str, Any]:
    state = window_state(socket)
    if state is None:
        raise CommandFailed("the window stopped answering while it was measured")
    frames: dict[str, Any] = state["frames"]
    return frames


def _results(how: str, frames: dict[str, Any]) -> tuple[Result, ...]:
    return (
        Result(f"{how}_frames", float(frames["count"]), "frames"),
        Result(f"{how}_frame_to_frame_p50", frames["interval_p50_s"] * 1e3, "ms"),
        Result(f"{how}_frame_to_frame_p99", frames["interval_p99_s"] * 1e3, "ms"),
        Result(f"{how}_frame_work_p50", frames["work_p50_s"] * 1e3, "ms"),
        Result(f"{how}_frame_work_p99", frames["work_p99_s"] * 1e3, "ms"),
    )


def _close(window: "subprocess.Popen[bytes]", socket: Path) -> None:
    try:
        send_action("window.quit", [], socket=socket)
        window.wait(20)
    except (ControlError, OSError, subprocess.TimeoutExpired):
        window.terminate()
    try:
        window.wait(20)
    except subprocess.TimeoutExpired:
        window.kill()
        window.wait()


@contextmanager
def _virtual_screen() -> Iterator[str]:
    """Give the DISPLAY of an Xvfb that lives as long as the block."""
    program = shutil.which("Xvfb")
    if program is None:
        raise ComponentMissing("there is no screen, and no Xvfb to make one; install xvfb, or run it on a desktop")
    read_end, write_end = os.pipe()
    screen = subprocess.Popen(
        [program, "-displayfd", str(write_end), "-screen", "0", "1600x900x24", "-nolisten", "tcp"],
        pass_fds=[write_end],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(write_end)
    try:
        with os.fdopen(read_end) as answer:
            number = answer.readline().strip()
        if not number:
            raise CommandFailed("Xvfb could not open a virtual screen")
        yield f":{number}"
    finally:
        screen.terminate()
        screen.wait()
