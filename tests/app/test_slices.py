"""Slice planes and clip box in the window: by action, by slider, in the flat picture, and by mouse in the volume."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from imgui_bundle import imgui

from app.actions import ActionDisabled, BadArguments
from app.layout import SLICES
from app.offscreen import OffscreenWindow
from app.panels import flat_picture
from app.place import Place
from app.slicing import Slicing
from app.voxels import place_of_voxel
from app.window_options import WindowOptions
from render.cut import Axis, Plane
from render.errors import BadCut
from render.planes import frame_of, voxel_middle
from tests.app.conftest import PATTERN_ADDRESS, SIZE, Person


def slicing(host: Person) -> Slicing:
    return host.state.slicings.get(host.state.stage, "tiny")


def shape(host: Person) -> tuple[int, int, int]:
    return host.state.stage.feeds["tiny"].store.shape_voxels


def open_panel(host: Person, axis: Axis = "z") -> tuple[float, float, float, float]:
    """Show the panel with one plane's flat picture; returns where that lies: x, y, width, height."""
    host.run("window.show", SLICES)
    host.run("view.slice_flat", axis)
    host.state.slices.places.clear()
    host.frame(8)
    return host.state.slices.rect


def on_screen(host: Person, voxel: tuple[float, float, float]) -> tuple[float, float]:
    """Where a point of the volume is seen in the 3D view, in the window's pixels."""
    found = host.state.stage.view.projection.pixel_of(np.array(voxel))
    assert found is not None
    x, y = host.state.volume_rect[:2]
    return x + found[0], y + found[1]


@pytest.fixture(autouse=True)
def _uncut(request: pytest.FixtureRequest) -> None:
    if "host" in request.fixturenames:
        someone: Person = request.getfixturevalue("host")
        someone.run("view.slice_off", machine="tiny") if slicing(someone).shown else None
        someone.state.slicings.set(someone.state.stage, "tiny", slicing(someone).with_clipping(False))
        someone.state.slices.axis = "z"
        someone.frame(2)


def test_without_a_machine_the_panel_says_so(person: Person) -> None:
    person.run("window.show", SLICES)
    person.frame(6)
    assert person.state.settings.show_slices
    with pytest.raises(ActionDisabled, match="No machine's memory is shown"):
        person.run("view.slice", "x", "50%")
    with pytest.raises(ActionDisabled, match="No machine's memory is shown"):
        person.run("view.clip", ":,:,:")
    assert not person.toasts()
    person.key("x", text="x")
    assert not person.state.settings.show_slices


def test_a_plane_by_action_shows_in_the_volume_and_is_undone(host: Person) -> None:
    host.run("view.slice", "x", "50%")
    side = shape(host)[0]
    assert host.state.stage.view.cut("tiny").planes == (Plane("x", side / 2),)
    host.run("view.slice", "x", "0x10")
    host.run("view.slice", axis="oblique", position="3@20,40")
    assert slicing(host).plane("oblique") == Plane("oblique", 3.0, 20.0, 40.0)
    host.run("view.slice_angles", 30, 10)
    assert slicing(host).plane("oblique") == Plane("oblique", 3.0, 30.0, 10.0)
    host.run("view.slice", axis="oblique", position="0", azimuth=5.0)
    assert slicing(host).plane("oblique") == Plane("oblique", 0.0, 5.0, 10.0)
    host.run("view.slice_off", "oblique")
    assert slicing(host).shown == {"x"}
    for _ in range(5):
        host.run("edit.undo")
    assert host.state.stage.view.cut("tiny").planes == (Plane("x", side / 2),)
    host.run("edit.undo")
    assert not slicing(host).shown
    host.run("edit.redo")
    assert slicing(host).shown == {"x"}
    assert host.run("view.slices") == {
        "tiny": host.run("view.slice_toggle", "y") and host.run("view.slice_toggle", "y")
    }


