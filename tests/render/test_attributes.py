"""Attributes of pages: what is shown of them, and all that cannot be shown."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from render.attributes import check_attribute
from render.bricks import BrickStore
from render.errors import BadAttribute, RenderError
from tests.render.conftest import MakeStore

N = 8


@pytest.fixture
def store(make_store: MakeStore) -> BrickStore:
    return make_store(np.ones(N * 4096, np.uint8))


def on_gpu(store: BrickStore, name: str) -> NDArray[np.uint8]:
    """(n_pages,) the bytes that the marcher sees."""
    texture = store.attribute(name).texture
    x, y, z = texture.size
    raw = store.device.queue.read_texture({"texture": texture}, {"bytes_per_row": x, "rows_per_image": y}, (x, y, z))
    bx, by, bz = store.curve.bricks_from_pages(store.n_pages, store.order)[0].T
    stored: NDArray[np.uint8] = np.frombuffer(raw, np.uint8).reshape(z, y, x)[bz, by, bx]
    return stored


def test_scalars_are_scaled_between_their_ends(store: BrickStore) -> None:
    values = np.array([-5, 0, 2.5, 5, 10, 12, 7.5, 1], np.float32)
    revision = store.revision
    store.set_attribute("faults", values, low=0.0, high=10.0, unit="faults/s")
    assert on_gpu(store, "faults").tolist() == [0, 0, 64, 128, 255, 255, 191, 26]
    attribute = store.attribute("faults")
    assert (attribute.kind, attribute.low, attribute.high, attribute.unit) == ("scalar", 0.0, 10.0, "faults/s")
    np.testing.assert_array_equal(attribute.values, values)
    assert attribute.texture.format == "r8unorm"
    assert store.revision == revision + 1


@pytest.mark.parametrize(
    ("values", "ends", "stored"),
    [
        (np.arange(N, dtype=np.uint8) * 30, (0.0, 255.0), [0, 30, 60, 90, 120, 150, 180, 210]),
        (
            np.array([100, 200, 300, 400, 500, 600, 100, 600], np.uint16),
            (100.0, 600.0),
            [0, 51, 102, 153, 204, 255, 0, 255],
        ),
        (np.full(N, 3.5, np.float32), (3.5, 3.5), [0] * N),
    ],
)
def test_scalars_without_ends_have_sane_ones(
    store: BrickStore, values: NDArray[Any], ends: tuple[float, float], stored: list[int]
) -> None:
    store.set_attribute("x", values)
    assert (store.attribute("x").low, store.attribute("x").high) == ends
    assert on_gpu(store, "x").tolist() == stored


def test_categories_are_kept_as_they_are(store: BrickStore) -> None:
    owners = np.array([0, 1, 1, 7, 255, 0, 2, 3], np.uint16)
    store.set_attribute("owner", owners, kind="categorical", labels=["nobody", "init"])
    assert on_gpu(store, "owner").tolist() == owners.tolist()
    assert store.attribute("owner").labels == {0: "nobody", 1: "init"}
    store.set_attribute("owner", owners, kind="categorical", labels={7: "sshd"})
    assert store.attribute("owner").labels == {7: "sshd"}


def test_setting_again_keeps_the_texture_and_removing_frees_it(store: BrickStore) -> None:
    """Switching and changing channels is no upload of the volume; nobody has to bind anew."""
    before = store.vram_bytes
    store.set_attribute("a", np.zeros(N, np.uint8))
    texture, taken = store.attribute("a").texture, store.vram_bytes
    values = np.full(N, 9, np.uint8)
    store.set_attribute("a", values)
    values[:] = 1
    assert store.attribute("a").texture is texture
    assert store.vram_bytes == taken > before
    assert on_gpu(store, "a").tolist() == [9] * N, "a copy was made"
    with pytest.raises(ValueError, match="read-only"):
        store.attribute("a").values[0] = 1
    store.set_attribute("b", np.zeros(N, np.uint8))
    assert list(store.attributes) == ["a", "b"]
    store.remove_attribute("a")
    assert list(store.attributes) == ["b"]
    with pytest.raises(KeyError):
        store.attribute("a")
    with pytest.raises(BadAttribute, match="no such attribute"):
        store.remove_attribute("a")
    store.destroy()
    assert not store.attributes


GOOD = np.zeros(N, np.uint8)
NAN = np.array([0, 1, np.nan, 3, 4, 5, 6, 7], np.float32)


@pytest.mark.parametrize(
    ("name", "values", "options", "match"),
    [
        ("", GOOD, {}, "1 to 64 printable"),
        ("x" * 65, GOOD, {}, "1 to 64 printable"),
        ("a\nb", GOOD, {}, "printable"),
        ("heat", GOOD, {}, "always there"),
        ("x", GOOD, {"kind": "colour"}, "'colour'"),
        ("x", [1] * N, {}, "not list"),
        ("x", np.zeros(N - 1, np.uint8), {}, r"shape \(8,\), one a page, not \(7,\)"),
        ("x", np.zeros((N, 1), np.uint8), {}, r"not \(8, 1\)"),
        ("x", np.zeros(N, np.float64), {}, "not float64"),
        ("x", np.zeros(N, np.bool_), {}, "not bool"),
        ("x", NAN, {}, "page 2 has the value nan"),
        ("x", np.full(N, np.inf, np.float32), {}, "page 0 has the value inf"),
        ("x", NAN[:1].repeat(N), {"low": 2.0, "high": 1.0}, "low 2.0 and high 1.0"),
        ("x", GOOD, {"high": float("nan")}, "two finite numbers"),
        ("x", GOOD, {"labels": ["a"]}, "only categories have labels"),
        ("x", NAN, {"kind": "categorical"}, "not float32"),
        ("x", np.full(N, 256, np.uint16), {"kind": "categorical"}, "number 256"),
        ("x", GOOD, {"kind": "categorical", "labels": {-1: "a"}}, "category -1"),
    ],
)
def test_what_cannot_be_shown_is_said(
    store: BrickStore, name: str, values: Any, options: dict[str, Any], match: str
) -> None:
    revision = store.revision
    with pytest.raises(BadAttribute, match=match) as error:
        store.set_attribute(name, values, **options)
    assert isinstance(error.value, RenderError)
    assert store.attributes == ()
    assert store.revision == revision


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=40))
def test_any_finite_values_are_shown_in_order(numbers: list[float]) -> None:
    values = np.array(numbers, np.float32)
    checked = check_attribute("x", values, len(values), "scalar", None, None, None)
    order = np.argsort(values, kind="stable")
    assert (np.diff(checked.stored[order].astype(int)) >= 0).all()
    assert checked.stored[order[0]] == 0
    assert checked.low <= checked.high
