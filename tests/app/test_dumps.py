"""Dumps in the window: opened by option, action, dialog and drop; shown, inspected, closed; errors as messages."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from imgui_bundle import imgui
from PIL import Image

from app.action_sets.machines import describe_machine
from app.actions import ActionDisabled, BadArguments
from app.cli import main
from app.commands import window as window_command
from app.exit_codes import ExitCode
from app.file_list import folder_of
from app.kernel_channels import CLASS_CHANNEL
from app.offscreen import OffscreenWindow
from app.window_options import WindowOptions
from tests.app.conftest import SIZE, Person
from tests.bridge.memory.test_dump import PARTS, elf_core

PAGE = 4096


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    path = tmp_path / "Small.raw"
    path.write_bytes(np.arange(64 * PAGE, dtype=np.uint32).astype(np.uint8).tobytes())
    return path


def shown(person: Person, name: str) -> bool:
    feed = person.state.stage.feeds.get(name)
    return feed is not None and feed.stats.scan.sweeps >= 1 and feed.stats.uploaded_pages > 0


def test_a_dump_is_looked_into_and_closed(person: Person, dump: Path) -> None:
    person.run("machine.open_dump", str(dump))
    person.until(lambda: shown(person, "small"), "its memory should be shown")
    assert person.state.current == "small"
    person.run("view.go_to", "0x1234")
    place = person.selected()
    assert place is not None
    assert (place.machine, place.offset) == ("small", 0x1234)
    person.frame(4)
    facts = describe_machine(person.window.session, "small")
    assert (facts["dump"], facts["state"]) == ("raw", "paused")
    assert not person.state.vitals, "no process costs anything"
    for action in ("machine.toggle", "machine.reset", "machine.detach"):
        with pytest.raises(ActionDisabled, match="is a dump"):
            person.run(action)
    # A kernel is looked for, and there is none: that is said, and nothing else goes wrong.
    person.until(lambda: person.state.kernels.sighting("small") is not None, "the kernel should be looked for")
    sighting = person.state.kernels.sighting("small")
    assert sighting is not None
    assert "No running Linux kernel" in sighting.problem
    assert CLASS_CHANNEL not in person.state.stage.feeds["small"].store.attributes
    person.run("machine.stop")
    person.frame(3)
    assert person.state.machine() is None
    assert not person.state.stage.feeds
    assert person.state.selection is None
    assert dump.exists()


def test_copied_dumps_are_shown_too(person: Person, tmp_path: Path) -> None:
    (tmp_path / "core").write_bytes(elf_core(PARTS)[:-PAGE])
    person.run("machine.open_dump", str(tmp_path / "core"), "mine")
    person.until(lambda: shown(person, "mine"), "its memory should be shown")
    machine = person.state.machine("mine")
    assert machine is not None
    assert machine.info.dump == "ELF core"
    assert "ends before" in machine.info.message
    person.frame(2)


def test_the_kernel_in_a_copied_dump_is_found(person: Person, demo_dump: Path, tmp_path: Path) -> None:
    size = demo_dump.stat().st_size
    with (tmp_path / "demo.lime").open("wb") as lime:
        lime.write(struct.pack("<4sIQQQ", b"EMiL", 1, 0, size - 1, 0))
        with demo_dump.open("rb") as raw:
            shutil.copyfileobj(raw, lime)
    person.run("machine.open_dump", str(tmp_path / "demo.lime"))
    person.until(lambda: person.state.kernels.sighting("demo") is not None, "the kernel should be seen")
    seen = person.state.kernels.sighting("demo")
    assert seen is not None
    assert not seen.problem, "the process that looks at the kernel maps the copy too"
    assert seen.processes is not None
    assert "allocator" in seen.processes.names
    looks = seen.taken_s
    person.frame(60)
    seen = person.state.kernels.sighting("demo")
    assert seen is not None
    assert seen.taken_s == looks, "what stands still is looked at once"
    person.run("machine.stop")
    person.frame(2)
    assert person.state.kernels.sighting("demo") is None


def test_what_cannot_be_opened_becomes_a_message(person: Person, tmp_path: Path) -> None:
    (tmp_path / "tiny").write_bytes(b"x")
    person.run("machine.open_dump", str(tmp_path / "tiny"))
    person.until(lambda: bool(person.toasts()), "it should be said")
    assert person.toasts() == ["tiny could not be opened"]
    assert "less than one page" in person.state.toasts.shown()[0].detail
    assert not person.state.launching
    assert not person.state.manager.machines()
    with pytest.raises(BadArguments, match="name a file"):
        person.run("machine.open_dump", "  ")
    nobody = "~nobody-of-that-name/x"
    for action in ("machine.open_dump", "machine.attach", "window.screenshot", "kernel.use_types"):
        with pytest.raises(BadArguments, match="no such home: '~nobody-of-that-name/x'"):
            person.run(action, nobody)
    assert folder_of(nobody) == Path("~nobody-of-that-name")


def test_the_dialog_goes_through_folders_and_opens(person: Person, dump: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    person.state.dump_form.path = f"{tmp_path}/"
    person.key("o", "Control")
    person.frame(4)
    assert person.overlay() == "dump"
    listing = person.state.dump_form.listing
    assert listing is not None
    assert [e.name for e in listing.entries] == ["folder", "Small.raw"]
    files = next(w for w in imgui.get_current_context().windows if "/files_" in w.name)
    x, y = files.pos.x + 60, files.pos.y
    person.click(x, y + 6 + 13 + 26)  # the second line: the folder
    assert person.state.dump_form.path == f"{tmp_path}/folder/"
    person.frame(2)
    person.click(x, y + 6 + 13)  # the way up
    person.frame(2)
    person.click(x, y + 6 + 13 + 52)
    assert person.state.dump_form.path == str(dump)
    person.click(x, y + 6 + 13 + 52, times=2)
    assert person.overlay() is None
    person.until(lambda: shown(person, "small"), "its memory should be shown")
    person.key("o", "Control")
    person.frame(3)
    person.key("Escape")
    assert person.overlay() is None


def test_files_dropped_on_the_window_are_opened(person: Person, dump: Path) -> None:
    person.window.drop([str(dump), str(dump)])
    person.until(lambda: len(person.state.manager.machines()) == 2, "both should be opened")
    assert {m.name for m in person.state.manager.machines()} == {"small", "small-2"}
    person.frame(3)


def test_a_window_opens_with_dumps(homes: Path, dump: Path) -> None:
    with OffscreenWindow(WindowOptions(size=SIZE, tour=False, dumps=(dump, dump))) as offscreen:
        someone = Person(offscreen)
        offscreen.window.session.start()
        someone.until(lambda: len(someone.state.manager.machines()) == 2, "both should be opened")


def test_the_command_takes_dumps(monkeypatch: pytest.MonkeyPatch) -> None:
    import argparse

    parser = argparse.ArgumentParser()
    window_command.configure(parser, "window")
    asked: list[WindowOptions] = []

    def take(options: WindowOptions) -> int:
        asked.append(options)
        return 0

    monkeypatch.setattr(window_command, "open_window", take)
    window_command.run(parser.parse_args(["--dump", "a", "--dump", "/b"]))
    window_command.run(parser.parse_args(["--dump", "a", "--guest", "demo"]))
    window_command.run(parser.parse_args([]))
    assert asked[0].dumps == (Path("a").absolute(), Path("/b"))
    assert [one.guest_name for one in asked] == [None, "demo", "demo"]


@pytest.mark.usefixtures("homes")
def test_a_picture_of_a_dump(dump: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, more in (("volume", []), ("window", ["--window"])):
        out = tmp_path / f"{name}.png"
        assert main(["shot", "--dump", str(dump), "--out", str(out), "--size", "640x400", *more]) == ExitCode.DONE
        with Image.open(out) as picture:
            assert picture.size == (640, 400)
            assert np.asarray(picture).std() > 5, "there is something to be seen"
    assert main(["shot", "--dump", str(dump), "--guest", "demo", "--out", str(tmp_path / "x.png")]) == ExitCode.USAGE
    assert main(["shot", "--dump", str(tmp_path / "none"), "--out", str(tmp_path / "x.png")]) == ExitCode.FAILED
    assert "There is no dump" in capsys.readouterr().err
    assert not (tmp_path / "x.png").exists()
