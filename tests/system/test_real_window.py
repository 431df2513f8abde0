"""The real window on a virtual screen: mouse and keys by XTest, judged by the screen itself.

The guest is the boot sector, whose bytes are known; what the window says of them is compared with its source.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageGrab

from app.control import ControlError, send_action
from app.theme import PALETTES
from bridge.machine.boot_sector import known_bytes
from bridge.machine.guest import MIB

SCREEN = (1280, 800)
SIZE = (1200, 720)
PATIENCE_S = 240.0
"""How long what has to happen is waited for: with other tests and machines beside, seconds become minutes."""
INSIDE = 0x12A

pytestmark = pytest.mark.skipif(
    shutil.which("Xvfb") is None or shutil.which("xdotool") is None,
    reason="needs Xvfb and xdotool, which ./glassbox test installs",
)


@dataclass(slots=True)
class Desktop:
    """A screen with the program's window on it."""

    display: str
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def socket(self) -> Path:
        return self.folder / "run" / "glassbox" / "window.sock"

    def do(self, action: str, *args: object, **named: object) -> Any:
        """Call an action of the window; a refusal fails the test."""
        reply = send_action(action, named or list(args), self.socket)
        assert reply["ok"], reply
        return reply["result"]

    def state(self) -> dict[str, Any]:
        found = self.do("window.state")
        assert isinstance(found, dict)
        return found

    def until(self, done: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE_S
        while not done(state := self.state()):
            assert time.monotonic() < deadline, f"{what}: {json.dumps(state)[:2000]}"
            time.sleep(0.05)
        return state

    def views(self, done: Callable[[list[dict[str, Any]]], bool], what: str) -> list[dict[str, Any]]:
        """The views, as soon as they are so."""
        self.until(lambda _state: done(self.do("view.list")), what)
        found: list[dict[str, Any]] = self.do("view.list")
        return found

    def until_seen(self, done: Callable[[NDArray[np.uint8]], bool], what: str) -> NDArray[np.uint8]:
        """Wait until the screen is so: what an action's answer tells is drawn in one of the next frames."""
        deadline = time.monotonic() + PATIENCE_S
        while not done(seen := self.screen()):
            assert time.monotonic() < deadline, what
            time.sleep(0.1)
        return seen

    def xdotool(self, *words: object) -> None:
        """Send input to the screen, as a person would: no two things within the same moment."""
        subprocess.run(
            ["xdotool", *map(str, words)], check=True, env={**os.environ, "DISPLAY": self.display}, timeout=PATIENCE_S
        )
        time.sleep(0.15)

    def key(self, *chords: str) -> None:
        for chord in chords:
            self.xdotool("key", chord)

    def type(self, text: str) -> None:
        self.xdotool("type", "--delay", "60", text)

    def click(self, x: float, y: float, button: int = 1, times: int = 1) -> None:
        self.xdotool("mousemove", round(x), round(y))
        self.xdotool("click", "--repeat", times, "--delay", 90, button)

    def drag(self, start: tuple[float, float], end: tuple[float, float], button: int = 1) -> None:
        self.xdotool("mousemove", round(start[0]), round(start[1]))
        self.xdotool("mousedown", button)
        for step in (0.25, 0.5, 0.75, 1.0):
            x, y = (a + (b - a) * step for a, b in zip(start, end, strict=True))
            self.xdotool("mousemove", round(x), round(y))
        self.xdotool("mouseup", button)

    def screen(self) -> NDArray[np.uint8]:
        """What is on the screen, by the X server's own account: (height, width, 3) uint8."""
        return np.asarray(ImageGrab.grab(xdisplay=self.display).convert("RGB"))

    def middle(self) -> tuple[float, float]:
        x, y, width, height = self.state()["volume_rect"]
        return x + width / 2, y + height / 2


def _environment(folder: Path, display: str) -> dict[str, str]:
    environment = {
        **os.environ,
        "DISPLAY": display,
        "XDG_RUNTIME_DIR": str(folder / "run"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "XDG_STATE_HOME": str(folder / "state"),
    }
    environment.pop("WAYLAND_DISPLAY", None)
    return environment


def _open(folder: Path, display: str, *arguments: str) -> Desktop:
    process = subprocess.Popen(
        [sys.executable, "-m", "app", "--size", f"{SIZE[0]}x{SIZE[1]}", *arguments],
        cwd=Path(__file__).parents[2],
        env=_environment(folder, display),
        stderr=subprocess.PIPE,
    )
    desktop = Desktop(display, folder, process)
    deadline = time.monotonic() + PATIENCE_S
    while True:
        assert process.poll() is None, (process.stderr and process.stderr.read()) or "the program ended"
        assert time.monotonic() < deadline, "the window did not open"
        try:
            desktop.do("window.state")
        except (ControlError, AssertionError):
            time.sleep(0.1)
        else:
            return desktop


@pytest.fixture(scope="module")
def display() -> Iterator[str]:
    """A virtual screen on a display of its own choice."""
    read, write = os.pipe()
    with subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", f"{SCREEN[0]}x{SCREEN[1]}x24", "-nolisten", "tcp"],
        pass_fds=(write,),
        stderr=subprocess.DEVNULL,
    ) as server:
        os.close(write)
        with os.fdopen(read) as stream:
            number = stream.readline().strip()
        yield f":{number}"
        server.terminate()


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="gbw-"))
    for name in ("run", "config", "state"):
        (made / name).mkdir(mode=0o700)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def desktop(display: str, folder: Path) -> Iterator[Desktop]:
    """The window with the boot sector's machine in it, its memory shown."""
    opened = _open(folder, display, "--guest", "boot-sector", "--ram", "16M")
    try:
        # It begins when the guest is up, which a toast tells, too; it lasts 9 s: first of all.
        opened.until(lambda s: s["touring"], "the greeting should begin")
        opened.key("Escape")
        opened.until(lambda s: not s["touring"], "Escape should end it")
        opened.until(lambda s: any(m["shown"] for m in s["machines"]), "the machine should be shown")
        opened.until(lambda s: any(v["uploaded_pages"] for v in s["volumes"].values()), "its memory should be read")
        opened.until(lambda s: not s["camera"]["flying"], "the camera should rest")
        opened.do("window.dismiss")
        yield opened
    finally:
        if opened.process.poll() is None:
            opened.process.send_signal(signal.SIGTERM)
        opened.process.wait(PATIENCE_S)


