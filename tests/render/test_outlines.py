"""Outlines of what is lit up against numpy: along which edges of a set of bricks they run, and nowhere else."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
import wgpu
from numpy.typing import NDArray

from render.bricks import BrickStore
from render.camera import CameraState, basis_of
from render.cut import Plane
from render.eye import Eye, Shine
from render.highlight import COLOUR_WORDS, MOST_CLEAR, NOWHERE, brick_words, lit_box
from render.look import Look, Mode
from render.look_table import LookTable
from render.march import TARGET_FORMATS, Marcher, Targets
from render.palettes import palette_table
from render.slice_view import SliceView
from tests.render import reference
from tests.render.conftest import MakeStore, clustered_bytes

SIZE = (320, 200)
WIDTH_PX = 3.0
SHINE = Shine(1.0, 0.5, (1.0, 1.0, 1.0), outline=WIDTH_PX / SIZE[1])
COLOURS = np.array([(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)])
VIEWS = [
    CameraState((32, 32, 32), 190, -52, 24),
    CameraState((32, 32, 32), 170, 130, -35),
    CameraState((20, 30, 40), 110, 10, 60),
]
AXES = np.eye(3, dtype=int)


def marched(store: BrickStore, eye: Eye, mode: Mode, shine: Shine = SHINE) -> dict[str, NDArray[Any]]:
    """Colour (h, w, 4), depth (h, w, 1) and voxel (h, w, 4) of one sample."""
    table = LookTable(store.device)
    table.write(Look(mode=mode), palette_table("grey"))
    usage = wgpu.TextureUsage.RENDER_ATTACHMENT | wgpu.TextureUsage.COPY_SRC
    textures = {
        name: store.device.create_texture(size=(*SIZE, 1), format=texture_format, usage=usage)
        for name, texture_format in TARGET_FORMATS.items()
    }
    store.settle()
    Marcher(store).march(
        Targets(SIZE, *(texture.create_view() for texture in textures.values())),
        eye,
        table,
        shine,
        [(0, 0, *SIZE)],
        sample=0,
        jitter=(0.0, 0.0),
        pixel_height=SIZE[1],
    )
    found: dict[str, NDArray[Any]] = {}
    for name, dtype, channels in (("color", "f2", 4), ("depth", "f4", 1), ("voxel", "u2", 4)):
        row = SIZE[0] * channels * np.dtype(dtype).itemsize
        raw = store.device.queue.read_texture(
            {"texture": textures[name]}, {"bytes_per_row": row, "rows_per_image": SIZE[1]}, (*SIZE, 1)
        )
        found[name] = np.frombuffer(raw, dtype).reshape(SIZE[1], SIZE[0], channels)
        textures[name].destroy()
    table.destroy()
    return found


def brick_grid(store: BrickStore, index: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The highlight of each brick, (x, y, z) uint8."""
    grid = np.zeros(store.shape_bricks, np.uint8)
    grid[tuple(store.bricks_of_pages(np.arange(store.n_pages, dtype=np.uint32)).T)] = index
    return grid


def creases(grid: NDArray[np.uint8], number: int) -> NDArray[np.float64]:
    """The edges of what the bricks of a highlight fill together, one for each brick's length: (n, 2, 3) in voxels.

    Around an edge of the grid stand four bricks. It is one of the shape's where one or three of them are of the set, or
    two that meet in it alone; two side by side are a flat face.
    """
    padded = np.pad(grid == number, 1)
    found = []
    for axis in range(3):
        a, b = (other for other in range(3) if other != axis)
        for corner in product(*(range(side + 1 - (i == axis)) for i, side in enumerate(grid.shape))):
            at = np.array(corner) + 1
            four = [bool(padded[tuple(at - AXES[a] * i - AXES[b] * j)]) for i, j in product((0, 1), (0, 1))]
            if sum(four) in (1, 3) or four in ([True, False, False, True], [False, True, True, False]):
                found.append((16.0 * np.array(corner), 16.0 * (np.array(corner) + AXES[axis])))
    return np.array(found)


