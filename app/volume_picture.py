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
