"""Levels of detail: what cells and bricks show against numpy, and that what is far away costs what its pixels cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import wgpu
from numpy.typing import NDArray

from render.bricks import BrickStore
from render.camera import CameraState, basis_of
from render.content import Kind
from render.eye import Eye, Shine
from render.look import Look, Pyramid
from render.look_table import LookTable
from render.march import TARGET_FORMATS, Marcher, Targets
from render.palettes import palette_table
from render.transfer import TRANSFERS
from tests.render import reference
from tests.render.conftest import MakeStore, clustered_bytes, content_of, volume_of

SIZE = (64, 40)
SHINE = Shine(1.0, 0.5, (1.0, 1.0, 1.0))
VIEW = CameraState((32, 32, 32), 180, -52, 24)
IN_CELLS, IN_BRICKS = 54, 6
"""Heights of a picture whose pixels hold about two voxels, and about eighteen, from `VIEW`."""

Drawn = Callable[..., dict[str, NDArray[np.generic]]]


@pytest.fixture
def drawn(device: wgpu.GPUDevice) -> Iterator[Drawn]:
    """March a small picture as if its pixels were those of one `pixel_height` high: (h, w, channels) by target."""
    tables: list[LookTable] = []

    def draw(store: BrickStore, eye: Eye, look: Look, pixel_height: int) -> dict[str, NDArray[np.generic]]:
        table = LookTable(device)
        tables.append(table)
        table.write(look, palette_table("grey"))
        usage = wgpu.TextureUsage.RENDER_ATTACHMENT | wgpu.TextureUsage.COPY_SRC
        textures = {
            name: device.create_texture(size=(*SIZE, 1), format=texture_format, usage=usage)
            for name, texture_format in TARGET_FORMATS.items()
        }
        targets = Targets(SIZE, *(texture.create_view() for texture in textures.values()))
        store.settle()
        Marcher(store).march(
            targets, eye, table, SHINE, [(0, 0, *SIZE)], sample=0, jitter=(0.0, 0.0), pixel_height=pixel_height
        )
        found: dict[str, NDArray[np.generic]] = {}
        for name, dtype, channels in (("color", "f2", 4), ("depth", "f4", 1), ("voxel", "u2", 4)):
            row = SIZE[0] * channels * np.dtype(dtype).itemsize
            raw = device.queue.read_texture(
                {"texture": textures[name]}, {"bytes_per_row": row, "rows_per_image": SIZE[1]}, (*SIZE, 1)
            )
            found[name] = np.frombuffer(raw, dtype).reshape(SIZE[1], SIZE[0], channels)
            textures[name].destroy()
        return found

    yield draw
    for table in tables:
        table.destroy()


def eye_at(state: CameraState) -> Eye:
    return Eye(basis_of(state), (0.48, 0.3), 0.0)


def cells_of(volume: NDArray[np.uint8]) -> dict[str, NDArray[np.int64]]:
    """Mean of what is not zero, how many that are, and the highest, of each 4^3 cell."""
    x, y, z = (side // 4 for side in volume.shape)
    cells = volume.reshape(x, 4, y, 4, z, 4).transpose(0, 2, 4, 1, 3, 5).reshape(x, y, z, 64).astype(np.int64)
    filled = (cells > 0).sum(axis=-1)
    mean = (cells.sum(axis=-1) + filled // 2) // np.maximum(filled, 1)
    return {"mean": mean, "filled": filled, "highest": cells.max(axis=-1)}


def rays() -> Iterator[tuple[int, int, tuple[float, float]]]:
    """Every third pixel: row, column, position."""
    for row in range(0, SIZE[1], 3):
        for column in range(0, SIZE[0], 3):
            yield row, column, (column + 0.5, row + 0.5)


@pytest.mark.parametrize("pyramid", ["mean", "max"])
def test_translucent_cells_equal_numpy(make_store: MakeStore, drawn: Drawn, pyramid: Pyramid) -> None:
    """What each pixel hides, by cells looked at in the middles of equal stretches of each brick, to 1 %.

    Random and repeated bytes are passed brick by brick. One pixel in thirty may meet a cell by rounding where numpy
    meets its neighbour.
    """
    content = clustered_bytes(64, seed=31)
    store = make_store(content)
    volume = volume_of(content, store.order, store.shape_voxels)
    look = Look(mode="translucent", channel="value", pyramid=pyramid, opacity=0.05)
    eye = eye_at(VIEW)
    alpha = drawn(store, eye, look, IN_CELLS)["color"][..., 3].astype(float)
    cells, summaries = cells_of(volume), store.read_summaries()
    bricks, _ = store.curve.bricks_from_pages(store.n_pages, store.order)
    page_of = {tuple(brick): page for page, brick in enumerate(bricks.tolist())}
    scalar_of = {"mean": (cells["mean"], summaries.mean), "max": (cells["highest"], summaries.highest)}[pyramid]
    opacities = look.opacity * look.transfer.opacities()
    differences = []
    for row, column, pixel in rays():
        direction = reference.ray_direction(eye, pixel, SIZE)
        length, passed = float(np.linalg.norm(direction)), 1.0
        small = replace(eye, basis=replace(eye.basis, position=eye.basis.position / 16))
        for step in reference.walk(tuple(side // 16 for side in volume.shape), small, direction):
            if passed < 0.02:
                break
            enter, leave, page = step.enter * 16, step.leave * 16, page_of[step.voxel]
            whole = summaries.kind[page] >= Kind.RANDOM
            n = 1 if whole else int(np.ceil((leave - enter) * length / 6))
            for j in range(n):
                at = eye.basis.position + direction * (enter + (leave - enter) * (j + 0.5) / n)
                cell = tuple(np.clip(at // 4, 0, 15).astype(int))
                share = summaries.filled[page] / 4096 if whole else ((cells["filled"][cell] * 255 + 63) // 64) / 255
                scalar = int(scalar_of[1][page] if whole else scalar_of[0][cell])
                if share > 0:
                    passed *= float((1 - opacities[scalar]) ** ((leave - enter) / n * length * share))
        differences.append(abs(1 - passed - alpha[row, column]))
    found = np.array(differences)
    assert alpha.max() > 0.5
    assert (found > 0.01).mean() < 1 / 30
    assert found.mean() < 0.005


def test_maximum_of_cells_equals_numpy(make_store: MakeStore, drawn: Drawn) -> None:
    """The cell that a pixel shows is as high as any on its ray."""
    content = clustered_bytes(64, seed=32)
    store = make_store(content)
    eye = eye_at(VIEW)
    voxels = drawn(store, eye, Look(mode="mip", channel="value"), IN_CELLS)["voxel"].astype(int)
    highest = cells_of(volume_of(content, store.order, store.shape_voxels))["highest"]
    scalars = np.where(highest > 0, highest, -1)
    small = replace(eye, basis=replace(eye.basis, position=eye.basis.position / 4))
    met = wrong = 0
    for row, column, pixel in rays():
        direction = reference.ray_direction(eye, pixel, SIZE)
        expected = reference.highest(scalars, small, direction, Look())
        x, y, z, hit = voxels[row, column]
        met += hit
        value = highest[x // 4, y // 4, z // 4] if hit else -1
        wrong += value != (-1 if expected is None else scalars[expected.voxel])
    assert met > 60
    assert wrong <= met // 30, "only where a ray grazes a cell"


def test_first_hit_of_whole_cells_equals_numpy(make_store: MakeStore, drawn: Drawn) -> None:
    """Where cells are full or empty, chance has no say: pixels show the first full cell on their rays."""
    rng = np.random.default_rng(3)
    full = rng.random((16, 16, 16)) < 0.02
    volume = np.kron(full, np.ones((4, 4, 4), np.uint8)).astype(np.uint8) * 90
    store = make_store(content_of(volume, 64 * 4096, 10))
    eye = eye_at(VIEW)
    voxels = drawn(store, eye, Look(), 12)["voxel"].astype(int)
    small = replace(eye, basis=replace(eye.basis, position=eye.basis.position / 4))
    met = wrong = 0
    for row, column, pixel in rays():
        direction = reference.ray_direction(eye, pixel, SIZE)
        expected = reference.first_hit(np.where(full, 90, -1), small, direction, Look())
        if expected is not None and reference.is_delicate(small, direction, expected):
            continue
        met += expected is not None
        x, y, z, hit = voxels[row, column]
        wrong += (x // 4, y // 4, z // 4, hit) != ((0, 0, 0, 0) if expected is None else (*expected.voxel, 1))
    assert met > 20
    assert wrong <= 1


def test_chance_shows_as_much_of_a_thin_veil_as_is_there(make_store: MakeStore, drawn: Drawn) -> None:
    """A layer of cells each filled to an eighth: a pixel's ray through four voxels meets one in 41 of 100 cases."""
    volume = np.zeros((64, 64, 64), np.uint8)
    volume[:, :, 32:36] = np.random.default_rng(5).permuted(np.tile(np.arange(64) < 8, (256, 1)), axis=1).reshape(
        16, 16, 4, 4, 4
    ).transpose(0, 2, 1, 3, 4).reshape(64, 64, 4) * np.uint8(77)
    store = make_store(content_of(volume, 64 * 4096, 10))
    eye = eye_at(CameraState((32, 32, 32), 100, 0, 90))
    hit = drawn(store, eye, Look(), 7)["voxel"][14:26, 24:40, 3]
    assert hit.mean() == pytest.approx(1 - (7 / 8) ** 4, abs=0.1)


