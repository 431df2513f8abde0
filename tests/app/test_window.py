"""The window, off-screen, with a real guest: what mouse and keys do, and what survives bad luck."""

import dataclasses
import gc
import inspect
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import wgpu
from imgui_bundle import imgui
from PIL import Image

from app.actions import ActionDisabled, BadArguments
from app.jobs import JobState
from app.offscreen import OffscreenWindow
from app.panels import inspector
from app.place import Place
from app.settings import LAYOUT_FILE, SETTINGS_FILE
from app.shortcuts import is_shortcut
from app.theme import PALETTES
from app.toasts import ToastLevel
from app.window import TooManyFailures
from app.window_options import WindowOptions
from bridge.machine.discovery import discover
from bridge.machine.errors import NoSuchMachine
from bridge.machine.states import MachineState
from render.arrangement import overlap
from tests.app.conftest import COUNTER_ADDRESS, MIB, PATTERN, PATTERN_ADDRESS, SIZE, Person, make_guest


def test_an_empty_window_offers_a_start(person: Person) -> None:
    picture = person.offscreen.picture()
    assert picture.shape == (SIZE[1], SIZE[0], 4)
    accent = np.round(np.array(PALETTES["dark"].accent[:3]) * 255)
    x, y, width, height = person.state.volume_rect
    inside = picture[int(y) : int(y + height), int(x) : int(x + width), :3]
    assert (np.abs(inside - accent).max(axis=2) < 3).sum() > 1000  # the primary button in the empty volume
    assert person.window.describe()["title"].startswith("Glassbox")
    with pytest.raises(ActionDisabled, match="No machine's memory is shown"):
        person.run("view.go_to", 0)