@pytest.mark.parametrize(
    ("action", "arguments", "error"),
    [
        ("view.slice", ("x", "9999"), "lies outside of"),
        ("view.slice", ("x", "many"), "no position"),
        ("view.slice", ("w", "1"), "none of"),
        ("view.slice", ("x", "1", "tiny", "30"), "only an oblique plane has angles"),
        ("view.slice", ("x", "1", "nobody"), "none of"),
        ("view.slice_angles", ("0", "95"), "from -90 to 90"),
        ("view.select_voxel", ("-1", "0", "0"), "is no voxel of tiny"),
        ("view.slice_at", ("z", "tiny", "0x10000000"), "lies outside the RAM"),
        ("view.slice_at", (), "no byte is selected"),
        ("view.clip", ("1:2",), "is no clip box"),
        ("view.clip", ("5:4,:,:",), "there is nothing"),
    ],
)
def test_slips_are_told(host: Person, action: str, arguments: tuple[str, ...], error: str) -> None:
    before = slicing(host)
    with pytest.raises((BadArguments, BadCut), match=error):
        host.run(action, *arguments)
    assert slicing(host) == before


def test_planes_come_to_the_selected_byte_and_step(host: Person) -> None:
    with pytest.raises(ActionDisabled, match="No byte is selected"):
        host.run("view.slice_here")
    host.run("view.select", PATTERN_ADDRESS)
    place = host.selected()
    assert place is not None
    voxel = host.state.stage.voxel(place)
    host.key("X", "Shift")
    assert [slicing(host).plane(axis).position for axis in ("x", "y", "z")] == [float(v) for v in voxel]
    assert slicing(host).shown == {"x", "y", "z"}
    host.run("view.slice_here", "oblique")
    frame = frame_of(slicing(host).plane("oblique"), shape(host))
    assert frame.height(voxel_middle(voxel)) == pytest.approx(0.0, abs=1e-6)
    host.run("view.slice", "z", "40")
    host.key("PageUp")
    assert slicing(host).plane("z").position == 56.0
    host.key("PageDown", "Shift")
    assert slicing(host).plane("z").position == 55.0
    host.run("view.slice_step", -1000, "z")
    assert slicing(host).plane("z").position == 0.0
    offset = place.offset + 4096
    host.run("view.slice_at", machine="tiny", offset=offset)
    beside = host.state.stage.voxel(Place("tiny", offset))
    assert [slicing(host).plane(axis).position for axis in ("x", "y", "z")] == [float(v) for v in beside]


def test_clip_boxes(host: Person) -> None:
    view = host.state.stage.view
    side = shape(host)
    host.run("view.clip", "10:20,:,50%:")
    assert view.cut("tiny").clip == ((10.0, 0.0, side[2] / 2), (20.0, *map(float, side[1:])))
    host.run("view.clip_toggle")
    assert view.cut("tiny").clip is None
    host.run("view.clip_toggle")
    assert view.cut("tiny").clip is not None
    host.run("view.select", PATTERN_ADDRESS)
    place = host.selected()
    assert place is not None
    host.run("view.clip_page")
    low, high = view.page_box("tiny", place.offset)
    assert view.cut("tiny").clip == (low, high)
    host.run("view.clip_around", 32)
    clip = view.cut("tiny").clip
    assert clip is not None
    assert [b - a for a, b in zip(*clip, strict=True)] == [32.0] * 3
    with pytest.raises(BadArguments, match="between 1 and"):
        host.run("view.clip_around", 0)
    host.run("view.clip_off")
    assert view.cut("tiny").clip is None
    with pytest.raises(ActionDisabled, match="Nothing is clipped"):
        host.run("view.clip_off")


