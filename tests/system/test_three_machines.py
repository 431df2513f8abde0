"""Three machines at once: each runs, each is drawn in the same world, and none is mistaken for another."""

from pathlib import Path
from time import monotonic, sleep

import pytest

from app.stage import Stage
from bridge.machine import boot_sector
from bridge.machine.catalogue import find_guest
from bridge.machine.guest import MIB
from bridge.machine.manager import MachineManager

PAGE = 4096
NAMES = ("one", "two", "three")


def test_three_machines_run_and_render_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with MachineManager() as manager:
        guest = find_guest("boot-sector")
        machines = [manager.launch(guest, name=name, ram_bytes=8 * MIB) for name in NAMES]
        assert all(machine.wait_ready(240) for machine in machines)
        stage = Stage()
        try:
            assert stage.sync(manager.machines()) == []
            assert stage.view.volumes == NAMES
            deadline = monotonic() + 240
            page = boot_sector.COUNTER_PAGE_ADDRESS // PAGE
            # The counter ticks in each machine at its own time: what is drawn must come from that machine's RAM.
            machines[1].pause()
            waiting = set(NAMES)
            while waiting:
                assert monotonic() < deadline, f"the memory of {waiting} never came to the GPU"
                stage.feeds.pump(0.02)
                waiting = {name for name in waiting if not stage.feeds[name].store.read_page(page)[:8].any()}
                sleep(0.005)
            while stage.feeds.pump(0.02):
                assert monotonic() < deadline
            ram = machines[1].ram
            assert ram is not None
            counter = bytes(ram.read_physical(boot_sector.COUNTER_PAGE_ADDRESS, PAGE))
            while stage.feeds["two"].store.read_page(page).tobytes() != counter:
                assert monotonic() < deadline, "the paused machine's counter page is not what is drawn"
                stage.feeds.pump(0.02)
                sleep(0.005)
            view = stage.view
            view.resize(320, 200)
            for name in NAMES:
                view.camera.fly_to(view.page_box(name, boot_sector.SIGNED_LOW_ADDRESS), monotonic())
                view.camera.skip()
                view.finish(monotonic())
                hit = view.pick(160, 100)
                assert hit is not None
                assert (hit.key, hit.address // PAGE) == (name, boot_sector.SIGNED_LOW_ADDRESS // PAGE)
        finally:
            stage.close()
