"""Pictures for interfaces: a machine's volume with several highlights, drawn off-screen."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from time import monotonic, sleep
from typing import TYPE_CHECKING

import numpy as np

from bridge.semantic.scene import Camera

if TYPE_CHECKING:
    import numpy.typing as npt

    from bridge.kernel.worker import Sighting
    from bridge.memory.ram import GuestRam

Lit = tuple[str, str, "npt.NDArray[np.uint32]"]
"""Name, colour (`#rrggbb`) and pages (n,) of the RAM file."""
_SETTLE_LIMIT_S = 20.0
_DIM = 0.6


def draw(
    ram: GuestRam, size: tuple[int, int], sighting: Sighting, lit: Sequence[Lit], camera: Camera | None
) -> tuple[npt.NDArray[np.uint8], Camera]:
    """The (height, width, 4) uint8 picture, and where it was taken from: `camera`, or where all is seen."""
    from app.feed import RamFeed
    from app.kernel_channels import CLASS_CHANNEL, offer_palettes, show_channels
    from render.device import request_device
    from render.palettes import linear_from_hex
    from render.view import VolumeView

    device, _summary = request_device()
    view = VolumeView(device, size_px=size)
    with RamFeed(ram, device) as feed:
        view.add_volume("volume", feed.store, label="")
        offer_palettes()
        show_channels(feed.store, sighting)
        view.look = dataclasses.replace(view.look, channel=CLASS_CHANNEL)
        view.camera.fit()
        view.camera.skip()
        if lit:
            index = np.zeros(feed.store.n_pages, np.uint8)
            for number, (_, _, pages) in enumerate(lit, start=1):
                index[pages[pages < len(index)]] = number
            feed.store.set_highlights(index, np.array([linear_from_hex(colour) for _, colour, _ in lit]))
            view.look = dataclasses.replace(view.look, dim=max(view.look.dim, _DIM))
        state = view.camera.state
        if camera is not None:
            view.camera.state = dataclasses.replace(state, **dataclasses.asdict(camera))
            state = view.camera.state
        deadline = monotonic() + _SETTLE_LIMIT_S
        while feed.tracker.stats.sweeps < 1 and monotonic() < deadline:
            if feed.pump(0.1) == 0:
                sleep(0.005)
        while feed.pump(1.0) and monotonic() < deadline:
            pass
        view.finish(monotonic())
        picture = view.screenshot()
        view.remove_volume("volume")
    x, y, z = (float(value) for value in state.target)
    return picture, Camera((x, y, z), state.azimuth_degrees, state.elevation_degrees, state.distance)
