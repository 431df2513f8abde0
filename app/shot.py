"""Pictures: the volume of a machine, or the whole window, drawn off-screen and saved as PNG."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from app.failures import CommandFailed
from app.output import progress_printer
from app.shot_heat import ShotHeat
from app.shot_look import ShotLook
from app.volume_picture import draw_volume
from app.waiting import LOOK_AFTER_READY_S, READY_LIMIT_S
from app.window_options import WindowOptions
from bridge.machine.catalogue import find_guest
from bridge.machine.discovery import find_record, open_ram
from bridge.machine.machine import Machine
from bridge.machine.manager import MachineManager
from bridge.memory.dump_ram import open_dump_ram
from bridge.memory.physical_map import PAGE_BYTES
from bridge.memory.ram import GuestRam

if TYPE_CHECKING:
    from app.feed import RamFeed
    from render.view import VolumeView


@dataclass(frozen=True, slots=True, kw_only=True)
class ShotRequest:
    """A picture to take: of a running machine, or of a guest that is started for it and stopped afterwards."""

    options: WindowOptions
    out: Path
    size: tuple[int, int]
    window: bool
    machine: str | None = None
    look: ShotLook = field(default_factory=ShotLook)
    heat: ShotHeat | None = None
    """What is done in each page, as the colour of its bytes."""


def take_shot(request: ShotRequest) -> None:
    """Write the PNG. Raises CommandFailed when the guest does not come up, and the rooms' own errors."""
    if request.window:
        from app.offscreen import window_screenshot

        picture = window_screenshot(request.options, machine=request.machine, look=request.look)
    else:
        with _machine_ram(request) as (label, ram, runs):
            heat = None
            if request.heat is not None:
                n_pages = ram.size_bytes // PAGE_BYTES
                heat = request.heat.channel, request.heat.of(runs, ram.physical_map, n_pages)
            picture = _volume_picture(label, ram, request.size, request.look, heat)
    from PIL import Image

    partial = request.out.with_name(f".{request.out.name}.partial")
    try:
        Image.fromarray(picture[..., :3]).save(partial, format="PNG")
        partial.replace(request.out)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def _machine_ram(request: ShotRequest) -> Iterator[tuple[str, GuestRam, str | Machine | None]]:
    """Give the RAM to draw, of a machine that runs anyway, or of one started for the picture alone; and what runs."""
    if request.machine is not None:
        ram = open_ram(find_record(request.machine))
        try:
            yield request.machine, ram, request.machine
        finally:
            ram.close()
        return
    options = request.options
    if options.dumps:
        ram = open_dump_ram(options.dumps[0], progress=progress_printer()).ram
        try:
            yield options.machine_name or options.dumps[0].stem, ram, None
        finally:
            ram.close()
        return
    guest = options.guest or find_guest(options.guest_name or "demo", progress=progress_printer())
    manager = MachineManager()
    try:
        machine = manager.launch(
            guest,
            name=options.machine_name,
            ram_bytes=options.ram_bytes,
            cold=options.cold,
            network=options.network,
            progress=progress_printer(),
        )
        if guest.ready_marker is not None and not machine.wait_ready(READY_LIMIT_S):
            raise CommandFailed(f"{machine.name} did not come up within {READY_LIMIT_S:.0f} s: {machine.info.message}")
        sleep(LOOK_AFTER_READY_S)
        if machine.ram is None:
            raise CommandFailed(f"{machine.name} has no mapped RAM: {machine.info.message}")
        yield machine.name, machine.ram, machine
    finally:
        manager.close()


def _volume_picture(
    label: str,
    ram: GuestRam,
    size: tuple[int, int],
    look: ShotLook,
    heat: tuple[str, NDArray[np.float64]] | None = None,
) -> NDArray[np.uint8]:
    """Return the (height, width, 4) uint8 picture of all of `ram`, fully refined. Raises UsageError for a bad cut."""
    from app.chosen import Chosen
    from app.colour_book import book_of_user
    from app.kernel_channels import ShownChannels, offer_palettes, show_channels
    from app.lighting import index_of_sets, lit_sets
    from app.shot_kernel import look_at_kernel
    from app.trace_channels import TRACE_TRANSFERS, show_heat
    from render.backdrop import DARK
    from render.named_pages import NamedPages
    from render.palettes import linear_from_hex

    def prepare(view: VolumeView, feed: RamFeed) -> None:
        seen = None
        if look.asks_kernel:
            seen = look_at_kernel(ram, look.highlight, look.find, label)
            offer_palettes()
            show_channels(feed.store, seen.sighting, ShownChannels(book_of_user()))
        view.look = look.look(view.look)
        if heat is not None:
            channel, values = heat
            show_heat(feed.store, channel, values)
            transfer = TRACE_TRANSFERS[channel] if look.transfer is None else look.transfer
            view.look = replace(view.look, channel=channel, palette=look.palette or "", transfer=transfer)
        view.set_cut(label, look.cut(feed.store.shape_voxels))
        if seen is not None and seen.pages is not None:
            lit = lit_sets(label, Chosen(label, "", "", seen.title, seen.pages), (), linear_from_hex(DARK.accent))
            index = index_of_sets([pages for pages, _ in lit], feed.store.n_pages)
            feed.store.set_highlights(index, np.array([colour for _, colour in lit]))
            view.names.show([NamedPages(label, label, seen.pages, seen.title, DARK.accent)])
            view.camera.fly_to_boxes(view.page_boxes(label, seen.pages), 0.0)
            view.camera.skip()
        if look.camera is not None:
            view.camera.state = look.camera.state(view.camera.state)

    return draw_volume(label, ram, size, prepare, curve=look.curve or "hilbert")
