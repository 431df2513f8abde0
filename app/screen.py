"""Whether there is a screen to open a window on, and what to tell a person when there is none."""

import os
import subprocess
import sys

_PROBE = "import glfw, sys; sys.exit(0 if glfw.init() else 1)"
_PROBE_LIMIT_S = 10
HOW_TO_GET_A_WINDOW = (
    "To get the window: run it from a desktop session, over `ssh -X`, or on a virtual screen "
    "(`Xvfb :1 -screen 0 1600x900x24 & DISPLAY=:1 ./glassbox`)."
)


def screen_problem() -> str | None:
    """Return None when a window can be opened here, else the reason in a few words.

    Asked in a child process, because a screen that hangs or a library that aborts must not take the program along.
    """
    display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if not display:
        return "there is no screen (neither DISPLAY nor WAYLAND_DISPLAY is set)"
    try:
        child = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, timeout=_PROBE_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"the screen {display} does not answer"
    return None if child.returncode == 0 else f"the screen {display} cannot be opened"
