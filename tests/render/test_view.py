"""The view as an application uses it: what it draws, when it draws nothing, what it picks, how it lives with others."""

from __future__ import annotations

import gc
import itertools
from dataclasses import replace
from functools import partial

import numpy as np
import pygfx as gfx
import pytest
import wgpu
from numpy.typing import NDArray
from pygfx.renderers.wgpu.engine.utils import gpu_caches

import render.layers
from render.arrangement import overlap
from render.backdrop import BACKGROUNDS, DARK
from render.bricks import BrickStore
from render.camera import CameraState
from render.curves import HILBERT
from render.cut import Cut, Plane
from render.device import adapter_summary, gpu_work, replace_device, request_device
from render.errors import DeviceLost, RenderError
from render.look import Look, Mode
from render.named_pages import NamedPages
from render.picking import Hit
from render.view import VolumeView
from tests.render import reference
from tests.render.conftest import MakeStore, MakeView, clustered_bytes, content_of, volume_of

SOLID = np.full(64 * 4096, 180, np.uint8)
"""64 pages: a full cube of 64^3 voxels."""


def half_full() -> NDArray[np.uint8]:
    """A cube of 64^3 whose lower half (z < 32) holds 200 and whose upper half holds nothing."""
    volume = np.zeros((64, 64, 64), np.uint8)
    volume[:, :, :32] = 200
    return content_of(volume, 64 * 4096, 10)


