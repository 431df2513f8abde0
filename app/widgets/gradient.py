"""Gradient strips: what a palette looks like, in menus, in the legend and below the transfer function."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from imgui_bundle import imgui
from numpy.typing import NDArray

from app.theme import Rgba, u32
from render.content import Kind
from render.palettes import CATEGORICAL, palette_table, srgb_from_linear

STEPS = 48  # more pieces than this cannot be told from a smooth strip
_CATEGORIES_SHOWN = 8
_CONTENT_AT = 160  # the byte whose colour stands for a kind, as in the legend
_strips: dict[str, tuple[NDArray[np.float32], tuple[Rgba, ...], bool]] = {}


def strip_of(palette: str) -> tuple[tuple[Rgba, ...], bool]:
    """Return the colours that show what a palette is like, and whether they are categories, to be drawn as blocks.

    Raises KeyError for a name that is none.
    """
    table = palette_table(palette)
    kept = _strips.get(palette)
    if kept is None or kept[0] is not table:  # a user's palette may be another one by now
        kept = _strips[palette] = (table, *_colours(palette, table))
    return kept[1], kept[2]


def _colours(palette: str, table: NDArray[np.float32]) -> tuple[tuple[Rgba, ...], bool]:
    if palette == "content":
        row, blocks = table[[kind for kind in Kind if kind != Kind.ZERO], _CONTENT_AT], True
    elif palette in CATEGORICAL:
        row, blocks = table[0, :_CATEGORIES_SHOWN], True
    else:
        row, blocks = table[0, np.linspace(0, 255, STEPS + 1).round().astype(int)], False
    srgb = np.clip(srgb_from_linear(row.astype(np.float64)), 0, 1)
    return tuple(Rgba(*map(float, colour)) for colour in srgb), blocks


def colours_of(gradient: NDArray[np.uint8]) -> tuple[Rgba, ...]:
    """Return a legend's (256, 3) sRGB gradient as the colours of a strip."""
    chosen = gradient[np.linspace(0, 255, STEPS + 1).round().astype(int)] / 255
    return tuple(Rgba(*map(float, colour)) for colour in chosen)


def draw_strip(
    draw_list: imgui.ImDrawList,
    at: tuple[float, float],
    size: tuple[float, float],
    colours: Sequence[Rgba],
    *,
    blocks: bool = False,
    border: Rgba | None = None,
) -> None:
    """Draw colours from left to right, as blocks or running into each other, with a thin border."""
    (left, top), (width, height) = at, size
    count = len(colours) if blocks else len(colours) - 1
    edges = [left + width * i / count for i in range(count + 1)]
    for i in range(count):
        first, second = u32(colours[i]), u32(colours[i if blocks else i + 1])
        draw_list.add_rect_filled_multi_color(
            imgui.ImVec2(edges[i], top), imgui.ImVec2(edges[i + 1], top + height), first, second, second, first
        )
    if border is not None:
        draw_list.add_rect(imgui.ImVec2(left, top), imgui.ImVec2(left + width, top + height), u32(border))
