"""The brick store against numpy: every byte, every summary, both layouts, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import wgpu
from numpy.typing import NDArray

import render.brick_levels
import render.brick_upload
import render.bricks
from render.bricks import NEVER_S, BrickStore, VoxelLayout
from render.content import Kind
from render.curves import CURVES, HILBERT, Curve, CurveError, HilbertCurve, table_words
from render.device import adapter_summary
from render.errors import BadPages, OutOfVideoMemory
from tests.render.conftest import MakeStore, clustered_bytes
from tests.render.reference_content import bricks_of, cells_of, entropy_of, kinds_of

LAYOUTS: tuple[VoxelLayout, ...] = ("texture", "linear")
WAYS: tuple[dict[str, Any], ...] = (
    {"layout": "texture", "sums_up": "shader"},
    {"layout": "linear", "sums_up": "shader"},
    {"layout": "linear", "sums_up": "host"},
)
"""Every way by which pages get to the GPU."""


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


@pytest.mark.parametrize("curve", CURVES.values(), ids=CURVES.keys())
@pytest.mark.parametrize("way", WAYS)
def test_every_level_equals_numpy(make_store: MakeStore, way: dict[str, Any], curve: Curve) -> None:
    """Bytes, cells, bricks, blocks: what the GPU holds is what numpy makes of the same bytes, under every curve."""
    content = clustered_bytes(200, seed=1)
    store = make_store(content, curve=curve, **way)
    store.settle()
    pages = content.reshape(-1, 4096)
    for page in range(0, 200, 7):
        np.testing.assert_array_equal(store.read_page(page), pages[page])

    bricks = read(store, store.bricks, "<u4")
    where, _ = store.curve.bricks_from_pages(200, store.order)
    expected = np.zeros_like(bricks)
    expected[tuple(where.T)] = bricks_of(pages)
    np.testing.assert_array_equal(bricks, expected)

    cells = read(store, store.cells, "u1")
    first_bytes = np.arange(0, content.size, 64, dtype=np.uint64)
    expected = np.zeros_like(cells)
    expected[tuple((store.curve.voxel_from_address(first_bytes, store.order) // 4).T)] = cells_of(pages).reshape(-1, 4)
    np.testing.assert_array_equal(cells, expected)

    blocks = read(store, store.blocks, "<u4")
    count, highest = np.zeros(blocks.shape, int), np.zeros(blocks.shape, int)
    for brick in np.argwhere(bricks[..., 0] != 0):
        block = tuple(brick // 4)
        count[block] += 1
        highest[block] = max(highest[block], int(bricks[tuple(brick)][0] >> 21 & 255))
    np.testing.assert_array_equal(blocks, count | highest << 8)

    summaries = store.read_summaries()
    np.testing.assert_array_equal(summaries.filled, (pages != 0).sum(axis=1))
    np.testing.assert_array_equal(summaries.highest, pages.max(axis=1))
    np.testing.assert_array_equal(summaries.entropy, np.where(pages.any(axis=1), entropy_of(pages), 0))
    np.testing.assert_array_equal(summaries.kind, kinds_of(pages))
    np.testing.assert_array_equal(summaries.mean, bricks_of(pages)[:, 0] >> 13 & 255)
    np.testing.assert_array_equal(summaries.representative, bricks_of(pages)[:, 1] >> 8)


@pytest.mark.parametrize("way", WAYS)
def test_uploads_in_any_order_and_again(make_store: MakeStore, way: dict[str, Any]) -> None:
    """What was written last is what is shown, over several batches and with untouched pages left alone."""
    content = clustered_bytes(64, seed=2).reshape(-1, 4096)
    store = make_store(content.copy().ravel(), **way)
    rng = np.random.default_rng(3)
    for _ in range(4):
        pages = rng.permutation(64)[:20].astype(np.uint32)
        fresh = rng.integers(0, 256, (20, 4096)).astype(np.uint8)
        store.upload(pages, fresh)
        content[pages] = fresh
    for page in range(64):
        np.testing.assert_array_equal(store.read_page(page), content[page])


@pytest.mark.parametrize("way", WAYS)
def test_several_batches_and_parts(make_store: MakeStore, way: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A volume cut into parts, uploaded in more batches than one and by more threads, reads back whole."""
    monkeypatch.setattr(render.brick_upload, "BATCH_PAGES", 50)
    monkeypatch.setattr(render.brick_upload, "HOST_BATCH_PAGES", 150)
    monkeypatch.setattr(render.brick_upload, "CHUNK_PAGES", 20)
    monkeypatch.setattr(render.brick_levels, "SLAB_BYTES", 1 << 18)
    monkeypatch.setattr(render.bricks, "MOST_PART_BITS", 6)
    content = clustered_bytes(256, seed=4)
    store = make_store(content, **way)
    assert len(store.parts) == 4
    np.testing.assert_array_equal(np.concatenate([store.read_page(page) for page in range(256)]), content)
    where, _ = store.curve.bricks_from_pages(256, store.order)
    np.testing.assert_array_equal(
        read(store, store.bricks, "<u4")[tuple(where.T)], bricks_of(content.reshape(-1, 4096))
    )


