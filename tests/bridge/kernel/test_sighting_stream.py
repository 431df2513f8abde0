"""What crosses from the process that looks is little, and makes the same whole again."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from bridge.kernel.sighting_stream import Restorer, Shortener


@dataclass(frozen=True, slots=True)
class Inner:
    names: tuple[str, ...]
    places: npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Look:
    taken_s: float
    classes: npt.NDArray[np.uint8] | None
    inner: Inner | None


def sent(shortener: Shortener, restorer: Restorer, value: Any) -> tuple[Any, int]:
    """What arrives, and how many bytes crossed."""
    data = pickle.dumps(shortener.shorten(value))
    return restorer.restore(pickle.loads(data)), len(data)


def is_same(ours: Look, theirs: Look) -> bool:
    assert (ours.classes is None) == (theirs.classes is None)
    assert (ours.inner is None) == (theirs.inner is None)
    pairs = [(ours.classes, theirs.classes)]
    if ours.inner is not None and theirs.inner is not None:
        assert ours.inner.names == theirs.inner.names
        pairs.append((ours.inner.places, theirs.inner.places))  # type: ignore[arg-type]
    for a, b in pairs:
        if a is not None and b is not None:
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
    return ours.taken_s == theirs.taken_s


bytes_of = st.lists(st.integers(0, 3), max_size=40).map(lambda numbers: np.array(numbers, np.uint8))
inners = st.builds(
    Inner,
    st.lists(st.sampled_from(["init", "sh"]), max_size=3).map(tuple),
    st.lists(st.integers(0, 2), max_size=30).map(lambda numbers: np.array(numbers, np.uint64)),
)


@given(st.lists(st.builds(Look, st.floats(0, 9), st.none() | bytes_of, st.none() | inners), max_size=8))
def test_whatever_is_told_arrives(looks: list[Look]) -> None:
    shortener, restorer = Shortener(), Restorer()
    for look in looks:
        arrived, _ = sent(shortener, restorer, look)
        assert is_same(arrived, look)


def test_what_stays_the_same_does_not_cross_and_is_the_same_object() -> None:
    shortener, restorer = Shortener(), Restorer()
    first = Look(1.0, np.arange(100_000).astype(np.uint8), Inner(("init",), np.arange(5000, dtype=np.uint64)))
    assert first.classes is not None
    assert first.inner is not None
    told, whole_bytes = sent(shortener, restorer, first)
    assert whole_bytes > 140_000
    other = replace(first, taken_s=2.0, inner=replace(first.inner, places=first.inner.places.copy()))
    again, few_bytes = sent(shortener, restorer, other)
    assert few_bytes < 1000
    assert again.taken_s == 2.0
    assert again.classes is told.classes
    assert again.inner is told.inner
    classes = first.classes.copy()
    classes[[3, 70_000]] = 200
    moved, few_bytes = sent(shortener, restorer, replace(other, classes=classes))
    assert few_bytes < 1500
    np.testing.assert_array_equal(moved.classes, classes)
    np.testing.assert_array_equal(told.classes, first.classes, "what was given out stays as it was")
    assert moved.inner is told.inner


def test_what_is_another_through_and_through_crosses_as_it_is() -> None:
    shortener, restorer = Shortener(), Restorer()
    for look in (Look(0.0, np.zeros(9, np.uint8), None), Look(1.0, np.ones(9, np.uint8), None)):
        arrived, _ = sent(shortener, restorer, look)
        assert is_same(arrived, look)
    assert sent(shortener, restorer, "a word")[0] == "a word"
    assert sent(shortener, restorer, "a word")[0] == "a word"
    assert is_same(sent(shortener, restorer, Look(2.0, None, None))[0], Look(2.0, None, None))