def test_the_flat_picture_says_and_selects_what_it_shows(host: Person) -> None:
    left, top, width, height = open_panel(host, "z")
    assert width > 50
    assert height > 50
    flat = host.state.slices.flat
    assert flat is not None
    x, y = left + width / 2 + 3, top + height / 2 - 5
    voxel = flat.voxel_at(x - left, y - top)
    assert voxel is not None
    assert voxel[2] == slicing(host).plane("z").position
    expected = place_of_voxel(host.state.stage, "tiny", voxel)
    host.click(x, y)
    assert host.selected() == expected
    assert expected is not None
    assert host.state.address_text == hex(host.state.stage.paddr(expected) or 0), "the inspector follows"
    host.run("edit.undo")
    assert host.selected() is None
    host.move(x + 2, y)
    host.frame(3)
    far = host.state.stage.camera.distance
    host.click(x, y, times=2)
    host.until(lambda: not host.state.stage.view.camera.flying, "the flight should end")
    assert host.selected() == expected
    assert host.state.stage.camera.distance < far
    host.click(x, y, button=2)
    host.frame(3)
    assert host.state.menu_place == expected
    assert host.popup_open()
    host.key("Escape")


def test_beside_the_volume_a_click_selects_nothing(host: Person) -> None:
    left, top, width, _ = open_panel(host, "z")
    flat = host.state.slices.flat
    assert flat is not None
    assert flat.voxel_at(2, 2) is None
    host.click(left + 2, top + 2)
    assert host.selected() is None
    host.click(left + width - 3, top + 2, button=2)
    host.frame(3)
    assert host.state.menu_place is None
    host.key("Escape")


def test_the_flat_picture_zooms_at_the_pointer_and_pans(host: Person) -> None:
    left, top, width, height = open_panel(host, "z")
    flat = host.state.slices.flat
    assert flat is not None
    place = host.state.slices.places["tiny", "z"]
    x, y = left + width / 2 + 20, top + height / 2 + 10
    for _ in range(3):
        host.wheel(x, y, 1)
    here = flat.voxel_at(x - left, y - top)
    zoom = place.zoom
    host.wheel(x, y, 2)
    assert host.state.slices.places["tiny", "z"].zoom > zoom
    assert flat.voxel_at(x - left, y - top) == here
    centre = place.centre
    host.drag((x, y), (x - 30, y + 12))
    scale = place.zoom
    assert place.centre == pytest.approx((centre[0] + 30 / scale, centre[1] + 12 / scale))
    assert host.selected() is None, "a drag is no click"
    at = slicing(host).plane("z").position
    host.offscreen.send({"event_type": "key_down", "key": "Shift"})
    host.wheel(x, y, 1)
    host.offscreen.send({"event_type": "key_up", "key": "Shift"})
    host.frame(3)
    assert slicing(host).plane("z").position == at + 1, "Shift and the wheel step the plane"
    host.wheel(x, y, -30)
    assert place.zoom == 1 / 64


def test_arrow_keys_step_while_the_panel_has_the_keyboard(host: Person) -> None:
    left, top, _, _ = open_panel(host, "y")
    host.click(left + 3, top + 3)
    host.frame(3)
    assert host.state.slices.has_keys
    at, camera = slicing(host).plane("y").position, host.state.stage.camera
    host.key("ArrowUp")
    host.key("ArrowRight")
    assert slicing(host).plane("y").position == at + 2
    host.key("ArrowDown")
    assert slicing(host).plane("y").position == at + 1
    assert host.state.stage.camera == camera, "the camera stays"
    assert not slicing(host).shown, "a plane that is not shown can be stepped through its flat picture"
    x, y = host.middle
    host.click(x, y)
    host.frame(2)
    host.key("ArrowLeft")
    assert slicing(host).plane("y").position == at + 1
    assert host.state.stage.camera != camera


def test_lines_of_other_planes_are_dragged(host: Person) -> None:
    left, top, _, _ = open_panel(host, "z")
    host.run("view.slice", "x", "50%")
    flat = host.state.slices.flat
    assert flat is not None
    raster = flat.raster
    assert raster is not None
    x, y = raster.pixel_of((shape(host)[0] / 2 + 0.5, shape(host)[1] * 0.8))
    host.drag((left + x, top + y), (left + x + 10, top + y))
    moved = slicing(host).plane("x").position
    assert moved == pytest.approx(shape(host)[0] / 2 + 10 / raster.scale, abs=1 / raster.scale)
    host.run("edit.undo")
    assert slicing(host).plane("x").position == shape(host)[0] / 2
    host.drag((left + x + 10, top + y), (left + x + 20, top + y))
    assert slicing(host).plane("x").position == shape(host)[0] / 2, "beside the line it is the picture that moves"