def test_two_views_are_opened_linked_turned_and_shrunk_to_nothing(desktop: Desktop) -> None:
    desktop.until(lambda s: s["volumes"]["boot-sector"]["uploaded_pages"] > 0, "its memory should be read")
    x0, y0 = _window_corner(desktop)
    desktop.xdotool("mousemove", round(x0 + desktop.middle()[0]), round(y0 + desktop.middle()[1]))
    desktop.key("v")
    views = desktop.views(lambda found: len(found) == 2, "another view should open")
    assert [view["view"] for view in views] == ["Volume", "Volume 2"]
    desktop.key("t")  # another mode, in the new view only
    views = desktop.views(lambda found: found[0]["mode"] != found[1]["mode"], "it should be drawn otherwise")
    assert views[0]["mode"] == "solid"
    desktop.key("l")
    desktop.views(lambda found: [view["linked"] for view in found] == [True, True], "they should be linked")
    views = _settled(desktop)
    # What its guest writes would change the picture, too.
    desktop.do("machine.pause")
    desktop.until(lambda s: s["machines"][0]["state"] == "paused", "it should pause")

    def middle(view: dict[str, Any]) -> tuple[float, float]:
        x, y, width, height = view["rect"]
        return x0 + x + width / 2, y0 + y + height / 2

    def here(view: dict[str, Any]) -> tuple[slice, slice]:
        left, top, width, height = (round(value) for value in view["rect"])
        return slice(y0 + top, y0 + top + height), slice(x0 + left, x0 + left + width)

    before, start = _at_rest(desktop, [here(view) for view in views]), desktop.state()["camera"]["azimuth_degrees"]
    x, y = middle(views[0])
    desktop.drag((x, y), (x + 80, y))  # in the first view, which thereby is the active one
    desktop.until(lambda s: abs(s["camera"]["azimuth_degrees"] - start) > 15, "it should turn")
    assert [view["active"] for view in desktop.do("view.list")] == [True, False]
    for view in views:
        area = here(view)
        desktop.until_seen(
            lambda after, area=area: _share_changed(after[area], before[area], 20) > 0.01,  # type: ignore[misc]
            f"{view['view']} should turn with the other",
        )

    window = _window_geometry(desktop)["WINDOW"]
    for size in ((1, 1), (700, 1), (SIZE[0], SIZE[1])):
        desktop.xdotool("windowsize", window, *size)
        desktop.until(lambda s, size=list(size): s["size"] == size, "it should have that size")  # type: ignore[misc]
        desktop.do("volume.orbit", 5)
        _next_frames(desktop)
    assert desktop.state()["toasts"] == []
    desktop.do("view.activate", "Volume 2")
    desktop.key("shift+v")
    desktop.until(lambda _s: len(desktop.do("view.list")) == 1, "the second view should close")


