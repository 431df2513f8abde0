"""Shader, compiled loops and numpy sum pages up to the same bits, whatever the pages hold."""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
import wgpu
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from render.brick_upload import loops
from render.bricks import BrickStore
from render.classify import classify
from render.content import Kind, entropy_table
from render.curves import CURVES, Curve
from tests.render.reference_content import ALL, TABLE, bricks_of, cells_of, entropy_of, kinds_of

N_PAGES = 8


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[BrickStore, BrickStore]]:
    """Two stores of eight pages: one summed up by shader, one by compiled loops."""
    from render.device import request_device

    device = request_device()[0]
    stores = tuple(BrickStore(device, N_PAGES * 4096, layout="linear", sums_up=way) for way in ("shader", "host"))
    yield stores[0], stores[1]
    for store in stores:
        store.destroy()


def texels(store: BrickStore, texture: wgpu.GPUTexture, dtype: str) -> NDArray[np.generic]:
    x, y, z = texture.size
    bytes_per_row = x * (8 if texture.format == "rg32uint" else 4)
    raw = store.device.queue.read_texture(
        {"texture": texture}, {"bytes_per_row": bytes_per_row, "rows_per_image": y}, (x, y, z)
    )
    return np.frombuffer(raw, dtype).reshape(z, y, x, -1)


def check(both: tuple[BrickStore, BrickStore], pages: NDArray[np.uint8]) -> None:
    n = len(pages)
    bricks, cells = bricks_of(pages), cells_of(pages)
    for store in both:
        store.upload(np.arange(n, dtype=np.uint32), pages)
        x, y, z = store.curve.bricks_from_pages(n, store.order)[0].T
        np.testing.assert_array_equal(texels(store, store.bricks, "<u4")[z, y, x], bricks)
        first = np.arange(0, n * 4096, 64, dtype=np.uint64)
        x, y, z = (store.curve.voxel_from_address(first, store.order) // 4).T
        np.testing.assert_array_equal(texels(store, store.cells, "u1")[z, y, x], cells.reshape(-1, 4))


def structured(rng: np.random.Generator) -> NDArray[np.uint8]:
    """One page such as RAM has: runs, tables, text, pointers, code, packed data, or pieces of several."""
    page = np.zeros(4096, np.uint8)
    for _ in range(int(rng.integers(1, 4))):
        begin = int(rng.integers(0, 4096))
        end = int(rng.integers(begin, 4097))
        size = end - begin
        choice = int(rng.integers(0, 7))
        if choice == 0:
            page[begin:end] = rng.integers(0, 256)
        elif choice == 1:
            page[begin:end] = rng.integers(0, 256, size)
        elif choice == 2:
            page[begin:end] = rng.integers(32, 127, size)
        elif choice == 3:
            words = np.uint64(0xFFFF_8880_0000_0000) + rng.integers(0, 1 << 32, size // 8 + 1).astype(np.uint64)
            page[begin:end] = words.view(np.uint8)[:size]
        elif choice == 4:
            page[begin:end] = rng.choice(np.array([0x48, 0x89, 0x8B, 0xE8, 0xC3, 0x0F, 0, 0x24], np.uint8), size)
        elif choice == 5:
            page[begin:end] = rng.geometric(0.1, size).clip(0, 255)
        else:
            page[begin:end] *= rng.random(size) < 0.02
    return page


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1))
def test_pages_such_as_ram_has(both: tuple[BrickStore, BrickStore], seed: int) -> None:
    rng = np.random.default_rng(seed)
    check(both, np.stack([structured(rng) for _ in range(N_PAGES)]))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=st.binary(min_size=1, max_size=400), fill=st.integers(0, 255), at=st.integers(0, 3696))
def test_any_bytes_on_any_ground(both: tuple[BrickStore, BrickStore], start: bytes, fill: int, at: int) -> None:
    page = np.full((1, 4096), fill, np.uint8)
    page[0, at : at + len(start)] = np.frombuffer(start, np.uint8)
    check(both, page)


