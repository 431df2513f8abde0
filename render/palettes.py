"""Palettes: what colour a byte of a kind of content has, as tables made in OKLab so that equal steps look equal.

OKLab and OKLCH: Björn Ottosson, "A perceptual color space for image processing" (2020).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from cmap import Colormap
from numpy.typing import NDArray

from render.content import Kind
from render.errors import BadPalette
from render.palette_text import checked_colors

FloatArray = NDArray[np.float64]

_LMS_FROM_LAB = np.array(
    [[1.0, 0.3963377774, 0.2158037573], [1.0, -0.1055613458, -0.0638541728], [1.0, -0.0894841775, -1.2914855480]]
)
_RGB_FROM_LMS = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)

_DARKEST = 0.16
"""OKLab lightness of the darkest colour that stands for anything."""
N_KINDS = 8
"""Rows of a table: three bits of kind."""


def linear_from_oklch(lightness: FloatArray, chroma: FloatArray, hue_degrees: FloatArray) -> FloatArray:
    """(…,) lightness 0..1, chroma, hue -> (…, 3) linear-light sRGB, chroma drawn in where a colour has no such sRGB."""
    lightness, chroma, hue = np.broadcast_arrays(lightness, chroma, np.radians(hue_degrees))
    low, high = np.zeros_like(lightness), np.array(chroma, np.float64)
    for _ in range(24):  # bisect: the largest chroma that is inside the gamut
        middle = (low + high) / 2
        rgb = _linear_from_lch(lightness, middle, hue)
        inside = ((rgb >= -1e-6) & (rgb <= 1 + 1e-6)).all(axis=-1)
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    fits = (
        (_linear_from_lch(lightness, chroma, hue) >= -1e-6) & (_linear_from_lch(lightness, chroma, hue) <= 1 + 1e-6)
    ).all(axis=-1)
    return np.clip(_linear_from_lch(lightness, np.where(fits, chroma, low), hue), 0.0, 1.0)


def _linear_from_lch(lightness: FloatArray, chroma: FloatArray, hue: FloatArray) -> FloatArray:
    lab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], axis=-1)
    result: FloatArray = ((lab @ _LMS_FROM_LAB.T) ** 3) @ _RGB_FROM_LMS.T
    return result


def srgb_from_linear(rgb: FloatArray) -> FloatArray:
    """Linear light -> sRGB's own encoding, both 0..1 (IEC 61966-2-1)."""
    return np.where(rgb <= 0.0031308, 12.92 * rgb, 1.055 * np.maximum(rgb, 0.0031308) ** (1 / 2.4) - 0.055)


def linear_from_srgb(srgb: FloatArray) -> FloatArray:
    """sRGB's own encoding -> linear light, both 0..1."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def linear_from_hex(color: str) -> tuple[float, float, float]:
    """ "#rrggbb" -> linear light."""
    red, green, blue = linear_from_srgb(np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255)
    return float(red), float(green), float(blue)


def oklab_from_linear(rgb: FloatArray) -> FloatArray:
    """(…, 3) linear-light sRGB -> OKLab's L, a, b."""
    lms = np.cbrt(np.maximum(rgb @ np.linalg.inv(_RGB_FROM_LMS).T, 0.0))
    result: FloatArray = lms @ np.linalg.inv(_LMS_FROM_LAB).T
    return result


_KIND_RAMPS: dict[Kind, tuple[float, float, float, float]] = {
    # hue in degrees, chroma, lightness of the lowest and of the highest byte. Chosen so that any two stay well apart in
    # OKLab, as they look with full colour vision, with deuteranopia and with protanopia (Viénot 1999).
    Kind.ZERO: (286, 0.02, 0.30, 0.60),
    Kind.SPARSE: (286, 0.04, 0.28, 0.66),
    Kind.DATA: (246, 0.12, 0.50, 0.90),
    Kind.TEXT: (80, 0.135, 0.72, 0.96),
    Kind.POINTERS: (184, 0.105, 0.58, 0.90),
    Kind.CODE: (300, 0.17, 0.36, 0.72),
    Kind.RANDOM: (18, 0.155, 0.48, 0.76),
    Kind.FILL: (262, 0.04, 0.45, 0.77),
}


def _content() -> FloatArray:
    value = np.linspace(0, 1, 256)
    table = np.zeros((N_KINDS, 256, 3))
    for kind, (hue, chroma, low, high) in _KIND_RAMPS.items():
        table[kind] = linear_from_oklch(low + (high - low) * value, np.full(256, chroma), np.full(256, hue))
    return table


def _sweep(hues: tuple[float, float], lightness: tuple[float, float], chroma: float) -> Callable[[], FloatArray]:
    def make() -> FloatArray:
        value = np.linspace(0, 1, 256)
        row = linear_from_oklch(
            lightness[0] + (lightness[1] - lightness[0]) * value,
            chroma * np.sin(np.pi * (0.12 + 0.8 * value)),
            hues[0] + (hues[1] - hues[0]) * value,
        )
        return np.broadcast_to(row, (N_KINDS, 256, 3)).copy()

    return make


_PALETTES: dict[str, Callable[[], FloatArray]] = {
    "content": _content,
    "ember": _sweep((-60, 100), (0.22, 0.96), 0.19),
    "aurora": _sweep((285, 130), (0.22, 0.95), 0.17),
    "ice": _sweep((275, 210), (0.22, 0.97), 0.13),
    "grey": _sweep((0, 0), (0.2, 0.97), 0.0),
}
_FROM_CMAP: dict[str, str] = {
    "viridis": "viridis",
    "cividis": "cividis",
    "magma": "magma",
    "batlow": "crameri:batlow",
    "lapaz": "crameri:lapaz",
}
"""Name here -> name in the cmap package: sequential maps whose lightness rises evenly, for every kind of sight."""
_CATEGORIES: dict[str, str] = {"okabe": "okabeito:okabeito", "muted": "tol:muted"}