def pixels_of(eye: Eye, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where points (…, 3) of the volume are seen, (…, 2)."""
    seen = points - eye.basis.position
    depth = seen @ eye.basis.forward
    x = (seen @ eye.basis.right / depth / eye.half_extent[0] * 0.5 + 0.5) * SIZE[0]
    y = (0.5 - seen @ eye.basis.up / depth / eye.half_extent[1] * 0.5) * SIZE[1]
    return np.stack([x, y], axis=-1)


def distances(eye: Eye, segments: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far each pixel's middle is from the nearest of some segments (n, 2, 3) in the picture, (h, w) in pixels."""
    ends = pixels_of(eye, segments)
    y, x = np.mgrid[: SIZE[1], : SIZE[0]] + 0.5
    nearest = np.full(x.shape, np.inf)
    for (ax, ay), (bx, by) in ends:
        length = max((bx - ax) ** 2 + (by - ay) ** 2, 1e-9)
        along = np.clip(((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length, 0, 1)
        nearest = np.minimum(nearest, np.hypot(x - ax - along * (bx - ax), y - ay - along * (by - ay)))
    return nearest


def passes_through(lit: NDArray[np.bool_], eye: Eye, pixels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(n,) whether rays through pixels (n, 2), y and x, meet any brick that is lit, (x, y, z)."""
    near = Eye(replace(eye.basis, position=eye.basis.position / 16), eye.half_extent, 0.0)
    directions = [reference.ray_direction(near, (x + 0.5, y + 0.5), SIZE) for y, x in pixels.tolist()]
    return np.array([any(lit[s.voxel] for s in reference.walk(lit.shape, near, way)) for way in directions], np.bool_)


def test_words_tell_what_is_beside_and_which_edges_there_are() -> None:
    """Of every brick against the four bricks around each of its edges, looked up one by one."""
    rng = np.random.default_rng(9)
    lit = (rng.integers(0, 3, (5, 6, 7)) * (rng.random((5, 6, 7)) < 0.7)).astype(np.uint8)
    words, padded = brick_words(lit), np.pad(lit, 1)
    for at in np.ndindex(lit.shape):
        number = int(lit[at])

        def same(step: NDArray[Any], at: tuple[int, ...] = at, number: int = number) -> bool:
            """Whether the brick so many steps (x, y, z) on is of this highlight."""
            return bool(number) and bool(padded[tuple(np.array(at) + 1 + step[::-1])] == number)

        assert words[at] & 255 == number
        for axis, which in product(range(3), range(2)):
            assert bool(words[at] >> (9 + 2 * axis + which) & 1) == same(AXES[axis] * (2 * which - 1))
        for pair, (first, second) in enumerate(((0, 1), (0, 2), (1, 2))):
            for which in range(4):
                a, b = AXES[first] * (2 * (which & 1) - 1), AXES[second] * (2 * (which >> 1) - 1)
                four = [bool(number), same(a), same(b), same(a + b)]
                two_faces = sum(four) in (1, 3) or (sum(four) == 2 and same(a + b))
                assert bool(words[at] >> (16 + 4 * pair + which) & 1) == (bool(number) and two_faces)


def test_words_tell_how_far_around_nothing_is_lit_and_the_box_holds_all_that_is() -> None:
    rng = np.random.default_rng(4)
    lit = np.zeros((20, 9, 24), np.uint8)
    lit[tuple(rng.integers(0, side, 3) for side in lit.shape)] = 3
    lit[:, :, 10:] = 0
    lit[3, 4, 2] = 1
    at, words = np.argwhere(lit), brick_words(lit)
    for place in np.ndindex(lit.shape):
        far = int(np.abs(at - place).max(axis=1).min())
        assert words[place] >> 28 == min(max(far - 1, 0), MOST_CLEAR)
    assert (words >> 28).max() == MOST_CLEAR
    low, high = (np.array(corner) for corner in lit_box(lit))
    assert (low % 64 == 0).all()
    assert (high % 64 == 0).all()
    xyz = at[:, ::-1] * 16
    assert (low <= xyz.min(axis=0)).all()
    assert (xyz.min(axis=0) - low < 64).all()
    assert (high > xyz.max(axis=0)).all()
    assert (high - xyz.max(axis=0) <= 64).all()
    assert lit_box(np.zeros_like(lit)) == NOWHERE


@pytest.mark.parametrize("mode", ["solid", "translucent", "mip"])
@pytest.mark.parametrize(("view", "n_pages", "share"), [(0, 64, 0.5), (1, 64, 0.15), (2, 8, 1.0)])
def test_outlines_run_along_the_edges_of_each_set(
    make_store: MakeStore, mode: Mode, view: int, n_pages: int, share: float
) -> None:
    """Of pages that hold nothing, the edges and nothing else is seen; a set that fills a box has a box's."""
    store = make_store(np.zeros(64 * 4096, np.uint8))
    rng = np.random.default_rng(view)
    index = np.zeros(64, np.uint8)
    index[:n_pages] = (rng.random(n_pages) < share) * (1 if n_pages == 8 else rng.integers(1, 4, n_pages))
    store.set_highlights(index, COLOURS)
    eye = Eye(basis_of(VIEWS[view]), (0.48, 0.3), 0.0, None)
    grid = brick_grid(store, index)
    edges = {number: creases(grid, number) for number in np.unique(index[index > 0]).tolist()}
    if n_pages == 8:
        assert len(edges[1]) == 24, "the twelve edges of a cube of two bricks a side"
    color = marched(store, eye, mode)["color"].astype(float)
    far = distances(eye, np.concatenate(list(edges.values()))) > WIDTH_PX + 1.5
    assert (color[far] == 0.0).all()
    assert far.mean() > 0.3
    for number, segments in edges.items():
        near = distances(eye, segments) < 0.35
        others = [other for which, other in edges.items() if which != number]
        if others:
            near &= distances(eye, np.concatenate(others)) > WIDTH_PX + 1.5
        on = rng.permutation(np.argwhere(near))[:150]
        on = on[passes_through(grid == number, eye, on)]
        assert len(on) > 40
        # Some rays pass by the edge on its outside and through another brick of the set.
        hit = color[tuple(on.T)]
        assert (hit[:, number - 1] > 0.25).mean() > 0.9
        others_light = np.delete(hit[:, :3], number - 1, axis=1)
        assert others_light.max() < 0.02, "in its own colour"


def test_outlines_have_a_depth_but_are_not_picked(make_store: MakeStore) -> None:
    store = make_store(np.zeros(64 * 4096, np.uint8))
    index = np.zeros(64, np.uint8)
    index[5] = 1
    store.set_highlights(index, COLOURS[:1])
    eye = Eye(basis_of(VIEWS[0]), (0.48, 0.3), 0.0, None)
    found = marched(store, eye, "solid")
    drawn = found["color"][..., 3] > 0.5
    assert drawn.sum() > 50
    low = 16.0 * store.bricks_of_pages(np.array([5], np.uint32))[0]
    corners = low + 16.0 * np.array(list(product((0, 1), repeat=3)))
    depths = (corners - eye.basis.position) @ eye.basis.forward
    of_lines = found["depth"][..., 0][drawn].astype(float)
    assert of_lines.min() > depths.min() - 0.5
    assert of_lines.max() < depths.max() + 0.5
    assert not found["voxel"][..., 3].any()
    table = LookTable(store.device)
    table.write(Look(), palette_table("grey"))
    y, x = np.argwhere(drawn)[20]
    assert Marcher(store).pick(eye, table, SHINE, (x + 0.5, y + 0.5), SIZE) is None
    table.destroy()
    assert not marched(store, eye, "solid", replace(SHINE, outline=0.0))["color"].any()


def test_an_outline_behind_others_bytes_is_fainter_and_behind_lit_ones_unseen(make_store: MakeStore) -> None:
    """A lit brick in free sight, behind bytes that are not lit, and behind lit ones."""
    strength = {}
    for behind in ("nothing", "others", "lit"):
        content = np.zeros((64, 4096), np.uint8)
        store = make_store(content.ravel())
        bricks = store.bricks_of_pages(np.arange(64, dtype=np.uint32))
        index = np.zeros(64, np.uint8)
        index[(bricks == (0, 1, 1)).all(axis=1)] = 1
        front = (bricks[:, 0] == 2) & np.isin(bricks[:, 1], (0, 1, 2)) & np.isin(bricks[:, 2], (0, 1, 2))
        content[front] = 0 if behind == "nothing" else 90
        index[front] = 2 if behind == "lit" else 0
        store.upload(np.arange(64, dtype=np.uint32), content, flash=False)
        store.set_highlights(index, COLOURS)
        eye = Eye(basis_of(CameraState((0, 24, 24), 240, 0, 0)), (0.48, 0.3), 0.0, None)
        color = marched(store, eye, "solid")["color"].astype(float)
        strength[behind] = float((color[..., 0] - color[..., 1]).max())
    assert strength["nothing"] > 0.8
    assert 0.25 < strength["others"] < 0.8 * strength["nothing"]
    assert strength["lit"] < 0.05


@pytest.mark.parametrize("mode", ["solid", "translucent", "mip"])
def test_what_is_passed_in_large_steps_is_what_is_not_there(make_store: MakeStore, mode: Mode) -> None:
    """Random sets, and volumes with whole blocks that are empty or unlit: the same picture as where every brick is
    looked at, because no block says that it holds nothing and none that nothing in it is lit.
    """
    rng = np.random.default_rng(17)
    content = clustered_bytes(512, seed=23).reshape(512, 4096)
    content[64:200] = 0
    index = np.zeros(512, np.uint8)
    for begin in rng.integers(0, 500, 14).tolist():
        index[begin : begin + int(rng.integers(1, 9))] = rng.integers(1, 4)
    index[256:330] = 0
    eye = Eye(basis_of(CameraState((60, 64, 68), 260, -52, 24)), (0.48, 0.3), 0.0, None)
    pictures = []
    for plain in (False, True):
        store = make_store(content.ravel(), "linear")
        store.set_highlights(index, COLOURS)
        store.settle()
        if plain:
            words = brick_words(brick_grid(store, index).transpose(2, 1, 0))
            words = words & np.uint32(0x0FFF_FFFF) | np.uint32(1 << 8)
            assert store.highlight.buffer is not None
            store.device.queue.write_buffer(store.highlight.buffer, 4 * COLOUR_WORDS, words)
            x, y, z = store.shape_voxels
            store.highlight.box = (0, 0, 0), (x, y, z)
            blocks = np.full(store.blocks.size[::-1], 0xFF | 0xFF << 8, np.uint32)
            store.highlight._resources.write(store.blocks, blocks)
        pictures.append(marched(store, eye, mode))
    quick, plainly = pictures
    assert (quick["voxel"][..., 3] == 1).mean() > 0.2
    assert (quick["color"][..., :3] > 0).any(axis=2).mean() > 0.2
    for name, atol in (("color", 2e-3), ("depth", 2e-2), ("voxel", 0)):
        np.testing.assert_allclose(quick[name].astype(float), plainly[name].astype(float), rtol=1e-3, atol=atol)


def test_what_is_lit_has_its_outline_before_its_own_bytes(make_store: MakeStore) -> None:
    """Full of opaque bytes, a set still has the edges that can be seen of it drawn, its silhouette among them."""
    store = make_store(np.full(64 * 4096, 90, np.uint8))
    index = np.zeros(64, np.uint8)
    index[:8] = 1
    store.set_highlights(index, COLOURS[1:2])
    eye = Eye(basis_of(VIEWS[2]), (0.48, 0.3), 0.0, None)
    lined, bare = (
        marched(store, eye, "solid", replace(SHINE, outline=outline))["color"].astype(float)
        for outline in (SHINE.outline, 0.0)
    )
    segments = creases(brick_grid(store, index), 1)
    box = segments.min(axis=(0, 1)), segments.max(axis=(0, 1))
    # An edge of the box is of its silhouette where one of the two faces that meet there is seen, and the other is not.
    seen = [[bool(eye.basis.position[i] < box[0][i]), bool(eye.basis.position[i] > box[1][i])] for i in range(3)]
    rim = []
    for axis, one, other in product(range(3), range(2), range(2)):
        a, b = (i for i in range(3) if i != axis)
        if seen[a][one] != seen[b][other]:
            ends = np.array([box[0], box[1]])
            ends[:, a], ends[:, b] = box[one][a], box[other][b]
            rim.append(pixels_of(eye, ends))
    assert len(rim) in (4, 6)
    middle = pixels_of(eye, (box[0] + box[1]) / 2)
    changed = np.abs(lined - bare).max(axis=2) > 0.05
    shares = []
    for begin, end in rim:
        # A pixel within the silhouette, all along each of its lines.
        inward = middle - (begin + end) / 2
        points = begin + (end - begin) * np.linspace(0.15, 0.85, 40)[:, None] + inward / np.linalg.norm(inward)
        x, y = np.floor(points).astype(int).T
        shares.append(changed[y.clip(0, SIZE[1] - 1), x.clip(0, SIZE[0] - 1)].mean())
    assert min(shares) > 0.6, "fainter where bytes that are not lit are before them, and nowhere missing"
    assert np.mean(shares) > 0.9


def test_outlines_keep_their_width_on_the_screen(make_store: MakeStore) -> None:
    store = make_store(np.zeros(64 * 4096, np.uint8))
    index = np.zeros(64, np.uint8)
    index[:8] = 1
    store.set_highlights(index, COLOURS[:1])
    areas = []
    for distance in (200, 400):
        eye = Eye(basis_of(CameraState((16, 16, 16), distance, -52, 24)), (0.48, 0.3), 0.0, None)
        areas.append(marched(store, eye, "solid")["color"][..., 3].astype(float).sum())
    assert 1.7 < areas[0] / areas[1] < 2.4, "half as long, and as wide: it would be a quarter"


@pytest.mark.parametrize("plane", [Plane("z", 20.0), Plane("oblique", 1.0, 20.0, 35.0)])
def test_sheets_and_flat_pictures_show_where_a_set_ends(make_store: MakeStore, plane: Plane) -> None:
    """On a plane: lines inside of the lit area along its rim, none elsewhere."""
    store = make_store(np.zeros(64 * 4096, np.uint8))
    index = (np.random.default_rng(5).random(64) < 0.4).astype(np.uint8)
    store.set_highlights(index, COLOURS[:1])
    lit = np.repeat(np.repeat(np.repeat(brick_grid(store, index), 16, 0), 16, 1), 16, 2).astype(bool)
    flat, marcher, table = SliceView(store.device, (128, 128)), Marcher(store), LookTable(store.device)
    table.write(Look(), palette_table("grey"))
    flat.draw(marcher, table, SHINE, plane, (32.0, 32.0), 2.0, 0.0, ground="#000000", outline_px=2)
    raw = store.device.queue.read_texture(
        {"texture": flat.texture}, {"bytes_per_row": 512, "rows_per_image": 128}, (128, 128, 1)
    )
    picture = np.frombuffer(raw, np.uint8).reshape(128, 128, 4).astype(int)
    shown = np.zeros((128, 128), np.bool_)
    for y, x in np.ndindex(128, 128):
        voxel = flat.voxel_at(x, y)
        shown[y, x] = voxel is not None and lit[voxel]
    padded = np.pad(shown, 2)
    inside = np.logical_and.reduce([np.roll(padded, shift, axis)[2:-2, 2:-2] for shift in (-2, 2) for axis in (0, 1)])
    rim = shown & ~inside
    assert rim.sum() > 100
    whole = slice(2, -2), slice(2, -2)  # where what is beside a pixel is in the picture, too
    np.testing.assert_array_equal((picture[..., 0] > 200)[whole], rim[whole])
    assert (picture[shown & ~rim][:, 0] > 80).all(), "the ground of what is lit"
    assert (picture[~shown][:, 0] == 0).all()
    flat.destroy()
    table.destroy()
    eye = Eye(basis_of(CameraState((32, 32, 32), 170, -52, 44)), (0.48, 0.3), 0.0, None, None, (plane,))
    sheet = marched(store, eye, "slice")
    red, met = sheet["color"][..., 0].astype(float), sheet["voxel"][..., 3] >= 2
    on = lit[tuple(np.minimum(sheet["voxel"][..., axis], 63) for axis in range(3))] & met
    assert (red[on] > 0.1).all()
    assert (red[met & ~on] == 0).all()
    line = red > 0.6
    assert 0.05 < line.sum() / on.sum() < 0.9
    unlined = marched(store, eye, "slice", replace(SHINE, outline=0.0))["color"][..., 0]
    assert not (unlined > 0.6).any()