def test_a_session_by_mouse_and_keys(desktop: Desktop, tmp_path: Path) -> None:
    state = desktop.state()
    assert state["title"].startswith("Glassbox · boot-sector")
    assert state["software"] == state["title"].endswith("· software")

    # The panels stand on the theme's ground, on the real screen.
    surface = np.round(np.array(PALETTES["dark"].surface[:3]) * 255)
    x0, y0 = _window_corner(desktop)
    assert np.abs(desktop.screen()[y0 + 600, x0 + 20].astype(float) - surface).max() <= 1

    # The window's own picture is what the screen shows.
    target = tmp_path / "window.png"
    desktop.do("machine.pause")
    desktop.until(lambda s: s["machines"][0]["state"] == "paused", "it should pause")

    def own() -> NDArray[np.uint8]:
        desktop.do("window.screenshot", str(target))
        with Image.open(target) as image:
            return np.asarray(image.convert("RGB"))

    window = slice(y0, y0 + SIZE[1]), slice(x0, x0 + SIZE[0])
    # A frame may lie between the two pictures, as long as flashes cool down.
    shown = desktop.until_seen(lambda seen: _share_changed(own(), seen[window], 8) < 0.01, "both should be the same")
    assert len(np.unique(shown[window].reshape(-1, 3), axis=0)) > 100, "and a picture of something"
    desktop.key("space")
    desktop.until(lambda s: s["machines"][0]["state"] == "running", "Space should resume it")

    # A drag orbits, and the picture of the volume turns with it.
    before, start = desktop.screen(), desktop.state()["camera"]["azimuth_degrees"]
    x, y = desktop.middle()
    desktop.drag((x0 + x, y0 + y), (x0 + x + 80, y0 + y + 10))
    # 80 pixels of a drag, less those before the window took the press, at 0.3 degrees each.
    turned = desktop.until(lambda s: s["camera"]["azimuth_degrees"] <= start - 20, "it should turn")["camera"]
    assert turned["azimuth_degrees"] == pytest.approx(start - 24, abs=2)
    area = state["volume_rect"]
    here = (
        slice(int(y0 + area[1]), int(y0 + area[1] + area[3])),
        slice(int(x0 + area[0]), int(x0 + area[0] + area[2])),
    )
    desktop.until_seen(lambda seen: _share_changed(seen[here], before[here], 20) > 0.02, "its picture should turn")

    # The wheel zooms; Ctrl+Z takes both back.
    desktop.xdotool("click", 4)
    desktop.until(lambda s: s["camera"]["distance"] < turned["distance"], "it should come nearer")
    seen: list[tuple[float, int]] = []  # distances, and at which frames: one frame may last long

    def rests(state: dict[str, Any]) -> bool:
        seen.append((state["camera"]["distance"], state["frames"]["count"]))
        same = [frame for distance, frame in seen if distance == seen[-1][0]]
        return same[-1] - same[0] >= 2

    desktop.until(rests, "the wheel's step should end")
    desktop.key("ctrl+z")
    desktop.until(lambda s: s["camera"]["distance"] == turned["distance"], "that should be undone")
    desktop.key("ctrl+z")
    desktop.until(lambda s: s["camera"]["azimuth_degrees"] == start, "so should the turn")

    # Each byte that the boot sector leaves is found by typing its address.
    known = list(known_bytes(16 * MIB, "pc"))
    for page, data in (known[0], known[5]):
        address = page + INSIDE  # here each page holds a part of its own address
        desktop.key("ctrl+k")
        desktop.type(f"{address:#x}")
        desktop.key("Return")
        found = desktop.until(lambda s, a=address: (s["selection"] or {}).get("address") == a, "it should go there")  # type: ignore[misc]
        assert found["selection"]["value"] == data[INSIDE]
        desktop.until(lambda s: not s["search"]["open"], "Return should have closed the box")

    # Letters go where the keyboard is: into the search box, then to the volume again.
    desktop.key("slash")
    desktop.until(lambda s: s["search"]["open"], "the slash should open it again")
    desktop.type("light")
    desktop.until(lambda s: s["search"] == {"open": True, "text": "light"}, "the letters should be in the box")
    desktop.key("Return")
    desktop.until(lambda s: s["settings"]["theme"] == "light", "the theme should change")
    light = np.round(np.array(PALETTES["light"].surface[:3]) * 255)
    desktop.until_seen(lambda seen: np.abs(seen[y0 + 600, x0 + 20] - light).max() <= 1, "the panels should be light")

    desktop.key("f")
    desktop.key("F1")
    desktop.until(lambda s: s["overlay"] == "keys", "the keys should be shown")
    desktop.key("Escape")
    desktop.until(lambda s: s["overlay"] is None, "Escape should leave them")
    fitted = desktop.until(lambda s: not s["camera"]["flying"], "the flight should end")["camera"]["distance"]
    desktop.key("KP_Add")
    desktop.until(lambda s: s["camera"]["distance"] == pytest.approx(fitted / 1.25), "the keypad should zoom, too")

    # The whole screen and back.
    assert desktop.do("window.fullscreen") is True
    full = desktop.until(lambda s: s["size"] == list(SCREEN), "it should cover the screen")
    assert full["size"] == list(SCREEN)
    desktop.key("F11")
    desktop.until(lambda s: s["size"] == list(SIZE), "it should go back")

    # An address is copied.
    copied = desktop.do("selection.copy_address")
    assert copied == hex(known[5][0] + INSIDE)

    # Leaving: no process, socket or RAM file stays.
    pid = desktop.state()["machines"][0]["pid"]
    desktop.key("ctrl+q")
    assert desktop.process.wait(PATIENCE_S) == 0
    assert not psutil.pid_exists(pid)
    assert not desktop.socket.exists()
    assert [p.name for p in (desktop.folder / "run" / "glassbox").iterdir() if p.name != ".lock"] == []
    assert json.loads((desktop.folder / "config" / "glassbox" / "settings.json").read_text())["theme"] == "light"


