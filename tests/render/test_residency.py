"""Which pages keep their bytes when not all can: near ones, without thrashing, and never a wrong byte."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import wgpu
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from render.bricks import NOT_RESIDENT, BrickStore
from render.curves import HILBERT
from render.errors import BadPages, PageNotResident
from render.residency import Residency
from render.view import VolumeView

MIB = 1 << 20
N_PAGES = 4096
BRICKS = HILBERT.bricks_from_pages(N_PAGES, 10)[0]
CENTERS = (BRICKS.astype(float) + 0.5) * 16


def filled(residency: Residency, pages: NDArray[np.uint32] | None = None) -> None:
    """Write something into pages, as a feed does: once, and then those that are asked for."""
    pages = np.arange(N_PAGES, dtype=np.uint32) if pages is None else pages
    residency.place(pages, np.ones(len(pages), np.bool_))
    settle(residency)


def settle(residency: Residency) -> int:
    """Give it what it asks for until it asks for nothing; how many pages that were."""
    count = 0
    for _ in range(200):
        wanted = residency.wanted(100)
        if not len(wanted):
            return count
        slots, _ = residency.place(wanted, np.ones(len(wanted), np.bool_))
        assert (slots >= 0).all(), "what is asked for finds room"
        count += len(wanted)
    raise AssertionError("it never has enough")


def check(residency: Residency) -> None:
    """No slot has two pages, none is lost."""
    taken = residency.slot[residency.slot >= 0]
    assert len(np.unique(taken)) == len(taken) == residency.n_resident <= residency.n_slots
    assert sorted([*taken.tolist(), *residency._free]) == list(range(residency.n_slots))
    kept = np.bincount(residency._block[residency.slot >= 0], minlength=len(residency._n_kept))
    np.testing.assert_array_equal(residency._n_kept, kept)
    holding = np.bincount(residency._block[residency._holds], minlength=len(residency._n_kept))
    np.testing.assert_array_equal(residency._n_holding, holding)


@pytest.mark.parametrize("eye", [(0, 0, 0), (255, 255, 255), (128, 128, 128), (-500, 20, 700)])
def test_near_pages_are_kept(eye: tuple[float, float, float]) -> None:
    residency = Residency(BRICKS, 1024)
    residency.focus(np.array(eye, float))
    filled(residency)
    check(residency)
    assert residency.n_resident == 1024
    blocks = (np.floor(CENTERS / 64) + 0.5) * 64
    distance = np.linalg.norm(blocks - np.array(eye), axis=1)
    kept = residency.slot >= 0
    assert distance[kept].max() <= distance[~kept].min() + 1e-9


def test_an_eye_that_trembles_moves_nothing_and_one_that_travels_takes_its_pages_along() -> None:
    residency = Residency(BRICKS, 1024)
    residency.focus(np.array([64.0, 64.0, 64.0]))
    filled(residency)
    before = residency.slot.copy()
    moved = 0
    for step in range(40):  # across the border between two blocks, to and fro, by more than the least step
        residency.focus(np.array([128.0 + 40.0 * (step % 2) - 20.0, 128.0, 128.0]))
        moved += settle(residency)
    check(residency)
    assert moved <= 1024, "the first look at it may bring pages; later ones may not"
    after = residency.slot.copy()
    for step in range(10):
        residency.focus(np.array([128.0 + 40.0 * (step % 2) - 20.0, 128.0, 128.0]))
        assert settle(residency) == 0
    np.testing.assert_array_equal(residency.slot, after)
    residency.focus(np.array([250.0, 250.0, 250.0]))
    assert settle(residency) > 0
    assert not np.array_equal(residency.slot, before)
    nearest = int(np.argmin(np.linalg.norm(CENTERS - 250.0, axis=1)))
    assert residency.slot[nearest] >= 0


def test_empty_pages_take_no_room() -> None:
    residency = Residency(BRICKS, 100)
    pages = np.arange(N_PAGES, dtype=np.uint32)
    slots, moved = residency.place(pages, pages % 64 == 0)
    assert (slots >= 0).sum() == 64 == len(moved)
    check(residency)
    slots, moved = residency.place(pages[:64], np.zeros(64, np.bool_))
    assert slots.tolist() == [-1] * 64
    assert moved.tolist() == [0]
    assert residency.is_empty(0)
    assert not residency.is_empty(64)
    assert residency.n_resident == 63


def test_a_page_near_by_pushes_out_one_that_is_far() -> None:
    residency = Residency(BRICKS, 512)
    order = np.argsort(-np.linalg.norm(CENTERS, axis=1)).astype(np.uint32)
    residency.focus(np.zeros(3))
    residency.place(order[:512], np.ones(512, np.bool_))  # the farthest ones fill the pool
    assert residency.n_resident == 512
    assert len(residency.wanted(10)) == 0, "all that there is has room"
    near = order[-300:]
    residency.place(near, np.ones(300, np.bool_))
    for _ in range(3):
        settle(residency)
    check(residency)
    assert (residency.slot[near] >= 0).all()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_history_keeps_its_books(data: st.DataObject) -> None:
    n_pages = data.draw(st.integers(1, 300))
    bricks = HILBERT.bricks_from_pages(n_pages, 10)[0]
    residency = Residency(bricks, data.draw(st.integers(1, 80)))
    seed = data.draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    for _ in range(data.draw(st.integers(1, 12))):
        residency.focus(rng.uniform(-100, 300, 3))
        pages = rng.permutation(n_pages)[: rng.integers(0, n_pages + 1)].astype(np.uint32)
        before = residency.slot.copy()
        slots, moved = residency.place(pages, rng.random(len(pages)) < 0.7)
        np.testing.assert_array_equal(slots, residency.slot[pages])
        assert set(moved.tolist()) >= set(np.flatnonzero(before != residency.slot).tolist())
        check(residency)
        wanted = residency.wanted(int(rng.integers(0, 50)))
        assert (residency.slot[wanted] < 0).all()


# ----- the store


@pytest.mark.parametrize("way", ["shader", "host"])
def test_a_quarter_of_the_memory_shows_the_same_picture(device: wgpu.GPUDevice, way: str) -> None:
    """You should see no difference: a solid block of noise from a distance, of which a quarter of the bytes is kept."""
    rng = np.random.default_rng(6)
    pages = rng.integers(1, 256, (N_PAGES, 4096)).astype(np.uint8)
    pages[N_PAGES // 2 :: 5] = 0
    pictures = []
    for budget in (None, 6 * MIB):
        store = BrickStore(device, 16 * MIB, budget_bytes=budget, sums_up=way)  # type: ignore[arg-type]
        view = VolumeView(device, (320, 240))
        view.add_volume("m", store)
        view.camera.fit()
        store.upload(np.arange(N_PAGES, dtype=np.uint32), pages, flash=False)
        view.finish(0.0)
        while len(wanted := store.pages_wanted(500)):
            store.upload(wanted, pages[wanted], flash=False)
            view.finish(1.0)
        pictures.append(view.screenshot().astype(int))
        assert store.is_pooled == (budget is not None)
        view.destroy()
        store.destroy()
    difference = np.abs(pictures[0] - pictures[1]).max(axis=-1)
    assert (pictures[0].std(axis=(0, 1))[:3] > 5).all(), "there is something to see"
    assert difference.mean() < 4
    assert (difference > 60).mean() < 0.02


def pool(device: wgpu.GPUDevice, way: str, budget: int = 3 * MIB) -> BrickStore:
    return BrickStore(device, 16 * MIB, budget_bytes=budget, sums_up=way)  # type: ignore[arg-type]


def page_words(store: BrickStore) -> NDArray[Any]:
    """(n_pages,) what the marcher is told of each page."""
    store.settle()
    x, y, z = store.brick_pages.size
    # The table cannot be copied out; its source can be looked at instead, and what it sent is counted by read_page.
    assert store._page_table is not None
    bx, by, bz = store.curve.bricks_from_pages(store.n_pages, store.order)[0].T
    words: NDArray[Any] = store._page_table._texels.reshape(z, y, x)[bz, by, bx]
    return words


@pytest.mark.parametrize("way", ["shader", "host"])
def test_bytes_near_the_eye_and_summaries_of_all(device: wgpu.GPUDevice, way: str) -> None:
    """A pool of a part of the pages: those near the eye read back exactly, of the others all summaries are right."""
    store = pool(device, way)
    assert store.is_pooled
    assert store.layout == "linear"
    assert store.vram_bytes - 17 * MIB < 0
    rng = np.random.default_rng(1)
    pages = rng.integers(0, 256, (store.n_pages, 4096)).astype(np.uint8)
    pages[::3] = 0
    everything = np.arange(store.n_pages, dtype=np.uint32)
    for eye in ((0.0, 0.0, 0.0), (255.0, 255.0, 255.0)):
        store.focus(eye)
        for first in range(0, store.n_pages, 1000):
            store.upload(everything[first : first + 1000], pages[first : first + 1000])
        while len(wanted := store.pages_wanted(200)):
            store.upload(wanted, pages[wanted], flash=False)
        np.testing.assert_array_equal(store.read_summaries().filled, (pages != 0).sum(axis=1))
        resident = np.flatnonzero(page_words(store) != NOT_RESIDENT)
        assert 0 < len(resident) == store.resident_pages < store.n_pages
        for page in resident[::37]:
            np.testing.assert_array_equal(store.read_page(int(page)), pages[page])
        distance = np.linalg.norm(CENTERS - np.array(eye), axis=1)
        assert distance[resident].mean() < 0.8 * distance[pages.any(axis=1)].mean()
        away = np.flatnonzero((page_words(store) == NOT_RESIDENT) & pages.any(axis=1))
        with pytest.raises(PageNotResident, match="too far from view") as error:
            store.read_page(int(away[0]))
        assert isinstance(error.value, BadPages)
        assert not store.read_page(0).any(), "an empty page needs no bytes to be known"
    store.destroy()


def test_enough_budget_is_no_pool(device: wgpu.GPUDevice) -> None:
    store = pool(device, "host", 64 * MIB)
    assert not store.is_pooled
    assert store.resident_pages == store.n_pages
    assert len(store.pages_wanted(10)) == 0
    store.focus((1.0, 2.0, 3.0))
    store.destroy()


@pytest.mark.parametrize("budget", [0, 1, -5])
def test_no_budget_at_all_is_still_a_picture(device: wgpu.GPUDevice, budget: int) -> None:
    store = pool(device, "host", budget)
    store.upload(np.arange(2000, dtype=np.uint32), np.full((2000, 4096), 7, np.uint8))
    store.settle()
    assert (store.read_summaries().filled[:2000] == 4096).all()
    assert 0 < store.resident_pages <= 64
    store.destroy()


@pytest.mark.parametrize("place", [(np.nan, 0, 0), (np.inf, 0, 0), (1.0, 2.0)])
def test_an_eye_that_is_nowhere_is_ignored(device: wgpu.GPUDevice, place: Any) -> None:
    store = pool(device, "host")
    store.focus((10.0, 10.0, 10.0))
    store.focus(place)
    store.upload(np.arange(10, dtype=np.uint32), np.ones((10, 4096), np.uint8))
    assert store.resident_pages == 10
    store.destroy()


def test_four_gibibytes(device: wgpu.GPUDevice) -> None:
    """A 4 GiB guest in 600 MiB: made, written, moved through, within its budget."""
    store = BrickStore(device, 4 << 30, budget_bytes=600 * MIB)
    assert store.shape_voxels == (1024, 2048, 2048)
    assert store.is_pooled
    assert store.vram_bytes < 640 * MIB
    rng = np.random.default_rng(2)
    pages = rng.permutation(store.n_pages)[:3000].astype(np.uint32)
    data = rng.integers(1, 256, (3000, 4096)).astype(np.uint8)
    store.focus((0.0, 0.0, 0.0))
    store.upload(pages, data)
    store.settle()
    for index in (0, 1234, 2999):
        np.testing.assert_array_equal(store.read_page(int(pages[index])), data[index])
    store.focus((1000.0, 2000.0, 2000.0))
    assert len(store.pages_wanted(100)) == 0, "all that there is has room"
    store.destroy()