@pytest.mark.parametrize("mode", ["solid", "translucent", "mip"])
def test_bricks_stand_for_cells_from_afar(make_store: MakeStore, drawn: Drawn, mode: str) -> None:
    """Where a pixel holds a brick, a full volume is seen as a full one, and an empty one not at all."""
    eye = eye_at(VIEW)
    look = Look(mode=mode, opacity=0.5)  # type: ignore[arg-type]
    full = drawn(make_store(np.full(64 * 4096, 200, np.uint8)), eye, look, IN_BRICKS)
    assert full["voxel"][20, 32, 3] == 1
    assert full["color"][20, 32, 3] > (0.7 if mode == "mip" else 0.95)
    empty = drawn(make_store(np.zeros(64 * 4096, np.uint8)), eye, look, IN_BRICKS)
    assert not empty["voxel"].any()


@pytest.mark.parametrize("mode", ["solid", "translucent", "mip"])
def test_hidden_scalars_are_hidden_at_every_level(make_store: MakeStore, drawn: Drawn, mode: str) -> None:
    store = make_store(np.full(64 * 4096, 30, np.uint8))
    look = Look(mode=mode, channel="value", transfer=TRANSFERS["High"])  # type: ignore[arg-type]
    for pixel_height in (4000, IN_CELLS, 12, IN_BRICKS):
        assert not drawn(store, eye_at(VIEW), look, pixel_height)["color"].any()