def test_sliders_move_planes_and_make_one_step_of_undo(host: Person) -> None:
    left, top, width, _ = open_panel(host, "z")
    slider_y = top - 8 - 16  # the line above the picture
    at = slicing(host).plane("z").position
    host.drag((left + width * 0.3, slider_y), (left + width * 0.6, slider_y))
    moved = slicing(host).plane("z").position
    assert moved > shape(host)[2] * 0.4
    assert moved != at
    host.run("edit.undo")
    assert slicing(host).plane("z").position == at


def test_clip_sliders(host: Person) -> None:
    host.run("view.clip_toggle")
    left, top, width, height = open_panel(host, "z")
    x_slider = top + height + 58
    host.drag((left + 30, x_slider), (left + width * 0.4, x_slider))
    clip = slicing(host).clip
    assert clip[0][0] > 5
    assert clip[0][1:] == (0.0, 0.0)
    assert clip[1] == tuple(map(float, shape(host)))
    host.run("edit.undo")
    assert slicing(host).clip[0][0] == 0.0
    host.run("edit.redo")
    host.click(left + width * 0.4, x_slider, times=2)
    assert slicing(host).clip[0][0] == 0.0, "a double click takes the whole"


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_every_plane_has_its_panel(host: Person, theme: str) -> None:
    host.window.session.kept.change(theme=theme)
    host.run("view.select", PATTERN_ADDRESS)
    host.run("view.slice_here")
    host.run("view.clip_around", 64)
    for axis in ("x", "y", "z", "oblique"):
        left, top, width, height = open_panel(host, axis)
        host.run("view.slice_here", axis)
        host.move(left + width / 2, top + height / 2)
        host.frame(4)
        picture = host.offscreen.picture()
        inside = picture[int(top) : int(top + height), int(left) : int(left + width), :3]
        assert len(np.unique(inside.reshape(-1, 3), axis=0)) > 5, axis
    assert not host.toasts()


def test_a_sheets_edge_is_dragged_in_the_volume(host: Person) -> None:
    side = shape(host)
    host.run("view.slice", "z", "50%")
    host.frame(4)
    camera = host.state.stage.camera
    at = slicing(host).plane("z").position
    corner = on_screen(host, (float(side[0]), side[1] * 0.25, at + 0.5))
    host.move(*corner)
    host.frame(2)
    assert host.state.slices.edge is not None
    assert host.state.slices.edge.axis == "z"
    goal = on_screen(host, (float(side[0]), side[1] * 0.25, at + 0.5 + 20))
    host.drag(corner, goal)
    assert slicing(host).plane("z").position == pytest.approx(at + 20, abs=1)
    assert host.state.stage.camera == camera, "the camera stays"
    assert host.state.slices.drag is None
    assert host.selected() is None
    host.run("edit.undo")
    assert slicing(host).plane("z").position == at
    host.drag(host.middle, (host.middle[0] + 40, host.middle[1]))
    assert host.state.stage.camera != camera, "beside an edge a drag orbits"
    assert slicing(host).plane("z").position == at


def test_ctrl_drags_a_sheet_anywhere_also_an_oblique_one(host: Person) -> None:
    side = np.array(shape(host)) / 2
    host.run("view.slice", axis="oblique", position="0@30,10")
    host.frame(4)
    normal = slicing(host).plane("oblique").normal
    start, goal = on_screen(host, tuple(side)), on_screen(host, tuple(side + 30 * normal))
    host.offscreen.send({"event_type": "key_down", "key": "Control"})
    host.move(*start)
    host.frame(2)
    host.drag(start, goal)
    host.offscreen.send({"event_type": "key_up", "key": "Control"})
    host.frame(2)
    assert slicing(host).plane("oblique").position == pytest.approx(30.0, abs=2)
    assert host.state.slices.axis == "oblique", "the flat picture goes along"


