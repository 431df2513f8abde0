"""Palettes that people bring along: colours from a JSON file or a plain list, believed only after a look."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from render.errors import BadPalette

MOST_TEXT = 1 << 16
MOST_COLORS = 1024

_HEX = re.compile(r"#(?:[0-9a-fA-F]{3}|[0-9a-fA-F]{6})")


def checked_colors(colors: object) -> NDArray[np.float64]:
    """Colours as (n, 3) float64 sRGB, 0..1, if that is what they are. Raises BadPalette."""
    try:
        array = np.asarray(colors, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadPalette("A palette is a list of colours of three numbers each; these are not all numbers.") from error
    if array.ndim != 2 or array.shape[1] != 3:
        shape = " x ".join(map(str, array.shape)) or "one number"
        raise BadPalette(f"A palette is a list of colours of three numbers each, not {shape}.")
    if not 2 <= len(array) <= MOST_COLORS:
        raise BadPalette(f"A palette has 2 to {MOST_COLORS:,} colours, not {len(array):,}.")
    wrong = np.flatnonzero(~(np.isfinite(array) & (array >= 0) & (array <= 1)).all(axis=1))
    if wrong.size:
        found = ", ".join(f"{part:g}" for part in array[wrong[0]])
        raise BadPalette(f"Colour {wrong[0] + 1} is ({found}); red, green and blue lie from 0 to 1.")
    return array


def colors_from_text(text: str) -> NDArray[np.float64]:
    """What a palette file says, (n, 3) float64 sRGB, 0..1. Raises BadPalette, which says what was found where.

    JSON: a list of colours, or an object with one under "colors". Otherwise a colour a line; empty lines and lines that
    begin with "//" or ";" are passed over. A colour is "#rrggbb", "#rgb", or three numbers, from 0 to 1 if none is
    above 1 in the whole file, else from 0 to 255.
    """
    if len(text) > MOST_TEXT:
        raise BadPalette(f"A palette file has at most {MOST_TEXT:,} characters, not {len(text):,}.")
    text = text.removeprefix("\ufeff").strip()
    colors = _from_json(text) if text.startswith(("[", "{")) else _from_lines(text)
    if len(colors) > MOST_COLORS:
        raise BadPalette(f"A palette has 2 to {MOST_COLORS:,} colours, not {len(colors):,}.")
    numbers = [color for color in colors if not isinstance(color, str)]
    scale = 255.0 if any(part > 1 for color in numbers for part in color) else 1.0
    return checked_colors(
        [_from_hex(color) if isinstance(color, str) else [part / scale for part in color] for color in colors]
    )


Color = str | list[float]


def _from_json(text: str) -> list[Color]:
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadPalette(f"The palette file begins like JSON and is none: {error}.") from error
    if isinstance(found, dict):
        found = found.get("colors")
    if not isinstance(found, list):
        raise BadPalette('A palette file in JSON is a list of colours, or an object with one under "colors".')
    return [_color(color, f"Colour {index}") for index, color in enumerate(found, 1)]


def _from_lines(text: str) -> list[Color]:
    colors: list[Color] = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if line and not line.startswith(("//", ";")):
            parts: Any = line if line.startswith("#") else re.split(r"[\s,]+", line.strip(","))
            colors.append(_color(parts, f"Line {number}"))
    return colors


def _color(color: object, where: str) -> Color:
    if isinstance(color, str) and _HEX.fullmatch(color):
        return color
    if isinstance(color, list) and len(color) == 3:
        try:
            parts = [float(part) for part in color if not isinstance(part, bool)]
        except (TypeError, ValueError, OverflowError):
            parts = []
        if len(parts) == 3:
            return parts
    shown = repr(" ".join(map(str, color)) if isinstance(color, list) else color)
    raise BadPalette(f'{where} is {shown[:60]}; a colour is "#rrggbb" or three numbers.')


def _from_hex(color: str) -> list[float]:
    digits = color[1:] if len(color) == 7 else "".join(digit * 2 for digit in color[1:])
    return [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
