"""How much memory a GPU has: asked of the Vulkan driver, because wgpu does not say.

A second, short-lived Vulkan instance lists the devices; the one that wgpu draws with is found by vendor, device and
name. Structures and constants are those of the Vulkan 1.0 specification (vulkan_core.h).
"""

from __future__ import annotations

import ctypes
import ctypes.util
import struct
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import psutil
import wgpu

from render.device import adapter_summary

Source = Literal["driver", "free RAM", "assumed"]

ASSUMED_BYTES = 2 << 30
"""Where no driver answers: what the smallest graphics cards of the last ten years have."""
SOFTWARE_SHARE = 0.5
"""Of the RAM that is free: guests and the rest of the program need the other half."""
BUDGET_SHARE = 0.5
"""Of a GPU's memory, unless the user says otherwise: other programs draw too."""

_SUCCESS, _INCOMPLETE = 0, 5
_INSTANCE_CREATE_INFO = 1
_DEVICE_LOCAL = 1
_MOST_DEVICES = 64
_PROPERTIES_BYTES = 4096  # VkPhysicalDeviceProperties has 824; drivers may know longer ones
_MEMORY_BYTES = 520  # VkPhysicalDeviceMemoryProperties: count, 32 types of 8, count, 16 heaps of 16
_HEAP_COUNT_AT, _HEAPS_AT, _HEAP_BYTES = 260, 264, 16


@dataclass(frozen=True, slots=True)
class AdapterMemory:
    """How much memory there is to draw with, and who says so."""

    n_bytes: int
    source: Source


@dataclass(frozen=True, slots=True)
class VulkanDevice:
    """A device as the driver lists it. `heaps`: sizes in bytes of the memory that is the device's own."""

    vendor_id: int
    device_id: int
    name: str
    heaps: tuple[int, ...]


class VulkanUnreachable(Exception):
    """The Vulkan loader is missing, or gives no list of devices."""


def adapter_memory(device: wgpu.GPUDevice) -> AdapterMemory:
    """What the adapter behind `device` has; for software Vulkan, a share of the RAM that is free."""
    if adapter_summary(device).is_software:
        return AdapterMemory(int(psutil.virtual_memory().available * SOFTWARE_SHARE), "free RAM")
    info: dict[str, Any] = device.adapter.info
    heap = _heap_of(int(info.get("vendor_id", 0)), int(info.get("device_id", 0)), str(info.get("device", "")))
    return AdapterMemory(ASSUMED_BYTES, "assumed") if heap is None else AdapterMemory(heap, "driver")


def adapter_memory_bytes(device: wgpu.GPUDevice) -> int:
    """The same as a number of bytes."""
    return adapter_memory(device).n_bytes


def default_budget_bytes(device: wgpu.GPUDevice) -> int:
    """What all volumes together may take unless the user says otherwise."""
    return int(adapter_memory_bytes(device) * BUDGET_SHARE)


@cache
def _heap_of(vendor_id: int, device_id: int, name: str) -> int | None:
    try:
        return matching_heap(list_devices(), vendor_id, device_id, name)
    except VulkanUnreachable:
        return None


def matching_heap(devices: list[VulkanDevice], vendor_id: int, device_id: int, name: str) -> int | None:
    """The largest heap of the device that is meant. Of equal cards any will do: they are equal."""
    same = [device for device in devices if (device.vendor_id, device.device_id) == (vendor_id, device_id)]
    named = [device for device in same if device.name == name] or same
    return max((heap for device in named for heap in device.heaps), default=None)


def list_devices(library: str | None = None) -> list[VulkanDevice]:
    """The devices that the Vulkan loader finds. Raises VulkanUnreachable, which says at what it failed."""
    path = library or ctypes.util.find_library("vulkan") or "libvulkan.so.1"
    try:
        vulkan = ctypes.CDLL(path)
        create, enumerate_devices = vulkan.vkCreateInstance, vulkan.vkEnumeratePhysicalDevices
        destroy = vulkan.vkDestroyInstance
        properties_of = vulkan.vkGetPhysicalDeviceProperties
        memory_of = vulkan.vkGetPhysicalDeviceMemoryProperties
    except (OSError, AttributeError) as error:
        raise VulkanUnreachable(f"The Vulkan loader {path} could not be used: {error}.") from error
    # VkInstanceCreateInfo: sType, pNext, flags, pApplicationInfo, two lists of names; only the first says anything.
    info = (ctypes.c_uint64 * 8)(_INSTANCE_CREATE_INFO)
    instance = ctypes.c_void_p()
    result = create(ctypes.byref(info), None, ctypes.byref(instance))
    if result != _SUCCESS:
        raise VulkanUnreachable(f"Vulkan made no instance (result {result}).")
    try:
        count = ctypes.c_uint32(_MOST_DEVICES)
        handles = (ctypes.c_void_p * _MOST_DEVICES)()
        result = enumerate_devices(instance, ctypes.byref(count), handles)
        if result not in (_SUCCESS, _INCOMPLETE):
            raise VulkanUnreachable(f"Vulkan listed no devices (result {result}).")
        devices = []
        for handle in handles[: count.value]:
            properties = ctypes.create_string_buffer(_PROPERTIES_BYTES)
            memory = ctypes.create_string_buffer(_MEMORY_BYTES)
            properties_of(ctypes.c_void_p(handle), properties)
            memory_of(ctypes.c_void_p(handle), memory)
            devices.append(parse_device(properties.raw, memory.raw))
        return devices
    finally:
        destroy(instance, None)


def parse_device(properties: bytes, memory: bytes) -> VulkanDevice:
    """VkPhysicalDeviceProperties and VkPhysicalDeviceMemoryProperties, as far as they matter here."""
    vendor_id, device_id = struct.unpack_from("<II", properties, 8)
    name = properties[20 : 20 + 256].split(b"\0", 1)[0].decode("utf-8", "replace")
    n_heaps = min(16, struct.unpack_from("<I", memory, _HEAP_COUNT_AT)[0])
    heaps = [struct.unpack_from("<QI", memory, _HEAPS_AT + _HEAP_BYTES * i) for i in range(n_heaps)]
    return VulkanDevice(vendor_id, device_id, name, tuple(size for size, flags in heaps if flags & _DEVICE_LOCAL))