def test_seen_head_on_the_pointers_height_moves_the_sheet(host: Person) -> None:
    camera = host.state.stage.view.camera
    camera.state = dataclasses.replace(camera.state, azimuth_degrees=-90.0, elevation_degrees=90.0)
    host.run("view.slice", "z", "50%")
    host.frame(3)
    at = slicing(host).plane("z").position
    x, y = host.middle
    host.offscreen.send({"event_type": "key_down", "key": "Control"})
    host.drag((x, y), (x, y - 40))
    host.offscreen.send({"event_type": "key_up", "key": "Control"})
    host.frame(2)
    assert slicing(host).plane("z").position > at + 3


def test_a_sheet_is_picked_with_its_zero_bytes(host: Person) -> None:
    host.run("view.slice", "z", "50%")
    view = host.state.stage.view
    view.look = dataclasses.replace(view.look, mode="slice")
    host.frame(3)
    side, layer = shape(host), slicing(host).plane("z").position
    found = {}
    for share in np.linspace(0.1, 0.9, 9):
        point = on_screen(host, (side[0] * share, side[1] * (1 - share), layer + 1))
        x, y = host.state.volume_rect[:2]
        hit = host.state.stage.active.hit(point[0] - x, point[1] - y)
        assert hit is not None
        assert hit.sheet == "z"
        assert hit.voxel[2] == layer
        ram = host.state.stage.ram("tiny")
        assert ram is not None
        found[int(ram.bytes[hit.address])] = hit
    assert 0 in found, "a zero byte too"


def test_only_planes_and_none_is_shown(host: Person) -> None:
    view = host.state.stage.view
    view.look = dataclasses.replace(view.look, mode="slice")
    host.frame(3)
    assert slicing(host).shown == {"x", "y", "z"}, "they are offered"
    host.run("view.slice_off")
    host.frame(4)
    assert not slicing(host).shown
    host.run("view.slice_three")
    assert slicing(host).shown == {"x", "y", "z"}
    host.run("view.slice_off")
    with pytest.raises(ActionDisabled, match="No slice plane is shown"):
        host.run("view.slice_off")


def test_a_machine_that_stops_while_it_is_sliced(own_host: Person) -> None:
    own_host.run("view.slice", "z", "50%")
    left, top, width, height = open_panel(own_host, "z")
    own_host.move(left + width / 2, top + height / 2)
    own_host.frame(2)
    machine = own_host.state.machine("tiny")
    assert machine is not None
    own_host.run("machine.stop")
    own_host.until(lambda: "tiny" not in own_host.state.stage.feeds, "its memory should go")
    own_host.frame(6)
    assert own_host.state.slicings.all() == ()
    assert own_host.state.slices.edge is None
    own_host.run("edit.undo")
    own_host.frame(3)


def test_zooming_at_a_point_keeps_it() -> None:
    from render.slice_view import raster_of

    place = flat_picture.whole_place(Plane("z", 3.0), (512, 512, 512), (300, 200))
    assert place.zoom == 1 / 3
    raster = raster_of(Plane("z", 3.0), (512, 512, 512), (300, 200), place.centre, place.zoom)
    here = raster.shown_at(40, 50)
    flat_picture.zoom_at(place, raster, (40, 50), 3)
    after = raster_of(Plane("z", 3.0), (512, 512, 512), (300, 200), place.centre, place.zoom)
    assert after.shown_at(40, 50) == pytest.approx(here, abs=1.0)


