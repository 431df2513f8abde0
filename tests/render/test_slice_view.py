"""Flat pictures of slice planes against numpy, pixel for pixel, and what lies under which pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest
import wgpu
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from render.bricks import BrickStore, VoxelLayout
from render.camera import Box
from render.curves import HILBERT
from render.cut import AXES, Plane
from render.look import Look
from render.look_table import LookTable
from render.march import Marcher, Shine, Switches, common_variables
from render.palettes import linear_from_hex, palette_table
from render.planes import Point
from render.slice_view import ZOOMS, Raster, SliceView, raster_of, slice_code, zoom_beside, zoom_to_fit
from tests.render.conftest import MakeStore, clustered_bytes, volume_of
from tests.render.reference_content import bricks_of
from tests.render.slice_reference import flat_picture

GROUND = "#18233c"
SHINE = Shine(glow=1.0, flash_s=0.45, flash_color=(1.0, 0.8, 0.4))
SIZE = (90, 61)
PLANES = (
    Plane("x", 0.0),
    Plane("x", 37.0),
    Plane("y", 63.0),
    Plane("z", 12.0),
    Plane("z", 64.0),
    Plane("oblique", 3.5, 30.0, 20.0),
    Plane("oblique", -11.0, -100.0, 75.0),
    Plane("oblique", 0.5, 90.0, 0.0),
)


def kinds_of(store: BrickStore, content: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The kind of every brick, (x/16, y/16, z/16) uint8, by numpy alone."""
    pages = content.reshape(-1, 4096)
    kinds = np.zeros([side // 16 for side in store.shape_voxels], np.uint8)
    bricks, _ = HILBERT.bricks_from_pages(len(pages), store.order)
    kinds[tuple(bricks.T)] = bricks_of(pages)[:, 0] >> 29
    return kinds


class Flat:
    """A store of known bytes, its marcher, and a flat view of it."""

    def __init__(self, store: BrickStore, content: NDArray[np.uint8], size: tuple[int, int] = SIZE) -> None:
        self.store, self.device = store, store.device
        self.table = LookTable(self.device)
        self.table.write(Look(), palette_table("content"))
        self.marcher = Marcher(store)
        self.view = SliceView(self.device, size)
        self.volume = volume_of(content, store.order, store.shape_voxels)
        self.kinds = kinds_of(store, content)

    def draw(self, plane: Plane, centre: Point, zoom: float, now_s: float = 0.0, clip: Box | None = None) -> bool:
        return self.view.draw(self.marcher, self.table, SHINE, plane, centre, zoom, now_s, ground=GROUND, clip=clip)

    def picture(self) -> NDArray[np.uint8]:
        width, height = self.view.size_px
        raw = self.device.queue.read_texture(
            {"texture": self.view.texture}, {"bytes_per_row": 4 * width, "rows_per_image": height}, (width, height, 1)
        )
        return np.frombuffer(raw, np.uint8).reshape(height, width, 4)

    def expected(self, clip: Box | None = None) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        raster = self.view.raster
        assert raster is not None
        colors = palette_table("content").astype(np.float64)
        return flat_picture(
            self.volume,
            self.kinds,
            colors,
            raster.plane,
            raster.left,
            raster.top,
            self.view.size_px,
            raster.scale,
            linear_from_hex(GROUND),
            clip=clip,
        )

    def close(self) -> None:
        self.view.destroy()
        self.table.destroy()


def check(flat: Flat, clip: Box | None = None, most_delicate: float = 0.0) -> None:
    """Equal to numpy; a step of rounding is allowed, another voxel is not."""
    picture, (expected, delicate) = flat.picture().astype(int), flat.expected(clip)
    assert delicate.mean() <= most_delicate
    wrong = (np.abs(picture - expected) > 1).any(axis=-1) & ~delicate
    assert not wrong.any(), f"{wrong.sum()} pixels, the first at {np.argwhere(wrong)[0]}"
    assert (expected[..., 3] > 0).any(), "the picture shows something"


@pytest.mark.parametrize("layout", ["texture", "linear"])
@pytest.mark.parametrize("zoom", [1.0, 3.0, 8.0])
def test_pixels_are_bytes(make_store: MakeStore, layout: VoxelLayout, zoom: float) -> None:
    content = clustered_bytes(64, seed=21)
    flat = Flat(make_store(content, layout), content)
    for plane in PLANES:
        centre = (0.0, 0.0) if plane.axis == "oblique" else (31.3, 40.9)
        assert flat.draw(plane, centre, zoom)
        check(flat, most_delicate=0.03 if plane.axis == "oblique" else 0.0)
    flat.close()


@pytest.mark.parametrize("zoom", [zoom for zoom in ZOOMS if zoom < 1])
def test_from_afar_pixels_are_means(make_store: MakeStore, zoom: float) -> None:
    content = clustered_bytes(512, seed=22)
    flat = Flat(make_store(content), content, (40, 30))
    for plane in PLANES:
        centre = (0.0, 0.0) if plane.axis == "oblique" else (64.0, 50.0)
        flat.draw(plane, centre, zoom)
        check(flat, most_delicate=0.4 if plane.axis == "oblique" else 0.0)
    flat.close()


@pytest.mark.parametrize("plane", [PLANES[1], PLANES[5]])
def test_what_is_clipped_away_is_dimmed(make_store: MakeStore, plane: Plane) -> None:
    content = clustered_bytes(64, seed=23)
    flat = Flat(make_store(content), content)
    clip = ((10.0, 20.5, 0.0), (45.0, 40.0, 33.3))
    flat.draw(plane, (0.0, 0.0) if plane.axis == "oblique" else (32.0, 32.0), 1.0)
    bright = flat.picture()
    flat.draw(plane, (0.0, 0.0) if plane.axis == "oblique" else (32.0, 32.0), 1.0, clip=clip)
    check(flat, clip, most_delicate=0.03)
    assert 0.1 < (flat.picture() != bright).any(axis=-1).mean() < 0.9
    flat.close()


def test_an_odd_box_and_no_bytes(make_store: MakeStore) -> None:
    """Five pages: half of the box is never written, and outside of it nothing is drawn."""
    content = np.full(5 * 4096, 77, np.uint8)
    flat = Flat(make_store(content), content)
    flat.draw(Plane("z", 3.0), (8.0, 8.0), 1.0)
    check(flat)
    picture = flat.picture()
    assert picture[0, 0].tolist() == [0, 0, 0, 0]
    flat.close()


def test_draws_only_what_changed_and_follows_a_flash(make_store: MakeStore) -> None:
    content = clustered_bytes(64, seed=24)
    store = make_store(content)
    flat = Flat(store, content)
    plane = Plane("z", 5.0)
    assert flat.draw(plane, (32.0, 32.0), 1.0, 100.0)
    flat.draw(plane, (32.0, 32.0), 1.0, 200.0)
    assert not flat.draw(plane, (32.0, 32.0), 1.0, 200.1)
    cold = flat.picture()
    store.clock_s = 200.2
    store.upload(np.arange(64, dtype=np.uint32), content.reshape(64, 4096), flash=True)
    assert flat.draw(plane, (32.0, 32.0), 1.0, 200.25)
    assert flat.picture()[..., 0].mean() > cold[..., 0].mean() + 5, "written pages light up"
    assert flat.draw(plane, (32.0, 32.0), 1.0, 200.3), "and cool down"
    assert flat.draw(plane, (32.0, 32.0), 1.0, 230.0), "to the end"
    assert not flat.draw(plane, (32.0, 32.0), 1.0, 230.1)
    assert np.abs(flat.picture().astype(int) - cold).max() <= 1
    assert flat.draw(plane, (33.0, 32.0), 1.0, 230.2), "another place"
    assert flat.draw(plane, (33.0, 32.0), 2.0, 230.2), "another zoom"
    flat.table.write(Look(palette="ice"), palette_table("ice"))
    assert flat.draw(plane, (33.0, 32.0), 2.0, 230.2), "other colours"
    flat.table.write(Look(), palette_table("content"))
    flat.view.resize((70, 50))
    assert flat.draw(plane, (33.0, 32.0), 2.0, 230.2), "another size"
    assert flat.view.size_px == (70, 50)
    check(flat)
    flat.view.resize((0, 0))
    assert flat.draw(plane, (33.0, 32.0), 2.0, 230.2)
    assert flat.view.size_px == (1, 1), "a panel squeezed to nothing"
    flat.close()


def test_the_voxel_under_a_pixel_is_the_one_that_is_drawn(make_store: MakeStore) -> None:
    """Each voxel has its own colour here, so the picture itself says which one it shows."""
    rng = np.random.default_rng(25)
    content = rng.integers(1, 256, 64 * 4096).astype(np.uint8)
    flat = Flat(make_store(content), content)
    assert flat.view.voxel_at(3, 3) is None, "nothing is drawn yet"
    colors = palette_table("content").astype(np.float64)
    from render.palettes import srgb_from_linear

    for plane, zoom in ((PLANES[1], 1.0), (PLANES[3], 4.0), (PLANES[5], 2.0), (PLANES[6], 1.0)):
        flat.draw(plane, (0.0, 0.0) if plane.axis == "oblique" else (31.3, 40.9), zoom)
        picture, (_, delicate) = flat.picture(), flat.expected()
        seen = 0
        for x, y in rng.integers((0, 0), SIZE, (200, 2)).tolist():
            voxel = flat.view.voxel_at(x + 0.4, y + 0.9)
            if delicate[y, x]:
                continue
            assert (voxel is not None) == (picture[y, x, 3] > 0)
            if voxel is not None:
                kind = flat.kinds[tuple(side // 16 for side in voxel)]
                shown = np.round(srgb_from_linear(colors[kind, flat.volume[voxel]]) * 255)
                assert np.abs(picture[y, x, :3] - shown).max() <= 1
                seen += 1
        assert seen > 20
    for outside in ((-0.1, 3), (3, -0.1), (SIZE[0], 3), (3, SIZE[1])):
        assert flat.view.voxel_at(*outside) is None
    flat.close()


@given(
    st.sampled_from(AXES), st.sampled_from(ZOOMS), st.floats(-2000, 2000), st.floats(-2000, 2000),
    st.integers(1, 3000), st.integers(1, 2000),
)  # fmt: skip
def test_pixels_and_coordinates_are_each_others_inverse(
    axis: str, zoom: float, u: float, v: float, width: int, height: int
) -> None:
    plane = next(plane for plane in PLANES if plane.axis == axis)
    raster = raster_of(plane, (1024, 1024, 1024), (width, height), (u, v), zoom)
    assert raster.scale == zoom
    x, y = raster.pixel_of((u, v))
    assert abs(x - width / 2) <= 0.5 + 1e-6
    assert abs(y - height / 2) <= 0.5 + 1e-6
    assert raster.shown_at(x, y) == pytest.approx((u, v), abs=1e-6)
    voxel = raster.voxel_at(x, y)
    if voxel is not None and axis != "oblique" and zoom >= 1:
        shown = raster.shown_at(math.floor(x) + 0.5, math.floor(y) + 0.5)
        assert np.floor(raster.frame.point(*shown)).tolist() == list(voxel)


def test_zooms_are_steps() -> None:
    assert all((zoom if zoom >= 1 else 1 / zoom) % 1 == 0 for zoom in ZOOMS)
    assert zoom_beside(1.0, 1) == 2.0
    assert zoom_beside(1.0, -1) == 0.5
    assert zoom_beside(5.1, 0) == 6.0
    assert zoom_beside(32.0, 5) == 32.0
    assert zoom_beside(0.0, -1) == 1 / 64
    assert zoom_to_fit(512, 256, (512, 256)) == 1.0
    assert zoom_to_fit(512, 256, (511, 999)) == 0.5
    assert zoom_to_fit(1, 1, (1, 1)) == 1.0
    assert zoom_to_fit(1e6, 1, (10, 10)) == 1 / 64
    assert zoom_to_fit(0, 0, (100, 100)) == 32.0


def test_far_away_is_nothing_and_no_error(make_store: MakeStore) -> None:
    content = clustered_bytes(64, seed=26)
    flat = Flat(make_store(content), content)
    for plane in (PLANES[0], PLANES[5]):
        assert flat.draw(plane, (1e12, -1e12), 32.0)
        assert not flat.picture().any()
        assert flat.view.voxel_at(10, 10) is None
    flat.close()


@pytest.mark.parametrize(("layout", "n_parts"), [("texture", 1), ("texture", 3), ("linear", 1), ("linear", 5)])
def test_the_shader_is_composed_without_a_gpu(device: wgpu.GPUDevice, layout: str, n_parts: int) -> None:
    switches = Switches("slice", by_page=n_parts > 1, hides=layout == "linear", outputs="color", cut=False)
    code = slice_code(common_variables(switches, layout, n_parts, 10))
    assert "{{" not in code
    assert "$$" not in code
    device.create_shader_module(code=code)


def test_a_raster_says_what_it_is() -> None:
    raster = raster_of(Plane("x", 3.0), (64, 64, 64), (10, 10), (5.0, 5.0), 2.0)
    assert raster == Raster(Plane("x", 3.0), (64, 64, 64), (10, 10), 5, 15, 2, 1)
    assert raster.voxel_at(0, 0) == (3, 2, 7)
    assert raster.voxel_at(9, 9) == (3, 7, 2)
