"""Pictures of the whole window, off-screen: of a guest started for it, and of a machine that runs anyway."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from app import offscreen as offscreen_module
from app.cli import main
from app.failures import CommandFailed
from app.offscreen import OffscreenWindow, window_screenshot
from app.shot_kernel import look_at_kernel
from app.theme import PALETTES
from app.window_options import WindowOptions
from bridge.kernel.page_classes import PageClass
from bridge.machine.discovery import discover
from bridge.machine.errors import NoSuchMachine
from bridge.machine.manager import MachineManager
from bridge.machine.states import MachineState
from bridge.memory.ram import GuestRam
from tests.app.conftest import PATIENCE_S, make_guest

WIDTH, HEIGHT = 900, 600


def _shows_a_volume(picture: np.ndarray) -> bool:
    """Whether the middle of the window holds the strong colours that only memory has."""
    middle = picture[60 : HEIGHT - 220, 210:620, :3].astype(int)
    return bool((np.ptp(middle, axis=2) > 90).sum() > 200)


def test_a_guest_is_started_for_the_picture_and_ended(homes: Path) -> None:
    picture = window_screenshot(WindowOptions(guest=make_guest(homes), size=(WIDTH, HEIGHT), tour=False))
    assert picture.shape == (HEIGHT, WIDTH, 4)
    assert _shows_a_volume(picture)
    surface = np.round(np.array(PALETTES["dark"].surface[:3]) * 255)
    assert np.abs(picture[HEIGHT - 60, 20, :3] - surface).max() <= 1
    assert discover() == ()
    assert list((homes / "config" / "glassbox").iterdir()) == []  # the user's layout and settings are left alone


def test_a_running_machine_is_looked_into_and_left_alone(homes: Path) -> None:
    with MachineManager() as manager:
        machine = manager.launch(make_guest(homes))
        assert machine.wait_ready(PATIENCE_S)
        picture = window_screenshot(WindowOptions(size=(WIDTH, HEIGHT), tour=False), machine="tiny")
        assert _shows_a_volume(picture)
        assert machine.info.state is MachineState.RUNNING
        assert machine.qmp("query-status")["running"]
        with pytest.raises(NoSuchMachine):
            window_screenshot(WindowOptions(size=(WIDTH, HEIGHT)), machine="nobody")


def test_a_question_is_answered_in_the_picture(homes: Path, demo_dump: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is lit when the picture is taken are the pages that the class has; and the picture is that one."""
    monkeypatch.setattr(offscreen_module, "SHOT_LIMIT_S", 600.0)
    taken: list[tuple[list[int], int, NDArray[np.uint8]]] = []
    really_taken = OffscreenWindow.picture

    def noted(self: OffscreenWindow) -> NDArray[np.uint8]:
        state = self.window.state
        assert state.queries.latest is not None
        assert state.queries.latest.result is not None
        index = state.stage.feeds["guest"].store.highlight.index
        assert index is not None
        taken.append((np.flatnonzero(index).tolist(), len(state.queries.latest.result.matches), really_taken(self)))
        return taken[0][2]

    monkeypatch.setattr(OffscreenWindow, "picture", noted)
    out = homes / "asked.png"
    asked = ["--find", "page tables", "--size", "480x320", "--out", str(out)]
    assert main(["shot", "--dump", str(demo_dump), "--window", *asked]) == 0
    (lit, matches, picture), *others = taken
    assert not others
    ram = GuestRam.open(demo_dump)
    classes = look_at_kernel(ram, None).sighting.classes
    ram.close()
    assert classes is not None
    assert lit == np.flatnonzero(classes == PageClass.PAGE_TABLE).tolist()
    assert matches > 1
    assert (np.array(Image.open(out)) == picture[..., :3]).all()


def test_a_guest_that_does_not_come_is_said(homes: Path) -> None:
    options = WindowOptions(guest_name="no-such-guest", size=(WIDTH, HEIGHT), tour=False)
    with pytest.raises(CommandFailed, match="no-such-guest"):
        window_screenshot(options)
    silent = make_guest(homes, "silent", ready=b"never printed")
    with OffscreenWindow(WindowOptions(guest=silent, size=(WIDTH, HEIGHT), tour=False), keep=False) as offscreen:
        offscreen.window.session.start()
        offscreen.run_until(lambda: "silent" in offscreen.window.state.stage.feeds, PATIENCE_S, "it did not start")
        with pytest.raises(CommandFailed, match="silent did not come up"):
            offscreen.settle(4.0)
