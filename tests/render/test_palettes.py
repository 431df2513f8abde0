"""Palettes: colours that exist, lightness that rises with the byte, kinds that can be told apart."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.content import KIND_TITLES, Kind
from render.errors import BadPalette
from render.palettes import (
    CATEGORICAL,
    PALETTES,
    SEQUENTIAL,
    add_palette,
    is_palette,
    linear_from_hex,
    linear_from_oklch,
    oklab_from_linear,
    palette_names,
    palette_table,
    remove_palette,
    srgb_from_linear,
)


def test_known_colours() -> None:
    """Björn Ottosson's own examples: white is lightness one, and red, green, blue lie where he says."""
    np.testing.assert_allclose(oklab_from_linear(np.ones((1, 3))), [[1, 0, 0]], atol=1e-3)
    for rgb, lightness, chroma, hue in (
        ((1, 0, 0), 0.628, 0.2577, 29.23),
        ((0, 1, 0), 0.8664, 0.2948, 142.5),
        ((0, 0, 1), 0.452, 0.3132, 264.05),
    ):
        lab = oklab_from_linear(np.array([rgb]))[0]
        assert lab[0] == pytest.approx(lightness, abs=1e-3)
        assert np.hypot(lab[1], lab[2]) == pytest.approx(chroma, abs=1e-3)
        assert np.degrees(np.arctan2(lab[2], lab[1])) % 360 == pytest.approx(hue, abs=0.1)


@given(st.floats(0.05, 0.98), st.floats(0, 0.4), st.floats(0, 360))
def test_colours_keep_lightness_and_hue_and_exist(lightness: float, chroma: float, hue: float) -> None:
    """Too much chroma is drawn in; lightness and hue are kept."""
    rgb = linear_from_oklch(np.array([lightness]), np.array([chroma]), np.array([hue]))
    assert ((rgb >= 0) & (rgb <= 1)).all()
    lab = oklab_from_linear(rgb)[0]
    assert lab[0] == pytest.approx(lightness, abs=0.01)
    made = float(np.hypot(lab[1], lab[2]))
    assert made <= chroma + 0.01
    if made > 0.03:
        turned = (np.degrees(np.arctan2(lab[2], lab[1])) - hue + 180) % 360 - 180
        assert abs(turned) < 6


DEUTERANOPIA = np.array([[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]])
PROTANOPIA = np.array([[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]])
"""Viénot, Brettel and Mollon (1999), on linear light."""


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_a_higher_scalar_is_lighter_evenly_and_for_every_sight(name: str) -> None:
    """Lightness rises with each step, also without red or green; no stretch is much steeper than others.

    Ours are made in OKLab; the others were made uniform in other spaces, which differ from it a little.
    """
    table = palette_table(name).astype(np.float64)
    assert table.shape == (8, 256, 3)
    assert ((table >= 0) & (table <= 1)).all()
    bound = 2.0 if name in ("viridis", "cividis", "magma", "batlow", "lapaz") else 1.2
    for kind in Kind:
        steps = np.diff(oklab_from_linear(table[kind])[:, 0])
        assert (steps > -2e-3).all(), "a higher byte is lighter"
        coarse = np.diff(oklab_from_linear(table[kind])[::17, 0])
        assert (coarse > 0).all()
        assert coarse.max() < bound * coarse.mean() + 1e-4, "by the same for each step"
    for sight in (DEUTERANOPIA, PROTANOPIA):
        lightness = oklab_from_linear(np.clip(table[Kind.DATA] @ sight.T, 0, 1))[::17, 0]
        assert (np.diff(lightness) > 0).all()


@pytest.mark.parametrize("name", CATEGORICAL)
def test_the_first_categories_differ_for_every_sight(name: str) -> None:
    table = palette_table(name)[0].astype(np.float64)
    for sight in (np.eye(3), DEUTERANOPIA, PROTANOPIA):
        lab = oklab_from_linear(np.clip(table[:7] @ sight.T, 0, 1))
        for a, b in combinations(range(7), 2):
            assert np.linalg.norm(lab[a] - lab[b]) > 0.05, (a, b)
    lab = oklab_from_linear(table)
    assert lab[:, 0].min() > 0.25, "none is lost in a dark ground"
    near = np.array([np.linalg.norm(lab[i] - lab[i + 1 : i + 12], axis=1).min() for i in range(48)])
    assert near.min() > 0.03, "neighbours in the list are no twins, round and round"


def test_the_darkest_colour_stands_out_from_the_ground() -> None:
    for name in PALETTES:
        assert oklab_from_linear(palette_table(name)[Kind.DATA].astype(np.float64))[:, 0].min() > 0.13, name


def test_a_palette_of_ones_own() -> None:
    """Three colours spread over 256: its ends and middle are as given, and between them nothing jumps."""
    try:
        add_palette("mine", np.array([[0, 0, 0], [1.0, 0, 0], [1, 1, 1]]))
        assert is_palette("mine")
        assert palette_names() == (*PALETTES, "mine")
        row = palette_table("mine")[3]
        np.testing.assert_allclose(row[[0, 255]], [[0, 0, 0], [1, 1, 1]], atol=1e-3)
        np.testing.assert_allclose(row[127:129].mean(axis=0), [1, 0, 0], atol=0.02)
        lab = oklab_from_linear(row.astype(np.float64))
        assert np.linalg.norm(np.diff(lab, axis=0), axis=1).max() < 0.02
        add_palette("mine", np.array([[0, 0, 1.0], [0, 0, 1.0]]))
        assert palette_table("mine")[0, 9].argmax() == 2, "another of the same name replaces it"
    finally:
        remove_palette("mine")
    assert not is_palette("mine")
    remove_palette("mine")
    for name in ("", "viridis"):
        with pytest.raises(BadPalette, match="cannot be called"):
            add_palette(name, np.ones((2, 3)))


def test_kinds_differ_also_for_the_colour_blind() -> None:
    """Every two kinds differ in OKLab, also without red against green (Viénot, Brettel and Mollon 1999)."""
    table = palette_table("content")[:, 128].astype(np.float64)
    for sight in (np.eye(3), DEUTERANOPIA, PROTANOPIA):
        lab = oklab_from_linear(np.clip(table @ sight.T, 0, 1))
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
