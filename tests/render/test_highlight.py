"""Pages that are lit up: what a ray meets, how the rest dims, and that nothing is different where none is lit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import wgpu
from numpy.typing import NDArray

from render.bricks import BrickStore, VoxelLayout
from render.camera import CameraState, basis_of
from render.cut import Cut, Plane
from render.errors import BadLook, BadPages
from render.eye import Eye, Shine
from render.highlight import COLOUR_WORDS
from render.look import Look, Mode
from render.look_table import LookTable
from render.march import Marcher, march_code
from render.palettes import palette_table
from render.slice_view import SliceView
from tests.render import reference
from tests.render.conftest import MakeStore, MakeView, clustered_bytes, content_of, volume_of

SIZE = (320, 200)
SHINE = Shine(1.0, 0.5, (1.0, 1.0, 1.0), outline=1.4 / 200)
VIEWS = [CameraState((32, 32, 32), 180, -52, 24), CameraState((32, 32, 32), 190, 130, -35)]


def random_mask(n_pages: int, seed: int, share: float = 0.15) -> NDArray[np.bool_]:
    return np.random.default_rng(seed).random(n_pages) < share


BLUE = (0.2, 0.5, 1.0)


def light_up(store: BrickStore, mask: NDArray[np.bool_]) -> None:
    """Light pages up as one highlight."""
    store.set_highlights(mask.astype(np.uint8), np.array([BLUE]))


def volume_mask(store: BrickStore, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(x, y, z) whether each voxel's page is lit, by numpy alone."""
    per_byte = np.repeat(mask.astype(np.uint8), 4096)
    return volume_of(per_byte, store.order, store.shape_voxels).astype(np.bool_)


# What a ray meets


@pytest.mark.parametrize("mode", ["solid", "mip", "translucent"])
@pytest.mark.parametrize("channel", ["value", "entropy"])
@pytest.mark.parametrize(  # one block, and eight
    ("layout", "n_pages", "share"), [("linear", 64, 0.4), ("texture", 64, 0.4), ("linear", 512, 0.05)]
)
def test_what_is_lit_is_met_as_numpy_says(
    make_store: MakeStore, layout: VoxelLayout, mode: Mode, channel: str, n_pages: int, share: float
) -> None:
    content = clustered_bytes(n_pages, seed=31)
    store = make_store(content, layout)
    mask = random_mask(n_pages, seed=4, share=share)
    light_up(store, mask)
    lit = volume_mask(store, mask)
    look = Look(mode=mode, channel=channel, opacity=0.3)
    if channel == "value":
        scalars = reference.scalars_of(volume_of(content, store.order, store.shape_voxels), look)
    else:
        by_page = store.read_summaries().entropy.astype(np.int16)
        bytes_ = np.where(content.reshape(-1, 4096) != 0, by_page[:, None], np.int16(-1)).astype(np.int16)
        scalars = volume_of(bytes_.ravel(), store.order, store.shape_voxels)
    table = LookTable(store.device)
    table.write(look, palette_table("grey"))
    marcher = Marcher(store)
    rng = np.random.default_rng(3)
    met = met_lit = 0
    x, y, z = (side / 2 for side in store.shape_voxels)
    for view in VIEWS:
        state = replace(view, target=(x, y, z), distance=view.distance * x / 32)
        eye = Eye(basis_of(state), (0.48, 0.3), 0.0, None)
        for _ in range(40 if n_pages == 64 else 15):
            pixel = (float(rng.random() * SIZE[0]), float(rng.random() * SIZE[1]))
            direction = reference.ray_direction(eye, pixel, SIZE)
            expected = reference.find_lit(scalars, lit, eye, direction, look)
            if expected is not None and reference.is_delicate(eye, direction, expected):
                continue
            picked = marcher.pick(eye, table, SHINE, pixel, SIZE)
            assert (picked is None) == (expected is None), f"pixel {pixel}"
            if picked is None or expected is None:
                continue
            assert picked.voxel == expected.voxel, f"pixel {pixel}"
            assert picked.depth == pytest.approx(max(expected.enter, 1e-6), abs=0.01)
            met += 1
            met_lit += bool(lit[expected.voxel])
    table.destroy()
    assert met > 6
    assert met_lit > 2, "what is lit is met through what is not"