def test_a_layout_of_before_there_was_the_panel_gets_it_beside_the_volume(homes: Path) -> None:
    options = WindowOptions(size=SIZE, tour=False)
    with OffscreenWindow(options, keep=False) as first:
        first.frame(6)
        first.window.host.make_current()
        entries = re.split(r"(?m)^(?=\[)", imgui.save_ini_settings_to_memory())
    before = "".join(entry for entry in entries if not entry.startswith(f"[Window][{SLICES}]"))
    with OffscreenWindow(options, keep=False) as second:
        second.window.host.make_current()
        imgui.load_ini_settings_from_memory(before)
        second.frame(4)
        second.window.session.kept.change(show_slices=True)
        second.frame(8)
        second.window.host.make_current()
        window = imgui.internal.find_window_by_name(SLICES)
        assert window.dock_id
        left, _, width, _ = second.window.state.volume_rect
        assert window.pos.x == pytest.approx(left + width, abs=4)


def tooltip_shown() -> bool:
    window: imgui.internal.Window | None = imgui.internal.find_window_by_name("##Tooltip_00")
    return window is not None and bool(window.active)


def test_hovering_the_flat_picture_explains_the_byte(host: Person) -> None:
    left, top, width, height = open_panel(host, "z")
    host.move(left + 3, top + 3)
    host.frame(3)
    assert not tooltip_shown(), "beside the volume there is nothing to say"
    host.move(left + width / 2 + 3, top + height / 2)
    host.frame(3)
    assert tooltip_shown()
    host.click(left + width / 2 + 3, top + height / 2, button=2)
    host.frame(3)
    host.click(left + width / 2 + 40, top + height / 2 + 95)
    host.frame(3)
    assert slicing(host).shown == {"x", "y", "z"}, "the menu's third entry slices here"


def test_without_planes_a_button_offers_them(host: Person) -> None:
    view = host.state.stage.view
    view.look = dataclasses.replace(view.look, mode="slice")
    host.frame(2)
    host.run("view.slice_off")
    host.frame(4)
    x, y, width, height = host.state.volume_rect
    host.click(x + width / 2, y + (height - 120) * 0.46 + 44)
    host.frame(3)
    assert slicing(host).shown == {"x", "y", "z"}


def test_the_zoom_buttons_of_the_flat_picture(host: Person) -> None:
    left, top, width, height = open_panel(host, "z")
    right, bottom = left + width - 4, top + height - 4
    place = host.state.slices.places["tiny", "z"]
    zoom = place.zoom
    host.click(right - 42, bottom - 14)
    assert place.zoom > zoom
    assert not place.whole
    host.click(right - 70, bottom - 14)
    assert place.zoom == zoom
    host.click(right - 14, bottom - 14)
    assert host.state.slices.places["tiny", "z"].whole


def cramped(host: Person) -> bool:
    return host.state.slices.cramped


def test_a_cramped_panel_scrolls(host: Person) -> None:
    open_panel(host, "z")
    assert not cramped(host)
    host.run("view.clip_toggle")
    host.run("view.slice_flat", "oblique")
    host.run("window.resize", 480, 320)
    host.frame(6)
    assert cramped(host)
    left, top, width, height = host.state.slices.rect
    host.frame(4)
    assert host.state.slices.rect == (left, top, width, height), "it is at rest"
    host.wheel(left + width / 2, 90, -3)
    host.frame(3)
    assert host.state.slices.rect[1] < top
    host.run("window.resize", *SIZE)
    host.run("view.clip_toggle")
    host.run("view.slice_flat", "z")
    host.frame(8)
    assert not cramped(host)


def test_planes_that_were_only_offered_go_with_the_mode(host: Person) -> None:
    """Slices mode brings three planes where there is none; they leave with it, unless something was done to them."""
    state = host.state

    def shown() -> frozenset[str]:
        machine = next(iter(state.stage.feeds))
        return frozenset(state.slicings.get(state.stage, machine).shown)

    before = shown()
    assert not before
    host.run("view.mode", "slice")
    host.frame(2)
    assert len(shown()) == 3
    host.run("view.mode", "solid")
    host.frame(2)
    assert shown() == before
    host.run("view.mode", "slice")
    host.frame(2)
    host.run("view.slice", "x", "3")
    host.run("view.mode", "solid")
    host.frame(2)
    assert len(shown()) == 3, "a plane that was moved is wanted"
