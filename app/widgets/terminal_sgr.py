"""Select graphic rendition: the colours and attributes that CSI m sets (ECMA-48 8.3.117, ITU T.416 for colours)."""

from __future__ import annotations

from functools import lru_cache

from app.widgets.terminal_cells import (
    BLINK,
    BOLD,
    DEFAULT_COLOUR,
    DIM,
    HIDDEN,
    ITALIC,
    PLAIN,
    REVERSE,
    STRIKE,
    TRUE_COLOUR,
    UNDERLINE,
    Style,
)
from app.widgets.vt_parser import Parameters

_SET = {1: BOLD, 2: DIM, 3: ITALIC, 4: UNDERLINE, 5: BLINK, 6: BLINK, 7: REVERSE, 8: HIDDEN, 9: STRIKE, 21: UNDERLINE}
_CLEAR = {22: BOLD | DIM, 23: ITALIC, 24: UNDERLINE, 25: BLINK, 27: REVERSE, 28: HIDDEN, 29: STRIKE}


@lru_cache(maxsize=4096)
def apply_sgr(style: Style, params: Parameters) -> Style:
    """Return `style` after CSI `params` m; what is unknown or cut off changes nothing."""
    if not params:
        return PLAIN
    fg, bg, flags = style
    index = 0
    while index < len(params):
        param = params[index]
        code = max(param[0], 0)
        index += 1
        if code == 0:
            fg, bg, flags = PLAIN
        elif code == 4 and param[1:] == (0,):
            flags &= ~UNDERLINE
        elif code in _SET:
            flags |= _SET[code]
        elif code in _CLEAR:
            flags &= ~_CLEAR[code]
        elif 30 <= code <= 37:
            fg = code - 30
        elif 90 <= code <= 97:
            fg = code - 90 + 8
        elif 40 <= code <= 47:
            bg = code - 40
        elif 100 <= code <= 107:
            bg = code - 100 + 8
        elif code == 39:
            fg = DEFAULT_COLOUR
        elif code == 49:
            bg = DEFAULT_COLOUR
        elif code in (38, 48, 58):
            if len(param) > 1:
                colour = _sub_colour(param[1:])
            else:
                colour, taken = _listed_colour([p[0] for p in params[index : index + 4]])
                index += taken
            if colour is not None and code == 38:
                fg = colour
            elif colour is not None and code == 48:
                bg = colour
    return Style(fg, bg, flags)


def _sub_colour(parts: tuple[int, ...]) -> int | None:
    """Return the colour of `5:n`, `2:r:g:b` or `2:space:r:g:b`."""
    if parts[0] == 2 and len(parts) >= 5:
        parts = (2, *parts[2:5])
    return _listed_colour(list(parts))[0]


def _listed_colour(parts: list[int]) -> tuple[int | None, int]:
    """Return the colour that the numbers after 38 or 48 name, and how many of them it took."""
    if parts[:1] == [5] and len(parts) >= 2:
        return (parts[1] if 0 <= parts[1] <= 255 else None), 2
    if parts[:1] == [2] and len(parts) >= 4:
        r, g, b = (min(max(part, 0), 255) for part in parts[1:4])
        return TRUE_COLOUR + (r << 16 | g << 8 | b), 4
    return None, len(parts)