def test_data_that_lies_anywhere(make_store: MakeStore) -> None:
    """Pages that start at an odd address, or are every other one of an array, are as good as any."""
    store = make_store(np.zeros(4 * 4096, np.uint8), sums_up="host", layout="linear")
    rng = np.random.default_rng(8)
    loose = rng.integers(0, 256, 4 * 4096 + 3).astype(np.uint8)
    pages = loose[3:].reshape(4, 4096)
    store.upload(np.arange(4, dtype=np.uint32), pages)
    np.testing.assert_array_equal(store.read_page(3), pages[3])
    store.upload(np.array([2, 0], np.int64), pages[::2])
    np.testing.assert_array_equal(store.read_page(2), pages[0])
    np.testing.assert_array_equal(store.read_summaries().filled[[2, 0]], (pages[::2] != 0).sum(axis=1))


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
    with pytest.raises(BadPages, match="Page -1 was sent"):
        store.upload(np.array([-1]), np.zeros((1, 4096), np.uint8))
    for page in (-1, 4):
        with pytest.raises(BadPages, match="was asked of a volume of 4 pages"):
            store.read_page(page)


def test_zero_bytes_have_no_volume(device: wgpu.GPUDevice) -> None:
    with pytest.raises(CurveError, match="at least one byte"):
        BrickStore(device, 0)


def test_too_large_is_said_and_leaves_nothing(device: wgpu.GPUDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render.brick_levels, "MAX_PARTS", {"texture": 1, "linear": 1})
    monkeypatch.setattr(render.bricks, "MOST_PART_BITS", 2)
    with pytest.raises(OutOfVideoMemory, match="Close other volumes") as error:
        BrickStore(device, 1 << 20, layout="linear")
    assert error.value.need_bytes == 1 << 20


def test_more_than_shaders_can_address_is_said(device: wgpu.GPUDevice) -> None:
    with pytest.raises(OutOfVideoMemory):
        BrickStore(device, 4096, 4, curve=FarCurve())


class FarCurve(HilbertCurve):
    """A curve whose first page lies far out."""

    def box_shape(self, size_bytes: int, order: int) -> tuple[int, int, int]:
        return (1 << 14, 16, 16)


def test_an_allocation_that_the_driver_refuses_is_said(device: wgpu.GPUDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    if not adapter_summary(device).is_software:
        pytest.skip("a GPU may well hold one texture of 4 GiB; lavapipe refuses above 2 GiB")
    monkeypatch.setattr(render.brick_levels, "SLAB_BYTES", 1 << 32)
    with pytest.raises(OutOfVideoMemory, match="4,096 MiB"):
        BrickStore(device, 1 << 32, layout="texture")


class Spy:
    """Counts what a device is asked to make, independently of the store."""

    def __init__(self, device: wgpu.GPUDevice, monkeypatch: pytest.MonkeyPatch) -> None:
        self.n_bytes = 0
        for name in ("create_texture", "create_buffer"):
            monkeypatch.setattr(device, name, self.watched(getattr(device, name)))

    def watched(self, make: Callable[..., Any]) -> Callable[..., Any]:
        def watch(**options: Any) -> Any:
            size = options["size"]
            if isinstance(size, int):
                self.n_bytes += size
            else:
                texel = {"r8unorm": 1, "rgba8unorm": 4, "r32uint": 4, "rg32uint": 8, "rg32float": 8}
                self.n_bytes += int(np.prod(size)) * texel[options["format"]]
            return make(**options)

        return watch


@pytest.mark.parametrize("way", WAYS)
def test_memory_is_counted(device: wgpu.GPUDevice, monkeypatch: pytest.MonkeyPatch, way: dict[str, Any]) -> None:
    """What a store says that it takes is what the device was asked for, uploads and attributes included."""
    spy = Spy(device, monkeypatch)
    store = BrickStore(device, 16 << 20, **way)
    store.upload(np.arange(64, dtype=np.uint32), np.ones((64, 4096), np.uint8))
    store.set_attribute("owner", np.zeros(4096, np.uint8))
    store.settle()
    assert store.vram_bytes == spy.n_bytes
    store.remove_attribute("owner")
    assert store.vram_bytes == spy.n_bytes - 4096
    store.destroy()
    store.destroy()
    assert store.vram_bytes == 0


@pytest.mark.parametrize("way", WAYS)
def test_a_gibibyte_stays_under_its_bar(
    device: wgpu.GPUDevice, monkeypatch: pytest.MonkeyPatch, way: dict[str, Any]
) -> None:
    """1 GiB of RAM, with uploads going on and two attributes, takes less than 1.3 GiB."""
    spy = Spy(device, monkeypatch)
    store = BrickStore(device, 1 << 30, **way)
    store.upload(np.arange(64, dtype=np.uint32), np.ones((64, 4096), np.uint8))
    for name in ("class", "owner"):
        store.set_attribute(name, np.zeros(store.n_pages, np.uint8))
    assert 1.0 < spy.n_bytes / 2**30 < 1.3
    store.destroy()


def test_tables_are_the_ones_that_numpy_walks() -> None:
    for curve in CURVES.values():
        words = table_words(curve)
        tables = curve.step_tables(2)
        assert words.shape == (64 * curve.n_states,)
        half = 32 * curve.n_states
        for state in range(curve.n_states):
            for digits in range(64):
                index = state * 64 + digits
                forward = int(words[index >> 1]) >> 16 * (index & 1) & 0xFFFF
                assert forward == int(tables.position[state, digits]) | int(tables.state[state, digits]) << 8
                inverse = int(words[half + (index >> 1)]) >> 16 * (index & 1) & 0xFFFF
                assert inverse == tables.address[state, digits]