def test_pages_without_bytes_are_drawn_from_their_cells(device: wgpu.GPUDevice, drawn: Drawn) -> None:
    """With room for few pages, all of them are seen all the same, and near by as whole cells."""
    content = np.full((4096, 4096), 120, np.uint8)
    view = eye_at(CameraState((128, 128, 128), 700, -52, 24))
    hits = []
    for budget_bytes in (3 << 20, None):
        store = BrickStore(device, content.size, budget_bytes=budget_bytes)
        store.upload(np.arange(4096, dtype=np.uint32), content, flash=False)
        assert store.is_pooled == (budget_bytes is not None)
        hits.append(drawn(store, view, Look(), 8000)["voxel"].astype(int))
        store.destroy()
    few, whole = hits
    assert whole[..., 3].sum() > 200
    assert (few[..., 3] == whole[..., 3]).mean() > 0.99
    both = (few[..., 3] > 0) & (whole[..., 3] > 0)
    assert (np.abs(few[both] - whole[both]) <= 4).all()


@pytest.mark.parametrize("mode", ["solid", "translucent", "mip"])
def test_what_is_far_costs_what_its_pixels_cost(
    device: wgpu.GPUDevice, make_store: MakeStore, drawn: Drawn, mode: str
) -> None:
    """Eight times as far, a volume covers a 64th of the pixels, and takes less than a fifth of the time.

    Processor time of the software adapter, the least of some tries, less what a picture of nothing takes.
    """
    store = make_store(np.tile(clustered_bytes(64, seed=33), 16))
    table = LookTable(device)
    table.write(Look(mode=mode, opacity=0.01), palette_table("grey"))  # type: ignore[arg-type]
    size = (1280, 720)
    usage = wgpu.TextureUsage.RENDER_ATTACHMENT | wgpu.TextureUsage.COPY_SRC
    textures = [
        device.create_texture(size=(*size, 1), format=TARGET_FORMATS[name], usage=usage) for name in ("color", "depth")
    ]
    targets = Targets(size, *(texture.create_view() for texture in textures))
    marcher = Marcher(store)
    fence = device.create_buffer(size=4, usage=wgpu.BufferUsage.COPY_SRC | wgpu.BufferUsage.COPY_DST)
    store.settle()

    def least_s(distance: float) -> float:
        eye = eye_at(CameraState((64, 64, 32), distance, -52, 24))
        took = []
        for _ in range(5):
            started = time.process_time()
            marcher.march(
                targets, eye, table, SHINE, [(0, 0, *size)], sample=0, jitter=(0.0, 0.0), pixel_height=size[1]
            )
            device.queue.read_buffer(fence)
            took.append(time.process_time() - started)
        return min(took)

    nothing = least_s(1e7)
    near, far = least_s(240) - nothing, least_s(1920) - nothing
    assert far < 0.2 * near
    for resource in (*textures, fence, table):
        resource.destroy()