def test_the_launched_guest_is_shown_as_it_is(host: Person) -> None:
    state = host.state
    assert state.current == "tiny"
    assert "tiny" in host.window.describe()["title"]
    selected = host.run("view.select", hex(PATTERN_ADDRESS + 5))
    assert isinstance(selected, dict)
    assert selected["address"] == PATTERN_ADDRESS + 5
    assert selected["value"] == PATTERN[5]
    page = state.stage.feeds["tiny"].store.read_page(PATTERN_ADDRESS // 4096)
    assert bytes(page) == PATTERN  # what the GPU holds is what the guest wrote
    host.until(lambda: "tiny" in state.vitals and len(state.vitals["tiny"].cpu) > 0, "its load should be measured")


def test_dragging_orbits_pans_and_is_undone(host: Person) -> None:
    camera = host.state.stage.camera
    x, y = host.middle
    host.drag((x, y), (x + 60, y))
    orbited = host.state.stage.camera
    assert orbited.azimuth_degrees == pytest.approx(camera.azimuth_degrees - 18, abs=0.01)
    assert orbited.target == camera.target
    for button in (2, 3):
        before = host.state.stage.camera
        host.drag((x, y), (x + 50, y + 20), button=button)
        after = host.state.stage.camera
        assert after.azimuth_degrees == before.azimuth_degrees
        assert after.target != before.target
    assert not host.popup_open()  # a drag with the right button is no right click
    host.key("z", "Control")
    host.key("z", "Control")
    assert host.state.stage.camera == orbited
    host.key("z", "Control")
    assert host.state.stage.camera == camera
    host.key("Z", "Control", "Shift")
    assert host.state.stage.camera == orbited
    assert host.selected() is None


def test_panning_keeps_what_is_at_the_targets_depth_under_the_pointer(host: Person) -> None:
    height = host.state.volume_rect[3]
    before = host.state.stage.camera
    x, y = host.middle
    host.drag((x, y), (x, y - 70), button=2)
    after = host.state.stage.camera
    moved = np.linalg.norm(np.subtract(after.target, before.target))
    visible = 2 * host.state.stage.view.camera.half_extent()[1] * before.distance
    assert moved == pytest.approx(visible * 70 / height, rel=1e-6)


def test_the_wheel_zooms_both_ways(host: Person) -> None:
    start = host.state.stage.camera.distance
    x, y, width, height = host.state.volume_rect
    host.wheel(x + width - 12, y + height - 12, 1)  # beside the volume: towards the target
    assert host.state.stage.camera.distance == pytest.approx(start / 1.18)
    host.wheel(x + width - 12, y + height - 12, -1)
    assert host.state.stage.camera.distance == pytest.approx(start)


def test_a_click_selects_what_is_drawn_there(host: Person) -> None:
    point = _somewhere_on_the_volume(host)
    x, y = host.state.volume_rect[:2]
    expected = host.state.stage.pick(point[0] - x, point[1] - y)
    host.click(*point)
    assert host.selected() == expected
    assert expected is not None
    assert host.state.address_text == hex(host.state.stage.paddr(expected) or 0)
    host.key("Escape")
    assert host.selected() is None
    host.key("z", "Control")
    assert host.selected() == expected


def test_a_double_click_flies_there(host: Person) -> None:
    point = _somewhere_on_the_volume(host)
    far = host.state.stage.camera.distance
    host.click(*point, times=2)
    place = host.selected()
    assert place is not None
    host.until(lambda: not host.state.stage.view.camera.flying, "the flight should end")
    assert host.state.stage.camera.distance < far / 3
    box = host.state.stage.view.page_box("tiny", place.offset)
    assert host.state.stage.camera.target == pytest.approx([(a + b) / 2 for a, b in zip(*box, strict=True)])


def test_hover_says_the_address_after_a_rest(host: Person) -> None:
    point = _somewhere_on_the_volume(host)
    host.move(*point)
    host.until(lambda: host.state.hover is not None, "the byte under the pointer should be found")
    x, y = host.state.volume_rect[:2]
    assert host.state.hover == host.state.stage.pick(point[0] - x, point[1] - y)
    state = host.run("window.state")
    assert isinstance(state, dict)
    assert host.state.hover is not None
    assert state["hover"] == host.state.stage.paddr(host.state.hover)
    host.move(5, 300)
    host.frame()
    assert host.state.hover is None


def test_right_click_offers_what_can_be_done(host: Person) -> None:
    point = _somewhere_on_the_volume(host)
    host.click(*point, button=2)
    place = host.state.menu_place
    assert place is not None
    host.frame(3)
    # The first entries lie below the address: "Fly there" is the first of them.
    host.click(point[0] + 60, point[1] + 48)
    assert host.selected() == place
    host.click(*point, button=2)
    host.frame(3)
    assert host.popup_open()
    host.key("Escape")
    host.frame(3)
    assert not host.popup_open()
    assert host.selected() == place  # Escape left the menu, not the selection
    host.click(*point, button=2)
    host.frame(3)
    assert host.popup_open()
    host.key("k", "Control")
    host.frame(3)
    assert not host.popup_open()  # the search box does not open below a menu
    assert host.state.search.open


def test_frames_leave_nothing_behind_on_the_gpu(host: Person) -> None:
    """Of each kind of the driver's objects there are as many after hundreds of frames, turns and cuts as before."""

    def objects() -> dict[str, int]:
        gc.collect()
        host.frame(1)
        native = wgpu.diagnostics.get_dict()["wgpu_native_counts"]
        return {kind: told["hub"]["hub"]["k"] for kind, told in native.items() if "hub" in told.get("hub", {})}

    def look_around() -> None:
        host.run("volume.orbit", 5)
        host.frame(3)
        host.run("view.slice", "x", "50%")
        host.frame(3)
        host.run("view.slice_off")
        host.frame(3)

    look_around()
    host.frame(30)
    before = objects()
    for _ in range(15):
        look_around()
    host.frame(30)
    after = objects()
    assert before["Buffer"] > 10
    grown = {kind: (before[kind], count) for kind, count in after.items() if count > before[kind] + 3}
    assert grown == {}


def test_keys_turn_fit_and_look_along_axes(host: Person) -> None:
    host.key("f", text="f")
    host.until(lambda: not host.state.stage.view.camera.flying, "the flight should end")
    start = host.state.stage.camera
    host.key("ArrowLeft")
    assert host.state.stage.camera.azimuth_degrees == pytest.approx(start.azimuth_degrees - 7.5)
    host.key("w", text="w")
    assert host.state.stage.camera.elevation_degrees == pytest.approx(start.elevation_degrees + 7.5)
    host.key("+", text="+")
    assert host.state.stage.camera.distance == pytest.approx(start.distance / 1.25)
    host.key("-", text="-")
    for key, angles in {
        "1": (0, 0),
        "2": (180, 0),
        "3": (90, 0),
        "4": (-90, 0),
        "5": (-90, 90),
        "6": (-90, -90),
    }.items():
        host.key(key, text=key)
        host.until(lambda: not host.state.stage.view.camera.flying, "the flight should end")
        now = host.state.stage.camera
        assert (abs(now.azimuth_degrees) if key == "2" else now.azimuth_degrees) == pytest.approx(angles[0], abs=1e-6)
        assert now.elevation_degrees == pytest.approx(angles[1])
    host.run("volume.zoom", 4)
    host.key("f", text="f")
    host.until(lambda: not host.state.stage.view.camera.flying, "the flight should end")
    low, high = host.state.stage.view.volume_box("tiny")
    assert host.state.stage.camera.target == pytest.approx([(a + b) / 2 for a, b in zip(low, high, strict=True)])
    assert host.state.stage.camera.distance > start.distance / 2


def test_a_held_key_turns_evenly(host: Person) -> None:
    start = host.state.stage.camera.azimuth_degrees

    def turned() -> float:
        return (host.state.stage.camera.azimuth_degrees - start) % 360

    began = time.monotonic()
    host.offscreen.send({"event_type": "key_down", "key": "d"})
    host.until(lambda: 20 < turned() < 180, "it should turn")
    host.offscreen.send({"event_type": "key_up", "key": "d"})
    host.frame(1)
    assert turned() / (time.monotonic() - began) < 112


def test_space_pauses_and_resumes(host: Person) -> None:
    machine = host.state.machine()
    assert machine is not None
    for expected in (MachineState.PAUSED, MachineState.RUNNING):
        host.key(" ", text=" ")
        host.until(lambda want=expected: machine.info.state is want, f"it should be {expected}")  # type: ignore[misc]
    for action, expected in (("machine.pause", MachineState.PAUSED), ("machine.resume", MachineState.RUNNING)):
        host.run(action)
        host.until(lambda want=expected: machine.info.state is want, f"it should be {expected}")  # type: ignore[misc]


def test_search_goes_to_an_address_and_runs_actions(host: Person) -> None:
    host.key("k", "Control")
    assert host.searching()
    host.type("0x30000")
    host.key("Enter")
    host.frame(4)
    assert host.selected() == Place("tiny", COUNTER_ADDRESS)
    assert not host.searching()
    assert host.searched() == ""
    host.key("/", text="/")
    assert host.searching()
    assert host.searched() == ""  # the slash opened it and is not in it
    host.until(lambda: not host.state.stage.view.camera.flying, "the flight should end")
    camera = host.state.stage.camera
    host.type("fw")  # letters that are keys elsewhere
    assert host.searched() == "fw"
    assert host.state.stage.camera == camera
    host.key("Escape")
    host.frame(3)
    assert not host.searching()
    assert host.searched() == ""
    assert host.selected() is not None  # the box was left, nothing else
    host.key("k", "Control")
    host.type("light")
    host.key("Enter")
    host.frame(3)
    assert host.state.settings.theme == "light"


def test_search_lines_can_be_clicked_and_filled_in(host: Person) -> None:
    host.key("k", "Control")
    host.type("select the byte")
    host.key("Enter")
    host.frame(3)
    assert host.searched() == "view.select "
    assert host.searching()
    host.type("0x20001")
    host.key("Enter")
    host.frame(3)
    assert host.selected() == Place("tiny", PATTERN_ADDRESS + 1)
    host.key("k", "Control")
    host.type("draw tran")
    box = imgui.internal.find_window_by_name("##results")
    host.click(box.pos.x + 80, box.pos.y + 24)
    assert host.state.settings.mode == "translucent"
    assert not host.searching()
    host.key("k", "Control")
    host.key("ArrowDown")
    host.key("ArrowDown")
    assert host.state.search.chosen == 2
    host.type("zzzzzz")
    host.frame(2)
    host.click(*host.middle)
    host.frame(4)
    assert not host.searching()


def test_typing_in_the_console_reaches_the_guest_alone(host: Person) -> None:
    camera, machine = host.state.stage.camera, host.state.machine()
    assert machine is not None
    host.key("j", text="j")
    host.frame(4)
    assert host.console_typing()
    host.type("fw2")
    host.until(lambda: machine.console.read_since(0)[1].endswith(b"$ fw2"), "the guest should echo")
    assert host.state.stage.camera == camera
    assert b"test guest\r\nREADY" in machine.console.read_since(0)[1]
    assert "fw2" in str(host.run("console.text"))
    host.key("Escape", "Shift")
    host.frame(3)
    assert not host.console_typing()
    host.run("console.send", "xyz")
    host.until(lambda: machine.console.read_since(0)[1].endswith(b"fw2xyz"), "the guest should echo")


def test_the_inspector_takes_an_address_and_follows_hex_clicks(host: Person) -> None:
    host.key("g", text="g")
    host.frame(3)
    host.type("20010h")
    host.key("Enter")
    host.frame(3)
    assert host.selected() == Place("tiny", 0x20010)
    host.run("inspector.bits", "16")
    assert host.state.disassemblies["tiny"].bits == 16
    assert host.state.settings.bits == 16
    copied = host.run("selection.copy_address")
    assert copied == "0x20010"
    assert host.offscreen.clipboard.get() == "0x20010"
    host.run("view.show_in_hex", offset=0x20020)
    assert host.selected() == Place("tiny", 0x20020)
    host.run("selection.clear")
    assert host.selected() is None


def test_addresses_without_ram_are_refused_in_words(host: Person) -> None:
    host.window.session.run("view.go_to", {"address": 1 << 40})
    host.window.session.run("view.fly_to", {"offset": 1 << 40})
    assert len(host.toasts()) == 2
    assert host.selected() is None
    for args in ({"machine": "nope"}, {"factor": 0}):
        action = "view.fit" if "machine" in args else "volume.zoom"
        with pytest.raises(BadArguments):
            host.state.actions.run(action, args)


def test_escape_always_leaves(host: Person) -> None:
    for action, overlay in (
        ("help.keys", "keys"),
        ("help.about", "about"),
        ("machine.launch_dialog", "launch"),
        ("machine.attach_dialog", "attach"),
    ):
        host.run(action)
        host.frame(3)
        assert host.overlay() == overlay
        camera = host.state.stage.camera
        host.key("f", text="f")  # keys do not reach what lies behind
        assert host.state.stage.camera == camera
        host.key("Escape")
        host.frame(3)
        assert host.overlay() is None
        assert not host.popup_open()
    host.key("F1")
    assert host.overlay() == "keys"


def test_the_launch_dialog_launches_what_is_chosen(host: Person) -> None:
    host.key("n", "Control")
    host.frame(3)
    form = host.state.launch_form
    form.ram, form.name = "nonsense", "second"
    host.frame(2)
    host.key("Enter")
    assert host.overlay() == "launch"  # not with such an amount of memory
    form.ram, form.guest = "4M", "no-such-guest"
    host.key("Enter")
    host.frame(2)
    assert host.overlay() is None
    assert any("no-such-guest" in t.title + t.detail for t in host.state.toasts.shown())


def test_theme_scale_mode_and_palette_reach_the_picture(host: Person) -> None:
    for theme in ("light", "dark"):
        if host.state.settings.theme != theme:
            host.key("l", "Control")
        host.frame(3)
        surface = np.round(np.array(PALETTES[theme].surface[:3]) * 255)
        picture = host.offscreen.picture()
        assert np.abs(picture[500, 4, :3] - surface).max() <= 1  # the ground of the panels at the left
    dark = host.offscreen.picture()
    host.run("window.larger")
    assert host.state.settings.ui_scale == 1.125
    host.frame(4)
    assert (host.offscreen.picture() != dark).any()
    host.run("window.smaller")
    assert host.run("window.scale", 9) == 2.5
    host.run("window.scale", 1)
    host.run("view.mode", "translucent")
    assert host.state.stage.view.look.mode == "translucent"
    assert [host.run("view.next_mode") for _ in range(3)] == ["mip", "slice", "solid"]
    for palette in host.state.stage.palettes:
        host.run("view.palette", palette)
        assert host.state.stage.view.look.palette == palette


def test_panels_hide_show_and_go_back_to_their_places(host: Person) -> None:
    width = host.state.volume_rect[2]
    host.key("b", "Control")
    host.key("p", "Control")
    host.frame(5)
    assert host.state.volume_rect[2] > width
    assert host.run("window.toggle_panel", "Machines") is True
    assert host.run("window.toggle_panel", "Processes") is True
    for panel in ("Performance", "Log", "Console", "Inspector"):
        host.run("window.show", panel)
        host.frame(3)
        assert imgui.internal.find_window_by_name(panel).hidden is False
    host.run("window.reset_layout")
    host.frame(8)
    assert host.state.volume_rect[2] == pytest.approx(width, abs=2)
    tab = imgui.internal.find_window_by_name("Console")
    assert not tab.hidden


def test_the_window_can_be_resized(host: Person) -> None:
    host.run("window.resize", 900, 600)
    host.frame(5)
    assert host.offscreen.picture().shape == (600, 900, 4)
    x, y, width, height = host.state.volume_rect
    assert x + width <= 900
    assert y + height <= 600
    assert host.state.stage.view.size_px == (round(width), round(height))
    with pytest.raises(BadArguments):
        host.state.actions.run("window.resize", [1, 1])
    assert host.run("window.fullscreen") is False  # there is no screen


def test_errors_become_toasts_with_a_way_out(host: Person) -> None:
    host.window.session.run("machine.stop", {"machine": "nope"})
    assert "nope" in host.toasts()[0]
    assert any("nope" in line for line in host.run("log.text"))  # type: ignore[attr-defined]
    host.frame(30)
    toast = imgui.internal.find_window_by_name(f"##toast{host.state.toasts.shown()[0].number}")
    host.run("window.toggle_panel", "Log")
    host.click(toast.pos.x + 60, toast.pos.y + toast.size.y - 20)  # its only way: "Show log"
    assert host.state.settings.show_log
    assert host.toasts() == []
    for i in range(6):  # of the kind that leaves by no clock
        host.state.toasts.add(ToastLevel.ERROR, f"Error {i}")
    host.frame(20)
    newest = imgui.internal.find_window_by_name(f"##toast{host.state.toasts.shown()[-1].number}")
    host.click(newest.pos.x + newest.size.x - 24, newest.pos.y + 20)
    assert host.toasts() == [f"Error {i}" for i in range(1, 5)]
    host.run("window.dismiss")
    assert host.toasts() == []
    host.run("log.clear")
    assert host.run("log.text") == []


def test_a_machine_that_is_killed_is_said_and_can_be_launched_again(own_host: Person) -> None:
    host = own_host
    machine = host.state.machine()
    assert machine is not None
    assert machine.info.pid is not None
    host.run("view.select", "0x20000")
    os.kill(machine.info.pid, signal.SIGKILL)
    host.until(lambda: machine.info.state is MachineState.CRASHED, "the death should be noticed")
    host.until(lambda: bool(host.toasts()), "the death should be said")
    assert host.toasts() == ["tiny ended unexpectedly"]
    assert [w.action for w in host.state.toasts.shown()[0].ways] == ["machine.launch", "window.show"]
    host.frame(3)
    assert host.state.stage.feeds == {}
    assert host.selected() is None
    assert [m.name for m in host.state.manager.machines()] == ["tiny"]  # with its last words
    host.run("machine.stop")
    assert host.state.manager.machines() == ()
    assert discover() == ()


def test_stop_takes_it_off_the_list(own_host: Person) -> None:
    host = own_host
    machine = host.state.machine("tiny")
    assert machine is not None
    assert machine.record is not None
    ram_path, pid = machine.record.ram_path, machine.info.pid
    assert ram_path.exists()
    host.run("machine.stop", "tiny")
    host.until(lambda: not host.state.manager.machines(), "the machine should end")
    assert host.state.current is None
    assert host.state.vitals == {}
    assert host.state.terminals == {}
    assert discover() == ()
    assert not ram_path.exists()
    assert not psutil.pid_exists(pid or 0)


def test_two_machines_stand_side_by_side(own_host: Person, homes: Path) -> None:
    host = own_host
    job = host.window.session.machines.launch(make_guest(homes, "other", ram_bytes=4 * MIB))
    host.until(lambda: job.wait(0), "the launch should end")
    host.until(lambda: len(host.state.stage.feeds) == 2, "both should be shown")
    assert host.state.current == "other"
    first, second = (host.state.stage.view.volume_box(n) for n in ("tiny", "other"))
    assert not overlap(first, second)
    host.run("machine.select", "tiny")
    assert host.state.current == "tiny"
    host.run("view.fit", "other")
    host.until(lambda: not host.state.stage.view.camera.flying, "the flight should end")
    listed = host.run("machine.list")
    assert isinstance(listed, list)
    assert [m["name"] for m in listed] == ["tiny", "other"]
    host.run("machine.reset", "other")
    host.run("machine.toggle", "other")
    host.until(lambda: not host.state.jobs.running(), "the jobs should end")


def test_a_cancelled_launch_leaves_nothing(person: Person, homes: Path) -> None:
    job = person.window.session.machines.launch(make_guest(homes))
    person.frame(1)
    assert person.run("job.cancel", job.number) in (True, False)
    person.until(lambda: job.wait(0), "the launch should end")
    assert job.state in (JobState.CANCELLED, JobState.DONE)
    if job.state is JobState.CANCELLED:
        assert person.toasts() == []
        assert person.state.manager.machines() == ()
        assert discover() == ()
    with pytest.raises(BadArguments):
        person.state.actions.run("job.cancel", [99999])


def test_closing_while_it_boots_leaves_nothing(homes: Path) -> None:
    before = {p.pid for p in psutil.Process().children(recursive=True)}
    started = time.monotonic()
    with OffscreenWindow(WindowOptions(guest=make_guest(homes), size=(800, 600))) as offscreen:
        offscreen.window.session.start()
        offscreen.frame(2)
    assert time.monotonic() - started < 60
    assert discover() == ()
    assert {p.pid for p in psutil.Process().children(recursive=True)} <= before
    assert not list((homes / "run" / "glassbox").glob("tiny*"))


def test_a_failing_panel_does_not_close_the_window(own_host: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    host = own_host

    def broken(*_args: object) -> None:
        raise ZeroDivisionError("a defect")

    with monkeypatch.context() as patch:
        patch.setattr(inspector, "draw", broken)
        host.frame(2)
    assert any("ZeroDivisionError" in t.title + t.detail for t in host.state.toasts.shown())
    host.frame(3)
    assert host.offscreen.picture()[..., :3].std() > 5
    with monkeypatch.context() as patch:
        patch.setattr(inspector, "draw", broken)
        for _ in range(20):
            if host.window.quit_requested:
                break
            try:
                host.window.frame()
            except TooManyFailures:
                break
    assert host.window.quit_requested


def test_what_is_kept_between_runs(homes: Path) -> None:
    options = WindowOptions(size=(1000, 640), tour=False)
    config = homes / "config" / "glassbox"
    with OffscreenWindow(options) as offscreen:
        someone = Person(offscreen)
        someone.frame(6)
        someone.run("window.toggle_theme")
        someone.run("window.toggle_panel", "Log")
        someone.frame(3)
    assert json.loads((config / SETTINGS_FILE).read_text())["theme"] == "light"
    assert "[Docking]" in (config / LAYOUT_FILE).read_text()
    with OffscreenWindow(options) as offscreen:
        assert offscreen.window.state.settings.theme == "light"
        assert not offscreen.window.state.settings.show_log
        offscreen.frame(4)
        assert offscreen.window.state.toasts.shown() == []
    (config / SETTINGS_FILE).write_text("{")
    (config / LAYOUT_FILE).write_text("[Docking][Data]\nDockNode ID=0xFFFFFFFF Parent=0xFFFFFFFF SplitX=X\n")
    with OffscreenWindow(options) as offscreen:
        someone = Person(offscreen)
        assert sorted(someone.toasts()) == ["Settings were reset", "The layout was reset"]  # before they leave
        someone.frame(6)
        assert someone.state.volume_rect[2] > 300


def test_a_full_disk_is_said(host: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("app.keeping.save_settings", full)
        patch.setattr("app.workspace.save_layout", full)
        host.run("window.toggle_theme")
        host.window.session.kept.save()
        host.window.workspace.save()
    assert host.toasts() == ["The settings could not be saved", "The layout could not be saved"]


def test_pictures_are_saved_whole(host: Person, tmp_path: Path) -> None:
    target = tmp_path / "window.png"
    assert host.run("window.screenshot", str(target)) == str(target)
    with Image.open(target) as image:
        assert image.size == SIZE
    assert list(tmp_path.iterdir()) == [target]
    for bad in (str(tmp_path / "window.txt"), "/no/such/folder/x.png"):
        with pytest.raises(BadArguments):
            host.state.actions.run("window.screenshot", [bad])


def test_scripts_are_told_everything_as_json(host: Person) -> None:
    host.run("view.select", "0x20000")
    state = json.loads(json.dumps(host.run("window.state")))
    assert state["selection"]["value"] == 1
    assert state["machines"][0]["name"] == "tiny"
    assert state["machines"][0]["shown"] is True
    assert state["volumes"]["tiny"]["bytes"] == 8 * MIB
    assert state["size"] == list(SIZE)
    listed = json.loads(json.dumps(host.run("actions.list")))
    assert {"machine.launch", "window.quit", "view.go_to"} <= {a["id"] for a in listed}
    camera = host.run("view.camera", azimuth=10, elevation=200, distance=500)
    assert isinstance(camera, dict)
    assert (camera["azimuth_degrees"], camera["elevation_degrees"], camera["distance"]) == (10, 90, 500)
    assert host.run("view.camera") == dataclasses.asdict(host.state.stage.camera)
    host.run("volume.orbit", 5, -10)
    host.run("volume.pan", 0.1, 0.1)
    host.run("window.forget_frames")
    host.run("view.axis", "+z")
    host.run("window.search", "theme")
    assert host.searched() == "theme"
    host.run("window.quit")
    assert host.window.quit_requested


def test_every_action_takes_the_arguments_that_it_names(person: Person) -> None:
    for action in person.state.actions:
        inspect.signature(action.run).bind(**{p.name: None for p in action.params})
        inspect.signature(action.run).bind(**{p.name: None for p in action.params if p.required})


def test_every_shortcut_is_well_formed(person: Person) -> None:
    for action in person.state.actions:
        assert all(is_shortcut(s) for s in action.shortcuts), action.id
        assert action.title[0].isupper()
    assert not is_shortcut("Shift+Ctrl+K")
    assert not is_shortcut("Hyper+K")


def test_the_greeting_turns_once_and_yields_to_the_user(homes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.greeting.TOUR_S", 90.0)  # frames may be seconds apart where much else is done
    options = WindowOptions(guest=make_guest(homes), size=(900, 600))
    with OffscreenWindow(options) as offscreen:
        someone = Person(offscreen)
        offscreen.window.session.start()
        someone.until(lambda: offscreen.window.session.greeting.touring, "the greeting should begin")
        start = someone.state.stage.camera.azimuth_degrees
        someone.until(lambda: someone.state.stage.camera.azimuth_degrees != start, "the camera should turn")
        assert someone.hinted()
        someone.key("Escape")
        assert not offscreen.window.session.greeting.touring
        assert not someone.hinted()
        assert someone.state.settings.greeted
        someone.run("help.hints")
        someone.frame(3)
        assert someone.hinted()
    with OffscreenWindow(options) as offscreen:
        someone = Person(offscreen)
        offscreen.window.session.start()
        machine_up = lambda: any(m.ready for m in someone.state.manager.machines())  # noqa: E731
        someone.until(machine_up, "the guest should be up")
        someone.frame(10)
        assert not offscreen.window.session.greeting.touring


ORPHAN_SCRIPT = """
import sys, time
from pathlib import Path
from bridge.machine.manager import MachineManager
from tests.app.conftest import make_guest
machine = MachineManager().launch(make_guest(Path(sys.argv[1]), "lost"))
print("up", flush=True)
time.sleep(60)
"""


@pytest.fixture
def orphan(homes: Path) -> Iterator[str]:
    """A machine whose Glassbox was killed."""
    with subprocess.Popen(
        [sys.executable, "-c", ORPHAN_SCRIPT, str(homes)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"up\n"
        owner.kill()
    yield "lost"
    for record in discover():
        if record.qemu is not None:
            os.kill(record.qemu.pid, signal.SIGKILL)


def test_orphans_are_offered_and_adopted(orphan: str, person: Person) -> None:
    person.until(lambda: bool(person.state.orphans), "the orphan should be found")
    person.frame(3)
    job = person.state.actions.run("machine.adopt", [orphan])
    person.until(lambda: job.wait(0), "the adoption should end")
    assert job.state is JobState.DONE
    person.until(lambda: orphan in person.state.stage.feeds, "its memory should be shown")
    assert person.state.current == orphan
    person.until(lambda: not person.state.orphans, "it is no orphan any more")
    detached = person.state.actions.run("machine.detach", [orphan])
    person.until(lambda: detached.wait(0), "it should be let go")
    assert person.toasts()[-1] == "lost was let go"
    person.until(lambda: bool(person.state.orphans), "it runs without a window again")
    stopped = person.state.actions.run("machine.stop_orphan", [orphan])
    person.until(lambda: stopped.wait(0), "it should end")
    assert discover() == ()


def test_an_orphan_without_its_ram_file_can_still_be_stopped(orphan: str, person: Person) -> None:
    (record,) = discover()
    record.ram_path.unlink()
    person.until(lambda: bool(person.state.orphans), "the orphan should be found")
    adopted = person.state.actions.run("machine.adopt", [orphan])
    person.until(lambda: adopted.wait(0), "the adoption should fail")
    assert adopted.state is JobState.FAILED
    stopped = person.state.actions.run("machine.stop_orphan", [orphan])
    person.until(lambda: stopped.wait(0), "it should end")
    assert stopped.state is JobState.DONE
    assert discover() == ()


def test_adopting_what_is_not_there_fails_in_words(person: Person) -> None:
    person.window.session.machines.adopt("nobody")
    person.until(lambda: bool(person.toasts()), "the failure should be said")
    assert person.toasts() == ["nobody could not be adopted"]
    person.window.session.machines.stop_orphan("nobody")
    person.until(lambda: len(person.toasts()) == 2, "the failure should be said")
    with pytest.raises(NoSuchMachine):
        person.window.session.state.require_machine("nobody")


def test_attach_and_let_go(person: Person, homes: Path) -> None:
    guest = make_guest(homes)
    path = homes / "qmp.sock"
    command = [
        *("qemu-system-x86_64", "-nodefaults", "-display", "none", "-m", "8M", "-fda", str(guest.floppy)),
        *("-object", "memory-backend-memfd,id=ram,size=8M,share=on", "-machine", "pc,memory-backend=ram"),
        *("-qmp", f"unix:{path},server=on,wait=off"),
    ]
    with subprocess.Popen(command) as qemu:
        try:
            person.until(path.exists, "QEMU should listen")
            job = person.state.actions.run("machine.attach", [str(path), "theirs"])
            person.until(lambda: job.wait(0), "the attaching should end")
            assert job.state is JobState.DONE, job.error
            person.until(lambda: "theirs" in person.state.stage.feeds, "its memory should be shown")
            machine = person.state.machine("theirs")
            assert machine is not None
            assert machine.info.attached
            person.frame(5)
            person.run("machine.stop", "theirs")  # for an attached one: let it go
            person.until(lambda: not person.state.manager.machines(), "it should be let go")
            assert qemu.poll() is None
        finally:
            qemu.kill()


def test_attaching_to_nothing_fails_in_words(person: Person, tmp_path: Path) -> None:
    silent = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(silent))
        person.window.session.machines.attach(silent)
        person.until(lambda: bool(person.toasts()), "the failure should be said")
    assert "could not be attached to" in person.toasts()[0]


def _somewhere_on_the_volume(person: Person) -> tuple[float, float]:
    """Return a point of the window where the volume shows a byte."""
    x, y, width, height = person.state.volume_rect
    stage = person.state.stage
    stage.view.finish(time.monotonic())
    for row in range(5, int(height), 9):
        for column in range(5, int(width), 9):
            if stage.pick(column, row) is not None:
                return x + column, y + row
    raise AssertionError("no byte is shown anywhere")


def test_letters_typed_before_the_box_has_the_keyboard_are_not_lost(host: Person) -> None:
    """The box gets the keyboard a frame after it was asked for; until then no letter may be taken for a shortcut."""
    send = host.offscreen.send
    camera = host.state.stage.camera
    # So quick that the window sees all of it at once.
    send({"event_type": "key_down", "key": "Control"})
    send({"event_type": "key_down", "key": "k"})
    send({"event_type": "key_up", "key": "Control"})
    send({"event_type": "key_up", "key": "k"})
    for letter in "0x7c0a":
        send({"event_type": "key_down", "key": letter})
        send({"event_type": "char", "data": letter})
        send({"event_type": "key_up", "key": letter})
    send({"event_type": "key_down", "key": "Enter"})
    send({"event_type": "key_up", "key": "Enter"})
    host.until(lambda: host.state.selection is not None, "it should go there")
    assert host.state.selection is not None
    assert host.state.selection.offset == 0x7C0A
    host.until(lambda: not host.state.stage.view.camera.flying, "the flight should end")
    camera = host.state.stage.camera
    host.state.run("window.search", {})
    for letter in "fit":
        send({"event_type": "key_down", "key": letter})
        host.frame(1)
        send({"event_type": "char", "data": letter})
        host.frame(1)
        send({"event_type": "key_up", "key": letter})
    host.until(lambda: len(host.state.search.text) >= 3, "the letters should come to the box")
    assert host.state.search.text == "fit"
    assert host.state.stage.camera == camera, "a letter meant for the box did something else"
    host.key("Escape")
    host.until(lambda: not host.state.search.open, "it should close")
