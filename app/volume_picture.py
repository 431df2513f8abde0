<<<<<<< HEAD
"""Volume pictures: a machine's RAM as it is now, drawn off-screen and fully refined."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, sleep
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from app.feed import RamFeed
    from bridge.memory.ram import GuestRam
    from render.view import VolumeView

SETTLE_LIMIT_S = 20.0


def draw_volume(
    label: str,
    ram: GuestRam,
    size: tuple[int, int],
    prepare: Callable[[VolumeView, RamFeed], None],
    *,
    curve: str = "hilbert",
) -> NDArray[np.uint8]:
    """The (height, width, 4) uint8 picture of all of `ram`.

    `prepare(view, feed)` says what is shown and from where, once the volume is in the view; all of it is in sight
    before. Raises what it raises, and the errors of `render`.
    """
    from app.feed import RamFeed
    from render.device import request_device
    from render.view import VolumeView

    device, _summary = request_device()
    view = VolumeView(device, size_px=size)
    with RamFeed(ram, device, curve=curve) as feed:
        view.add_volume(label, feed.store, label=label)
        view.camera.fit()
        view.camera.skip()
        prepare(view, feed)
        deadline = monotonic() + SETTLE_LIMIT_S
        while feed.tracker.stats.sweeps < 1 and monotonic() < deadline:
            if feed.pump(0.1) == 0:
                sleep(0.005)
        while feed.pump(1.0) and monotonic() < deadline:
            pass
        view.finish(monotonic())
        picture = view.screenshot()
        view.remove_volume(label)
    return picture
=======
"""Volume picture: what the active view shows, drawn once more in another size, without panels."""

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


def volume_picture(stage: Stage, size: tuple[int, int], machine: str | None = None) -> NDArray[np.uint8]:
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
>>>>>>> 7547c4a (Answers are bookmarked and shared, sessions saved; a language model may be asked, by queries only; programs see the volume as the window shows it)
