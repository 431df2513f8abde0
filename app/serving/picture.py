"""Pictures for interfaces: a machine's volume with several highlights, each with its name."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from app.volume_picture import draw_volume
from bridge.semantic.scene import Camera, Highlight

if TYPE_CHECKING:
    import numpy.typing as npt

    from app.feed import RamFeed
    from bridge.kernel.worker import Sighting
    from bridge.memory.ram import GuestRam
    from render.view import VolumeView

Lit = tuple[Highlight, "npt.NDArray[np.uint32]"]
"""A highlight and its pages (n,) of the RAM file."""
_DIM = 0.6


def draw(
    machine: str, ram: GuestRam, size: tuple[int, int], sighting: Sighting, lit: Sequence[Lit], camera: Camera | None
) -> tuple[npt.NDArray[np.uint8], Camera]:
    """The (height, width, 4) uint8 picture, and where it was taken from: `camera`, or where all is seen."""
    from app.colour_book import book_of_user
    from app.kernel_channels import CLASS_CHANNEL, ShownChannels, offer_palettes, show_channels
    from app.lighting import index_of_sets
    from render.named_pages import NamedPages
    from render.palettes import linear_from_hex

    used: list[Camera] = []

    def prepare(view: VolumeView, feed: RamFeed) -> None:
        offer_palettes()
        show_channels(feed.store, sighting, ShownChannels(book_of_user()))
        view.look = dataclasses.replace(view.look, channel=CLASS_CHANNEL)
        if lit:
            index = index_of_sets([pages for _, pages in lit], feed.store.n_pages)
            feed.store.set_highlights(index, np.array([linear_from_hex(one.colour) for one, _ in lit]))
            view.names.show([NamedPages(one.name, machine, pages, one.name, one.colour) for one, pages in lit])
            view.look = dataclasses.replace(view.look, dim=max(view.look.dim, _DIM))
        if camera is not None:
            view.camera.state = dataclasses.replace(view.camera.state, **dataclasses.asdict(camera))
        state = view.camera.state
        x, y, z = (float(value) for value in state.target)
        used.append(Camera((x, y, z), state.azimuth_degrees, state.elevation_degrees, state.distance))

    return draw_volume(machine, ram, size, prepare), used[0]
