"""A window off-screen that a test drives like a person, with a tiny guest of known behaviour in a real QEMU."""

import contextlib
import dataclasses
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from imgui_bundle import imgui

from app.history import History
from app.offscreen import OffscreenWindow
from app.place import Place
from app.settings import Settings
from app.window_options import WindowOptions
from bridge.machine.guest import Guest
from bridge.machine.states import MachineState
from render.camera import CameraState

# A boot sector, 16-bit: prints "test guest\r\nREADY\r\n$ " on the serial line, writes (7 i + 1) & 255 to byte i of the
# page at 0x20000, then at each tick of the timer (18 Hz) counts up the 32-bit word at 0x30000 and echoes what is typed.
BOOT_SECTOR = bytes.fromhex(
    "fa31c08ed88ed0bc007cbe557cac84c07405e83100ebf6b800208ec031ffb001b90010aa0407e2fb"
    "b800308ec0fbf42666ff060000bafd03eca80174f0baf803ece80200ebe750bafd03eca82074fb58"
    "baf803eec3746573742067756573740d0a52454144590d0a242000"
)
PATTERN_ADDRESS, COUNTER_ADDRESS = 0x20000, 0x30000
PATTERN = bytes((7 * i + 1) & 255 for i in range(4096))
MIB = 1 << 20
PATIENCE_S = 240
"""How long what has to happen is waited for: with other tests and machines beside, seconds become minutes."""
SIZE = (960, 560)
HOMES = {
    "XDG_RUNTIME_DIR": "run",
    "XDG_CONFIG_HOME": "config",
    "XDG_STATE_HOME": "state",
}


def make_guest(folder: Path, name: str = "tiny", *, ram_bytes: int = 8 * MIB, ready: bytes | None = b"READY") -> Guest:
    """Describe the tiny guest, its floppy image in `folder`."""
    image = folder / f"{name}.img"
    image.write_bytes((BOOT_SECTOR.ljust(510, b"\0") + b"\x55\xaa").ljust(1440 << 10, b"\0"))
    return Guest(
        name=name,
        title="A boot sector for tests",
        ram_bytes=ram_bytes,
        min_ram_bytes=MIB,
        max_ram_bytes=4096 * MIB,
        machine_type="pc",
        cpus=1,
        kernel=None,
        initrd=None,
        append="",
        disk=None,
        cdrom=None,
        floppy=image,
        network=False,
        ready_marker=ready,
        keeps_state=False,
    )


class Person:
    """Drives an off-screen window by the events that a real one would get."""

    def __init__(self, offscreen: OffscreenWindow) -> None:
        self.offscreen = offscreen
        self.window = offscreen.window
        self.state = offscreen.window.state

    def frame(self, count: int = 2) -> None:
        self.offscreen.frame(count)

    def until(self, done: Callable[[], bool], what: str, limit_s: float = PATIENCE_S) -> None:
        """Draw every frame, asked for or not, until `done`."""
        deadline = time.monotonic() + limit_s
        while not done():
            assert time.monotonic() < deadline, f"{what} within {limit_s} s; {self.offscreen.why()}"
            self.frame(1)

    def run(self, action: str, *args: object, **named: object) -> object:
        found = self.state.actions.run(action, args or named)
        self.frame()
        return found

    def move(self, x: float, y: float) -> None:
        self.offscreen.send({"event_type": "pointer_move", "x": x, "y": y})

    def button(self, x: float, y: float, *, down: bool, button: int = 1) -> None:
        kind = "pointer_down" if down else "pointer_up"
        self.offscreen.send({"event_type": kind, "x": x, "y": y, "button": button})

    def click(self, x: float, y: float, button: int = 1, times: int = 1) -> None:
        self.move(x, y)
        self.frame(1)
        for _ in range(times):
            self.button(x, y, down=True, button=button)
            self.button(x, y, down=False, button=button)
        self.frame()

    def drag(self, start: tuple[float, float], end: tuple[float, float], button: int = 1) -> None:
        self.move(*start)
        self.frame(1)
        self.button(*start, down=True, button=button)
        for step in range(1, 6):
            self.move(*(a + (b - a) * step / 5 for a, b in zip(start, end, strict=True)))
        self.button(*end, down=False, button=button)
        self.frame()

    def wheel(self, x: float, y: float, notches: float) -> None:
        self.move(x, y)
        self.offscreen.send({"event_type": "wheel", "dx": 0.0, "dy": -100.0 * notches, "x": x, "y": y})
        self.frame()

    def key(self, name: str, *modifiers: str, text: str = "") -> None:
        """Press and release a key as rendercanvas names it; `text` is the character that it types."""
        for modifier in modifiers:
            self.offscreen.send({"event_type": "key_down", "key": modifier})
        self.offscreen.send({"event_type": "key_down", "key": name})
        if text:
            self.offscreen.send({"event_type": "char", "data": text})
        self.offscreen.send({"event_type": "key_up", "key": name})
        for modifier in reversed(modifiers):
            self.offscreen.send({"event_type": "key_up", "key": modifier})
        self.frame()
        while self.offscreen.window.host.has_pending_input():
            self.frame(1)

    def type(self, text: str) -> None:
        """Type characters, each as key and text."""
        for letter in text:
            self.key(letter, text=letter)

    @property
    def middle(self) -> tuple[float, float]:
        """The middle of the volume."""
        x, y, width, height = self.state.volume_rect
        return x + width / 2, y + height / 2

    def popup_open(self) -> bool:
        """Whether any menu or dialog is open. (ImGui's own question may only be asked within a frame.)"""
        return imgui.get_current_context().open_popup_stack.size() > 0

    # Questions as calls: a type checker believes that an attribute stays what it was last compared with.

    def selected(self) -> Place | None:
        return self.state.selection

    def overlay(self) -> str | None:
        return self.state.overlay

    def searching(self) -> bool:
        return self.state.search.open

    def searched(self) -> str:
        return self.state.search.text

    def console_typing(self) -> bool:
        return self.state.keyboard_taken

    def hinted(self) -> bool:
        return self.state.hints.born_s is not None

    def toasts(self) -> list[str]:
        return [t.title for t in self.state.toasts.shown()]


