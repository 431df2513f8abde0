"""The colours of a terminal in a theme: the 256 of xterm and true colour, always readable on their ground."""

from __future__ import annotations

from functools import lru_cache

from app.theme import Rgba, Theme, rgb, u32
from app.widgets.terminal_cells import BOLD, DIM, HIDDEN, REVERSE, TRUE_COLOUR, Style

MIN_CONTRAST = 3.0  # WCAG 2.2's bound for large text and for parts of an interface
_CUBE_LEVELS = (0, 95, 135, 175, 215, 255)  # xterm's 256-colour cube


def luminance(colour: Rgba) -> float:
    """Return the relative luminance, 0..1 (WCAG 2.2)."""
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3])
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(a: Rgba, b: Rgba) -> float:
    dark, light = sorted((luminance(a), luminance(b)))
    return (light + 0.05) / (dark + 0.05)


def readable(colour: Rgba, ground: Rgba) -> Rgba:
    """Return `colour` moved towards white or black until it can be read on `ground`."""
    pole = Rgba(1, 1, 1) if luminance(ground) < 0.18 else Rgba(0, 0, 0)
    for step in range(11):
        candidate = colour.mix(pole, step / 10)
        if contrast(candidate, ground) >= MIN_CONTRAST:
            return candidate
    return pole


def indexed_colour(index: int, ansi: tuple[Rgba, ...]) -> Rgba:
    """Return colour 0..255 of xterm's table; the first 16 are the theme's."""
    if index < 16:
        return ansi[index]
    if index < 232:
        index -= 16
        r, g, b = _CUBE_LEVELS[index // 36], _CUBE_LEVELS[index // 6 % 6], _CUBE_LEVELS[index % 6]
        return rgb(r << 16 | g << 8 | b)
    grey = 8 + 10 * (index - 232)
    return rgb(grey << 16 | grey << 8 | grey)


class TerminalPalette:
    """Resolves styles for one theme. `key` differs between palettes that draw differently."""

    def __init__(self, theme: Theme, *, reverse_screen: bool = False) -> None:
        self.key = (theme.name, theme.scale, reverse_screen)
        self._ansi = theme.ansi
        self._text, self._ground = theme.text, theme.surface
        if reverse_screen:
            self._text, self._ground = self._ground, self._text
        self.ground = u32(self._ground)
        self.reverse_screen = reverse_screen
        self.resolve = lru_cache(maxsize=4096)(self._resolve)

    def _colour(self, value: int, default: Rgba) -> Rgba:
        if value < 0:
            return default
        return rgb(value - TRUE_COLOUR) if value >= TRUE_COLOUR else indexed_colour(value, self._ansi)

    def _resolve(self, style: Style) -> tuple[int, int | None]:
        """Return (text colour, ground colour or None for the terminal's own), packed for a draw list."""
        fg, bg, flags = style
        if flags & BOLD and 0 <= fg < 8:
            fg += 8
        text, ground = self._colour(fg, self._text), self._colour(bg, self._ground)
        own_ground = bg < 0
        if flags & REVERSE:
            text, ground, own_ground = ground, text, False
        if flags & HIDDEN:
            text = ground
        else:
            if flags & DIM:
                text = text.mix(ground, 0.4)
            text = readable(text, ground)
        return u32(text), None if own_ground else u32(ground)
