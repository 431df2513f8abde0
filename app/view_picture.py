"""View picture: what the active view shows, drawn once more in another size, without panels."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from render.view import VolumeView

if TYPE_CHECKING:
    from pathlib import Path

    from app.stage import Stage


def view_picture(stage: Stage, size: tuple[int, int], machine: str | None = None) -> NDArray[np.uint8]:
    """The (height, width, 4) uint8 picture, as sharp as it gets, of all machines or of one alone."""
    shown, view = stage.view, VolumeView(stage.device, size_px=size)
    try:
        view.show_like(shown)
        for key in [key for key in view.volumes if machine not in (None, key)]:
            view.remove_volume(key)
        view.names.show(stage.panes.named_pages)
        view.finish(time.monotonic())
        return view.screenshot()
    finally:
        view.destroy()


def save_picture(picture: NDArray[np.uint8], path: Path) -> None:
    """Write a picture (height, width, 4) as PNG, whole or not at all. Raises OSError."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        Image.fromarray(picture[..., :3]).save(partial, format="PNG")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