@contextlib.contextmanager
def own_homes() -> Iterator[Path]:
    """Directories of our own for settings, cache and sockets; short, because socket paths are limited."""
    folder = Path(tempfile.mkdtemp(prefix="gbx-"))
    with pytest.MonkeyPatch.context() as patch:
        for variable, name in HOMES.items():
            (folder / name).mkdir(mode=0o700)
            patch.setenv(variable, str(folder / name))
        try:
            yield folder
        finally:
            shutil.rmtree(folder)


@contextlib.contextmanager
def dump_window(dump: Path, size: tuple[int, int]) -> Iterator[Person]:
    """A window that shows a dump, whose kernel was seen and whose memory is drawn; it is named after the file."""
    with own_homes(), OffscreenWindow(WindowOptions(size=size, tour=False, dumps=(dump,))) as offscreen:
        someone = Person(offscreen)
        offscreen.window.session.start()
        kernels, feeds = someone.state.kernels, someone.state.stage.feeds
        someone.until(lambda: kernels.sighting(dump.stem) is not None, "its kernel should be seen")
        someone.until(lambda: feeds[dump.stem].stats.scan.sweeps >= 1, "its memory should be shown")
        sighting = kernels.sighting(dump.stem)
        assert sighting is not None
        assert not sighting.problem
        yield someone


@pytest.fixture
def homes() -> Iterator[Path]:
    """See own_homes."""
    with own_homes() as folder:
        yield folder


@pytest.fixture
def person(homes: Path) -> Iterator[Person]:
    """A window without a machine."""
    with OffscreenWindow(WindowOptions(size=SIZE, tour=False)) as offscreen:
        someone = Person(offscreen)
        someone.frame(8)
        yield someone


@pytest.fixture
def own_host(person: Person, homes: Path) -> Person:
    """A window of this test's own, whose tiny guest is up and shown: for what ends machine, device or window."""
    _start_tiny(person, homes)
    return person


@pytest.fixture(scope="module")
def _shared_host() -> Iterator[Person]:
    with own_homes() as folder, OffscreenWindow(WindowOptions(size=SIZE, tour=False)) as offscreen:
        someone = Person(offscreen)
        _start_tiny(someone, folder)
        yield someone


@pytest.fixture
def host(_shared_host: Person) -> Person:
    """A window whose tiny guest is up and shown, shared by the tests of a module and put back in order for each."""
    someone, state = _shared_host, _shared_host.state
    _shared_host.window.host.make_current()
    state.overlay, state.search.leave = None, True
    state.hints.born_s = None
    someone.window.reset_layout()
    someone.window.session.kept.change(**dataclasses.asdict(Settings()))
    someone.offscreen.canvas.set_logical_size(*SIZE)
    someone.move(1, SIZE[1] - 10)
    someone.frame(2)
    someone.key("Escape")
    someone.window.session.navigation.select(None)
    state.stage.view.camera.state = CameraState()
    state.stage.view.camera.fit()
    state.history = History()
    machine = state.machine("tiny")
    assert machine is not None
    if machine.info.state is MachineState.PAUSED:
        machine.resume()
    someone.frame(6)
    state.toasts.dismiss()
    state.log.clear()
    return someone


def _start_tiny(person: Person, folder: Path) -> None:
    job = person.window.session.machines.launch(make_guest(folder))
    person.until(lambda: job.wait(0), "the launch should end")
    machine = person.state.machine("tiny")
    assert machine is not None
    person.until(lambda: machine.ready, "the guest should be up")
    # The first scan of a process compiles it, where no compiled one is cached.
    person.until(lambda: _swept(person), "its memory should be shown")
    person.until(lambda: bool(person.state.log.entries(needle="tiny is up")), "that should be said")
    person.state.toasts.dismiss()
    person.frame(4)


def _swept(person: Person) -> bool:
    """Whether its memory is shown, with the pattern that it writes after it has said that it is up."""
    feed = person.state.stage.feeds.get("tiny")
    if feed is None or feed.stats.scan.sweeps < 1 or feed.stats.uploaded_pages == 0:
        return False
    return bytes(feed.store.read_page(PATTERN_ADDRESS // 4096)) == PATTERN