def test_the_shaders_are_what_they_were_where_nothing_is_lit(make_store: MakeStore) -> None:
    """No word of the highlight but its declarations is in them, so that it can cost nothing."""
    store = make_store(clustered_bytes(64, seed=1))
    marcher = Marcher(store)
    table = LookTable(store.device)
    table.write(Look(), palette_table("grey"))
    eye = Eye(basis_of(VIEWS[0]), (0.48, 0.3), 0.0, None)
    plain = marcher._switches(table, eye, "color")
    light_up(store, random_mask(64, 1))
    lit = marcher._switches(table, eye, "color")
    table.destroy()
    assert not plain.lit
    assert lit == plain._replace(lit=True)
    for mode in ("solid", "translucent", "mip", "slice"):
        code = march_code(plain._replace(mode=mode, sheets=True), store.layout, len(store.parts), 100)
        assert "march.dim" not in code
        assert "lit_words[" not in code
        assert "march.lit_" not in code
        assert "var<private>" not in code


# The store


def test_what_means_nothing_is_refused(make_store: MakeStore) -> None:
    store = make_store(np.zeros(64 * 4096, np.uint8))
    for index in (np.zeros(63, np.uint8), np.zeros(64, np.bool_), np.zeros((64, 1), np.uint8), [1] * 64):
        with pytest.raises(BadPages, match=r"\(64,\) uint8"):
            store.set_highlights(index, np.array([BLUE]))  # type: ignore[arg-type]
    nothing, third = np.zeros(64, np.uint8), np.full(64, 3, np.uint8)
    for wrong in (np.zeros(3), np.zeros((1, 5)), np.zeros((256, 3))):
        with pytest.raises(BadPages, match=r"n <= 255, not \(\d"):
            store.set_highlights(nothing, wrong)
    for number in (-0.1, np.nan, np.inf):
        with pytest.raises(BadPages, match="linear light"):
            store.set_highlights(nothing, np.full((1, 3), number))
    for too_few in (None, np.zeros((2, 3))):
        with pytest.raises(BadPages, match="lit by highlight 3 of"):
            store.set_highlights(third, too_few)
    assert store.highlight.index is None
    store.set_highlights(np.arange(64, dtype=np.uint8) * 4, np.zeros((255, 4)))
    assert store.highlight.index is not None, "as many as there can be"


