"""Spark: a row of values as a small filled line within one cell of a table."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from imgui_bundle import imgui

from app.theme import Theme, u32


def draw_spark(theme: Theme, values: Sequence[float], at: tuple[float, float], size: tuple[float, float]) -> None:
    """Draw at the upper left corner `at`, as high as the largest value; nothing where all are 0."""
    top = max(values, default=0.0)
    if top <= 0 or len(values) < 2:
        return
    (x, y), (width, height) = at, size
    draw, step, base = imgui.get_window_draw_list(), width / (len(values) - 1), y + height
    points = [imgui.ImVec2(x + i * step, base - value / top * height) for i, value in enumerate(values)]
    fill = u32(theme.accent.alpha(0.16))
    for a, b in itertools.pairwise(points):
        if a.y < base or b.y < base:
            draw.add_quad_filled(a, b, imgui.ImVec2(b.x, base), imgui.ImVec2(a.x, base), fill)
    draw.add_polyline(list(points), u32(theme.accent.alpha(0.85)), 1.0, 0)
