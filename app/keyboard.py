"""Keyboard: turns key chords into actions, unless a text field or the terminal has the keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgui_bundle import imgui

from app.shortcuts import KEYS, SIGNS, pressed_shortcuts

if TYPE_CHECKING:
    from app.state import AppState

TURN_DEGREES_PER_S = 80.0
# Chords that work even while text is typed: they name no character and no editing command.
_ALWAYS = frozenset({"Ctrl+K", "F1", "F11", "Ctrl+Q", "Escape", "Ctrl+N", "Ctrl+Shift+N", "Ctrl+J", "Ctrl+B", "Ctrl+I"})
# The guest's shell wants the rest itself while the terminal has the keys.
_IN_TERMINAL = frozenset({"F1", "F11", "Ctrl+Shift+N", "Shift+Escape"})
_TURNS = {
    "Left": (-1, 0),
    "Right": (1, 0),
    "Up": (0, 1),
    "Down": (0, -1),
    "A": (-1, 0),
    "D": (1, 0),
    "W": (0, 1),
    "S": (0, -1),
}
_STEPS = frozenset({"Left", "Right", "Up", "Down"})

SWALLOW_FRAMES = 3


def handle_keys(state: AppState, *, terminal_focused: bool) -> bool:
    """Run the actions whose chords went down in this frame; returns whether any did. Called before the panels draw."""
    io = imgui.get_io()
    opening = state.search.focus or (state.search.open and not state.search.leave)
    typing = io.want_text_input or opening
    ran = False
    _swallow(state)
    for chord in pressed_shortcuts():
        if terminal_focused and chord not in _IN_TERMINAL:
            continue
        if chord in state.own_keys and not typing:
            continue
        if typing and not terminal_focused and chord not in _ALWAYS:
            continue
        if state.overlay is not None and chord not in _ALWAYS:
            continue
        if state.slices.has_keys and chord in _STEPS:
            continue  # the slices panel steps its plane by them
        if chord == "Escape" and (state.search.open or typing or state.overlay is not None):
            continue  # the box or dialog that has the keyboard leaves by itself
        if state.overlay is None and _close_menus() and chord == "Escape":
            continue
        action = state.actions.for_shortcut(chord)
        if action is not None and action.enabled:
            state.run(action.id, {})
            ran = True
            if len(chord) == 1 and chord not in SIGNS.values():
                state.swallow = (chord.lower(), SWALLOW_FRAMES)
    return ran


def _close_menus() -> bool:
    """Close the menus that are open: any key does, and Escape does nothing else. Returns whether there was one."""
    if not imgui.is_popup_open("", imgui.PopupFlags_.any_popup):
        return False
    imgui.internal.close_popup_to_level(0, True)
    return True


def _swallow(state: AppState) -> None:
    """Keep the character of a key that was an action from the field that the action gave the keyboard to.

    ImGui hands out a key and the character that it types in different frames.
    """
    letter, frames = state.swallow
    if not frames:
        return
    queue = imgui.get_io().input_queue_characters
    typed = "".join(map(chr, queue))
    if typed.lower().startswith(letter):
        queue.clear()
        for rest in typed[1:]:
            queue.push_back(ord(rest))
        frames = 1
    state.swallow = (letter, frames - 1)


def turn_while_held(state: AppState, *, terminal_focused: bool) -> bool:
    """Turn the camera evenly while an arrow key or W, A, S, D is held; returns whether it turned.

    The first step came from the key's action; the turn goes on after ImGui's repeat delay.
    """
    io = imgui.get_io()
    if terminal_focused or io.want_text_input or state.overlay is not None or not state.stage.feeds:
        return False
    if io.key_ctrl or io.key_alt or io.key_shift or state.slices.has_keys:
        return False
    right = up = 0
    for name, (dx, dy) in _TURNS.items():
        if name in state.own_keys:
            continue
        key = KEYS[name]
        if imgui.is_key_down(key) and imgui.internal.get_key_data(key).down_duration > io.key_repeat_delay:
            right += dx
            up += dy
    if (right, up) == (0, 0):
        return False
    step = TURN_DEGREES_PER_S * io.delta_time
    state.stage.view.camera.orbit(right * step, up * step)
    return True
