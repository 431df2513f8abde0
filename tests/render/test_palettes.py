"""Palettes: colours that exist, lightness that rises with the byte, kinds that can be told apart."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from render.content import KIND_TITLES, Kind
from render.palettes import (
    _LMS_FROM_LAB,
    _RGB_FROM_LMS,
    PALETTES,
    linear_from_hex,
    linear_from_oklch,
    palette_table,
    srgb_from_linear,
)


def oklab(rgb: NDArray[np.floating]) -> NDArray[np.float64]:
    """Linear sRGB -> OKLab, by inverting the matrices."""
    lms = np.cbrt(np.maximum(rgb.astype(np.float64) @ np.linalg.inv(_RGB_FROM_LMS).T, 0))
    result: NDArray[np.float64] = lms @ np.linalg.inv(_LMS_FROM_LAB).T
    return result


def test_known_colours() -> None:
    """Björn Ottosson's own examples: white is lightness one, and red, green, blue lie where he says."""
    np.testing.assert_allclose(oklab(np.ones((1, 3))), [[1, 0, 0]], atol=1e-3)
    for rgb, lightness, chroma, hue in (
        ((1, 0, 0), 0.628, 0.2577, 29.23),
        ((0, 1, 0), 0.8664, 0.2948, 142.5),
        ((0, 0, 1), 0.452, 0.3132, 264.05),
    ):
        lab = oklab(np.array([rgb]))[0]
        assert lab[0] == pytest.approx(lightness, abs=1e-3)
        assert np.hypot(lab[1], lab[2]) == pytest.approx(chroma, abs=1e-3)
        assert np.degrees(np.arctan2(lab[2], lab[1])) % 360 == pytest.approx(hue, abs=0.1)


@given(st.floats(0.05, 0.98), st.floats(0, 0.4), st.floats(0, 360))
def test_colours_keep_lightness_and_hue_and_exist(lightness: float, chroma: float, hue: float) -> None:
    """Too much chroma is drawn in; lightness and hue are kept."""
    rgb = linear_from_oklch(np.array([lightness]), np.array([chroma]), np.array([hue]))
    assert ((rgb >= 0) & (rgb <= 1)).all()
    lab = oklab(rgb)[0]
    assert lab[0] == pytest.approx(lightness, abs=0.01)
    made = float(np.hypot(lab[1], lab[2]))
    assert made <= chroma + 0.01
    if made > 0.03:
        turned = (np.degrees(np.arctan2(lab[2], lab[1])) - hue + 180) % 360 - 180
        assert abs(turned) < 6


@pytest.mark.parametrize("name", PALETTES)
def test_lightness_rises_evenly(name: str) -> None:
    table = palette_table(name)
    assert table.shape == (8, 256, 3)
    assert ((table >= 0) & (table <= 1)).all()
    for kind in Kind:
        steps = np.diff(oklab(table[kind])[:, 0])
        assert (steps > 0).all(), "a higher byte is lighter"
        assert steps.max() < 1.2 * steps.mean() + 1e-4, "by the same for each step"


def test_kinds_differ_also_for_the_colour_blind() -> None:
    """Every two kinds differ in OKLab, also without red against green (Viénot, Brettel and Mollon 1999)."""
    table = palette_table("content")[:, 128].astype(np.float64)
    deuteranopia = np.array([[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]])
    protanopia = np.array([[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]])
    for sight in (np.eye(3), deuteranopia, protanopia):
        lab = oklab(np.clip(table @ sight.T, 0, 1))
        for a, b in combinations(list(Kind)[1:], 2):
            assert np.linalg.norm(lab[a] - lab[b]) > 0.09, (a.name, b.name)


def test_unknown_palette() -> None:
    with pytest.raises(KeyError):
        palette_table("rainbow")


def test_srgb_round_trip() -> None:
    for text in ("#000000", "#ffffff", "#0b101d", "#04060b", "#ffd166"):
        back = np.round(srgb_from_linear(np.array(linear_from_hex(text))) * 255).astype(int)
        assert "#" + "".join(f"{value:02x}" for value in back) == text


def test_every_kind_has_a_title() -> None:
    assert set(KIND_TITLES) == set(Kind)
