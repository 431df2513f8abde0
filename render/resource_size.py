"""The size of GPU resources, from their formats: what a read-out of video memory adds up."""

from __future__ import annotations

import wgpu

TEXEL_BYTES = {
    "r8unorm": 1,
    "r32uint": 4,
    "r32float": 4,
    "rgba8unorm": 4,
    "rgba8unorm-srgb": 4,
    "bgra8unorm": 4,
    "depth24plus": 4,
    "depth32float": 4,
    "rg32uint": 8,
    "rg32float": 8,
    "rgba16float": 8,
    "rgba16uint": 8,
    "rgba32uint": 16,
    "rgba32float": 16,
}


def resource_bytes(resource: wgpu.GPUTexture | wgpu.GPUBuffer) -> int:
    """Return the size of a texture (of one level and sample) or a buffer in bytes."""
    if isinstance(resource, wgpu.GPUBuffer):
        return int(resource.size)
    width, height, depth = resource.size
    return TEXEL_BYTES[resource.format] * int(width) * int(height) * int(depth)
