"""Native window: what rendercanvas's GLFW canvas does not offer: keypad keys, focus, full screen, clipboard, limits."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import glfw
from rendercanvas.glfw import GlfwRenderCanvas

MIN_SIZE = (720, 480)  # below this the panels would cover the volume

_NO_WINDOW: Any = None  # GLFW takes NULL here; its stubs do not say so

_KEYPAD = {
    **{glfw.KEY_KP_0 + n: f"Keypad{n}" for n in range(10)},
    glfw.KEY_KP_DECIMAL: "KeypadDecimal",
    glfw.KEY_KP_DIVIDE: "KeypadDivide",
    glfw.KEY_KP_MULTIPLY: "KeypadMultiply",
    glfw.KEY_KP_SUBTRACT: "KeypadSubtract",
    glfw.KEY_KP_ADD: "KeypadAdd",
    glfw.KEY_KP_ENTER: "KeypadEnter",
    glfw.KEY_KP_EQUAL: "KeypadEqual",
}


class WindowCanvas(GlfwRenderCanvas):  # type: ignore[misc]
    """The program's one window."""

    def __init__(self, *, size: tuple[int, int], title: str) -> None:
        super().__init__(size=size, title=title, update_mode="ondemand", max_fps=60, vsync=False)
        self.on_focus: Callable[[bool], None] = lambda _focused: None
        self.on_drop: Callable[[list[str]], None] = lambda _paths: None
        """Called with the paths of files that were dropped on the window."""
        self._restore: tuple[int, int, int, int] | None = None
        glfw.set_window_focus_callback(self._window, self._on_focus)
        dropped: Any = self._on_drop  # it is given a list, not the pointer that GLFW's stubs speak of
        glfw.set_drop_callback(self._window, dropped)
        ratio = self.get_pixel_ratio()
        glfw.set_window_size_limits(
            self._window, round(MIN_SIZE[0] * ratio), round(MIN_SIZE[1] * ratio), glfw.DONT_CARE, glfw.DONT_CARE
        )

    def _on_key(self, window: Any, key: int, scancode: int, action: int, mods: int) -> None:
        # rendercanvas names keypad keys by their code as a character, some of which collide in lower case.
        if (name := _KEYPAD.get(key)) is None:
            super()._on_key(window, key, scancode, action, mods)
        elif action in (glfw.PRESS, glfw.RELEASE):
            kind = "key_down" if action == glfw.PRESS else "key_up"
            self.submit_event({"event_type": kind, "key": name, "modifiers": self._key_modifiers})

    def _on_focus(self, _window: Any, focused: int) -> None:
        if not focused:
            self._key_modifiers = ()  # their releases go to another window
        self.on_focus(bool(focused))
        self.request_draw()

    def _on_drop(self, _window: Any, paths: list[str]) -> None:
        self.on_drop(list(paths))

    def toggle_fullscreen(self) -> bool:
        """Cover the whole screen, or go back; returns whether it is covered now."""
        if self._restore is not None:
            x, y, width, height = self._restore
            glfw.set_window_monitor(self._window, _NO_WINDOW, x, y, width, height, glfw.DONT_CARE)
            self._restore = None
            return False
        monitor = glfw.get_primary_monitor()
        if not monitor:
            return False
        mode = glfw.get_video_mode(monitor)
        self._restore = (*glfw.get_window_pos(self._window), *glfw.get_window_size(self._window))
        glfw.set_window_monitor(self._window, monitor, 0, 0, mode.size.width, mode.size.height, glfw.DONT_CARE)
        return True

    @property
    def fullscreen(self) -> bool:
        return self._restore is not None


class SystemClipboard:
    """The desktop's clipboard. A desktop without one, or with something in it that is no text, gives an empty text."""

    def get(self) -> str:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", glfw.GLFWError)
            text: Any = glfw.get_clipboard_string(_NO_WINDOW)
        return text.decode(errors="replace") if text else ""

    def set(self, text: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", glfw.GLFWError)
            glfw.set_clipboard_string(_NO_WINDOW, text.replace("\0", ""))