def pages_on_the_edge() -> list[NDArray[np.uint8]]:
    """Pages on both sides of every threshold, and of every place where a count could overflow or a mask be off."""
    pages: list[NDArray[np.uint8]] = []

    def add(page: NDArray[np.generic]) -> None:
        pages.append(np.asarray(page, np.uint8))

    ground = np.zeros(4096, np.uint8)
    add(ground)
    for byte in (1, 127, 128, 255):
        add(np.full(4096, byte))
        one_off = np.full(4096, byte)
        one_off[2048] ^= 1
        add(one_off)
    for place in (0, 31, 32, 63, 64, 2047, 2048, 2048 + 31, 2048 + 32, 4095):  # alone: its own representative
        single = ground.copy()
        single[place] = 200
        add(single)
    for filled in (255, 256, 2047, 2048):  # sparse or not; enough for code or not
        code = ground.copy()
        code[:filled] = 0x48
        code[0] = 0x49
        add(code)
    for text in (84, 85, 86):  # percent of 400 bytes
        mixed = ground.copy()
        mixed[:400] = 200
        mixed[: 4 * text] = ord("e")
        add(mixed)
    for pointers in (31, 32, 33):
        for word in (0xFFFF_8880_1234_5678, 0x0000_7F12_3456_789A, 0xFFFF_FFEF_FFFF_FFFF):
            table = np.full(512, 0x0101_0101_0101_0101, np.uint64)
            table[:pointers] = word
            add(table.view(np.uint8))
    for word in (0xFFFF_FFF0_0000_0000, 0xFFFF_FFFF_FFFF_FFFF, 0x0000_7E00_0000_0000, 0x0000_8000_0000_0000):
        add(np.full(512, word, np.uint64).view(np.uint8) ^ (np.arange(4096) % 8 == 0).astype(np.uint8))
    for opcodes in (10, 11, 12):
        share = np.full(4096, 0x10)
        share[np.arange(4096) % 100 < opcodes] = 0x8B
        add(share)
    for n_values in (1, 2, 3, 4, 5, 7, 16, 128, 190, 192, 194, 200, 255, 256):  # up to 8 bits a byte exactly
        add(np.arange(4096) % n_values)
    rng = np.random.default_rng(0)
    for n_values in range(150, 256, 7):  # both sides of the threshold of "compressed or random"
        add(rng.integers(0, n_values, 4096))
    return pages


def test_pages_on_the_edge(both: tuple[BrickStore, BrickStore]) -> None:
    pages = pages_on_the_edge()
    kinds = set(kinds_of(np.stack(pages)).tolist())
    assert kinds == {int(kind) for kind in Kind}, "every kind is met"
    for first in range(0, len(pages), N_PAGES):
        check(both, np.stack(pages[first : first + N_PAGES]))


def test_entropy_is_shannons() -> None:
    """The integers are the real thing, rounded: within a step of the logarithms of a float."""
    pages = np.stack(pages_on_the_edge())
    shares = np.stack([np.bincount(page, minlength=256) for page in pages]) / 4096
    bits = -(shares * np.log2(np.where(shares > 0, shares, 1))).sum(axis=1)
    assert np.abs(entropy_of(pages) - bits / 8 * 255).max() <= 0.51
    assert entropy_of(np.arange(4096, dtype=np.uint16)[None].astype(np.uint8)).item() == 255


def test_table_of_logarithms() -> None:
    np.testing.assert_array_equal(entropy_table(), TABLE)
    assert int(entropy_table()[4096]) == ALL


