"""From a byte that a guest writes to a pixel that shows it: the whole way, measured at both ends.

A guest fills a page that can be seen, and the clock stops when a picture that was read back differs where the page is.
Meanwhile it keeps writing elsewhere, as busy guests do. Each page serves once, since a written page glows for a while.
"""

import mmap
import os
from pathlib import Path
from time import monotonic, sleep

import numpy as np
import numpy.typing as npt

from app.feed import RamFeed
from bridge.memory.physical_map import PAGE_BYTES
from bridge.memory.ram import GuestRam
from render.device import request_device
from render.view import VolumeView

_SIZE_PX = (1280, 720)
_PUMP_BUDGET_S = 0.008
_BEFORE = 0x30  # every page is this one byte at first; a page that is written gets random ones, another kind of page

_REACH = 3  # pixels around a spot that are watched: a single one may show the one voxel that looks as before

# Of 255, in any channel. A picture at rest differs less from one sample to the next.
_VISIBLE_STEP = 24


class PixelNeverChanged(RuntimeError):
    """A written page was not seen within the time limit: the chain from RAM to picture is broken."""


def changed_pixel_latency(
    size_bytes: int, seconds: float, *, size_px: tuple[int, int] = _SIZE_PX, limit_s: float = 20.0
) -> tuple[list[float], str]:
    """The latencies in seconds, and the name of the adapter that drew. Raises `PixelNeverChanged`."""
    device, adapter = request_device()
    fd = os.memfd_create("glassbox bench")
    try:
        os.ftruncate(fd, size_bytes)
        guest = np.frombuffer(mmap.mmap(fd, size_bytes), np.uint8).reshape(-1, PAGE_BYTES)
        guest[:] = _BEFORE
        with GuestRam.open(Path(f"/proc/self/fd/{fd}")) as ram, RamFeed(ram, device) as feed:
            view = VolumeView(device, size_px)
            view.add_volume("bench", feed.store)
            try:
                latencies_s = _measure(guest, feed, view, seconds, limit_s)
            finally:
                view.destroy()
    finally:
        os.close(fd)
    return latencies_s, adapter.name


def _measure(
    guest: npt.NDArray[np.uint8], feed: RamFeed, view: VolumeView, seconds: float, limit_s: float
) -> list[float]:
    deadline = monotonic() + 60
    while feed.stats.scan.sweeps < 2 or feed.pump(_PUMP_BUDGET_S):
        if monotonic() > deadline:
            raise PixelNeverChanged("The first picture was not complete after 60 s.")
        sleep(0.001)
    view.finish(monotonic())
    spots = _visible_pages(view)
    elsewhere = np.setdiff1d(np.arange(len(guest)), list(spots))
    rng = np.random.default_rng(0)
    latencies_s: list[float] = []
    end = monotonic() + seconds
    for page, (x, y) in spots.items():
        picture = view.screenshot()
        around = np.s_[y - _REACH : y + _REACH + 1, x - _REACH : x + _REACH + 1]
        before = picture[around].astype(np.int16)
        guest[rng.choice(elsewhere, min(200, len(elsewhere)), replace=False), 0] += 1
        guest[page] = rng.integers(0, 256, PAGE_BYTES, np.uint8)
        written_s = monotonic()
        while np.abs(picture[around].astype(np.int16) - before).max() < _VISIBLE_STEP:
            feed.pump(_PUMP_BUDGET_S)
            if view.draw(monotonic()):
                picture = view.screenshot()
            if monotonic() - written_s > limit_s:
                raise PixelNeverChanged(f"Page {page} was written, and its pixel stayed as it was for {limit_s} s.")
        latencies_s.append(monotonic() - written_s)
        if monotonic() > end:
            break
    return latencies_s


def _visible_pages(view: VolumeView) -> dict[int, tuple[int, int]]:
    """Pages that can be seen, and a pixel of each around which nothing but the page is seen."""
    width, height = view.size_px
    spots: dict[int, tuple[int, int]] = {}
    for y in range(height // 4, height * 3 // 4, 17):
        for x in range(width // 4, width * 3 // 4, 23):
            hit = view.pick(x, y)
            if hit is None or hit.address // PAGE_BYTES in spots:
                continue
            corners = [view.pick(x + dx, y + dy) for dx in (-_REACH, _REACH) for dy in (-_REACH, _REACH)]
            if {corner and corner.address // PAGE_BYTES for corner in corners} == {hit.address // PAGE_BYTES}:
                spots[hit.address // PAGE_BYTES] = (x, y)
    return spots
