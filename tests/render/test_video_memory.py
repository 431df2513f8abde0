"""The adapter's memory: the driver's own figures, the right device among several, and what is said without a driver."""

from __future__ import annotations

import struct
from types import SimpleNamespace
from typing import Any, cast

import psutil
import pytest
import wgpu

from render import video_memory
from render.video_memory import (
    ASSUMED_BYTES,
    VulkanDevice,
    VulkanUnreachable,
    adapter_memory,
    adapter_memory_bytes,
    default_budget_bytes,
    list_devices,
    matching_heap,
    parse_device,
)


def card(adapter_type: str = "DiscreteGPU", **info: Any) -> wgpu.GPUDevice:
    """What `adapter_memory` asks of a device, for cards that are not in this machine."""
    facts = {"adapter_type": adapter_type, "vendor_id": 1, "device_id": 2, "device": "Card", **info}
    return cast("wgpu.GPUDevice", SimpleNamespace(adapter=SimpleNamespace(info=facts)))


def test_the_driver_lists_the_device_that_draws(device: wgpu.GPUDevice) -> None:
    info = device.adapter.info
    found = [listed for listed in list_devices() if listed.name == info["device"]]
    assert found
    assert found[0].vendor_id == info["vendor_id"]
    assert found[0].device_id == info["device_id"]
    assert 64 << 20 < max(found[0].heaps) < 1 << 50


def test_the_same_device_seen_as_hardware_gets_the_drivers_figure(device: wgpu.GPUDevice) -> None:
    """lavapipe answers like any driver: through the whole way that a graphics card's figure takes."""
    info = device.adapter.info
    names = {key: info[key] for key in ("vendor_id", "device_id", "device")}
    memory = adapter_memory(card(**names))
    heaps = next(listed.heaps for listed in list_devices() if listed.name == info["device"])
    assert memory.source == "driver"
    assert memory.n_bytes == max(heaps)


def test_software_draws_with_ram_that_is_free() -> None:
    free = psutil.virtual_memory().available
    memory = adapter_memory(card("CPU"))
    assert memory.source == "free RAM"
    assert 0.3 * free < memory.n_bytes < 0.7 * free


def test_the_default_budget_is_half(device: wgpu.GPUDevice) -> None:
    assert default_budget_bytes(device) == pytest.approx(adapter_memory_bytes(device) / 2, rel=0.2)


def test_no_such_card_and_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    assert adapter_memory(card(vendor_id=0xDEAD, device="Ghost")) == video_memory.AdapterMemory(
        ASSUMED_BYTES, "assumed"
    )

    def gone() -> list[VulkanDevice]:
        raise VulkanUnreachable("no loader")

    monkeypatch.setattr(video_memory, "list_devices", gone)
    assert adapter_memory(card(vendor_id=0xBEEF)).source == "assumed"


@pytest.mark.parametrize("library", ["/nowhere/libvulkan.so", "libc.so.6"])
def test_a_loader_that_is_none_is_said(library: str) -> None:
    with pytest.raises(VulkanUnreachable, match="could not be used"):
        list_devices(library)


def test_no_driver_at_all_is_said_or_an_empty_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real loader, told to use a driver that is not there."""
    monkeypatch.setenv("VK_DRIVER_FILES", "/nowhere.json")
    monkeypatch.setenv("VK_ICD_FILENAMES", "/nowhere.json")
    try:
        assert list_devices() == []
    except VulkanUnreachable as error:
        assert "result" in str(error)  # noqa: PT017 - either answer is right, by the loader's version


def test_two_cards_are_told_apart() -> None:
    cards = [
        VulkanDevice(1, 2, "Card", (8 << 30, 256 << 20)),
        VulkanDevice(1, 2, "Other name", (4 << 30,)),
        VulkanDevice(1, 3, "Card", (2 << 30,)),
        VulkanDevice(9, 9, "Integrated", ()),
    ]
    assert matching_heap(cards, 1, 2, "Card") == 8 << 30, "not the window of 256 MiB that the processor sees"
    assert matching_heap(cards, 1, 2, "Other name") == 4 << 30
    assert matching_heap(cards, 1, 3, "Renamed by a newer driver") == 2 << 30
    assert matching_heap(cards, 9, 9, "Integrated") is None
    assert matching_heap(cards, 7, 7, "Card") is None


def test_structures_are_read_where_the_specification_puts_them() -> None:
    properties = bytearray(900)
    struct.pack_into("<5I", properties, 0, 0x401000, 1, 0x10DE, 0x2330, 2)
    properties[20:31] = b"GPU \xff name\0"
    memory = bytearray(520)
    struct.pack_into("<I", memory, 0, 5)
    struct.pack_into("<I", memory, 260, 3)
    for index, (size, flags) in enumerate(((80 << 30, 1), (64 << 30, 0), (246 << 20, 1 | 2))):
        struct.pack_into("<QI", memory, 264 + 16 * index, size, flags)
    parsed = parse_device(bytes(properties), bytes(memory))
    assert parsed == VulkanDevice(0x10DE, 0x2330, "GPU \ufffd name", (80 << 30, 246 << 20))
    struct.pack_into("<I", memory, 260, 0xFFFF_FFFF)  # a driver gone mad names no more heaps than there can be
    assert len(parse_device(bytes(properties), bytes(memory)).heaps) == 2
