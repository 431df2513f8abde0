"""The whole chain: what a guest wrote, by its own account, is what Glassbox reads, and what the volume shows there."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep

import numpy as np
import pytest

from app.cli import main
from app.feed import RamFeed
from bridge.machine import boot_sector
from bridge.machine.catalogue import find_guest
from bridge.machine.guest import MIB
from bridge.machine.machine import Machine
from bridge.machine.manager import MachineManager
from bridge.memory.ram import GuestRam
from render.device import request_device
from render.view import VolumeView

PAGE = 4096
RAM_BYTES = 16 * MIB


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A paused boot-sector machine that has signed all its RAM."""
    patch = pytest.MonkeyPatch()
    runtime = tmp_path_factory.mktemp("run")
    runtime.chmod(0o700)
    patch.setenv("XDG_RUNTIME_DIR", str(runtime))
    manager = MachineManager()
    try:
        machine = manager.launch(find_guest("boot-sector"), ram_bytes=RAM_BYTES, name="signed")
        assert machine.wait_ready(240), machine.info.message
        machine.pause()
        yield machine
    finally:
        manager.close()
        patch.undo()


@pytest.fixture(scope="module")
def ram(machine: Machine) -> GuestRam:
    assert machine.ram is not None
    return machine.ram


@pytest.fixture(scope="module")
def shown(ram: GuestRam) -> Iterator[tuple[RamFeed, VolumeView]]:
    """The machine's RAM as the GPU holds it, all of it, and a view of it."""
    device, _ = request_device()
    view = VolumeView(device, size_px=(640, 360))
    with RamFeed(ram, device) as feed:
        deadline = monotonic() + 120
        while feed.pump(0.1) or feed.tracker.stats.sweeps < 2:
            assert monotonic() < deadline, "the scanner did not come round twice"
            sleep(0.002)
        view.add_volume("signed", feed.store)
        view.camera.fit()
        view.finish(monotonic())
        yield feed, view
    view.destroy()


def test_the_guests_own_bytes_are_read_where_the_guest_says_they_are(ram: GuestRam) -> None:
    for address, content in boot_sector.known_bytes(RAM_BYTES):
        assert bytes(ram.read_physical(address, len(content))) == content, f"{address:#x}"
    sector = bytes(ram.read_physical(boot_sector.LOAD_ADDRESS, boot_sector.SECTOR_BYTES))
    assert sector[510:] == b"\x55\xaa"


def test_the_gpu_holds_what_the_guest_wrote(ram: GuestRam, shown: tuple[RamFeed, VolumeView]) -> None:
    store = shown[0].store
    for address in itertools.islice(boot_sector.signed_addresses(RAM_BYTES), 40):
        page = int(ram.physical_map.offset_from_paddr(address)) // PAGE
        assert store.read_page(page).tobytes() == boot_sector.signed_page(address), f"{address:#x}"


def test_every_pixel_shows_the_byte_that_is_there(ram: GuestRam, shown: tuple[RamFeed, VolumeView]) -> None:
    """Go to signed pages and point at a grid of pixels: each hit must agree with RAM and with the curve."""
    feed, view = shown
    found = []
    for address in itertools.islice(boot_sector.signed_addresses(RAM_BYTES), 0, 20, 4):
        offset = int(ram.physical_map.offset_from_paddr(address))
        view.camera.fly_to(view.page_box("signed", offset), monotonic())
        view.camera.skip()
        view.finish(monotonic())
        hits = [view.pick(x, y) for x in range(200, 440, 40) for y in range(60, 300, 40)]
        near = [hit for hit in hits if hit is not None]
        assert any(hit.address // PAGE == offset // PAGE for hit in near), f"{address:#x} is not where one flew to"
        found += near
    assert len(found) >= 40, "the pages fill too little of the picture to say anything"
    for hit in found:
        voxel = feed.store.curve.voxel_from_address(np.array([hit.address], np.uint64), feed.store.order)[0]
        assert tuple(int(v) for v in voxel) == hit.voxel
        assert ram.bytes[hit.address] != 0, "a zero byte is transparent: nothing to hit"
        assert feed.store.read_page(hit.address // PAGE)[hit.address % PAGE] == ram.bytes[hit.address]


def test_pmemsave_and_read_agree(machine: Machine, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """QEMU's own account of physical memory against `glassbox read`, over low memory, the sector and the tables."""
    start, length = 0x3000, 0x20000
    saved = tmp_path / "memory.bin"
    machine.qmp("pmemsave", val=start, size=length, filename=str(saved))
    capfdbinary.readouterr()
    assert main(["read", "signed", hex(start), str(length), "--raw"]) == 0
    assert capfdbinary.readouterr().out == saved.read_bytes()


def test_a_write_of_the_running_guest_comes_to_the_picture(
    machine: Machine, ram: GuestRam, shown: tuple[RamFeed, VolumeView]
) -> None:
    """Let the timer tick: the counter that the guest keeps must come to the GPU, byte for byte."""
    feed, _ = shown
    page, within = divmod(boot_sector.COUNTER_ADDRESS, PAGE)

    def counter() -> int:
        return int.from_bytes(feed.store.read_page(page)[within : within + 8].tobytes(), "little")

    before = counter()
    machine.resume()
    deadline = monotonic() + 120
    while counter() < before + 5:
        feed.pump(0.02)
        assert monotonic() < deadline, "the counter stood still in the picture"
        sleep(0.01)
    machine.pause()
    now = int.from_bytes(ram.read_physical(boot_sector.COUNTER_ADDRESS, 8), "little")
    while counter() != now:
        feed.pump(0.02)
        assert monotonic() < deadline, f"the picture shows {counter()}, the guest counted {now}"
        sleep(0.01)
