"""Several views of one memory, several memories in one view: the window, off-screen, driven as a person would."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
from imgui_bundle import imgui

from app.actions import ActionDisabled, BadArguments
from app.layout import CONSOLE
from app.offscreen import OffscreenWindow
from app.pane import NOWHERE
from app.panels import hints
from app.panes import MAX_PANES
from app.views_file import FILE
from app.window_options import WindowOptions
from render.arrangement import SNAP, overlap
from tests.app.conftest import MIB, PATTERN, PATTERN_ADDRESS, SIZE, Person, make_guest


@pytest.fixture
def alone(host: Person) -> Person:
    """The shared window with its first view only, laid along the Hilbert curve."""
    for pane in host.state.stage.panes[1:]:
        host.window.session.looks.close_pane(pane.name)
    host.state.stage.panes[0].linked = False
    host.window.reset_layout()
    host.until(lambda: not host.state.stage.feeds.laying, "the volume should be laid")
    host.frame(4)
    return host


def second(person: Person) -> str:
    name = person.run("view.split")
    assert isinstance(name, str)
    person.frame(4)
    return name


def middle_of(person: Person, name: str) -> tuple[float, float]:
    x, y, width, height = person.state.stage.panes.named(name).rect
    return x + width / 2, y + height / 2


# Views


def test_a_second_view_shares_the_bytes_and_has_its_own_look(alone: Person) -> None:
    stage = alone.state.stage
    held = stage.feeds.memory_use()
    name = second(alone)
    assert name == "Volume 2"
    assert stage.active.name == name
    first, other = stage.panes
    assert first.rect[0] + first.rect[2] <= other.rect[0], "beside each other"
    assert min(*first.rect[2:], *other.rect[2:]) > 100
    assert stage.feeds.memory_use().machines == held.machines, "the bytes are not copied"
    alone.run("view.mode", "translucent")
    assert (first.view.look.mode, other.view.look.mode) == ("solid", "translucent")
    for view, mode in (("Volume", "solid"), (name, "translucent")):
        alone.run("view.activate", view)
        assert alone.state.settings.mode == mode, "what the top bar tells is the active view's"
    listed = alone.run("view.list")
    assert isinstance(listed, list)
    assert [(v["view"], v["active"], v["mode"]) for v in listed] == [
        ("Volume", False, "solid"),
        (name, True, "translucent"),
    ]
    alone.offscreen.sharpen()
    pictures = [pane.view.screenshot().astype(int) for pane in stage.panes]
    assert np.abs(pictures[0].mean(axis=(0, 1)) - pictures[1].mean(axis=(0, 1))).max() > 0.3


def test_the_view_that_was_clicked_is_the_one_that_keys_turn(alone: Person) -> None:
    name = second(alone)
    stage = alone.state.stage
    alone.click(*middle_of(alone, "Volume"))
    assert stage.active.name == "Volume"
    before = {pane.name: pane.view.camera.state for pane in stage.panes}
    alone.key("ArrowLeft")
    assert stage.panes.named("Volume").view.camera.state != before["Volume"]
    assert stage.panes.named(name).view.camera.state == before[name]
    x, y = middle_of(alone, name)
    alone.drag((x, y), (x + 40, y))
    assert stage.active.name == name, "a drag is a click, too"
    assert stage.panes.named(name).view.camera.state != before[name]
    alone.key("z", "Control")
    assert stage.panes.named(name).view.camera.state == before[name]
    assert alone.run("view.next") == "Volume"
    alone.wheel(*middle_of(alone, name), 1)
    assert stage.active.name == "Volume", "the wheel zooms where the pointer is, and chooses nothing"
    assert stage.panes.named(name).view.camera.state.distance < before[name].distance


def test_a_byte_that_is_selected_in_one_view_is_marked_in_both(alone: Person) -> None:
    name = second(alone)
    alone.run("view.select", hex(PATTERN_ADDRESS))
    for pane in alone.state.stage.panes:
        assert pane.view._composition.selection_mark.box == pane.view.byte_box("tiny", PATTERN_ADDRESS)
    alone.run("view.close", name)
    third = alone.state.stage.panes.named(second(alone))
    assert third.view._composition.selection_mark.box is not None, "also in one that came later"


def test_linked_cameras_move_as_one_both_ways_and_in_flight(alone: Person) -> None:
    name = second(alone)
    stage = alone.state.stage
    alone.run("volume.orbit", 30)
    states = [pane.view.camera.state for pane in stage.panes]
    assert states[0] != states[1]
    assert alone.run("view.link") is True
    assert all(pane.linked for pane in stage.panes)
    assert stage.panes.named(name).view.camera.state == states[0], "who is linked comes to where the other stands"
    for who in (name, "Volume"):
        alone.run("view.activate", who)
        before = stage.camera
        alone.run("volume.orbit", 10, 5)
        assert stage.camera != before
        assert stage.panes[0].view.camera.state == stage.panes[1].view.camera.state
    alone.wheel(*middle_of(alone, name), 1)  # of the view that is not the active one
    assert stage.panes[0].view.camera.state == stage.panes[1].view.camera.state
    alone.state.actions.run("view.fit", {})
    flying = stage.view.camera.flying
    assert flying
    while flying:  # slow frames may see no more of it than its end
        alone.frame(1)
        assert stage.panes[0].view.camera.state == stage.panes[1].view.camera.state
        flying = stage.view.camera.flying
    assert alone.run("view.link", name, False) is False
    assert not any(pane.linked for pane in stage.panes), "one alone is linked with nobody"
    alone.run("volume.orbit", 10)
    assert stage.panes[0].view.camera.state != stage.panes[1].view.camera.state


def test_views_are_opened_and_closed_by_the_buttons_in_their_corners(alone: Person) -> None:
    stage, px = alone.state.stage, alone.window._ui.theme.px

    def corner(name: str, from_right: int) -> tuple[float, float]:
        x, y, width, _ = stage.panes.named(name).rect
        return x + width - px(2) - px(3.5) - from_right * px(7.5), y + px(2) + px(3.5)

    alone.move(*alone.middle)
    alone.frame(3)
    alone.click(*corner("Volume", 0))
    alone.frame(4)
    assert [pane.name for pane in stage.panes] == ["Volume", "Volume 2"]
    assert alone.selected() is None, "the button took the click, not the memory behind it"
    alone.click(*corner("Volume 2", 1))
    assert [pane.linked for pane in stage.panes] == [True, True]
    alone.click(*corner("Volume 2", 0))
    alone.frame(4)
    assert [pane.name for pane in stage.panes] == ["Volume"]
    assert alone.toasts() == []


def test_there_are_as_many_views_as_there_can_be_and_always_one(alone: Person) -> None:
    stage = alone.state.stage
    with pytest.raises(ActionDisabled, match="only one view"):
        alone.run("view.close")
    for _ in range(MAX_PANES - 1):
        alone.run("view.split", "below")
        alone.frame(4)
    assert len({pane.rect for pane in stage.panes}) == MAX_PANES
    with pytest.raises(ActionDisabled, match="as many as"):
        alone.run("view.split")
    with pytest.raises(ValueError, match="views are open"):
        stage.panes.open()
    with pytest.raises(BadArguments, match="stays open"):
        alone.run("view.close", "Volume")
    with pytest.raises(ValueError, match="stays open"):
        stage.panes.close("Volume")
    with pytest.raises(KeyError):
        stage.panes.named("Volume 9")
    alone.offscreen.sharpen()
    alone.run("view.close", "Volume 2")
    assert alone.run("view.split") == "Volume 2", "the free name is used again"
    while len(stage.panes) > 1:
        alone.run("view.activate", stage.panes[-1].name)
        alone.run("view.close")
    assert stage.active.name == "Volume"
    alone.frame(4)


def test_a_view_behind_another_is_not_drawn_and_comes_back(alone: Person) -> None:
    name = second(alone)
    stage = alone.state.stage
    pane = stage.panes.named(name)
    window = imgui.internal.find_window_by_name(CONSOLE)
    imgui.internal.dock_builder_dock_window(name, window.dock_id)
    alone.frame(6)
    alone.state.focus_panel = CONSOLE
    alone.frame(6)
    hidden = [p for p in stage.panes if not p.visible]
    assert len(hidden) == 1
    assert hidden[0].rect == NOWHERE
    alone.run("volume.orbit", 5)
    alone.state.focus_panel = hidden[0].name
    alone.frame(4)
    assert hidden[0].visible
    assert pane.view.size_px[0] > 100


def test_the_hover_label_looks_again_after_a_flight(alone: Person) -> None:
    pane = alone.state.stage.active
    x, y, width, height = pane.rect
    point = next(
        (x + px, y + py)
        for py in range(20, int(height) - 20, 7)
        for px in range(20, int(width) - 20, 7)
        if pane.hit(px, py) is not None and pane.hit(px + 3, py) is not None
    )
    alone.move(*point)
    alone.until(lambda: alone.state.hover is not None, "the byte under the pointer should be found")
    place = alone.state.hover
    assert place is not None
    alone.run("view.fly_to", "tiny", place.offset)
    alone.until(lambda: not pane.view.camera.flying, "the flight should end")
    alone.until(lambda: not alone.state.stage.panes.will_look(), "it should be looked at anew")
    alone.frame(2)
    assert alone.state.hover == alone.state.stage.pick(point[0] - x, point[1] - y)


def test_a_refused_address_can_be_left(alone: Person) -> None:
    alone.run("view.select", hex(PATTERN_ADDRESS))
    alone.key("g", text="g")
    alone.frame(3)
    for letter in "zzz":
        alone.key(letter, text=letter)
    alone.key("Enter")
    alone.frame(4)
    assert alone.toasts(), "it is said what is wrong"
    alone.key("Escape")
    alone.frame(4)
    assert alone.state.address_text == hex(PATTERN_ADDRESS)
    assert alone.selected() is not None


# Curves


def test_memory_laid_along_another_curve_is_the_same_memory(alone: Person) -> None:
    stage = alone.state.stage
    name = second(alone)
    alone.run("view.select", hex(PATTERN_ADDRESS + 5))
    selected, camera = alone.selected(), [pane.view.camera.state for pane in stage.panes]
    assert selected is not None
    voxels = {stage.voxel(selected)}
    for curve in ("morton", "linear", "hilbert"):
        old = stage.feeds["tiny"].store
        alone.run("view.curve", curve)
        assert stage.feeds["tiny"].store is old or not stage.feeds.laying, (
            "the old picture stays until the new one is ready"
        )
        alone.until(lambda: not stage.feeds.laying, "the volume should be laid")
        store = stage.feeds["tiny"].store
        assert store is not old
        assert store.curve.name == curve
        assert stage.curve_of(selected) == curve
        assert bytes(store.read_page(PATTERN_ADDRESS // 4096)) == PATTERN
        assert alone.selected() == selected
        assert stage.voxel(selected) == tuple(
            int(v) for v in store.curve.voxel_from_address(np.array([selected.offset], np.uint64), store.order)[0]
        )
        voxels.add(stage.voxel(selected))
        for pane in stage.panes:
            assert pane.view._composition.selection_mark.box == pane.view.byte_box("tiny", selected.offset)
        assert [pane.view.camera.state for pane in stage.panes] == camera
        alone.offscreen.sharpen()
    assert len(voxels) == 3
    assert alone.state.settings.curve == "hilbert"
    with pytest.raises(BadArguments):
        alone.run("view.curve", "peano")
    alone.run("view.close", name)


def test_a_page_that_was_laid_open_is_found_again(alone: Person) -> None:
    stage = alone.state.stage
    alone.run("view.go_to", hex(PATTERN_ADDRESS + 5))
    alone.until(lambda: not stage.view.camera.flying, "the flight should end")
    stage.view.camera.fly_to(stage.view.page_box("tiny", PATTERN_ADDRESS), time.monotonic(), open_up=True)
    stage.view.camera.skip()
    alone.run("view.curve", "morton")
    alone.until(lambda: not stage.feeds.laying, "the volume should be laid")
    alone.until(lambda: not stage.view.camera.flying, "the flight should end")
    low, high = stage.view.page_box("tiny", PATTERN_ADDRESS)
    assert stage.camera.target == pytest.approx([(a + b) / 2 for a, b in zip(low, high, strict=True)])
    alone.run("view.curve", "hilbert")
    alone.until(lambda: not stage.feeds.laying, "the volume should be laid")


def test_another_wish_before_the_first_is_done_wins(alone: Person) -> None:
    stage = alone.state.stage
    alone.window.session.kept.change(curve="morton")
    alone.window.session.kept.change(curve="linear")
    alone.until(lambda: not stage.feeds.laying, "the volume should be laid")
    assert stage.feeds["tiny"].store.curve.name == "linear"
    alone.window.session.kept.change(curve="morton")
    alone.window.session.kept.change(curve="linear")
    assert stage.feeds.laying == (), "it is laid so already"
    alone.run("view.curve", "hilbert")
    alone.until(lambda: not stage.feeds.laying, "the volume should be laid")


def test_where_there_is_no_room_for_two_the_new_one_fills_before_ones_eyes(alone: Person) -> None:
    stage = alone.state.stage
    camera, box = stage.camera, stage.view.volume_box("tiny")
    usual = stage.feeds.usual_budget_bytes
    stage.feeds._usual_budget_bytes = stage.feeds.memory_use().total + (1 << 20)  # an adapter that has no more
    try:
        alone.run("view.curve", "linear")
        assert stage.feeds.laying == ()
        assert stage.feeds["tiny"].store.curve.name == "linear"
        alone.until(lambda: stage.feeds["tiny"].caught_up, "it should fill")
        alone.frame(2)
    finally:
        stage.feeds._usual_budget_bytes = usual
    assert bytes(stage.feeds["tiny"].store.read_page(PATTERN_ADDRESS // 4096)) == PATTERN
    assert stage.view.volume_box("tiny") == box
    assert stage.camera.target == camera.target
    alone.run("view.curve", "hilbert")
    alone.until(lambda: not stage.feeds.laying, "the volume should be laid")


# Volumes


def test_a_volume_is_carried_by_alt_and_a_drag(own_host: Person, homes: Path) -> None:
    host, stage = own_host, own_host.state.stage
    job = host.window.session.machines.launch(make_guest(homes, "other", ram_bytes=2 * MIB))
    host.until(lambda: job.wait(0), "the launch should end")
    host.until(lambda: len(stage.feeds) == 2, "both should be shown")
    host.until(lambda: not stage.view.camera.flying, "the flight should end")
    machine = host.state.machine("other")
    assert machine is not None
    host.until(lambda: machine.ready, "it should be up")
    x, y, width, height = stage.active.rect
    inside = [
        (x + px, y + py)
        for py in range(8, int(height), 8)
        for px in range(8, int(width), 8)
        if stage.view.volume_at(px, py) == "other"
    ]
    start = inside[len(inside) // 2]
    before, camera = stage.places.now(), stage.camera
    host.offscreen.send({"event_type": "key_down", "key": "Alt"})
    host.move(*start)
    host.frame(2)
    assert stage.view._layers["other"].frame._emphasis > 1
    host.drag(start, (start[0] + 60, start[1] + 30))
    after = stage.places.now()
    assert after["tiny"] == before["tiny"]
    assert after["other"] != before["other"]
    assert all(value % SNAP == 0 for value in after["other"])
    assert after["other"][2] == before["other"][2], "it stays on the floor"
    assert stage.camera == camera, "the camera did not move with it"
    # Into the other one it cannot be carried.
    middle = stage.view.volume_box("tiny")
    now = stage.view.volume_box("other")
    host.drag(start, (start[0] - 400, start[1] - 100))
    assert not overlap(middle, stage.view.volume_box("other"))
    host.offscreen.send({"event_type": "key_up", "key": "Alt"})
    host.frame(2)
    assert stage.view._layers["other"].frame._emphasis == 1
    while stage.places.now() != before:
        host.key("z", "Control")
        assert host.state.history.can_undo or stage.places.now() == before
    host.key("Z", "Control", "Shift")
    assert stage.view.volume_box("other") == now
    _check_actions_on_volumes(host)


def _check_actions_on_volumes(host: Person) -> None:
    stage = host.state.stage
    places = host.run("view.move_volume", "other", 1000, -1000)
    assert isinstance(places, dict)
    assert places["other"] == [992.0, -992.0, 0.0]
    tiny = stage.places.now()["tiny"]
    with pytest.raises(BadArguments, match="another volume stands there"):
        host.run("view.move_volume", "other", *tiny)
    with pytest.raises(BadArguments, match="must lie between"):
        host.run("view.move_volume", "other", 1e9, 0)
    assert stage.places.kept["other"] == (992.0, -992.0, 0.0)
    arranged = host.run("view.arrange")
    assert arranged == host.run("view.volumes")
    assert stage.places.kept == {}
    host.until(lambda: not stage.view.camera.flying, "the flight should end")
    assert not overlap(stage.view.volume_box("tiny"), stage.view.volume_box("other"))
    # A machine that comes back stands where it was put.
    host.run("view.move_volume", "other", 1000, -1000)
    host.run("machine.stop", "other")
    host.until(lambda: len(stage.feeds) == 1, "it should be gone")
    with pytest.raises(ActionDisabled, match="only one volume"):
        host.run("view.arrange")
    assert stage.places.kept == {"other": (992.0, -992.0, 0.0)}


# What is kept


def test_views_their_looks_and_places_outlive_the_window(homes: Path) -> None:
    with OffscreenWindow(WindowOptions(size=SIZE, tour=False)) as offscreen:
        person = Person(offscreen)
        person.frame(8)
        person.run("view.split")
        person.run("view.mode", "mip")
        person.run("view.link")
        person.state.stage.places.kept["demo"] = (32.0, 64.0, 0.0)
        person.frame(6)
        rects = [pane.rect for pane in person.state.stage.panes]
    kept = json.loads((homes / "config" / "glassbox" / FILE).read_text())
    assert kept["views"] == ["Volume", "Volume 2"]
    with OffscreenWindow(WindowOptions(size=SIZE, tour=False)) as offscreen:
        person = Person(offscreen)
        person.frame(8)
        stage = person.state.stage
        assert [(p.name, p.linked, p.view.look.mode) for p in stage.panes] == [
            ("Volume", True, "solid"),
            ("Volume 2", True, "mip"),
        ]
        assert stage.active.name == "Volume 2"
        assert person.state.settings.mode == "mip"
        assert stage.places.kept == {"demo": (32.0, 64.0, 0.0)}
        assert [pane.rect for pane in stage.panes] == rects
        person.run("view.close")
    with OffscreenWindow(WindowOptions(size=SIZE, tour=False)) as offscreen:
        assert [pane.name for pane in offscreen.window.state.stage.panes] == ["Volume"]


def test_views_that_cannot_be_written_are_said_once(homes: Path) -> None:
    with OffscreenWindow(WindowOptions(size=SIZE, tour=False)) as offscreen:
        person = Person(offscreen)
        person.frame(4)
        person.run("view.split")
        folder = person.window.session.kept.folder
        (folder / FILE).mkdir()
        person.until(lambda: "The views could not be saved" in person.toasts(), "that should be said")
        count = len(person.toasts())
        time.sleep(1.2)
        person.frame(3)
        assert len(person.toasts()) <= count
        (folder / FILE).rmdir()


# Odd sizes


@pytest.mark.parametrize("size", [(1, 1), (0, 0), (3, 500), (900, 2)])
def test_a_window_without_room_is_a_picture_and_no_more(alone: Person, size: tuple[int, int]) -> None:
    second(alone)
    camera = alone.state.stage.camera
    alone.offscreen.canvas.set_logical_size(*size)
    alone.window._on_resize({"width": size[0], "height": size[1]})
    alone.frame(6)
    picture = alone.offscreen.picture()
    assert picture.shape == (max(1, size[1]), max(1, size[0]), 4)
    assert alone.toasts() == []
    alone.offscreen.canvas.set_logical_size(*SIZE)
    alone.frame(6)
    assert all(min(pane.rect[2:]) > 100 for pane in alone.state.stage.panes)
    assert alone.state.stage.camera == camera
    assert alone.state.settings.window_width in (0, SIZE[0]), "a size like this is not kept"


# Hints


@pytest.mark.parametrize("age", [0.0, 1.0, 3.0, 5.0, 8.0, 12.5, 14.0])
def test_where_there_is_room_for_one_hint_they_take_turns(age: float) -> None:
    shown = [hints.opacity_in_turn(age, index) for index in range(len(hints.HINTS))]
    assert all(0 <= value <= 1 for value in shown)
    assert sum(value > 0 for value in shown) <= 1
    assert any(shown) == (0 < age < hints.STAY_S)


# Budgets


def test_the_budgets_are_what_the_user_says(alone: Person) -> None:
    stage, state = alone.state.stage, alone.state
    usual_s = stage.frame_budget_s
    assert alone.run("view.frame_budget", 50) == 50
    second(alone)
    assert [pane.view.budget.frame_s for pane in stage.panes] == pytest.approx([0.025] * 2), "two views share a frame"
    assert alone.run("view.frame_budget", 0) == pytest.approx(usual_s * 1000)
    for wrong in (1, 1000, -5):
        with pytest.raises(BadArguments, match="must lie between"):
            alone.run("view.frame_budget", wrong)
    usual = stage.feeds.memory_use().budget
    assert usual == stage.feeds.usual_budget_bytes
    store = stage.feeds["tiny"].store
    assert alone.run("view.memory_budget", "1G") == 1 << 30
    assert state.settings.memory_budget_mib == 1024
    assert stage.feeds["tiny"].store is store, "what fits stays as it is"
    with pytest.raises(BadArguments, match="at least 64 MiB"):
        alone.run("view.memory_budget", "1M")
    assert alone.run("view.memory_budget", 0) == usual


def test_a_budget_that_is_too_small_keeps_the_volume_and_gives_memory_back(alone: Person) -> None:
    stage = alone.state.stage
    box, voxels = stage.view.volume_box("tiny"), stage.feeds.memory_use().by_kind()["voxels"]
    stage.feeds.set_memory_budget(2 << 20)
    assert stage.feeds["tiny"].store.curve.name == "hilbert"
    alone.until(lambda: stage.feeds["tiny"].caught_up, "it should fill")
    alone.frame(4)
    assert stage.view.volume_box("tiny") == box
    assert stage.feeds.memory_use().by_kind()["voxels"] <= voxels
    stage.feeds.set_memory_budget(0)
    alone.until(lambda: not stage.feeds.laying and stage.feeds["tiny"].caught_up, "it should be whole again")
    assert not stage.feeds["tiny"].store.is_pooled
    assert bytes(stage.feeds["tiny"].store.read_page(PATTERN_ADDRESS // 4096)) == PATTERN


def test_the_performance_panel_shows_passes_memory_and_budgets(alone: Person) -> None:
    state, px = alone.state, alone.window._ui.theme.px
    alone.run("window.resize", 1280, 1400)  # below the machines, all of it is seen in a window of some height
    alone.run("window.show", "Performance")
    for _ in range(12):
        alone.run("volume.orbit", 7)
    alone.until(lambda: state.pass_figures.total is not None, "the GPU's figures should come")
    alone.until(lambda: state.memory_use.total > 0, "the memory's too")
    assert {row.name for row in state.pass_figures.rows} >= {"march", "compose"}
    window = imgui.internal.find_window_by_name("Performance")
    left, top, right = window.pos.x + px(3), window.pos.y, window.pos.x + window.size.x - px(3)
    picture = alone.offscreen.picture()[round(top) : round(top + px(60)), round(left) : round(right), :3].astype(float)
    for colour in (alone.window._ui.theme.accent, alone.window._ui.theme.ansi[5]):
        found = (np.abs(picture - np.array(colour[:3]) * 255).max(axis=2) < 6).sum()
        assert found > 20, "bars of the march and of what is composed"
    # Both sliders, found by trying every line: a press in the middle of the first gives another frame budget.
    for y in np.arange(top + px(60), top + window.size.y - px(4), px(2)):
        alone.click(left + px(17.5), float(y))
        if state.settings.frame_budget_ms:
            break
    assert 4 <= state.settings.frame_budget_ms < 33
    line = float(y)
    alone.click(left + px(17.5), line, times=2)
    alone.frame(3)
    assert state.settings.frame_budget_ms == 0, "a double click brings back what suits the adapter"
    alone.run("window.toggle_panel", "Performance")


def test_the_status_bar_tells_what_the_gpu_holds_and_leads_to_the_panel(alone: Person) -> None:
    alone.until(lambda: alone.state.memory_use.total > 0, "it should be known")
    assert "Performance" not in alone.state.docked or not alone.state.settings.show_performance
    alone.click(SIZE[0] - 40, SIZE[1] - 12)
    alone.frame(2)
    assert alone.state.focus_panel is None
    assert imgui.internal.find_window_by_name("Performance").active
    alone.run("window.toggle_panel", "Performance")
