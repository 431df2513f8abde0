"""Ticks: which numbers of a scale fit beside each other."""

from __future__ import annotations


def place_ticks(ticks: list[tuple[float, str, float]], room: float, gap: float) -> list[tuple[float, str, float]]:
    """Return which ticks (share of the scale, text, its width) fit beside each other, and where each text begins.

    Texts are centred below their place but stay within the scale. The ends come first, then what still fits.
    """
    taken: list[tuple[float, float]] = []
    placed: list[tuple[float, str, float]] = []
    order = sorted(range(len(ticks)), key=lambda i: (i not in (0, len(ticks) - 1), i))
    for i in order:
        share, text, width = ticks[i]
        left = min(max(0.0, share * room - width / 2), room - width)
        if all(left >= end + gap or left + width + gap <= begin for begin, end in taken):
            taken.append((left, left + width))
            placed.append((share, text, left))
    return sorted(placed)
