"""Palettes: what colour a byte of a kind of content has, as tables made in OKLab so that equal steps look equal.

OKLab and OKLCH: Björn Ottosson, "A perceptual color space for image processing" (2020).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from render.content import Kind

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


def linear_from_hex(color: str) -> tuple[float, float, float]:
    """ "#rrggbb" -> linear light."""
    srgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    red, green, blue = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return float(red), float(green), float(blue)


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
PALETTES: tuple[str, ...] = tuple(_PALETTES)


@cache
def palette_table(name: str) -> NDArray[np.float32]:
    """(8, 256, 3) float32 linear light: kind of content, byte -> colour. Raises KeyError for a name not in PALETTES."""
    table = _PALETTES[name]().astype(np.float32)
    table.flags.writeable = False
    return table