SEQUENTIAL: tuple[str, ...] = (*_PALETTES, *_FROM_CMAP)
CATEGORICAL: tuple[str, ...] = tuple(_CATEGORIES)
PALETTES: tuple[str, ...] = (*SEQUENTIAL, *CATEGORICAL)
"""The palettes that are always there. Users may add theirs."""

_user_palettes: dict[str, NDArray[np.float32]] = {}
_category_palettes: dict[str, NDArray[np.float32]] = {}
"""Colours that belong to certain categories, and make sense for no other channel: never offered."""


def palette_names() -> tuple[str, ...]:
    """All palettes that can be named now, the user's own last."""
    return (*PALETTES, *_user_palettes)


def is_palette(name: str) -> bool:
    """Whether there is a palette of this name."""
    return name in PALETTES or name in _user_palettes or name in _category_palettes


def add_palette(name: str, colors: FloatArray) -> None:
    """Offer a palette of the user's: colors (n, 3) sRGB 0..1, spread evenly. Replaces one of the same name of theirs.

    Raises BadPalette.
    """
    if not name or name in PALETTES:
        raise BadPalette(f"A palette cannot be called {name!r}: {'the name is taken' if name else 'it is empty'}.")
    row = _spread(linear_from_srgb(checked_colors(colors)))
    table: NDArray[np.float32] = np.broadcast_to(row, (N_KINDS, 256, 3)).astype(np.float32)
    table.flags.writeable = False
    _user_palettes[name] = table


def add_categories(name: str, colors: FloatArray) -> None:
    """Have a palette whose colours are those of categories, one each: colors (n, 3) sRGB 0..1, n at most 256; the last
    serves all further ones. Replaces one of the same name. Raises BadPalette.
    """
    if not name or name in PALETTES:
        raise BadPalette(f"A palette cannot be called {name!r}: {'the name is taken' if name else 'it is empty'}.")
    row = linear_from_srgb(checked_colors(colors))[np.minimum(np.arange(256), len(colors) - 1)]
    table: NDArray[np.float32] = np.broadcast_to(row, (N_KINDS, 256, 3)).astype(np.float32)
    table.flags.writeable = False
    _category_palettes[name] = table


def remove_palette(name: str) -> None:
    """Forget a palette of the user's; of any other name, nothing."""
    _user_palettes.pop(name, None)


def palette_table(name: str) -> NDArray[np.float32]:
    """(8, 256, 3) float32 linear light: kind of content, byte -> colour. Raises KeyError for a name that is none."""
    for tables in (_user_palettes, _category_palettes):
        if name in tables:
            return tables[name]
    return _built_in(name)


@cache
def _built_in(name: str) -> NDArray[np.float32]:
    if name in _PALETTES:
        table = _PALETTES[name]().astype(np.float32)
    else:
        row = _cmap_row(_FROM_CMAP[name]) if name in _FROM_CMAP else _category_row(_CATEGORIES[name])
        table = np.broadcast_to(row, (N_KINDS, 256, 3)).astype(np.float32)
    table.flags.writeable = False
    return table


def _cmap_row(name: str) -> FloatArray:
    colors: FloatArray = np.asarray(Colormap(name)(np.linspace(0, 1, 256)), np.float64)[:, :3]
    # What is shown at all must stand out from a black ground: the darkest end is lifted, evenly, in lightness.
    lab = oklab_from_linear(linear_from_srgb(colors))
    lab[:, 0] = _DARKEST + (1 - _DARKEST) * lab[:, 0]
    return linear_from_oklch(lab[:, 0], np.hypot(lab[:, 1], lab[:, 2]), np.degrees(np.arctan2(lab[:, 2], lab[:, 1])))


def _category_row(name: str) -> FloatArray:
    """256 colours: the package's in their order, then the same ones again, lighter and darker in turn."""
    stops = np.array([tuple(stop.color)[:3] for stop in Colormap(name).color_stops], np.float64)
    lab = oklab_from_linear(linear_from_srgb(stops))
    lab = lab[lab[:, 0] > 0.3]  # near black is the ground's colour
    index = np.arange(256)
    chosen = lab[index % len(lab)]
    turn = index // len(lab)
    shift = np.where(turn % 2 == 1, 0.14, -0.14) * np.minimum(turn, 1) * (1 + 0.3 * ((turn - 1) // 2 % 3))
    lightness = np.clip(chosen[:, 0] + shift, 0.3, 0.97)
    return linear_from_oklch(
        lightness, np.hypot(chosen[:, 1], chosen[:, 2]), np.degrees(np.arctan2(chosen[:, 2], chosen[:, 1]))
    )


def _spread(linear: FloatArray) -> FloatArray:
    """(n, 3) linear light -> (256, 3), between the given colours by even steps in OKLab."""
    lab = oklab_from_linear(linear)
    at, places = np.linspace(0, 1, 256), np.linspace(0, 1, len(lab))
    mixed = np.stack([np.interp(at, places, lab[:, axis]) for axis in range(3)], axis=1)
    result: FloatArray = np.clip(((mixed @ _LMS_FROM_LAB.T) ** 3) @ _RGB_FROM_LMS.T, 0.0, 1.0)
    return result