def test_closing_by_the_desktop_while_it_boots(display: str, folder: Path) -> None:
    opened = _open(folder, display, "--guest", "boot-sector")
    children = psutil.Process(opened.process.pid).children(recursive=True)
    opened.process.send_signal(signal.SIGTERM)
    opened.process.wait(60)
    gone, alive = psutil.wait_procs(children, 60)
    assert not alive, gone
    assert not [p for p in (folder / "run" / "glassbox").iterdir() if p.name != ".lock"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_between_or_in_frames_ends_the_window_with_one_sentence(
    number: signal.Signals, display: str, folder: Path
) -> None:
    opened = _open(folder, display, "--guest", "none")
    opened.process.send_signal(number)
    _, errors = opened.process.communicate(timeout=PATIENCE_S)
    assert errors.decode().strip() == "glassbox: interrupted"
    assert opened.process.returncode == 1
    assert not opened.socket.exists()


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ("app.panels.status.draw", "one frame after another could not be drawn: ZeroDivisionError: a defect"),
        ("app.stage.replace_device", "the GPU was lost and no other could be had: There is none."),
    ],
)
def test_a_window_that_cannot_be_drawn_ends_with_a_reason_and_a_code(
    broken: str, why: str, display: str, folder: Path
) -> None:
    """The whole program, in which one function raises: a panel's, or the one that looks for another GPU."""
    program = f"""
import sys
from importlib import import_module
from app.cli import main
from app.stage import Stage
from render.errors import DeviceLost, RenderError

module, _, name = {broken!r}.rpartition(".")

def raise_error(*_arguments):
    raise ZeroDivisionError("a defect") if name == "draw" else RenderError("There is none.")

def lose_device(*_arguments):
    raise DeviceLost("for a test")

setattr(import_module(module), name, raise_error)
if name != "draw":
    Stage.draw = lose_device
sys.exit(main(["--guest", "none"]))
"""
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        env=_environment(folder, display),
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr.decode().strip().endswith(f"glassbox: The window was closed, because {why}")
    assert not (folder / "run" / "glassbox" / "window.sock").exists()


