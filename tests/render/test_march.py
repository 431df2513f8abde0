"""The GPU's march against the one in numpy, ray by ray."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import wgpu
from numpy.typing import NDArray

import render.brick_levels
import render.bricks
from render.bricks import BrickStore, VoxelLayout
from render.camera import Box, CameraState, basis_of
from render.content import Kind
from render.curves import HILBERT
from render.look import MODES, Look, Mode
from render.look_table import LookTable
from render.march import Eye, Marcher, Shine
from render.palettes import palette_table
from render.transfer import EVERYTHING, TRANSFERS, Transfer
from tests.render import reference
from tests.render.conftest import MakeStore, clustered_bytes, volume_of

SIZE = (320, 200)
LOOK = Look()
SHINE = Shine(1.0, 0.5, (1.0, 1.0, 1.0))
BODY_MODES: tuple[Mode, ...] = ("solid", "translucent", "mip")
"""The modes that show the volume itself."""


@pytest.fixture
def table_of(device: wgpu.GPUDevice) -> Iterator[Callable[[Look], LookTable]]:
    """The table of a look, destroyed after the test."""
    made: list[LookTable] = []

    def make(look: Look) -> LookTable:
        made.append(LookTable(device))
        made[-1].write(look, palette_table("grey"))
        return made[-1]

    yield make
    for table in made:
        table.destroy()


def eye_at(state: CameraState, clear_depth: float = 0.0) -> Eye:
    return Eye(basis_of(state), (0.48, 0.3), clear_depth, state.opening)


TableOf = Callable[[Look], LookTable]


def compare(store: BrickStore, volume: NDArray[np.uint8], eye: Eye, look: Look | Mode, n: int, seed: int) -> int:
    """Pick `n` pixels both ways; returns how many met something."""
    look = replace(LOOK, mode=look) if isinstance(look, str) else look
    table = LookTable(store.device)
    table.write(look, palette_table("grey"))
    marcher = Marcher(store)
    scalars = reference.scalars_of(volume, look)
    rng = np.random.default_rng(seed)
    met = 0
    for _ in range(n):
        pixel = (float(rng.random() * SIZE[0]), float(rng.random() * SIZE[1]))
        direction = reference.ray_direction(eye, pixel, SIZE)
        expected = reference.FIND[look.mode](scalars, eye, direction, look)
        if expected is not None and reference.is_delicate(eye, direction, expected):
            continue
        picked = marcher.pick(eye, table, SHINE, pixel, SIZE)
        if expected is None:
            assert picked is None, f"pixel {pixel} met {picked}, nothing is there"
            continue
        assert picked is not None, f"pixel {pixel} missed {expected}"
        assert picked.voxel == expected.voxel, f"pixel {pixel}"
        assert picked.depth == pytest.approx(max(expected.enter, 1e-6), abs=0.01)
        met += 1
    table.destroy()
    return met


VIEWS = [
    CameraState((32, 32, 32), 180, -52, 24),
    CameraState((32, 32, 32), 180, 130, -35),
    CameraState((32, 32, 32), 200, 0, 0),
    CameraState((32, 32, 32), 200, 90, 90),
    CameraState((20, 20, 40), 25, 200, 12),
]


@pytest.mark.parametrize("layout", ["linear", "texture"])
@pytest.mark.parametrize("view", VIEWS)
def test_first_hit_equals_numpy(make_store: MakeStore, layout: VoxelLayout, view: CameraState) -> None:
    content = clustered_bytes(64, seed=11)
    store = make_store(content, layout)
    volume = volume_of(content, store.order, store.shape_voxels)
    assert compare(store, volume, eye_at(view), "solid", 40, seed=1) > 5


@pytest.mark.parametrize("view", VIEWS[:3])
def test_translucent_equals_numpy(make_store: MakeStore, view: CameraState) -> None:
    content = clustered_bytes(64, seed=12)
    store = make_store(content)
    volume = volume_of(content, store.order, store.shape_voxels)
    assert compare(store, volume, eye_at(view), "translucent", 30, seed=2) > 8


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("channel", ["content", "value"])
def test_maximum_equals_numpy(make_store: MakeStore, view: CameraState, channel: str) -> None:
    content = clustered_bytes(64, seed=17)
    store = make_store(content)
    volume = volume_of(content, store.order, store.shape_voxels)
    assert compare(store, volume, eye_at(view), Look(mode="mip", channel=channel), 40, seed=8) > 8


THIRD = Transfer(((0.0, 0.0), (0.3, 0.0), (0.4, 1.0), (0.5, 0.0), (1.0, 0.0)))
"""Shows only scalars from 77 to 127."""


@pytest.mark.parametrize("mode", BODY_MODES)
@pytest.mark.parametrize("transfer", [THIRD, TRANSFERS["High"], TRANSFERS["Low"]])
def test_what_the_transfer_function_hides_is_met_by_no_ray(
    make_store: MakeStore, mode: Mode, transfer: Transfer
) -> None:
    content = clustered_bytes(64, seed=18)
    store = make_store(content)
    volume = volume_of(content, store.order, store.shape_voxels)
    look = Look(mode=mode, channel="value", transfer=transfer, opacity=0.3)
    for view in VIEWS[:2]:
        assert compare(store, volume, eye_at(view), look, 25, seed=9) > 3


@pytest.mark.parametrize("mode", BODY_MODES)
def test_hidden_kinds_are_met_by_no_ray(make_store: MakeStore, mode: Mode) -> None:
    content = clustered_bytes(64, seed=19)
    store = make_store(content)
    kinds = store.read_summaries().kind
    hidden = frozenset({Kind.TEXT, Kind.SPARSE})
    assert {Kind(kind) for kind in np.unique(kinds)} > hidden, "there is something to hide, and something else"
    pages = content.reshape(-1, 4096).copy()
    pages[np.isin(kinds, list(hidden))] = 0
    volume = volume_of(pages.ravel(), store.order, store.shape_voxels)
    look = Look(mode=mode, hidden_kinds=hidden)
    for view in VIEWS[:2]:
        assert compare(store, volume, eye_at(view), look, 25, seed=10) > 3


@pytest.mark.parametrize("mode", BODY_MODES)
@pytest.mark.parametrize("channel", ["entropy", "heat"])
@pytest.mark.parametrize("transfer", [EVERYTHING, TRANSFERS["Middle"]])
def test_channels_by_page_equal_numpy(make_store: MakeStore, mode: Mode, channel: str, transfer: Transfer) -> None:
    """A voxel that is not zero has its page's scalar."""
    content = clustered_bytes(64, seed=20)
    store = make_store(content)
    store.half_life_s = 2.0
    rng = np.random.default_rng(1)
    for at in range(12):
        store.clock_s = 10.0 + at
        pages = rng.choice(64, 20 + at, replace=False).astype(np.uint32)
        store.upload(pages, content.reshape(-1, 4096)[pages])
    store.clock_s = 23.0
    by_page = store.read_summaries().entropy
    if channel == "heat":
        writes = store.heat_now().astype(np.float64)
        exact = np.log2(1 + writes) / 7 * 255
        by_page = np.floor(exact + 0.5).astype(np.uint8)
        assert (np.abs(exact + 0.5 - np.round(exact + 0.5)) > 1e-3).all(), "no rounding is left to chance"
    assert len(np.unique(by_page)) > 4
    scalars = np.where(content.reshape(-1, 4096) != 0, by_page[:, None].astype(np.int16), -1)
    look = Look(mode=mode, channel=channel, transfer=transfer, opacity=0.3)
    volume = volume_of(scalars.ravel(), store.order, store.shape_voxels)
    for view in VIEWS[:2]:
        assert compare(store, volume, eye_at(view), look, 25, seed=11) >= (3 if transfer is EVERYTHING else 0)


