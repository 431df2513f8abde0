"""Render pipelines, kept by what they are made of: views that draw the same way share one, and so does the next view.

In software a pipeline is compiled to the processor's code when it is first used, which takes a tenth of a second and
some megabytes that the driver never gives back. Belongs to the main thread.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

import wgpu

MOST_KEPT = 256
"""The least recently asked for go. Who uses one keeps it alive."""

Layout = Sequence[Mapping[str, object]]
"""Entries of a bind group's layout."""

_kept: OrderedDict[str, wgpu.GPURenderPipeline] = OrderedDict()
_device: wgpu.GPUDevice | None = None


def render_pipeline(
    device: wgpu.GPUDevice, code: str, layouts: Sequence[Layout], targets: Sequence[Mapping[str, object]]
) -> wgpu.GPURenderPipeline:
    """A pipeline of WGSL with the entry points `vertex` and `fragment`, drawing triangles into `targets`.

    Bind groups that are made with layouts of equal entries fit it. Those of a device that was lost are forgotten as
    soon as another device asks.
    """
    global _device
    if device is not _device:
        _kept.clear()
        _device = device
    key = repr((code, layouts, targets))
    found = _kept.get(key)
    if found is None:
        found = _made(device, code, layouts, targets)
        _kept[key] = found
        if len(_kept) > MOST_KEPT:
            _kept.popitem(last=False)
    _kept.move_to_end(key)
    return found


def _made(
    device: wgpu.GPUDevice, code: str, layouts: Sequence[Layout], targets: Sequence[Mapping[str, object]]
) -> wgpu.GPURenderPipeline:
    module = device.create_shader_module(code=code)
    groups = [device.create_bind_group_layout(entries=[dict(entry) for entry in entries]) for entries in layouts]
    return device.create_render_pipeline(
        layout=device.create_pipeline_layout(bind_group_layouts=groups),
        vertex={"module": module, "entry_point": "vertex"},
        primitive={"topology": "triangle-list"},
        fragment={"module": module, "entry_point": "fragment", "targets": [dict(target) for target in targets]},
    )
