"""The brick store against numpy: every byte, every summary, both layouts, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import wgpu
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import render.bricks
from render.bricks import NEVER_S, BrickStore, VoxelLayout
from render.content import RANDOM_ENTROPY, Kind
from render.curves import HILBERT, CurveError, table_words
from render.device import adapter_summary
from render.errors import BadPages, OutOfVideoMemory
from tests.render.conftest import MakeStore, clustered_bytes, volume_of

LAYOUTS: tuple[VoxelLayout, ...] = ("texture", "linear")


def read(store: BrickStore, texture: wgpu.GPUTexture, dtype: str) -> NDArray[Any]:
    """A texture as (x, y, z, channels), or (x, y, z) where it has one."""
    width, height, depth = texture.size
    channels = {"r32uint": 1, "rg32uint": 2, "rg32float": 2, "rgba8unorm": 4}[texture.format]
    bytes_per_row = channels * np.dtype(dtype).itemsize * width
    raw = store.device.queue.read_texture(
        {"texture": texture}, {"bytes_per_row": bytes_per_row, "rows_per_image": height}, (width, height, depth)
    )
    texels = np.frombuffer(raw, dtype).reshape(depth, height, width, channels).swapaxes(0, 2)
    return texels[..., 0] if channels == 1 else texels


def brick_reference(pages: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """`summary_of_brick` in numpy: pages (n, 4096) uint8 -> (n, 2) uint32."""
    entropy = entropy_reference(pages)
    total = pages.astype(np.int64).sum(axis=1)
    filled = (pages != 0).sum(axis=1)
    text = (((pages >= 0x20) & (pages < 0x7F)) | (pages == 0x0A)).sum(axis=1)
    opcodes = np.isin(pages, [0x48, 0x89, 0x8B, 0xE8]).sum(axis=1)
    odd = np.ascontiguousarray(pages).view("<u4")[:, 1::2]
    pointers = ((odd >> 16 == 0xFFFF) & (odd < 0xFFFFFFF0) | (odd >> 8 == 0x7F)).sum(axis=1)
    kinds = np.select(
        [
            filled == 0,
            (pages == pages[:, :1]).all(axis=1),
            filled < 256,
            entropy >= RANDOM_ENTROPY,
            text * 100 >= filled * 85,
            pointers >= 32,
            (opcodes * 100 >= filled * 11) & (filled >= 2048),
        ],
        [Kind.ZERO, Kind.FILL, Kind.SPARSE, Kind.RANDOM, Kind.TEXT, Kind.POINTERS, Kind.CODE],
        Kind.DATA,
    )
    mean = (total + filled // 2) // np.maximum(filled, 1)
    packed = filled | mean << 13 | pages.max(axis=1).astype(np.int64) << 21 | kinds.astype(np.int64) << 29
    more = np.where(filled > 0, entropy | representative_reference(pages) << 8, 0)
    return np.stack([packed.astype(np.uint32), more.astype(np.uint32)], axis=1)


def entropy_reference(pages: NDArray[np.uint8]) -> NDArray[np.int64]:
    """255 for 8 bits a byte, in integers: pages (n, 4096) uint8 -> (n,)."""
    counts = np.stack([np.bincount(page, minlength=256) for page in pages])
    count = np.arange(4097)
    table = np.rint(count * np.log2(np.maximum(count, 1)) * 256).astype(np.int64)
    left = (12 << 20) - np.minimum(table[counts].sum(axis=1), 12 << 20)
    entropy: NDArray[np.int64] = np.minimum((left * 255 + (1 << 22)) >> 23, 255)
    return entropy


def first_filled(values: NDArray[np.uint8], start: int) -> NDArray[np.int64]:
    """The first value that is not zero at or after `start`, and around: (..., n) -> (...)."""
    turned = np.roll(values, -start, axis=-1)
    at = (turned != 0).argmax(axis=-1)
    found: NDArray[np.int64] = np.take_along_axis(turned, at[..., None], axis=-1)[..., 0].astype(np.int64)
    return found


def representative_reference(pages: NDArray[np.uint8]) -> NDArray[np.int64]:
    """That of each page's first filled cell from the middle on: pages (n, 4096) uint8 -> (n,)."""
    return first_filled(first_filled(pages.reshape(-1, 64, 64), 32).astype(np.uint8), 32)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_level_equals_numpy(make_store: MakeStore, layout: VoxelLayout) -> None:
    content = clustered_bytes(200, seed=1)
    store = make_store(content, layout)
    store.settle()
    pages = content.reshape(-1, 4096)
    for page in range(0, 200, 7):
        np.testing.assert_array_equal(store.read_page(page), pages[page])

    volume = volume_of(content, store.order, store.shape_voxels)
    in_bricks = volume.reshape(*(v for side in store.shape_bricks for v in (side, 16))).transpose(0, 2, 4, 1, 3, 5)
    by_brick = in_bricks.reshape(*store.shape_bricks, 4096)
    both = read(store, store.bricks, "<u4")
    bricks = both[..., 0]
    np.testing.assert_array_equal(bricks & 8191, (by_brick != 0).sum(axis=-1))
    np.testing.assert_array_equal(bricks >> 21 & 255, by_brick.max(axis=-1))
    where, _ = HILBERT.bricks_from_pages(200, store.order)
    np.testing.assert_array_equal(both[tuple(where.T)], brick_reference(pages))
    summaries = store.read_summaries()
    np.testing.assert_array_equal(summaries.filled, (pages != 0).sum(axis=1))
    np.testing.assert_array_equal(summaries.highest, pages.max(axis=1))
    np.testing.assert_array_equal(summaries.entropy, np.where(pages.any(axis=1), entropy_reference(pages), 0))
    np.testing.assert_array_equal(summaries.kind, brick_reference(pages)[:, 0] >> 29)
    np.testing.assert_array_equal(summaries.mean, brick_reference(pages)[:, 0] >> 13 & 255)
    np.testing.assert_array_equal(summaries.representative, representative_reference(pages))

    shape_cells = tuple(side // 4 for side in store.shape_voxels)
    in_cells = volume.reshape(*(v for side in shape_cells for v in (side, 4))).transpose(0, 2, 4, 1, 3, 5)
    by_cell = in_cells.reshape(*shape_cells, 64).astype(int)
    filled = (by_cell != 0).sum(axis=-1)
    cells = read(store, store.cells, "u1")
    np.testing.assert_array_equal(cells[..., 0], (by_cell.sum(axis=-1) + filled // 2) // np.maximum(filled, 1))
    np.testing.assert_array_equal(cells[..., 1], (filled * 255 + 63) // 64)
    np.testing.assert_array_equal(cells[..., 2], by_cell.max(axis=-1))
    x, y, z = (HILBERT.voxel_from_address(np.arange(0, content.size, 64, dtype=np.uint64), store.order) // 4).T
    np.testing.assert_array_equal(cells[x, y, z, 3], first_filled(content.reshape(-1, 64), 32))

    blocks = read(store, store.blocks, "<u4")
    expected = np.zeros(blocks.shape, int)
    for brick in np.argwhere(bricks != 0):
        expected[tuple(brick // 4)] += 1
    np.testing.assert_array_equal(blocks & 255, expected)
    highest = np.zeros(blocks.shape, int)
    for brick in np.argwhere(bricks != 0):
        highest[tuple(brick // 4)] = max(highest[tuple(brick // 4)], int(bricks[tuple(brick)] >> 21 & 255))
    np.testing.assert_array_equal(blocks >> 8, highest)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_uploads_in_any_order_and_again(make_store: MakeStore, layout: VoxelLayout) -> None:
    """What was written last is what is shown, over several batches and with untouched pages left alone."""
    content = clustered_bytes(64, seed=2).reshape(-1, 4096)
    store = make_store(content.copy().ravel(), layout)
    rng = np.random.default_rng(3)
    for _ in range(4):
        pages = rng.permutation(64)[:20].astype(np.uint32)
        fresh = rng.integers(0, 256, (20, 4096)).astype(np.uint8)
        store.upload(pages, fresh)
        content[pages] = fresh
    for page in range(64):
        np.testing.assert_array_equal(store.read_page(page), content[page])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_several_batches_and_parts(make_store: MakeStore, layout: VoxelLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    """A volume cut into parts, uploaded in more batches than one, reads back whole."""
    monkeypatch.setattr(render.bricks, "BATCH_PAGES", 50)
    monkeypatch.setattr(render.bricks, "SLAB_BYTES", 1 << 18)
    monkeypatch.setattr(render.bricks, "_PART_BITS", 6)
    content = clustered_bytes(256, seed=4)
    store = make_store(content, layout)
    assert len(store.parts) == 4
    np.testing.assert_array_equal(np.concatenate([store.read_page(page) for page in range(256)]), content)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(page=st.binary(min_size=1, max_size=400), fill=st.integers(0, 255))
def test_kinds_equal_numpy_on_any_page(device: wgpu.GPUDevice, page: bytes, fill: int) -> None:
    data = np.full((1, 4096), fill, np.uint8)
    data[0, : len(page)] = np.frombuffer(page, np.uint8)
    store = BrickStore(device, 4096)
    store.upload(np.zeros(1, np.uint32), data)
    np.testing.assert_array_equal(read(store, store.bricks, "<u4")[0, 0], brick_reference(data))
    store.destroy()


def test_kinds_name_what_they_should(make_store: MakeStore) -> None:
    rng = np.random.default_rng(5)
    pages = np.zeros((8, 4096), np.uint8)
    pages[Kind.SPARSE, :40] = 7
    pages[Kind.DATA] = np.arange(4096) % 23
    pages[Kind.TEXT] = np.frombuffer((b"The quick brown fox jumps over the lazy dog.\n" * 100)[:4096], np.uint8)
    pages[Kind.POINTERS] = (0xFFFF888000000000 + 64 * np.arange(512, dtype=np.uint64)).view(np.uint8)
    code = bytes.fromhex("554889e54883ec10488b45f8e80000000089c7488d45f0c9c3")
    pages[Kind.CODE] = np.frombuffer((code * 200)[:4096], np.uint8)
    pages[Kind.RANDOM] = rng.integers(0, 256, 4096)
    pages[Kind.FILL] = 0xCC
    store = make_store(pages.ravel())
    where, _ = HILBERT.bricks_from_pages(8, store.order)
    assert (read(store, store.bricks, "<u4")[tuple(where.T)][:, 0] >> 29).tolist() == list(Kind)


def test_only_flashing_writes_are_stamped(make_store: MakeStore) -> None:
    store = make_store(np.ones(4 * 4096, np.uint8))
    assert (read(store, store.heat, "<f4") == [NEVER_S, 0.0]).all()
    store.clock_s = 12.5
    store.upload(np.array([2], np.uint32), np.ones((1, 4096), np.uint8))
    store.upload(np.array([3], np.uint32), np.ones((1, 4096), np.uint8), flash=False)
    where, _ = HILBERT.bricks_from_pages(4, store.order)
    assert read(store, store.heat, "<f4")[tuple(where.T)].tolist() == [
        [NEVER_S, 0],
        [NEVER_S, 0],
        [12.5, 1],
        [NEVER_S, 0],
    ]


def test_changes_are_remembered_for_a_while(make_store: MakeStore) -> None:
    store = make_store(np.ones(8 * 4096, np.uint8))
    seen = store.revision
    assert store.changes_since(seen) == []
    store.clock_s = 3.0
    one = np.ones((1, 4096), np.uint8)
    store.upload(np.array([5], np.uint32), one)
    store.upload(np.array([6], np.uint32), one, flash=False)
    changes = store.changes_since(seen)
    assert changes is not None
    assert [change.flashed_s for change in changes] == [3.0, NEVER_S]
    where, _ = HILBERT.bricks_from_pages(8, store.order)
    np.testing.assert_array_equal(changes[0].corners, where[5:6] * 16)
    for _ in range(600):
        store.upload(np.array([1], np.uint32), one)
    assert store.changes_since(seen) is None
    recent = store.changes_since(store.revision - 1)
    assert recent is not None
    assert len(recent) == 1
    store.upload(np.zeros(0, np.uint32), np.zeros((0, 4096), np.uint8))
    assert store.changes_since(store.revision) == [], "nothing uploaded is no change"


def test_odd_sizes_leave_the_rest_of_the_box_empty(device: wgpu.GPUDevice) -> None:
    store = BrickStore(device, 5 * 4096 + 1)
    assert store.n_pages == 6
    pages = np.full((6, 4096), 9, np.uint8)
    store.upload(np.arange(6, dtype=np.uint32), pages)
    assert int((read(store, store.bricks, "<u4")[..., 0] != 0).sum()) == 6
    assert np.prod(store.shape_bricks) >= 6
    store.destroy()


def test_refuses_what_does_not_fit(make_store: MakeStore) -> None:
    store = make_store(np.ones(4 * 4096, np.uint8))
    with pytest.raises(BadPages, match="Page 4 was sent to a volume of 4 pages"):
        store.upload(np.array([4], np.uint32), np.zeros((1, 4096), np.uint8))
    with pytest.raises(BadPages, match=r"2 pages need data of shape \(2, 4096\) uint8, not \(1, 4096\) uint8"):
        store.upload(np.array([0, 1], np.uint32), np.zeros((1, 4096), np.uint8))
    with pytest.raises(BadPages, match="float64"):
        store.upload(np.array([0], np.uint32), np.zeros((1, 4096)))  # type: ignore[arg-type]
    for page in (-1, 4):
        with pytest.raises(BadPages, match="was asked of a volume of 4 pages"):
            store.read_page(page)


def test_zero_bytes_have_no_volume(device: wgpu.GPUDevice) -> None:
    with pytest.raises(CurveError, match="at least one byte"):
        BrickStore(device, 0)


def test_too_large_is_said_and_leaves_nothing(device: wgpu.GPUDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render.bricks, "MAX_PARTS", {"texture": 1, "linear": 1})
    monkeypatch.setattr(render.bricks, "_PART_BITS", 2)
    with pytest.raises(OutOfVideoMemory, match="Close other volumes") as error:
        BrickStore(device, 1 << 20, layout="linear")
    assert error.value.need_bytes == 1 << 20


def test_an_allocation_that_the_driver_refuses_is_said(device: wgpu.GPUDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    if not adapter_summary(device).is_software:
        pytest.skip("a GPU may well hold one texture of 4 GiB; lavapipe refuses above 2 GiB")
    monkeypatch.setattr(render.bricks, "SLAB_BYTES", 1 << 32)
    with pytest.raises(OutOfVideoMemory, match="4,096 MiB"):
        BrickStore(device, 1 << 32, layout="texture")


def test_memory_is_counted(device: wgpu.GPUDevice) -> None:
    """1 GiB must stay under 1.3 GiB on the GPU; what a store says of 16 MiB scales."""
    for layout in LAYOUTS:
        store = BrickStore(device, 16 << 20, layout=layout)
        fixed = sum(
            buffer.size for buffer in (store._batch, store._ids, store._data, store._tables, store._entropy_table)
        )
        assert 16 << 20 < store.vram_bytes - fixed < 1.1 * (16 << 20)
        store.destroy()
        store.destroy()
        assert store.vram_bytes == 0


def test_tables_are_the_ones_that_numpy_walks() -> None:
    words = table_words(HILBERT)
    tables = HILBERT.step_tables(2)
    assert words.shape == (1536,)
    for state in range(24):
        for digits in range(64):
            index = state * 64 + digits
            forward = int(words[index >> 1]) >> 16 * (index & 1) & 0xFFFF
            assert forward == int(tables.position[state, digits]) | int(tables.state[state, digits]) << 8
            inverse = int(words[768 + (index >> 1)]) >> 16 * (index & 1) & 0xFFFF
            assert inverse == tables.address[state, digits]