@pytest.mark.parametrize("mode", BODY_MODES)
@pytest.mark.parametrize("angles", [(-52.0, 24.0), (60.0, -40.0), (170.0, 5.0), (0.0, 0.0), (0.0, 90.0)])
def test_opening_equals_numpy(make_store: MakeStore, mode: Mode, angles: tuple[float, float]) -> None:
    content = clustered_bytes(64, seed=13)
    store = make_store(content)
    volume = volume_of(content, store.order, store.shape_voxels)
    box = ((16.0, 32.0, 16.0), (32.0, 48.0, 32.0))
    eye = eye_at(CameraState((24, 40, 24), 120, *angles, opening=box))
    assert compare(store, volume, eye, mode, 30, seed=3) > 5


@pytest.mark.parametrize("mode", BODY_MODES)
@pytest.mark.parametrize("clip", [((5.0, 9.5, 17.0), (50.0, 40.2, 60.0)), ((-20.0, 30.0, 0.0), (70.0, 39.0, 90.0))])
def test_clip_equals_numpy(make_store: MakeStore, mode: Mode, clip: Box) -> None:
    content = clustered_bytes(64, seed=16)
    store = make_store(content)
    volume = volume_of(content, store.order, store.shape_voxels)
    for view in VIEWS[:2]:
        assert compare(store, volume, replace(eye_at(view), clip=clip), mode, 25, seed=6) >= 3


