"""Shortcuts: the names of key chords ("Ctrl+Shift+Z"), and which of them went down in this ImGui frame."""

from __future__ import annotations

from imgui_bundle import imgui

# One name a key, as it is shown to people.
KEYS: dict[str, imgui.Key] = {
    **{letter: getattr(imgui.Key, letter.lower()) for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"},
    **{str(digit): imgui.Key(imgui.Key._0.value + digit) for digit in range(10)},
    **{f"F{n}": getattr(imgui.Key, f"f{n}") for n in range(1, 13)},
    "Space": imgui.Key.space,
    "Enter": imgui.Key.enter,
    "Escape": imgui.Key.escape,
    "Left": imgui.Key.left_arrow,
    "Right": imgui.Key.right_arrow,
    "Up": imgui.Key.up_arrow,
    "Down": imgui.Key.down_arrow,
    "Home": imgui.Key.home,
    "PageUp": imgui.Key.page_up,
    "PageDown": imgui.Key.page_down,
    "Delete": imgui.Key.delete,
}
# Signs are taken as typed characters, not as keys: where they lie, and whether Shift is needed, is the keyboard
# layout's business ("/" is Shift+7 on a German one).
SIGNS: dict[str, str] = {"/": "/", "?": "?", "+": "+", "=": "+", "-": "-"}
MODIFIERS = ("Ctrl", "Shift", "Alt")


def is_shortcut(text: str) -> bool:
    """Return whether `text` names a chord: modifiers in their order and a key, or a sign alone."""
    if text in SIGNS.values():
        return True
    *modifiers, key = text.split("+")
    return key in KEYS and modifiers == [m for m in MODIFIERS if m in modifiers]


def pressed_shortcuts() -> list[str]:
    """Return the chords that went down in this frame; repeats of a held key do not count."""
    io = imgui.get_io()
    held = [name for name, down in zip(MODIFIERS, (io.key_ctrl, io.key_shift, io.key_alt), strict=True) if down]
    pressed = ["+".join([*held, name]) for name, key in KEYS.items() if imgui.is_key_pressed(key, False)]
    pressed.extend(SIGNS[chr(code)] for code in io.input_queue_characters if chr(code) in SIGNS)
    return pressed
