"""The terminal with real full-screen programs behind a real pseudo-terminal: they are driven by keys and seen on it."""

import fcntl
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from imgui_bundle import imgui

from app.widgets.terminal import TerminalWidget
from tests.app.widgets.harness import Harness

Key = imgui.Key
BUSYBOX = shutil.which("busybox")
pytestmark = pytest.mark.skipif(BUSYBOX is None, reason="busybox, which the demo guest is made of, is not installed")


_TIOCSPTLCK, _TIOCGPTN = 0x40045431, 0x80045430  # asm-generic/ioctls.h: unlock the other end, tell its number


def _open_pty() -> tuple[int, int]:
    """A new pseudo-terminal's two ends, also in a tree whose /dev has a bare devpts and no /dev/ptmx beside it."""
    try:
        return pty.openpty()
    except OSError:
        main = os.open("/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY)
        fcntl.ioctl(main, _TIOCSPTLCK, struct.pack("i", 0))
        (number,) = struct.unpack("i", fcntl.ioctl(main, _TIOCGPTN, bytes(4)))
        return main, os.open(f"/dev/pts/{number}", os.O_RDWR | os.O_NOCTTY)


class _Session:
    """A program on a pseudo-terminal whose size is never set, as on a serial line."""

    def __init__(self, stage: Callable[..., Harness], arguments: list[str], folder: Path) -> None:
        self._main, child = _open_pty()
        environment = {"PATH": os.environ["PATH"], "TERM": "vt102", "HOME": str(folder)}
        self.process = subprocess.Popen(arguments, stdin=child, stdout=child, stderr=child, cwd=folder, env=environment)
        os.close(child)
        self._printed = bytearray()
        self.terminal = TerminalWidget(
            lambda position: (len(self._printed), bytes(self._printed[position:])), self._write
        )
        self.harness = stage(lambda h: self.terminal.draw(h.theme), width=700, height=360)
        self.terminal.focus()
        self.harness.frame(4)

    def _write(self, data: bytes) -> None:
        os.write(self._main, data)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._main)

    @property
    def screen(self) -> str:
        return "\n".join(line.text().rstrip() for line in self.terminal.screen.lines)

    def until(self, seen: Callable[[], bool], what: str) -> None:
        deadline_s = time.monotonic() + 120
        while not seen():
            assert time.monotonic() < deadline_s, f"never saw {what}; the screen is\n{self.screen}"
            if select.select([self._main], [], [], 0.02)[0]:
                try:
                    self._printed += os.read(self._main, 65536)
                except OSError:  # the program ended
                    time.sleep(0.01)
            self.harness.frame()


@pytest.fixture(autouse=True)
def _interrupts() -> Iterator[None]:
    """Programs can be interrupted, also where these tests were started in the background: there SIGINT is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def session(stage: Callable[..., Harness], tmp_path: Path) -> Iterator[Callable[..., _Session]]:
    @contextmanager
    def closing() -> Iterator[list[_Session]]:
        opened: list[_Session] = []
        try:
            yield opened
        finally:
            for each in opened:
                each.close()

    with closing() as opened:

        def start(*arguments: str) -> _Session:
            opened.append(_Session(stage, [str(BUSYBOX), "setsid", "-c", str(BUSYBOX), *arguments], tmp_path))
            return opened[-1]

        yield start


def test_stty_typed_by_the_widget_sets_the_size(session: Callable[..., _Session]) -> None:
    run = session("sh")
    screen = run.terminal.screen
    run.until(lambda: run.screen.rstrip().endswith(("#", "$")), "a prompt")
    run.terminal.tell_size()
    run.harness.type("stty size; echo d''one")
    run.harness.key(Key.enter)
    run.until(lambda: "\ndone" in run.screen, "the end of the command")
    assert f"\n{screen.rows} {screen.columns}\n" in run.screen


def test_vi_edits_a_file_by_our_keys(session: Callable[..., _Session], tmp_path: Path) -> None:
    run = session("sh", "-c", "stty rows 15 cols 90; exec busybox vi notes.txt")
    run.until(lambda: "notes.txt" in run.screen.splitlines()[14], "vi's status line")
    assert run.screen.splitlines()[5] == "~"
    run.harness.type("ifirst line")
    run.harness.key(Key.enter)
    run.harness.type("third")
    run.harness.key(Key.enter)
    run.harness.type("x")
    run.harness.key(Key.backspace)
    for key in (Key.up_arrow, Key.home):
        run.harness.key(key)
    run.harness.type("second and ")
    run.harness.key(Key.escape)
    run.until(lambda: run.screen.splitlines()[:2] == ["first line", "second and third"], "the text")
    # vi waits for what may follow an escape, and tells its mode in its status line.
    run.until(lambda: run.screen.splitlines()[14].startswith("- notes.txt"), "the end of typing")
    run.harness.type(":wq")
    run.harness.key(Key.enter)
    run.until(lambda: run.process.poll() is not None, "vi's end")
    assert (tmp_path / "notes.txt").read_text() == "first line\nsecond and third\n\n"


def test_control_c_and_paste_reach_the_shell(session: Callable[..., _Session]) -> None:
    run = session("sh")
    run.until(lambda: run.screen.rstrip().endswith(("#", "$")), "a prompt")  # behind what the shell says of itself
    prompt = run.screen.rstrip()[-1]
    run.harness.type("echo be''gin; cat")
    run.harness.key(Key.enter)
    run.until(lambda: "\nbegin" in run.screen, "that cat is next")  # what is typed before, the shell reads as it likes
    run.harness.type("mark")
    run.harness.key(Key.enter)
    run.until(lambda: run.screen.count("\nmark") == 2, "cat's echo")
    run.harness.key(Key.c, ctrl=True)
    run.harness.clipboard = "echo pas''ted\n"
    # As a person would: what is pasted while the shell takes the terminal back may be lost, here as anywhere.
    run.until(lambda: run.screen.partition("^C")[2].rstrip().endswith(prompt), "the interrupt, and a prompt again")
    run.terminal.paste()
    run.until(lambda: "\npasted" in run.screen, "the pasted command's output")