def test_a_second_window_says_where_it_listens(desktop: Desktop, display: str) -> None:
    second = subprocess.Popen(
        [sys.executable, "-m", "app", "--guest", "none"],
        cwd=Path(__file__).parents[2],
        env=_environment(desktop.folder, display),
    )
    try:
        socket = desktop.socket.with_name(f"window-{second.pid}.sock")
        deadline = time.monotonic() + PATIENCE_S
        while True:
            assert time.monotonic() < deadline, "the second window did not open"
            assert second.poll() is None
            try:
                said = send_action("log.text", [], socket)["result"]  # its toast may have gone before its first frame
            except ControlError:  # a socket has its place a moment before it is listened at
                time.sleep(0.05)
            else:
                break
        assert any("Another window is open" in line for line in said)
        assert desktop.state()["machines"]  # the first one goes on
        send_action("window.quit", [], socket)
        assert second.wait(PATIENCE_S) == 0
        assert not socket.exists()
    finally:
        if second.poll() is None:
            second.kill()


def _share_changed(one: NDArray[np.uint8], other: NDArray[np.uint8], least: int) -> float:
    """The share of pixels (height, width, 3) that differ by more than `least` in any colour."""
    assert one.shape == other.shape
    return float((np.abs(one.astype(int) - other).max(axis=2) > least).mean())


def _next_frames(desktop: Desktop) -> None:
    """Wait until two further frames were begun and one of them is on the screen."""
    count = desktop.state()["frames"]["count"]
    desktop.until(lambda s: s["frames"]["count"] >= count + 2, "frames should be drawn")


def _settled(desktop: Desktop) -> list[dict[str, Any]]:
    """The views when their places no longer change."""
    while True:
        before = desktop.do("view.list")
        _next_frames(desktop)
        if (after := desktop.do("view.list")) == before and all(min(view["rect"][2:]) > 0 for view in after):
            found: list[dict[str, Any]] = after
            return found


def _at_rest(desktop: Desktop, areas: list[tuple[slice, slice]]) -> NDArray[np.uint8]:
    """The screen when what is in some areas of it no longer changes."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        before = desktop.screen()
        _next_frames(desktop)
        after = desktop.screen()
        if all((before[area] == after[area]).all() for area in areas):
            return after
        assert time.monotonic() < deadline, "it never came to rest"


def _window_corner(desktop: Desktop) -> tuple[int, int]:
    """Return where the window's upper left corner lies on the screen."""
    values = _window_geometry(desktop)
    return int(values["X"]), int(values["Y"])


def _window_geometry(desktop: Desktop) -> dict[str, str]:
    """Return what xdotool says of the window: WINDOW, X, Y and so on."""
    found = subprocess.run(
        ["xdotool", "search", "--onlyvisible", "--name", "Glassbox", "getwindowgeometry", "--shell"],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "DISPLAY": desktop.display},
    ).stdout
    return dict(line.split("=", 1) for line in found.split() if "=" in line)
