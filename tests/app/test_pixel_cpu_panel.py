"""The Pixel CPU panel: a picture is opened, stepped through to and fro, its registers set, its memory a volume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from imgui_bundle import imgui

from app.actions import ActionDisabled, BadArguments
from app.pixel_cpu import MACHINE, MEMORY_BYTES
from bridge.pixelcpu.assembly import assemble
from bridge.pixelcpu.picture import Picture, load, save
from tests.app.conftest import Person

PROGRAM = assemble(
    "lane.64 r2\nshl.64 r3, r2, 2\nadd.64 r4, r3, r0\nload.32 r5, [r4]\nmul.32! r5, r5, 7\nadd.64 r3, r3, r1\n"
    "store.32 [r3], r5"
)
NAMES = ("from", "to", "lane")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    file = tmp_path / "sevenfold.png"
    save(Picture(PROGRAM, "Sevenfold", NAMES), file)
    return file


@pytest.fixture
def stepping(person: Person, picture: Path) -> Person:
    """A window with nothing but the program and its memory."""
    person.offscreen.canvas.set_logical_size(1700, 1000)
    person.run("pixel.open", str(picture))
    person.until(lambda: MACHINE in person.state.stage.feeds, "its memory should be shown")
    person.until(lambda: person.state.stage.feeds[MACHINE].stats.scan.sweeps >= 1, "it should be read")
    person.frame(8)
    return person


def told(person: Person, action: str = "pixel.state", *arguments: object) -> dict[str, Any]:
    found: Any = person.run(action, *arguments)
    return dict(found)


def child(name: str) -> imgui.internal.Window:
    return next(w for w in imgui.get_current_context().windows if f"Pixel CPU/##{name}" in w.name and w.was_active)


def test_it_is_stepped_through_to_and_fro(stepping: Person) -> None:
    person = stepping
    cpu = person.state.pixel_cpu
    at_first = told(person)
    assert (at_first["title"], at_first["place"], at_first["lanes"], at_first["next"]) == (
        "Sevenfold",
        0,
        64,
        "lane.64 lane",
    )
    assert (at_first["registers"]["from"], at_first["registers"]["to"]) == (0, MEMORY_BYTES // 2)
    told(person, "pixel.lane", 3)
    loaded = told(person, "pixel.step", 4)
    assert loaded["registers"]["r5"] == 3  # words count up
    assert loaded["access"] == {"is_store": False, "size": 4, "lanes": 64, "first": 0, "last": 252}
    place = person.selected()
    assert place is not None
    assert (place.machine, person.state.stage.paddr(place)) == (MACHINE, 12)
    assert told(person, "pixel.step")["changed"] == ["r5"]
    done = told(person, "pixel.run")
    assert (done["place"], done["next"], done["access"]["first"]) == (7, None, MEMORY_BYTES // 2)
    store = person.state.stage.feeds[MACHINE].store
    page = MEMORY_BYTES // 2 // 4096

    def shown() -> list[int]:
        return [int(word) for word in np.frombuffer(bytes(store.read_page(page)), "<u4")[:64]]

    person.until(lambda: shown() == [7 * lane for lane in range(64)], "the volume should show what was stored")
    assert told(person, "pixel.back")["place"] == 6
    person.until(lambda: shown()[1] == MEMORY_BYTES // 8 + 1, "and that it was undone")
    assert told(person, "pixel.reset")["place"] == 0
    person.frame(4)
    # The listing: a click goes there; the registers: a click asks what one begins with.
    listing = child("program")
    row = 20
    person.click(listing.pos.x + 60, listing.pos.y + 2.5 * row)
    assert cpu.stepper is not None
    assert cpu.stepper.place == 2
    person.frame(4)
    person.click(listing.pos.x + 60, listing.pos.y + 1.2 * row)
    assert cpu.stepper.place == 1
    registers = child("registers")
    person.click(registers.pos.x + 40, registers.pos.y + 36)
    person.until(person.popup_open, "it should be asked")
    person.frame(4)
    person.type("0x2000")
    person.key("Enter")
    person.frame(4)
    assert told(person)["registers"]["from"] == 0x2000
    assert told(person)["place"] == 0
    person.move(listing.pos.x + 60, listing.pos.y + 10)
    person.frame(40)  # until the tip is there
    assert not person.toasts()


def test_faults_and_what_makes_no_sense_are_said(stepping: Person, tmp_path: Path) -> None:
    person = stepping
    fault = told(person, "pixel.set", "from", "-0x1000")
    assert fault["place"] == 0
    fault = told(person, "pixel.run")
    assert "outside its memory" in fault["fault"]
    assert fault["place"] == 3
    person.frame(4)
    assert person.run("pixel.lanes", 2) == 2
    assert told(person)["lanes"] == 2
    for action, arguments, match in (
        ("pixel.lanes", (0,), "1 to"),
        ("pixel.lane", (2,), "between 0 and 1"),
        ("pixel.step", (0,), "1 or more"),
        ("pixel.set", ("from", "x"), "a number"),
        ("pixel.set", ("from", str(1 << 64)), "64 bits"),
        ("pixel.set", ("nobody", "1"), "nobody"),
        ("pixel.save", (str(tmp_path / "x.jpg"),), "png"),
        ("pixel.open", (" ",), "name a file"),
        ("pixel.open", (str(tmp_path / "none.png"),), "cannot be read"),
        ("pixel.of_loop", ("ab",), "none whose hash"),
    ):
        with pytest.raises((BadArguments, ActionDisabled), match=match):
            person.run(action, *arguments)
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 64)
    (tmp_path / "bad.txt").write_text("add.64 r1\n")
    for name, match in (("bad.png", "no PNG"), ("bad.txt", "no microcode")):
        with pytest.raises(BadArguments, match=match):
            person.run("pixel.open", str(tmp_path / name))
    assert told(person)["title"] == "Sevenfold"  # it stays
    person.run("pixel.save", str(tmp_path / "again.png"))
    assert load(tmp_path / "again.png") == Picture(PROGRAM, "Sevenfold", NAMES)
    (tmp_path / "text.asm").write_text("mov.64 r1, 5\n")
    person.run("pixel.open", str(tmp_path / "text.asm"))
    assert (told(person)["title"], told(person)["registers"]["r1"]) == ("text", 0)
    assert told(person, "pixel.step")["registers"]["r1"] == 5
    person.offscreen.canvas.set_logical_size(1000, 700)
    person.frame(6)


def test_without_a_program_the_panel_says_how_to_get_one(person: Person) -> None:
    person.run("window.toggle_panel", "Pixel CPU")
    person.frame(6)
    with pytest.raises(ActionDisabled, match="No program is open"):
        person.run("pixel.step")
    file = person.state.pixel_cpu
    file.close()
    assert file.stepper is None
