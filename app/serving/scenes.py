"""Scenes for interfaces: the window's where one is open, else one that is drawn off-screen when it is asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from app.serving.window_scene import WindowScene, window_listens
from bridge.semantic.access import Access
from bridge.semantic.asking import Asking
from bridge.semantic.scene import Scene


@contextlib.contextmanager
def open_scene(access: Access, asking: Asking) -> Iterator[Scene]:
    """The scene for the body. A window that is opened later is not waited for."""
    if window_listens():
        yield WindowScene()
        return
    from app.serving.own_scene import OwnScene

    yield OwnScene(access, asking)
