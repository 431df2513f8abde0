"""Looks, transfer functions and cuts: what can be meant is kept, what cannot is said."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.cut import Cut, Plane
from render.errors import BadCut, BadLook, BadTransfer
from render.look import MODE_TITLES, MODES, Look
from render.transfer import MAX_POINTS, TRANSFERS, Transfer

share = st.floats(0, 1)


@given(st.lists(st.tuples(share, share), min_size=2, max_size=MAX_POINTS))
def test_opacity_is_a_line_through_the_points(points: list[tuple[float, float]]) -> None:
    points.sort()
    opacities = Transfer(tuple(points)).opacities()
    assert opacities.shape == (256,)
    assert opacities.dtype == np.float32
    assert opacities.min() >= min(opacity for _, opacity in points) - 1e-6
    assert opacities.max() <= max(opacity for _, opacity in points) + 1e-6
    for (left, low), (right, high) in pairwise(points):
        for index in range(256):
            scalar = index / 255
            if left < scalar < right:
                expected = low + (high - low) * (scalar - left) / (right - left)
                assert opacities[index] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("points", "words"),
    [
        (((0.0, 1.0),), "2 to 32 points"),
        (tuple((i / 40, 0.5) for i in range(33)), "2 to 32 points"),
        (((0.0, 1.0), (float("nan"), 1.0)), "two numbers"),
        (((0.0, 1.0), (0.5, 1.5)), "two numbers"),
        (((0.6, 1.0), (0.5, 1.0)), "ascend"),
    ],
)
def test_points_that_make_no_function(points: tuple[tuple[float, float], ...], words: str) -> None:
    with pytest.raises(BadTransfer, match=words):
        Transfer(points)


def test_presets_differ() -> None:
    tables = [transfer.opacities().tobytes() for transfer in TRANSFERS.values()]
    assert len(set(tables)) == len(tables)


def test_looks_that_cannot_be_meant() -> None:
    assert tuple(MODE_TITLES) == MODES
    with pytest.raises(BadLook, match="Mode 'x-ray' is not one of solid, translucent, mip, slice"):
        Look(mode="x-ray")  # type: ignore[arg-type]
    with pytest.raises(BadLook, match="Pyramid 'min'"):
        Look(pyramid="min")  # type: ignore[arg-type]


def test_normals_are_unit_vectors() -> None:
    assert Plane("y", 3).normal.tolist() == [0, 1, 0]
    np.testing.assert_allclose(Plane("oblique", 0, 90, 0).normal, [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(Plane("oblique", 0, 10, 90).normal, [0, 0, 1], atol=1e-12)


@given(st.floats(-360, 360), st.floats(-90, 90))
def test_an_oblique_normal_has_length_one(azimuth: float, elevation: float) -> None:
    assert np.linalg.norm(Plane("oblique", 0, azimuth, elevation).normal) == pytest.approx(1)


def test_cuts_that_cannot_be_meant() -> None:
    with pytest.raises(BadCut, match="axis"):
        Plane("w", 0)  # type: ignore[arg-type]
    with pytest.raises(BadCut, match="finite"):
        Plane("x", float("inf"))
    with pytest.raises(BadCut, match="at most one"):
        Cut((Plane("x", 1), Plane("x", 2)))
    for high in ((0.0, 5.0, 5.0), (5.0, 5.0, float("nan"))):
        with pytest.raises(BadCut, match="low corner"):
            Cut(clip=((0.0, 0.0, 0.0), high))
    cut = Cut((Plane("x", 1), Plane("z", 2)))
    assert cut.plane("z") == Plane("z", 2)
    assert cut.plane("oblique") is None
