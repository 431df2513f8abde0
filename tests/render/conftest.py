"""What the tests of the picture share: the one device, and small volumes that are easy to think about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
import pytest
import wgpu
from numpy.typing import NDArray

from render.bricks import BrickStore, VoxelLayout
from render.curves import HILBERT
from render.device import request_device
from render.view import VolumeView

MakeStore = Callable[..., BrickStore]
MakeView = Callable[..., VolumeView]
Number = TypeVar("Number", np.uint8, np.int16)


@pytest.fixture
def device() -> wgpu.GPUDevice:
    """The process's device; a test that loses it replaces it."""
    return request_device()[0]


@pytest.fixture
def make_store(device: wgpu.GPUDevice) -> Iterator[MakeStore]:
    """A store that holds given bytes (n_pages * 4096,), destroyed after the test."""
    made: list[BrickStore] = []

    def make(
        content: NDArray[np.uint8], layout: VoxelLayout | None = None, *, flash: bool = False, **options: Any
    ) -> BrickStore:
        store = BrickStore(device, content.size, layout=layout, **options)
        made.append(store)
        pages = content.reshape(-1, 4096)
        store.upload(np.arange(len(pages), dtype=np.uint32), pages, flash=flash)
        return store

    yield make
    for store in made:
        store.destroy()


@pytest.fixture
def make_view(device: wgpu.GPUDevice) -> Iterator[MakeView]:
    """A view, destroyed after the test."""
    made: list[VolumeView] = []

    def make(size: tuple[int, int] = (256, 192), **options: str) -> VolumeView:
        made.append(VolumeView(device, size, **options))
        return made[-1]

    yield make
    for view in made:
        view.destroy()


def volume_of(content: NDArray[Number], order: int, shape: tuple[int, int, int]) -> NDArray[Number]:
    """Bytes in address order -> the volume as (x, y, z) of the same type, by numpy alone."""
    volume = np.zeros(shape, content.dtype)
    x, y, z = HILBERT.voxel_from_address(np.arange(content.size, dtype=np.uint64), order).T
    volume[x, y, z] = content
    return volume


def content_of(volume: NDArray[np.uint8], size_bytes: int, order: int) -> NDArray[np.uint8]:
    """The inverse of `volume_of`: a picture in space -> the bytes that show it."""
    x, y, z = HILBERT.voxel_from_address(np.arange(size_bytes, dtype=np.uint64), order).T
    content: NDArray[np.uint8] = volume[x, y, z]
    return content


def clustered_bytes(n_pages: int, seed: int) -> NDArray[np.uint8]:
    """Bytes with what RAM has: whole empty stretches, sparse pages, text, dense noise. (n_pages * 4096,) uint8."""
    rng = np.random.default_rng(seed)
    pages = rng.integers(0, 256, (n_pages, 4096)).astype(np.uint8)
    kind = rng.integers(0, 5, n_pages)
    pages[kind == 0] = 0
    pages[kind == 1] *= rng.random((int((kind == 1).sum()), 4096)) < 0.01
    pages[kind == 2] = rng.integers(32, 127, (int((kind == 2).sum()), 4096))
    pages[: n_pages // 4] = 0
    return pages.ravel()
