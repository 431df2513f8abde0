"""What a terminal sends for keys, text, pastes and the mouse (xterm's defaults, "XTerm Control Sequences")."""

from __future__ import annotations

from imgui_bundle import imgui

from app.widgets.terminal_screen import Modes

MAX_PASTE_BYTES = 64 * 1024  # a serial line takes some seconds for this

Key = imgui.Key
_CURSOR = {
    Key.up_arrow: "A",
    Key.down_arrow: "B",
    Key.right_arrow: "C",
    Key.left_arrow: "D",
    Key.home: "H",
    Key.end: "F",
}
_TILDE = {
    Key.insert: 2,
    Key.delete: 3,
    Key.page_up: 5,
    Key.page_down: 6,
    **dict(
        zip(
            (Key.f5, Key.f6, Key.f7, Key.f8, Key.f9, Key.f10, Key.f11, Key.f12),
            (15, 17, 18, 19, 20, 21, 23, 24),
            strict=True,
        )
    ),
}
_F1_TO_F4 = {Key.f1: "P", Key.f2: "Q", Key.f3: "R", Key.f4: "S"}
_LETTERS = {Key(int(Key.a) + index): chr(ord("a") + index) for index in range(26)}
_DIGITS = {Key(int(Key._0) + index): chr(ord("0") + index) for index in range(10)}
_PUNCTUATION = {
    Key.space: " ",
    Key.apostrophe: "'",
    Key.comma: ",",
    Key.minus: "-",
    Key.period: ".",
    Key.slash: "/",
    Key.semicolon: ";",
    Key.equal: "=",
    Key.left_bracket: "[",
    Key.backslash: "\\",
    Key.right_bracket: "]",
    Key.grave_accent: "`",
}
_TYPED = {**_LETTERS, **_DIGITS, **_PUNCTUATION}
_CONTROL = {
    " ": 0,
    "2": 0,
    "[": 27,
    "3": 27,
    "\\": 28,
    "4": 28,
    "]": 29,
    "5": 29,
    "6": 30,
    "-": 31,
    "/": 31,
    "7": 31,
    "8": 127,
}
_KEYPAD_ENTER = Key.keypad_enter
SPECIAL_KEYS = (*_CURSOR, *_TILDE, *_F1_TO_F4, Key.enter, _KEYPAD_ENTER, Key.tab, Key.backspace, Key.escape)
TYPED_KEYS = tuple(_TYPED)


def encode_special(key: Key, modes: Modes, *, ctrl: bool = False, shift: bool = False, alt: bool = False) -> bytes:
    """Return what one of `SPECIAL_KEYS` sends."""
    modifier = 1 + shift + 2 * alt + 4 * ctrl
    if key in _CURSOR:
        if modifier > 1:
            return f"\x1b[1;{modifier}{_CURSOR[key]}".encode()
        return f"\x1b{'O' if modes.application_cursor else '['}{_CURSOR[key]}".encode()
    if key in _F1_TO_F4:
        return (f"\x1b[1;{modifier}{_F1_TO_F4[key]}" if modifier > 1 else f"\x1bO{_F1_TO_F4[key]}").encode()
    if key in _TILDE:
        return (f"\x1b[{_TILDE[key]};{modifier}~" if modifier > 1 else f"\x1b[{_TILDE[key]}~").encode()
    if key == Key.tab and shift:
        return b"\x1b[Z"
    plain = {Key.tab: b"\t", Key.backspace: b"\x08" if ctrl else b"\x7f", Key.escape: b"\x1b"}.get(key, b"\r")
    return b"\x1b" + plain if alt else plain


def encode_typed(key: Key, *, ctrl: bool, alt: bool) -> bytes:
    """Return what a typing key sends under Ctrl or Alt, when no text event comes with it; empty when nothing."""
    char = _TYPED[key]
    if ctrl:
        code = ord(char) & 31 if char.isalpha() else _CONTROL.get(char, -1)
        if code < 0:
            return b""
        return (b"\x1b" if alt else b"") + bytes([code])
    return b"\x1b" + char.encode() if alt else b""


def encode_text(text: str, *, alt: bool) -> bytes:
    """Return what typed text sends; Alt puts an escape before each character."""
    clean = [char for char in text if char >= " " and char != "\x7f"]
    return "".join(f"\x1b{char}" if alt else char for char in clean).encode("utf-8", "ignore")


def encode_paste(text: str, *, bracketed: bool) -> bytes:
    """Return what a paste sends: line ends become Return, other controls are dropped: no text can act as keys."""
    text = text.replace("\r\n", "\r").replace("\n", "\r")
    clean = "".join(char for char in text if char in "\r\t" or (char >= " " and not "\x7f" <= char <= "\x9f"))
    data = clean.encode("utf-8", "ignore")[:MAX_PASTE_BYTES].decode("utf-8", "ignore").encode()
    return b"\x1b[200~" + data + b"\x1b[201~" if bracketed else data


def encode_mouse(
    modes: Modes,
    button: int,
    column: int,
    row: int,
    *,
    pressed: bool,
    moved: bool = False,
    ctrl: bool = False,
    shift: bool = False,
    alt: bool = False,
) -> bytes:
    """Return a mouse report: `button` 0 left, 1 middle, 2 right, 3 none, 64 wheel up, 65 wheel down; 0-based cell."""
    code = button + 4 * shift + 8 * alt + 16 * ctrl + 32 * moved
    if modes.mouse_sgr:
        return f"\x1b[<{code};{column + 1};{row + 1}{'M' if pressed else 'm'}".encode()
    if not pressed:
        code = code | 3
    if column > 222 or row > 222:  # the old form holds no larger coordinate
        return b""
    return b"\x1b[M" + bytes([32 + code, 33 + column, 33 + row])