@pytest.mark.parametrize("mode", BODY_MODES)
def test_clip_beside_the_volume_shows_nothing(make_store: MakeStore, mode: Mode) -> None:
    store = make_store(np.full(64 * 4096, 200, np.uint8))
    volume = volume_of(np.full(64 * 4096, 200, np.uint8), store.order, store.shape_voxels)
    eye = replace(eye_at(VIEWS[0]), clip=((70.0, 0.0, 0.0), (80.0, 64.0, 64.0)))
    assert compare(store, volume, eye, mode, 20, seed=7) == 0


def test_near_limit_takes_whole_voxels(make_store: MakeStore) -> None:
    content = clustered_bytes(64, seed=14)
    store = make_store(content)
    volume = volume_of(content, store.order, store.shape_voxels)
    assert compare(store, volume, eye_at(VIEWS[0], clear_depth=175.0), "solid", 40, seed=4) > 8


def test_parts_make_no_difference(make_store: MakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render.brick_levels, "SLAB_BYTES", 1 << 16)
    monkeypatch.setattr(render.bricks, "MOST_PART_BITS", 4)
    content = clustered_bytes(64, seed=15)
    for layout in ("texture", "linear"):
        store = make_store(content, layout)
        assert len(store.parts) == 4
        volume = volume_of(content, store.order, store.shape_voxels)
        assert compare(store, volume, eye_at(VIEWS[0]), "solid", 25, seed=5) > 5


def test_far_corner_of_a_gibibyte(device: wgpu.GPUDevice, table_of: TableOf) -> None:
    """Precision: a single byte at the far end of a 1024^3 volume is met by its ray and by none beside it."""
    store = BrickStore(device, 1 << 30)
    address = (1 << 30) - 5
    page = np.zeros((1, 4096), np.uint8)
    page[0, address % 4096] = 200
    store.upload(np.array([address >> 12], np.uint32), page)
    voxel = HILBERT.voxel_from_address(np.array([address], np.uint64), store.order)[0]
    center = (float(voxel[0]) + 0.5, float(voxel[1]) + 0.5, float(voxel[2]) + 0.5)
    table = table_of(LOOK)
    marcher = Marcher(store)
    for distance in (3.0, 40.0, 900.0, 3000.0):
        eye = eye_at(CameraState(center, distance, 40, 30))
        picked = marcher.pick(eye, table, SHINE, (160, 100), SIZE)
        assert picked is not None
        assert picked.voxel == tuple(voxel)
        pixels = SIZE[1] / (2 * 0.3 * distance)
        assert marcher.pick(eye, table, SHINE, (160 + pixels + 2, 100), SIZE) is None
    store.destroy()


def test_empty_volume_ends_every_ray(make_store: MakeStore, table_of: TableOf) -> None:
    """Nothing is met, from outside, from inside, looking away, and with a camera that is nowhere sane."""
    store = make_store(np.zeros(64 * 4096, np.uint8))
    marcher = Marcher(store)
    for mode in MODES:
        table = table_of(replace(LOOK, mode=mode))
        for state in (*VIEWS, CameraState((1e9, 0, 0), 3), CameraState((0, 0, 0), 1e12)):
            assert marcher.pick(eye_at(state), table, SHINE, (160, 100), SIZE) is None
