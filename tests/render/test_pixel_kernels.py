"""Kernels over pages that stay on the GPU: what changed is sent, what is the same is not, and stores are known of."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import wgpu
from numpy.typing import NDArray

from render.errors import OutOfVideoMemory
from render.pixel_cpu import BadShader
from render.pixel_kernels import PAGE, PixelKernels

# Adds given[1] to `given[2]` words of memory from the byte given[0] on, and finds their number.
ADDS = """
@group(0) @binding(0) var<storage, read_write> memory: array<u32>;
@group(0) @binding(1) var<storage, read> given: array<u32>;
@group(0) @binding(2) var<storage, read_write> found: array<u32>;
@compute @workgroup_size(1)
fn main() {
    for (var n = 0u; n < given[2]; n++) {
        memory[given[0] / 4u + n] += given[1];
    }
    found[0] += given[2];
}
"""


@pytest.fixture
def kernels(device: wgpu.GPUDevice) -> Iterator[PixelKernels]:
    made = PixelKernels(device, 8 * PAGE)
    made.compile(1, ADDS, stores=True)
    yield made
    made.destroy()


def pages(count: int, seed: int = 1) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, PAGE)).astype(np.uint8)


def added(kernels: PixelKernels, offset: int, by: int, words: int) -> NDArray[np.uint32]:
    given = np.array([offset, by, words], np.uint32)
    found, (stored,) = kernels.run(1, given, np.array([5], np.uint32), 1, [(offset, 4 * words)])
    assert found.tolist() == [5 + words]
    return stored.view(np.uint32)


def test_pages_that_did_not_change_are_not_sent_again(kernels: PixelKernels) -> None:
    content = pages(3)
    words = content.reshape(-1).view(np.uint32)
    (at,) = kernels.place([b"a"], [content])
    assert kernels.sent.bytes_ == 3 * PAGE
    np.testing.assert_array_equal(added(kernels, at + 8, 7, 2000), words[2:2002] + np.uint32(7))
    sent = kernels.sent.bytes_
    # The guest has what was stored now: it is there already.
    words[2:2002] += np.uint32(7)
    assert kernels.place([b"a"], [content]) == [at]
    assert kernels.sent.bytes_ == sent
    # It has not: the two pages that were stored to are sent, the third is not.
    words[2:2002] -= np.uint32(7)
    kernels.place([b"a"], [content])
    assert kernels.sent.bytes_ == sent + 2 * PAGE
    content[2, 100] ^= 1
    kernels.place([b"a"], [content])
    assert kernels.sent.bytes_ == sent + 3 * PAGE
    np.testing.assert_array_equal(added(kernels, at, 1, 3072), words + np.uint32(1))


def test_bytes_at_any_place_are_told(kernels: PixelKernels) -> None:
    content = pages(2, 3)
    first, second = kernels.place([b"a", b"b"], [content, pages(1, 4)])
    assert second == first + 2 * PAGE
    given = np.array([first, 0, 1], np.uint32)
    wanted = [(first + 5, 1), (first + PAGE - 3, 8), (second, PAGE)]
    _, stored = kernels.run(1, given, np.zeros(1, np.uint32), 1, wanted)
    np.testing.assert_array_equal(stored[0], content.reshape(-1)[5:6])
    np.testing.assert_array_equal(stored[1], content.reshape(-1)[PAGE - 3 : PAGE + 5])
    np.testing.assert_array_equal(stored[2], pages(1, 4).reshape(-1))


def test_room_is_made_where_there_is_none(kernels: PixelKernels) -> None:
    for seed in range(6):
        content = pages(3, seed)
        (at,) = kernels.place([bytes([seed])], [content])
        np.testing.assert_array_equal(added(kernels, at, 9, 3072), content.reshape(-1).view(np.uint32) + np.uint32(9))
    with pytest.raises(OutOfVideoMemory, match="a kernel's pages"):
        kernels.place([b"much"], [pages(9)])


def test_what_is_no_shader_is_refused(kernels: PixelKernels) -> None:
    with pytest.raises(BadShader, match="refused"):
        kernels.compile(2, "fn main() { nonsense }", stores=False)
