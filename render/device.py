"""The one GPU device that everything draws with: how it is chosen, what it is, and how its loss is noticed.

pygfx keeps one device for the whole process; asking through here makes sure that it is configured before pygfx first
needs it, and that a lost one can be replaced.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import wgpu
import wgpu.utils.device
from pygfx.renderers.wgpu.engine import mipmapsutil as _mipmapsutil
from pygfx.renderers.wgpu.engine import renderstate as _renderstate
from pygfx.renderers.wgpu.engine import shadowutil as _shadowutil
from pygfx.renderers.wgpu.engine import shared as _pygfx_shared
from pygfx.renderers.wgpu.engine.utils import gpu_caches as _pygfx_caches
from pygfx.resources import _base as _pygfx_resources
from pygfx.utils.text import glyph_atlas
from wgpu.utils.device import helper as _default_device

from render.errors import DeviceLost, NoAdapter

_WANTED_FEATURES = {"timestamp-query", "mappable-primary-buffers"}
"""Preferred, not needed: passes are timed on the device where they can be, and where the processor is the GPU, pages
are sent without a copy (`render/brick_upload.py`). Limits are left alone: wgpu gives all there are.
"""


@dataclass(frozen=True, slots=True)
class AdapterSummary:
    """What draws the picture, in words for the title bar and the benchmark's environment."""

    name: str
    is_software: bool
    backend: str
    driver: str


def adapter_summary(device: wgpu.GPUDevice) -> AdapterSummary:
    """Describe the adapter behind `device`."""
    info: dict[str, Any] = device.adapter.info
    return AdapterSummary(
        name=str(info.get("device") or "unknown adapter"),
        is_software=str(info.get("adapter_type", "")).upper() == "CPU",
        backend=str(info.get("backend_type", "")),
        driver=str(info.get("description", "")),
    )


def request_device() -> tuple[wgpu.GPUDevice, AdapterSummary]:
    """The process's GPU device, made at the first call. A hardware adapter is preferred to a software one.

    Raises NoAdapter.
    """
    if _pygfx_shared.Shared.get_instance() is None:
        if _default_device._the_device is None:
            wgpu.utils.device.preconfigure_default_device(
                "glassbox", power_preference="high-performance", preferred_features=set(_WANTED_FEATURES)
            )
        try:
            _pygfx_shared.get_shared()
        except (RuntimeError, wgpu.GPUError) as error:
            raise NoAdapter(str(error).strip() or type(error).__name__) from error
    device = _pygfx_shared.get_shared().device
    _ask_before_submits(device)
    # What is drawn keeps its bind groups itself. pygfx keeps the last 128 as well, and with them every texture and
    # buffer in them: the memory of a machine that was closed would not come back for a long time.
    _pygfx_caches.bindings.disable()
    return device, adapter_summary(device)


def _ask_before_submits(device: wgpu.GPUDevice) -> None:
    """Make `submit` raise where the device is lost.

    wgpu-native ends the whole process (a panic that nothing can catch) when something is submitted to a lost device,
    whoever does it: pygfx in the middle of a frame, say. Finishing an empty encoder is refused politely, so each
    submission tries that first; it takes 20 us. A device that is lost in just this moment ends the process still. The
    empty one is submitted along: wgpu-native never lets go of what was finished and not submitted, 30 KB each.
    """
    queue = device.queue
    if "submit" in vars(queue):
        return
    submit = queue.submit

    def submit_if_not_lost(command_buffers: Sequence[wgpu.GPUCommandBuffer]) -> None:
        asked = device.create_command_encoder().finish()
        submit([asked, *command_buffers])

    queue.submit = submit_if_not_lost


def replace_device() -> tuple[wgpu.GPUDevice, AdapterSummary]:
    """Forget a lost device and open a new one. Everything that was made on the old one must be dropped first.

    Raises NoAdapter.
    """
    # pygfx was not made to outlive its device: its singleton, its caches (keyed without the device) and the one texture
    # that it shares between all scenes, the glyph atlas, still point at the old one.
    _default_device._the_device = None
    _pygfx_shared.Shared._instance = None
    for cache in vars(_pygfx_caches).values():
        cache.clear()
    # Render states outlive their renderer until the garbage collector comes by, and are found again by what they hold.
    _renderstate._renderstate_instance_cache.clear()
    # What was going to be uploaded would go to the old device's buffers through the new one's queue.
    _pygfx_resources.resource_update_registry._syncable.clear()
    _shadowutil.global_bind_group_layout = None
    _mipmapsutil.mipmap_sampler = None
    for resource in (glyph_atlas.texture, glyph_atlas.info_buffer):
        resource._wgpu_object = None
        resource.update_full()
    _pygfx_shared._preconfigure_wgpu_device()
    return request_device()


@contextmanager
def gpu_work(what: str) -> Iterator[None]:
    """Turn wgpu's way of saying that the device is gone into DeviceLost; `what` completes "while trying to …"."""
    try:
        yield
    except (wgpu.GPUError, RuntimeError) as error:
        if "lost" in str(error).lower():
            raise DeviceLost(what) from error
        raise
