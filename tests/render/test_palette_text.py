"""Palette files: every way to write colours that is meant, and what is said of those that are not."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.errors import BadPalette
from render.palette_text import MOST_COLORS, MOST_TEXT, checked_colors, colors_from_text

RED_BLUE = [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]


@pytest.mark.parametrize(
    "text",
    [
        "#ff0000\n#0000ff",
        "\ufeff#f00\r\n\r\n; blue\n#00f\n",
        "// red to blue\n1 0 0\n0 0 1",
        "255, 0, 0\n0, 0, 255,",
        '["#ff0000", "#00f"]',
        "[[1, 0, 0], [0, 0, 1]]",
        "[[255, 0, 0], [0, 0, 255]]",
        '{"name": "mine", "colors": ["#ff0000", [0, 0, 255]]}',
    ],
)
def test_ways_to_write_colours(text: str) -> None:
    np.testing.assert_allclose(colors_from_text(text), RED_BLUE)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "2 to 1,024 colours|not 0"),
        ("#ff0000", "not 1"),
        ("#ff0000\n#00ff0", "Line 2 is '#00ff0'"),
        ("1 0\n0 0 1", "Line 1 is '1 0'"),
        ("1 0 zero\n0 0 1", "Line 1 is"),
        ("nan 0 0\n0 0 1", r"Colour 1 is \(nan, 0, 0\)"),
        ("inf 0 0\n0 0 1", "Colour 1 is"),
        ("-1 0 0\n0 0 1", r"Colour 1 is \(-1, 0, 0\)"),
        ("256 0 0\n0 0 1", "Colour 1 is"),
        ("[[NaN, 0, 0], [0, 0, 1]]", r"Colour 1 is \(nan"),
        ("[[1, 0, 0], [0, 0, 1]", "begins like JSON"),
        ("[" * 60000, "begins like JSON"),
        ("{}", '"colors"'),
        ("[1, 2, 3]", "Colour 1 is '?1"),
        ("[[1, 0, 0], null]", "Colour 2 is"),
        ("[[1, 0, 0], [true, false, true]]", "Colour 2 is"),
        ("[[1, 0, 0], [[], {}, 0]]", "Colour 2 is"),
        ("[[1, 0, 0], [1" + "0" * 400 + ", 0, 0]]", "Colour 2 is"),
        ("0 0 0\n" * (MOST_COLORS + 1), "not 1,025"),
        ("x" * (MOST_TEXT + 1), "at most 65,536 characters"),
    ],
)
def test_what_is_said_of_a_bad_file(text: str, words: str) -> None:
    with pytest.raises(BadPalette, match=words):
        colors_from_text(text)


@given(st.text(max_size=300) | st.recursive(st.none() | st.floats() | st.text(), st.lists).map(json.dumps))
def test_no_text_does_worse_than_a_bad_palette(text: str) -> None:
    try:
        colors = colors_from_text(text)
    except BadPalette:
        return
    assert colors.shape[1] == 3
    assert ((colors >= 0) & (colors <= 1)).all()


@pytest.mark.parametrize(
    ("colors", "words"),
    [
        ("red", "not all numbers"),
        ([[1, 2], [3]], "not all numbers"),
        (np.ones((3, 4)), "not 3 x 4"),
        (1.0, "not one number"),
        (np.ones((2, 3)) * 2, r"Colour 1 is \(2, 2, 2\)"),
    ],
)
def test_arrays_that_are_no_colours(colors: object, words: str) -> None:
    with pytest.raises(BadPalette, match=words):
        checked_colors(colors)
