"""Texts of guests and people: quoted so that every one can be read back, and shown so that none can do harm."""

from __future__ import annotations

import re

MAX_SHOWN = 200
"""Characters of a guest's string in a label: a path may have 4,096, a row of a table has not."""

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", '"': '"', "\\": "\\"}
_WRITTEN = {value: f"\\{key}" for key, value in _ESCAPES.items() if key != "0"}
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)


def quote(text: str) -> str:
    """A text in double quotes, on one line, of printable characters alone; `unquote` reads it back exactly."""
    return '"' + "".join(map(_written, text)) + '"'


def unquote(text: str) -> str:
    """What stands between double quotes. An escape that means nothing stands for itself."""
    return _ESCAPE.sub(_meant, text)


def shown(text: str, limit: int = MAX_SHOWN) -> str:
    """A guest's string as one bounded line with nothing in it that a terminal or a font would act on."""
    if len(text) <= limit and text.isprintable():
        return text
    safe = "".join(c if c.isprintable() else numbered(c) for c in text[: limit + 1])
    return safe if len(safe) <= limit else safe[: limit - 1] + "…"


def _written(character: str) -> str:
    if character in _WRITTEN:
        return _WRITTEN[character]
    return character if character.isprintable() else numbered(character)


def numbered(character: str) -> str:
    """A character by its number: `\\x1b`."""
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _meant(found: re.Match[str]) -> str:
    if (number := found[1] or found[2] or found[3]) is not None:
        code = int(number, 16)
        return chr(code) if code < 0x110000 else found[0]
    return _ESCAPES.get(found[4], found[0])