def test_the_mask_lies_where_the_pages_do_and_is_counted(make_store: MakeStore, device: wgpu.GPUDevice) -> None:
    store = make_store(np.zeros(700 * 4096, np.uint8))
    before, revision = store.vram_bytes, store.revision
    mask = random_mask(700, 7, 0.01)
    light_up(store, mask)
    assert store.revision == revision + 1
    x, y, z = store.shape_bricks
    assert store.vram_bytes >= before + x * y * z
    buffer = store.highlight.buffer
    assert buffer is not None
    raw = device.queue.read_buffer(buffer, 4 * COLOUR_WORDS)
    words = np.frombuffer(raw, np.uint32).reshape(z, y, x)
    texels, beside = words & 255, words >> 8 & 1
    bx, by, bz = store.bricks_of_pages(np.arange(700, dtype=np.uint32)).T
    np.testing.assert_array_equal(texels[bz, by, bx], mask)
    assert texels.sum() == mask.sum(), "and nowhere else"
    blocks = {(bx[page] // 4, by[page] // 4, bz[page] // 4) for page in np.flatnonzero(mask)}
    for at in np.ndindex(z, y, x):
        assert beside[at] == ((at[2] // 4, at[1] // 4, at[0] // 4) in blocks)
    mask[:] = False  # the caller's own: it was copied
    light_up(store, random_mask(700, 7, 0.01))
    assert store.revision == revision + 1, "the same again is no change"
    light_up(store, random_mask(700, 8, 0.01))
    assert store.highlight.buffer is buffer, "whoever has it bound need not bind anew"
    index = random_mask(700, 8, 0.01) * np.uint8(2)
    colours = np.array([BLUE, (1.0, 0.5, 0.0)])
    store.set_highlights(index, colours)
    assert store.revision == revision + 3
    store.set_highlights(index, colours[::-1])
    assert store.revision == revision + 4, "another colour is a change"
    colours[:] = 0.0  # the caller's own
    np.testing.assert_allclose(store.highlight.colours[:, :3], [(1.0, 0.5, 0.0), BLUE])
    raw = device.queue.read_buffer(buffer, 0, 4 * COLOUR_WORDS)
    exact, words = np.frombuffer(raw[:4096], np.float32), np.frombuffer(raw[4096:], np.uint8)
    np.testing.assert_array_equal(exact.reshape(256, 4)[1:3], store.highlight.colours)
    quick = words.reshape(256, 4)[1:3] / 255
    quick[:, :3] **= 2
    np.testing.assert_allclose(quick, store.highlight.colours, atol=0.005)
    store.set_highlights(None)
    store.set_highlights(None)
    assert store.revision == revision + 5
    assert store.vram_bytes == before


def test_a_look_that_dims_by_nonsense_is_refused() -> None:
    for dim in (-0.1, 1.1, float("nan")):
        with pytest.raises(BadLook, match="Dimming"):
            Look(dim=dim)


# Pictures


def wall() -> NDArray[np.uint8]:
    """A cube of 64^3, full of one byte."""
    return content_of(np.full((64, 64, 64), 140, np.uint8), 64 * 4096, 10)


def front_pages(store: BrickStore, depth: int) -> NDArray[np.uint32]:
    """The pages of the bricks at this depth behind the face x = 64, in the middle of it."""
    bricks = store.bricks_of_pages(np.arange(64, dtype=np.uint32))
    chosen = (bricks[:, 0] == 3 - depth) & np.isin(bricks[:, 1], (1, 2)) & np.isin(bricks[:, 2], (1, 2))
    return np.flatnonzero(chosen).astype(np.uint32)


@pytest.mark.parametrize("mode", ["solid", "translucent", "mip"])
@pytest.mark.parametrize("depth", [0, 3])
def test_what_is_lit_shines_through_and_the_rest_dims(
    make_view: MakeView, make_store: MakeStore, mode: Mode, depth: int
) -> None:
    """A bright square in the middle of a dark one, also where it lies at the far end of a full cube."""
    store = make_store(wall())
    view = make_view((160, 160))
    view.add_volume("m", store)
    view.look = Look(mode=mode, channel="value", opacity=0.05)
    view.camera.axis_view("+x")
    view.finish(0.0)
    before = view.screenshot()[..., :3].astype(int).sum(axis=2)
    mask = np.zeros(64, np.bool_)
    mask[front_pages(store, depth)] = True
    light_up(store, mask)
    view.finish(1.0)
    after = view.screenshot()[..., :3].astype(int).sum(axis=2)
    middle, beside = (slice(72, 88), slice(72, 88)), (slice(74, 86), slice(34, 40))
    assert after[middle].mean() > 1.4 * after[beside].mean()
    assert after[beside].mean() < 0.85 * before[beside].mean()
    view.look = replace(view.look, dim=0.0)
    view.finish(2.0)
    undimmed = view.screenshot()[..., :3].astype(int).sum(axis=2)
    assert abs(undimmed[beside].mean() - before[beside].mean()) < 8, (
        "with nothing dimmed the rest is as it was, but for the light of what is lit"
    )
    store.set_highlights(None)
    view.look = replace(view.look, dim=0.85)
    view.finish(3.0)
    np.testing.assert_allclose(view.screenshot()[..., :3].astype(int).sum(axis=2), before, atol=6)


def test_few_pages_are_seen_from_afar(make_view: MakeView, make_store: MakeStore) -> None:
    """Where a pixel is larger than a brick, too: 8 lit pages in a far 16 MiB volume leave light."""
    rng = np.random.default_rng(2)
    content = rng.integers(1, 256, 4096 * 4096).astype(np.uint8)
    store = make_store(content)
    view = make_view((200, 200))
    view.add_volume("m", store)
    view.camera.state = replace(view.camera.state, distance=view.camera.state.distance * 6)
    mask = np.zeros(4096, np.bool_)
    light_up(store, mask)
    view.finish(0.0)
    dark = view.screenshot()[..., :3].astype(int).sum(axis=2)
    mask[512:520] = True
    light_up(store, mask)
    view.finish(1.0)
    light = view.screenshot()[..., :3].astype(int).sum(axis=2)
    assert (light - dark).max() > 90
    assert ((light - dark) > 40).sum() <= 24, "and no more than they cover"


def test_a_change_of_few_pages_draws_few_tiles(make_view: MakeView, make_store: MakeStore) -> None:
    store = make_store(np.full(512 * 4096, 140, np.uint8))
    view = make_view((640, 640))
    view.add_volume("m", store)
    view.camera.axis_view("+x")
    mask = np.zeros(512, np.bool_)
    front = np.flatnonzero(store.bricks_of_pages(np.arange(512, dtype=np.uint32))[:, 0] == 7)
    mask[::3] = mask[front[20]] = True
    light_up(store, mask)
    view.finish(0.0)
    layer = view._layers["m"]
    mask[front[20]] = False
    light_up(store, mask)
    layer.note_changes(1.0, layer.eye(view.camera), view.look)
    assert not layer.stale
    stale = layer.tiles.samples == 0
    assert 0 < stale.sum() < stale.size / 2
    before = view.screenshot()
    view.finish(1.0)
    assert (view.screenshot() != before).any()


@pytest.mark.parametrize("mode", ["solid", "slice"])
def test_slice_planes_show_what_is_lit(make_view: MakeView, make_store: MakeStore, mode: Mode) -> None:
    """The lit square of the plane is brighter, the rest of it darker than before."""
    store = make_store(wall())
    view = make_view((160, 160))
    view.add_volume("m", store)
    view.set_cut("m", Cut((Plane("x", 60.0),), ((0.0, 0.0, 0.0), (61.0, 64.0, 64.0))))
    view.look = Look(mode=mode, channel="value")
    view.camera.axis_view("+x")
    view.finish(0.0)
    before = view.screenshot()[..., :3].astype(int).sum(axis=2)
    mask = np.zeros(64, np.bool_)
    mask[front_pages(store, 0)] = True
    light_up(store, mask)
    view.finish(1.0)
    after = view.screenshot()[..., :3].astype(int).sum(axis=2)
    assert after[74:86, 74:86].mean() > before[74:86, 74:86].mean()
    assert after[74:86, 36:44].mean() < before[74:86, 36:44].mean()


def test_flat_slices_tint_the_zero_bytes_of_lit_pages(make_store: MakeStore, device: wgpu.GPUDevice) -> None:
    """Of a volume that holds nothing, the lit pages can be seen on a plane all the same."""
    store = make_store(np.zeros(64 * 4096, np.uint8))
    mask = np.zeros(64, np.bool_)
    mask[front_pages(store, 0)] = True
    flat = SliceView(device, (64, 64))
    marcher, table = Marcher(store), LookTable(device)
    table.write(Look(), palette_table("grey"))

    def picture(now_s: float) -> NDArray[np.uint8]:
        flat.draw(marcher, table, SHINE, Plane("x", 60.0), (32.0, 32.0), 1.0, now_s, ground="#102030")
        raw = device.queue.read_texture(
            {"texture": flat.texture}, {"bytes_per_row": 256, "rows_per_image": 64}, (64, 64, 1)
        )
        return np.frombuffer(raw, np.uint8).reshape(64, 64, 4)[..., :3]

    plain = picture(0.0)
    assert (plain == plain[0, 0]).all()
    light_up(store, mask)
    lit = picture(1.0)
    changed = (lit != plain).any(axis=2)
    assert changed[16:48, 16:48].all()
    assert changed.sum() == 32 * 32
    flat.destroy()
    table.destroy()