def test_kinds_of_what_a_machine_really_holds() -> None:
    """Real files: numpy's own code and this text, compressed and not; and numbers, which are not random."""
    binary = Path(str(importlib.import_module("numpy._core._multiarray_umath").__file__)).read_bytes()
    source = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))

    def share(content: bytes, kind: Kind) -> float:
        pages = np.frombuffer(content[: len(content) // 4096 * 4096], np.uint8).reshape(-1, 4096)
        return float((kinds_of(pages) == kind).mean())

    assert share(source, Kind.TEXT) > 0.95
    assert share(zlib.compress(binary[: 4 << 20], 9), Kind.RANDOM) > 0.95
    assert share(zlib.compress(source, 9), Kind.RANDOM) > 0.9
    assert share(binary, Kind.RANDOM) < 0.05
    assert share(binary, Kind.CODE) > 0.25
    rng = np.random.default_rng(1)
    assert share(rng.bytes(1 << 20), Kind.RANDOM) == 1.0
    assert share(rng.normal(size=1 << 17).tobytes(), Kind.RANDOM) == 0.0


def test_loops_compiled_here_and_now_are_the_kept_ones() -> None:
    """What stands in the source, compiled without any cache, does what the kept code does."""
    fresh: Any = numba.njit(nogil=True)(classify.py_func)  # type: ignore[attr-defined]
    pages = np.stack(pages_on_the_edge())
    n = len(pages)
    order = CURVES["hilbert"].step_tables(2).position.astype(np.uint8)
    out = []
    for loop in (fresh, loops.wait()):
        cells, bricks = np.zeros((n, 64), np.uint32), np.zeros((n, 2), np.uint32)
        nowhere, states = np.zeros(n, np.uint64), np.full(n, 5, np.uint8)
        loop(pages.ctypes.data, n, nowhere, order, states, entropy_table(), cells, bricks)
        out.append((cells, bricks))
    np.testing.assert_array_equal(out[0][0], out[1][0])
    np.testing.assert_array_equal(out[0][1], out[1][1])


@pytest.mark.parametrize("curve", CURVES.values(), ids=CURVES.keys())
def test_loops_copy_where_told(curve: Curve) -> None:
    """Pages go to the addresses given, and nowhere where that is zero; cells come in the order of their places."""
    rng = np.random.default_rng(4)
    pages = rng.integers(0, 256, (6, 4096)).astype(np.uint8)
    pages[1] = 0
    states = rng.integers(0, curve.n_states, 6).astype(np.uint8)
    target = np.full((6, 4096), 7, np.uint8)
    addresses = target.ctypes.data + 4096 * np.array([5, 4, 3, 2, 1, 0], np.uint64)
    addresses[2] = 0
    cells, bricks = np.zeros((6, 64), np.uint32), np.zeros((6, 2), np.uint32)
    order = curve.step_tables(2).position.astype(np.uint8)
    loops.wait()(pages.ctypes.data, 6, addresses, order, states, entropy_table(), cells, bricks)
    expected = pages[::-1].copy()
    expected[3] = 7
    np.testing.assert_array_equal(target, expected)
    np.testing.assert_array_equal(bricks, bricks_of(pages))
    by_place = np.zeros((6, 64, 4), np.uint8)
    for page in range(6):
        by_place[page, order[states[page]]] = cells_of(pages)[page]
    np.testing.assert_array_equal(cells.view(np.uint8).reshape(6, 64, 4), by_place)


def test_shader_serves_until_the_loops_are_there(monkeypatch: pytest.MonkeyPatch, device: wgpu.GPUDevice) -> None:
    """A store that was only just made must not wait for a compiler, and loses nothing by it."""
    store = BrickStore(device, N_PAGES * 4096, layout="linear")
    rng = np.random.default_rng(5)
    pages = np.stack([structured(rng) for _ in range(N_PAGES)])
    monkeypatch.setattr(loops, "ready", lambda: None)
    check((store, store), pages)
    assert (store.read_page(3) == pages[3]).all()
    monkeypatch.undo()
    loops.wait()
    fresh = np.stack([structured(rng) for _ in range(N_PAGES)])
    check((store, store), fresh)
    assert (store.read_page(3) == fresh[3]).all()
    store.destroy()