def differs(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> int:
    return int((np.abs(a.astype(int) - b.astype(int)).max(axis=-1) > 8).sum())


def test_a_still_view_draws_nothing(make_view: MakeView, make_store: MakeStore) -> None:
    view = make_view()
    assert view.draw(0.0), "the first picture"
    assert not view.draw(0.1)
    view.add_volume("a", make_store(clustered_bytes(64, 1)), label="demo")
    n = 0
    while view.draw(0.2):
        n += 1
        assert n < 500, "refining ends"
    assert n > 1
    picture = view.screenshot()
    for now in (0.3, 1.0, 100.0):
        assert not view.draw(now)
    np.testing.assert_array_equal(view.screenshot(), picture)


@pytest.mark.parametrize("mode", ["solid", "translucent", "mip"])
def test_whatever_changes_is_drawn(make_view: MakeView, make_store: MakeStore, mode: Mode) -> None:
    view = make_view()
    store = make_store(half_full())
    view.add_volume("a", store)
    view.look = Look(mode=mode)
    view.finish(0.0)

    def changed_by(what: str) -> int:
        before = view.screenshot()
        assert view.draw(0.0), what
        view.finish(0.0)
        return differs(view.screenshot(), before)

    view.camera.orbit(20, 5)
    assert changed_by("orbit") > 500
    view.look = replace(view.look, palette="ember")
    assert changed_by("palette") > 500
    view.set_background("light")
    assert changed_by("background") > 5000
    view.marks.select("a", 4096 * 3)
    assert changed_by("selection") > 20
    hit = view.pick(128, 110)
    assert hit is not None
    view.marks.hover(hit)
    assert changed_by("hover") > 5
    view.marks.hover(hit)
    assert not view.draw(0.0), "the same byte again is no change"
    view.marks.hover(None)
    view.marks.select(None, None)
    assert changed_by("no selection") > 20
    store.upload(np.arange(64, dtype=np.uint32), np.zeros((64, 4096), np.uint8), flash=False)
    assert changed_by("write") > 2000
    view.look = replace(view.look)
    assert not view.draw(0.0), "setting what is set is no change"


def test_opacity_changes_the_translucent_picture(make_view: MakeView, make_store: MakeStore) -> None:
    view = make_view()
    view.add_volume("a", make_store(half_full()))
    view.look = Look(mode="translucent", opacity=0.01)
    view.finish(0.0)
    thin = view.screenshot()
    view.look = Look(mode="translucent", opacity=0.9)
    view.finish(0.0)
    assert differs(view.screenshot(), thin) > 3000
    for wrong in (0.0, -1.0, 1.1, float("nan")):
        with pytest.raises(ValueError, match="opacity"):
            Look(opacity=wrong)


def test_a_written_page_flashes_and_cools(make_view: MakeView, make_store: MakeStore) -> None:
    view = make_view()
    store = make_store(np.full(64 * 4096, 60, np.uint8))
    view.add_volume("a", store)
    view.finish(10.0)
    calm = view.screenshot().astype(int)
    pages = np.arange(64, dtype=np.uint32)
    store.upload(pages, np.full((64, 4096), 60, np.uint8))
    light = []
    for step in range(12):
        view.draw(10.01 + 0.2 * step)
        light.append(int((view.screenshot().astype(int) - calm)[..., :3].sum()))
    assert light[0] > 100_000, "it flashes"
    assert light[0] > light[2] > light[4] > light[6] >= 0, "and cools"
    view.finish(30.0)
    assert differs(view.screenshot(), calm.astype(np.uint8)) == 0
    assert not view.draw(40.0)


def test_every_volume_flashes_and_cools(make_view: MakeView, make_store: MakeStore) -> None:
    """Two volumes written at once light up together, and both come back to what they were."""
    view = make_view((300, 150))
    dim = np.full(64 * 4096, 60, np.uint8)
    stores = [make_store(dim), make_store(dim)]
    for key, store in zip("ab", stores, strict=True):
        view.add_volume(key, store)
    view.camera.axis_view("-y")
    view.finish(10.0)
    calm = view.screenshot().astype(int)
    for store in stores:
        store.upload(np.arange(64, dtype=np.uint32), dim.reshape(-1, 4096))

    def light() -> tuple[int, int]:
        more = (view.screenshot().astype(int) - calm)[..., :3].sum(axis=(0, 2))
        return int(more[:150].sum()), int(more[150:].sum())

    for _ in range(4):
        view.draw(10.01)
    left, right = light()
    assert min(left, right) > 50_000
    view.finish(20.0)
    assert light() == (0, 0)


def test_a_busy_guest_is_shown_sharp(make_view: MakeView, make_store: MakeStore) -> None:
    """Written everywhere, all the time, and slow to march: the sharp picture still replaces the quick one."""
    view = make_view((320, 200))
    content = np.full((256, 4096), 90, np.uint8)
    store = make_store(content.ravel())
    view.add_volume("m", store)
    view.finish(0.0)
    layer = view._layers["m"]
    view.budget.frame_s = view.budget.still_s = 1e-5
    view.camera.orbit(10, 0)
    view.draw(1.0)
    assert layer.thing.material.image is layer.quick
    pages = np.arange(256, dtype=np.uint32)
    for frame in range(60):
        content += 1
        store.upload(pages, content)
        assert view.draw(1.0 + 0.03 * frame)
    assert layer.thing.material.image is layer.full
    assert layer.tiles.lowest == 0


def test_many_writes_make_everything_stale(
    make_view: MakeView, make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render.layers, "_MANY_BRICKS", 10)
    view = make_view()
    store = make_store(half_full())
    view.add_volume("m", store)
    view.finish(0.0)
    before = view.screenshot()
    store.upload(np.arange(64, dtype=np.uint32), np.full((64, 4096), 250, np.uint8), flash=False)
    view.finish(0.0)
    assert differs(view.screenshot(), before) > 2000
    for _ in range(600):
        store.upload(np.array([3], np.uint32), np.zeros((1, 4096), np.uint8), flash=False)
    assert view.draw(1.0), "more uploads than are remembered: all of it anew"


def test_a_write_elsewhere_leaves_the_picture_alone(make_view: MakeView, make_store: MakeStore) -> None:
    """A page behind others is not seen; its tiles are marched again and look the same."""
    view = make_view()
    store = make_store(SOLID)
    view.add_volume("a", store)
    view.finish(0.0)
    before = view.screenshot()
    inner = HILBERT.address_from_voxel(np.array([[32, 32, 32]], np.uint32), store.order)[0] // 4096
    store.upload(np.array([inner], np.uint32), np.full((1, 4096), 9, np.uint8), flash=False)
    assert view.draw(1.0)
    view.finish(1.0)
    assert differs(view.screenshot(), before) == 0


def test_pick_is_the_byte_that_the_reference_sees(make_view: MakeView, make_store: MakeStore) -> None:
    view = make_view((320, 200))
    content = clustered_bytes(64, seed=21)
    store = make_store(content)
    view.add_volume("m", store, origin=(100.0, -50.0, 7.0))
    volume = volume_of(content, store.order, store.shape_voxels)
    view.finish(0.0)
    eye = view._layers["m"].eye(view.camera)
    rng = np.random.default_rng(4)
    met = 0
    for x, y in rng.random((120, 2)) * view.size_px:
        direction = reference.ray_direction(eye, (x, y), view.size_px)
        expected = reference.first_hit(reference.scalars_of(volume, view.look), eye, direction, view.look)
        if expected is not None and reference.is_delicate(eye, direction, expected):
            continue
        hit = view.pick(float(x), float(y))
        assert (hit is None) == (expected is None)
        if hit is None or expected is None:
            continue
        met += 1
        assert (hit.key, hit.voxel) == ("m", expected.voxel)
        assert content[hit.address] == volume[hit.voxel]
        low, high = view.byte_box("m", hit.address)
        assert all(low[i] - 0.02 <= hit.position[i] <= high[i] + 0.02 for i in range(3))
    assert met >= 20


def test_depth_is_right_both_ways(make_view: MakeView, make_store: MakeStore) -> None:
    """A red ball in front of the volume hides it; one behind is hidden; one half inside is cut by the volume's
    surface.
    """
    view = make_view((200, 200))
    view.add_volume("m", make_store(SOLID), origin=(0.0, 0.0, 0.0))
    view.camera.axis_view("+x")
    view.camera.skip()
    red = gfx.MeshBasicMaterial(color="#ff0000")
    ball = gfx.Mesh(gfx.sphere_geometry(12), red)
    view.scene.add(ball)

    def red_pixels(x: float) -> int:
        ball.local.position = (x, 32.0, 32.0)
        view._dirty = True
        view.finish(0.0)
        picture = view.screenshot().astype(int)
        return int(((picture[..., 0] > 240) & (picture[..., 1] < 20)).sum())

    before = red_pixels(100.0)
    assert before > 500
    assert red_pixels(30.0) == 0, "inside"
    assert red_pixels(-40.0) == 0, "behind"
    half = red_pixels(64.0 + 8.0)
    assert 0 < half < before
    assert red_pixels(64.0 - 8.0) < half
    view.scene.remove(ball)


def test_several_volumes_stand_side_by_side(make_view: MakeView, make_store: MakeStore) -> None:
    view = make_view((400, 200))
    stores = [make_store(SOLID), make_store(SOLID // 2), make_store(SOLID // 3)]
    for key, store in zip("abc", stores, strict=True):
        view.add_volume(key, store, label=key)
    view.camera.axis_view("-y")
    assert view.volumes == ("a", "b", "c")
    boxes = [view.volume_box(key) for key in "abc"]
    assert not any(overlap(a, b) for a, b in itertools.combinations(boxes, 2))
    view.finish(0.0)
    keys = {hit.key if (hit := view.pick(x, y)) else None for x in range(0, 400, 4) for y in (70, 100, 130)}
    assert {"a", "b"} <= keys
    view.remove_volume("b")
    view.marks.select("c", 0)
    view.remove_volume("c")
    assert view._composition.selection_mark.box is None, "the selection goes with its volume"
    with pytest.raises(KeyError):
        view.remove_volume("c")
    with pytest.raises(ValueError, match="already shown"):
        view.add_volume("a", stores[0])


def test_opening_shows_what_was_buried(make_view: MakeView, make_store: MakeStore) -> None:
    content = np.full(512 * 4096, 90, np.uint8)
    store = make_store(content)
    view = make_view((200, 200))
    view.add_volume("m", store)
    address = int(HILBERT.address_from_voxel(np.array([[60, 60, 60]], np.uint32), store.order)[0])
    view.camera.fly_to(view.page_box("m", address), now_s=0.0)
    view.camera.skip()
    view.finish(0.0)
    hit = view.pick(100, 100)
    assert hit is not None
    low, high = view.page_box("m", address)
    assert all(low[i] - 0.1 <= hit.position[i] <= high[i] + 0.1 for i in range(3)), "the page is in plain sight"
    view.camera.close()
    hit = view.pick(100, 100)
    assert hit is not None
    assert any(not low[i] <= hit.position[i] <= high[i] for i in range(3)), "buried again"


def test_selection_shows_at_every_zoom(make_view: MakeView, make_store: MakeStore) -> None:
    """A buried byte's marker can be seen from afar, from near, and when one voxel fills the picture."""
    view = make_view()
    view.add_volume("m", make_store(SOLID))
    address = int(HILBERT.address_from_voxel(np.array([[30, 30, 30]], np.uint32), 10)[0])
    for distance in (300.0, 60.0, 12.0, 4.0):
        view.camera.state = CameraState((30.5, 30.5, 30.5), distance)
        view.marks.select(None, None)
        view.finish(0.0)
        plain = view.screenshot()
        view.marks.select("m", address)
        view.finish(0.0)
        assert differs(view.screenshot(), plain) > 10, f"at {distance}"


def test_every_size_of_window(make_view: MakeView, make_store: MakeStore) -> None:
    view = make_view((64, 64))
    view.add_volume("m", make_store(SOLID))
    for size in ((1, 1), (0, 0), (3, 500), (500, 3), (257, 129)):
        view.resize(*size)
        view.finish(0.0)
        assert view.screenshot().shape == (max(1, size[1]), max(1, size[0]), 4)
        assert view.texture.size[:2] == view.size_px
        view.pick(0.5, 0.5)
    texture = view.texture
    view.resize(257, 129)
    assert view.texture is texture, "the same size is no change"


def test_moving_camera_keeps_to_its_budget(make_view: MakeView, make_store: MakeStore) -> None:
    """When a whole picture is too slow, a moving camera gets a smaller one, and a still one the whole again."""
    view = make_view((320, 200))
    view.add_volume("m", make_store(clustered_bytes(64, seed=23)))
    view.finish(0.0)
    layer = view._layers["m"]
    sharp = view.screenshot()
    view.budget.frame_s = 1e-4
    state = view.camera.state
    for turn in range(6):
        view.camera.orbit(3, 0)
        assert view.draw(0.01 * turn)
        assert layer.quick is not None
        assert layer.thing.material.image is layer.quick
    assert view.scale < 1
    view.camera.state = state
    view.draw(1.0)
    assert 0 < differs(view.screenshot(), sharp) < 0.5 * 320 * 200, "coarser, and the same thing"
    view.finish(1.0)
    assert layer.thing.material.image is layer.full
    assert differs(view.screenshot(), sharp) == 0
    view.budget.frame_s = 10.0
    view.camera.orbit(5, 0)
    view.draw(2.0)
    assert layer.thing.material.image is layer.full, "fast enough: no need for less"


def test_a_moved_volume_takes_everything_along(make_view: MakeView, make_store: MakeStore) -> None:
    view = make_view((400, 300))
    for key in "ab":
        view.add_volume(key, make_store(SOLID), label=key)
    view.marks.select("a", 5)
    hit = _hit_on(view, "a")
    box, byte = view.volume_box("a"), view.byte_box("a", 5)
    view.finish(0.0)
    view.move_volume("a", (0.0, 0.0, 512.0))
    moved = view.volume_box("a")
    assert np.subtract(moved, box).tolist() == [[0, 0, 512]] * 2
    assert np.subtract(view.byte_box("a", 5), byte).tolist() == [[0, 0, 512]] * 2
    assert view._composition.selection_mark.box == view.byte_box("a", 5)
    assert view.draw(0.0), "another picture is needed"
    view.camera.fit()
    view.finish(0.0)
    again = _hit_on(view, "a")
    assert again.position[2] > hit.position[2] + 256
    view.move_volume("a", (0.0, 0.0, 512.0))
    assert not view.draw(0.0), "it stands there already"
    with pytest.raises(KeyError):
        view.move_volume("c", (0.0, 0.0, 0.0))


def test_a_store_that_takes_anothers_place_looks_the_same(make_view: MakeView, make_store: MakeStore) -> None:
    """Also the lines around what is cut, in the colours and the width that they had."""
    view = make_view((400, 300))
    view.add_volume("a", make_store(SOLID), label="a")
    view.set_background("light")
    view.pixel_ratio = 2.0
    view.set_cut("a", Cut((Plane("x", 20.0),), clip=((0.0, 0.0, 0.0), (64.0, 64.0, 40.0))))
    view.marks.select("a", 5)
    view.names.show([NamedPages("3", "a", np.array([3], np.uint32), "three", "#b4460a")])
    view.finish(0.0)
    before = view.screenshot()
    view.replace_volume("a", make_store(SOLID))
    assert view.draw(0.0), "another picture is needed"
    view.finish(0.0)
    assert differs(view.screenshot(), before) == 0


def test_a_view_shows_what_another_shows(make_view: MakeView, make_store: MakeStore) -> None:
    first, second = make_view((400, 300)), make_view((400, 300))
    first.set_background("light")
    first.add_volume("a", make_store(SOLID), label="a")
    first.add_volume("b", make_store(clustered_bytes(64, 2)), label="b", origin=(0.0, 160.0, 32.0))
    first.set_cut("a", Cut(clip=((0.0, 0.0, 0.0), (64.0, 64.0, 40.0))))
    first.look = Look(mode="solid", channel="value")
    first.camera.axis_view("-y")
    second.show_like(first)
    assert second.volumes == first.volumes
    for view in (first, second):
        view.finish(0.0)
    assert differs(second.screenshot(), first.screenshot()) == 0


def test_marks_go_with_their_volume(make_view: MakeView, make_store: MakeStore) -> None:
    view = make_view((400, 300))
    drawn = view._composition

    def marked() -> tuple[object, ...]:
        return drawn.selection_mark.box, drawn.page_mark.box

    for key in "ab":
        view.add_volume(key, make_store(SOLID), label=key)
    view.marks.select("a", 5)
    view.move_volume("a", (0.0, 0.0, 512.0))
    view.remove_volume("b")
    assert marked() == (view.byte_box("a", 5), view.page_box("a", 5))
    view.remove_volume("a")
    assert marked() == (None, None)


def _hit_on(view: VolumeView, key: str) -> Hit:
    hits = [view.pick(x, y) for x in range(4, 400, 12) for y in range(4, 300, 12)]
    return next(hit for hit in hits if hit is not None and hit.key == key)


def test_the_box_under_a_pixel_is_the_nearest_also_where_it_is_empty(
    make_view: MakeView, make_store: MakeStore
) -> None:
    view = make_view((400, 300))
    empty = make_store(np.zeros(64 * 4096, np.uint8))
    view.add_volume("near", empty, origin=(0.0, -256.0, 0.0))
    view.add_volume("far", make_store(SOLID), origin=(0.0, 0.0, 0.0))
    view.camera.axis_view("-y")
    assert view.volume_at(200, 150) == "near"
    assert view.volume_at(1, 1) is None
    view.camera.axis_view("+y")
    assert view.volume_at(200, 150) == "far"
    for x, y in ((200.0, 150.0), (180.0, 140.0)):
        hit = view.pick(x, y)
        assert hit is not None
        position, direction = view.projection.ray(x, y)
        way = np.array(hit.position) - position
        assert np.cross(way, direction) == pytest.approx(np.zeros(3), abs=1e-3)


def test_an_emphasised_volume_stands_out(make_view: MakeView, make_store: MakeStore) -> None:
    """The edges of one of two empty volumes are thicker and brighter than before; the other's are as they were."""
    view = make_view((400, 300))
    for key in "ab":
        view.add_volume(key, make_store(np.zeros(64 * 4096, np.uint8)))

    def light() -> int:
        view.finish(0.0)
        return int(view.screenshot()[..., :3].astype(np.int64).sum())

    before = light()
    view.emphasise("a")
    assert light() > before * 1.05
    view.emphasise(None)
    assert light() == before
    view.emphasise(None)
    assert not view.draw(0.0)


def test_a_quick_picture_throws_its_light_where_a_sharp_one_does(make_view: MakeView, make_store: MakeStore) -> None:
    """The ground beside the volume is as bright, and on the same side, while the camera moves as when it is still."""
    view = make_view((320, 200))
    view.add_volume("m", make_store(SOLID))
    view.camera.orbit(30, 0)
    view.finish(0.0)
    still = view.screenshot().astype(int)
    state = view.camera.state
    view.budget.frame_s = 1e-4
    view.camera.orbit(5, 0)
    view.draw(0.1)
    view.camera.state = state
    view.draw(0.2)
    assert view.scale < 0.5
    moving = view.screenshot().astype(int)
    ground = np.zeros(still.shape[:2], np.bool_)
    ground[[20, 100, 180]] = True
    ground[:, 90:230] = False
    assert ground.sum() > 300
    assert np.abs(moving[ground] - still[ground]).mean() < 0.5


def test_lines_and_labels_follow_the_screen(make_view: MakeView, make_store: MakeStore) -> None:
    """On a screen with twice the pixels, the frame and its labels cover about twice as many in each direction."""
    view = make_view((400, 300))
    view.add_volume("m", make_store(np.zeros(64 * 4096, np.uint8)), label="glass")
    view.marks.select("m", 0)

    def drawn() -> int:
        view.finish(0.0)
        return int((view.screenshot()[..., 1] > 60).sum())

    once = drawn()
    view.pixel_ratio = 2.0
    assert 1.5 * once < drawn() < 5 * once
    view.add_volume("n", make_store(np.zeros(64 * 4096, np.uint8)), label="glass")
    assert view._layers["n"].frame._texts[0].font_size == 2 * view._layers["n"].frame._sizes[0]
    view.pixel_ratio = 2.0
    view.finish(0.0)
    assert not view.draw(0.0)


def test_wrong_names_are_said(make_view: MakeView) -> None:
    view = make_view()
    with pytest.raises(ValueError, match="Mode 'x-ray' is not one of solid, translucent"):
        Look(mode="x-ray")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Palette 'jet' is not one of content"):
        view.look = Look(palette="jet")
    with pytest.raises(KeyError):
        view.set_background("pink")
    view.set_background(replace(DARK, top="#000000"))


@pytest.mark.own_process
def test_lost_device_is_said_and_can_be_replaced() -> None:
    """DeviceLost from every door; afterwards a new device draws the same picture."""

    def build() -> tuple[wgpu.GPUDevice, BrickStore, VolumeView]:
        device, _ = request_device()
        store = BrickStore(device, SOLID.size)
        store.upload(np.arange(64, dtype=np.uint32), SOLID.reshape(-1, 4096), flash=False)
        view = VolumeView(device, (160, 120))
        view.add_volume("m", store, label="demo")
        return device, store, view

    device, store, view = build()
    view.finish(0.0)
    before = view.screenshot()
    device.destroy()
    one = np.ones((1, 4096), np.uint8)
    view.camera.orbit(10, 0)
    for what in (
        lambda: view.draw(1.0),
        lambda: view.pick(80, 60),
        lambda: store.upload(np.zeros(1, np.uint32), one),
        lambda: store.read_page(0),
        view.screenshot,
        lambda: view.resize(50, 50),
        lambda: BrickStore(device, 4096),
        lambda: VolumeView(device, (50, 50)),
    ):
        with pytest.raises(DeviceLost, match="The GPU device was lost while trying to") as error:
            what()
        assert isinstance(error.value, RenderError)
    view.destroy()
    store.destroy()
    replace_device()
    device, store, view = build()
    view.finish(0.0)
    assert differs(view.screenshot(), before) == 0
    view.destroy()
    store.destroy()


@pytest.mark.own_process
def test_what_is_submitted_to_a_lost_device_is_an_error_and_not_the_end() -> None:
    """wgpu-native would abort: with what was recorded before, and with nothing at all."""
    device, _ = request_device()
    encoder = device.create_command_encoder()
    buffer = device.create_buffer(size=4, usage=wgpu.BufferUsage.COPY_DST | wgpu.BufferUsage.COPY_SRC)
    encoder.clear_buffer(buffer)
    recorded = encoder.finish()
    target = gfx.Texture(dim=2, size=(8, 8, 1), format="rgba8unorm")
    renderer, camera, scene = gfx.WgpuRenderer(target), gfx.NDCCamera(), gfx.Scene()
    renderer.render(scene, camera)
    device.destroy()
    for doing in (
        partial(device.queue.submit, [recorded]),
        partial(device.queue.submit, []),
        partial(renderer.render, scene, camera),
    ):
        with pytest.raises(DeviceLost), gpu_work("try"):
            doing()
    # Nothing of the old device is uploaded through the new one's queue.
    waiting = gfx.Buffer(np.zeros(4, np.float32))
    waiting._wgpu_object = buffer
    waiting.update_full()
    device, _ = replace_device()
    gfx.WgpuRenderer(gfx.Texture(dim=2, size=(8, 8, 1), format="rgba8unorm")).render(gfx.Scene(), camera)
    device.queue.submit([])


def test_adapter_is_described(device: wgpu.GPUDevice) -> None:
    summary = adapter_summary(device)
    assert summary == request_device()[1]
    assert summary.name
    assert summary.backend == "Vulkan"
    assert summary.is_software == ("llvmpipe" in summary.name or "SwiftShader" in summary.name)


def test_nothing_is_left_on_the_gpu(make_store: MakeStore) -> None:
    """Native objects after building, drawing, resizing and destroying are as many as before, also after many times."""
    store = make_store(SOLID)
    device = store.device

    def once() -> None:
        extra = BrickStore(device, SOLID.size)
        extra.upload(np.arange(64, dtype=np.uint32), SOLID.reshape(-1, 4096))
        view = VolumeView(device, (96, 64))
        view.add_volume("a", extra)
        view.add_volume("b", store, label="b")
        for size in ((96, 64), (128, 100)):
            view.resize(*size)
            view.finish(0.0)
            view.pick(50, 30)
        view.destroy()
        extra.destroy()

    def counts() -> dict[str, int]:
        for cache in vars(gpu_caches).values():  # pygfx keeps what it may need again, up to a bound
            cache.clear()
        gc.collect()
        report = wgpu.diagnostics.wgpu_native_counts.get_dict()
        names = ("Texture", "TextureView", "Buffer", "Sampler", "BindGroup", "RenderPipeline", "ComputePipeline")
        return {name: report[name]["count"] for name in names}

    once()
    before = counts()
    for _ in range(5):
        once()
    after = counts()
    assert after == before


def test_backgrounds_are_whole() -> None:
    for background in BACKGROUNDS.values():
        for value in (background.top, background.bottom, background.middle, background.line, background.text):
            assert len(value) == 7
            assert value.startswith("#")
